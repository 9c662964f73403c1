//! The worker: what is asked gets the same answer before and after times become cold, whatever came late, and wherever a
//! worker was stopped.

mod damaged;
mod killed;

use std::time::Duration;

use fieldkeep_protocol::batch::{self, Cell};
use fieldkeep_protocol::{Flag, Reason};

use super::*;
use crate::{Compacted, Gap, Page, Point};

const DAY: i64 = 86_400;
const MINUTE: i64 = 60;
/// A day after everything here was measured, and after every grace.
const LATER: i64 = 80 * DAY;
const ALL: TimeRange = TimeRange {
    from: Timestamp::from_micros(START - DAY * SECOND),
    to: Timestamp::from_micros(START + 70 * DAY * SECOND),
};
const NAMES: [&str; 3] = ["level", "temperature", "battery"];

/// Everything that one device measured: chained batches of an hour, some forked, some without a channel table.
fn measured(chance: &mut Chance, days: i64, step_s: i64) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    for epoch in [5, 6] {
        let (mut record, mut prev) = (0, [0; 32]);
        let mut time = if epoch == 5 { 0 } else { days * DAY / 2 };
        let mut level = 1_000;
        let end = time + days * DAY / 2;
        while time < end {
            let count = 20 + chance.below(60).cast_signed();
            if chance.one_in(20) {
                time += chance.below(30).cast_signed() * (60 * step_s).min(3_600);
            }
            let times: Vec<i64> = (0..count)
                .map(|index| at(time + index * step_s).as_micros())
                .collect();
            let columns: Vec<(u16, Vec<Cell>)> = (0..3)
                .map(|index| (index, cells(chance, count, &mut level, index)))
                .collect();
            let branches = if chance.one_in(30) { 2 } else { 1 };
            for branch in 0..branches {
                let boot = 1 + branch;
                let header = Header {
                    boot,
                    ..header(epoch, record, prev)
                };
                batches.push(encode(header, &times, &columns));
            }
            prev = batch::hash(&batches[batches.len() - branches as usize]);
            record += count.cast_unsigned();
            time += count * step_s;
        }
    }
    batches
}

fn cells(chance: &mut Chance, count: i64, level: &mut i64, index: u16) -> Vec<Cell> {
    let dead = chance.one_in(15);
    (0..count)
        .map(|row| {
            *level += chance.below(5).cast_signed() - 2;
            if dead || (index == 2 && row % 10 > 0) {
                let reason = if dead {
                    Reason::SensorError
                } else {
                    Reason::NotSampled
                };
                return Cell::missing(reason);
            }
            let flag = if chance.one_in(50) {
                Flag::Suspect
            } else {
                Flag::NotEvaluated
            };
            let value = if index == 1 {
                *level as f64 / 7.0
            } else {
                *level as f64 / 100.0
            };
            Cell::flagged(value, flag)
        })
        .collect()
}

async fn explain(store: &Store, device: u8) {
    for epoch in [5, 6] {
        let table = table(epoch, 1, &NAMES, (MINUTE * SECOND).cast_unsigned());
        store
            .append_channels(origin(device), &table, at(LATER))
            .await
            .unwrap();
    }
}

async fn append(store: &Store, device: u8, batches: &[Vec<u8>]) {
    let mut tasks = tokio::task::JoinSet::new();
    for part in batches.chunks(batches.len().div_ceil(8).max(1)) {
        let (store, part) = (store.clone(), part.to_vec());
        tasks.spawn(async move {
            for batch in part {
                store
                    .append(origin(device), &batch, at(LATER))
                    .await
                    .unwrap();
            }
        });
    }
    tasks.join_all().await;
}

/// Rounds until nothing is left.
async fn settle(store: &Store, now: i64) -> Compacted {
    let mut all = Compacted::default();
    for _ in 0..1_000 {
        let done = store.compact(at(now), 4).await.unwrap();
        all.moved += done.moved;
        all.renewed += done.renewed;
        if !done.left {
            return all;
        }
    }
    panic!("the worker does not come to an end");
}

#[derive(Clone, Debug, PartialEq)]
struct Answers {
    points: Vec<(i64, u64, Flag)>,
    gaps: Vec<Gap>,
    /// Start, count, minimum, maximum, flag, and the mean rounded.
    buckets: Vec<(i64, u64, u64, u64, Flag, i64)>,
}

