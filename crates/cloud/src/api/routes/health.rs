//! Is the process alive, is it ready: for whoever restarts or balances. Both tell nothing else.

use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Nobody;
use crate::api::App;
use crate::api::door::Json;
use crate::api::problem::Problem;

/// Yes.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    status: &'static str,
}

/// The process answers.
pub(super) async fn live(_: Nobody) -> Result<Json<Health>, Problem> {
    Ok(Json(Health { status: "ok" }))
}

/// The catalogue and the measurements answer too.
pub(super) async fn ready(_: Nobody, app: App) -> Result<Json<Health>, Problem> {
    app.db
        .fetch_optional("SELECT 1", &[])
        .await
        .map_err(|error| Problem::unavailable("the catalogue does not answer", &error))?;
    app.series
        .ready()
        .await
        .map_err(|error| Problem::unavailable("the measurements do not answer", &error))?;
    Ok(Json(Health { status: "ok" }))
}
