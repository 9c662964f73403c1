//! What a device publishes, message by message: kept, then answered.
//!
//! Promises that the answer 0x00 follows durability, that bytes which can never be read are quarantined and answered
//! 0x99 so that the device goes on, and that everything else which fails is answered 0x97: keep, come back.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::channels::Kind;
use fieldkeep_protocol::exchange::Acknowledged;
use fieldkeep_protocol::message::{Level, LogLine, State};
use fieldkeep_protocol::puback::Code;
use fieldkeep_protocol::seal::Seal;
use fieldkeep_protocol::topic::{self, Up};
use fieldkeep_protocol::{Epoch, Timestamp, limits};
use fieldkeep_store::{AppendError, ChannelTable, Outcome as Filed, StoreError};

use super::Inner;
use super::mqtt::Payload;
use crate::access::{Task, Write, system};
use crate::fleet::FleetError;
use crate::pki::{DeviceSession, PkiError};
use crate::projects::{ChannelDescription, DeviceChannels, ProjectsError, ValueKind};
use crate::series::SeriesError;

/// 2000-01-01T00:00:00Z: the store holds what is older, so no readable record is before this.
const FIRST_RECORD: Timestamp = Timestamp::from_micros(946_684_800_000_000);

/// The answer to one published message.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) packet: u16,
    pub(super) code: Code,
    /// The device said what it keeps: tell it what is missing, once all before this is answered.
    pub(super) ledger: Option<Kept>,
}

/// What became of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) code: Code,
    /// The device said what it keeps.
    pub(super) ledger: Option<Kept>,
    /// The records of a batch that is durable now.
    pub(super) stored: Option<Acknowledged>,
}

/// What a device's journal holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) epoch: Epoch,
    pub(super) oldest: Option<u64>,
    pub(super) next: u64,
}

