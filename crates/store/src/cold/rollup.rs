//! Roll-ups: what the points of each bucket have in common, of one device at one level, by channel. Version 1.
//!
//! A row holds the buckets of a fixed stretch of time. For which times of it a channel's buckets are made is said with
//! the channel (covered): elsewhere the level is not worth its room, and readers take the points. Beside the buckets
//! stand the runs that gaps are made from, at a grain of a quarter of a bucket and never across the windows that they
//! were computed for, so that one window can be computed anew alone.
//!
//! [`Rollup::decode`] takes authenticated bytes and yet believes nothing: damaged ones give `None`.

mod fold;
mod pack;

use std::collections::BTreeMap;
use std::ops::Range;

use fieldkeep_protocol::Flag;

use super::bytes::{Reader, put_block, put_int, put_uint};
use super::{Level, PLAIN_BYTES, ROW_BUCKETS, Window};
use crate::gaps::{GapReason, Run};

pub(crate) use fold::fold;

const MAGIC: [u8; 4] = *b"FKR\x01";
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
        let level = Level::from_code(reader.byte()?)?;
        let from = reader.int()?;
        if level.row(from).from != from {
            return None;
        }
        let mut lengths = Vec::new();
        let mut channels = (0..reader.count(2)?)
            .map(|_| {
                let name = String::from_utf8(reader.block()?.to_vec()).ok()?;
                lengths.push(reader.small::<usize>()?);
                Some(Entry { name, block: 0..0 })
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
        pack::unpack(self.bytes.get(entry.block.clone())?, self.level, self.from)
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
        head.push(level as u8);
        put_int(&mut head, from);
        put_uint(&mut head, series.len() as u64);
        let mut blocks = Vec::new();
        for (name, series) in &series {
            let block = pack::pack(series, level, from);
            put_block(&mut head, name.as_bytes());
            put_uint(&mut head, block.len() as u64);
            blocks.extend_from_slice(&block);
        }
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
