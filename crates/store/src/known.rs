//! Raw values as they were known at a time: from the rows that had arrived by then, with the channel tables of then.
//!
//! Reads the evidence alone, never what was derived from it, and refuses where the evidence of the range was removed.
//! Pages as the present does, in the same order and with the same cursors.

use fieldkeep_protocol::{ProjectId, Timestamp};

use crate::error::StoreError;
use crate::scan::{Collector, Cursor, Page, Source, TimeRange};
use crate::store::{Inner, Store};
use crate::sweep::{Plan, Sweep, Wanted};

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
        let from = wanted.extent().map_or(i64::MAX, |extent| extent.0);
        match row.map(|row| row.i64(0)).transpose()? {
            Some(until) if from < until => Err(StoreError::EvidenceGone {
                until: Timestamp::from_micros(until),
            }),
            _ => Ok(()),
        }
    }
}
