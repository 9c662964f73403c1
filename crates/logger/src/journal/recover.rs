//! Owns how a journal is opened: what the files say is taken as far as it is whole, a torn tail is cut off, and where
//! continuity is in doubt a new epoch begins.
//! Promises that opening never fails because of what is in the files, only because the medium refuses.

use std::collections::BTreeMap;

use fieldkeep_protocol::{
    channels::{self, Channel},
    id::DeviceId,
    limits,
    record::Epoch,
};

use super::{
    Disk, Journal, JournalError, Limits, Segment, disk_error,
    frame::Frames,
    marks::{self, MARKS_LOG, Mark, Marks},
    open::{self, OPEN_LOG, OpenBatch, OpenHead},
    segment::{self, Description, Head, Table},
};

/// Why a new epoch was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// There was no journal.
    New,
    /// The journal was another device's; its files were set aside.
    OtherDevice,
    /// The newest part could not be read.
    Damaged,
    /// What was acknowledged and dropped could not be read.
    MarksLost,
    /// Records are there whose predecessors are not.
    TailLost,
}

/// What opening a journal found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Why a new epoch was begun, if one was.
    pub doubt: Option<Doubt>,
    /// Records of a batch that was open when the logger ended; they are closed now.
    pub records: u32,
    /// Bytes of a torn tail that were cut off.
    pub torn_bytes: u64,
}

impl Journal {
    /// Opens the journal of a device on a disk, counts this start, and closes what was left open. `fresh_epoch` is a
    /// random number, used if a new epoch must begin.
    pub fn open(
        disk: Box<dyn Disk>,
        device: DeviceId,
        limits: Limits,
        fresh_epoch: u64,
    ) -> Result<(Journal, Recovered), JournalError> {
        let mut journal = Journal {
            disk,
            limits,
            device,
            epoch: fresh_epoch,
            next: 0,
            hash: [0; 32],
            segments: BTreeMap::new(),
            active: 0,
            entries: BTreeMap::new(),
            next_key: 0,
            waiting: Default::default(),
            waiting_records: 0,
            tables: BTreeMap::new(),
            marks: Marks::default(),
            marks_length: 0,
            marks_floor: 0,
            open: None,
            open_length: 0,
            current: None,
            proven_us: i64::MIN,
            now_us: i64::MIN,
            knows_now: false,
            torn: Default::default(),
            buffer: Vec::new(),
        };
        let mut found = Recovered::default();
        journal.read_segments(&mut found)?;
        journal.read_marks(&mut found)?;
        let left = journal.read_open(&mut found)?;
        journal.settle(left, fresh_epoch, &mut found)?;
        journal.knows_now = true;
        Ok((journal, found))
    }

    fn read_segments(&mut self, found: &mut Recovered) -> Result<(), JournalError> {
        let names = self.disk.list().map_err(disk_error("list"))?;
        let mut sequences: Vec<u64> = names
            .iter()
            .filter_map(|name| segment::sequence(name))
            .collect();
        sequences.sort_unstable();
        let Some(&newest) = sequences.last() else {
            found.doubt = Some(Doubt::New);
            return Ok(());
        };
        let mut device = None;
        for &sequence in &sequences {
            match self.read_segment(sequence, sequence == newest, found)? {
                Some(owner) => device = Some(owner),
                None => {
                    let name = segment::name(sequence);
                    tracing::error!(segment = %name, "a segment of the journal cannot be read and is set aside");
                    self.disk
                        .rename(&name, &format!("{name}.damaged"))
                        .map_err(disk_error("set a damaged segment aside in"))?;
                    if sequence == newest {
                        found.doubt = Some(Doubt::Damaged);
                    }
                }
            }
        }
        self.active = newest;
        if device.is_some_and(|owner| owner != self.device) {
            self.set_aside(&names)?;
            found.doubt = Some(Doubt::OtherDevice);
        }
        Ok(())
    }

    /// Another device's records must not go out under this one's name.
    fn set_aside(&mut self, names: &[String]) -> Result<(), JournalError> {
        for name in names
            .iter()
            .filter(|n| segment::sequence(n).is_some() || *n == MARKS_LOG || *n == OPEN_LOG)
        {
            self.disk
                .rename(name, &format!("{name}.other-device"))
                .map_err(disk_error("set another device's files aside in"))?;
        }
        self.segments.clear();
        self.entries.clear();
        self.tables.clear();
        Ok(())
    }

