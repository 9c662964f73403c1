//! Owns everything measured until the cloud has it, and as long after as there is room.
//!
//! Promises: a record is in `open.log` before `record` returns, so that killing the process loses nothing; a batch is
//! synced to the medium before it may be sent, so that cutting the power loses at most the records of the open batch; a
//! batch's bytes never change; acknowledged records make room before unacknowledged ones; of the latter, those given up
//! are counted and named. Where its continuity is in doubt a new epoch begins.
//! Does not talk to the cloud and does not read a clock.

mod delivery;
mod disk;
mod frame;
mod marks;
#[cfg(test)]
mod memory_disk;
mod open;
mod reclaim;
mod recover;
mod segment;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fieldkeep_protocol::{EncodeError, batch, id::DeviceId, limits, record::ClockQuality};

pub use disk::{Disk, FileDisk};
use marks::{Mark, Marks};
use open::{OPEN_LOG, OpenBatch, OpenHead};
pub use recover::{Doubt, Recovered};
use segment::{Description, Table};

use crate::sample::{Channels, Record};

/// What the journal could not do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The medium refused.
    #[error("cannot {what} the journal")]
    Disk {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A batch or a table cannot be written as the protocol wants it.
    #[error("cannot encode a {what}: {reason}")]
    Encode {
        /// What was being encoded.
        what: &'static str,
        /// What is wrong with it.
        reason: EncodeError,
    },
    /// A record has not one cell for each channel.
    #[error("a record of {cells} cells for {channels} channels")]
    Shape {
        /// How many cells it has.
        cells: usize,
        /// How many it should have.
        channels: usize,
    },
    /// A batch is not in the journal.
    #[error("the batch is not in the journal, or is damaged there")]
    Absent,
}

fn disk_error(what: &'static str) -> impl FnOnce(std::io::Error) -> JournalError {
    move |source| JournalError::Disk { what, source }
}

/// How much the journal keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most its segments may take together.
    pub max_bytes: u64,
    /// How long acknowledged records stay.
    pub keep_us: i64,
}

/// What is known of the instant of a record beside its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The time, which is not the record's where that is a history's.
    pub now_us: i64,
    /// Microseconds since this start of the logger.
    pub ticks_us: u64,
    /// How far the clock can be believed.
    pub clock: ClockQuality,
    /// By how much the clock was stepped since the record before.
    pub step_us: Option<i64>,
}

/// A closed batch's place in the order of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchKey(u64);

/// A closed batch, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its epoch.
    pub epoch: u64,
    /// Its first record number.
    pub first: u64,
    /// How many records it has.
    pub count: u32,
    /// The revision whose table explains it.
    pub revision: u32,
    /// Its bytes, as they were first encoded.
    pub bytes: Vec<u8>,
}

/// How the journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The current epoch.
    pub epoch: u64,
    /// How often the logger was started here.
    pub boot: u32,
    /// The oldest record of the current epoch that is kept.
    pub oldest: Option<u64>,
    /// The time of the oldest record that is kept, of whatever epoch.
    pub oldest_us: Option<i64>,
    /// The number that the next record will get.
    pub next: u64,
    /// What the segments take.
    pub bytes: u64,
    /// Records in closed batches that the cloud has not acknowledged.
    pub unacknowledged: u64,
    /// Records in the open batch.
    pub open: u64,
    /// Records of this epoch given up before the cloud had them.
    pub dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    segment: u64,
    /// Where the entry begins in its segment.
    offset: u64,
    length: u32,
    epoch: u64,
    first: u64,
    count: u32,
    revision: u32,
    from_us: i64,
    to_us: i64,
    proven: bool,
}

