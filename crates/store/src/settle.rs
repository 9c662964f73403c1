//! Looks at marked clocks: stamps what follows from other batches, and proposes where a person has to say.
//!
//! A mark stands for a boot of a stream. Its batches are read, judged (`judge.rs`), and what came of it is written with
//! the end of the mark in one transaction, so that it may be killed anywhere and simply does it again. A boot whose clock
//! may yet be told keeps its mark. What persons said is never touched here.

use std::sync::Arc;

use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::{ClockQuality, DeviceId, Epoch, ProjectId, Timestamp};

use crate::error::StoreError;
use crate::feed::Stored;
use crate::judge::{self, Ending, Seen};
use crate::restamp::{Act, Wish};
use crate::sql::Value;
use crate::stamp::{Shift, StampCause};
use crate::store::{Inner, Origin, Store};
use crate::stream::Stream;

/// How long a boot is waited for that might still synchronise.
const GRACE_US: i64 = 24 * 3_600 * 1_000_000;
/// Batches of a boot that are read before and after a mark; further ones get a mark of their own.
const BEFORE: usize = 1_024;
const AFTER: usize = if cfg!(test) { 64 } else { 8_192 };
const PAGE: usize = 128;

/// What came of looking at the clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Batches that got other times.
    pub stamped: u64,
    /// Steps that a person is now asked about.
    pub proposed: u64,
    /// Marks that are left: their boots may yet tell.
    pub waiting: u64,
}

/// The batches of one boot around a mark.
#[derive(Default)]
pub(crate) struct Boot {
    /// By ascending record numbers.
    pub(crate) seen: Vec<Seen>,
    /// Another boot has begun after it.
    pub(crate) is_over: bool,
    /// The newest readable time before it.
    pub(crate) before_us: Option<i64>,
    /// More of it comes after this row.
    pub(crate) cut_at: Option<i64>,
}

impl Store {
    /// Looks at all marked clocks. Idempotent; may be dropped at any time.
    ///
    /// # Errors
    /// The marks stay; what was done before the failure is done.
    pub async fn settle_clocks(&self, now: Timestamp) -> Result<Settled, StoreError> {
        let inner = &self.inner;
        let rows = inner
            .database
            .fetch_all(
                "SELECT DISTINCT project.project, stream.device, stream.epoch FROM (\
                   SELECT project, stream FROM clock_mark \
                   UNION SELECT project, stream FROM proposal WHERE open_end = true AND state < 2) AS marked \
                 JOIN stream ON stream.id = marked.stream JOIN project ON project.id = marked.project",
                &[],
            )
            .await?;
        let mut settled = Settled::default();
        for row in rows {
            let origin = Origin {
                project: ProjectId::from_bytes(row.array(0)?),
                device: DeviceId::from_bytes(row.array(1)?),
            };
            let epoch = Epoch(row.i64(2)?.cast_unsigned());
            if let Some(stream) = inner.stream(origin, epoch).await? {
                inner.settle(origin, &stream, now, &mut settled).await?;
            }
        }
        Ok(settled)
    }
}

