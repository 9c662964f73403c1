//! Members of a project: what they may do, what hangs on them, their leaving, and who could do what before.

use fieldkeep_protocol::{PersonId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::auth::RoleWord;
use super::people::{KeyView, places, show as show_key};
use super::service_accounts::{AccountView, show as show_account};
use crate::access::{
    Admin, Audit, Fate, Fresh, Had, HadAccess, Locations, Member, MemberChange, Session,
};
use crate::api::App;
use crate::api::door::{At, Body, Given, Holds, Json, Params, Query, QueryParam};
use crate::api::fault::access;
use crate::api::id::{Id, LocationRef, PersonRef, Time};
use crate::api::page::{Page, Wanted};
use crate::api::problem::{Faults, Problem};

/// The most characters of a reason.
const REASON_LONGEST: usize = 500;

/// A person in this project.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(super) struct MemberView {
    id: PersonRef,
    email: String,
    name: String,
    role: RoleWord,
    /// The locations that they reach; null for the whole project.
    locations: Option<Vec<LocationRef>>,
    /// When it ends.
    until: Option<Time>,
    /// May they sign in at all? The instance's operators decide that.
    enabled: bool,
    /// Are they an operator of the instance who let themself in in an emergency?
    emergency: bool,
    /// Who gave it; null for the program itself.
    granted_by: Option<PersonRef>,
    /// When it was given or last changed.
    granted: Time,
}

fn show(member: Member) -> MemberView {
    MemberView {
        id: Id(member.person.id),
        email: member.person.email,
        name: member.person.name,
        role: member.membership.role.into(),
        locations: places(&member.membership.locations),
        until: member.membership.until.map(Time),
        enabled: member.person.enabled,
        emergency: member.emergency,
        granted_by: member.granted_by.map(Id),
        granted: Time(member.granted),
    }
}