impl Entry {
    fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    fn size(&self) -> usize {
        segment::DESCRIPTION_BYTES + self.length as usize
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    length: u64,
    kept: u32,
    waiting: u32,
    newest_us: i64,
}

/// The journal of one device.
pub struct Journal {
    disk: Box<dyn Disk>,
    limits: Limits,
    device: DeviceId,
    epoch: u64,
    /// The number after the last closed batch.
    next: u64,
    hash: [u8; 32],
    segments: BTreeMap<u64, Segment>,
    active: u64,
    entries: BTreeMap<BatchKey, Entry>,
    /// Keys are never given twice while the journal is open: a session may still hold one whose batch is gone.
    next_key: u64,
    waiting: BTreeSet<BatchKey>,
    waiting_records: u64,
    tables: BTreeMap<(u64, u32), Vec<u8>>,
    marks: Marks,
    marks_length: u64,
    marks_floor: u64,
    open: Option<OpenBatch>,
    open_length: u64,
    current: Option<(Arc<Channels>, u32)>,
    proven_us: i64,
    /// The newest time that was told.
    now_us: i64,
    /// Whether times can be judged by `now_us`: not while a batch of the last run is closed.
    knows_now: bool,
    /// Files whose end a failed write may have left torn.
    torn: BTreeSet<String>,
    buffer: Vec<u8>,
}

impl Journal {
    /// Adds a record to the open batch and returns its number. When this returns, the record survives the end of the
    /// process. The open batch is closed first if the record cannot belong to it.
    pub fn record(
        &mut self,
        channels: &Arc<Channels>,
        record: &Record,
        stamp: Stamp,
    ) -> Result<u64, JournalError> {
        self.now_us = stamp.now_us;
        let columns = channels.list.len();
        if record.cells.len() != columns {
            return Err(JournalError::Shape {
                cells: record.cells.len(),
                channels: columns,
            });
        }
        let revision = self.revision(channels)?;
        if self
            .open
            .as_ref()
            .is_some_and(|open| !accepts(open, revision, stamp))
        {
            self.close()?;
        }
        let time_us = record
            .time_us
            .clamp(limits::TIME_MIN_US, limits::TIME_MAX_US);
        let mut bytes = Vec::new();
        let head = match &self.open {
            Some(open) => open.head,
            None => {
                let head = OpenHead {
                    epoch: self.epoch,
                    first: self.next,
                    revision,
                    boot: self.marks.boot,
                    ticks_us: stamp.ticks_us,
                    clock: stamp.clock,
                };
                bytes = open::start(&head, columns);
                head
            }
        };
        let fresh = self.open.is_none();
        if fresh {
            self.disk
                .truncate(OPEN_LOG, 0)
                .map_err(disk_error("begin a batch in"))?;
            self.open_length = 0;
        }
        let offset = self.open_length + bytes.len() as u64;
        // The step before a batch's first record is the gap between two batches, which their ticks tell.
        let step_us = stamp.step_us.filter(|_| !fresh);
        open::put_record(&mut bytes, &head, offset, time_us, step_us, &record.cells);
        self.append(OPEN_LOG, self.open_length, &bytes, false)
            .map_err(disk_error("write a record to"))?;
        self.open_length += bytes.len() as u64;
        let open = self
            .open
            .get_or_insert_with(|| OpenBatch::new(head, columns));
        open.push(time_us, step_us, &record.cells);
        Ok(open.end() - 1)
    }

    /// How many records the open batch has, and the ticks of its first.
    pub fn open_batch(&self) -> Option<(u32, u64)> {
        self.open
            .as_ref()
            .map(|open| (open.count(), open.head.ticks_us))
    }

    /// Closes the open batch. When this returns it is on the medium, and only then may it be sent. On an error the batch
    /// stays open, unless it cannot be encoded at all: then its records are given up and named.
    pub fn close(&mut self) -> Result<Option<BatchKey>, JournalError> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(limits::BATCH_BYTES, 0);
        let encoded = open.encode(self.hash, &mut buffer);
        let result = match encoded {
            Ok(length) => {
                let stored = self.store(&open, &buffer[..length]);
                if stored.is_err() {
                    self.open = Some(open);
                }
                stored.map(Some)
            }
            Err(reason) => {
                let (first, last) = (open.head.first, open.end() - 1);
                self.mark(&[Mark::Dropped {
                    epoch: open.head.epoch,
                    first,
                    last,
                }])?;
                self.next = open.end();
                Err(JournalError::Encode {
                    what: "batch",
                    reason,
                })
            }
        };
        self.buffer = buffer;
        if self.open.is_none() {
            // What stays in the file has numbers below the next one and is passed over when it is read again.
            let _ = self.disk.truncate(OPEN_LOG, 0);
            self.open_length = 0;
        }
        result
    }

    fn store(&mut self, open: &OpenBatch, bytes: &[u8]) -> Result<BatchKey, JournalError> {
        let description = Description {
            epoch: open.head.epoch,
            first: open.head.first,
            count: open.count(),
            revision: open.head.revision,
            from_us: open.times.iter().copied().min().unwrap_or_default(),
            to_us: open.times.iter().copied().max().unwrap_or_default(),
            closed_us: self.now_us,
            proven: false,
            hash: batch::hash(bytes),
        };
        // The rows of a file may have times to come, which prove nothing about today.
        let description = Description {
            proven: self.knows_now
                && open.head.clock == ClockQuality::Synchronised
                && description.to_us <= self.now_us,
            ..description
        };
        let offset = self.append_entry(segment::KIND_BATCH, &description.payload(bytes))?;
        let key = self.index(self.active, offset, bytes.len(), &description);
        self.set_waiting(key, true);
        self.next = open.end();
        self.hash = description.hash;
        Ok(key)
    }

