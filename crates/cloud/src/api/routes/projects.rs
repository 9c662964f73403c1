//! Projects.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Admin, Grant, OperatorSession, Read, Session, SignedIn};
use crate::api::App;
use crate::api::door::{Body, Created, Json, Query, denied, present};
use crate::api::fault::projects;
use crate::api::id::{Id, ProjectRef, Time};
use crate::api::page::{Face, Named, Page};
use crate::api::problem::{Code, Problem};
use crate::projects::{Counts, Project, ProjectChange};

/// A project.
#[derive(Serialize, ToSchema)]
#[schema(as = Project)]
pub(super) struct ProjectView {
    id: ProjectRef,
    name: String,
    /// The time zone that days and months follow, such as `Europe/Copenhagen`.
    zone: String,
    created: Time,
    counts: CountsView,
}

/// How much of what you may see.
#[derive(Serialize, ToSchema)]
#[schema(as = Counts)]
pub(super) struct CountsView {
    devices: u64,
    elements: u64,
}

/// What a new project shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProject)]
pub(super) struct ProjectOrder {
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// The time zone that days and months follow, such as `Europe/Copenhagen`.
    zone: String,
}

/// What to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProjectChange)]
pub(super) struct ProjectPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(
        min_length = 1,
        max_length = 128,
        nullable = false,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    zone: Option<String>,
}

fn show(project: Project, counts: Counts) -> ProjectView {
    ProjectView {
        id: Id(project.id),
        name: project.name,
        zone: project.zone,
        created: project.created.into(),
        counts: CountsView {
            devices: counts.devices,
            elements: counts.elements,
        },
    }
}

/// The projects that I am a member of.
pub(super) async fn list(
    me: SignedIn,
    app: App,
    Query(Named(wanted)): Query<Named>,
) -> Result<Json<Page<ProjectView>>, Problem> {
    let mine = app.projects.list(&me).await.map_err(projects)?;
    let page = wanted.cut(
        mine,
        |(project, _)| Face {
            id: *project.id.as_bytes(),
            name: &project.name,
            location: None,
        },
        |(project, _)| project,
    );
    let mut items = Vec::with_capacity(page.items.len());
    for project in page.items {
        let session = match app.access.session::<Read>(me.clone(), project.id).await {
            Ok(session) => session,
            Err(refusal) => {
                let problem = denied(refusal);
                // The membership ended between the two questions.
                if problem.code() == Code::NotFound {
                    continue;
                }
                return Err(problem);
            }
        };
        let counts = app
            .projects
            .counts(&session.grant())
            .await
            .map_err(projects)?;
        items.push(show(project, counts));
    }
    Ok(Json(Page {
        items,
        next_cursor: page.next_cursor,
    }))
}

/// Makes a project; whoever does is its administrator.
pub(super) async fn create(
    operator: OperatorSession,
    app: App,
    Body(order): Body<ProjectOrder>,
) -> Result<Created<ProjectView>, Problem> {
    let made = app
        .projects
        .create(&operator.grant(), &order.name, &order.zone)
        .await
        .map_err(projects)?;
    Ok(Created(show(made, Counts::default())))
}

/// One project.
pub(super) async fn one(session: Session<Read>, app: App) -> Result<Json<ProjectView>, Problem> {
    described(&app, &session.grant()).await.map(Json)
}

/// Changes a project.
pub(super) async fn change(
    session: Session<Admin>,
    app: App,
    Body(patch): Body<ProjectPatch>,
) -> Result<Json<ProjectView>, Problem> {
    let change = ProjectChange {
        name: patch.name,
        zone: patch.zone,
    };
    app.projects
        .change(&session.grant(), change)
        .await
        .map_err(projects)?;
    described(&app, &session.read()).await.map(Json)
}

async fn described(app: &App, grant: &Grant<'_, Read>) -> Result<ProjectView, Problem> {
    let project = app.projects.one(grant).await.map_err(projects)?;
    let counts = app.projects.counts(grant).await.map_err(projects)?;
    Ok(show(project, counts))
}
