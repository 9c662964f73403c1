//! Owns the batch that is still filling, in memory and as it lies in `open.log`.
//! Promises that a record written there is found again, whole or not at all.
//! Does not decide when the batch closes, and does not sync: see the journal's policy.

use fieldkeep_protocol::{
    EncodeError,
    batch::{self, Cell, ColumnInput, Header, Step},
    limits,
    record::{ClockQuality, Epoch, Flag, Reason},
};

use super::frame::{self, Fields, Frames};

/// The name of the open batch's file.
pub(super) const OPEN_LOG: &str = "open.log";

const MAGIC: &[u8; 5] = b"FKJO\x01";
const HEAD_SALT: u64 = u64::MAX;
const KIND_HEAD: u8 = 1;
const KIND_RECORD: u8 = 2;

const HEAD_BYTES: usize = 8 + 8 + 4 + 4 + 8 + 1 + 4 + 4;

/// The file is overwritten batch after batch without syncing; a record of another batch that shows through must not pass.
fn record_salt(head: &OpenHead) -> u64 {
    head.epoch ^ head.first.rotate_left(32)
}

/// What holds for a whole batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct OpenHead {
    pub(super) epoch: u64,
    pub(super) first: u64,
    pub(super) revision: u32,
    pub(super) boot: u32,
    pub(super) ticks_us: u64,
    pub(super) clock: ClockQuality,
}

/// A batch that is still filling.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenBatch {
    pub(super) head: OpenHead,
    pub(super) times: Vec<i64>,
    pub(super) steps: Vec<Step>,
    pub(super) columns: Vec<Vec<Cell>>,
}

impl OpenBatch {
    pub(super) fn new(head: OpenHead, columns: usize) -> OpenBatch {
        OpenBatch {
            head,
            times: Vec::new(),
            steps: Vec::new(),
            columns: vec![Vec::new(); columns],
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.times.len() as u32
    }

    /// The number that the next record would get.
    pub(super) fn end(&self) -> u64 {
        self.head.first + self.times.len() as u64
    }

    pub(super) fn push(&mut self, time_us: i64, step_us: Option<i64>, cells: &[Cell]) {
        if let Some(step_us) = step_us {
            self.steps.push(Step {
                record: self.count(),
                by_us: step_us,
            });
        }
        self.times.push(time_us);
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(*cell);
        }
    }

    /// How many records of so many columns are sure to fit into a batch, however badly they compress.
    pub(super) fn capacity(columns: usize) -> u32 {
        let fixed = 256 + columns * 48 + limits::STEPS * 16;
        let record = 10 + columns * 12;
        let room = limits::BATCH_BYTES.saturating_sub(fixed) / record;
        room.clamp(1, limits::BATCH_RECORDS) as u32
    }

    /// The batch's bytes, written into `out`; their length.
    pub(super) fn encode(&self, prev: [u8; 32], out: &mut [u8]) -> Result<usize, EncodeError> {
        let header = Header {
            epoch: Epoch(self.head.epoch),
            first: self.head.first,
            count: self.count(),
            prev,
            boot: self.head.boot,
            ticks_us: self.head.ticks_us,
            clock: self.head.clock,
            revision: self.head.revision,
        };
        let columns: Vec<ColumnInput<'_>> = self
            .columns
            .iter()
            .zip(0u16..)
            .map(|(values, channel)| ColumnInput { channel, values })
            .collect();
        batch::encode(&header, &self.times, &self.steps, &columns, out)
    }

    /// The whole file for this batch as it is.
    pub(super) fn file(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_head(&mut out, &self.head, self.columns.len());
        for (n, &time_us) in self.times.iter().enumerate() {
            let step = self
                .steps
                .iter()
                .find(|s| s.record as usize == n)
                .map(|s| s.by_us);
            let cells: Vec<Cell> = self
                .columns
                .iter()
                .filter_map(|c| c.get(n).copied())
                .collect();
            let offset = out.len() as u64;
            put_record(&mut out, &self.head, offset, time_us, step, &cells);
        }
        out
    }
}

/// The beginning of a file: magic and head.
pub(super) fn start(head: &OpenHead, columns: usize) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put_head(&mut out, head, columns);
    out
}