    fn index(
        &mut self,
        segment: u64,
        offset: u64,
        length: usize,
        description: &Description,
    ) -> BatchKey {
        let key = BatchKey(self.next_key);
        self.next_key += 1;
        self.entries.insert(
            key,
            Entry {
                segment,
                offset,
                length: length as u32,
                epoch: description.epoch,
                first: description.first,
                count: description.count,
                revision: description.revision,
                from_us: description.from_us,
                to_us: description.to_us,
                proven: description.proven,
            },
        );
        if let Some(place) = self.segments.get_mut(&segment) {
            place.kept += 1;
            place.newest_us = place.newest_us.max(description.closed_us);
        }
        key
    }

    fn set_waiting(&mut self, key: BatchKey, waiting: bool) {
        let Some(entry) = self.entries.get(&key) else {
            return;
        };
        let (count, segment) = (
            u64::from(entry.count),
            self.segments.get_mut(&entry.segment),
        );
        if waiting && self.waiting.insert(key) {
            self.waiting_records += count;
            segment.into_iter().for_each(|s| s.waiting += 1);
        } else if !waiting && self.waiting.remove(&key) {
            self.waiting_records -= count;
            segment.into_iter().for_each(|s| s.waiting -= 1);
        }
    }

    /// Leaves the current epoch. Records of the open batch move into the new one with new numbers. On an error the old
    /// epoch goes on.
    pub fn begin_epoch(&mut self, epoch: u64) -> Result<(), JournalError> {
        let before = (self.epoch, self.next, self.hash);
        (self.epoch, self.next, self.hash) = (epoch, 0, [0; 32]);
        self.current = None;
        let begun = self.roll().and_then(|()| self.move_open_batch(epoch));
        if begun.is_err() {
            (self.epoch, self.next, self.hash) = before;
        }
        begun
    }

    fn move_open_batch(&mut self, epoch: u64) -> Result<(), JournalError> {
        let Some(open) = self.open.clone() else {
            return Ok(());
        };
        let Some(open) = self.under_epoch(open, epoch)? else {
            return Ok(());
        };
        let file = open.file();
        self.replace(OPEN_LOG, &file)
            .map_err(disk_error("move the open batch of"))?;
        self.open_length = file.len() as u64;
        self.open = Some(open);
        Ok(())
    }

    /// How the journal is.
    pub fn facts(&self) -> Facts {
        let open = self.open.as_ref().map_or(0, |open| u64::from(open.count()));
        let mine = self.entries.values().find(|e| e.epoch == self.epoch);
        let dropped = self.marks.dropped.get(&self.epoch);
        Facts {
            epoch: self.epoch,
            boot: self.marks.boot,
            oldest: mine.map(|e| e.first).or((open > 0).then_some(self.next)),
            oldest_us: self
                .entries
                .values()
                .next()
                .map(|e| e.from_us)
                .or_else(|| self.open.as_ref().and_then(|o| o.times.first().copied())),
            next: self.next + open,
            bytes: self.segments.values().map(|s| s.length).sum(),
            unacknowledged: self.waiting_records,
            open,
            dropped: dropped.map_or(0, |ranges| ranges.iter().map(|(a, b)| b - a + 1).sum()),
        }
    }

    /// The revision of these channels in the current epoch; a new one is written to the journal first.
    fn revision(&mut self, channels: &Arc<Channels>) -> Result<u32, JournalError> {
        if let Some((known, revision)) = &self.current
            && Arc::ptr_eq(known, channels)
        {
            return Ok(*revision);
        }
        let table_error = |reason| JournalError::Encode {
            what: "channel table",
            reason,
        };
        let mut newest = 0;
        for (&(_, revision), bytes) in self.tables.range((self.epoch, 0)..=(self.epoch, u32::MAX)) {
            newest = revision;
            if channels.encode(self.epoch, revision).map_err(table_error)? == *bytes {
                self.current = Some((Arc::clone(channels), revision));
                return Ok(revision);
            }
        }
        let revision = newest + 1;
        let bytes = channels.encode(self.epoch, revision).map_err(table_error)?;
        self.store_table(Table {
            epoch: self.epoch,
            revision,
            bytes,
        })?;
        self.current = Some((Arc::clone(channels), revision));
        Ok(revision)
    }

    fn store_table(&mut self, table: Table) -> Result<(), JournalError> {
        self.append_entry(segment::KIND_TABLE, &table.payload())?;
        self.tables
            .insert((table.epoch, table.revision), table.bytes);
        Ok(())
    }
}

/// A jump longer than this ends a batch: the cloud holds back a batch of which one time cannot be true, and the records
/// before the jump are not to be held back with it.
const JUMP_US: i64 = 3_600_000_000;

fn accepts(open: &OpenBatch, revision: u32, stamp: Stamp) -> bool {
    std::mem::discriminant(&open.head.clock) == std::mem::discriminant(&stamp.clock)
        && open.head.revision == revision
        && open.count() < OpenBatch::capacity(open.columns.len())
        && stamp
            .step_us
            .is_none_or(|step| step.saturating_abs() <= JUMP_US && open.steps.len() < limits::STEPS)
}

#[cfg(test)]
mod tests;
