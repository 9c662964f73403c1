//! Owns what a session asks of the journal: which batches wait, their bytes, and what the cloud said about them.
//! Promises that an acknowledgement is durable before it counts.

use std::collections::BTreeMap;

use fieldkeep_protocol::{batch, limits, record::Span};

use super::{
    BatchKey, Closed, Entry, Journal, JournalError, disk_error,
    frame::FRAME_HEAD,
    marks::Mark,
    segment::{self, Description},
};
use crate::{ranges::Ranges, sample::Channels};

impl Journal {
    /// The oldest unacknowledged batch, or the first one after another.
    pub fn next_unacknowledged(&self, after: Option<BatchKey>) -> Option<BatchKey> {
        match after {
            None => self.waiting.first().copied(),
            Some(key) => self.waiting.range(BatchKey(key.0 + 1)..).next().copied(),
        }
    }

    /// Reads a closed batch. What is damaged on the medium is given up, named, and never sent.
    pub fn batch(&mut self, key: BatchKey) -> Result<Closed, JournalError> {
        let entry = *self.entries.get(&key).ok_or(JournalError::Absent)?;
        let name = segment::name(entry.segment);
        let payload = self
            .disk
            .read_at(&name, entry.offset + FRAME_HEAD as u64, entry.size())
            .map_err(disk_error("read a batch from"))?;
        let bytes = payload
            .get(segment::DESCRIPTION_BYTES..)
            .unwrap_or_default()
            .to_vec();
        let whole = Description::read(&payload).is_some_and(|d| d.hash == batch::hash(&bytes));
        if !whole {
            let (epoch, first, last) = (entry.epoch, entry.first, entry.last());
            self.mark(&[Mark::Dropped { epoch, first, last }])?;
            self.set_waiting(key, false);
            return Err(JournalError::Absent);
        }
        Ok(Closed {
            epoch: entry.epoch,
            first: entry.first,
            count: entry.count,
            revision: entry.revision,
            bytes,
        })
    }

    /// The table that explains a revision, if the cloud has not acknowledged it.
    pub fn table_to_send(&self, epoch: u64, revision: u32) -> Option<&[u8]> {
        if self.marks.tables.contains(&(epoch, revision)) {
            return None;
        }
        self.tables.get(&(epoch, revision)).map(Vec::as_slice)
    }

    /// The cloud has a table for good.
    pub fn acknowledge_table(&mut self, epoch: u64, revision: u32) -> Result<(), JournalError> {
        self.mark(&[Mark::TableAcknowledged { epoch, revision }])
    }

    /// The cloud has batches for good; returns how many records that newly acknowledges. Durable when it returns.
    pub fn acknowledge(&mut self, keys: &[BatchKey]) -> Result<u64, JournalError> {
        let newly: Vec<(BatchKey, Entry)> = keys
            .iter()
            .filter(|key| self.waiting.contains(key))
            .filter_map(|key| Some((*key, *self.entries.get(key)?)))
            .collect();
        if newly.is_empty() {
            return Ok(0);
        }
        let marks: Vec<Mark> = newly
            .iter()
            .map(|(_, entry)| Mark::Acknowledged {
                epoch: entry.epoch,
                first: entry.first,
                last: entry.last(),
            })
            .collect();
        self.mark(&marks)?;
        let mut records = 0;
        for (key, entry) in newly {
            self.set_waiting(key, false);
            records += u64::from(entry.count);
            if entry.proven {
                self.proven_us = self.proven_us.max(entry.to_us);
            }
        }
        Ok(records)
    }

    /// The cloud can never read a batch: it is not sent again.
    pub fn reject(&mut self, key: BatchKey) -> Result<(), JournalError> {
        let Some(entry) = self.entries.get(&key).copied() else {
            return Ok(());
        };
        let (epoch, first, last) = (entry.epoch, entry.first, entry.last());
        self.mark(&[Mark::Rejected { epoch, first, last }])?;
        self.set_waiting(key, false);
        Ok(())
    }

