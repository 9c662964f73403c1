//! Whether a project lets clients of another cloud's API in, and the ids that its things had there.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Admin, Fresh, Grant, Read, Session};
use crate::api::App;
use crate::api::door::{Body, Json};
use crate::api::fault::{access, projects};
use crate::api::problem::{Faults, Problem};
use crate::projects::LegacyObject;

/// Ids that one request may set.
const AT_ONCE: usize = 500;

/// Which other APIs are let in.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Compatibility {
    /// The read routes of Consibio Cloud v2 under `/compat/consibio/v2`, for service accounts of this project.
    consibio_v2: bool,
}

/// Ids from elsewhere.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LegacyIds {
    #[schema(max_items = 500)]
    items: Vec<LegacyId>,
}

/// A thing and the id that it had elsewhere.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LegacyId {
    /// The project (`prj_…`), a device (`dev_…`) or an element (`elm_…`) of it.
    #[schema(pattern = "^(prj|dev|elm)_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    object: String,
    /// The id that it had: letters, digits, `-` and `_`, unique among the things of its kind. Null takes it away.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    legacy_id: Option<String>,
}

/// Which other APIs are let in.
pub(super) async fn one(session: Session<Read>, app: App) -> Result<Json<Compatibility>, Problem> {
    let consibio_v2 = app.access.compatibility(&session.grant()).await;
    let consibio_v2 = consibio_v2.map_err(access)?;
    Ok(Json(Compatibility { consibio_v2 }))
}

/// Lets another API in, or not.
pub(super) async fn set(
    session: Fresh<Session<Admin>>,
    app: App,
    Body(wanted): Body<Compatibility>,
) -> Result<Json<Compatibility>, Problem> {
    app.access
        .set_compatibility(&session.grant(), wanted.consibio_v2)
        .await
        .map_err(access)?;
    Ok(Json(wanted))
}

/// The ids that things of the project had elsewhere.
pub(super) async fn ids(session: Session<Admin>, app: App) -> Result<Json<LegacyIds>, Problem> {
    listed(&app, &session.read()).await.map(Json)
}

/// Gives things ids from elsewhere: all, or none.
pub(super) async fn set_ids(
    session: Session<Admin>,
    app: App,
    Body(wanted): Body<LegacyIds>,
) -> Result<Json<LegacyIds>, Problem> {
    let mut faults = Faults::default();
    if wanted.items.len() > AT_ONCE {
        faults.add("items", format!("are more than {AT_ONCE}"));
    }
    let mut ids = Vec::with_capacity(wanted.items.len());
    for (position, item) in wanted.items.into_iter().enumerate() {
        match item.object.parse::<LegacyObject>() {
            Ok(object) => ids.push((object, item.legacy_id)),
            Err(_) => faults.add(
                format!("items[{position}].object"),
                "is not an id of a project, a device or an element",
            ),
        }
    }
    faults.check()?;
    let grant = session.grant();
    app.projects
        .set_legacy_ids(&grant, &ids)
        .await
        .map_err(projects)?;
    listed(&app, &session.read()).await.map(Json)
}

async fn listed(app: &App, grant: &Grant<'_, Read>) -> Result<LegacyIds, Problem> {
    let ids = app.projects.legacy_ids(grant).await.map_err(projects)?;
    let items = ids.iter().map(|(object, id)| LegacyId {
        object: object.to_string(),
        legacy_id: Some(id.to_owned()),
    });
    Ok(LegacyIds {
        items: items.collect(),
    })
}