impl Inner {
    async fn settle(
        &self,
        origin: Origin,
        stream: &Arc<Stream>,
        now: Timestamp,
        settled: &mut Settled,
    ) -> Result<(), StoreError> {
        // Cleared before the rows are read: whatever comes from here on is marked again.
        let has_more = {
            let mut state = stream.state(&self.database).await?;
            state.marked = None;
            let batches = Some(state.batches);
            std::mem::replace(&mut state.looked_at, batches) != batches
        };
        let key: [Value<'_>; 2] = [
            stream.identity.project.number.into(),
            stream.identity.id.into(),
        ];
        let rows = self
            .database
            .fetch_all(
                "SELECT batch.first, batch.branch, clock_mark.id FROM clock_mark \
                   LEFT JOIN batch ON batch.id = clock_mark.batch \
                 WHERE clock_mark.project = $1 AND clock_mark.stream = $2 ORDER BY batch.branch, batch.first",
                &key,
            )
            .await?;
        let mut marks = Vec::new();
        for row in rows {
            let place = match (row.opt_i64(0)?, row.opt_i64(1)?) {
                (Some(first), Some(branch)) => Some((branch, first.cast_unsigned())),
                // Its batch is gone.
                _ => None,
            };
            marks.push((place, Some(row.i64(2)?)));
        }
        let open = self
            .database
            .fetch_all(
                "SELECT branch, last FROM proposal \
                 WHERE project = $1 AND stream = $2 AND open_end = true AND state < 2",
                &key,
            )
            .await?;
        for row in open.iter().filter(|_| has_more) {
            marks.push((Some((row.i64(0)?, row.i64(1)?.cast_unsigned())), None));
        }
        let mut judged: Vec<(i64, u64, u64)> = Vec::new();
        for (place, mark) in marks {
            let known = place.is_some_and(|(branch, record)| {
                judged
                    .iter()
                    .any(|(of, first, last)| *of == branch && *first <= record && record <= *last)
            });
            let Some((branch, record)) = place.filter(|_| !known) else {
                // A boot that waits keeps the mark that it was judged by.
                self.unmark(stream, mark, None, now).await?;
                continue;
            };
            let boot = self.boot(stream, branch, record).await?;
            if let (Some(first), Some(last)) = (boot.seen.first(), boot.seen.last()) {
                judged.push((branch, first.first, last.last));
            }
            let waits = self
                .settle_boot(origin, stream, branch, &boot, now, settled)
                .await?;
            if waits && mark.is_some() {
                settled.waiting += 1;
            } else {
                self.unmark(stream, mark, boot.cut_at, now).await?;
            }
        }
        Ok(())
    }

    /// Judges one boot and writes what comes of it; whether it may yet tell more.
    async fn settle_boot(
        &self,
        origin: Origin,
        stream: &Arc<Stream>,
        branch: i64,
        boot: &Boot,
        now: Timestamp,
        settled: &mut Settled,
    ) -> Result<bool, StoreError> {
        let unset = || {
            boot.seen
                .iter()
                .filter(|seen| seen.clock == ClockQuality::Unset)
        };
        let received = unset().map(|seen| seen.received_us).max();
        let has_waited = received.is_some_and(|at| now.as_micros().saturating_sub(at) >= GRACE_US);
        let is_over = boot.is_over || self.has_later_epoch(stream).await?;
        let ending = Ending {
            is_over: is_over || has_waited,
            before_us: boot.before_us,
        };
        let mut waits = false;
        let mut wishes = Vec::new();
        for seen in unset() {
            let Some(correction) = judge::correct(&boot.seen, seen, ending) else {
                waits |= !ending.is_over;
                continue;
            };
            wishes.push(Wish {
                batch: seen.id,
                first: seen.first,
                last: seen.last,
                shift: Shift {
                    offset_us: correction.offset_us,
                    unstepped: true,
                    ..Shift::default()
                },
                error_us: correction.error_us,
                cause: if correction.by_arrival {
                    StampCause::Arrival
                } else {
                    StampCause::Ticks
                },
            });
        }
        if !wishes.is_empty() {
            let act = Act {
                note: None,
                now,
                automatic: true,
            };
            let done = self.restamp(origin, stream, &wishes, &act).await?;
            settled.stamped += done.batches;
        }
        let suspicions = judge::steps(&boot.seen, is_over);
        settled.proposed += self
            .propose(stream, branch, (boot, is_over), &suspicions, now)
            .await?;
        Ok(waits)
    }

    async fn has_later_epoch(&self, stream: &Stream) -> Result<bool, StoreError> {
        let identity = &stream.identity;
        let later = self
            .database
            .fetch_optional(
                "SELECT 1 FROM stream WHERE project = $1 AND device = $2 AND id > $3 AND EXISTS (\
                   SELECT 1 FROM hot WHERE hot.project = $1 AND hot.stream = stream.id) LIMIT 1",
                &[
                    identity.project.number.into(),
                    identity.device.as_bytes().into(),
                    identity.id.into(),
                ],
            )
            .await?;
        Ok(later.is_some())
    }