    /// Takes in one segment; the device it belongs to, or `None` if its head cannot be read.
    fn read_segment(
        &mut self,
        sequence: u64,
        is_newest: bool,
        found: &mut Recovered,
    ) -> Result<Option<DeviceId>, JournalError> {
        let name = segment::name(sequence);
        let file = self
            .disk
            .read(&name)
            .map_err(disk_error("read a segment of"))?
            .unwrap_or_default();
        if !file.starts_with(segment::MAGIC) {
            return Ok(None);
        }
        let mut frames = Frames::new(&file, sequence, segment::MAGIC.len());
        let head = frames
            .next()
            .filter(|f| f.kind == segment::KIND_HEAD)
            .and_then(|f| Head::read(f.payload));
        let Some(head) = head else {
            return Ok(None);
        };
        self.epoch = head.epoch;
        self.next = head.next;
        self.hash = head.hash;
        for table in head.tables {
            self.tables
                .insert((table.epoch, table.revision), table.bytes);
        }
        self.segments.insert(sequence, Segment::default());
        for frame in frames.by_ref() {
            match frame.kind {
                segment::KIND_TABLE => {
                    if let Some(table) = Table::read(frame.payload) {
                        self.tables
                            .insert((table.epoch, table.revision), table.bytes);
                    }
                }
                segment::KIND_BATCH => {
                    let Some(description) = Description::read(frame.payload) else {
                        continue;
                    };
                    let length = frame.payload.len() - segment::DESCRIPTION_BYTES;
                    self.index(sequence, frame.offset, length, &description);
                    self.now_us = self.now_us.max(description.closed_us);
                    if description.epoch == self.epoch {
                        self.next = description.last() + 1;
                        self.hash = description.hash;
                    }
                }
                _ => {}
            }
        }
        let length = if frames.rest() == 0 {
            file.len() as u64
        } else {
            self.cut_tail(&name, is_newest, frames.position(), frames.rest(), found)?
        };
        if let Some(place) = self.segments.get_mut(&sequence) {
            place.length = length;
        }
        Ok(Some(head.device))
    }

    /// Deals with bytes after the last whole entry; returns the length that the segment has then.
    fn cut_tail(
        &mut self,
        name: &str,
        is_newest: bool,
        end: u64,
        rest: usize,
        found: &mut Recovered,
    ) -> Result<u64, JournalError> {
        // One entry at most can be torn: more than that was whole once.
        let one_entry = limits::BATCH_BYTES.max(limits::CHANNELS_BYTES) + 256;
        if !is_newest || rest > one_entry {
            tracing::error!(
                segment = name,
                bytes = rest,
                "part of the journal is damaged"
            );
            if is_newest {
                found.doubt = Some(Doubt::Damaged);
            }
            return Ok(end + rest as u64);
        }
        self.disk
            .truncate(name, end)
            .map_err(disk_error("cut the torn tail of"))?;
        self.disk
            .sync(name)
            .map_err(disk_error("cut the torn tail of"))?;
        found.torn_bytes += rest as u64;
        Ok(end)
    }

    fn read_marks(&mut self, found: &mut Recovered) -> Result<(), JournalError> {
        let file = self
            .disk
            .read(MARKS_LOG)
            .map_err(disk_error("read the marks of"))?;
        match file.as_deref().and_then(marks::read) {
            Some((marks, _)) => self.marks = marks,
            None => {
                found.doubt = found.doubt.or(Some(Doubt::MarksLost));
            }
        }
        let keys: Vec<_> = self
            .entries
            .iter()
            .map(|(key, entry)| (*key, *entry))
            .collect();
        for (key, entry) in keys {
            let inside = |map: &BTreeMap<u64, crate::ranges::Ranges>| {
                map.get(&entry.epoch)
                    .is_some_and(|r| r.contains(entry.first, entry.last()))
            };
            let acknowledged = inside(&self.marks.acknowledged);
            if acknowledged && entry.proven {
                self.proven_us = self.proven_us.max(entry.to_us);
            }
            if !acknowledged && !inside(&self.marks.dropped) && !inside(&self.marks.rejected) {
                self.set_waiting(key, true);
            }
        }
        // Written anew whole, with this start counted: whatever tail was torn is gone, and so is what is superseded. Only
        // now, because on a full medium this may let acknowledged segments go.
        self.marks
            .apply(Mark::Boot(self.marks.boot.saturating_add(1)));
        self.shorten_marks()
    }

