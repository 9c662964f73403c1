//! Owns the measuring side of a running logger: it asks the sources when they are due, has batches closed when they are
//! old enough, and writes the status file.

use std::time::Duration;

use fieldkeep_protocol::limits;

use crate::{
    driver::{Next, Sources},
    folder::write_atomically,
    logger::Shared,
};

/// The status file is not older than this.
const STATUS_US: u64 = 1_000_000;
/// Acknowledged records that have been kept long enough are looked for this often.
const EXPIRY_US: u64 = 3_600_000_000;
/// After so many records of a history the other side of the logger gets its turn.
const TURN: u32 = 32;

/// Measures until it is dropped.
pub(crate) async fn run(shared: &Shared, sources: &mut Sources) {
    let mut upkeep = Upkeep::default();
    let mut in_turn = 0;
    loop {
        let reading = shared.options.clock.read();
        let now_us = shared.books().judge.time(reading).0;
        let sleep = match sources.next(now_us, reading.ticks_us) {
            Next::Record {
                channels,
                record,
                is_history,
            } => {
                let most = if is_history {
                    limits::BATCH_RECORDS as u32
                } else {
                    shared.config.reporting.batch_records
                };
                if shared
                    .books()
                    .record(&channels, &record, is_history, most, reading)
                {
                    shared.wake.notify_one();
                }
                in_turn += 1;
                if is_history && in_turn < TURN {
                    continue;
                }
                in_turn = 0;
                Duration::ZERO
            }
            Next::At { time_us } => micros(time_us.saturating_sub(now_us).max(0).unsigned_abs()),
            Next::HistoryEnded => {
                if shared.books().close(reading) {
                    shared.wake.notify_one();
                }
                if let Err(error) = write_atomically(&shared.folder.backfilled(), b"", 0o644) {
                    tracing::warn!(%error, "the end of the made-up past cannot be noted");
                }
                Duration::ZERO
            }
            Next::Ended => Duration::from_secs(1),
        };
        let sleep = sleep.min(upkeep.run(shared));
        if sleep.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(sleep).await;
        }
    }
}

#[derive(Default)]
struct Upkeep {
    status_us: Option<u64>,
    expiry_us: Option<u64>,
}

impl Upkeep {
    /// Does what is due and says how long nothing is.
    fn run(&mut self, shared: &Shared) -> Duration {
        let reading = shared.options.clock.read();
        let now = reading.ticks_us;
        let age_us =
            u64::try_from(shared.config.reporting.batch_age.as_micros()).unwrap_or(u64::MAX);
        let mut next = now + STATUS_US;
        let due = |last: Option<u64>, period: u64| last.is_none_or(|last| now >= last + period);
        {
            let mut books = shared.books();
            if let Some((_, since)) = books.journal.open_batch() {
                let close_at = since.saturating_add(age_us);
                if close_at <= now {
                    if books.close(reading) {
                        shared.wake.notify_one();
                    }
                } else {
                    next = next.min(close_at);
                }
            }
            if due(self.expiry_us, EXPIRY_US) {
                self.expiry_us = Some(now);
                books.expire(reading);
            }
        }
        if due(self.status_us, STATUS_US) {
            self.status_us = Some(now);
            shared.status().write(&shared.folder);
        }
        micros(next.saturating_sub(now)).max(Duration::from_millis(1))
    }
}

fn micros(us: u64) -> Duration {
    Duration::from_micros(us)
}
