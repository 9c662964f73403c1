//! Devices' clocks: what is held and why, what was stamped, what is proposed, and what a person says to it.

use fieldkeep_protocol::{DeviceId, Epoch};
use fieldkeep_store::{
    ClockCorrection, ClockNote, ClockProposal, ClockStamp, HeldRange, HeldReason, ProposalState,
    Restamp, Restamped, StampCause,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Read, Session, Write};
use crate::api::App;
use crate::api::door::{At, AtProposal, Body, Json, present};
use crate::api::fault::{clock, series};
use crate::api::id::Time;
use crate::api::problem::{Faults, Problem};

/// A reason has at most so many characters.
const REASON_LONGEST: usize = 500;
/// A quartz that is off by more than a tenth is broken.
const PPB_MOST: i64 = 100_000_000;

/// What is known of a device's clock.
#[derive(Serialize, ToSchema)]
#[schema(as = DeviceClock)]
pub(super) struct ClockView {
    /// Records that are stored and cannot be read until their times can be believed.
    held: Vec<HeldView>,
    /// More is held than is listed here.
    more_held: bool,
    /// Records that got other times than they were sent with, newest first.
    stamps: Vec<StampView>,
    /// Steps of the clock that a person is or was asked about, newest first.
    proposals: Vec<ProposalView>,
}

/// Records in a row that are held for one reason.
#[derive(Serialize, ToSchema)]
#[schema(as = HeldRecords)]
pub(super) struct HeldView {
    /// The epoch of the records, in hex.
    epoch: String,
    first: u64,
    last: u64,
    batches: u64,
    records: u64,
    reason: HeldWord,
    /// How often the device had started.
    boot: u32,
    /// Microseconds since that start, at the first record.
    ticks_us: u64,
    /// The first record's time as sent.
    from: Time,
    /// The last record's time as sent.
    to: Time,
    received: Time,
    /// What their times could be, if anything tells.
    proposed: Option<ProposedTimes>,
}

/// What times could be.
#[derive(Serialize, ToSchema)]
pub(super) struct ProposedTimes {
    /// What would be added to the times as sent.
    offset_us: i64,
    /// How far they could be off then; null where nothing bounds it.
    error_us: Option<i64>,
    from: Time,
    to: Time,
}

/// Why records are held.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HeldReason)]
pub(super) enum HeldWord {
    /// The device's clock was not set. Stamped by itself when the same start of the device tells the time.
    Unset,
    /// The times are before the year 2000.
    #[serde(rename = "before_2000")]
    Before2000,
    /// The times were more than a day ahead when they came.
    Ahead,
}

/// Records that got other times together.
#[derive(Serialize, ToSchema)]
#[schema(as = ClockStamp)]
pub(super) struct StampView {
    id: i64,
    /// The epoch of the records, in hex.
    epoch: String,
    first: u64,
    last: u64,
    batches: u64,
    /// What was added to the times of the first batch.
    offset_us: i64,
    /// Nanoseconds a second by which the clock was slow after the anchor.
    drift_ppb: i64,
    /// How far the times may be off at most; null where nothing bounds it.
    error_us: Option<i64>,
    cause: CauseWord,
    created: Time,
    /// All of it has been stamped again since.
    superseded: bool,
    /// Who did it; null where nobody did.
    actor: Option<String>,
    /// Why, in their words.
    reason: Option<String>,
}

/// Why records got other times.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ClockStampCause)]
pub(super) enum CauseWord {
    /// The same start of the device told the time later or before.
    Ticks,
    /// Nothing told: they were taken before they arrived. Their values are suspect.
    Arrival,
    /// A person gave the times.
    Person,
    /// A person believed them as sent.
    Released,
    /// A person confirmed a proposal.
    Confirmed,
}

/// A step of the clock, and what would set the times right.
#[derive(Serialize, ToSchema)]
#[schema(as = ClockProposal)]
pub(super) struct ProposalView {
    id: i64,
    /// The epoch of the records, in hex.
    epoch: String,
    first: u64,
    /// The last one so far.
    last: u64,
    /// What the device records from here on belongs to it too.
    open_end: bool,
    /// What would be added to their times.
    offset_us: i64,
    error_us: i64,
    /// The evidence.
    evidence: Evidence,
    made: Time,
    state: ProposalWord,
    decided: Option<Time>,
    /// Who decided.
    actor: Option<String>,
    /// Why, in their words.
    reason: Option<String>,
}

/// Two clocks that disagree: between two records, the device's clock and its ticks.
#[derive(Serialize, ToSchema)]
#[schema(as = ClockEvidence)]
pub(super) struct Evidence {
    /// The record before the step.
    since: u64,
    /// The record after the step.
    at: u64,
    /// What passed between the two by the device's clock.
    wall_us: i64,
    /// What passed between the two by the device's ticks.
    ticks_us: i64,
    /// The device itself said that its clock was stepped.
    declared: bool,
}

/// What became of a proposal.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ClockProposalState)]
pub(super) enum ProposalWord {
    /// Nobody has decided. The records are read as sent.
    Open,
    /// The records have other times.
    Confirmed,
    /// The records stay as they are.
    Dismissed,
}

