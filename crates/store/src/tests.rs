//! Tests of the store as a whole, and what they share: keys, batches, seeded chance.

mod appends;
mod changes;
mod clocks;
mod compact;
mod compactor;
mod completeness;
mod crowd;
mod damage;
mod days;
mod expiry;
mod fair;
mod full;
mod kill;
mod known;
mod model;
mod reads;
mod retention;
mod secrecy;
mod steps;
mod tiers;
mod whole;

use std::path::Path;
use std::sync::Arc;

use fieldkeep_protocol::batch::{self, Cell, ColumnInput, Header};
use fieldkeep_protocol::channels::{self, Channel, Kind};
use fieldkeep_protocol::{ClockQuality, DeviceId, Epoch, ProjectId, Timestamp};

use crate::sql::DatabaseKey;
use crate::{
    KeyUnavailable, Options, Origin, ProjectKey, ProjectKeyFuture, ProjectKeys, Source, Store,
    TimeRange,
};

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;
const SECOND: i64 = 1_000_000;
const FOREVER: TimeRange = TimeRange {
    from: Timestamp::from_micros(START - 1_000 * SECOND),
    to: Timestamp::from_micros(START + 1_000_000 * SECOND),
};

/// A keeper whose keys follow from the project, or that has lost them all.
struct Keeper {
    lost: bool,
}

impl ProjectKeys for Keeper {
    fn project_key(&self, project: ProjectId) -> ProjectKeyFuture<'_> {
        let mut key = [7; 32];
        key[..16].copy_from_slice(project.as_bytes());
        let answer = if self.lost {
            Err(KeyUnavailable::gone())
        } else {
            Ok(ProjectKey::new(key))
        };
        Box::pin(async { answer })
    }
}

fn options(path: &Path) -> Options {
    Options::new(
        path.join("series.db"),
        DatabaseKey::new([3; 32]),
        Arc::new(Keeper { lost: false }),
    )
}

async fn open(path: &Path) -> Store {
    Store::open(options(path)).await.unwrap()
}

fn project(number: u8) -> ProjectId {
    ProjectId::from_bytes([number; 16])
}

fn origin(device: u8) -> Origin {
    Origin {
        project: project(1),
        device: DeviceId::from_bytes([device; 16]),
    }
}

fn source(device: u8, channel: &str) -> Source {
    Source {
        device: DeviceId::from_bytes([device; 16]),
        channel: channel.to_owned(),
        from: Timestamp::from_micros(i64::MIN),
        to: None,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START + seconds * SECOND)
}

/// Long after every record, so that none is ahead of its arrival.
fn received() -> Timestamp {
    at(900_000)
}

fn header(epoch: u64, first: u64, prev: [u8; 32]) -> Header {
    Header {
        epoch: Epoch(epoch),
        first,
        count: 0,
        prev,
        boot: 1,
        ticks_us: 0,
        clock: ClockQuality::Synchronised,
        revision: 1,
    }
}

/// A batch with these times and columns, by ascending channel.
fn encode(header: Header, times: &[i64], columns: &[(u16, Vec<Cell>)]) -> Vec<u8> {
    let header = Header {
        count: u32::try_from(times.len()).unwrap(),
        ..header
    };
    let columns: Vec<ColumnInput<'_>> = columns
        .iter()
        .map(|(channel, cells)| ColumnInput {
            channel: *channel,
            values: cells,
        })
        .collect();
    let mut out = vec![0; 65_536];
    let length = batch::encode(&header, times, &[], &columns, &mut out).unwrap();
    out.truncate(length);
    out
}

/// A batch of one record a second with one column.
fn simple(epoch: u64, first: u64, prev: [u8; 32], values: &[f64]) -> Vec<u8> {
    let times: Vec<i64> = (first..)
        .take(values.len())
        .map(|record| at(i64::try_from(record).unwrap()).as_micros())
        .collect();
    let cells = values.iter().map(|value| Cell::measured(*value)).collect();
    encode(header(epoch, first, prev), &times, &[(0, cells)])
}

/// A channel table; channels are numbered in the order of their names here.
fn table(epoch: u64, revision: u32, names: &[&str], interval_us: u64) -> Vec<u8> {
    let channels: Vec<Channel<'_>> = names
        .iter()
        .zip(0..)
        .map(|(name, index)| Channel {
            index,
            name,
            unit: "m",
            kind: Kind::Number,
            digits: 2,
            interval_us,
            label: None,
        })
        .collect();
    let mut out = vec![0; 65_536];
    let length = channels::encode(Epoch(epoch), revision, &channels, &mut out).unwrap();
    out.truncate(length);
    out
}

/// A small generator (SplitMix64): the same seed gives the same test.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let other = usize::try_from(self.below(end as u64 + 1)).unwrap();
            items.swap(end, other);
        }
    }
}
