//! Owns what happened to batches after they were closed: acknowledged, dropped, sealed; and the boot count.
//! They lie in `marks.log`, so that a batch's own bytes are written once and never touched.
//! Promises that losing the tail of that file costs at most a delivery that the cloud recognises as a repetition.

use std::collections::{BTreeMap, BTreeSet};

use super::frame::{self, Fields, Frames};
use crate::ranges::Ranges;

/// The name of the marks' file.
pub(super) const MARKS_LOG: &str = "marks.log";

const MAGIC: &[u8; 5] = b"FKJM\x01";
const SALT: u64 = 0;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The logger started for the n-th time.
    Boot(u32),
    /// The cloud has these records for good.
    Acknowledged { epoch: u64, first: u64, last: u64 },
    /// The cloud has lost these records and asks for them.
    AskedAgain { epoch: u64, first: u64, last: u64 },
    /// The cloud could not read these records; they lie in `rejected/`.
    Rejected { epoch: u64, first: u64, last: u64 },
    /// These records were given up before the cloud had them.
    Dropped { epoch: u64, first: u64, last: u64 },
    /// The cloud has the channel table of a revision.
    TableAcknowledged { epoch: u64, revision: u32 },
    /// The cloud asks for an epoch's tables again.
    TablesAskedAgain { epoch: u64 },
    /// The cloud has a seal up to a record, made at a time.
    Sealed { epoch: u64, last: u64, time_us: i64 },
}

/// The sum of all marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) boot: u32,
    pub(super) acknowledged: BTreeMap<u64, Ranges>,
    pub(super) rejected: BTreeMap<u64, Ranges>,
    pub(super) dropped: BTreeMap<u64, Ranges>,
    pub(super) tables: BTreeSet<(u64, u32)>,
    pub(super) sealed: Option<(u64, u64, i64)>,
}

impl Marks {
    pub(super) fn apply(&mut self, mark: Mark) {
        match mark {
            Mark::Boot(boot) => self.boot = boot,
            Mark::Acknowledged { epoch, first, last } => {
                self.acknowledged
                    .entry(epoch)
                    .or_default()
                    .insert(first, last);
            }
            Mark::AskedAgain { epoch, first, last } => {
                self.acknowledged
                    .entry(epoch)
                    .or_default()
                    .remove(first, last);
            }
            Mark::Rejected { epoch, first, last } => {
                self.rejected.entry(epoch).or_default().insert(first, last);
            }
            Mark::Dropped { epoch, first, last } => {
                self.dropped.entry(epoch).or_default().insert(first, last);
            }
            Mark::TableAcknowledged { epoch, revision } => {
                self.tables.insert((epoch, revision));
            }
            Mark::TablesAskedAgain { epoch } => self.tables.retain(|(e, _)| *e != epoch),
            Mark::Sealed {
                epoch,
                last,
                time_us,
            } => self.sealed = Some((epoch, last, time_us)),
        }
    }

    /// Forgets what concerns epochs that are neither current nor kept.
    pub(super) fn retain_epochs(&mut self, keep: impl Fn(u64) -> bool) {
        self.acknowledged.retain(|epoch, _| keep(*epoch));
        self.rejected.retain(|epoch, _| keep(*epoch));
        self.dropped.retain(|epoch, _| keep(*epoch));
        self.tables.retain(|(epoch, _)| keep(*epoch));
    }

    /// The shortest file that says the same.
    pub(super) fn file(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let mut add = |mark: Mark| {
            let offset = out.len() as u64;
            put(&mut out, offset, mark);
        };
        add(Mark::Boot(self.boot));
        for (&epoch, ranges) in &self.acknowledged {
            ranges
                .iter()
                .for_each(|(first, last)| add(Mark::Acknowledged { epoch, first, last }));
        }
        for (&epoch, ranges) in &self.rejected {
            ranges
                .iter()
                .for_each(|(first, last)| add(Mark::Rejected { epoch, first, last }));
        }
        for (&epoch, ranges) in &self.dropped {
            ranges
                .iter()
                .for_each(|(first, last)| add(Mark::Dropped { epoch, first, last }));
        }
        for &(epoch, revision) in &self.tables {
            add(Mark::TableAcknowledged { epoch, revision });
        }
        if let Some((epoch, last, time_us)) = self.sealed {
            add(Mark::Sealed {
                epoch,
                last,
                time_us,
            });
        }
        out
    }
}