fn hex(epoch: Epoch) -> String {
    format!("{:016x}", epoch.0)
}

fn held(range: HeldRange) -> HeldView {
    let proposed = range.proposed.and_then(|(offset_us, error_us)| {
        Some(ProposedTimes {
            offset_us,
            error_us,
            from: Time(range.from.checked_add_micros(offset_us)?),
            to: Time(range.to.checked_add_micros(offset_us)?),
        })
    });
    HeldView {
        epoch: hex(range.epoch),
        first: range.first,
        last: range.last,
        batches: range.batches,
        records: range.records,
        reason: match range.reason {
            HeldReason::Unset => HeldWord::Unset,
            HeldReason::Before2000 => HeldWord::Before2000,
            HeldReason::Ahead => HeldWord::Ahead,
        },
        boot: range.boot,
        ticks_us: range.ticks_us,
        from: Time(range.from),
        to: Time(range.to),
        received: Time(range.received),
        proposed,
    }
}

fn split(note: Option<ClockNote>) -> (Option<String>, Option<String>) {
    note.map(|note| (note.actor, note.reason)).unzip()
}

fn stamped(stamp: ClockStamp) -> StampView {
    let (actor, reason) = split(stamp.note);
    StampView {
        id: stamp.id,
        epoch: hex(stamp.epoch),
        first: stamp.first,
        last: stamp.last,
        batches: stamp.batches,
        offset_us: stamp.offset_us,
        drift_ppb: stamp.drift_ppb,
        error_us: stamp.error_us,
        cause: match stamp.cause {
            StampCause::Ticks => CauseWord::Ticks,
            StampCause::Arrival => CauseWord::Arrival,
            StampCause::Person => CauseWord::Person,
            StampCause::Released => CauseWord::Released,
            StampCause::Confirmed => CauseWord::Confirmed,
        },
        created: Time(stamp.created),
        superseded: stamp.superseded,
        actor,
        reason,
    }
}

fn proposed(proposal: ClockProposal) -> ProposalView {
    let (actor, reason) = split(proposal.note);
    ProposalView {
        id: proposal.id,
        epoch: hex(proposal.epoch),
        first: proposal.first,
        last: proposal.last,
        open_end: proposal.open_end,
        offset_us: proposal.offset_us,
        error_us: proposal.error_us,
        evidence: Evidence {
            since: proposal.since,
            at: proposal.at,
            wall_us: proposal.wall_us,
            ticks_us: proposal.ticks_us,
            declared: proposal.declared,
        },
        made: Time(proposal.made),
        state: match proposal.state {
            ProposalState::Open => ProposalWord::Open,
            ProposalState::Confirmed => ProposalWord::Confirmed,
            ProposalState::Dismissed => ProposalWord::Dismissed,
        },
        decided: proposal.decided.map(Time),
        actor,
        reason,
    }
}

/// What is known of a device's clock.
pub(super) async fn one(
    session: Session<Read>,
    app: App,
    At(id): At<DeviceId>,
) -> Result<Json<ClockView>, Problem> {
    let known = app.series.device_clock(&session.grant(), id).await;
    let known = known.map_err(series)?;
    Ok(Json(ClockView {
        held: known.held.into_iter().map(held).collect(),
        more_held: known.more_held,
        stamps: known.stamps.into_iter().map(stamped).collect(),
        proposals: known.proposals.into_iter().map(proposed).collect(),
    }))
}

/// Records, and how their times are set right.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClockStampOrder)]
pub(super) struct StampOrder {
    /// The epoch of the records, in hex.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    epoch: String,
    /// The first record.
    first: u64,
    /// The last record, inclusive.
    last: u64,
    /// Added to the times as sent, in microseconds.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    offset_us: Option<i64>,
    /// What the clock lost since an instant; on top of the offset.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    drift: Option<DriftOrder>,
    /// How far the times may be off then, in microseconds; null where nothing bounds it. Values of channels that are
    /// sampled faster become suspect.
    #[serde(default = "exact")]
    #[schema(minimum = 0, default = 0)]
    error_us: Option<i64>,
    /// Why. It is kept with your name.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    reason: String,
}

/// Who gives no bound says that the times are right.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the default of a field that may be null"
)]
fn exact() -> Option<i64> {
    Some(0)
}

/// A clock that was slow or fast.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClockDrift)]
pub(super) struct DriftOrder {
    /// A time, offset included, at which the drift is nothing.
    anchor: Time,
    /// Nanoseconds a second by which the clock was slow after it; negative where it was fast.
    #[schema(minimum = -100_000_000, maximum = 100_000_000)]
    ppb: i64,
}

/// Records whose times are right as they were sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClockRelease)]
pub(super) struct ReleaseOrder {
    /// The epoch of the records, in hex.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    epoch: String,
    /// The first record.
    first: u64,
    /// The last record, inclusive.
    last: u64,
    /// Why. It is kept with your name.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    reason: String,
}

