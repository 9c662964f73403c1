//! One column of a batch: which records have a value, their flags, and the values.
//!
//! [`Column::read`] checks the frame and the presence of values, [`Column::check`] every flag and value. A column that
//! passed both is read without errors.

use super::Cell;
use super::bits::BitReader;
use super::codec;
use super::packed::{Order, Unpacker};
use super::scale::{Scale, is_in_range};
use crate::cbor::Reader;
use crate::error::DecodeError;
use crate::limits::SCALED;
use crate::record::{Flag, Reason};

/// The values of one channel in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    channel: u16,
    count: usize,
    present: usize,
    presence: Option<&'a [u8]>,
    flags: Option<&'a [u8]>,
    data: Data<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Data<'a> {
    Integers {
        scale: Scale,
        bytes: &'a [u8],
    },
    Floats {
        bytes: &'a [u8],
    },
    Packed {
        order: Order,
        scale: Scale,
        step: i64,
        bytes: &'a [u8],
    },
}

impl<'a> Column<'a> {
    /// Index of the channel in the channel table.
    pub fn channel(&self) -> u16 {
        self.channel
    }

    /// How many records have a value.
    pub fn present(&self) -> usize {
        self.present
    }

    /// One cell for each record.
    pub fn cells(&self) -> Cells<'a> {
        Cells {
            presence: self.presence,
            flags: self.flags.map(Runs::new),
            values: self.values(),
            position: 0,
            count: self.count,
        }
    }

    fn values(&self) -> Values<'a> {
        match self.data {
            Data::Integers { scale, bytes } => Values::Integers {
                scale,
                words: bytes,
            },
            Data::Floats { bytes } => Values::Floats { words: bytes },
            Data::Packed {
                order,
                scale,
                step,
                bytes,
            } => Values::Packed {
                scale,
                unpacker: Unpacker::new(bytes, self.present, order, step),
            },
        }
    }

    pub(super) fn read(count: usize, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let items = reader.array()?;
        let channel = reader.u16()?;
        let presence = if reader.null() {
            None
        } else {
            Some(reader.bytes()?)
        };
        let present = presence.map_or(Ok(count), |bitmap| count_present(bitmap, count))?;
        let flags = if reader.null() {
            None
        } else {
            Some(reader.bytes()?)
        };
        let codec = reader.uint()?;
        let expected = match codec {
            codec::FLOATS => 5..=5,
            codec::INTEGERS => 6..=6,
            codec::DELTA | codec::DELTA_OF_DELTA => 6..=7,
            _ => return Err(DecodeError::Codec),
        };
        if !expected.contains(&items) {
            return Err(DecodeError::Length);
        }
        let data = match codec {
            codec::FLOATS => Data::Floats {
                bytes: reader.bytes()?,
            },
            codec::INTEGERS => Data::Integers {
                scale: read_scale(reader)?,
                bytes: reader.bytes()?,
            },
            _ => Data::Packed {
                order: if codec == codec::DELTA {
                    Order::Delta
                } else {
                    Order::DeltaOfDelta
                },
                scale: read_scale(reader)?,
                step: if items == 7 { read_step(reader)? } else { 1 },
                bytes: reader.bytes()?,
            },
        };
        Ok(Self {
            channel,
            count,
            present,
            presence,
            flags,
            data,
        })
    }

    pub(super) fn check(&self) -> Result<(), DecodeError> {
        if let Some(bytes) = self.flags {
            self.check_flags(bytes)?;
        }
        let mut values = self.values();
        for _ in 0..self.present {
            values.next()?;
        }
        if values.is_finished() {
            Ok(())
        } else {
            Err(DecodeError::Stream)
        }
    }

    fn check_flags(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut runs = Runs::new(bytes);
        let mut all_default = true;
        for position in 0..self.count {
            let (flag, reason) = runs.next().ok_or(DecodeError::Flags)?;
            let value = is_present(self.presence, position).then_some(0.0);
            let cell = Cell {
                value,
                flag,
                reason,
            };
            if !cell.is_consistent() {
                return Err(DecodeError::Flags);
            }
            all_default &= cell.is_default();
        }
        if !runs.is_finished() {
            return Err(DecodeError::Flags);
        }
        if all_default {
            Err(DecodeError::NotCanonical)
        } else {
            Ok(())
        }
    }
}

fn read_scale(reader: &mut Reader<'_>) -> Result<Scale, DecodeError> {
    Scale::from_code(reader.uint()?).ok_or(DecodeError::Range)
}

fn read_step(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    match i64::try_from(reader.uint()?) {
        Ok(1) => Err(DecodeError::NotCanonical),
        Ok(step @ 2..=SCALED) => Ok(step),
        _ => Err(DecodeError::Range),
    }
}

