//! The store against a plain model: any order, repetition, forking and interruption of arrivals gives the answers of
//! sorted arrival.

use std::collections::{BTreeMap, BTreeSet};

use fieldkeep_protocol::batch::{self, Batch, Cell};
use fieldkeep_protocol::{Epoch, Flag, Reason};

use super::*;
use crate::{Outcome, Page, Point};

pub(super) const CHANNELS: [&str; 2] = ["level", "temperature"];
pub(super) const INTERVAL: i64 = 10 * SECOND;

/// Everything that two devices ever had in their journals: chained batches, some of them forked.
pub(super) fn journals(chance: &mut Chance, least: u64, interval: i64) -> Vec<(u8, Vec<u8>)> {
    let mut batches = Vec::new();
    for device in [1, 2] {
        for epoch in [5, 6] {
            let mut chain = Journal {
                interval,
                epoch,
                record: 0,
                time: at(0).as_micros(),
                prev: [0; 32],
            };
            for _ in 0..least + chance.below(10) {
                if chance.one_in(6) {
                    // The medium was cloned here: the clone goes on by itself for a while.
                    let mut clone = chain;
                    for _ in 0..1 + chance.below(3) {
                        batches.push((device, clone.close(chance)));
                    }
                }
                batches.push((device, chain.close(chance)));
            }
        }
    }
    batches
}

#[derive(Clone, Copy)]
struct Journal {
    interval: i64,
    epoch: u64,
    record: u64,
    time: i64,
    prev: [u8; 32],
}

impl Journal {
    fn close(&mut self, chance: &mut Chance) -> Vec<u8> {
        let count = 1 + chance.below(8);
        let mut times = Vec::new();
        let mut columns = vec![(0, Vec::new()), (1, Vec::new())];
        if chance.one_in(8) {
            self.time += self.interval * chance.below(40).cast_signed();
        }
        if chance.one_in(12) {
            self.time -= self.interval * chance.below(9).cast_signed();
        }
        for _ in 0..count {
            self.time += self.interval;
            times.push(self.time);
            for (_, cells) in &mut columns {
                let value = i32::try_from(chance.below(2_000)).unwrap();
                let flag = [Flag::Pass, Flag::NotEvaluated, Flag::Suspect]
                    [usize::try_from(chance.below(3)).unwrap()];
                cells.push(if chance.one_in(7) {
                    Cell::missing(Reason::SensorError)
                } else {
                    Cell::flagged(f64::from(value - 1_000) / 10.0, flag)
                });
            }
        }
        let bytes = encode(header(self.epoch, self.record, self.prev), &times, &columns);
        self.record += count;
        self.prev = batch::hash(&bytes);
        bytes
    }
}

/// What was acknowledged.
#[derive(Default)]
struct Model {
    batches: BTreeMap<(u8, u64, u64, [u8; 32]), Vec<u8>>,
    tables: BTreeSet<(u8, u64)>,
}

impl Model {
    fn numbers(&self, device: u8, epoch: u64) -> BTreeSet<u64> {
        self.batches
            .iter()
            .filter(|((of, run, ..), _)| (*of, *run) == (device, epoch))
            .flat_map(|(_, bytes)| {
                let range = Batch::decode(bytes).unwrap().header().range();
                range.first..range.end()
            })
            .collect()
    }

    fn expected(&self, device: u8, bytes: &[u8]) -> &'static str {
        let header = *Batch::decode(bytes).unwrap().header();
        let epoch = header.epoch.0;
        if self
            .batches
            .contains_key(&(device, epoch, header.first, batch::hash(bytes)))
        {
            return "duplicate";
        }
        let taken = self.numbers(device, epoch);
        let range = header.range();
        if (range.first..range.end()).any(|number| taken.contains(&number)) {
            "fork"
        } else {
            "stored"
        }
    }

    fn add(&mut self, device: u8, bytes: &[u8]) {
        let header = *Batch::decode(bytes).unwrap().header();
        let key = (device, header.epoch.0, header.first, batch::hash(bytes));
        self.batches.insert(key, bytes.to_vec());
    }

    /// The points of a source in a range, sorted; equal times by value.
    fn points(&self, sources: &[Source], range: TimeRange) -> Vec<Point> {
        let mut points = Vec::new();
        for ((device, epoch, ..), bytes) in &self.batches {
            if !self.tables.contains(&(*device, *epoch)) {
                continue;
            }
            let batch = Batch::decode(bytes).unwrap();
            for (name, index) in CHANNELS.iter().zip(0..) {
                let cells = batch.column(index).unwrap().cells();
                for (time, cell) in batch.times().zip(cells) {
                    let time = Timestamp::from_micros(time);
                    let is_in = |source: &&Source| {
                        source.device.as_bytes() == &[*device; 16]
                            && source.channel == *name
                            && time >= source.from
                            && source.to.is_none_or(|to| time < to)
                    };
                    if time < range.from
                        || time >= range.to
                        || !sources.iter().any(|source| is_in(&source))
                    {
                        continue;
                    }
                    points.extend(cell.value.map(|value| Point {
                        time,
                        value,
                        flag: cell.flag,
                    }));
                }
            }
        }
        sort(&mut points);
        points
    }
}

