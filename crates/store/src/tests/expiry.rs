//! Retention beside the worker and the readers: what is read stays the same when batches go, and is gone for good when
//! values go.

use fieldkeep_protocol::batch::hash;

use super::*;
use crate::retention::{Cutoffs, Order};
use crate::{Outcome, Point};

/// A record every 20 minutes, so that days have a roll-up and a window is four weeks.
const STEP: i64 = 1_200 * SECOND;
const RECORDS: u64 = 100;
const BATCHES: u64 = 110;
const DAY: i64 = 86_400 * SECOND;
/// The first window of four weeks that ends after the records begin.
const WINDOW_END: i64 = START + 24 * DAY + 11 * DAY;

fn order() -> Order<'static> {
    Order {
        cause: "retention",
        actor: "test",
        now: now(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_micros(START + 400 * DAY)
}

fn time(record: u64) -> i64 {
    START + i64::try_from(record).unwrap() * STEP
}

fn batch_of(epoch: u64, first: u64, prev: [u8; 32], shift: f64) -> Vec<u8> {
    let records = first..first + RECORDS;
    let times: Vec<i64> = records.clone().map(time).collect();
    let cells = records
        .map(|record| Cell::measured(f64::from(u32::try_from(record % 977).unwrap()) * 0.5 + shift))
        .collect();
    encode(header(epoch, first, prev), &times, &[(0, cells)])
}

struct Scene {
    folder: tempfile::TempDir,
    store: Store,
    batches: Vec<Vec<u8>>,
}

impl Scene {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let mut batches: Vec<Vec<u8>> = Vec::new();
        for number in 0..BATCHES {
            let prev = batches.last().map_or([0; 32], |bytes| hash(bytes));
            batches.push(batch_of(5, number * RECORDS, prev, 0.0));
        }
        for device in [1, 2] {
            let names = table(5, 1, &["level"], STEP.cast_unsigned());
            store
                .append_channels(origin(device), &names, now())
                .await
                .unwrap();
        }
        for bytes in &batches {
            store.append(origin(1), bytes, now()).await.unwrap();
        }
        // The row with the highest id of all stays: it is another device's.
        store
            .append(origin(2), &simple(5, 0, [0; 32], &[1.0]), now())
            .await
            .unwrap();
        let mut scene = Self {
            folder,
            store,
            batches,
        };
        scene.compact().await;
        scene
    }

    async fn compact(&mut self) {
        while self.store.compact(now(), usize::MAX).await.unwrap().left {}
    }

    async fn reopen(&mut self) {
        self.store.close().await;
        self.store = open(self.folder.path()).await;
    }

    async fn points(&self) -> Vec<Point> {
        let range = TimeRange {
            from: Timestamp::from_micros(START - DAY),
            to: now(),
        };
        let page = self
            .store
            .scan(project(1), &[source(1, "level")], range, None, 1_000_000)
            .await
            .unwrap();
        assert_eq!((page.damaged, page.next.is_none()), (0, true));
        page.points
    }

    /// Points of each day, as buckets give them.
    async fn days(&self) -> Vec<(i64, u64)> {
        let range = TimeRange {
            from: Timestamp::from_micros(START),
            to: Timestamp::from_micros(START + 100 * DAY),
        };
        let read = self
            .store
            .buckets(project(1), &[source(1, "level")], range, DAY)
            .await
            .unwrap();
        read.buckets
            .iter()
            .map(|bucket| (bucket.start.as_micros(), bucket.count))
            .collect()
    }

    async fn expire(&self, cutoffs: Cutoffs) -> crate::Expired {
        self.store
            .expire(origin(1), &cutoffs, &order(), usize::MAX)
            .await
            .unwrap()
    }

    async fn rows(&self) -> i64 {
        super::compactor::one(&self.store.inner.database, "SELECT count(*) FROM batch").await
    }
}

fn until(days: i64) -> Option<Timestamp> {
    Some(Timestamp::from_micros(START + days * DAY))
}

