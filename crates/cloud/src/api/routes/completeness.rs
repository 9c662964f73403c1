//! How complete a range is: by UTC day, and hole by hole with its cause.

use fieldkeep_protocol::{DeviceId, ElementId, Timestamp};
use fieldkeep_store::{self as store, MissingCause, TimeRange};
use serde::Serialize;
use utoipa::ToSchema;

use super::points::range;
use crate::access::{Read, Session};
use crate::api::App;
use crate::api::door::{At, Given, Holds, Json, Params, Query, QueryParam};
use crate::api::fault::{in_time, series};
use crate::api::id::Time;
use crate::api::problem::{Faults, Problem};

/// The longest range.
const SPAN_MAX_US: i64 = 400 * store::DAY_US;
/// Holes that one answer names, oldest first.
const HOLES_MAX: usize = 1_000;

/// Over which range.
pub(super) struct Wanted(TimeRange);

impl Params for Wanted {
    const ALL: &'static [QueryParam] = &[
        QueryParam {
            name: "from",
            required: true,
            holds: Holds::Time,
            says: "The first instant.",
        },
        QueryParam {
            name: "to",
            required: true,
            holds: Holds::Time,
            says: "The end, not included; at most 400 days later.",
        },
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        range(given, SPAN_MAX_US, faults).map(Self)
    }
}

/// How complete a range is.
#[derive(Serialize, ToSchema)]
pub(super) struct Completeness {
    /// What was counted: the range from the first record of all on, up to now.
    from: Time,
    to: Time,
    /// The nominal interval; null where sampling is on events, and nothing is expected.
    interval_us: Option<u64>,
    /// How many should be there; null where nothing is expected.
    expected: Option<u64>,
    stored: u64,
    /// Of a hundred expected, rounded down to a thousandth; null where nothing is expected.
    percent: Option<f64>,
    missing: Missing,
    /// By UTC day.
    days: Vec<CompleteDay>,
    /// Each stretch in which something is missing, by time.
    holes: Vec<HoleRange>,
    /// How many holes after these are not named: ask for a later range.
    holes_left_off: usize,
    /// What changes from here on is told by `changes?since=`.
    revision: String,
}

/// One UTC day, or the part of it that lies in the range.
#[derive(Serialize, ToSchema)]
pub(super) struct CompleteDay {
    /// Its beginning.
    day: Time,
    expected: Option<u64>,
    stored: u64,
    percent: Option<f64>,
    missing: Missing,
}

/// How many are missing, by cause.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct Missing {
    never_sampled: u64,
    sensor_error: u64,
    dropped: u64,
    not_sent: u64,
    held: u64,
    damaged: u64,
}

/// A stretch in which something is missing, from what is before it to what is after it.
#[derive(Serialize, ToSchema)]
pub(super) struct HoleRange {
    from: Time,
    to: Time,
    cause: MissingWord,
    /// How many are missing.
    count: u64,
}

/// Why something is missing.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MissingCause)]
pub(super) enum MissingWord {
    /// The device did not sample: it was off, or not told to.
    NeverSampled,
    /// The sensor gave none.
    SensorError,
    /// The device lost it.
    Dropped,
    /// It has not arrived, and may still come.
    NotSent,
    /// It arrived, but cannot be read yet: its time is not trusted, or its channel table is missing.
    Held,
    /// It is stored, but its bytes do not authenticate.
    Damaged,
}

/// How complete the values of an element are.
pub(super) async fn of_element(
    session: Session<Read>,
    app: App,
    At(id): At<ElementId>,
    Query(Wanted(range)): Query<Wanted>,
) -> Result<Json<Completeness>, Problem> {
    let grant = session.grant();
    let revision = app.series.revision(&grant).await.map_err(series)?;
    let found = app.series.completeness(&grant, id, range);
    let found = Box::pin(in_time(async { found.await.map_err(series) })).await?;
    Ok(Json(show(found, revision)))
}

/// How complete the records of a device are.
pub(super) async fn of_device(
    session: Session<Read>,
    app: App,
    At(id): At<DeviceId>,
    Query(Wanted(range)): Query<Wanted>,
) -> Result<Json<Completeness>, Problem> {
    let grant = session.grant();
    let revision = app.series.revision(&grant).await.map_err(series)?;
    let found = app.series.device_completeness(&grant, id, range);
    let found = Box::pin(in_time(async { found.await.map_err(series) })).await?;
    Ok(Json(show(found, revision)))
}

fn show(found: store::Completeness, revision: store::Revision) -> Completeness {
    let expects = found.interval_us > 0;
    let mut sum = store::Day::default();
    for day in &found.days {
        sum.stored += day.stored;
        for (all, one) in sum.missing.iter_mut().zip(day.missing) {
            *all += one;
        }
    }
    let holes_left_off = found.holes.len().saturating_sub(HOLES_MAX);
    Completeness {
        from: found.range.from.into(),
        to: found.range.to.into(),
        interval_us: expects.then_some(found.interval_us),
        expected: expects.then(|| sum.expected()),
        stored: sum.stored,
        percent: expects.then(|| percent(&sum)).flatten(),
        missing: missing(&sum),
        days: found
            .days
            .iter()
            .map(|day| CompleteDay {
                day: Timestamp::from_micros(day.start_us).into(),
                expected: expects.then(|| day.expected()),
                stored: day.stored,
                percent: expects.then(|| percent(day)).flatten(),
                missing: missing(day),
            })
            .collect(),
        holes: found
            .holes
            .iter()
            .take(HOLES_MAX)
            .map(|hole| HoleRange {
                from: hole.range.from.into(),
                to: hole.range.to.into(),
                cause: word(hole.cause),
                count: hole.count,
            })
            .collect(),
        holes_left_off,
        revision: revision.to_string(),
    }
}

/// Never a hundred while one is missing.
#[expect(
    clippy::cast_precision_loss,
    reason = "a thousandth is all that is told"
)]
fn percent(day: &store::Day) -> Option<f64> {
    let thousandths = day
        .stored
        .saturating_mul(100_000)
        .checked_div(day.expected())?;
    Some(thousandths as f64 / 1_000.0)
}

fn missing(day: &store::Day) -> Missing {
    let mut missing = Missing::default();
    for (cause, count) in MissingCause::ALL.into_iter().zip(day.missing) {
        match cause {
            MissingCause::NeverSampled => missing.never_sampled = count,
            MissingCause::SensorError => missing.sensor_error = count,
            MissingCause::Dropped => missing.dropped = count,
            MissingCause::NotSent => missing.not_sent = count,
            MissingCause::Held => missing.held = count,
            MissingCause::Damaged => missing.damaged = count,
        }
    }
    missing
}

fn word(cause: MissingCause) -> MissingWord {
    match cause {
        MissingCause::NeverSampled => MissingWord::NeverSampled,
        MissingCause::SensorError => MissingWord::SensorError,
        MissingCause::Dropped => MissingWord::Dropped,
        MissingCause::NotSent => MissingWord::NotSent,
        MissingCause::Held => MissingWord::Held,
        MissingCause::Damaged => MissingWord::Damaged,
    }
}
