//! Batches: consecutive records of one device, by column, chained by hash. Version 1 of the codec.
//!
//! Owns the bytes of a batch; `docs/PROTOCOL.md` describes them bit by bit. [`encode()`] writes into the caller's buffer and
//! picks the smallest exact codec per column; [`Batch::decode`] checks everything, down to the last padding bit, so that
//! reading its times and cells afterwards cannot fail. Every value comes back bit for bit.
//!
//! Does not decide when a batch ends, and does not verify chains: it only carries `prev` and computes [`hash`].

mod bits;
mod column;
mod decode;
mod encode;
mod packed;
mod scale;

pub use column::{Cells, Column};
pub use decode::{Batch, Times};
pub use encode::encode;

use sha2::{Digest, Sha256};

use crate::record::{ClockQuality, Epoch, Flag, Reason, RecordRange};

/// What a batch says of all its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The run of record numbers.
    pub epoch: Epoch,
    /// Number of the first record.
    pub first: u64,
    /// How many records.
    pub count: u32,
    /// [`hash`] of the batch before it in the epoch; zeros for the first.
    pub prev: [u8; 32],
    /// How often the device had started when the first record was taken.
    pub boot: u32,
    /// Microseconds since that start, at the first record.
    pub ticks_us: u64,
    /// How far the times can be believed.
    pub clock: ClockQuality,
    /// The configuration revision, and so the channel table, of all records.
    pub revision: u32,
}

impl Header {
    /// The record numbers.
    pub const fn range(&self) -> RecordRange {
        RecordRange {
            first: self.first,
            count: self.count,
        }
    }
}

/// The device's clock was stepped before a record of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Offset of the first record after the step, 0 being the batch's first.
    pub record: u32,
    /// By how many microseconds; positive is forward.
    pub by_us: i64,
}

/// What one record holds of one channel.
///
/// There is a value, with a flag other than 9 and no reason; or there is none, with flag 9 and a reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The value, finite.
    pub value: Option<f64>,
    /// Its quality.
    pub flag: Flag,
    /// Why there is none.
    pub reason: Reason,
}

impl Cell {
    /// A value that no test has judged.
    pub const fn measured(value: f64) -> Self {
        Self::flagged(value, Flag::NotEvaluated)
    }

    /// A value with a flag; the flag must not be [`Flag::Missing`].
    pub const fn flagged(value: f64, flag: Flag) -> Self {
        Self {
            value: Some(value),
            flag,
            reason: Reason::None,
        }
    }

    /// No value, for a reason; the reason must not be [`Reason::None`].
    pub const fn missing(reason: Reason) -> Self {
        Self {
            value: None,
            flag: Flag::Missing,
            reason,
        }
    }

    fn is_consistent(&self) -> bool {
        let absent = self.value.is_none();
        absent == (self.flag == Flag::Missing) && absent == (self.reason != Reason::None)
    }

    /// Whether the flags' absence says all there is to say.
    fn is_default(&self) -> bool {
        matches!(
            (self.flag, self.reason),
            (Flag::NotEvaluated, _) | (Flag::Missing, Reason::NotSampled)
        )
    }
}

/// A channel's cells to be written, one for each record.
#[derive(Clone, Copy, Debug)]
pub struct ColumnInput<'a> {
    /// Index of the channel in the channel table.
    pub channel: u16,
    /// One cell for each record.
    pub values: &'a [Cell],
}

/// SHA-256 of an encoded batch: its name in the chain, in the ledger and in seals.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Numbers of the codecs. Append only.
mod codec {
    pub(super) const INTEGERS: u64 = 0;
    pub(super) const FLOATS: u64 = 1;
    pub(super) const DELTA: u64 = 2;
    pub(super) const DELTA_OF_DELTA: u64 = 3;
}

#[cfg(test)]
mod tests;
