//! Locations of a project.

use fieldkeep_protocol::LocationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Read, Session, Write};
use crate::api::App;
use crate::api::door::{At, Body, Created, Empty, Json, Query, nullable, present};
use crate::api::fault::projects;
use crate::api::id::{Id, LocationRef, Time};
use crate::api::page::{Face, Named, Page};
use crate::api::problem::{Faults, Problem};
use crate::projects::{Location, LocationChange, NewLocation, Place};

/// A site.
#[derive(Serialize, ToSchema)]
#[schema(as = Location)]
pub(super) struct LocationView {
    id: LocationRef,
    name: String,
    /// Degrees north, WGS 84.
    latitude: Option<f64>,
    /// Degrees east, WGS 84.
    longitude: Option<f64>,
    created: Time,
}

/// What a new location shall be. Latitude and longitude go together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewLocation)]
pub(super) struct LocationOrder {
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    #[schema(minimum = -90, maximum = 90)]
    latitude: Option<f64>,
    #[schema(minimum = -180, maximum = 180)]
    longitude: Option<f64>,
}

/// What to change; what is absent stays, null clears. Latitude and longitude go together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LocationChange)]
pub(super) struct LocationPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(
        min_length = 1,
        max_length = 128,
        nullable = false,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, minimum = -90, maximum = 90)]
    latitude: Option<Option<f64>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<f64>, minimum = -180, maximum = 180)]
    longitude: Option<Option<f64>>,
}

fn show(location: Location) -> LocationView {
    LocationView {
        id: Id(location.id),
        name: location.name,
        latitude: location.place.map(|place| place.latitude),
        longitude: location.place.map(|place| place.longitude),
        created: location.created.into(),
    }
}

fn place(latitude: Option<f64>, longitude: Option<f64>) -> Result<Option<Place>, Problem> {
    let mut faults = Faults::default();
    match (latitude, longitude) {
        (None, None) => return Ok(None),
        (Some(latitude), Some(longitude)) => {
            return Ok(Some(Place {
                latitude,
                longitude,
            }));
        }
        (None, Some(_)) => faults.add("latitude", "goes together with longitude"),
        (Some(_), None) => faults.add("longitude", "goes together with latitude"),
    }
    Err(faults.into_problem())
}

/// The locations that I reach.
pub(super) async fn list(
    session: Session<Read>,
    app: App,
    Query(Named(wanted)): Query<Named>,
) -> Result<Json<Page<LocationView>>, Problem> {
    let all = app
        .projects
        .locations(&session.grant())
        .await
        .map_err(projects)?;
    Ok(Json(wanted.cut(
        all,
        |location| Face {
            id: *location.id.as_bytes(),
            name: &location.name,
            location: None,
        },
        show,
    )))
}

/// Makes a location.
pub(super) async fn create(
    session: Session<Write>,
    app: App,
    Body(order): Body<LocationOrder>,
) -> Result<Created<LocationView>, Problem> {
    let new = NewLocation {
        name: order.name,
        place: place(order.latitude, order.longitude)?,
    };
    let made = app.projects.create_location(&session.grant(), new).await;
    made.map(show).map(Created).map_err(projects)
}

/// One location.
pub(super) async fn one(
    session: Session<Read>,
    app: App,
    At(id): At<LocationId>,
) -> Result<Json<LocationView>, Problem> {
    let found = app.projects.location(&session.grant(), id).await;
    found.map(show).map(Json).map_err(projects)
}

/// Changes a location.
pub(super) async fn change(
    session: Session<Write>,
    app: App,
    At(id): At<LocationId>,
    Body(patch): Body<LocationPatch>,
) -> Result<Json<LocationView>, Problem> {
    let change = LocationChange {
        name: patch.name,
        place: match (patch.latitude, patch.longitude) {
            (None, None) => None,
            (latitude, longitude) => Some(place(latitude.flatten(), longitude.flatten())?),
        },
    };
    let changed = app
        .projects
        .change_location(&session.grant(), id, change)
        .await;
    changed.map(show).map(Json).map_err(projects)
}

/// Removes a location at which nothing is.
pub(super) async fn remove(
    session: Session<Write>,
    app: App,
    At(id): At<LocationId>,
) -> Result<Empty, Problem> {
    app.projects
        .delete_location(&session.grant(), id)
        .await
        .map_err(projects)?;
    Ok(Empty)
}
