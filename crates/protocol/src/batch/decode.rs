//! Reading a batch: everything is checked once, in [`Batch::decode`].

use super::codec;
use super::column::{Column, next_word};
use super::packed::{Order, Unpacker};
use super::{Header, Step};
use crate::cbor::Reader;
use crate::error::DecodeError;
use crate::limits;
use crate::message::open;
use crate::record::{ClockQuality, Epoch};
use crate::time::Timestamp;

/// Powers of ten, in microseconds, by which packed times may be divided.
pub(super) const TIME_DIVISORS: [i64; 10] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

/// A batch, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: Header,
    steps: Option<(Reader<'a>, usize)>,
    times: TimeData<'a>,
    bounds: Bounds,
    columns: (Reader<'a>, usize),
}

#[derive(Clone, Copy, Debug)]
enum TimeData<'a> {
    Plain { bytes: &'a [u8] },
    Packed { step: i64, bytes: &'a [u8] },
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    first: i64,
    last: i64,
    earliest: i64,
    latest: i64,
}

impl<'a> Batch<'a> {
    /// Reads and checks a batch to its last bit.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, limits::BATCH_BYTES, 12)?;
        let header = read_header(&mut reader)?;
        let count = header.count as usize;
        let steps = read_steps(count, &mut reader)?;
        let times = TimeData::read(&mut reader)?;
        let bounds = times.check(count)?;
        let column_count = reader.array()?;
        if column_count == 0 || column_count > limits::CHANNELS {
            return Err(DecodeError::Length);
        }
        let columns = (reader, column_count);
        let mut lowest = 0;
        for _ in 0..column_count {
            let column = Column::read(count, &mut reader)?;
            if u32::from(column.channel()) < lowest {
                return Err(DecodeError::Order);
            }
            lowest = u32::from(column.channel()) + 1;
            column.check()?;
        }
        reader.end()?;
        Ok(Self {
            header,
            steps,
            times,
            bounds,
            columns,
        })
    }

    /// How many cells and times a batch announces, by its head alone: what [`Batch::decode`] of these bytes may cost at
    /// most. 0 where the head is unreadable, which costs nothing.
    pub fn announced(bytes: &'a [u8]) -> u64 {
        let read = || {
            let mut reader = open(bytes, limits::BATCH_BYTES, 12)?;
            let count = read_header(&mut reader)?.count;
            read_steps(count as usize, &mut reader)?;
            TimeData::read(&mut reader)?;
            let columns = reader.array()?.min(limits::CHANNELS) as u64;
            Ok::<u64, DecodeError>(u64::from(count) * (columns + 1))
        };
        read().unwrap_or(0)
    }

    /// What the batch says of all its records.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// One time for each record, in microseconds since 1970, in the order of the records.
    pub fn times(&self) -> Times<'a> {
        self.times.iter(self.header.count as usize)
    }

    /// Where the device's clock was stepped, by ascending record.
    pub fn steps(&self) -> impl Iterator<Item = Step> + use<'a> {
        let (mut reader, count) = self.steps.unwrap_or((Reader::new(&[]), 0));
        (0..count).map_while(move |_| read_step(&mut reader).ok())
    }

    /// The columns, by ascending channel.
    pub fn columns(&self) -> impl Iterator<Item = Column<'a>> + use<'a> {
        let (mut reader, columns) = self.columns;
        let count = self.header.count as usize;
        (0..columns).map_while(move |_| Column::read(count, &mut reader).ok())
    }

    /// The column of a channel.
    pub fn column(&self, channel: u16) -> Option<Column<'a>> {
        self.columns().find(|column| column.channel() == channel)
    }

    /// How many columns.
    pub fn column_count(&self) -> usize {
        self.columns.1
    }

    /// Time of the first record.
    pub fn first_time(&self) -> Timestamp {
        Timestamp::from_micros(self.bounds.first)
    }

    /// Time of the last record.
    pub fn last_time(&self) -> Timestamp {
        Timestamp::from_micros(self.bounds.last)
    }

    /// The earliest time, which a step may put anywhere.
    pub fn min_time(&self) -> Timestamp {
        Timestamp::from_micros(self.bounds.earliest)
    }

    /// The latest time, which a step may put anywhere.
    pub fn max_time(&self) -> Timestamp {
        Timestamp::from_micros(self.bounds.latest)
    }
}