fn put_head(out: &mut Vec<u8>, head: &OpenHead, columns: usize) {
    let mut payload = Vec::with_capacity(64);
    payload.extend_from_slice(&head.epoch.to_le_bytes());
    payload.extend_from_slice(&head.first.to_le_bytes());
    payload.extend_from_slice(&head.revision.to_le_bytes());
    payload.extend_from_slice(&head.boot.to_le_bytes());
    payload.extend_from_slice(&head.ticks_us.to_le_bytes());
    let (class, age_s) = match head.clock {
        ClockQuality::Unset => (0u8, 0),
        ClockQuality::Synchronised => (1, 0),
        ClockQuality::FreeRunning { age_s } => (2, age_s),
    };
    payload.push(class);
    payload.extend_from_slice(&age_s.to_le_bytes());
    payload.extend_from_slice(&(columns as u32).to_le_bytes());
    let offset = out.len() as u64;
    frame::put(out, HEAD_SALT, offset, KIND_HEAD, &payload);
}

/// One record's entry at an offset of the file.
pub(super) fn put_record(
    out: &mut Vec<u8>,
    head: &OpenHead,
    offset: u64,
    time_us: i64,
    step_us: Option<i64>,
    cells: &[Cell],
) {
    let mut payload = Vec::with_capacity(20 + cells.len() * 10);
    payload.extend_from_slice(&time_us.to_le_bytes());
    payload.push(u8::from(step_us.is_some()));
    payload.extend_from_slice(&step_us.unwrap_or(0).to_le_bytes());
    for cell in cells {
        payload.push(cell.flag.code() | cell.reason.code() << 4);
        match cell.value {
            Some(value) => {
                payload.push(1);
                payload.extend_from_slice(&value.to_le_bytes());
            }
            None => payload.push(0),
        }
    }
    frame::put(out, record_salt(head), offset, KIND_RECORD, &payload);
}

/// Reads the file back as far as it is whole; `None` where there is no batch in it.
pub(super) fn read(bytes: &[u8]) -> Option<OpenBatch> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let mut frames = Frames::new(bytes, HEAD_SALT, MAGIC.len());
    let head = frames.next().filter(|f| f.kind == KIND_HEAD)?;
    let (head, columns) = read_head(head.payload)?;
    let mut open = OpenBatch::new(head, columns);
    let start = MAGIC.len() + frame::FRAME_HEAD + HEAD_BYTES;
    for frame in Frames::new(bytes, record_salt(&head), start) {
        if frame.kind != KIND_RECORD || open.count() as usize >= limits::BATCH_RECORDS {
            break;
        }
        let Some((time_us, step_us, cells)) = read_record(frame.payload, columns) else {
            break;
        };
        open.push(time_us, step_us, &cells);
    }
    Some(open)
}

fn read_head(payload: &[u8]) -> Option<(OpenHead, usize)> {
    let mut fields = Fields(payload);
    let (epoch, first) = (fields.u64()?, fields.u64()?);
    let (revision, boot, ticks_us) = (fields.u32()?, fields.u32()?, fields.u64()?);
    let (class, age_s) = (fields.u8()?, fields.u32()?);
    let columns = fields.u32()? as usize;
    let clock = match class {
        0 => ClockQuality::Unset,
        1 => ClockQuality::Synchronised,
        2 => ClockQuality::FreeRunning { age_s },
        _ => return None,
    };
    let head = OpenHead {
        epoch,
        first,
        revision,
        boot,
        ticks_us,
        clock,
    };
    (columns <= limits::CHANNELS).then_some((head, columns))
}

fn read_record(payload: &[u8], columns: usize) -> Option<(i64, Option<i64>, Vec<Cell>)> {
    let mut fields = Fields(payload);
    let time_us = fields.i64()?;
    let stepped = fields.u8()? != 0;
    let step_us = Some(fields.i64()?).filter(|_| stepped);
    let mut cells = Vec::with_capacity(columns);
    for _ in 0..columns {
        let marks = fields.u8()?;
        let (flag, reason) = (Flag::from_code(marks & 15)?, Reason::from_code(marks >> 4)?);
        let value = match fields.u8()? {
            0 => None,
            _ => Some(f64::from_le_bytes(fields.bytes()?)),
        };
        cells.push(Cell {
            value,
            flag,
            reason,
        });
    }
    fields.0.is_empty().then_some((time_us, step_us, cells))
}
