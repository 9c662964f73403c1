//! Elements of a project with their latest value.

use fieldkeep_protocol::ElementId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::points::NewestValue;
use crate::access::{Grant, Read, Session, Write};
use crate::api::App;
use crate::api::door::{At, Body, Created, Json, Query, nullable, present};
use crate::api::fault::{projects, series};
use crate::api::id::{DeviceRef, ElementRef, Id, LocationRef, Time};
use crate::api::page::{Face, Listing, Page};
use crate::api::problem::Problem;
use crate::projects::{Element, ElementChange, ElementKind, NewElement, ValueKind};

/// An observed property at one place.
#[derive(Serialize, ToSchema)]
#[schema(as = Element)]
pub(super) struct ElementView {
    id: ElementRef,
    name: String,
    /// UCUM; empty for none.
    unit: String,
    /// Decimal places to show.
    digits: u8,
    kind: KindWord,
    value_kind: ValueWord,
    /// `#rrggbb`
    #[schema(pattern = "^#[0-9a-fA-F]{6}$")]
    colour: Option<String>,
    location: Option<LocationRef>,
    /// What feeds it, or fed it last.
    device: Option<DeviceRef>,
    channel: Option<String>,
    /// How often a value is due; 0 on events.
    interval_us: Option<u64>,
    created: Time,
    latest: Option<NewestValue>,
}

/// Where an element's points come from.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ElementKind)]
pub(super) enum KindWord {
    /// From devices, by deployments.
    #[default]
    Measured,
    /// Computed from other elements.
    Virtual,
    /// Entered by people.
    Manual,
    /// Set on a device.
    Output,
}

/// What an element's values are.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ValueKind)]
pub(super) enum ValueWord {
    /// Numbers.
    #[default]
    Number,
    /// Yes (1) or no (0).
    Boolean,
    /// Codes of states.
    State,
}

impl From<ElementKind> for KindWord {
    fn from(kind: ElementKind) -> Self {
        match kind {
            ElementKind::Measured => Self::Measured,
            ElementKind::Virtual => Self::Virtual,
            ElementKind::Manual => Self::Manual,
            ElementKind::Output => Self::Output,
        }
    }
}

impl From<KindWord> for ElementKind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::Measured => Self::Measured,
            KindWord::Virtual => Self::Virtual,
            KindWord::Manual => Self::Manual,
            KindWord::Output => Self::Output,
        }
    }
}

impl From<ValueKind> for ValueWord {
    fn from(kind: ValueKind) -> Self {
        match kind {
            ValueKind::Number => Self::Number,
            ValueKind::Boolean => Self::Boolean,
            ValueKind::State => Self::State,
        }
    }
}

impl From<ValueWord> for ValueKind {
    fn from(word: ValueWord) -> Self {
        match word {
            ValueWord::Number => Self::Number,
            ValueWord::Boolean => Self::Boolean,
            ValueWord::State => Self::State,
        }
    }
}

/// What a new element shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewElement)]
pub(super) struct ElementOrder {
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// UCUM; empty for none.
    #[serde(default)]
    #[schema(max_length = 32, pattern = "^[!-~]*$")]
    unit: String,
    /// Decimal places to show.
    #[serde(default)]
    #[schema(maximum = 9)]
    digits: u8,
    #[serde(default)]
    kind: KindWord,
    #[serde(default)]
    value_kind: ValueWord,
    /// `#rrggbb`
    #[schema(pattern = "^#[0-9a-fA-F]{6}$")]
    colour: Option<String>,
    location: Option<LocationRef>,
}

/// What to change; what is absent stays, null clears. Unit and kinds do not change this way: stored values would take
/// on another meaning.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ElementChange)]
pub(super) struct ElementPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(
        min_length = 1,
        max_length = 128,
        nullable = false,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(maximum = 9, nullable = false)]
    digits: Option<u8>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, pattern = "^#[0-9a-fA-F]{6}$")]
    colour: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LocationRef>)]
    location: Option<Option<LocationRef>>,
}

