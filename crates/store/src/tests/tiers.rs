//! Tiers against a store that has none: whatever was moved, by whom and how far, and whatever came late, the answers are
//! the same to the last cursor.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::compactor::{Stop, commit, compact, make};
use super::model::{CHANNELS, INTERVAL, journals};
use super::*;
use crate::cold::{Level, Window};
use crate::{Buckets, Page};

const MINUTE: i64 = 60 * SECOND;

/// Lets a future be polled so often, then drops it: a caller that went away, or a process that died.
struct Polled<F>(Pin<Box<F>>, u64);

impl<F: Future> Future for Polled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.1 == 0 {
            return Poll::Ready(None);
        }
        self.1 -= 1;
        self.0.as_mut().poll(context).map(Some)
    }
}

struct Pair {
    /// With tiers.
    store: Store,
    /// Without.
    plain: Store,
    folder: tempfile::TempDir,
    other: tempfile::TempDir,
    /// The length of windows, by device.
    lengths: [i64; 2],
    levels: Vec<Level>,
}

impl Pair {
    async fn open(chance: &mut Chance) -> Self {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let length = |chance: &mut Chance| [2, 10, 20, 60][chance.below(4) as usize] * MINUTE;
        let levels = match chance.below(3) {
            0 => Vec::new(),
            1 => vec![Level::TenMinutes],
            _ => Level::ALL.to_vec(),
        };
        Self {
            store: open(folder.path()).await,
            plain: open(other.path()).await,
            folder,
            other,
            lengths: [length(chance), length(chance)],
            levels,
        }
    }

    async fn mark(&self, device: u8, from: i64, to: i64) {
        let Some(device) = self.store.inner.find_device(origin(device)).await.unwrap() else {
            return;
        };
        self.store
            .inner
            .database
            .execute(
                "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) \
                 VALUES ($1, $2, $3, $4, 3, NULL, 0)",
                &[
                    device.project.number.into(),
                    device.id.as_bytes().into(),
                    from.into(),
                    to.into(),
                ],
            )
            .await
            .unwrap();
    }

    /// One thing that a worker, an operator or a crash may do.
    async fn disturb(&mut self, chance: &mut Chance) {
        let number = u8::try_from(chance.below(2)).unwrap();
        let of = origin(number + 1);
        let length = self.lengths[usize::from(number)];
        let until = at(chance.below(8_000).cast_signed()).as_micros();
        match chance.below(8) {
            0..=2 => compact(&self.store, of, length, until, &self.levels).await,
            3 => {
                let work = compact(&self.store, of, length, until, &self.levels);
                let polls = chance.below(60);
                Polled(Box::pin(work), polls).await;
            }
            4 => {
                // Both, since the branch of a fork may depend on it.
                self.store.close().await;
                self.store = open(self.folder.path()).await;
                self.plain.close().await;
                self.plain = open(self.other.path()).await;
            }
            5 => {
                let from = at(chance.below(6_000).cast_signed()).as_micros();
                let length = chance.below(2_000).cast_signed() * SECOND;
                self.mark(number + 1, from, from + length).await;
            }
            6 => self.race(of, length, until, chance).await,
            _ => self.abort(of, length).await,
        }
    }

    /// One worker reads the window at the horizon and falls asleep; another moves it and more; the first one wakes up.
    async fn race(&self, of: Origin, length: i64, until: i64, chance: &mut Chance) {
        let Some(device) = self.store.inner.find_device(of).await.unwrap() else {
            return;
        };
        let horizon = device.horizon(&self.store.inner.database).await.unwrap();
        if horizon == i64::MIN {
            return;
        }
        let window = Window {
            from: horizon,
            to: horizon + length,
        };
        let made = make(&self.store, &device, window, &self.levels).await;
        if chance.one_in(2) {
            compact(&self.store, of, length, until, &self.levels).await;
        }
        commit(&self.store, &device, made, window.to, Stop::Never).await;
    }

    async fn abort(&self, of: Origin, length: i64) {
        let Some(device) = self.store.inner.find_device(of).await.unwrap() else {
            return;
        };
        let horizon = device.horizon(&self.store.inner.database).await.unwrap();
        if horizon > i64::MIN {
            let window = Window {
                from: horizon,
                to: horizon + length,
            };
            let made = make(&self.store, &device, window, &self.levels).await;
            commit(&self.store, &device, made, window.to, Stop::BeforeCommit).await;
        }
    }