    /// Takes in what the cloud says it lacks, `next` being the first number it never saw: kept batches that it once
    /// acknowledged and lost are sent again. Returns how many. Numbers it has are no acknowledgement: they may be those
    /// of a copy of this journal.
    pub fn apply_ledger(
        &mut self,
        epoch: u64,
        next: u64,
        holes: &[Span],
    ) -> Result<usize, JournalError> {
        let mut lacking = Ranges::default();
        for hole in holes {
            lacking.insert(hole.first, hole.last);
        }
        lacking.insert(next, limits::RECORD_NUMBER);
        let touched = |map: &BTreeMap<u64, Ranges>, entry: &Entry| {
            map.get(&epoch)
                .is_some_and(|ranges| ranges.touches(entry.first, entry.last()))
        };
        let again: Vec<(BatchKey, Entry)> = self
            .entries
            .iter()
            .filter(|(key, entry)| {
                entry.epoch == epoch
                    && !self.waiting.contains(key)
                    && lacking.touches(entry.first, entry.last())
                    && !touched(&self.marks.rejected, entry)
                    && !touched(&self.marks.dropped, entry)
            })
            .map(|(key, entry)| (*key, *entry))
            .collect();
        if again.is_empty() {
            return Ok(0);
        }
        let mut marks = vec![Mark::TablesAskedAgain { epoch }];
        marks.extend(again.iter().map(|(_, entry)| Mark::AskedAgain {
            epoch,
            first: entry.first,
            last: entry.last(),
        }));
        self.mark(&marks)?;
        for (key, _) in &again {
            self.set_waiting(*key, true);
        }
        Ok(again.len())
    }

    /// Whether the cloud has numbers of the current epoch that this journal never gave out: it is an older copy.
    pub fn is_behind(&self, epoch: u64, next: u64) -> bool {
        epoch == self.epoch && next > self.next
    }

    /// The current epoch's batch that a seal may cover: the newest one that the cloud has. Its last number and its hash.
    pub fn sealable(&self) -> Option<(u64, [u8; 32])> {
        let acknowledged = self.marks.acknowledged.get(&self.epoch)?;
        let entry = self
            .entries
            .values()
            .rev()
            .find(|e| e.epoch == self.epoch && acknowledged.contains(e.first, e.last()))?;
        let name = segment::name(entry.segment);
        let payload = self
            .disk
            .read_at(
                &name,
                entry.offset + FRAME_HEAD as u64,
                segment::DESCRIPTION_BYTES,
            )
            .ok()?;
        Description::read(&payload).map(|d| (d.last(), d.hash))
    }

    /// The newest seal that the cloud has: its epoch, its last record and when it was made.
    pub fn sealed(&self) -> Option<(u64, u64, i64)> {
        self.marks.sealed
    }

    /// The cloud has a seal.
    pub fn acknowledge_seal(
        &mut self,
        epoch: u64,
        last: u64,
        time_us: i64,
    ) -> Result<(), JournalError> {
        self.mark(&[Mark::Sealed {
            epoch,
            last,
            time_us,
        }])
    }

    /// The newest ranges of the current epoch that were given up, at most as many as a seal may name.
    pub fn dropped(&self) -> Vec<Span> {
        let Some(ranges) = self.marks.dropped.get(&self.epoch) else {
            return Vec::new();
        };
        let skip = ranges.len().saturating_sub(limits::DROPPED_RANGES);
        ranges
            .iter()
            .skip(skip)
            .map(|(first, last)| Span { first, last })
            .collect()
    }

    /// The newest time that an acknowledged batch of a synchronised clock proves, or `i64::MIN`.
    pub fn proven_us(&self) -> i64 {
        self.proven_us
    }

    /// The time of the newest record, of the given channels only, if any of them is kept.
    pub fn newest_of(&self, channels: &Channels) -> Option<i64> {
        let same = |epoch: u64, revision: u32| {
            let expected = channels.encode(epoch, revision).ok();
            expected.is_some() && self.tables.get(&(epoch, revision)) == expected.as_ref()
        };
        if let Some(open) = &self.open
            && same(open.head.epoch, open.head.revision)
        {
            return open.times.last().copied();
        }
        let mut known: BTreeMap<(u64, u32), bool> = BTreeMap::new();
        self.entries
            .values()
            .rev()
            .find(|e| {
                *known
                    .entry((e.epoch, e.revision))
                    .or_insert_with(|| same(e.epoch, e.revision))
            })
            .map(|e| e.to_us)
    }

    /// Every epoch with kept batches other than the current one, with its kept numbers from first to the one after the last.
    pub fn older_epochs(&self) -> Vec<(u64, u64, u64)> {
        let mut spans: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for entry in self.entries.values().filter(|e| e.epoch != self.epoch) {
            let span = spans
                .entry(entry.epoch)
                .or_insert((entry.first, entry.last() + 1));
            span.0 = span.0.min(entry.first);
            span.1 = span.1.max(entry.last() + 1);
        }
        spans
            .into_iter()
            .map(|(epoch, (first, next))| (epoch, first, next))
            .collect()
    }
}
