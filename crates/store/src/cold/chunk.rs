//! Chunks: the points of one device in one window of time, by column. Version 2 of the format is written, 1 is read too.
//!
//! Rows stand in the order in which points are read: time, stream, branch, record. The directory says which rows came
//! from where (segments), which channels there are, and where each column lies, so that one channel is read alone.
//! Whatever a hot read gives of a row (value, flag, reason, place in the order, nominal interval) comes back exactly.
//! Rows that could not be read when the chunk was made are named, so that readers go on reporting them.
//!
//! [`Chunk::decode`] takes authenticated bytes and yet believes nothing: damaged ones give `None`.

mod build;
mod states;

use std::collections::HashMap;
use std::ops::Range;

use fieldkeep_protocol::{Flag, Reason};

use super::bytes::Reader;
use super::{CHUNK_ROWS, PLAIN_BYTES, decimal, numbers};
use crate::gaps::GapReason;

pub(crate) use build::{Channel, ChunkBuilder, Sorted};

const MAGIC: [u8; 3] = *b"FKC";
/// How the directory is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// Each channel says its name and its intervals in full.
    One = 1,
    /// Of names what is not as in the one before; intervals by their place in a list.
    Two = 2,
}

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin {
    /// The stream's number.
    pub(crate) stream: i64,
    pub(crate) branch: u32,
    pub(crate) revision: u32,
}

/// What a channel is in the channel table of one origin's revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The channel's index.
    pub(crate) channel: u16,
    pub(crate) interval_us: u64,
}

/// Consecutive rows with consecutive record numbers of one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) origin: Origin,
    /// Its number in the chunk.
    source: usize,
    /// The first row.
    pub(crate) row: usize,
    pub(crate) rows: usize,
    /// The first row's record number.
    pub(crate) first: u64,
}

/// A batch row whose records are not in the chunk, though their times are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) origin: Origin,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) from_us: i64,
    /// Inclusive.
    pub(crate) to_us: i64,
    /// [`GapReason::Damaged`], or [`GapReason::Held`] while its channel table is missing.
    pub(crate) reason: GapReason,
}

/// What a channel has in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Neither a value nor a word about it: the row's revision or batch does not have the channel.
    Nothing,
    /// A value with this flag.
    Valued(Flag),
    /// No value, for this reason.
    Absent(Reason),
}

impl State {
    fn code(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Valued(flag) => flag.code(),
            Self::Absent(reason) => 16 + reason.code(),
        }
    }

    fn from_code(code: i64) -> Option<Self> {
        let code = u8::try_from(code).ok()?;
        match code {
            0 => Some(Self::Nothing),
            16.. => Reason::from_code(code - 16)
                .filter(|reason| *reason != Reason::None)
                .map(Self::Absent),
            _ => Flag::from_code(code)
                .filter(|flag| *flag != Flag::Missing)
                .map(Self::Valued),
        }
    }
}

/// One channel of a chunk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    /// States of consecutive rows, all rows in all.
    pub(crate) states: Vec<(State, usize)>,
    /// The values of the valued rows, in order.
    pub(crate) values: Vec<f64>,
    /// By the number of the origin in the chunk.
    places: HashMap<usize, Place>,
}

/// Consecutive rows of one segment that have the same state in one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Piece<'a> {
    pub(crate) origin: Origin,
    pub(crate) place: Place,
    /// Record number of the first row.
    pub(crate) first: u64,
    /// [`State::Nothing`] is never given.
    pub(crate) state: State,
    /// One for each row.
    pub(crate) times: &'a [i64],
    /// One for each row where the state is valued, else none.
    pub(crate) values: &'a [f64],
}

/// A chunk whose directory was read; columns are decoded when they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    version: Version,
    rows: usize,
    origins: Vec<Origin>,
    segment_count: usize,
    segments: Range<usize>,
    times: Range<usize>,
    unread: Vec<Unread>,
    channels: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    places: HashMap<usize, Place>,
    valued: usize,
    states: Range<usize>,
    values: Range<usize>,
}