#[tokio::test]
async fn what_is_read_does_not_change_when_batches_go() {
    let mut scene = Scene::open().await;
    let (points, days, rows) = (scene.points().await, scene.days().await, scene.rows().await);
    assert_eq!(points.len() as u64, BATCHES * RECORDS);
    let hot = Cutoffs {
        hot: until(90),
        ..Cutoffs::default()
    };
    let done = scene.expire(hot).await;
    assert!(done.hot.items > 40, "{done:?}");
    assert_eq!(scene.rows().await, rows - done.hot.items.cast_signed());
    assert_eq!(scene.points().await, points);
    assert_eq!(scene.days().await, days);
    scene.reopen().await;
    assert_eq!(scene.points().await, points);
    assert_eq!(scene.days().await, days);
    let latest = scene.store.latest(project(1), &[source(1, "level")]).await;
    assert_eq!(latest.unwrap(), points.last().copied());

    // Redelivery changes nothing, and the worker has nothing to make anew.
    for bytes in &scene.batches {
        let receipt = scene.store.append(origin(1), bytes, now()).await.unwrap();
        assert_eq!(receipt.outcome, Outcome::Duplicate);
    }
    scene.compact().await;
    assert_eq!(scene.points().await, points);

    // What comes late for a frozen window is read beside it, before and after the worker's round.
    let names = table(6, 1, &["level"], STEP.cast_unsigned());
    scene
        .store
        .append_channels(origin(1), &names, now())
        .await
        .unwrap();
    let late = batch_of(6, 0, [0; 32], 0.25);
    scene.store.append(origin(1), &late, now()).await.unwrap();
    let with_late = scene.points().await;
    assert_eq!(
        with_late.len(),
        points.len() + usize::try_from(RECORDS).unwrap()
    );
    scene.compact().await;
    assert_eq!(scene.points().await, with_late);
    // And batches of frozen windows do not go by the next round of retention.
    scene.expire(hot).await;
    scene.reopen().await;
    assert_eq!(scene.points().await, with_late);
}

#[tokio::test]
async fn values_that_went_do_not_come_back() {
    let mut scene = Scene::open().await;
    let (points, days) = (scene.points().await, scene.days().await);
    let cutoffs = Cutoffs {
        hot: until(64),
        cold: until(64),
        rollups: None,
    };
    let wanted = scene.store.expirable(origin(1), &cutoffs).await.unwrap();
    let done = scene.expire(cutoffs).await;
    assert!(done.cold.items > 0, "{done:?}");
    assert_eq!((wanted.cold, wanted.hot), (done.cold, done.hot));
    let left = scene.points().await;
    let gone = points.len() - left.len();
    assert!(gone > 1_000 && left == points[gone..], "{gone} gone");
    // Whole windows only: the one that the cutoff is in stays.
    let first = left[0].time.as_micros();
    assert!((WINDOW_END - 28 * DAY..=START + 64 * DAY).contains(&first));
    // The days that lie in it are still known by their roll-ups.
    assert_eq!(scene.days().await, days);

    for round in 0..2 {
        for bytes in &scene.batches {
            let receipt = scene.store.append(origin(1), bytes, now()).await.unwrap();
            assert_eq!(receipt.outcome, Outcome::Duplicate);
        }
        scene.compact().await;
        assert_eq!(scene.points().await, left, "round {round}");
        assert_eq!(scene.days().await, days, "round {round}");
        scene.reopen().await;
    }

    let rollups = Cutoffs {
        rollups: until(10_000),
        ..cutoffs
    };
    let done = scene.expire(rollups).await;
    assert!(done.rollups.items > 0);
    assert_eq!(scene.points().await, left);
    let sum = |days: &[(i64, u64)]| days.iter().map(|day| day.1).sum::<u64>();
    let now_known = scene.days().await;
    assert!(sum(&now_known) < sum(&days));
}

/// Flips one bit in the payload of a row.
async fn flip(store: &Store, read: &'static str, write: &'static str) {
    let database = &store.inner.database;
    let row = database.fetch_optional(read, &[]).await.unwrap().unwrap();
    let mut payload = row.bytes(0).unwrap().to_vec();
    let middle = payload.len() / 2;
    payload[middle] ^= 1;
    database.execute(write, &[(&payload).into()]).await.unwrap();
}

async fn chunk_is_told(scene: &Scene, points: &[Point], what: &str) {
    let range = TimeRange {
        from: Timestamp::from_micros(START),
        to: now(),
    };
    let page = scene
        .store
        .scan(project(1), &[source(1, "level")], range, None, 1_000_000)
        .await
        .unwrap();
    // It can be made anew from its batches, and until then it is told or read from them; never hidden.
    let told = page
        .gaps
        .iter()
        .any(|gap| gap.reason == crate::GapReason::Damaged);
    assert!(
        told || page.points == points,
        "{what}: {} {:?}",
        page.damaged,
        page.gaps
    );
    assert!(page.points.iter().all(|point| points.contains(point)));
    assert!(page.points.len() > points.len() / 3, "{what}");
}