async fn ask(store: &Store, device: u8, channel: &str) -> Answers {
    let sources = [source(device, channel)];
    let mut answers = Answers {
        points: Vec::new(),
        gaps: Vec::new(),
        buckets: Vec::new(),
    };
    let mut after = None;
    loop {
        let page: Page = store
            .scan(project(1), &sources, ALL, after, 7_000)
            .await
            .unwrap();
        let plain = |point: &Point| (point.time.as_micros(), point.value.to_bits(), point.flag);
        answers.points.extend(page.points.iter().map(plain));
        answers.gaps.extend(page.gaps);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    for width in [MINUTE * 7, 3_600, 3_600 * 3, DAY, DAY * 7] {
        let range = TimeRange {
            from: at(-DAY),
            to: if width < 3_600 { at(20 * DAY) } else { ALL.to },
        };
        let found = store
            .buckets(project(1), &sources, range, width * SECOND)
            .await
            .unwrap();
        answers.gaps.extend(found.gaps);
        answers.buckets.extend(found.buckets.iter().map(|bucket| {
            (
                bucket.start.as_micros(),
                bucket.count,
                bucket.min.to_bits(),
                bucket.max.to_bits(),
                bucket.flag,
                (bucket.mean * 1e6).round() as i64,
            )
        }));
    }
    answers
}

async fn ask_all(store: &Store, device: u8) -> Vec<Answers> {
    let mut answers = Vec::new();
    for name in NAMES {
        answers.push(ask(store, device, name).await);
    }
    answers
}

fn assert_same(found: &[Answers], expected: &[Answers], when: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.points.len(), expected.points.len(), "{when}: points");
        assert!(found.points == expected.points, "{when}: other points");
        assert_eq!(
            found.buckets.len(),
            expected.buckets.len(),
            "{when}: buckets"
        );
        for (found, expected) in found.buckets.iter().zip(&expected.buckets) {
            assert_eq!(found, expected, "{when}");
        }
        assert_eq!(found.gaps, expected.gaps, "{when}: gaps");
    }
}

async fn number(store: &Store, sql: &'static str) -> i64 {
    let row = store.inner.database.fetch_optional(sql, &[]).await.unwrap();
    row.unwrap().i64(0).unwrap()
}