impl Chunk {
    /// Reads header and directory.
    pub(crate) fn decode(bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() > PLAIN_BYTES {
            return None;
        }
        let mut reader = Reader::new(&bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let version = match reader.byte()? {
            1 => Version::One,
            2 => Version::Two,
            _ => return None,
        };
        let rows: usize = reader.small()?;
        if rows > CHUNK_ROWS {
            return None;
        }
        let origins = (0..reader.count(3)?)
            .map(|_| {
                Some(Origin {
                    stream: reader.int()?,
                    branch: reader.small()?,
                    revision: reader.small()?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let segment_count: usize = reader.small()?;
        if segment_count > rows || (segment_count == 0) != (rows == 0) {
            return None;
        }
        let segment_bytes: usize = reader.small()?;
        let time_bytes: usize = reader.small()?;
        let unread = (0..reader.count(6)?)
            .map(|_| unread(&mut reader, &origins))
            .collect::<Option<Vec<_>>>()?;
        let intervals = match version {
            Version::One => Vec::new(),
            Version::Two => (0..reader.count(1)?)
                .map(|_| reader.uint())
                .collect::<Option<Vec<_>>>()?,
        };
        let mut directory = Directory {
            version,
            rows,
            origins: origins.len(),
            intervals,
            name: String::new(),
        };
        let mut lengths = Vec::new();
        let mut channels = (0..reader.count(5)?)
            .map(|_| {
                let (entry, length) = directory.entry(&mut reader)?;
                lengths.push(length);
                Some(entry)
            })
            .collect::<Option<Vec<_>>>()?;
        // The blocks stand one after the other, and nothing stands behind them.
        let mut at = bytes.len() - reader.left();
        let mut next = |length: usize| {
            let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
            Some(std::mem::replace(&mut at, end)..end)
        };
        let segments = next(segment_bytes)?;
        let times = next(time_bytes)?;
        for (entry, (states, values)) in channels.iter_mut().zip(lengths) {
            entry.states = next(states)?;
            entry.values = next(values)?;
        }
        if at != bytes.len() {
            return None;
        }
        Some(Self {
            bytes,
            version,
            rows,
            origins,
            segment_count,
            segments,
            times,
            unread,
            channels,
        })
    }

    /// The names of the channels, in order.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|entry| entry.name.as_str())
    }

    /// The batch rows that could not be read when the chunk was made.
    pub(crate) fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// The times of all rows, ascending; `None` if the bytes are damaged.
    pub(crate) fn times(&self) -> Option<Vec<i64>> {
        let times = numbers::unpack(self.bytes.get(self.times.clone())?, self.rows)?;
        times.is_sorted().then_some(times)
    }

    /// Where the rows came from; `None` if the bytes are damaged.
    pub(crate) fn segments(&self) -> Option<Vec<Segment>> {
        let mut reader = Reader::new(self.bytes.get(self.segments.clone())?);
        let mut column = || numbers::unpack(reader.block()?, self.segment_count);
        let (sources, firsts, counts) = (column()?, column()?, column()?);
        if !reader.is_empty() {
            return None;
        }
        let mut expected = vec![0_u64; self.origins.len()];
        let mut row = 0_usize;
        let mut segments = Vec::with_capacity(self.segment_count);
        for ((source, first), rows) in sources.into_iter().zip(firsts).zip(counts) {
            let source = usize::try_from(source).ok()?;
            let origin = *self.origins.get(source)?;
            let rows = usize::try_from(rows).ok().filter(|rows| *rows > 0)?;
            let next = expected.get_mut(source)?;
            let first = next.wrapping_add_signed(first);
            *next = first.wrapping_add(rows as u64);
            segments.push(Segment {
                origin,
                source,
                row,
                rows,
                first,
            });
            row = row.checked_add(rows).filter(|row| *row <= self.rows)?;
        }
        (row == self.rows).then_some(segments)
    }

    /// One channel; `None` if the chunk does not have it, or its bytes are damaged ([`Chunk::channels`] tells which).
    pub(crate) fn column(&self, name: &str) -> Option<Column> {
        let entry = self
            .channels
            .binary_search_by(|entry| entry.name.as_str().cmp(name))
            .ok()
            .and_then(|index| self.channels.get(index))?;
        let states = self.bytes.get(entry.states.clone())?;
        let states = match self.version {
            Version::One => states::read_v1(Reader::new(states), self.rows)?,
            Version::Two => states::read(states, self.rows)?,
        };
        let valued: usize = states
            .iter()
            .filter(|(state, _)| matches!(state, State::Valued(_)))
            .map(|(_, rows)| rows)
            .sum();
        if valued != entry.valued {
            return None;
        }
        let values = decimal::unpack(self.bytes.get(entry.values.clone())?, valued)?;
        Some(Column {
            states,
            values,
            places: entry.places.clone(),
        })
    }
}

impl Column {
    /// Goes through the column's rows in order, stretch by stretch. `times` and `segments` are those of its chunk;
    /// rows with [`State::Nothing`] and rows whose origin does not know the channel are left out.
    pub(crate) fn pieces<'a>(
        &'a self,
        times: &'a [i64],
        segments: &'a [Segment],
    ) -> impl Iterator<Item = Piece<'a>> {
        let mut segments = segments.iter();
        let mut states = self.states.iter().copied();
        let mut segment: Option<Segment> = None;
        let mut state = (State::Nothing, 0_usize);
        let mut row = 0_usize;
        let mut value = 0_usize;
        std::iter::from_fn(move || {
            loop {
                let current = match segment {
                    Some(current) if row < current.row + current.rows => current,
                    _ => *segment.insert(*segments.next()?),
                };
                if state.1 == 0 {
                    state = states.next()?;
                    continue;
                }
                let count = state.1.min(current.row + current.rows - row);
                let first = current.first.wrapping_add((row - current.row) as u64);
                let stretch = row..row + count;
                row += count;
                state.1 -= count;
                let valued = match state.0 {
                    State::Valued(_) => count,
                    State::Nothing | State::Absent(_) => 0,
                };
                let values = self.values.get(value..value + valued)?;
                value += valued;
                let Some(place) = self.places.get(&current.source) else {
                    continue;
                };
                if state.0 == State::Nothing {
                    continue;
                }
                return Some(Piece {
                    origin: current.origin,
                    place: *place,
                    first,
                    state: state.0,
                    times: times.get(stretch)?,
                    values,
                });
            }
        })
    }
}

fn unread(reader: &mut Reader<'_>, origins: &[Origin]) -> Option<Unread> {
    let origin = *origins.get(reader.small::<usize>()?)?;
    let first = reader.uint()?;
    let count = reader.small()?;
    let from_us = reader.int()?;
    let to_us = from_us.checked_add_unsigned(reader.uint()?)?;
    let reason = match reader.byte()? {
        0 => GapReason::Damaged,
        1 => GapReason::Held,
        _ => return None,
    };
    Some(Unread {
        origin,
        first,
        count,
        from_us,
        to_us,
        reason,
    })
}

/// What reading the directory needs to know.
struct Directory {
    version: Version,
    rows: usize,
    origins: usize,
    intervals: Vec<u64>,
    /// The last channel's.
    name: String,
}

impl Directory {
    /// A channel without its blocks, and their lengths.
    fn entry(&mut self, reader: &mut Reader<'_>) -> Option<(Entry, (usize, usize))> {
        self.name = match self.version {
            Version::One => String::from_utf8(reader.block()?.to_vec()).ok()?,
            Version::Two => reader.name(&self.name)?,
        };
        let places = (0..reader.count(3)?)
            .map(|_| {
                let source = reader.small().filter(|source| *source < self.origins)?;
                let channel = reader.small()?;
                let interval_us = match self.version {
                    Version::One => reader.uint()?,
                    Version::Two => *self.intervals.get(reader.small::<usize>()?)?,
                };
                let place = Place {
                    channel,
                    interval_us,
                };
                Some((source, place))
            })
            .collect::<Option<_>>()?;
        let valued = reader.small().filter(|valued| *valued <= self.rows)?;
        let lengths = (reader.small()?, reader.small()?);
        let entry = Entry {
            name: self.name.clone(),
            places,
            valued,
            states: 0..0,
            values: 0..0,
        };
        Some((entry, lengths))
    }
}
