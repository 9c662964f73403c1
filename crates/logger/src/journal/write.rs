//! Owns how entries and marks reach the journal's files: appended, synced, and believed only then.
//! Promises that a write which failed half-way leaves nothing that a later one would be hidden behind.

use std::{collections::BTreeSet, io};

use super::{
    Journal, JournalError, Segment, disk_error,
    frame::{self, FRAME_HEAD},
    marks::{self, MARKS_LOG, Mark},
    segment::{self, Head, Table},
};

impl Journal {
    /// Adds an entry to the active segment, synced, and says where it begins.
    pub(super) fn append_entry(&mut self, kind: u8, payload: &[u8]) -> Result<u64, JournalError> {
        let size = (FRAME_HEAD + payload.len()) as u64;
        self.make_room(size)?;
        let offset = self.segments.get(&self.active).map_or(0, |s| s.length);
        let mut bytes = Vec::with_capacity(size as usize);
        frame::put(&mut bytes, self.active, offset, kind, payload);
        let name = segment::name(self.active);
        self.append(&name, offset, &bytes, true)
            .map_err(disk_error("write a batch to"))?;
        if let Some(active) = self.segments.get_mut(&self.active) {
            active.length += size;
        }
        Ok(offset)
    }

    /// Begins a new active segment.
    pub(super) fn roll(&mut self) -> Result<(), JournalError> {
        let sequence = self
            .segments
            .last_key_value()
            .map_or(1, |(last, _)| last + 1);
        let kept = self.kept_epochs();
        self.tables.retain(|(epoch, _), _| kept.contains(epoch));
        let head = Head {
            device: self.device,
            epoch: self.epoch,
            next: self.next,
            hash: self.hash,
            tables: self
                .tables
                .iter()
                .map(|(&(epoch, revision), bytes)| Table {
                    epoch,
                    revision,
                    bytes: bytes.clone(),
                })
                .collect(),
        };
        let mut file = segment::MAGIC.to_vec();
        frame::put(
            &mut file,
            sequence,
            segment::MAGIC.len() as u64,
            segment::KIND_HEAD,
            &head.payload(),
        );
        self.replace(&segment::name(sequence), &file)
            .map_err(disk_error("begin a segment of"))?;
        self.segments.insert(
            sequence,
            Segment {
                length: file.len() as u64,
                ..Segment::default()
            },
        );
        self.active = sequence;
        Ok(())
    }

    /// Writes marks, synced, and only then believes them.
    pub(super) fn mark(&mut self, marks: &[Mark]) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        for mark in marks {
            let offset = self.marks_length + bytes.len() as u64;
            marks::put(&mut bytes, offset, *mark);
        }
        self.append(MARKS_LOG, self.marks_length, &bytes, true)
            .map_err(disk_error("mark batches in"))?;
        self.marks_length += bytes.len() as u64;
        marks.iter().for_each(|mark| self.marks.apply(*mark));
        if self.marks_length > self.marks_floor * 4 + 65_536 {
            self.shorten_marks()?;
        }
        Ok(())
    }

    pub(super) fn shorten_marks(&mut self) -> Result<(), JournalError> {
        let kept = self.kept_epochs();
        self.marks.retain_epochs(|epoch| kept.contains(&epoch));
        let file = self.marks.file();
        self.replace(MARKS_LOG, &file)
            .map_err(disk_error("shorten the marks of"))?;
        self.marks_length = file.len() as u64;
        self.marks_floor = self.marks_length;
        Ok(())
    }

    /// The epochs of which there are records, closed or open, and the current one.
    fn kept_epochs(&self) -> BTreeSet<u64> {
        let open = self.open.as_ref().map(|open| open.head.epoch);
        let closed = self.entries.values().map(|e| e.epoch);
        closed.chain(open).chain([self.epoch]).collect()
    }

    /// Appends at a known end of a file. What a failure leaves behind is cut off, now or before the next append.
    pub(super) fn append(
        &mut self,
        name: &str,
        end: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), io::Error> {
        self.with_room(|journal| {
            if journal.torn.contains(name) {
                journal.disk.truncate(name, end)?;
                journal.torn.remove(name);
            }
            let written = match journal.disk.append(name, bytes) {
                Ok(()) if sync => journal.disk.sync(name),
                other => other,
            };
            if written.is_err() && journal.disk.truncate(name, end).is_err() {
                journal.torn.insert(name.to_owned());
            }
            written
        })
    }

    /// Puts a whole file in the place of another.
    pub(super) fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<(), io::Error> {
        self.with_room(|journal| journal.disk.replace(name, bytes))
    }

    /// Writes; where the medium is full, because something else has filled it, acknowledged records make room as they
    /// do where the journal is full.
    fn with_room(
        &mut self,
        write: impl Fn(&mut Journal) -> Result<(), io::Error>,
    ) -> Result<(), io::Error> {
        loop {
            let written = write(self);
            let is_full = written.as_ref().is_err_and(|error| {
                matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                )
            });
            if !is_full || !self.free_acknowledged().unwrap_or(false) {
                return written;
            }
        }
    }
}
