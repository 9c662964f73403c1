//! Owns how the journal makes room: acknowledged batches go first, oldest segment first; only when none is left is the
//! oldest segment of unacknowledged ones given up, and its numbers are written down before it goes.

use std::collections::BTreeMap;

use super::{
    BatchKey, Entry, Journal, JournalError, Segment, disk_error,
    frame::{self, Frames},
    marks::Mark,
    segment,
};

impl Journal {
    /// Makes sure that an entry of this size may be appended.
    pub(super) fn make_room(&mut self, size: u64) -> Result<(), JournalError> {
        let active = self.segments.get(&self.active).copied().unwrap_or_default();
        if active.kept > 0 && active.length + size > self.segment_bytes() {
            self.roll()?;
        }
        while self.total() + size > self.limits.max_bytes {
            if !self.reclaim()? {
                break;
            }
        }
        Ok(())
    }

    /// Lets acknowledged segments go whose newest batch was closed longer ago than the days they are kept.
    pub fn expire(&mut self, now_us: i64) -> Result<(), JournalError> {
        let oldest = now_us.saturating_sub(self.limits.keep_us);
        let past: Vec<u64> = self
            .others()
            .filter(|(_, s)| s.waiting == 0 && s.newest_us < oldest)
            .map(|(sequence, _)| sequence)
            .collect();
        past.into_iter()
            .try_for_each(|sequence| self.remove_segment(sequence))
    }

    fn total(&self) -> u64 {
        self.segments.values().map(|s| s.length).sum()
    }

    fn segment_bytes(&self) -> u64 {
        (self.limits.max_bytes / 16).clamp(16 << 10, 8 << 20)
    }

    fn others(&self) -> impl Iterator<Item = (u64, Segment)> + '_ {
        self.segments
            .iter()
            .map(|(s, v)| (*s, *v))
            .filter(|(s, _)| *s != self.active)
    }

    /// Frees something; `false` when there is nothing left that could go.
    fn reclaim(&mut self) -> Result<bool, JournalError> {
        if self.free_acknowledged()? {
            return Ok(true);
        }
        let mixed = self.others().find(|(_, s)| s.waiting < s.kept);
        if let Some((sequence, _)) = mixed {
            self.compact(sequence)?;
            return Ok(true);
        }
        let active = self.segments.get(&self.active).copied().unwrap_or_default();
        if active.kept > active.waiting {
            self.roll()?;
            return Ok(true);
        }
        let oldest = self.others().next();
        if let Some((sequence, _)) = oldest {
            self.give_up(sequence)?;
            return Ok(true);
        }
        if active.kept > 0 {
            self.roll()?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Lets the oldest segment go of which the cloud has everything; whether there was one.
    pub(super) fn free_acknowledged(&mut self) -> Result<bool, JournalError> {
        let free = self.others().find(|(_, s)| s.waiting == 0);
        let Some((sequence, _)) = free else {
            return Ok(false);
        };
        self.remove_segment(sequence)?;
        Ok(true)
    }

    fn give_up(&mut self, sequence: u64) -> Result<(), JournalError> {
        let lost: Vec<BatchKey> = self
            .entries
            .iter()
            .filter(|(key, e)| e.segment == sequence && self.waiting.contains(key))
            .map(|(key, _)| *key)
            .collect();
        self.give_up_batches(&lost)?;
        self.remove_segment(sequence)
    }

    fn give_up_batches(&mut self, lost: &[BatchKey]) -> Result<(), JournalError> {
        if lost.is_empty() {
            return Ok(());
        }
        let entries: Vec<Entry> = lost
            .iter()
            .filter_map(|key| self.entries.get(key).copied())
            .collect();
        let marks: Vec<Mark> = entries
            .iter()
            .map(|e| Mark::Dropped {
                epoch: e.epoch,
                first: e.first,
                last: e.last(),
            })
            .collect();
        self.mark(&marks)?;
        let records: u64 = entries.iter().map(|e| u64::from(e.count)).sum();
        tracing::error!(
            records,
            "unsent records were given up: the journal is full of them, or damaged"
        );
        lost.iter().for_each(|key| self.set_waiting(*key, false));
        Ok(())
    }

    fn remove_segment(&mut self, sequence: u64) -> Result<(), JournalError> {
        self.disk
            .remove(&segment::name(sequence))
            .map_err(disk_error("free room in"))?;
        self.segments.remove(&sequence);
        self.entries.retain(|_, entry| entry.segment != sequence);
        Ok(())
    }

    /// Rewrites a segment without the batches that the cloud has.
    fn compact(&mut self, sequence: u64) -> Result<(), JournalError> {
        let name = segment::name(sequence);
        let file = self
            .disk
            .read(&name)
            .map_err(disk_error("read a segment of"))?
            .unwrap_or_default();
        let wanted: BTreeMap<u64, BatchKey> = self
            .entries
            .iter()
            .filter(|(key, e)| e.segment == sequence && self.waiting.contains(key))
            .map(|(key, e)| (e.offset, *key))
            .collect();
        let mut out = segment::MAGIC.to_vec();
        let mut moved: BTreeMap<BatchKey, u64> = BTreeMap::new();
        for old in Frames::new(&file, sequence, segment::MAGIC.len()) {
            let offset = out.len() as u64;
            match (old.kind, wanted.get(&old.offset)) {
                (segment::KIND_BATCH, None) => continue,
                (_, Some(key)) => {
                    moved.insert(*key, offset);
                }
                (_, None) => {}
            }
            frame::put(&mut out, sequence, offset, old.kind, old.payload);
        }
        let damaged: Vec<BatchKey> = wanted
            .into_values()
            .filter(|key| !moved.contains_key(key))
            .collect();
        self.give_up_batches(&damaged)?;
        self.replace(&name, &out)
            .map_err(disk_error("free room in"))?;
        self.entries
            .retain(|key, e| e.segment != sequence || moved.contains_key(key));
        for (key, offset) in &moved {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.offset = *offset;
            }
        }
        if let Some(place) = self.segments.get_mut(&sequence) {
            place.length = out.len() as u64;
            place.kept = moved.len() as u32;
            place.waiting = moved.len() as u32;
        }
        Ok(())
    }
}