fn read_header(reader: &mut Reader<'_>) -> Result<Header, DecodeError> {
    let header = Header {
        epoch: Epoch(reader.uint()?),
        first: reader.record_number()?,
        count: reader.u32()?,
        prev: *reader.bytes_of()?,
        boot: reader.u32()?,
        ticks_us: reader.counter()?,
        clock: ClockQuality::read(reader)?,
        revision: reader.u32()?,
    };
    let counted = header.count >= 1 && header.count as usize <= limits::BATCH_RECORDS;
    if counted && header.range().end() <= limits::RECORD_NUMBER {
        Ok(header)
    } else {
        Err(DecodeError::Range)
    }
}

fn read_steps<'a>(
    count: usize,
    reader: &mut Reader<'a>,
) -> Result<Option<(Reader<'a>, usize)>, DecodeError> {
    if reader.null() {
        return Ok(None);
    }
    let steps = reader.array()?;
    if steps == 0 || steps > limits::STEPS {
        return Err(DecodeError::Length);
    }
    let start = *reader;
    let mut lowest = 0;
    for _ in 0..steps {
        let step = read_step(reader)?;
        if step.record < lowest {
            return Err(DecodeError::Order);
        }
        if step.record as usize >= count || step.by_us == 0 {
            return Err(DecodeError::Range);
        }
        lowest = step.record + 1;
    }
    Ok(Some((start, steps)))
}

fn read_step(reader: &mut Reader<'_>) -> Result<Step, DecodeError> {
    reader.array_of(2)?;
    Ok(Step {
        record: reader.u32()?,
        by_us: reader.int()?,
    })
}

impl<'a> TimeData<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let items = reader.array()?;
        match (reader.uint()?, items) {
            (codec::INTEGERS, 2) => Ok(Self::Plain {
                bytes: reader.bytes()?,
            }),
            (codec::DELTA_OF_DELTA, 3) => {
                let step = TIME_DIVISORS
                    .get(usize::from(reader.u8()?))
                    .copied()
                    .ok_or(DecodeError::Range)?;
                Ok(Self::Packed {
                    step,
                    bytes: reader.bytes()?,
                })
            }
            (codec::INTEGERS | codec::DELTA_OF_DELTA, _) => Err(DecodeError::Length),
            _ => Err(DecodeError::Codec),
        }
    }

    fn iter(self, count: usize) -> Times<'a> {
        let source = match self {
            Self::Plain { bytes } => TimeSource::Plain(bytes),
            Self::Packed { step, bytes } => {
                TimeSource::Packed(Unpacker::new(bytes, count, Order::DeltaOfDelta, step))
            }
        };
        Times {
            source,
            left: count,
        }
    }

    fn check(self, count: usize) -> Result<Bounds, DecodeError> {
        let mut times = self.iter(count);
        let mut bounds = Bounds {
            first: 0,
            last: 0,
            earliest: i64::MAX,
            latest: i64::MIN,
        };
        for position in 0..count {
            let time = times.next().ok_or(DecodeError::Stream)?;
            if !Timestamp::from_micros(time).is_portable() {
                return Err(DecodeError::Time);
            }
            if position == 0 {
                bounds.first = time;
            }
            bounds.last = time;
            bounds.earliest = bounds.earliest.min(time);
            bounds.latest = bounds.latest.max(time);
        }
        let finished = match times.source {
            TimeSource::Plain(rest) => rest.is_empty(),
            TimeSource::Packed(unpacker) => unpacker.is_finished(),
        };
        if finished {
            Ok(bounds)
        } else {
            Err(DecodeError::Stream)
        }
    }
}

/// The times of a batch, in microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Times<'a> {
    source: TimeSource<'a>,
    left: usize,
}

#[derive(Clone, Copy, Debug)]
enum TimeSource<'a> {
    Plain(&'a [u8]),
    Packed(Unpacker<'a>),
}

impl Iterator for Times<'_> {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            TimeSource::Plain(words) => next_word(words).ok().map(i64::from_le_bytes),
            TimeSource::Packed(unpacker) => unpacker.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Times<'_> {}