/// One mark's entry at an offset of the file.
pub(super) fn put(out: &mut Vec<u8>, offset: u64, mark: Mark) {
    let (kind, words) = match mark {
        Mark::Boot(boot) => (1, [u64::from(boot), 0, 0]),
        Mark::Acknowledged { epoch, first, last } => (2, [epoch, first, last]),
        Mark::AskedAgain { epoch, first, last } => (3, [epoch, first, last]),
        Mark::Dropped { epoch, first, last } => (4, [epoch, first, last]),
        Mark::TableAcknowledged { epoch, revision } => (5, [epoch, u64::from(revision), 0]),
        Mark::TablesAskedAgain { epoch } => (6, [epoch, 0, 0]),
        Mark::Rejected { epoch, first, last } => (8, [epoch, first, last]),
        Mark::Sealed {
            epoch,
            last,
            time_us,
        } => (7, [epoch, last, time_us.cast_unsigned()]),
    };
    let mut payload = [0; 24];
    for (place, word) in payload.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    frame::put(out, SALT, offset, kind, &payload);
}

/// What a file says as far as it is whole, and where its whole part ends; `None` if it is no marks' file.
pub(super) fn read(bytes: &[u8]) -> Option<(Marks, u64)> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let mut frames = Frames::new(bytes, SALT, MAGIC.len());
    let mut marks = Marks::default();
    let mut end = frames.position();
    while let Some(mark) = frames.next().and_then(|f| read_mark(f.kind, f.payload)) {
        marks.apply(mark);
        end = frames.position();
    }
    // A file is made whole with its boot count in it; without one it was damaged, not cut.
    (marks.boot > 0).then_some((marks, end))
}

fn read_mark(kind: u8, payload: &[u8]) -> Option<Mark> {
    let mut fields = Fields(payload);
    let [a, b, c] = [fields.u64()?, fields.u64()?, fields.u64()?];
    let ordered = b <= c && c < fieldkeep_protocol::limits::RECORD_NUMBER;
    let (epoch, first, last) = (a, b, c);
    match kind {
        1 => Some(Mark::Boot(u32::try_from(a).ok()?)),
        2 if ordered => Some(Mark::Acknowledged { epoch, first, last }),
        3 if ordered => Some(Mark::AskedAgain { epoch, first, last }),
        4 if ordered => Some(Mark::Dropped { epoch, first, last }),
        5 => Some(Mark::TableAcknowledged {
            epoch,
            revision: u32::try_from(b).ok()?,
        }),
        6 => Some(Mark::TablesAskedAgain { epoch }),
        8 if ordered => Some(Mark::Rejected { epoch, first, last }),
        7 => Some(Mark::Sealed {
            epoch,
            last: b,
            time_us: c.cast_signed(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_file_says_the_same() {
        let mut marks = Marks::default();
        for mark in [
            Mark::Boot(3),
            Mark::Acknowledged {
                epoch: 9,
                first: 0,
                last: 99,
            },
            Mark::AskedAgain {
                epoch: 9,
                first: 10,
                last: 19,
            },
            Mark::Dropped {
                epoch: 9,
                first: 200,
                last: 219,
            },
            Mark::Rejected {
                epoch: 9,
                first: 300,
                last: 301,
            },
            Mark::TableAcknowledged {
                epoch: 9,
                revision: 1,
            },
            Mark::Sealed {
                epoch: 9,
                last: 99,
                time_us: -5,
            },
        ] {
            marks.apply(mark);
        }
        let file = marks.file();
        assert_eq!(read(&file), Some((marks, file.len() as u64)));
        assert_eq!(read(&file[..MAGIC.len()]), None);
        assert_eq!(read(b""), None);
    }
}
