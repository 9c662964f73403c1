//! Roll-ups: what the points of each bucket have in common, of one device at one level, by channel. Version 2
//! is written, 1 is read too.
//!
//! A row holds the buckets of a fixed stretch of time. For which times of it a channel's buckets are made is said with
//! the channel (covered): elsewhere the level is not worth its room, and readers take the points. Beside the buckets
//! stand the runs that gaps are made from, at a grain of a quarter of a bucket and never across the windows that they
//! were computed for, so that one window can be computed anew alone.
//!
//! [`Rollup::decode`] takes authenticated bytes and yet believes nothing: damaged ones give `None`.

mod first;
mod fold;
mod pack;

use std::collections::BTreeMap;
use std::ops::Range;

use fieldkeep_protocol::Flag;

use super::bytes::{Reader, put_block, put_int, put_name, put_uint};
use super::{Level, PLAIN_BYTES, ROW_BUCKETS, Window};
use crate::gaps::{GapReason, Run};

pub(crate) use fold::fold;

const MAGIC: [u8; 3] = *b"FKR";
/// Runs of one kind in one channel of a row at most: one every grain, and one for each window's edge.
const RUNS: usize = 1 << 16;

/// What the points of one bucket have in common; there is no bucket without a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bucket {
    /// The first instant that belongs to it.
    pub(crate) start: i64,
    pub(crate) count: u64,
    /// Exact where the values are decimals, compensated otherwise.
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The earliest value.
    pub(crate) first: f64,
    /// The latest value.
    pub(crate) last: f64,
    /// The worst flag.
    pub(crate) flag: Flag,
}

/// One channel of a row of roll-ups.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Series {
    /// The times for which the buckets are made, ascending and apart. Outside of them nothing is known here.
    pub(crate) covered: Vec<Window>,
    /// By time.
    pub(crate) buckets: Vec<Bucket>,
    /// Runs of values, by time.
    pub(crate) valued: Vec<Run>,
    /// Runs of what explains that there is no value, by reason and time.
    pub(crate) absent: Vec<(GapReason, Run)>,
}

/// A row of roll-ups whose directory was read; channels are decoded when they are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Rollup {
    bytes: Vec<u8>,
    level: Level,
    from: i64,
    channels: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    /// In version 2: what several channels have in common.
    ground: Option<Range<usize>>,
    block: Range<usize>,
}