/// Why a proposal is confirmed or dismissed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClockDecision)]
pub(super) struct Decision {
    /// Why. It is kept with your name.
    #[schema(
        min_length = 1,
        max_length = 500,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    reason: String,
}

/// What has other times now.
#[derive(Serialize, ToSchema)]
#[schema(as = ClockStamped)]
pub(super) struct StampedView {
    batches: u64,
    /// The earliest time of these batches now.
    from: Option<Time>,
    /// The latest time of these batches now.
    to: Option<Time>,
}

impl From<Restamped> for StampedView {
    fn from(done: Restamped) -> Self {
        Self {
            batches: done.batches,
            from: done.from.map(Time),
            to: done.to.map(Time),
        }
    }
}

fn read_epoch(text: &str, faults: &mut Faults) -> Epoch {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u64::from_str_radix(text, 16) {
        Ok(epoch) if is_hex => Epoch(epoch),
        _ => {
            faults.add("epoch", "must be the 16 hex digits of an epoch");
            Epoch(0)
        }
    }
}

fn read_range(first: u64, last: u64, faults: &mut Faults) {
    if last < first {
        faults.add("last", "must not be before first");
    }
}

fn read_reason<'a>(text: &'a str, faults: &mut Faults) -> &'a str {
    let text = text.trim();
    let length = text.chars().count();
    if !(1..=REASON_LONGEST).contains(&length) || text.chars().any(char::is_control) {
        faults.add("reason", "needs 1 to 500 characters on one line");
    }
    text
}

/// Gives records other times.
pub(super) async fn stamp(
    session: Session<Write>,
    app: App,
    At(id): At<DeviceId>,
    Body(order): Body<StampOrder>,
) -> Result<Json<StampedView>, Problem> {
    let mut faults = Faults::default();
    let epoch = read_epoch(&order.epoch, &mut faults);
    read_range(order.first, order.last, &mut faults);
    let reason = read_reason(&order.reason, &mut faults);
    if order.offset_us.is_none() && order.drift.is_none() {
        faults.add("offset_us", "is needed, or drift");
    }
    if order.error_us.is_some_and(|error_us| error_us < 0) {
        faults.add("error_us", "must not be negative");
    }
    if order
        .drift
        .is_some_and(|drift| drift.ppb.abs_diff(0) > PPB_MOST.unsigned_abs())
    {
        faults.add("drift.ppb", "must be from -100000000 to 100000000");
    }
    faults.check()?;
    let wanted = Restamp {
        epoch,
        first: order.first,
        last: order.last,
        correction: Some(ClockCorrection {
            offset_us: order.offset_us.unwrap_or_default(),
            drift: order.drift.map(|drift| (drift.anchor.0, drift.ppb)),
            error_us: order.error_us,
        }),
    };
    let field = if order.offset_us.is_some() {
        "offset_us"
    } else {
        "drift"
    };
    let done = app
        .series
        .restamp(&session.grant(), id, &wanted, reason)
        .await;
    Ok(Json(done.map_err(|error| clock(error, field))?.into()))
}

/// Believes times as they were sent.
pub(super) async fn release(
    session: Session<Write>,
    app: App,
    At(id): At<DeviceId>,
    Body(order): Body<ReleaseOrder>,
) -> Result<Json<StampedView>, Problem> {
    let mut faults = Faults::default();
    let epoch = read_epoch(&order.epoch, &mut faults);
    read_range(order.first, order.last, &mut faults);
    let reason = read_reason(&order.reason, &mut faults);
    faults.check()?;
    let wanted = Restamp {
        epoch,
        first: order.first,
        last: order.last,
        correction: None,
    };
    let done = app
        .series
        .restamp(&session.grant(), id, &wanted, reason)
        .await;
    Ok(Json(done.map_err(|error| clock(error, "first"))?.into()))
}

/// Confirms a proposal: its records get other times.
pub(super) async fn confirm(
    session: Session<Write>,
    app: App,
    At(id): At<DeviceId>,
    AtProposal(proposal): AtProposal,
    Body(decision): Body<Decision>,
) -> Result<Json<StampedView>, Problem> {
    decide(&session, &app, id, (proposal, true), &decision).await
}

/// Dismisses a proposal: its records stay as they are.
pub(super) async fn dismiss(
    session: Session<Write>,
    app: App,
    At(id): At<DeviceId>,
    AtProposal(proposal): AtProposal,
    Body(decision): Body<Decision>,
) -> Result<Json<StampedView>, Problem> {
    decide(&session, &app, id, (proposal, false), &decision).await
}

async fn decide(
    session: &Session<Write>,
    app: &App,
    device: DeviceId,
    (proposal, confirmed): (i64, bool),
    decision: &Decision,
) -> Result<Json<StampedView>, Problem> {
    let mut faults = Faults::default();
    let reason = read_reason(&decision.reason, &mut faults);
    faults.check()?;
    let done = app
        .series
        .decide_clock_proposal(&session.grant(), device, proposal, confirmed, reason)
        .await;
    Ok(Json(done.map_err(|error| clock(error, "proposal"))?.into()))
}
