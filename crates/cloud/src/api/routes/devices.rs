//! Devices with their state, log, ledger and quarantine.

use std::collections::HashMap;

use fieldkeep_protocol::message::Level;
use fieldkeep_protocol::{ClockQuality, DeviceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Admin, Grant, Read, Session, Write};
use crate::api::App;
use crate::api::door::{
    At, Body, Given, Holds, Json, Params, Query, QueryParam, denied, nullable, present,
};
use crate::api::fault::{fleet, pki, projects, series};
use crate::api::id::{DeviceRef, Id, LocationRef, Time};
use crate::api::page::{self, Face, Listing, Page, Wanted};
use crate::api::problem::{Faults, Problem};
use crate::fleet::{Condition, Line, LineSource, Status};
use crate::pki::{Device, State};

/// Lines of a log page.
const LINES_MAX: usize = 500;
/// Lines of a log page where the client does not say.
const LINES_DEFAULT: usize = 100;

/// What of a device changes by itself.
pub(super) const MOVING: &[&str] = &[
    "state",
    "sentence",
    "connected",
    "last_seen",
    "last_record",
    "clock",
    "clock_age_s",
    "certificate_expires",
    "version",
    "elements",
    "journal",
];

/// A datalogger and how it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Device)]
pub(super) struct DeviceView {
    id: DeviceRef,
    name: String,
    kind: KindWord,
    /// Are its data made up?
    simulated: bool,
    location: Option<LocationRef>,
    state: StateWord,
    /// The state in one sentence, with the reason.
    sentence: String,
    /// May it connect?
    enabled: bool,
    /// Is a session open?
    connected: bool,
    last_seen: Option<Time>,
    /// The time of its newest record.
    last_record: Option<Time>,
    /// What it said of its clock.
    clock: Option<ClockWord>,
    /// Seconds since a free-running clock was last set.
    clock_age_s: Option<u32>,
    certificate_expires: Time,
    /// The version of its software.
    version: Option<String>,
    /// How many elements it feeds.
    elements: u64,
    created: Time,
    journal: Option<JournalView>,
}

/// What a device said of its journal.
#[derive(Serialize, ToSchema)]
#[schema(as = Journal)]
pub(super) struct JournalView {
    /// The epoch of its records, in hex.
    epoch: String,
    /// The oldest record that it keeps.
    oldest: Option<u64>,
    /// The number that its next record gets.
    next: u64,
    /// Records that it lost before they were acknowledged.
    dropped: u64,
    /// Its size.
    bytes: u64,
    reported: Time,
}

/// What kind of device.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeviceKind)]
pub(super) enum KindWord {
    /// A datalogger.
    Logger,
}

/// How a device is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeviceState)]
pub(super) enum StateWord {
    /// Records come as planned.
    Reporting,
    /// Records should have come.
    Late,
    /// Nothing comes.
    Offline,
    /// No record ever came.
    NeverReported,
    /// People have switched it off.
    Disabled,
}

/// What a device says of its clock.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ClockState)]
pub(super) enum ClockWord {
    /// Set from a time source and held by it.
    Synchronised,
    /// Set once, running on its own since.
    FreeRunning,
    /// Never set since the device started.
    Unset,
}

impl From<Condition> for StateWord {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Reporting => Self::Reporting,
            Condition::Late => Self::Late,
            Condition::Offline => Self::Offline,
            Condition::NeverReported => Self::NeverReported,
            Condition::Disabled => Self::Disabled,
        }
    }
}