impl Rollup {
    /// Reads header and directory.
    pub(crate) fn decode(bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() > PLAIN_BYTES {
            return None;
        }
        let mut reader = Reader::new(&bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let version = reader.byte()?;
        if version != 1 && version != 2 {
            return None;
        }
        let level = Level::from_code(reader.byte()?)?;
        let from = reader.int()?;
        if level.row(from).from != from {
            return None;
        }
        let mut grounds = Vec::new();
        if version == 2 {
            for _ in 0..reader.count(1)? {
                let length = reader.block()?.len();
                let end = bytes.len() - reader.left();
                grounds.push(end - length..end);
            }
        }
        let mut lengths = Vec::new();
        let mut name = String::new();
        let mut channels = (0..reader.count(2)?)
            .map(|_| {
                let mut ground = None;
                if version == 1 {
                    name = String::from_utf8(reader.block()?.to_vec()).ok()?;
                } else {
                    name = reader.name(&name)?;
                    ground = Some(grounds.get(reader.small::<usize>()?)?.clone());
                }
                lengths.push(reader.small::<usize>()?);
                Some(Entry {
                    name: name.clone(),
                    ground,
                    block: 0..0,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let mut at = bytes.len() - reader.left();
        for (entry, length) in channels.iter_mut().zip(lengths) {
            let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
            entry.block = at..end;
            at = end;
        }
        (at == bytes.len()).then_some(Self {
            bytes,
            level,
            from,
            channels,
        })
    }

    /// The names of the channels, in order.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|entry| entry.name.as_str())
    }

    /// One channel; `None` if the row does not have it, or its bytes are damaged ([`Rollup::channels`] tells which).
    pub(crate) fn channel(&self, name: &str) -> Option<Series> {
        let entry = self
            .channels
            .binary_search_by(|entry| entry.name.as_str().cmp(name))
            .ok()
            .and_then(|index| self.channels.get(index))?;
        let block = self.bytes.get(entry.block.clone())?;
        match &entry.ground {
            None => first::unpack(block, self.level, self.from),
            Some(ground) => {
                let ground = self.bytes.get(ground.clone())?;
                pack::unpack((ground, block), self.level, self.from)
            }
        }
    }

    /// The bytes of a row in which everything inside `window` is what `new` says, and everything else is as in
    /// `before`, the row as it was. A channel of it that is damaged is left out, and so covers nothing.
    pub(crate) fn replace(
        level: Level,
        from: i64,
        before: Option<&Self>,
        window: Window,
        new: impl IntoIterator<Item = (String, Series)>,
    ) -> Vec<u8> {
        let mut series: BTreeMap<String, Series> = BTreeMap::new();
        for entry in before.iter().flat_map(|row| &row.channels) {
            let Some(mut known) = before.and_then(|row| row.channel(&entry.name)) else {
                continue;
            };
            known.cut(window);
            series.insert(entry.name.clone(), known);
        }
        for (name, new) in new {
            series.entry(name).or_default().join(new);
        }
        series.retain(|_, series| !series.covered.is_empty());
        let mut head = MAGIC.to_vec();
        head.push(2);
        head.push(level as u8);
        put_int(&mut head, from);
        let mut grounds: Vec<Vec<u8>> = Vec::new();
        let (mut directory, mut blocks) = (Vec::new(), Vec::new());
        let mut before = "";
        for (name, series) in &series {
            let (ground, block) = pack::pack(series, level, from);
            let known = grounds.iter().position(|known| *known == ground);
            let place = known.unwrap_or_else(|| {
                grounds.push(ground);
                grounds.len() - 1
            });
            put_name(&mut directory, before, name);
            before = name;
            put_uint(&mut directory, place as u64);
            put_uint(&mut directory, block.len() as u64);
            blocks.extend_from_slice(&block);
        }
        put_uint(&mut head, grounds.len() as u64);
        for ground in &grounds {
            put_block(&mut head, ground);
        }
        put_uint(&mut head, series.len() as u64);
        head.append(&mut directory);
        head.append(&mut blocks);
        head
    }
}

impl Series {
    /// Leaves out what lies inside the window. Runs lie wholly inside or outside, as they were computed by window.
    fn cut(&mut self, window: Window) {
        self.covered = self
            .covered
            .iter()
            .flat_map(|covered| {
                [
                    Window {
                        from: covered.from,
                        to: covered.to.min(window.from),
                    },
                    Window {
                        from: covered.from.max(window.to),
                        to: covered.to,
                    },
                ]
            })
            .filter(|part| part.from < part.to)
            .collect();
        self.buckets.retain(|bucket| !window.contains(bucket.start));
        self.valued.retain(|run| !window.contains(run.from));
        self.absent.retain(|(_, run)| !window.contains(run.from));
    }

    /// Adds what does not overlap.
    fn join(&mut self, other: Self) {
        self.covered.extend(other.covered);
        self.covered.sort_unstable();
        self.covered.dedup_by(|next, last| {
            let touch = next.from <= last.to;
            if touch {
                last.to = last.to.max(next.to);
            }
            touch
        });
        self.buckets.extend(other.buckets);
        self.buckets.sort_by_key(|bucket| bucket.start);
        self.valued.extend(other.valued);
        self.valued.sort_by_key(|run| (run.from, run.to));
        self.absent.extend(other.absent);
        self.absent
            .sort_by_key(|(reason, run)| (*reason, run.from, run.to));
    }
}
