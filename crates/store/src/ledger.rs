//! What is durable, exactly: per epoch the record numbers, the branches, the links of the chain.

use fieldkeep_protocol::{Epoch, Timestamp};

use crate::error::StoreError;
use crate::kept::{self, print};
use crate::ranges::RangeSet;
use crate::store::{Inner, Origin, Store};
use crate::stream::Stream;
use crate::tables::{self, ChannelTable};

/// The ledger of one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochLedger {
    /// The epoch.
    pub epoch: Epoch,
    /// When the cloud first saw it.
    pub first_seen: Timestamp,
    /// The durable record numbers, `(first, last)`, lowest first.
    pub ranges: Vec<(u64, u64)>,
    /// Record numbers that the device says are lost for want of space, `(first, last)`.
    pub dropped: Vec<(u64, u64)>,
    /// How many batches.
    pub batches: u64,
    /// How many of them are held because their times are not to be believed.
    pub held: u64,
    /// How many branches; more than one is a fork.
    pub branches: u32,
    /// How the batches hang together.
    pub links: Links,
}

/// Batches by the state of the link to their predecessor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The predecessor is stored and has the hash that the batch names.
    pub linked: u64,
    /// The predecessor is not stored yet.
    pub pending: u64,
    /// The predecessor will not come, or is there with another hash.
    pub gap: u64,
}

/// How much of a device is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Batches, over all epochs and branches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of their encrypted payloads; rows that retention removed have none.
    pub bytes: u64,
}

impl Store {
    /// The ledger of a device, its epochs in the order in which the cloud first saw them.
    pub async fn ledger(&self, origin: Origin) -> Result<Vec<EpochLedger>, StoreError> {
        let inner = &self.inner;
        let Some(device) = inner.find_device(origin).await? else {
            return Ok(Vec::new());
        };
        let mut ledger = Vec::new();
        for stream in device.streams(&inner.database).await? {
            let dropped = inner.dropped(&stream).await?;
            let (durable, batches, held, branches) = {
                let state = stream.state(&inner.database).await?;
                let branches = u32::try_from(state.branches.len()).unwrap_or(u32::MAX);
                (state.durable.clone(), state.batches, state.held, branches)
            };
            ledger.push(EpochLedger {
                epoch: stream.identity.epoch,
                first_seen: stream.identity.first_seen,
                ranges: durable.ranges().collect(),
                links: inner.links(&stream, &durable, batches, &dropped).await?,
                dropped,
                batches,
                held,
                branches,
            });
        }
        Ok(ledger)
    }

    /// The record numbers of `from..to_exclusive` that are not durable, `(first, last)`, lowest first.
    pub async fn holes(
        &self,
        origin: Origin,
        epoch: Epoch,
        from: u64,
        to_exclusive: u64,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let durable = match self.inner.stream(origin, epoch).await? {
            Some(stream) => stream.state(&self.inner.database).await?.durable.clone(),
            None => RangeSet::default(),
        };
        Ok(durable.holes(from, to_exclusive, usize::MAX))
    }

    /// One past the highest durable record number of an epoch; 0 if there is none.
    pub async fn next_record(&self, origin: Origin, epoch: Epoch) -> Result<u64, StoreError> {
        Ok(match self.inner.stream(origin, epoch).await? {
            Some(stream) => stream.state(&self.inner.database).await?.durable.end(),
            None => 0,
        })
    }

    /// All channel tables of a device, by epoch, revision and branch.
    pub async fn channels(&self, origin: Origin) -> Result<Vec<ChannelTable>, StoreError> {
        let inner = &self.inner;
        let Some(device) = inner.find_device(origin).await? else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for stream in device.streams(&inner.database).await? {
            all.extend(tables::of_stream(&inner.database, &inner.keys, &stream.identity).await?);
        }
        Ok(all)
    }

    /// How much of a device is stored.
    pub async fn totals(&self, origin: Origin) -> Result<Totals, StoreError> {
        let inner = &self.inner;
        let mut totals = Totals::default();
        let Some(device) = inner.find_device(origin).await? else {
            return Ok(totals);
        };
        for stream in device.streams(&inner.database).await? {
            let row = inner
                .database
                .fetch_optional(
                    "SELECT sum(batches), sum(records), sum(bytes) FROM (\
                       SELECT count(*) AS batches, coalesce(sum(count), 0) AS records, \
                         coalesce(sum(length(payload)), 0) AS bytes \
                       FROM hot WHERE project = $1 AND stream = $2 \
                       UNION ALL SELECT coalesce(sum(batches), 0), coalesce(sum(records), 0), 0 \
                       FROM kept_numbers WHERE project = $1 AND stream = $2) AS parts",
                    &[
                        stream.identity.project.number.into(),
                        stream.identity.id.into(),
                    ],
                )
                .await?;
            if let Some(row) = row {
                totals.batches += row.i64(0)?.cast_unsigned();
                totals.records += row.i64(1)?.cast_unsigned();
                totals.bytes += row.i64(2)?.cast_unsigned();
            }
        }
        Ok(totals)
    }
}

impl Inner {
    /// Batches that did not find their predecessor when they came keep its hash; the others are linked.
    async fn links(
        &self,
        stream: &Stream,
        durable: &RangeSet,
        batches: u64,
        dropped: &[(u64, u64)],
    ) -> Result<Links, StoreError> {
        let rows = self
            .database
            .fetch_all(
                "SELECT 0, first, prev, (first, substr(prev, 1, 8)) IN (\
                   SELECT first + count, substr(hash, 1, 8) FROM hot WHERE project = $1 AND stream = $2 \
                     AND first + count IN (SELECT first FROM batch WHERE project = $1 AND stream = $2 AND prev IS NOT NULL)) \
                 FROM batch WHERE project = $1 AND stream = $2 AND prev IS NOT NULL \
                 UNION ALL SELECT coalesce(sum(gaps), 0), NULL, NULL, NULL FROM kept_numbers \
                   WHERE project = $1 AND stream = $2",
                &[stream.identity.project.number.into(), stream.identity.id.into()],
            )
            .await?;
        let mut links = Links {
            linked: batches,
            ..Links::default()
        };
        for row in rows {
            let Some(first) = row.opt_i64(1)? else {
                // Of rows that were removed.
                let gaps = row.i64(0)?.cast_unsigned();
                links.gap += gaps;
                links.linked = links.linked.saturating_sub(gaps);
                continue;
            };
            let before = first.cast_unsigned().checked_sub(1);
            let is_lost = |number| {
                dropped
                    .iter()
                    .any(|range| range.0 <= number && number <= range.1)
            };
            let is_linked = row.bool(3)?
                || match before {
                    Some(before) => {
                        kept::holds(&self.database, stream, before, before, print(row.bytes(2)?))
                            .await?
                    }
                    None => false,
                };
            if is_linked {
                continue;
            }
            links.linked = links.linked.saturating_sub(1);
            if before.is_none_or(|before| durable.contains(before) || is_lost(before)) {
                links.gap += 1;
            } else {
                links.pending += 1;
            }
        }
        Ok(links)
    }
}
