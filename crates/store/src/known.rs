//! Raw values as they were known at a time: from the rows that had arrived by then, with the channel tables of then.
//!
//! Reads the evidence alone, never what was derived from it, and refuses where the evidence of the range was removed.
//! Pages as the present does, in the same order and with the same cursors. Rows that were stamped since they came are
//! read by the stamps of then, and lie where those say; they are few, and opened before the others.

use std::collections::VecDeque;
use std::sync::Arc;

use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::{ProjectId, Timestamp};

use crate::append::is_held;
use crate::error::StoreError;
use crate::feed::Stored;
use crate::gaps::{GapReason, Run};
use crate::scan::{Collector, Cursor, Page, Source, TimeRange};
use crate::stamp::{Timing, extent};
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
        let mut damaged = 0;
        let mut lanes = self.lanes(inner, from, known_at).await?;
        loop {
            let next = lanes
                .iter_mut()
                .filter(|lane| !lane.done || !lane.ready.is_empty())
                .min_by_key(|lane| lane.head());
            let Some(lane) = next else {
                return Ok(damaged);
            };
            let Some((row, timing)) = lane.ready.pop_front() else {
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
                    lane.wanted
                        .visit(&lane.stream, branch, (&table, &timing), &plain, visitor);
                }
                None => {
                    damaged += 1;
                    visitor.absent(GapReason::Damaged, whole);
                }
            }
        }
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
                let mut stamped = Lane {
                    wanted,
                    stream: Arc::clone(stream),
                    ready: VecDeque::new(),
                    after: [i64::MAX; 5],
                    done: true,
                };
                stamped.fill_stamped(inner, from, self.to, known_at).await?;
                lanes.push(stamped);
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
    /// Rows with the stamps of then.
    ready: VecDeque<(Stored, Timing)>,
    /// No row before this one is left to read: from, span, first, count, branch.
    after: [i64; 5],
    done: bool,
}

impl Lane<'_> {
    fn head(&self) -> i64 {
        self.ready
            .front()
            .map_or(self.after[0], |(row, _)| row.from_us)
    }

    /// All rows of the stream that are stamped now and touched the range then.
    async fn fill_stamped(
        &mut self,
        inner: &Inner,
        from: i64,
        to: i64,
        known_at: Timestamp,
    ) -> Result<(), StoreError> {
        let identity = &self.stream.identity;
        let rows = inner
            .database
            .fetch_all(
                "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id, received_us \
                 FROM batch WHERE project = $1 AND stream = $2 AND received_us <= $3 \
                   AND id IN (SELECT batch FROM stamp WHERE project = $1 AND stream = $2)",
                &[
                    identity.project.number.into(),
                    identity.id.into(),
                    known_at.as_micros().into(),
                ],
            )
            .await?;
        let mut found = Vec::new();
        for row in &rows {
            let received = Timestamp::from_micros(row.i64(11)?);
            let mut stored = Stored::from_row(row)?;
            let timing = Timing::known(&inner.database, &self.stream, &stored, known_at).await?;
            let opened = inner
                .open_batch(&self.stream, Stored::from_row(row)?)
                .await?;
            // A damaged one says nothing of when it was; the present reports it.
            let Some(plain) = opened else { continue };
            let Ok(batch) = Batch::decode(&plain) else {
                continue;
            };
            if timing.newest().is_none() && is_held(&batch, received, i64::MIN, true) {
                continue;
            }
            (stored.from_us, stored.to_us) = extent(&batch, &timing);
            if stored.from_us < to && stored.to_us >= from {
                found.push((stored, timing));
            }
        }
        found.sort_by_key(|(row, _)| row.place());
        self.ready = found.into();
        Ok(())
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
            self.ready.push_back((row, Timing::AS_SENT));
        }
        Ok(())
    }
}

impl Inner {
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