/// Why a message is not kept.
#[derive(Debug, thiserror::Error)]
enum Unkept {
    #[error("{reason}")]
    Unreadable {
        code: &'static str,
        reason: &'static str,
    },
    #[error("the device has used up what it may ask of this cloud for now")]
    Quota,
    #[error("the disk is full")]
    Full(#[source] StoreError),
    #[error("the measurement store failed")]
    Store(#[source] StoreError),
    #[error("the device's identity cannot be read")]
    Pki(#[from] PkiError),
    #[error("the device's channels cannot be bound")]
    Projects(#[from] ProjectsError),
    #[error("the change cannot be told")]
    Series(#[from] SeriesError),
    #[error("the device's log cannot be written")]
    Fleet(#[from] FleetError),
}

impl From<AppendError> for Unkept {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Undecodable(error) => Self::Unreadable {
                code: "undecodable",
                reason: error.as_str(),
            },
            AppendError::Full(source) => Self::Full(source),
            AppendError::Unavailable(source) => Self::Store(source),
        }
    }
}

impl From<fieldkeep_protocol::DecodeError> for Unkept {
    fn from(error: fieldkeep_protocol::DecodeError) -> Self {
        Self::Unreadable {
            code: "undecodable",
            reason: error.as_str(),
        }
    }
}

/// Keeps one published message and says how to answer it.
pub(super) async fn receive(
    inner: &Inner,
    session: &DeviceSession,
    packet: u16,
    topic: String,
    payload: Payload,
) -> Answer {
    let (code, ledger) = match topic::parse(&topic) {
        Some((device, up)) if device == session.device() => {
            let outcome = keep(inner, session, up, payload.as_ref()).await;
            (outcome.code, outcome.ledger)
        }
        _ => {
            not_yours(inner, session, &topic).await;
            (Code::NotYourTopic, None)
        }
    };
    Answer {
        packet,
        code,
        ledger,
    }
}

/// Keeps one message of a device.
pub(super) async fn keep(inner: &Inner, session: &DeviceSession, up: Up, bytes: &[u8]) -> Outcome {
    inner.fleet.seen(session);
    let mut outcome = Outcome {
        code: Code::Durable,
        ledger: None,
        stored: None,
    };
    let kept = match up {
        _ if !may_work(inner, session, up, bytes) => Err(Unkept::Quota),
        Up::Batch => batch(inner, session, bytes)
            .await
            .map(|stored| outcome.stored = Some(stored)),
        Up::Channels => channels(inner, session, bytes).await,
        Up::Seal => seal(inner, session, bytes).await,
        Up::State => state(inner, session, bytes).map(|kept| outcome.ledger = Some(kept)),
        Up::Log => log(inner, session, bytes).await,
    };
    if let Err(unkept) = kept {
        outcome.code = refuse(inner, session, up, bytes, &unkept).await;
    }
    outcome
}

/// Whether the device has credit for what these bytes may cost.
fn may_work(inner: &Inner, session: &DeviceSession, up: Up, bytes: &[u8]) -> bool {
    let cells = match up {
        Up::Batch => Batch::announced(bytes),
        Up::Channels | Up::Seal | Up::State | Up::Log => 0,
    };
    inner
        .quota
        .charge(session.device(), cells, inner.clock.elapsed())
}

async fn batch(
    inner: &Inner,
    session: &DeviceSession,
    bytes: &[u8],
) -> Result<Acknowledged, Unkept> {
    let receipt = inner.series.append(session, bytes).await?;
    if receipt.outcome != Filed::Duplicate && !receipt.held {
        inner.fleet.stored(session, receipt.to, receipt.clock);
    }
    let (first, last) = (receipt.range.first, receipt.range.end().saturating_sub(1));
    if let Filed::Fork { branch } = receipt.outcome {
        let text = format!(
            "Records {first} to {last} were stored before with other content; both are kept (branch {branch}). \
             Has the device's storage been copied or restored?"
        );
        line(inner, session, Level::Warning, "fork", &text).await;
    }
    if receipt.held && receipt.outcome == Filed::Stored {
        let text = format!(
            "Records {first} to {last} are held back: the device's clock was not set, or their times cannot be true."
        );
        line(inner, session, Level::Warning, "held", &text).await;
    }
    Ok(Acknowledged {
        epoch: receipt.epoch,
        first,
        last,
    })
}

async fn channels(inner: &Inner, session: &DeviceSession, bytes: &[u8]) -> Result<(), Unkept> {
    let receipt = inner.series.append_channels(session, bytes).await?;
    if receipt.conflict {
        let text =
            "A second, different channel table came for the same revision; the first one is used.";
        line(inner, session, Level::Warning, "channels_conflict", text).await;
    }
    // Also when the table is not new: the last attempt may have ended between the store and here.
    bind(inner, session, &receipt.table).await?;
    let intervals = receipt
        .table
        .channels
        .iter()
        .map(|channel| channel.interval_us);
    let shortest = intervals.filter(|interval_us| *interval_us > 0).min();
    let shortest = i64::try_from(shortest.unwrap_or(0)).unwrap_or(i64::MAX);
    inner.fleet.expects(session, shortest);
    Ok(())
}

async fn bind(inner: &Inner, session: &DeviceSession, table: &ChannelTable) -> Result<(), Unkept> {
    let task = system(Task::Ingest).project(session.project());
    let grant = task.grant::<Write>();
    let device = inner.pki.device(&grant.read(), session.device()).await?;
    let device = device.ok_or(PkiError::NotFound)?;
    let channels: Vec<_> = table
        .channels
        .iter()
        .map(|channel| ChannelDescription {
            name: &channel.name,
            label: channel.label.as_deref(),
            unit: &channel.unit,
            kind: match channel.kind {
                Kind::Number => ValueKind::Number,
                Kind::Boolean => ValueKind::Boolean,
                Kind::State => ValueKind::State,
            },
            digits: channel.digits,
            interval_us: channel.interval_us,
        })
        .collect();
    let described = DeviceChannels {
        device: device.id,
        name: &device.name,
        location: device.location,
        channels: &channels,
        from: FIRST_RECORD,
    };
    let bound = inner.projects.bind_channels(&grant, described).await?;
    if !bound.new.is_empty() {
        inner.series.bound(session).await?;
    }
    if bound.refused > 0 {
        let text = format!(
            "{} new channels got no element: this device has had too many. Their records are kept.",
            bound.refused
        );
        line(inner, session, Level::Warning, "channels_refused", &text).await;
    }
    for mismatch in &bound.mismatches {
        let text = format!(
            "Channel {} has {} {}, but its element has {}: the element was left as it is.",
            mismatch.channel, mismatch.field, mismatch.channel_has, mismatch.element_has
        );
        line(inner, session, Level::Warning, "channel_mismatch", &text).await;
    }
    Ok(())
}

async fn seal(inner: &Inner, session: &DeviceSession, bytes: &[u8]) -> Result<(), Unkept> {
    let seal = Seal::decode(bytes)?;
    let forged = |reason| Unkept::Unreadable {
        code: "seal_forged",
        reason,
    };
    let key = inner
        .pki
        .certificate_key(session, seal.x5t())
        .await?
        .ok_or_else(|| forged("it names a certificate that is not this device's"))?;
    let mut signed = [0; limits::SEAL_BYTES];
    let length = seal
        .signed_bytes(&mut signed)
        .map_err(|_| forged("its signed part is too long"))?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
        .verify(signed.get(..length).unwrap_or_default(), seal.signature())
        .map_err(|_| forged("its signature is not by the certificate that it names"))?;
    inner.series.append_seal(session, bytes).await?;
    Ok(())
}

fn state(inner: &Inner, session: &DeviceSession, bytes: &[u8]) -> Result<Kept, Unkept> {
    let state = State::decode(bytes)?;
    inner.fleet.reported(session, &state);
    Ok(Kept {
        epoch: state.epoch,
        oldest: state.oldest,
        next: state.next,
    })
}

async fn log(inner: &Inner, session: &DeviceSession, bytes: &[u8]) -> Result<(), Unkept> {
    let said = LogLine::decode(bytes)?;
    inner.fleet.device_line(session, &said).await?;
    Ok(())
}

/// Quarantines what is unreadable; says what to answer.
async fn refuse(
    inner: &Inner,
    session: &DeviceSession,
    up: Up,
    bytes: &[u8],
    unkept: &Unkept,
) -> Code {
    let (code, reason) = match unkept {
        Unkept::Unreadable { code, reason } => (code, reason),
        Unkept::Quota => {
            slowed(inner, session, unkept).await;
            return Code::Quota;
        }
        // While nothing is let in every message ends here; that was said once, where it was decided.
        Unkept::Full(StoreError::NoRoom) => return Code::Quota,
        _ => {
            failed(session, up, unkept);
            return Code::Quota;
        }
    };
    if let Some(unlogged) = inner.may_log() {
        tracing::warn!(
            device.id = %session.device(),
            project.id = %session.project(),
            kind = up.as_str(),
            size_bytes = bytes.len(),
            reason = code,
            unlogged,
            "message quarantined"
        );
    }
    inner.quota.fine(session.device());
    if let Err(error) = inner.series.quarantine(session, code, bytes).await {
        failed(session, up, &error);
        return Code::Quota;
    }
    let text = format!(
        "A {} message of {} bytes was put into quarantine: {reason}.",
        up.as_str(),
        bytes.len()
    );
    line(inner, session, Level::Warning, code, &text).await;
    Code::Undecodable
}

/// A device that asks for too much at a time is told to come back, and so are its people, sparingly.
async fn slowed(inner: &Inner, session: &DeviceSession, unkept: &Unkept) {
    if let Some(unlogged) = inner.may_log() {
        tracing::warn!(
            device.id = %session.device(),
            project.id = %session.project(),
            reason = "device_quota",
            unlogged,
            "message not taken for now"
        );
        let text = format!("A message was not taken for now: {unkept}.");
        line(inner, session, Level::Warning, "device_quota", &text).await;
    }
}

fn failed(session: &DeviceSession, up: Up, error: &(dyn std::error::Error + 'static)) {
    tracing::error!(
        device.id = %session.device(),
        project.id = %session.project(),
        kind = up.as_str(),
        error,
        "a message cannot be kept; the device will send it again"
    );
}

async fn not_yours(inner: &Inner, session: &DeviceSession, topic: &str) {
    let device = Some((session.project(), session.device()));
    inner.note(None, device, "topic_refused");
    if let Some(unlogged) = inner.may_log() {
        tracing::warn!(
            device.id = %session.device(),
            project.id = %session.project(),
            reason = "topic_refused",
            unlogged,
            "message refused"
        );
    }
    let text = format!("A message was refused: {topic} is not a topic of this device.");
    line(inner, session, Level::Warning, "topic_refused", &text).await;
}

/// A line of the cloud in the device's log. A log that cannot be written does not hold up data.
pub(super) async fn line(
    inner: &Inner,
    session: &DeviceSession,
    level: Level,
    code: &str,
    text: &str,
) {
    let (project, device) = (session.project(), session.device());
    if let Err(error) = inner.fleet.log(project, device, level, code, text).await {
        tracing::error!(
            device.id = %device,
            error = &error as &dyn std::error::Error,
            "a line of a device's log cannot be written"
        );
    }
}