    async fn compare(&self, chance: &mut Chance) {
        let swap = at(chance.below(5_000).cast_signed());
        let swapped = vec![
            Source {
                to: Some(swap),
                ..source(1, "level")
            },
            Source {
                from: swap,
                ..source(2, "level")
            },
        ];
        let from = at(chance.below(4_000).cast_signed() - 600);
        let to = from.as_micros() + chance.below(6_000).cast_signed() * SECOND + 1;
        let part = TimeRange {
            from,
            to: Timestamp::from_micros(to),
        };
        let aligned = TimeRange {
            from: at(-1_200),
            to: at(12_000),
        };
        for (sources, range) in [
            (vec![source(1, "level")], aligned),
            (vec![source(2, "temperature")], part),
            (swapped.clone(), aligned),
            (swapped, part),
        ] {
            self.reads(&sources, range, chance).await;
        }
        let all: Vec<Vec<Source>> = [1, 2]
            .into_iter()
            .flat_map(|device| CHANNELS.map(|channel| vec![source(device, channel)]))
            .collect();
        let all: Vec<&[Source]> = all.iter().map(Vec::as_slice).collect();
        let few = usize::try_from(chance.below(600)).unwrap();
        let [outlines, expected] = [&self.store, &self.plain]
            .map(|store| store.outlines(project(1), &all, part, 10 * MINUTE, few));
        let (outlines, expected) = (outlines.await.unwrap(), expected.await.unwrap());
        for (outline, expected) in outlines.iter().zip(&expected) {
            same(&outline.buckets, &expected.buckets);
            assert_eq!(outline.points, expected.points);
        }
    }

    async fn reads(&self, sources: &[Source], range: TimeRange, chance: &mut Chance) {
        let limit = usize::try_from(1 + chance.below(90)).unwrap();
        let mut after = None;
        for _ in 0..40 {
            let [page, expected]: [Page; 2] = [
                self.store
                    .scan(project(1), sources, range, after, limit)
                    .await
                    .unwrap(),
                self.plain
                    .scan(project(1), sources, range, after, limit)
                    .await
                    .unwrap(),
            ];
            assert_eq!(page, expected);
            // Where a page ended in one store, the next one begins in the other.
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let latest = self.store.latest(project(1), sources).await.unwrap();
        assert_eq!(
            latest,
            self.plain.latest(project(1), sources).await.unwrap()
        );
        for width in [
            10 * MINUTE,
            20 * MINUTE,
            60 * MINUTE,
            24 * 60 * MINUTE,
            7 * MINUTE,
            SECOND + chance.below(4_000).cast_signed() * SECOND,
        ] {
            let read = self.store.buckets(project(1), sources, range, width).await;
            let expected = self.plain.buckets(project(1), sources, range, width).await;
            let (Ok(read), Ok(expected)) = (read, expected) else {
                continue;
            };
            same(&read, &expected);
        }
    }
}

fn same(read: &Buckets, expected: &Buckets) {
    assert_eq!(read.gaps, expected.gaps);
    assert_eq!(
        (read.points, read.damaged),
        (expected.points, expected.damaged)
    );
    assert_eq!(read.buckets.len(), expected.buckets.len());
    for (read, expected) in read.buckets.iter().zip(&expected.buckets) {
        let error = (read.mean - expected.mean).abs();
        assert!(error <= 1e-12 * expected.max.abs().max(expected.min.abs()));
        let mean = expected.mean;
        assert_eq!(crate::Bucket { mean, ..*read }, *expected);
    }
}

async fn round(seed: u64) {
    let mut chance = Chance(seed);
    let mut pair = Pair::open(&mut chance).await;
    let mut arrivals = journals(&mut chance, 6 + seed % 40);
    match chance.below(3) {
        0 => chance.shuffle(&mut arrivals),
        1 => {
            // Mostly in order, with some that come much later.
            for _ in 0..arrivals.len() / 8 {
                let from = usize::try_from(chance.below(arrivals.len() as u64)).unwrap();
                let late = arrivals.remove(from);
                arrivals.push(late);
            }
        }
        _ => {}
    }
    let mut tables: Vec<(u8, u64)> = vec![(1, 5), (1, 6), (2, 5), (2, 6)];
    chance.shuffle(&mut tables);
    let interval = u64::try_from(INTERVAL).unwrap();
    for (device, bytes) in arrivals {
        if chance.one_in(6)
            && let Some((device, epoch)) = tables.pop()
        {
            let table = table(epoch, 1, &CHANNELS, interval);
            for store in [&pair.store, &pair.plain] {
                store
                    .append_channels(origin(device), &table, received())
                    .await
                    .unwrap();
            }
            pair.mark(device, i64::MIN, i64::MAX).await;
        }
        for store in [&pair.store, &pair.plain] {
            store
                .append(origin(device), &bytes, received())
                .await
                .unwrap();
        }
        if chance.one_in(4) {
            pair.disturb(&mut chance).await;
        }
        if chance.one_in(20) {
            pair.compare(&mut chance).await;
        }
    }
    for _ in 0..4 {
        pair.disturb(&mut chance).await;
        pair.compare(&mut chance).await;
    }
}

#[tokio::test]
async fn tiers_change_no_answer() {
    let most = std::env::var("FIELDKEEP_STORE_SEEDS").map_or(12, |most| most.parse().unwrap());
    for seed in 1..=most {
        println!("seed {seed}");
        Box::pin(round(seed)).await;
    }
}