/// Everyone who is in the project.
pub(super) async fn list(
    session: Session<Audit>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<MemberView>>, Problem> {
    let members = app.access.members(&session.grant()).await.map_err(access)?;
    let page = wanted.cut(members, |member| *member.person.id.as_bytes(), show);
    Ok(Json(page))
}

/// What to change of a member; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberChange)]
pub(super) struct MemberPatch {
    role: Option<RoleWord>,
    /// The locations that they shall reach; null for the whole project.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<LocationRef>>, min_items = 1)]
    locations: Option<Option<Vec<LocationRef>>>,
    /// When it shall end; null for never.
    #[serde(default, deserialize_with = "given")]
    until: Option<Option<Time>>,
    /// Why; it is written into the trail.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// Tells null from what is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

fn reason(text: Option<&str>) -> Result<Option<&str>, Problem> {
    let Some(text) = text.map(str::trim) else {
        return Ok(None);
    };
    let sound = !text.is_empty()
        && text.chars().count() <= REASON_LONGEST
        && !text.chars().any(char::is_control);
    if sound {
        Ok(Some(text))
    } else {
        Err(Problem::field(
            "reason",
            "has 1 to 500 characters and no control characters",
        ))
    }
}

/// Changes what a member may do; it counts at once, and within five seconds on open streams.
pub(super) async fn change(
    session: Fresh<Session<Admin>>,
    app: App,
    At(person): At<PersonId>,
    Body(patch): Body<MemberPatch>,
) -> Result<Json<MemberView>, Problem> {
    let grant = session.grant();
    let locations = match patch.locations {
        None => None,
        Some(None) => Some(Locations::All),
        Some(Some(named)) => {
            if named.is_empty() {
                return Err(Problem::field(
                    "locations",
                    "name at least one location, or null",
                ));
            }
            for Id(location) in &named {
                super::location_is_known(&app, &grant.read(), Some(*location))
                    .await
                    .map_err(|problem| match problem.code() {
                        crate::api::problem::Code::Invalid => {
                            Problem::field("locations", "holds one that is not in this project")
                        }
                        _ => problem,
                    })?;
            }
            Some(Locations::Only(
                named.into_iter().map(|Id(id)| id).collect(),
            ))
        }
    };
    let change = MemberChange {
        role: patch.role.map(Into::into),
        locations,
        until: patch.until.map(|until| until.map(|Time(time)| time)),
    };
    app.access
        .change_member(&grant, person, change, reason(patch.reason.as_deref())?)
        .await
        .map_err(access)?;
    // Whoever lowered their own role may no longer see members; what they became is then all there is to tell.
    let members = app.access.members(&grant.lower()).await.map_err(access)?;
    let changed = members
        .into_iter()
        .find(|member| member.person.id == person);
    changed
        .map(|member| Json(show(member)))
        .ok_or(Problem::new(crate::api::problem::Code::NotFound))
}

/// What hangs on a member.
#[derive(Serialize, ToSchema)]
#[schema(as = Hanging)]
pub(super) struct HangingView {
    /// API keys that they made and that still open something.
    keys: Vec<KeyView>,
    /// Service accounts that they made and that may come in.
    service_accounts: Vec<AccountView>,
    /// Claims that they made and no device has used.
    claims: Vec<String>,
    /// How many other projects they are a member of that you administer as a whole.
    other_projects: u64,
}

/// What hangs on a member, to be looked at before they are removed.
pub(super) async fn hanging(
    session: Session<Admin>,
    app: App,
    At(person): At<PersonId>,
) -> Result<Json<HangingView>, Problem> {
    let grant = session.grant();
    let found = app.access.hanging_on(&grant, person);
    let found = found.await.map_err(access)?;
    let claims = app.pki.open_claims_of(&grant.read(), person).await;
    Ok(Json(HangingView {
        keys: found.keys.into_iter().map(show_key).collect(),
        service_accounts: found.services.into_iter().map(show_account).collect(),
        claims: claims
            .map_err(crate::api::fault::pki)?
            .into_iter()
            .map(|claim| claim.name)
            .collect(),
        other_projects: found.other_projects as u64,
    }))
}

/// What becomes of the keys and service accounts of who is removed.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyFate {
    /// They are revoked.
    Revoke,
    /// `to` answers for them.
    HandOver,
}

/// How a member is removed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberRemoval)]
pub(super) struct Removal {
    /// What becomes of the API keys and service accounts that they made; needed where there are any.
    keys: Option<KeyFate>,
    /// Who takes the keys over: an administrator of the whole project.
    to: Option<PersonRef>,
    /// Also from every other project that you administer as a whole.
    #[serde(default)]
    everywhere: bool,
    /// Why; it is written into the trail.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// What a removal did.
#[derive(Serialize, ToSchema)]
#[schema(as = MemberRemoved)]
pub(super) struct Removed {
    /// From how many projects.
    projects: u64,
    /// How many open claims of theirs were withdrawn, in this project.
    claims: u64,
}

/// Removes a member; what hangs on them is revoked or handed over in the same act.
pub(super) async fn remove(
    session: Fresh<Session<Admin>>,
    app: App,
    At(person): At<PersonId>,
    Body(removal): Body<Removal>,
) -> Result<Json<Removed>, Problem> {
    let grant = session.grant();
    let fate = match (removal.keys, removal.to) {
        (None, None) => None,
        (Some(KeyFate::Revoke), None) => Some(Fate::Revoke),
        (Some(KeyFate::HandOver), Some(Id(to))) if to != person => Some(Fate::HandOver(to)),
        (Some(KeyFate::HandOver), _) => {
            return Err(Problem::field(
                "to",
                "names who takes the keys over: somebody else",
            ));
        }
        (_, Some(_)) => return Err(Problem::field("to", "is for keys that are handed over")),
    };
    let reason = reason(removal.reason.as_deref())?;
    let projects = app
        .access
        .remove_member(&grant, person, fate, removal.everywhere, reason)
        .await
        .map_err(access)?;
    // Claims live for a day and are worthless to anybody but who holds their line: after the person, so that no new one
    // can come between.
    let claims = app.pki.open_claims_of(&grant.read(), person).await;
    let claims = claims.map_err(crate::api::fault::pki)?;
    let mut withdrawn = 0;
    for claim in claims {
        match app.pki.delete_claim(&grant.lower(), claim.id).await {
            Ok(()) => withdrawn += 1,
            // A device has used it meanwhile.
            Err(crate::pki::PkiError::NotFound) => {}
            Err(error) => return Err(crate::api::fault::pki(error)),
        }
    }
    Ok(Json(Removed {
        projects: projects as u64,
        claims: withdrawn,
    }))
}

/// What somebody could do at a time.
#[derive(Serialize, ToSchema)]
#[schema(as = PastAccess)]
pub(super) struct PastView {
    /// `person` or `key`.
    kind: String,
    id: String,
    /// The name: a person's is today's.
    name: String,
    /// People only: today's e-mail address.
    email: Option<String>,
    /// Keys only: the first characters of the secret.
    prefix: Option<String>,
    role: RoleWord,
    /// The locations that it reached; null for the whole project.
    locations: Option<Vec<LocationRef>>,
    since: Time,
    /// When it was to end, as it was known then.
    until: Option<Time>,
    /// Who gave it; null for the program itself.
    granted_by: Option<PersonRef>,
    /// Had an operator let themself in in an emergency?
    emergency: bool,
}

/// Everybody who had access at a time.
#[derive(Serialize, ToSchema)]
#[schema(as = PastAccessList)]
pub(super) struct PastList {
    at: Time,
    items: Vec<PastView>,
}

fn past(had: HadAccess) -> PastView {
    let (kind, id, name, email, prefix, emergency) = match had.who {
        Had::Person {
            id,
            email,
            name,
            emergency,
        } => ("person", id.to_string(), name, Some(email), None, emergency),
        Had::Key { id, name, prefix } => ("key", id.to_string(), name, None, Some(prefix), false),
    };
    PastView {
        kind: kind.to_owned(),
        id,
        name,
        email,
        prefix,
        role: had.role.into(),
        locations: places(&had.locations),
        since: Time(had.since),
        until: had.until.map(Time),
        granted_by: had.by.map(Id),
        emergency,
    }
}

/// At which time.
pub(super) struct When(Timestamp);

impl Params for When {
    const ALL: &'static [QueryParam] = &[QueryParam {
        name: "at",
        required: true,
        holds: Holds::Time,
        says: "The time that is asked about.",
    }];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        given.time("at", faults).map(Self)
    }
}

/// Who could do what in the project at a time, and who gave it to them.
pub(super) async fn access_at(
    session: Session<Audit>,
    app: App,
    Query(When(at)): Query<When>,
) -> Result<Json<PastList>, Problem> {
    let found = app.access.access_at(&session.grant(), at).await;
    let found = found.map_err(|error| match error {
        crate::access::AccessError::LocationsBeyond => {
            Problem::new(crate::api::problem::Code::Forbidden)
                .detail("only who reaches the whole project may ask this")
        }
        other => access(other),
    })?;
    Ok(Json(PastList {
        at: Time(at),
        items: found.into_iter().map(past).collect(),
    }))
}
