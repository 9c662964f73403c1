//! What a record consists of besides its values: flags, reasons, clock quality, numbers and ranges of numbers.

use crate::cbor::{Reader, Writer};
use crate::error::{DecodeError, EncodeError};
use crate::limits;

/// Quality of a value, QARTOD's five. Ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Flag {
    /// Tests ran and passed.
    Pass = 1,
    /// No test ran.
    NotEvaluated = 2,
    /// A test found it doubtful.
    Suspect = 3,
    /// A test found it wrong.
    Fail = 4,
    /// There is no value.
    Missing = 9,
}

impl Flag {
    /// The number in messages and in the API.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The flag of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Pass),
            2 => Some(Self::NotEvaluated),
            3 => Some(Self::Suspect),
            4 => Some(Self::Fail),
            9 => Some(Self::Missing),
            _ => None,
        }
    }
}

/// Why a value is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// It is not missing.
    None = 0,
    /// The sensor did not answer, or answered nonsense.
    SensorError = 1,
    /// The channel was not due in this record.
    NotSampled = 2,
    /// It was sampled and lost on the device.
    Dropped = 3,
}

impl Reason {
    /// The number in messages.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::SensorError),
            2 => Some(Self::NotSampled),
            3 => Some(Self::Dropped),
            _ => None,
        }
    }
}

/// How far a device's clock can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClockQuality {
    /// Set from a time source and held by it.
    Synchronised,
    /// Set once, running on its own since.
    FreeRunning {
        /// Seconds since the last synchronisation.
        age_s: u32,
    },
    /// Never set since the device started.
    Unset,
}

impl ClockQuality {
    pub(crate) fn write(self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        match self {
            Self::Unset => writer.uint(0),
            Self::Synchronised => writer.uint(1),
            Self::FreeRunning { age_s } => {
                writer.array(2)?;
                writer.uint(2)?;
                writer.uint(age_s.into())
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.is_array() {
            reader.array_of(2)?;
            if reader.uint()? != 2 {
                return Err(DecodeError::Range);
            }
            return Ok(Self::FreeRunning {
                age_s: reader.u32()?,
            });
        }
        match reader.uint()? {
            0 => Ok(Self::Unset),
            1 => Ok(Self::Synchronised),
            _ => Err(DecodeError::Range),
        }
    }
}

/// A run of record numbers of one device in one project: a random id, not a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Consecutive record numbers by first and count, as a batch has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordRange {
    /// The first number.
    pub first: u64,
    /// How many.
    pub count: u32,
}

impl RecordRange {
    /// The number after the last.
    pub const fn end(self) -> u64 {
        self.first.saturating_add(self.count as u64)
    }

    /// Whether a number lies in the range.
    pub const fn contains(self, record: u64) -> bool {
        record >= self.first && record < self.end()
    }

    /// Whether the two have a number in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }
}

/// Consecutive record numbers, both ends included, as ledgers and seals have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first number.
    pub first: u64,
    /// The last number, not below `first`.
    pub last: u64,
}

/// Ascending spans that neither overlap nor touch, borrowed from a slice or from a message's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Spans<'a>(Source<'a>);

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Given(&'a [Span]),
    Encoded { reader: Reader<'a>, count: usize },
}

impl<'a> Spans<'a> {
    /// No spans.
    pub const EMPTY: Self = Self(Source::Given(&[]));

    /// Spans to be written. Order and limits are checked when they are.
    pub const fn new(spans: &'a [Span]) -> Self {
        Self(Source::Given(spans))
    }

    /// How many.
    pub const fn len(&self) -> usize {
        match self.0 {
            Source::Given(spans) => spans.len(),
            Source::Encoded { count, .. } => count,
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The spans, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = Span> + use<'a> {
        let source = self.0;
        let mut position = 0;
        let mut cursor = match source {
            Source::Given(_) => Reader::new(&[]),
            Source::Encoded { reader, .. } => reader,
        };
        core::iter::from_fn(move || {
            let span = match source {
                Source::Given(spans) => spans.get(position).copied(),
                Source::Encoded { count, .. } if position < count => read_span(&mut cursor).ok(),
                Source::Encoded { .. } => None,
            };
            position += 1;
            span
        })
    }

    pub(crate) fn write(&self, limit: usize, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        if self.len() > limit {
            return Err(EncodeError::Count);
        }
        let mut free = 0;
        writer.array(self.len())?;
        for span in self.iter() {
            if span.first < free || span.last < span.first {
                return Err(EncodeError::Order);
            }
            if span.last >= limits::RECORD_NUMBER {
                return Err(EncodeError::Range);
            }
            free = span.last + 2;
            writer.array(2)?;
            writer.uint(span.first)?;
            writer.uint(span.last)?;
        }
        Ok(())
    }

    pub(crate) fn read(limit: usize, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = reader.array()?;
        if count > limit {
            return Err(DecodeError::Length);
        }
        let start = *reader;
        let mut free = 0;
        for _ in 0..count {
            let span = read_span(reader)?;
            if span.first < free || span.last < span.first {
                return Err(DecodeError::Order);
            }
            free = span.last + 2;
        }
        Ok(Self(Source::Encoded {
            reader: start,
            count,
        }))
    }
}

impl PartialEq for Spans<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Spans<'_> {}

fn read_span(reader: &mut Reader<'_>) -> Result<Span, DecodeError> {
    reader.array_of(2)?;
    Ok(Span {
        first: reader.record_number()?,
        last: reader.record_number()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        for code in 0..=u8::MAX {
            assert!(Flag::from_code(code).is_none_or(|flag| flag.code() == code));
            assert!(Reason::from_code(code).is_none_or(|reason| reason.code() == code));
        }
        assert!(Flag::Pass < Flag::Fail && Flag::Fail < Flag::Missing);
    }

    #[test]
    fn ranges() {
        let range = RecordRange {
            first: 10,
            count: 5,
        };
        assert!(range.contains(14) && !range.contains(15) && !range.contains(9));
        assert!(range.overlaps(RecordRange {
            first: 14,
            count: 1
        }));
        assert!(!range.overlaps(RecordRange {
            first: 15,
            count: 1
        }));
        assert_eq!(
            RecordRange {
                first: u64::MAX,
                count: 9
            }
            .end(),
            u64::MAX
        );
    }

    #[test]
    fn touching_spans_are_one_span() {
        let mut out = [0; 64];
        let mut write = |spans: &[Span]| Spans::new(spans).write(4, &mut Writer::new(&mut out));
        assert_eq!(
            write(&[Span { first: 0, last: 1 }, Span { first: 3, last: 3 }]),
            Ok(())
        );
        assert_eq!(
            write(&[Span { first: 0, last: 1 }, Span { first: 2, last: 3 }]),
            Err(EncodeError::Order)
        );
        assert_eq!(
            write(&[Span { first: 1, last: 0 }]),
            Err(EncodeError::Order)
        );
        assert_eq!(
            write(&[Span {
                first: 1,
                last: limits::RECORD_NUMBER
            }]),
            Err(EncodeError::Range)
        );
        assert_eq!(
            write(&[Span {
                first: 1,
                last: u64::MAX
            }]),
            Err(EncodeError::Range)
        );
        assert_eq!(
            write(&[Span { first: 1, last: 1 }; 5]),
            Err(EncodeError::Count)
        );
    }
}