    fn read_open(&mut self, found: &mut Recovered) -> Result<Option<OpenBatch>, JournalError> {
        let file = self
            .disk
            .read(OPEN_LOG)
            .map_err(disk_error("read the open batch of"))?;
        let left = file
            .as_deref()
            .and_then(open::read)
            .filter(|open| open.count() > 0);
        let Some(left) = left.filter(|open| {
            let is_current = open.head.epoch == self.epoch && open.head.first >= self.next;
            is_current || self.was_leaving(open)
        }) else {
            return Ok(None);
        };
        if left.head.epoch == self.epoch && left.head.first > self.next {
            found.doubt = found.doubt.or(Some(Doubt::TailLost));
        }
        Ok(Some(left))
    }

    /// Whether the logger ended just when it left this batch's epoch: the new epoch's segment is there, and the records
    /// have not moved into it. They were not closed into a batch in their own epoch either.
    fn was_leaving(&self, open: &OpenBatch) -> bool {
        let (epoch, first, last) = (open.head.epoch, open.head.first, open.end() - 1);
        let settled = [
            &self.marks.acknowledged,
            &self.marks.dropped,
            &self.marks.rejected,
        ];
        epoch != self.epoch
            && self.next == 0
            && self.tables.contains_key(&(epoch, open.head.revision))
            && !self
                .entries
                .values()
                .any(|e| e.epoch == epoch && e.last() >= first)
            && !settled
                .into_iter()
                .any(|map| map.get(&epoch).is_some_and(|r| r.touches(first, last)))
    }

    /// Begins a new epoch if there is a doubt, and closes the batch that was left open under what is current then.
    fn settle(
        &mut self,
        left: Option<OpenBatch>,
        fresh_epoch: u64,
        found: &mut Recovered,
    ) -> Result<(), JournalError> {
        let left = match (found.doubt, left) {
            (None, Some(open)) if open.head.epoch != self.epoch => {
                self.under_epoch(open, self.epoch)?
            }
            (None, left) => left,
            (Some(_), left) => {
                self.epoch = fresh_epoch;
                self.next = 0;
                self.hash = [0; 32];
                // Known while the head of the new segment is written, which has its table.
                self.open = left;
                self.roll()?;
                match self.open.take() {
                    Some(open) => self.under_epoch(open, fresh_epoch)?,
                    None => None,
                }
            }
        };
        if let Some(open) = left {
            found.records = open.count();
            self.now_us = self
                .now_us
                .max(open.times.last().copied().unwrap_or(i64::MIN));
            self.open = Some(open);
            if let Err(error) = self.close() {
                // It stays open and is tried again; nothing of it is lost yet.
                tracing::error!(%error, "records of the last run cannot be closed into a batch yet");
                self.open_length = self
                    .disk
                    .read(OPEN_LOG)
                    .ok()
                    .flatten()
                    .map_or(0, |f| f.len() as u64);
            }
        }
        Ok(())
    }

    /// An open batch as the first one of another epoch, which gets its table; `None` if it has none.
    pub(super) fn under_epoch(
        &mut self,
        mut open: OpenBatch,
        epoch: u64,
    ) -> Result<Option<OpenBatch>, JournalError> {
        let table = self.tables.get(&(open.head.epoch, open.head.revision));
        let Some(bytes) = table.and_then(|bytes| under(bytes, epoch, 1)) else {
            return Ok(None);
        };
        self.store_table(Table {
            epoch,
            revision: 1,
            bytes,
        })?;
        open.head = OpenHead {
            epoch,
            first: 0,
            revision: 1,
            ..open.head
        };
        Ok(Some(open))
    }
}

/// The same channels as a table of another epoch and revision.
fn under(table: &[u8], epoch: u64, revision: u32) -> Option<Vec<u8>> {
    let decoded = channels::Channels::decode(table).ok()?;
    let rows: Vec<Channel<'_>> = decoded.iter().collect();
    let mut bytes = vec![0; limits::CHANNELS_BYTES];
    let length = channels::encode(Epoch(epoch), revision, &rows, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}
