//! API keys and members of a project.

use fieldkeep_protocol::KeyId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::RoleWord;
use crate::access::{Admin, ApiKey, Audit, Locations, NewApiKey, Session};
use crate::api::App;
use crate::api::door::{At, Body, Created, Empty, Json, Query};
use crate::api::fault::access;
use crate::api::id::{Id, KeyRef, LocationRef, PersonRef, Time};
use crate::api::page::{Page, Wanted};
use crate::api::problem::Problem;

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct KeyView {
    id: KeyRef,
    name: String,
    /// The first characters of the secret, to recognise it by.
    prefix: String,
    role: RoleWord,
    /// The locations that it reaches; null for the whole project.
    locations: Option<Vec<LocationRef>>,
    created: Time,
    created_by: Option<PersonRef>,
    expires: Option<Time>,
    last_used: Option<Time>,
    revoked: Option<Time>,
}

/// A new API key, with its secret for this once.
#[derive(Serialize, ToSchema)]
#[schema(as = NewApiKey)]
pub(super) struct MadeKey {
    key: KeyView,
    /// Shown once: `fk_…`.
    secret: String,
}

/// What a new key shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyOrder {
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    role: RoleWord,
    /// When it ends; never where it is left out.
    expires: Option<Time>,
    /// The locations that it reaches; all that you reach where they are left out.
    locations: Option<Vec<LocationRef>>,
}

fn show(key: ApiKey) -> KeyView {
    KeyView {
        id: Id(key.id),
        name: key.name,
        prefix: key.prefix,
        role: key.role.into(),
        locations: places(&key.locations),
        created: key.created.into(),
        created_by: key.created_by.map(Id),
        expires: key.expires.map(Time),
        last_used: key.used.map(Time),
        revoked: key.revoked.map(Time),
    }
}

fn places(locations: &Locations) -> Option<Vec<LocationRef>> {
    match locations {
        Locations::All => None,
        Locations::Only(set) => Some(set.iter().copied().map(Id).collect()),
    }
}

/// The project's API keys.
pub(super) async fn keys(
    session: Session<Admin>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<KeyView>>, Problem> {
    let keys = app
        .access
        .api_keys(&session.grant())
        .await
        .map_err(access)?;
    Ok(Json(wanted.cut(keys, |key| *key.id.as_bytes(), show)))
}

/// Makes an API key.
pub(super) async fn create_key(
    session: Session<Admin>,
    app: App,
    Body(order): Body<KeyOrder>,
) -> Result<Created<MadeKey>, Problem> {
    let grant = session.grant();
    let locations = match order.locations {
        None => grant.locations().clone(),
        Some(named) => Locations::Only(named.into_iter().map(|Id(id)| id).collect()),
    };
    let new = NewApiKey {
        name: order.name,
        role: order.role.into(),
        locations,
        expires: order.expires.map(|Time(time)| time),
    };
    let (key, secret) = app
        .access
        .create_api_key(&grant, new)
        .await
        .map_err(access)?;
    Ok(Created(MadeKey {
        key: show(key),
        secret,
    }))
}

/// Revokes an API key, at once.
pub(super) async fn revoke_key(
    session: Session<Admin>,
    app: App,
    At(key): At<KeyId>,
) -> Result<Empty, Problem> {
    app.access
        .revoke_api_key(&session.grant(), key)
        .await
        .map_err(access)?;
    Ok(Empty)
}

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
}

/// Everyone who is in the project.
pub(super) async fn members(
    session: Session<Audit>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<MemberView>>, Problem> {
    let members = app.access.members(&session.grant()).await.map_err(access)?;
    let page = wanted.cut(
        members,
        |member| *member.person.id.as_bytes(),
        |member| MemberView {
            id: Id(member.person.id),
            email: member.person.email,
            name: member.person.name,
            role: member.membership.role.into(),
            locations: places(&member.membership.locations),
            until: member.membership.until.map(Time),
        },
    );
    Ok(Json(page))
}
