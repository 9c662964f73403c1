//! Raw values as they were known at a time: from the rows that had arrived by then, with the channel tables of then.
//!
//! Reads the evidence alone, never what was derived from it, and refuses where the evidence of the range was removed.
//! Rows whose times were stamped have the stamps of then; they are few, and each page looks at all of them, because where they
//! lie now says nothing of where they lay. Pages as the present does, in the same order and with the same cursors.

use std::collections::VecDeque;
use std::sync::Arc;

use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::{ProjectId, Timestamp};

use crate::append::is_held;
use crate::error::StoreError;
use crate::feed::Stored;
use crate::gaps::{GapReason, Run};
use crate::scan::{Collector, Cursor, Page, Source, TimeRange};
use crate::stamp::Timing;
use crate::store::{Inner, Store};
use crate::stream::Stream;
use crate::sweep::{Plan, UNKNOWN, Visitor, Wanted};

/// Rows of one statement.
const ROWS: usize = 32;

impl Store {
    /// At most `limit` points of some sources in a range, after a cursor, as [`Store::scan`] would have told them at
    /// `known_at`. What explains gaps is what is known now.
    ///
    /// # Errors
    /// [`StoreError::EvidenceGone`] where rows of the range were removed.
    pub async fn scan_known(
        &self,
        project: ProjectId,
        sources: &[Source],
        range: TimeRange,
        known_at: Timestamp,
        (after, limit): (Option<Cursor>, usize),
    ) -> Result<Page, StoreError> {
        let inner = &self.inner;
        let plan = Plan::new(inner, project, sources, range).await?;
        let mut collector = Collector::new(&plan, after, limit);
        let from = after.map_or(plan.from, |cursor| cursor.time);
        let damaged = plan
            .sweep_known(inner, from, known_at, &mut collector)
            .await?;
        // After the rows: what was removed while they were read is told.
        for wanted in &plan.devices {
            inner.evidence_kept(wanted).await?;
        }
        collector.page(inner, &plan, damaged).await
    }
}

impl Plan {
    /// Visits everything from `from` on that had arrived by `known_at`; answers how many rows could not be opened.
    async fn sweep_known(
        &self,
        inner: &Inner,
        from: i64,
        known_at: Timestamp,
        visitor: &mut (impl Visitor + Send),
    ) -> Result<u64, StoreError> {
        let mut damaged = self.stamped(inner, known_at, visitor).await?;
        let mut lanes = self.lanes(inner, from, known_at).await?;
        loop {
            let next = lanes
                .iter_mut()
                .filter(|lane| !lane.done || !lane.ready.is_empty())
                .min_by_key(|lane| lane.head());
            let Some(lane) = next else {
                return Ok(damaged);
            };
            let Some(row) = lane.ready.pop_front() else {
                lane.fill(inner, from, self.to, known_at).await?;
                continue;
            };
            if !visitor.goes_on(row.from_us) {
                return Ok(damaged);
            }
            let whole = Run {
                from: row.from_us,
                to: row.to_us,
                interval_us: UNKNOWN,
            };
            let table = inner.table(&lane.stream, row.revision).await?;
            let Some(table) = table.filter(|table| table.received <= known_at) else {
                visitor.absent(GapReason::Held, whole);
                continue;
            };
            let branch = row.branch;
            match inner.open_batch(&lane.stream, row).await? {
                Some(plain) => {
                    let read_by = (table.as_ref(), &Timing::AS_SENT);
                    lane.wanted
                        .visit(&lane.stream, branch, read_by, &plain, visitor);
                }
                None => {
                    damaged += 1;
                    visitor.absent(GapReason::Damaged, whole);
                }
            }
        }
    }

    /// Visits the rows that have a stamp by now, with those of then; answers how many could not be opened.
    async fn stamped(
        &self,
        inner: &Inner,
        known_at: Timestamp,
        visitor: &mut (impl Visitor + Send),
    ) -> Result<u64, StoreError> {
        let mut damaged = 0;
        for wanted in &self.devices {
            for stream in &wanted.streams {
                let mut after = 0;
                loop {
                    let rows = inner.stamped_rows(stream, after, known_at).await?;
                    let is_last = rows.len() < ROWS;
                    for (row, received) in rows {
                        after = row.id;
                        // They come in no order; this only keeps the page's bound.
                        visitor.goes_on(i64::MIN);
                        let table = inner.table(stream, row.revision).await?;
                        let Some(table) = table.filter(|table| table.received <= known_at) else {
                            continue;
                        };
                        let timing =
                            Timing::known(&inner.database, stream, row.id, known_at).await?;
                        let branch = row.branch;
                        let Some(plain) = inner.open_batch(stream, row).await? else {
                            damaged += 1;
                            continue;
                        };
                        let was_held = timing.newest().is_none()
                            && Batch::decode(&plain)
                                .is_ok_and(|batch| is_held(&batch, received, i64::MIN, true));
                        if !was_held {
                            wanted.visit(stream, branch, (&table, &timing), &plain, visitor);
                        }
                    }
                    if is_last {
                        break;
                    }
                }
            }
        }
        Ok(damaged)
    }

