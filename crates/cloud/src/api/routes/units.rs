//! Changes of an element's unit, and their history.

use fieldkeep_protocol::{ElementId, Timestamp};
use fieldkeep_store::TimeRange;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Read, Session, Write};
use crate::api::App;
use crate::api::door::{At, Body, Json, present};
use crate::api::fault::{projects, series};
use crate::api::id::Time;
use crate::api::page::Page;
use crate::api::problem::{Faults, Problem};
use crate::projects::{NewUnit, UnitChange, UnitMode};

/// What becomes of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UnitMode)]
pub(super) enum ModeWord {
    /// They were always in the new unit; only the label was wrong.
    Relabel,
    /// Those of the range are read as `value * factor + offset`.
    Rescale,
}

/// A new unit, and what becomes of the values.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUnit)]
pub(super) struct UnitOrder {
    /// UCUM; empty for none.
    #[schema(max_length = 32, pattern = "^[!-~]*$")]
    unit: String,
    mode: ModeWord,
    /// Not 0; goes with rescale, which needs it.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    factor: Option<f64>,
    /// Added after multiplying; goes with rescale, 0 where nothing is said.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    offset: Option<f64>,
    /// The first instant that is converted; null from the beginning. To be given with rescale.
    #[serde(default, deserialize_with = "crate::api::door::nullable")]
    #[schema(value_type = Option<Time>)]
    from: Option<Option<Time>>,
    /// The first instant after it; null without end. To be given with rescale.
    #[serde(default, deserialize_with = "crate::api::door::nullable")]
    #[schema(value_type = Option<Time>)]
    to: Option<Option<Time>>,
    /// Why. It is kept with your name.
    #[schema(
        min_length = 1,
        max_length = 1000,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    reason: String,
}

/// A change of an element's unit.
#[derive(Serialize, ToSchema)]
#[schema(as = UnitChange)]
pub(super) struct UnitView {
    /// Its place in the element's history, from 1.
    number: i64,
    mode: ModeWord,
    /// The unit before.
    before: String,
    /// The unit after.
    after: String,
    /// 1 where it was a relabelling.
    factor: f64,
    /// 0 where it was a relabelling.
    offset: f64,
    /// The first instant that is converted; null from the beginning.
    from: Option<Time>,
    /// The first instant after it; null without end.
    to: Option<Time>,
    reason: String,
    /// Who.
    by: String,
    at: Time,
}

fn show(change: UnitChange) -> UnitView {
    let (mode, factor, offset) = match change.mode {
        UnitMode::Relabel => (ModeWord::Relabel, 1.0, 0.0),
        UnitMode::Rescale { factor, offset } => (ModeWord::Rescale, factor, offset),
    };
    UnitView {
        number: change.number,
        mode,
        before: change.before,
        after: change.after,
        factor,
        offset,
        from: change.from.map(Time),
        to: change.to.map(Time),
        reason: change.reason,
        by: change.by,
        at: Time(change.at),
    }
}

fn page(history: Vec<UnitChange>) -> Page<UnitView> {
    Page {
        items: history.into_iter().map(show).collect(),
        next_cursor: None,
    }
}

fn mode(order: &UnitOrder) -> Result<UnitMode, Problem> {
    let mut faults = Faults::default();
    let mode = match order.mode {
        ModeWord::Relabel => {
            for (field, given) in [
                ("factor", order.factor.is_some()),
                ("offset", order.offset.is_some()),
            ] {
                if given {
                    faults.add(field, "goes with mode rescale: relabel converts nothing");
                }
            }
            UnitMode::Relabel
        }
        ModeWord::Rescale => {
            for (field, given) in [
                ("factor", order.factor.is_some()),
                ("from", order.from.is_some()),
                ("to", order.to.is_some()),
            ] {
                if !given {
                    faults.add(
                        field,
                        "is missing: rescale needs a factor and a range, whose open ends are null",
                    );
                }
            }
            UnitMode::Rescale {
                factor: order.factor.unwrap_or_default(),
                offset: order.offset.unwrap_or_default(),
            }
        }
    };
    faults.check()?;
    Ok(mode)
}

/// The changes of an element's unit, oldest first.
pub(super) async fn list(
    session: Session<Read>,
    app: App,
    At(id): At<ElementId>,
) -> Result<Json<Page<UnitView>>, Problem> {
    let history = app.projects.unit_history(&session.grant(), id).await;
    history.map(page).map(Json).map_err(projects)
}

/// Changes an element's unit, and answers its history.
pub(super) async fn change(
    session: Session<Write>,
    app: App,
    At(id): At<ElementId>,
    Body(order): Body<UnitOrder>,
) -> Result<Json<Page<UnitView>>, Problem> {
    let mode = mode(&order)?;
    let bound = |end: Option<Option<Time>>| end.flatten().map(|Time(time)| time);
    let new = NewUnit {
        unit: order.unit,
        mode,
        from: bound(order.from),
        to: bound(order.to),
        reason: order.reason,
    };
    let range = TimeRange {
        from: new.from.unwrap_or(Timestamp::from_micros(i64::MIN)),
        to: new.to.unwrap_or(Timestamp::from_micros(i64::MAX)),
    };
    let grant = session.grant();
    app.projects
        .change_unit(&grant, id, new)
        .await
        .map_err(projects)?;
    // Whoever follows the changes reads the range again.
    let deployments = app.projects.deployments(&grant.read()).await;
    let mut devices: Vec<_> = deployments
        .map_err(projects)?
        .into_iter()
        .filter(|deployment| deployment.element == id)
        .map(|deployment| deployment.device)
        .collect();
    devices.sort_unstable();
    devices.dedup();
    for device in devices {
        app.series
            .redeployed(&grant, device, range)
            .await
            .map_err(series)?;
    }
    let history = app.projects.unit_history(&grant.read(), id).await;
    history.map(page).map(Json).map_err(projects)
}