#[tokio::test]
async fn damaged_chunks_are_named_and_neighbours_are_read() {
    let scene = Scene::open().await;
    let points = scene.points().await;
    flip(
        &scene.store,
        "SELECT payload FROM chunk WHERE id = 2",
        "UPDATE chunk SET payload = $1 WHERE id = 2",
    )
    .await;
    chunk_is_told(&scene, &points, "a flipped bit").await;
    let moved = "UPDATE chunk SET (key_id, counter, payload) = \
                 (SELECT key_id, counter, payload FROM chunk AS other WHERE other.id = 1) WHERE id = 2";
    scene
        .store
        .inner
        .database
        .execute(moved, &[])
        .await
        .unwrap();
    chunk_is_told(&scene, &points, "a payload in another row").await;
    // Batches of a damaged chunk are its only whole copy: they do not go.
    let rows = scene.rows().await;
    let cutoffs = Cutoffs {
        hot: until(90),
        ..Cutoffs::default()
    };
    let done = scene.expire(cutoffs).await;
    assert_eq!(scene.rows().await, rows - done.hot.items.cast_signed());
    let second = "SELECT count(*) FROM batch, chunk WHERE chunk.id = 2 AND batch.from_us >= chunk.from_us \
                  AND batch.from_us + batch.span_us < chunk.to_us";
    assert!(super::compactor::one(&scene.store.inner.database, second).await > 15);
}

#[tokio::test]
async fn damaged_rollups_are_passed_over() {
    let scene = Scene::open().await;
    let days = scene.days().await;
    flip(
        &scene.store,
        "SELECT payload FROM rollup WHERE id = 1",
        "UPDATE rollup SET payload = $1 WHERE id = 1",
    )
    .await;
    // Chunks say the same.
    assert_eq!(scene.days().await, days);
    let database = &scene.store.inner.database;
    let changed = "UPDATE rollup SET built = built + 1";
    database.execute(changed, &[]).await.unwrap();
    assert_eq!(scene.days().await, days);
}

#[tokio::test]
async fn what_was_held_is_read_when_it_is_released_among_times_whose_batches_went() {
    let mut scene = Scene::open().await;
    // An unset clock that happened to be right, at times between the others.
    let times: Vec<i64> = (0..10).map(|record| time(record) + SECOND).collect();
    let header = Header {
        clock: ClockQuality::Unset,
        ..header(9, 0, [0; 32])
    };
    let cells = vec![Cell::measured(7.0); times.len()];
    let held = encode(header, &times, &[(0, cells)]);
    let names = table(9, 1, &["level"], STEP.cast_unsigned());
    scene
        .store
        .append_channels(origin(1), &names, now())
        .await
        .unwrap();
    assert!(
        scene
            .store
            .append(origin(1), &held, now())
            .await
            .unwrap()
            .held
    );
    // Ids above it, so that it is not kept for being the last.
    scene
        .store
        .append(origin(2), &simple(6, 0, [0; 32], &[1.0]), now())
        .await
        .unwrap();
    scene.compact().await;
    let before = scene.points().await;
    let hot = Cutoffs {
        hot: until(60),
        cold: None,
        rollups: None,
    };
    assert!(scene.expire(hot).await.hot.items > 0);
    assert_eq!(scene.points().await, before);
    let days = scene.days().await;
    let released = crate::Restamp {
        epoch: Epoch(9),
        first: 0,
        last: 9,
        correction: None,
    };
    scene
        .store
        .restamp(origin(1), &released, &clocks::note(), now())
        .await
        .unwrap();
    for _ in 0..2 {
        let after = scene.points().await;
        assert_eq!(after.len(), before.len() + 10);
        let found = after
            .iter()
            .filter(|point| point.value == 7.0 && times.contains(&point.time.as_micros()));
        assert_eq!(found.count(), 10);
        let counts = |days: &[(i64, u64)]| days.iter().map(|day| day.1).sum::<u64>();
        assert_eq!(counts(&scene.days().await), counts(&days) + 10);
        // The worker changes nothing of it, nor does a new start.
        scene.compact().await;
        scene.reopen().await;
    }
}