fn show(device: Device, status: Status, elements: u64) -> DeviceView {
    let (clock, clock_age_s) = match status.clock {
        None => (None, None),
        Some(ClockQuality::Synchronised) => (Some(ClockWord::Synchronised), None),
        Some(ClockQuality::FreeRunning { age_s }) => (Some(ClockWord::FreeRunning), Some(age_s)),
        Some(ClockQuality::Unset) => (Some(ClockWord::Unset), None),
    };
    DeviceView {
        id: Id(device.id),
        name: device.name,
        kind: KindWord::Logger,
        simulated: device.simulated,
        location: device.location.map(Id),
        state: status.state.into(),
        sentence: status.sentence,
        enabled: device.state == State::Active,
        connected: status.connected,
        last_seen: status.last_seen.map(Time),
        last_record: status.last_record.map(Time),
        clock,
        clock_age_s,
        certificate_expires: status.certificate_expires.into(),
        version: status.version,
        elements,
        created: device.created.into(),
        journal: status.journal.map(|journal| JournalView {
            epoch: format!("{:016x}", journal.epoch),
            oldest: journal.oldest,
            next: journal.next,
            dropped: journal.dropped_total,
            bytes: journal.bytes,
            reported: journal.reported.into(),
        }),
    }
}

/// How many elements each device feeds.
async fn fed(app: &App, grant: &Grant<'_, Read>) -> Result<HashMap<DeviceId, u64>, Problem> {
    let mut fed = HashMap::new();
    for element in app.projects.elements(grant).await.map_err(projects)? {
        if let Some(deployment) = element.deployment.filter(|last| last.to.is_none()) {
            *fed.entry(deployment.device).or_insert(0) += 1;
        }
    }
    Ok(fed)
}

const STATES: &[&str] = &["reporting", "late", "offline", "never_reported", "disabled"];

/// Which devices.
pub(super) struct Filter {
    state: Option<StateWord>,
    page: Listing,
}

impl Params for Filter {
    const ALL: &'static [QueryParam] = &[
        QueryParam {
            name: "state",
            required: false,
            holds: Holds::Word(STATES),
            says: "Only devices in this state.",
        },
        Listing::PARAMS[0],
        Listing::PARAMS[1],
        Listing::PARAMS[2],
        Listing::PARAMS[3],
        Listing::PARAMS[4],
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let state = given.word("state", STATES, faults).and_then(|word| {
            Condition::ALL
                .into_iter()
                .find(|condition| condition.word() == word)
        });
        Some(Self {
            state: state.map(StateWord::from),
            page: Listing::read(given, faults)?,
        })
    }
}

fn face((device, _): &(Device, Status)) -> Face<'_> {
    Face {
        id: *device.id.as_bytes(),
        name: &device.name,
        location: device.location,
    }
}

/// The devices that I reach.
pub(super) async fn list(
    session: Session<Read>,
    app: App,
    Query(filter): Query<Filter>,
) -> Result<Json<Page<DeviceView>>, Problem> {
    let grant = session.grant();
    let mut all = app.fleet.statuses(&grant).await.map_err(fleet)?;
    if let Some(state) = filter.state {
        all.retain(|(_, status)| StateWord::from(status.state) == state);
    }
    let fed = fed(&app, &grant).await?;
    Ok(Json(filter.page.cut(all, face, |(device, status)| {
        let elements = fed.get(&device.id).copied().unwrap_or_default();
        show(device, status, elements)
    })))
}

/// One device.
pub(super) async fn one(
    session: Session<Read>,
    app: App,
    At(id): At<DeviceId>,
) -> Result<Json<DeviceView>, Problem> {
    described(&app, &session.grant(), id).await.map(Json)
}

async fn described(
    app: &App,
    grant: &Grant<'_, Read>,
    id: DeviceId,
) -> Result<DeviceView, Problem> {
    let status = app.fleet.status(grant, id).await.map_err(fleet)?;
    let device = app.pki.device(grant, id).await.map_err(pki)?;
    let device = device.ok_or(Problem::new(crate::api::problem::Code::NotFound))?;
    let fed = fed(app, grant).await?;
    let elements = fed.get(&id).copied().unwrap_or_default();
    Ok(show(device, status, elements))
}