/// Checks a presence bitmap and counts its records with a value.
fn count_present(bitmap: &[u8], count: usize) -> Result<usize, DecodeError> {
    if bitmap.len() != count.div_ceil(8) {
        return Err(DecodeError::Presence);
    }
    let unused = bitmap.len() * 8 - count;
    if bitmap
        .last()
        .is_some_and(|last| (last.leading_zeros() as usize) < unused)
    {
        return Err(DecodeError::Presence);
    }
    let present = bitmap.iter().map(|byte| byte.count_ones() as usize).sum();
    if present == count {
        Err(DecodeError::NotCanonical)
    } else {
        Ok(present)
    }
}

fn is_present(presence: Option<&[u8]>, position: usize) -> bool {
    presence.is_none_or(|bitmap| {
        bitmap
            .get(position / 8)
            .is_some_and(|byte| byte >> (position % 8) & 1 == 1)
    })
}

/// The cells of a column, one for each record.
#[derive(Clone, Debug)]
pub struct Cells<'a> {
    presence: Option<&'a [u8]>,
    flags: Option<Runs<'a>>,
    values: Values<'a>,
    position: usize,
    count: usize,
}

impl Iterator for Cells<'_> {
    type Item = Cell;

    fn next(&mut self) -> Option<Cell> {
        if self.position >= self.count {
            return None;
        }
        let present = is_present(self.presence, self.position);
        self.position += 1;
        let default = if present {
            Cell::measured(0.0)
        } else {
            Cell::missing(Reason::NotSampled)
        };
        let (flag, reason) = match &mut self.flags {
            Some(runs) => runs.next()?,
            None => (default.flag, default.reason),
        };
        let value = if present {
            Some(self.values.next().ok()?)
        } else {
            None
        };
        Some(Cell {
            value,
            flag,
            reason,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.count - self.position;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Cells<'_> {}

/// Present values one after another.
#[derive(Clone, Copy, Debug)]
enum Values<'a> {
    Integers {
        scale: Scale,
        words: &'a [u8],
    },
    Floats {
        words: &'a [u8],
    },
    Packed {
        scale: Scale,
        unpacker: Unpacker<'a>,
    },
}

impl Values<'_> {
    fn next(&mut self) -> Result<f64, DecodeError> {
        let (scale, integer) = match self {
            Self::Floats { words } => {
                let value = f64::from_le_bytes(next_word(words)?);
                return if value.is_finite() {
                    Ok(value)
                } else {
                    Err(DecodeError::Value)
                };
            }
            Self::Integers { scale, words } => (scale, i64::from_le_bytes(next_word(words)?)),
            Self::Packed { scale, unpacker } => {
                (scale, unpacker.next().ok_or(DecodeError::Stream)?)
            }
        };
        if is_in_range(integer) {
            Ok(scale.value(integer))
        } else {
            Err(DecodeError::Value)
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Self::Integers { words, .. } | Self::Floats { words } => words.is_empty(),
            // Of no values, no bytes are left over either.
            Self::Packed { unpacker, .. } => unpacker.is_finished(),
        }
    }
}

/// Takes eight bytes off the front.
pub(super) fn next_word(words: &mut &[u8]) -> Result<[u8; 8], DecodeError> {
    let (word, rest) = words.split_first_chunk().ok_or(DecodeError::Stream)?;
    *words = rest;
    Ok(*word)
}

/// Flags by run: a byte of flag and reason, then a varint of how many records.
#[derive(Clone, Copy, Debug)]
struct Runs<'a> {
    bytes: BitReader<'a>,
    flag: Flag,
    reason: Reason,
    before: Option<u64>,
    left: u64,
}

impl<'a> Runs<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let bytes = BitReader::new(bytes);
        Self {
            bytes,
            flag: Flag::NotEvaluated,
            reason: Reason::None,
            before: None,
            left: 0,
        }
    }

    /// The next record's; `None` when no run is left, a run is empty, or it only continues the one before.
    fn next(&mut self) -> Option<(Flag, Reason)> {
        if self.left == 0 {
            let code = self.bytes.take(8)?;
            if self.before == Some(code) {
                return None;
            }
            self.before = Some(code);
            self.flag = Flag::from_code((code & 0x0f) as u8)?;
            self.reason = Reason::from_code((code >> 4) as u8)?;
            self.left = self.bytes.varint()?;
        }
        self.left = self.left.checked_sub(1)?;
        Some((self.flag, self.reason))
    }

    fn is_finished(&self) -> bool {
        self.left == 0 && self.bytes.is_at_end()
    }
}
