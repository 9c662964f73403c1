//! What the cloud tells a device: the time, and which of its records are missing here.

use fieldkeep_protocol::message::{Ledger, Time};
use fieldkeep_protocol::{EncodeError, Span, Spans, limits};

use super::Inner;
use super::up::Kept;
use crate::clock::trust::Doubt;
use crate::pki::DeviceSession;
use crate::series::SeriesError;

/// Why something cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Untold {
    #[error("the measurement store failed")]
    Series(#[from] SeriesError),
    #[error("this machine's clock is not believed: {0}")]
    Clock(Doubt),
    #[error("a message cannot be written: {0:?}")]
    Encode(EncodeError),
}

/// The time as a message, if this cloud's clock can be right.
async fn time(inner: &Inner) -> Result<Vec<u8>, Untold> {
    if let Some(doubt) = inner.series.judge_own_clock().await? {
        return Err(Untold::Clock(doubt));
    }
    let now = inner.clock.now();
    let mut bytes = vec![0; limits::TIME_BYTES];
    let length = Time { now }.encode(&mut bytes).map_err(Untold::Encode)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// The time as a message, or none where there is reason to doubt it, which is logged.
pub(super) async fn trusted_time(inner: &Inner) -> Option<Vec<u8>> {
    time(inner)
        .await
        .inspect_err(|error| {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "no time is given to devices"
            );
        })
        .ok()
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
