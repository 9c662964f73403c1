//! What operators do about people: list them, let them in or keep them out, and break the glass.

use fieldkeep_protocol::PersonId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Fresh, OperatorSession, Person};
use crate::api::App;
use crate::api::door::{At, Body, Created, Json, Query};
use crate::api::fault::access;
use crate::api::id::{Id, PersonRef, ProjectRef, Time};
use crate::api::page::{Page, Wanted};
use crate::api::problem::{Code, Problem};

/// A person with an account.
#[derive(Serialize, ToSchema)]
#[schema(as = Person)]
pub(super) struct PersonView {
    id: PersonRef,
    email: String,
    name: String,
    /// Do they look after the instance?
    operator: bool,
    /// May they sign in?
    enabled: bool,
}

fn show(person: Person) -> PersonView {
    PersonView {
        id: Id(person.id),
        email: person.email,
        name: person.name,
        operator: person.operator,
        enabled: person.enabled,
    }
}

/// Everybody who has an account.
pub(super) async fn people(
    session: OperatorSession,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<PersonView>>, Problem> {
    let people = app.access.people(&session.grant()).await.map_err(access)?;
    Ok(Json(wanted.cut(
        people,
        |person| *person.id.as_bytes(),
        show,
    )))
}

/// Whether a person may sign in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PersonChange)]
pub(super) struct PersonPatch {
    enabled: bool,
    /// Why; it is written into the trail.
    #[schema(min_length = 1, max_length = 500)]
    reason: Option<String>,
}

/// Lets a person in, or keeps them out and ends their sessions.
pub(super) async fn change(
    session: Fresh<OperatorSession>,
    app: App,
    At(person): At<PersonId>,
    Body(patch): Body<PersonPatch>,
) -> Result<Json<PersonView>, Problem> {
    let grant = session.grant();
    app.access
        .set_enabled(&grant, person, patch.enabled, patch.reason.as_deref())
        .await
        .map_err(access)?;
    let people = app.access.people(&grant).await.map_err(access)?;
    let changed = people.into_iter().find(|known| known.id == person);
    changed
        .map(|person| Json(show(person)))
        .ok_or(Problem::new(Code::NotFound))
}

/// An emergency.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BreakGlass {
    project: ProjectRef,
    /// For how many hours.
    #[schema(minimum = 1, maximum = 24)]
    hours: u32,
    /// Why. The project's administrators and auditors read it.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// A membership of an emergency.
#[derive(Serialize, ToSchema)]
#[schema(as = EmergencyAccess)]
pub(super) struct Opened {
    project: ProjectRef,
    /// When it ends by itself.
    until: Time,
}

/// Lets me into a project as its administrator, for a day at most. It is written into the project's trail and shown to
/// its administrators.
pub(super) async fn break_glass(
    session: Fresh<OperatorSession>,
    app: App,
    Body(order): Body<BreakGlass>,
) -> Result<Created<Opened>, Problem> {
    let Id(project) = order.project;
    let until = app
        .access
        .break_glass(&session.grant(), project, order.hours, &order.reason)
        .await
        .map_err(|error| match error {
            crate::access::AccessError::ProjectUnknown => {
                Problem::field("project", "does not exist")
            }
            other => access(other),
        })?;
    Ok(Created(Opened {
        project: Id(project),
        until: Time(until),
    }))
}
