//! Makes a chunk: takes batches in whatever order, sorts their rows once, and writes the columns.
//!
//! The result depends only on the rows and on what was said about their origins, not on the order in which they came.

use std::collections::BTreeMap;

use fieldkeep_protocol::batch::Cell;

use super::{MAGIC, Origin, Place, State, Unread, Version, states};
use crate::cold::bytes::{put_block, put_int, put_name, put_uint};
use crate::cold::{CHUNK_ROWS, decimal, numbers};
use crate::gaps::GapReason;

/// Rows of one window, being collected.
#[derive(Default)]
pub(crate) struct ChunkBuilder {
    origins: Vec<Origin>,
    /// For each row: time, origin's number, record.
    rows: Vec<(i64, u32, u64)>,
    channels: BTreeMap<String, Cells>,
    unread: Vec<Unread>,
}

#[derive(Default)]
struct Cells {
    places: BTreeMap<u32, Place>,
    /// The rows that say something of the channel, ascending.
    cells: Vec<(u32, State, f64)>,
}

/// Rows in order, ready to be written and folded.
pub(crate) struct Sorted {
    pub(crate) times: Vec<i64>,
    origins: Vec<Origin>,
    /// For each row: origin's number, record.
    from: Vec<(u32, u64)>,
    pub(crate) channels: Vec<Channel>,
    unread: Vec<Unread>,
}

/// One channel of sorted rows.
pub(crate) struct Channel {
    pub(crate) name: String,
    places: BTreeMap<u32, Place>,
    states: Vec<(State, usize)>,
    values: Vec<f64>,
}

impl ChunkBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The number of an origin in this chunk.
    pub(crate) fn origin(&mut self, origin: Origin) -> u32 {
        // Rows come in long stretches of one origin.
        let position = self.origins.iter().rposition(|known| *known == origin);
        let position = position.unwrap_or_else(|| {
            self.origins.push(origin);
            self.origins.len() - 1
        });
        u32::try_from(position).unwrap_or(u32::MAX)
    }

    /// Says what a channel is in an origin's channel table. Without it the origin's rows do not have the channel.
    pub(crate) fn place(&mut self, origin: u32, name: &str, place: Place) {
        self.cells(name).places.insert(origin, place);
    }

    /// Adds a row; answers its number, or `None` where the chunk is full.
    pub(crate) fn row(&mut self, origin: u32, time: i64, record: u64) -> Option<u32> {
        if self.rows.len() >= CHUNK_ROWS {
            return None;
        }
        let row = u32::try_from(self.rows.len()).ok()?;
        self.rows.push((time, origin, record));
        Some(row)
    }

    /// Adds cells of one channel, by the numbers of their rows, ascending within the channel.
    pub(crate) fn add(&mut self, name: &str, cells: impl IntoIterator<Item = (u32, Cell)>) {
        let column = self.cells(name);
        column.cells.extend(cells.into_iter().map(|(row, cell)| {
            let state = match cell.value {
                Some(_) => State::Valued(cell.flag),
                None => State::Absent(cell.reason),
            };
            (row, state, cell.value.unwrap_or_default())
        }));
    }

    /// Adds a batch row whose records cannot be read.
    pub(crate) fn unread(&mut self, unread: Unread) {
        self.origin(unread.origin);
        self.unread.push(unread);
    }

    /// Sorts the rows into the order in which points are read.
    pub(crate) fn sort(self) -> Sorted {
        let Self {
            origins,
            rows,
            channels,
            unread,
        } = self;
        // Numbered in order, so that the same rows give the same bytes.
        let mut sorted_origins = origins.clone();
        sorted_origins.sort_unstable();
        let renumbered: Vec<u32> = origins
            .iter()
            .map(|origin| {
                let place = sorted_origins.partition_point(|known| known < origin);
                u32::try_from(place).unwrap_or(u32::MAX)
            })
            .collect();
        let number = |origin: u32| renumbered.get(origin as usize).copied().unwrap_or(u32::MAX);
        let key = |index: &u32| {
            let (time, origin, record) = rows[*index as usize];
            let Origin { stream, branch, .. } = origins[origin as usize];
            (time, stream, branch, record, number(origin))
        };
        let mut order: Vec<u32> = (0..u32::try_from(rows.len()).unwrap_or(u32::MAX)).collect();
        if !order.is_sorted_by_key(key) {
            order.sort_by_cached_key(key);
        }
        let mut place_of = vec![0_u32; rows.len()];
        for (place, index) in (0_u32..).zip(&order) {
            place_of[*index as usize] = place;
        }
        let mut unread = unread;
        unread.sort_by_key(|row| (row.from_us, row.origin, row.first));
        Sorted {
            times: order.iter().map(|index| rows[*index as usize].0).collect(),
            from: order
                .iter()
                .map(|index| {
                    let (_, origin, record) = rows[*index as usize];
                    (number(origin), record)
                })
                .collect(),
            channels: channels
                .into_iter()
                .map(|(name, mut column)| {
                    for cell in &mut column.cells {
                        cell.0 = place_of[cell.0 as usize];
                    }
                    if !column.cells.is_sorted_by_key(|cell| cell.0) {
                        column.cells.sort_by_key(|cell| cell.0);
                    }
                    Channel {
                        places: column
                            .places
                            .into_iter()
                            .map(|(origin, place)| (number(origin), place))
                            .collect(),
                        states: runs(&column.cells, rows.len()),
                        values: column
                            .cells
                            .iter()
                            .filter(|cell| matches!(cell.1, State::Valued(_)))
                            .map(|cell| cell.2)
                            .collect(),
                        name,
                    }
                })
                .collect(),
            origins: sorted_origins,
            unread,
        }
    }

    fn cells(&mut self, name: &str) -> &mut Cells {
        if !self.channels.contains_key(name) {
            self.channels.insert(name.to_owned(), Cells::default());
        }
        self.channels.entry(name.to_owned()).or_default()
    }
}

