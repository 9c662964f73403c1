//! Raw values as they were known at a time: from the rows that had arrived by then, with the channel tables of then.
//!
//! Reads the evidence alone, never what was derived from it, and refuses where the evidence of the range was removed.
//! Rows whose times were stamped have the stamps of then; they are few, and each page looks at all of them, because where they
//! lie now says nothing of where they lay. Pages as the present does, in the same order and with the same cursors.

use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::{ProjectId, Timestamp};

use crate::append::is_held;
use crate::error::StoreError;
use crate::feed::Stored;
use crate::scan::{Collector, Cursor, Page, Source, TimeRange};
use crate::spans::Spans;
use crate::stamp::Timing;
use crate::store::{Inner, Store};
use crate::stream::Stream;
use crate::sweep::{Plan, Reader, Shown, Sweep, Visitor, Wanted};

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
        let plan = Plan::new(inner, project, &[sources], range).await?;
        let mut collector = Collector::new(&plan, after, limit);
        let sweep = Sweep::known(inner, &plan, collector.from, known_at);
        // Hot rows do not move: this pass always ends.
        let _ = sweep.run(std::slice::from_mut(&mut collector)).await?;
        // After the rows: what was removed while they were read is told.
        for wanted in &plan.devices {
            inner.evidence_kept(wanted).await?;
        }
        collector.page(inner, &plan).await
    }
}

impl Reader<'_> {
    /// Visits the rows that have a stamp by now, with those of then, where it is asked what was known.
    pub(crate) async fn stamped<V: Visitor>(
        &mut self,
        inner: &Inner,
        visitors: &mut [V],
    ) -> Result<(), StoreError> {
        let Some(known_at) = self.known_at else {
            return Ok(());
        };
        let always = Spans::one(i64::MIN, i64::MAX);
        for stream in &self.wanted.streams {
            let mut after = 0;
            loop {
                let rows = inner.stamped_rows(stream, after, known_at).await?;
                let is_last = rows.len() < ROWS;
                for (row, received) in rows {
                    after = row.id;
                    // They come in no order; this only keeps the page's bound.
                    for visitor in &mut *visitors {
                        visitor.goes_on(i64::MIN);
                    }
                    let table = inner.table(stream, row.revision).await?;
                    let Some(table) = table.filter(|table| table.received <= known_at) else {
                        continue;
                    };
                    let timing = Timing::known(&inner.database, stream, row.id, known_at).await?;
                    let branch = row.branch;
                    let Some(plain) = inner.open_batch(stream, row).await? else {
                        continue;
                    };
                    let was_held = timing.newest().is_none()
                        && Batch::decode(&plain)
                            .is_ok_and(|batch| is_held(&batch, received, i64::MIN, true));
                    if was_held {
                        continue;
                    }
                    let shown = Shown {
                        stream,
                        branch,
                        timing: &timing,
                        times: &always,
                        instead: false,
                    };
                    let wires = self.wires(&table);
                    self.show(&shown, &wires, &plain, visitors);
                }
                if is_last {
                    break;
                }
            }
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
                 FROM batch WHERE id IN (SELECT batch FROM stamp WHERE project = $1 AND stream = $2) \
                   AND held = false AND stamp IS NOT NULL AND id > $3 AND received_us <= $4 ORDER BY id LIMIT $5",
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
        let from = wanted.extent().map_or(i64::MAX, |extent| extent.0);
        match self.evidence_gone(&wanted.device).await? {
            Some(until) if from < until.as_micros() => Err(StoreError::EvidenceGone { until }),
            _ => Ok(()),
        }
    }
}