async fn assert_orderly(store: &Store) {
    let overlaps = "SELECT count(*) FROM chunk a JOIN chunk b ON a.project = b.project AND a.device = b.device \
        AND a.id < b.id AND a.from_us < b.to_us AND b.from_us < a.to_us";
    assert_eq!(number(store, overlaps).await, 0);
    assert_eq!(number(store, "SELECT count(*) FROM lease").await, 0);
    let stale = "SELECT count(*) FROM dirty JOIN cold ON cold.project = dirty.project AND cold.device = dirty.device \
        WHERE dirty.from_us < cold.until_us";
    assert_eq!(number(store, stale).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_become_cold_and_answers_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut chance = Chance(11);
    for (device, days, step) in [(1, 56, MINUTE), (2, 50, 20 * MINUTE), (3, 4, 2)] {
        explain(&store, device).await;
        append(&store, device, &measured(&mut chance, days, step)).await;
    }
    let mut before = Vec::new();
    for device in 1..=3 {
        before.push(ask_all(&store, device).await);
    }
    let done = settle(&store, LATER).await;
    println!("{done:?}");
    assert_orderly(&store).await;
    for (device, before) in (1..).zip(&before) {
        assert_same(
            &ask_all(&store, device).await,
            before,
            &format!("device {device}"),
        );
    }
    // By density: weeks, four weeks, days.
    for (device, kind) in [(1_u8, 3), (2, 4), (3, 2)] {
        let rows = store
            .inner
            .database
            .fetch_all(
                "SELECT DISTINCT kind FROM chunk WHERE device = $1",
                &[(&[device; 16]).into()],
            )
            .await
            .unwrap();
        let kinds: Vec<i64> = rows.iter().map(|row| row.i64(0).unwrap()).collect();
        assert!(kinds.contains(&kind), "device {device}: {kinds:?}");
    }
    assert_eq!(
        store.compact(at(LATER), 100).await.unwrap(),
        Compacted::default()
    );
    store.close().await;
}

#[tokio::test]
async fn nothing_becomes_cold_before_its_grace_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    explain(&store, 1).await;
    append(&store, 1, &measured(&mut Chance(3), 56, MINUTE)).await;
    // The first Monday is the fifth of January.
    let monday = 4 * DAY;
    let grace = 3_600;
    assert_eq!(settle(&store, monday + grace - 1).await.moved, 0);
    assert_eq!(settle(&store, monday + 2 * grace).await.moved, 1);
    let until = number(&store, "SELECT until_us FROM cold").await;
    assert_eq!(until, at(monday).as_micros());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_late_and_wherever_a_round_is_dropped() {
    for seed in 0..4 {
        println!("seed {seed}");
        let mut chance = Chance(seed);
        let mut batches = measured(&mut chance, 40, 5 * MINUTE);
        let (sorted, mixed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let plain = open(sorted.path()).await;
        explain(&plain, 1).await;
        for batch in &batches {
            plain.append(origin(1), batch, at(LATER)).await.unwrap();
        }
        let mut store = open(mixed.path()).await;
        // Forks are numbered by arrival: the order of batches that begin alike stays.
        let mut order: Vec<usize> = (0..batches.len()).collect();
        chance.shuffle(&mut order);
        let mut twins: Vec<usize> = Vec::new();
        for pair in 1..batches.len() {
            let first = |index: usize| {
                batch::Batch::decode(&batches[index])
                    .unwrap()
                    .header()
                    .range()
            };
            if first(pair - 1) == first(pair) {
                twins.push(pair);
            }
        }
        order.retain(|index| !twins.contains(index));
        let explained = chance.below(order.len() as u64);
        for (turn, index) in (0..).zip(order) {
            if turn == explained {
                explain(&store, 1).await;
            }
            let batch = std::mem::take(&mut batches[index]);
            store.append(origin(1), &batch, at(LATER)).await.unwrap();
            if twins.contains(&(index + 1)) {
                let twin = std::mem::take(&mut batches[index + 1]);
                store.append(origin(1), &twin, at(LATER)).await.unwrap();
            }
            if chance.one_in(6) {
                let now = at(chance.below(LATER.cast_unsigned()).cast_signed());
                let turns = chance.below(400);
                tokio::select! {
                    biased;
                    done = store.compact(now, 2) => { done.unwrap(); }
                    () = pause(turns) => {}
                }
            }
            if chance.one_in(60) {
                store.close().await;
                store = open(mixed.path()).await;
            }
        }
        let expected = by_value(ask_all(&plain, 1).await);
        let found = by_value(ask_all(&store, 1).await);
        assert_same(&found, &expected, "with marks");
        settle(&store, LATER).await;
        assert_orderly(&store).await;
        let found = by_value(ask_all(&store, 1).await);
        assert_same(&found, &expected, "settled");
        store.close().await;
        plain.close().await;
    }
}

/// Streams are numbered by arrival, and with them points of one instant are put in order.
fn by_value(mut answers: Vec<Answers>) -> Vec<Answers> {
    for answer in &mut answers {
        answer.points.sort_unstable();
    }
    answers
}

/// A while that is told in turns of the executor.
async fn pause(turns: u64) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_on_one_file_make_what_one_makes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut chance = Chance(29);
    for device in 1..=3 {
        explain(&store, device).await;
        append(&store, device, &measured(&mut chance, 30, 4 * MINUTE)).await;
    }
    let mut before = Vec::new();
    for device in 1..=3 {
        before.push(ask_all(&store, device).await);
    }
    let other = open(folder.path()).await;
    let (mut one, mut two) = (0, 0);
    for _ in 0..200 {
        // The second one's clock is two minutes ahead: leases of the first one have ended for it.
        let (left, right) = tokio::join!(
            store.compact(at(LATER), 1),
            other.compact(at(LATER + 120), 1)
        );
        one += left.unwrap().moved;
        two += right.unwrap().moved;
    }
    assert!(one > 0 && two > 0, "{one} and {two}");
    settle(&store, LATER).await;
    other.close().await;
    store.close().await;
    let store = open(folder.path()).await;
    assert_orderly(&store).await;
    for (device, before) in (1..).zip(&before) {
        assert_same(
            &ask_all(&store, device).await,
            before,
            &format!("device {device}"),
        );
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_row_stays_out_and_stays_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    explain(&store, 1).await;
    append(&store, 1, &measured(&mut Chance(5), 30, 5 * MINUTE)).await;
    store
        .inner
        .database
        .execute(
            "UPDATE batch SET counter = counter + 1000000 WHERE id % 17 = 3",
            &[],
        )
        .await
        .unwrap();
    let damaged = async || {
        let page = store
            .scan(project(1), &[source(1, "level")], ALL, None, 1_000_000)
            .await
            .unwrap();
        (page.points.len(), page.gaps, page.damaged)
    };
    let before = damaged().await;
    assert!(before.2 > 3);
    let answers = ask_all(&store, 1).await;
    settle(&store, LATER).await;
    assert_eq!(damaged().await, before);
    assert_same(&ask_all(&store, 1).await, &answers, "with damaged rows");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_goes_on_while_times_become_cold() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    explain(&store, 1).await;
    let batches = measured(&mut Chance(8), 50, 3 * MINUTE);
    let worker = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut moved = 0;
            for _ in 0..400 {
                let done = store.compact(at(LATER), 1).await.unwrap();
                moved += done.moved + done.renewed;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            moved
        })
    };
    append(&store, 1, &batches).await;
    assert!(worker.await.unwrap() > 0);
    settle(&store, LATER).await;
    assert_orderly(&store).await;
    let plain_folder = tempfile::tempdir().unwrap();
    let plain = open(plain_folder.path()).await;
    explain(&plain, 1).await;
    append(&plain, 1, &batches).await;
    let count = async |store: &Store| {
        let page = store
            .scan(project(1), &[source(1, "level")], ALL, None, 10_000_000)
            .await
            .unwrap();
        page.points
            .iter()
            .map(|point| (point.time, point.value.to_bits()))
            .collect::<Vec<_>>()
    };
    let mut found = count(&store).await;
    let mut expected = count(&plain).await;
    // Which of two forks is the first is told by arrival.
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected);
    store.close().await;
    plain.close().await;
}
