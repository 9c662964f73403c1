//! The newest point where hot rows were removed: then a chunk has it.

use fieldkeep_protocol::Timestamp;

use super::later;
use crate::cipher::Kind;
use crate::devices::Device;
use crate::error::StoreError;
use crate::gaps::{GapReason, Run};
use crate::scan::Found;
use crate::spans::Spans;
use crate::store::Inner;
use crate::sweep::{OpenChunk, Stretch, Visitor};
use crate::tiers::{Read, Tiers};

impl Inner {
    /// Up to when hot rows of a device were removed; `None` while all are kept.
    pub(crate) async fn evidence_gone(
        &self,
        device: &Device,
    ) -> Result<Option<Timestamp>, StoreError> {
        let row = self
            .database
            .fetch_optional(
                "SELECT until_us FROM evidence_gone WHERE project = $1 AND device = $2",
                &[device.project.number.into(), device.id.as_bytes().into()],
            )
            .await?;
        let until = row.map(|row| row.i64(0)).transpose()?;
        Ok(until.map(Timestamp::from_micros))
    }

    /// The newest point with an instant in `window`, given the newest of the rows that are there: only where rows were
    /// removed after it can a chunk have a newer one.
    pub(super) async fn newest_removed(
        &self,
        device: &Device,
        channel: &str,
        window: (i64, i64),
        known: Option<Found>,
    ) -> Result<Option<Found>, StoreError> {
        let gone = self.evidence_gone(device).await?;
        let gone = gone.map_or(i64::MIN, Timestamp::as_micros);
        let from = known.map_or(window.0, |known| known.key.time.max(window.0));
        let to = window.1.min(gone);
        'anew: loop {
            if from >= to {
                return Ok(known);
            }
            let tiers = Tiers::load(&self.database, device, (from, to), 0).await?;
            for entry in tiers.chunks.iter().rev() {
                let times = tiers.cold.intersect(&Spans::one(entry.from, entry.to));
                let plain = match self.open_cold(device, Kind::Chunk, entry).await? {
                    Read::Plain(plain) => plain,
                    // Logged there; an older point is better than none.
                    Read::Damaged => continue,
                    Read::Moved => continue 'anew,
                };
                let mut last = Last(None);
                if let Some(chunk) = OpenChunk::decode(plain) {
                    chunk.visit(channel, &times, &mut last);
                }
                if last.0.is_some() {
                    return Ok(later(known, last.0));
                }
            }
            return Ok(known);
        }
    }
}

/// Keeps the newest.
struct Last(Option<Found>);

impl Visitor for Last {
    fn goes_on(&mut self, _from_us: i64) -> bool {
        true
    }

    fn value(&mut self, found: Found) {
        // As from rows: what a watched channel is compared with knows no interval.
        let found = Found {
            interval_us: 0,
            ..found
        };
        self.0 = later(self.0, Some(found));
    }

    fn values(&mut self, values: &Stretch<'_>) {
        if let Some(found) = values.each().last() {
            self.value(found);
        }
    }

    fn absent(&mut self, _reason: GapReason, _run: Run) {}
}