    async fn lanes(
        &self,
        inner: &Inner,
        from: i64,
        known_at: Timestamp,
    ) -> Result<Vec<Lane<'_>>, StoreError> {
        let mut lanes = Vec::new();
        for wanted in &self.devices {
            for stream in &wanted.streams {
                let times = stream.state(&inner.database).await?.times;
                let Some(times) = times.filter(|times| times.from < self.to && times.to >= from)
                else {
                    continue;
                };
                let mut lane = Lane {
                    wanted,
                    stream: Arc::clone(stream),
                    ready: VecDeque::new(),
                    after: [
                        times.from.max(from.saturating_sub(times.span)),
                        i64::MIN,
                        0,
                        0,
                        0,
                    ],
                    done: false,
                };
                lane.fill(inner, from, self.to, known_at).await?;
                lanes.push(lane);
            }
        }
        Ok(lanes)
    }
}

/// The rows of one stream, a few at a time.
struct Lane<'a> {
    wanted: &'a Wanted,
    stream: Arc<Stream>,
    ready: VecDeque<Stored>,
    /// No row before this one is left to read: from, span, first, count, branch.
    after: [i64; 5],
    done: bool,
}

impl Lane<'_> {
    fn head(&self) -> i64 {
        self.ready.front().map_or(self.after[0], |row| row.from_us)
    }

    async fn fill(
        &mut self,
        inner: &Inner,
        from: i64,
        to: i64,
        known_at: Timestamp,
    ) -> Result<(), StoreError> {
        let identity = &self.stream.identity;
        let [from_us, span_us, first, count, branch] = self.after;
        let rows = inner
            .database
            .fetch_all(
                "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id FROM batch \
                 WHERE project = $1 AND stream = $2 AND held = false AND stamp IS NULL \
                   AND (from_us, span_us, first, count, branch) > ($3, $4, $5, $6, $7) \
                   AND from_us < $8 AND from_us + span_us >= $9 AND received_us <= $10 \
                 ORDER BY from_us, span_us, first, count, branch LIMIT $11",
                &[
                    identity.project.number.into(),
                    identity.id.into(),
                    from_us.into(),
                    span_us.into(),
                    first.into(),
                    count.into(),
                    branch.into(),
                    to.into(),
                    from.into(),
                    known_at.as_micros().into(),
                    i64::try_from(ROWS).unwrap_or(i64::MAX).into(),
                ],
            )
            .await?;
        self.done = rows.len() < ROWS;
        for row in &rows {
            let row = Stored::from_row(row)?;
            self.after = row.place();
            self.ready.push_back(row);
        }
        Ok(())
    }
}

impl Inner {
    /// Some rows of a stream that have a stamp, by id, each with its arrival.
    async fn stamped_rows(
        &self,
        stream: &Stream,
        after: i64,
        known_at: Timestamp,
    ) -> Result<Vec<(Stored, Timestamp)>, StoreError> {
        let rows = self
            .database
            .fetch_all(
                "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id, received_us \
                 FROM batch WHERE project = $1 AND stream = $2 AND held = false AND stamp IS NOT NULL \
                   AND id > $3 AND received_us <= $4 ORDER BY id LIMIT $5",
                &[
                    stream.identity.project.number.into(),
                    stream.identity.id.into(),
                    after.into(),
                    known_at.as_micros().into(),
                    i64::try_from(ROWS).unwrap_or(i64::MAX).into(),
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                let received = Timestamp::from_micros(row.i64(11)?);
                Ok((Stored::from_row(row)?, received))
            })
            .collect()
    }

    /// Refuses where hot rows of a device were removed in what is read of it.
    async fn evidence_kept(&self, wanted: &Wanted) -> Result<(), StoreError> {
        let device = &wanted.device;
        let row = self
            .database
            .fetch_optional(
                "SELECT until_us FROM evidence_gone WHERE project = $1 AND device = $2",
                &[device.project.number.into(), device.id.as_bytes().into()],
            )
            .await?;
        match row.map(|row| row.i64(0)).transpose()? {
            Some(until) if wanted.from < until => Err(StoreError::EvidenceGone {
                until: Timestamp::from_micros(until),
            }),
            _ => Ok(()),
        }
    }
}
