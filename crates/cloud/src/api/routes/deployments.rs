//! Deployments: which channel feeds which element, and when.

use fieldkeep_protocol::{DeploymentId, DeviceId, Timestamp};
use fieldkeep_store::TimeRange;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Read, Session, Write};
use crate::api::App;
use crate::api::door::{At, Body, Created, Json, Query};
use crate::api::fault::{projects, series};
use crate::api::id::{DeploymentRef, DeviceRef, ElementRef, Id, Time};
use crate::api::page::{Page, Wanted};
use crate::api::problem::{Code, Problem};
use crate::projects::{Deployment, NewDeployment, ProjectsError};

/// The dated binding of a device's channel to an element.
#[derive(Serialize, ToSchema)]
#[schema(as = Deployment)]
pub(super) struct DeploymentView {
    id: DeploymentRef,
    element: ElementRef,
    device: DeviceRef,
    channel: String,
    /// How often a value is due; 0 on events.
    interval_us: u64,
    from: Time,
    /// The first instant after it; null while it lasts.
    to: Option<Time>,
}

/// What a new deployment shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDeployment)]
pub(super) struct DeploymentOrder {
    element: ElementRef,
    device: DeviceRef,
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    channel: String,
    /// How often a value is due; 0 on events.
    #[serde(default)]
    interval_us: u64,
    from: Time,
    /// The first instant after it; absent while it lasts.
    to: Option<Time>,
}

/// Ends a deployment, or moves its end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeploymentChange)]
pub(super) struct DeploymentPatch {
    to: Time,
}

fn show(deployment: Deployment) -> DeploymentView {
    DeploymentView {
        id: Id(deployment.id),
        element: Id(deployment.element),
        device: Id(deployment.device),
        channel: deployment.channel,
        interval_us: deployment.interval_us,
        from: deployment.from.into(),
        to: deployment.to.map(Time),
    }
}

/// The deployments of elements that I reach.
pub(super) async fn list(
    session: Session<Read>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<DeploymentView>>, Problem> {
    let all = app
        .projects
        .deployments(&session.grant())
        .await
        .map_err(projects)?;
    Ok(Json(wanted.cut(
        all,
        |deployment| *deployment.id.as_bytes(),
        show,
    )))
}

/// One deployment.
pub(super) async fn one(
    session: Session<Read>,
    app: App,
    At(id): At<DeploymentId>,
) -> Result<Json<DeploymentView>, Problem> {
    let all = app
        .projects
        .deployments(&session.grant())
        .await
        .map_err(projects)?;
    let found = all.into_iter().find(|deployment| deployment.id == id);
    let found = found.ok_or(Problem::new(Code::NotFound))?;
    Ok(Json(show(found)))
}

/// Lets a channel feed an element.
pub(super) async fn create(
    session: Session<Write>,
    app: App,
    Body(order): Body<DeploymentOrder>,
) -> Result<Created<DeploymentView>, Problem> {
    let new = NewDeployment {
        element: order.element.0,
        device: order.device.0,
        channel: order.channel,
        interval_us: order.interval_us,
        from: order.from.0,
        to: order.to.map(|Time(time)| time),
    };
    let made = app.projects.create_deployment(&session.grant(), new).await;
    let made = made.map_err(|error| match error {
        // What the body names is a field, not the address.
        ProjectsError::NotFound(thing) => {
            Problem::field(thing.to_string(), "does not exist in this project")
        }
        other => projects(other),
    })?;
    tell(&session, &app, made.device, (made.from, made.to)).await?;
    Ok(Created(show(made)))
}

/// Ends a deployment.
pub(super) async fn change(
    session: Session<Write>,
    app: App,
    At(id): At<DeploymentId>,
    Body(patch): Body<DeploymentPatch>,
) -> Result<Json<DeploymentView>, Problem> {
    let grant = session.grant();
    let before = app
        .projects
        .deployments(&grant.read())
        .await
        .map_err(projects)?;
    let changed = app
        .projects
        .end_deployment(&grant, id, patch.to.0)
        .await
        .map_err(projects)?;
    let old_end = before
        .into_iter()
        .find(|known| known.id == id)
        .and_then(|known| known.to);
    let from = old_end.map_or(patch.to.0, |old| old.min(patch.to.0));
    let to = old_end.map(|old| old.max(patch.to.0));
    tell(&session, &app, changed.device, (from, to)).await?;
    Ok(Json(show(changed)))
}

/// Whoever follows the changes reads the range again.
async fn tell(
    session: &Session<Write>,
    app: &App,
    device: DeviceId,
    (from, to): (Timestamp, Option<Timestamp>),
) -> Result<(), Problem> {
    let range = TimeRange {
        from,
        to: to.unwrap_or(Timestamp::from_micros(i64::MAX)),
    };
    app.series
        .redeployed(&session.grant(), device, range)
        .await
        .map_err(series)
}