fn show(element: Element) -> ElementView {
    let (device, channel, interval_us) = match element.deployment {
        Some(deployment) => (
            Some(Id(deployment.device)),
            Some(deployment.channel),
            Some(deployment.interval_us),
        ),
        None => (None, None, None),
    };
    ElementView {
        id: Id(element.id),
        name: element.name,
        unit: element.unit,
        digits: element.digits,
        kind: element.kind.into(),
        value_kind: element.value_kind.into(),
        colour: element.colour,
        location: element.location.map(Id),
        device,
        channel,
        interval_us,
        created: element.created.into(),
        latest: None,
    }
}

async fn with_latest(
    app: &App,
    grant: &Grant<'_, Read>,
    element: Element,
) -> Result<ElementView, Problem> {
    let mut view = show(element);
    let newest = app.series.latest(grant, view.id.0).await.map_err(series)?;
    view.latest = newest.map(NewestValue::from);
    Ok(view)
}

/// The ids of all elements in reach.
pub(super) async fn all(app: &App, grant: &Grant<'_, Read>) -> Result<Vec<ElementId>, Problem> {
    let elements = app.projects.elements(grant).await.map_err(projects)?;
    Ok(elements.into_iter().map(|element| element.id).collect())
}

fn face(element: &Element) -> Face<'_> {
    Face {
        id: *element.id.as_bytes(),
        name: &element.name,
        location: element.location,
    }
}

/// The elements that I reach, with their latest value.
pub(super) async fn list(
    session: Session<Read>,
    app: App,
    Query(wanted): Query<Listing>,
) -> Result<Json<Page<ElementView>>, Problem> {
    let grant = session.grant();
    let all = app.projects.elements(&grant).await.map_err(projects)?;
    let page = wanted.cut(all, face, |element| element);
    let mut items = Vec::with_capacity(page.items.len());
    let ids: Vec<ElementId> = page.items.iter().map(|element| element.id).collect();
    let newest = app.series.latest_of(&grant, &ids).await.map_err(series)?;
    for (element, newest) in page.items.into_iter().zip(newest) {
        items.push(ElementView {
            latest: newest.map(NewestValue::from),
            ..show(element)
        });
    }
    Ok(Json(Page {
        items,
        next_cursor: page.next_cursor,
    }))
}

/// Makes an element.
pub(super) async fn create(
    session: Session<Write>,
    app: App,
    Body(order): Body<ElementOrder>,
) -> Result<Created<ElementView>, Problem> {
    let new = NewElement {
        name: order.name,
        unit: order.unit,
        digits: order.digits,
        kind: order.kind.into(),
        value_kind: order.value_kind.into(),
        colour: order.colour,
        location: order.location.map(|Id(id)| id),
    };
    let made = app.projects.create_element(&session.grant(), new).await;
    made.map(show).map(Created).map_err(projects)
}

/// One element, with its latest value.
pub(super) async fn one(
    session: Session<Read>,
    app: App,
    At(id): At<ElementId>,
) -> Result<Json<ElementView>, Problem> {
    let grant = session.grant();
    let element = app.projects.element(&grant, id).await.map_err(projects)?;
    with_latest(&app, &grant, element).await.map(Json)
}

/// Changes an element.
pub(super) async fn change(
    session: Session<Write>,
    app: App,
    At(id): At<ElementId>,
    Body(patch): Body<ElementPatch>,
) -> Result<Json<ElementView>, Problem> {
    let change = ElementChange {
        name: patch.name,
        digits: patch.digits,
        colour: patch.colour,
        location: patch.location.map(|location| location.map(|Id(id)| id)),
    };
    let changed = app
        .projects
        .change_element(&session.grant(), id, change)
        .await
        .map_err(projects)?;
    with_latest(&app, &session.read(), changed).await.map(Json)
}