/// What to change; what is absent stays, null clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceChange)]
pub(super) struct DevicePatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(
        min_length = 1,
        max_length = 128,
        nullable = false,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LocationRef>)]
    location: Option<Option<LocationRef>>,
    /// May it connect? Administrators only; a live session of a device that may not is cut within seconds.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    enabled: Option<bool>,
}

/// Changes a device.
pub(super) async fn change(
    session: Session<Write>,
    app: App,
    At(id): At<DeviceId>,
    Body(patch): Body<DevicePatch>,
) -> Result<Json<DeviceView>, Problem> {
    let grant = session.grant();
    let read = grant.read();
    // Everything is checked before anything is changed.
    let administrator = match patch.enabled {
        None => None,
        Some(enabled) => {
            let who = session.signed_in().clone();
            let session = app.access.session::<Admin>(who, session.project()).await;
            Some((session.map_err(denied)?, enabled))
        }
    };
    app.pki
        .device(&read, id)
        .await
        .map_err(pki)?
        .ok_or(Problem::new(crate::api::problem::Code::NotFound))?;
    if let Some(location) = patch.location {
        super::location_is_known(&app, &read, location.map(|Id(id)| id)).await?;
    }
    if let Some(name) = &patch.name {
        app.pki.rename(&grant, id, name).await.map_err(pki)?;
    }
    if let Some(location) = patch.location {
        let location = location.map(|Id(id)| id);
        app.pki.locate(&grant, id, location).await.map_err(pki)?;
    }
    if let Some((administrator, enabled)) = administrator {
        let state = if enabled {
            State::Active
        } else {
            State::Disabled
        };
        app.pki
            .set_state(&administrator.grant(), id, state)
            .await
            .map_err(pki)?;
    }
    described(&app, &read, id).await.map(Json)
}

/// A line of a device's log.
#[derive(Serialize, ToSchema)]
pub(super) struct LogLine {
    time: Time,
    level: LevelWord,
    /// Who wrote it.
    source: SourceWord,
    /// What kind, for programs.
    code: String,
    /// What happened, for people.
    text: String,
}

/// How weighty.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LogLevel)]
pub(super) enum LevelWord {
    /// For whoever looks for a fault.
    Debug,
    /// As it should be.
    Info,
    /// Worth knowing.
    Notice,
    /// Not as it should be.
    Warning,
    /// Broken.
    Error,
}

/// Who wrote a line.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LogSource)]
pub(super) enum SourceWord {
    /// The device itself.
    Device,
    /// The cloud, about the device.
    Cloud,
}

impl From<Line> for LogLine {
    fn from(line: Line) -> Self {
        Self {
            time: line.time.into(),
            level: match line.level {
                Level::Debug => LevelWord::Debug,
                Level::Info => LevelWord::Info,
                Level::Notice => LevelWord::Notice,
                Level::Warning => LevelWord::Warning,
                Level::Error => LevelWord::Error,
            },
            source: match line.source {
                LineSource::Device => SourceWord::Device,
                LineSource::Cloud => SourceWord::Cloud,
            },
            code: line.code,
            text: line.text,
        }
    }
}

/// Which lines.
pub(super) struct Lines {
    before: Option<i64>,
    limit: usize,
}

impl Params for Lines {
    const ALL: &'static [QueryParam] = &[
        Wanted::PARAMS[0],
        QueryParam {
            name: "limit",
            required: false,
            holds: Holds::Number(1, LINES_MAX),
            says: "At most so many lines.",
        },
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        Some(Self {
            before: given.cursor(faults),
            limit: given
                .number("limit", 1, LINES_MAX, faults)
                .unwrap_or(LINES_DEFAULT),
        })
    }
}