impl Sorted {
    /// Whether there is nothing in it, not even a row that could not be read.
    pub(crate) fn is_empty(&self) -> bool {
        self.times.is_empty() && self.unread.is_empty()
    }

    /// How many values there are in all channels together.
    pub(crate) fn points(&self) -> usize {
        self.channels
            .iter()
            .map(|channel| channel.values.len())
            .sum()
    }

    /// The chunk's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let segments = self.segments();
        let times = numbers::pack(&self.times);
        let mut head = MAGIC.to_vec();
        head.push(Version::Two as u8);
        put_uint(&mut head, self.times.len() as u64);
        put_uint(&mut head, self.origins.len() as u64);
        for origin in &self.origins {
            put_int(&mut head, origin.stream);
            put_uint(&mut head, origin.branch.into());
            put_uint(&mut head, origin.revision.into());
        }
        put_uint(&mut head, segments.count as u64);
        put_uint(&mut head, segments.bytes.len() as u64);
        put_uint(&mut head, times.len() as u64);
        put_uint(&mut head, self.unread.len() as u64);
        for unread in &self.unread {
            let source = self.origins.partition_point(|known| *known < unread.origin);
            put_uint(&mut head, source as u64);
            put_uint(&mut head, unread.first);
            put_uint(&mut head, unread.count.into());
            put_int(&mut head, unread.from_us);
            put_uint(
                &mut head,
                unread
                    .to_us
                    .saturating_sub(unread.from_us)
                    .max(0)
                    .cast_unsigned(),
            );
            head.push(u8::from(unread.reason == GapReason::Held));
        }
        let places = || {
            self.channels
                .iter()
                .flat_map(|channel| channel.places.values())
        };
        let mut intervals: Vec<u64> = places().map(|place| place.interval_us).collect();
        intervals.sort_unstable();
        intervals.dedup();
        put_uint(&mut head, intervals.len() as u64);
        for interval in &intervals {
            put_uint(&mut head, *interval);
        }
        put_uint(&mut head, self.channels.len() as u64);
        let mut blocks = segments.bytes;
        blocks.extend_from_slice(&times);
        let mut before = "";
        for channel in &self.channels {
            let states = states::write(&channel.states);
            let values = decimal::pack(&channel.values);
            put_name(&mut head, before, &channel.name);
            before = &channel.name;
            put_uint(&mut head, channel.places.len() as u64);
            for (origin, place) in &channel.places {
                put_uint(&mut head, (*origin).into());
                put_uint(&mut head, place.channel.into());
                let interval = intervals.partition_point(|known| *known < place.interval_us);
                put_uint(&mut head, interval as u64);
            }
            put_uint(&mut head, channel.values.len() as u64);
            put_uint(&mut head, states.len() as u64);
            put_uint(&mut head, values.len() as u64);
            blocks.extend_from_slice(&states);
            blocks.extend_from_slice(&values);
        }
        head.append(&mut blocks);
        head
    }

    /// A channel's cells that say something: time, state, value where there is one, nominal interval.
    pub(crate) fn cells<'a>(
        &'a self,
        channel: &'a Channel,
    ) -> impl Iterator<Item = (i64, State, Option<f64>, u64)> + 'a {
        let mut values = channel.values.iter().copied();
        channel
            .states
            .iter()
            .flat_map(|(state, rows)| std::iter::repeat_n(*state, *rows))
            .zip(self.times.iter().zip(&self.from))
            .filter_map(move |(state, (time, (origin, _)))| {
                let value = match state {
                    State::Valued(_) => values.next(),
                    State::Nothing | State::Absent(_) => None,
                };
                let place = channel.places.get(origin)?;
                (state != State::Nothing).then_some((*time, state, value, place.interval_us))
            })
    }

    /// The rows that could not be read, and whether this channel is among what they would hold.
    pub(crate) fn unread_of<'a>(
        &'a self,
        channel: &'a Channel,
    ) -> impl Iterator<Item = &'a Unread> + 'a {
        self.unread.iter().filter(|unread| {
            let source = self.origins.partition_point(|known| *known < unread.origin);
            unread.reason == GapReason::Held
                || u32::try_from(source).is_ok_and(|source| channel.places.contains_key(&source))
        })
    }

    fn segments(&self) -> Segments {
        let mut expected = vec![0_u64; self.origins.len()];
        let (mut sources, mut firsts, mut counts) = (Vec::new(), Vec::new(), Vec::<i64>::new());
        let mut before = None;
        for (source, record) in &self.from {
            let next = &mut expected[*source as usize];
            let follows = before == Some(*source) && *next == *record;
            match counts.last_mut() {
                Some(count) if follows => *count += 1,
                _ => {
                    sources.push(i64::from(*source));
                    firsts.push(record.wrapping_sub(*next).cast_signed());
                    counts.push(1);
                }
            }
            *next = record.wrapping_add(1);
            before = Some(*source);
        }
        let mut bytes = Vec::new();
        for column in [&sources, &firsts, &counts] {
            put_block(&mut bytes, &numbers::pack(column));
        }
        Segments {
            count: counts.len(),
            bytes,
        }
    }
}

struct Segments {
    count: usize,
    bytes: Vec<u8>,
}

fn runs(cells: &[(u32, State, f64)], rows: usize) -> Vec<(State, usize)> {
    let mut runs: Vec<(State, usize)> = Vec::new();
    let mut push = |state: State, count: usize| match runs.last_mut() {
        Some((last, length)) if *last == state => *length += count,
        _ if count > 0 => runs.push((state, count)),
        _ => {}
    };
    let mut next = 0_usize;
    for (row, state, _) in cells {
        let row = *row as usize;
        push(State::Nothing, row.saturating_sub(next));
        push(*state, 1);
        next = row + 1;
    }
    push(State::Nothing, rows.saturating_sub(next));
    runs
}
