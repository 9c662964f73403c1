//! Tiers against a store that has none: whatever was moved, by whom and how far, and whatever came late, the answers are
//! the same to the last cursor.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::model::{CHANNELS, journals};
use super::*;
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

/// A store whose windows close at once, and have so many records at most.
async fn tiered(path: &Path, window_records: [i64; 3]) -> Store {
    Store::open(Options {
        settle: std::time::Duration::ZERO,
        window_records,
        ..options(path)
    })
    .await
    .unwrap()
}

struct Pair {
    /// With tiers.
    store: Store,
    /// Without.
    plain: Store,
    folder: tempfile::TempDir,
    other: tempfile::TempDir,
    /// From record to record.
    interval: i64,
    window_records: [i64; 3],
}

impl Pair {
    async fn open(chance: &mut Chance) -> Self {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // Hours, days or weeks of records, in windows of all lengths.
        let interval = [10, 20, 120, 3_600][chance.below(4) as usize] * SECOND;
        let window_records = [[60, 30, 20], [1_000, 200, 40], [16_000, 100_000, 1_000_000]]
            [chance.below(3) as usize];
        Self {
            store: tiered(folder.path(), window_records).await,
            plain: open(other.path()).await,
            folder,
            other,
            interval,
            window_records,
        }
    }

    async fn open_again(&mut self) {
        // Both, since the branch of a fork may depend on it.
        self.store.close().await;
        self.store = tiered(self.folder.path(), self.window_records).await;
        self.plain.close().await;
        self.plain = open(self.other.path()).await;
    }

    /// An instant in what was measured, or after it.
    fn instant(&self, chance: &mut Chance) -> Timestamp {
        let records = chance.below(800).cast_signed();
        Timestamp::from_micros(START + records * self.interval)
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
        let now = self.instant(chance);
        let most = usize::try_from(1 + chance.below(6)).unwrap();
        match chance.below(8) {
            0..=2 => {
                let done = self.store.compact(now, most).await.unwrap();
                assert_eq!(done.failed, 0);
            }
            3 => {
                let polls = chance.below(90);
                let work = Box::pin(self.store.compact(now, most));
                Polled(work, polls).await;
            }
            4 => self.open_again().await,
            5 => {
                let device = 1 + u8::try_from(chance.below(2)).unwrap();
                let from = self.instant(chance).as_micros();
                let length = chance.below(200).cast_signed() * self.interval;
                self.mark(device, from, from + length).await;
            }
            6 => self.race(now, chance).await,
            _ => {
                // Killed: whoever comes next finds its lease.
                let polls = chance.below(300);
                let work = Box::pin(self.store.compact(now, most));
                Polled(work, polls).await;
                self.open_again().await;
            }
        }
    }

    /// Two workers on one file; for the second one the leases of the first have ended. Either may be killed anywhere.
    async fn race(&mut self, now: Timestamp, chance: &mut Chance) {
        let other = tiered(self.folder.path(), self.window_records).await;
        for _ in 0..1 + chance.below(3) {
            let later = Timestamp::from_micros(now.as_micros() + 120 * SECOND);
            let polls = [0, 1].map(|_| 1 + chance.below(500));
            let one = Polled(Box::pin(self.store.compact(now, 2)), polls[0]);
            let two = Polled(Box::pin(other.compact(later, 2)), polls[1]);
            let _ = tokio::join!(one, two);
        }
        other.close().await;
        // A store has its file to itself but for this: it learns anew how far the other one came.
        self.open_again().await;
    }

    async fn compare(&self, chance: &mut Chance) {
        let swap = self.instant(chance);
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
        let from = self.instant(chance).as_micros() - 60 * self.interval;
        let to = from + chance.below(600).cast_signed() * self.interval + 1;
        let part = TimeRange {
            from: Timestamp::from_micros(from),
            to: Timestamp::from_micros(to),
        };
        let aligned = TimeRange {
            from: at(-1_200),
            to: Timestamp::from_micros(START + 1_200 * self.interval),
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
            .map(|store| store.outlines(project(1), &all, part, 60 * self.interval, few));
        let (outlines, expected) = (outlines.await.unwrap(), expected.await.unwrap());
        for (outline, expected) in outlines.iter().zip(&expected) {
            same(&outline.buckets, &expected.buckets);
            assert_eq!(outline.few, expected.few);
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
            42 * self.interval,
            SECOND + chance.below(400).cast_signed() * self.interval,
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
    let mut arrivals = journals(&mut chance, 6 + seed % 40, pair.interval);
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
    let interval = pair.interval.cast_unsigned();
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
    // In the end there is nothing left to do.
    let late = Timestamp::from_micros(START + 100_000 * pair.interval + 100 * 86_400 * SECOND);
    let mut rounds = 0;
    while pair.store.compact(late, 3).await.unwrap().left {
        rounds += 1;
        assert!(rounds < 1_000, "the worker does not come to an end");
    }
    pair.compare(&mut chance).await;
}

#[tokio::test]
async fn tiers_change_no_answer() {
    let most = std::env::var("FIELDKEEP_STORE_SEEDS").map_or(12, |most| most.parse().unwrap());
    for seed in 1..=most {
        println!("seed {seed}");
        Box::pin(round(seed)).await;
    }
}

/// Front doors run reads on any thread: this compiles only while they may.
#[expect(dead_code, reason = "the compiler is the test")]
fn reads_go_to_any_thread(store: &Store, sources: &[Source]) -> impl Send {
    fn check<T: Send>(work: T) -> T {
        work
    }
    drop(check(store.buckets(project(1), sources, FOREVER, SECOND)));
    drop(check(store.scan(project(1), sources, FOREVER, None, 1)));
    drop(check(store.scan_known(
        project(1),
        sources,
        FOREVER,
        at(0),
        (None, 1),
    )));
    drop(check(store.completeness(project(1), sources, FOREVER)));
    check(store.latest(project(1), sources))
}