/// A device's log, newest first.
pub(super) async fn log(
    session: Session<Read>,
    app: App,
    At(id): At<DeviceId>,
    Query(wanted): Query<Lines>,
) -> Result<Json<Page<LogLine>>, Problem> {
    let limit = u32::try_from(wanted.limit).unwrap_or(u32::MAX);
    let lines = app
        .fleet
        .device_log(&session.grant(), id, limit, wanted.before)
        .await
        .map_err(fleet)?;
    let full = lines.len() == wanted.limit;
    let next_cursor = lines
        .last()
        .filter(|_| full)
        .map(|last| page::encode(&last.id));
    Ok(Json(Page {
        items: lines.into_iter().map(LogLine::from).collect(),
        next_cursor,
    }))
}

/// Which records of a device arrived.
#[derive(Serialize, ToSchema)]
pub(super) struct Ledger {
    items: Vec<EpochView>,
}

/// One run of record numbers.
#[derive(Serialize, ToSchema)]
#[schema(as = Epoch)]
pub(super) struct EpochView {
    /// The run's id, in hex.
    epoch: String,
    first_seen: Time,
    /// Durable record numbers as pairs: first and last.
    durable: Vec<[u64; 2]>,
    /// Record numbers that the device lost before they were acknowledged, as pairs: first and last.
    dropped: Vec<[u64; 2]>,
    batches: u64,
    /// Batches that cannot be read yet because their times are not to be believed.
    held: u64,
    /// More than one is a fork: a cloned or restored medium.
    branches: u32,
    links: LinksView,
}

/// How the batches of an epoch hang together.
#[derive(Serialize, ToSchema)]
#[schema(as = Links)]
pub(super) struct LinksView {
    /// Their predecessor is there.
    linked: u64,
    /// Their predecessor is still to come.
    pending: u64,
    /// Their predecessor will not come, or is not what they say.
    gap: u64,
}

/// Which records of a device are durable.
pub(super) async fn ledger(
    session: Session<Read>,
    app: App,
    At(id): At<DeviceId>,
) -> Result<Json<Ledger>, Problem> {
    let epochs = app
        .series
        .ledger(&session.grant(), id)
        .await
        .map_err(series)?;
    let items = epochs
        .into_iter()
        .map(|epoch| EpochView {
            epoch: format!("{:016x}", epoch.epoch.0),
            first_seen: epoch.first_seen.into(),
            durable: pairs(epoch.ranges),
            dropped: pairs(epoch.dropped),
            batches: epoch.batches,
            held: epoch.held,
            branches: epoch.branches,
            links: LinksView {
                linked: epoch.links.linked,
                pending: epoch.links.pending,
                gap: epoch.links.gap,
            },
        })
        .collect();
    Ok(Json(Ledger { items }))
}

fn pairs(ranges: Vec<(u64, u64)>) -> Vec<[u64; 2]> {
    ranges
        .into_iter()
        .map(|(first, last)| [first, last])
        .collect()
}

/// What a device sent that could not be read.
#[derive(Serialize, ToSchema)]
pub(super) struct Quarantine {
    items: Vec<QuarantinedMessage>,
    /// Messages that had to make room for newer ones.
    dropped: u64,
}

/// A message that could not be read; its bytes are kept.
#[derive(Serialize, ToSchema)]
pub(super) struct QuarantinedMessage {
    /// Counts up per device.
    number: u64,
    received: Time,
    /// Why it could not be read.
    reason: String,
    size_bytes: u64,
}

/// What a device sent that could not be read, oldest first.
pub(super) async fn quarantine(
    session: Session<Read>,
    app: App,
    At(id): At<DeviceId>,
) -> Result<Json<Quarantine>, Problem> {
    let grant = session.grant();
    let (messages, state) = app.series.quarantined(&grant, id).await.map_err(series)?;
    let items = messages
        .into_iter()
        .map(|message| QuarantinedMessage {
            number: message.number,
            received: message.received.into(),
            reason: message.reason,
            size_bytes: message.bytes.len() as u64,
        })
        .collect();
    Ok(Json(Quarantine {
        items,
        dropped: state.dropped,
    }))
}