    /// Ends a mark; where its boot goes on beyond what was read, it goes on there.
    async fn unmark(
        &self,
        stream: &Stream,
        mark: Option<i64>,
        cut_at: Option<i64>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if mark.is_none() && cut_at.is_none() {
            return Ok(());
        }
        let mut transaction = self.database.begin().await?;
        if let Some(mark) = mark {
            transaction
                .execute("DELETE FROM clock_mark WHERE id = $1", &[mark.into()])
                .await?;
        }
        if let Some(batch) = cut_at {
            transaction
                .execute(
                    "INSERT INTO clock_mark (project, stream, batch, marked_us) VALUES ($1, $2, $3, $4)",
                    &[
                        stream.identity.project.number.into(),
                        stream.identity.id.into(),
                        batch.into(),
                        now.as_micros().into(),
                    ],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The batches of the boot that a record belongs to.
    pub(crate) async fn boot(
        &self,
        stream: &Stream,
        branch: i64,
        record: u64,
    ) -> Result<Boot, StoreError> {
        let mut boot = Boot::default();
        let mut number = None;
        let mut before = record.cast_signed();
        let mut back = Vec::new();
        'back: loop {
            let rows = self
                .database
                .fetch_all(
                    "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id, \
                       received_us, held FROM batch WHERE id IN (SELECT id FROM hot \
                     WHERE project = $1 AND stream = $2 AND branch = $3 AND first <= $4 ORDER BY first DESC LIMIT $5) \
                     ORDER BY first DESC",
                    &[
                        stream.identity.project.number.into(),
                        stream.identity.id.into(),
                        branch.into(),
                        before.into(),
                        limit(),
                    ],
                )
                .await?;
            let is_last = rows.len() < PAGE;
            for row in rows {
                let stored = Stored::from_row(&row)?;
                before = stored.first.cast_signed().saturating_sub(1);
                let to_us = stored.to_us;
                let Some(seen) = self.seen(stream, stored, row.i64(11)?).await? else {
                    continue;
                };
                if *number.get_or_insert(seen.boot) != seen.boot {
                    boot.before_us = (!row.bool(12)?).then_some(to_us);
                    break 'back;
                }
                back.push(seen);
                if back.len() >= BEFORE {
                    break 'back;
                }
            }
            if is_last {
                break;
            }
        }
        back.reverse();
        boot.seen = back;
        let Some(number) = number else {
            return Ok(boot);
        };
        let mut after = record.cast_signed();
        let end = boot.seen.len().saturating_add(AFTER);
        loop {
            let rows = self
                .database
                .fetch_all(
                    "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id, \
                       received_us FROM batch WHERE id IN (SELECT id FROM hot \
                     WHERE project = $1 AND stream = $2 AND branch = $3 AND first > $4 ORDER BY first LIMIT $5) ORDER BY first",
                    &[
                        stream.identity.project.number.into(),
                        stream.identity.id.into(),
                        branch.into(),
                        after.into(),
                        limit(),
                    ],
                )
                .await?;
            let is_last = rows.len() < PAGE;
            for row in rows {
                let stored = Stored::from_row(&row)?;
                after = stored.first.cast_signed();
                let Some(seen) = self.seen(stream, stored, row.i64(11)?).await? else {
                    continue;
                };
                if seen.boot != number {
                    boot.is_over = true;
                    return Ok(boot);
                }
                if boot.seen.len() >= end {
                    boot.cut_at = boot.seen.last().map(|last| last.id);
                    return Ok(boot);
                }
                boot.seen.push(seen);
            }
            if is_last {
                return Ok(boot);
            }
        }
    }

    /// A batch's clock; `None` if the row is damaged, which the log says.
    pub(crate) async fn seen(
        &self,
        stream: &Stream,
        row: Stored,
        received_us: i64,
    ) -> Result<Option<Seen>, StoreError> {
        let id = row.id;
        let plain = self.open_batch(stream, row).await?;
        Ok(plain
            .as_deref()
            .and_then(|plain| Batch::decode(plain).ok())
            .map(|batch| Seen::new(id, received_us, &batch)))
    }
}

fn limit() -> Value<'static> {
    i64::try_from(PAGE).unwrap_or(i64::MAX).into()
}
