//! Owns the format of a segment, an append-only file of the journal: a head with all state that must outlive the
//! segments before it, then channel tables and closed batches.
//! Promises that a batch's bytes lie there as they were encoded, to be sent again unchanged.

use fieldkeep_protocol::id::DeviceId;

use super::frame::Fields;

pub(super) const MAGIC: &[u8; 5] = b"FKJS\x01";
pub(super) const KIND_HEAD: u8 = 1;
pub(super) const KIND_TABLE: u8 = 2;
pub(super) const KIND_BATCH: u8 = 3;

/// A channel table under its epoch and revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) epoch: u64,
    pub(super) revision: u32,
    pub(super) bytes: Vec<u8>,
}

/// What the journal knew when a segment was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) device: DeviceId,
    pub(super) epoch: u64,
    pub(super) next: u64,
    pub(super) hash: [u8; 32],
    pub(super) tables: Vec<Table>,
}

/// What is known of a batch without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) epoch: u64,
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) revision: u32,
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    /// When the batch was closed, from which on it is kept for so many days.
    pub(super) closed_us: i64,
    /// Whether the clock was synchronised: only such a time proves anything.
    pub(super) proven: bool,
    pub(super) hash: [u8; 32],
}

/// What stands before a batch's bytes in its payload.
pub(super) const DESCRIPTION_BYTES: usize = 8 + 8 + 4 + 4 + 8 + 8 + 8 + 1 + 32;

impl Description {
    pub(super) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    pub(super) fn payload(&self, batch: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(DESCRIPTION_BYTES + batch.len());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.revision.to_le_bytes());
        out.extend_from_slice(&self.from_us.to_le_bytes());
        out.extend_from_slice(&self.to_us.to_le_bytes());
        out.extend_from_slice(&self.closed_us.to_le_bytes());
        out.push(u8::from(self.proven));
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(batch);
        out
    }

    pub(super) fn read(payload: &[u8]) -> Option<Description> {
        let mut fields = Fields(payload);
        let description = Description {
            epoch: fields.u64()?,
            first: fields.u64()?,
            count: fields.u32()?,
            revision: fields.u32()?,
            from_us: fields.i64()?,
            to_us: fields.i64()?,
            closed_us: fields.i64()?,
            proven: fields.u8()? != 0,
            hash: fields.bytes()?,
        };
        let limit = fieldkeep_protocol::limits::RECORD_NUMBER;
        (description.count > 0 && description.first < limit).then_some(description)
    }
}

impl Head {
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(self.device.as_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.next.to_le_bytes());
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&(self.tables.len() as u32).to_le_bytes());
        for table in &self.tables {
            let payload = table.payload();
            out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            out.extend_from_slice(&payload);
        }
        out
    }

    pub(super) fn read(payload: &[u8]) -> Option<Head> {
        let mut fields = Fields(payload);
        let device = DeviceId::from_bytes(fields.bytes()?);
        let (epoch, next, hash) = (fields.u64()?, fields.u64()?, fields.bytes()?);
        let count = fields.u32()?;
        let mut tables = Vec::new();
        for _ in 0..count {
            let length = fields.u32()? as usize;
            tables.push(Table::read(fields.slice(length)?)?);
        }
        Some(Head {
            device,
            epoch,
            next,
            hash,
            tables,
        })
    }
}

impl Table {
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + self.bytes.len());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.revision.to_le_bytes());
        out.extend_from_slice(&self.bytes);
        out
    }

    pub(super) fn read(payload: &[u8]) -> Option<Table> {
        let mut fields = Fields(payload);
        Some(Table {
            epoch: fields.u64()?,
            revision: fields.u32()?,
            bytes: fields.0.to_vec(),
        })
    }
}

/// The file of a segment with a sequence number.
pub(super) fn name(sequence: u64) -> String {
    format!("{sequence:016x}.seg")
}

/// The sequence number in a segment's name.
pub(super) fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}
