//! What the cloud tells a device: the time, and which of its records are missing here.

use fieldkeep_protocol::message::{Ledger, Time};
use fieldkeep_protocol::{EncodeError, Span, Spans, Timestamp, limits};

use super::Inner;
use super::up::Kept;
use crate::pki::DeviceSession;
use crate::series::SeriesError;

/// Records may be this far ahead of the time they arrive; the store holds those that are further.
const AHEAD_US: i64 = 86_400 * 1_000_000;

/// Why something cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untold {
    #[error("the measurement store failed")]
    Series(#[from] SeriesError),
    #[error("a message cannot be written: {0:?}")]
    Encode(EncodeError),
}

/// The time as a message, if this cloud's clock can be right. Records of all projects were at most a day ahead when
/// they came, so one that is more than a day ahead of now proves that the clock has gone back.
async fn time(inner: &Inner) -> Result<Option<Vec<u8>>, Untold> {
    let now = inner.clock.now();
    let newest = inner.series.newest().await?;
    if newest.is_some_and(|newest: Timestamp| newest.saturating_since(now) > AHEAD_US) {
        return Ok(None);
    }
    let mut bytes = vec![0; limits::TIME_BYTES];
    let length = Time { now }.encode(&mut bytes).map_err(Untold::Encode)?;
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// The time as a message, or none where there is reason to doubt it, which is logged.
pub(super) async fn trusted_time(inner: &Inner) -> Option<Vec<u8>> {
    match time(inner).await {
        Ok(Some(time)) => Some(time),
        Ok(None) => {
            tracing::error!(
                "this machine's clock is behind the newest records: no time is given to devices"
            );
            None
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the clock cannot be judged: no time is given to devices"
            );
            None
        }
    }
}

/// The ledger of the epoch that a device keeps, as a message: holes among what it can still send, lowest first.
pub(super) async fn ledger(
    inner: &Inner,
    session: &DeviceSession,
    kept: Kept,
) -> Result<Vec<u8>, Untold> {
    let next = inner.series.next_record(session, kept.epoch).await?;
    let from = kept.oldest.unwrap_or(kept.next);
    let to = kept.next.min(next);
    let holes = match from < to {
        true => inner.series.holes(session, kept.epoch, from, to).await?,
        false => Vec::new(),
    };
    let holes: Vec<Span> = holes
        .into_iter()
        .take(limits::HOLES)
        .map(|(first, last)| Span { first, last })
        .collect();
    let message = Ledger {
        epoch: kept.epoch,
        next,
        holes: Spans::new(&holes),
    };
    let mut bytes = vec![0; limits::LEDGER_BYTES];
    let length = message.encode(&mut bytes).map_err(Untold::Encode)?;
    bytes.truncate(length);
    Ok(bytes)
}