fn sort(points: &mut [Point]) {
    points.sort_by(|a, b| {
        (a.time, a.flag)
            .cmp(&(b.time, b.flag))
            .then(a.value.total_cmp(&b.value))
    });
}

async fn pages(store: &Store, sources: &[Source], range: TimeRange, limit: usize) -> Page {
    let mut all = Page::default();
    let mut after = None;
    loop {
        let page = store
            .scan(project(1), sources, range, after, limit)
            .await
            .unwrap();
        assert!(page.points.len() <= limit);
        all.points.extend(page.points);
        all.gaps.extend(page.gaps);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn compare(store: &Store, model: &Model, chance: &mut Chance) {
    for device in [1, 2] {
        let ledger = store.ledger(origin(device)).await.unwrap();
        for epoch in [5, 6] {
            let numbers = model.numbers(device, epoch);
            let known = ledger.iter().find(|known| known.epoch.0 == epoch);
            let listed: BTreeSet<u64> = known
                .iter()
                .flat_map(|known| known.ranges.iter())
                .flat_map(|(first, last)| *first..=*last)
                .collect();
            assert_eq!(listed, numbers);
            let holes = store
                .holes(origin(device), Epoch(epoch), 3, 60)
                .await
                .unwrap();
            let holes: BTreeSet<u64> = holes
                .into_iter()
                .flat_map(|(first, last)| first..=last)
                .collect();
            assert_eq!(
                holes,
                (3..60).filter(|number| !numbers.contains(number)).collect()
            );
            if let Some(known) = known {
                let links = known.links;
                assert_eq!(links.linked + links.pending + links.gap, known.batches);
            }
        }
        let of_device = model.batches.keys().filter(|key| key.0 == device).count();
        assert_eq!(
            store.totals(origin(device)).await.unwrap().batches,
            of_device as u64
        );
    }
    let swap = at(chance.below(2_000).cast_signed());
    let swapped = [
        Source {
            to: Some(swap),
            ..source(1, "level")
        },
        Source {
            from: swap,
            ..source(2, "level")
        },
    ];
    let from = at(chance.below(1_000).cast_signed());
    let to =
        Timestamp::from_micros(from.as_micros() + chance.below(1_500).cast_signed() * SECOND + 1);
    for (sources, range) in [
        (vec![source(1, "level")], FOREVER),
        (vec![source(2, "temperature")], TimeRange { from, to }),
        (swapped.to_vec(), FOREVER),
        (swapped.to_vec(), TimeRange { from, to }),
    ] {
        check_reads(store, model, &sources, range, chance).await;
    }
}

async fn check_reads(
    store: &Store,
    model: &Model,
    sources: &[Source],
    range: TimeRange,
    chance: &mut Chance,
) {
    let expected = model.points(sources, range);
    let whole = pages(store, sources, range, 100_000).await;
    let limit = usize::try_from(1 + chance.below(20)).unwrap();
    let paged = pages(store, sources, range, limit).await;
    assert_eq!(paged.points, whole.points, "pages do not change the order");
    assert!(whole.points.is_sorted_by_key(|point| point.time));
    let mut found = whole.points;
    sort(&mut found);
    assert_eq!(found, expected);

    let latest = store.latest(project(1), sources).await.unwrap();
    let everything = TimeRange {
        from: Timestamp::from_micros(i64::MIN),
        to: Timestamp::from_micros(i64::MAX),
    };
    let newest = model
        .points(sources, everything)
        .last()
        .map(|point| point.time);
    assert_eq!(latest.map(|point| point.time), newest);

    let width =
        (range.to.as_micros() - range.from.as_micros()) / (1 + chance.below(50).cast_signed()) + 1;
    let buckets = store
        .buckets(project(1), sources, range, width)
        .await
        .unwrap();
    let mut groups: BTreeMap<i64, Vec<Point>> = BTreeMap::new();
    for point in &expected {
        groups
            .entry(point.time.as_micros().div_euclid(width) * width)
            .or_default()
            .push(*point);
    }
    assert_eq!(buckets.points, expected.len() as u64);
    assert_eq!(buckets.buckets.len(), groups.len());
    for (bucket, (start, points)) in buckets.buckets.iter().zip(&groups) {
        let values = || points.iter().map(|point| point.value);
        assert_eq!(bucket.start.as_micros(), *start);
        assert_eq!(bucket.count, points.len() as u64);
        assert_eq!(bucket.min, values().fold(f64::INFINITY, f64::min));
        assert_eq!(bucket.max, values().fold(f64::NEG_INFINITY, f64::max));
        assert_eq!(
            Some(bucket.flag),
            points.iter().map(|point| point.flag).max()
        );
        let mean = values().sum::<f64>() / f64::from(u32::try_from(points.len()).unwrap());
        assert!((bucket.mean - mean).abs() < 1e-9);
    }
    check_gaps(&whole.gaps, &expected, sources, range);
    check_gaps(&paged.gaps, &expected, sources, range);
}

fn check_gaps(gaps: &[crate::Gap], expected: &[Point], sources: &[Source], range: TimeRange) {
    if expected.is_empty() {
        return;
    }
    let first = sources.iter().map(|source| source.from).min().unwrap();
    let last = sources
        .iter()
        .map(|source| source.to.unwrap_or(range.to))
        .max()
        .unwrap();
    let mut times = vec![first.max(range.from).as_micros()];
    times.extend(expected.iter().map(|point| point.time.as_micros()));
    times.push(last.min(range.to).as_micros());
    let silent: Vec<(i64, i64)> = times
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .filter(|pair| pair.1 - pair.0 > INTERVAL * 5 / 2)
        .collect();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for gap in gaps {
        let (from, to) = (gap.from.as_micros(), gap.to.as_micros());
        match merged.last_mut() {
            // Parts of one gap with different reasons; two gaps touch only where a single point lies between them.
            Some(last) if last.1 == from && !times.contains(&from) => last.1 = to,
            _ => merged.push((from, to)),
        }
    }
    assert_eq!(merged, silent);
}

async fn round(seed: u64) {
    let mut chance = Chance(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path()).await;
    let mut model = Model::default();
    let mut arrivals = journals(&mut chance, 6, INTERVAL);
    let again: Vec<_> = arrivals
        .iter()
        .filter(|_| chance.one_in(4))
        .cloned()
        .collect();
    arrivals.extend(again);
    if chance.one_in(2) {
        chance.shuffle(&mut arrivals);
    }
    let mut tables: Vec<(u8, u64)> = vec![(1, 5), (1, 6), (2, 5), (2, 6)];
    chance.shuffle(&mut tables);
    let interval = u64::try_from(INTERVAL).unwrap();
    for (device, bytes) in arrivals {
        if chance.one_in(5)
            && let Some((device, epoch)) = tables.pop()
        {
            let table = table(epoch, 1, &CHANNELS, interval);
            store
                .append_channels(origin(device), &table, received())
                .await
                .unwrap();
            model.tables.insert((device, epoch));
        }
        let expected = model.expected(device, &bytes);
        let receipt = store
            .append(origin(device), &bytes, received())
            .await
            .unwrap();
        match (expected, receipt.outcome) {
            ("duplicate", Outcome::Duplicate)
            | ("fork", Outcome::Fork { .. })
            | ("stored", Outcome::Stored) => {}
            // It takes no number that is taken, but continues a fork.
            ("stored", Outcome::Fork { branch }) if branch > 0 => {}
            other => panic!("{other:?}"),
        }
        model.add(device, &bytes);
        if chance.one_in(15) {
            compare(&store, &model, &mut chance).await;
        }
        if chance.one_in(25) {
            store.close().await;
            store = open(folder.path()).await;
        }
    }
    compare(&store, &model, &mut chance).await;
    store.close().await;
    compare(&open(folder.path()).await, &model, &mut chance).await;
}

#[tokio::test]
async fn any_order_gives_the_answers_of_sorted_arrival() {
    let most = std::env::var("FIELDKEEP_STORE_SEEDS").map_or(12, |most| most.parse().unwrap());
    for seed in 1..=most {
        println!("seed {seed}");
        Box::pin(round(seed)).await;
    }
}
