//! Payloads that were changed or moved: detected, named, and no neighbour is lost.

use fieldkeep_protocol::Epoch;

use super::*;
use crate::{GapReason, Outcome, Point};

async fn three_batches(store: &Store) {
    store
        .append_channels(origin(1), &table(5, 1, &["level"], 1_000_000), received())
        .await
        .unwrap();
    for first in [0u8, 10, 20] {
        let values: Vec<f64> = (first..first + 10).map(f64::from).collect();
        store
            .append(
                origin(1),
                &simple(5, first.into(), [0; 32], &values),
                received(),
            )
            .await
            .unwrap();
    }
}

async fn check(store: &Store, damaged: u64) {
    let range = TimeRange {
        from: at(0),
        to: at(30),
    };
    let page = store
        .scan(project(1), &[source(1, "level")], range, None, 100)
        .await
        .unwrap();
    assert_eq!(page.damaged, damaged);
    let expected = 30 - 10 * usize::try_from(damaged).unwrap();
    assert_eq!(page.points.len(), expected);
    assert!(page.gaps.iter().all(|gap| gap.reason == GapReason::Damaged));
    assert_eq!(page.gaps.len(), usize::from(damaged > 0));
    let buckets = store
        .buckets(project(1), &[source(1, "level")], range, 5 * SECOND)
        .await
        .unwrap();
    assert_eq!(
        (buckets.points, buckets.damaged),
        (expected as u64, damaged)
    );
    // The ledger knows nothing of payloads, and the evidence is not thrown away.
    assert_eq!(store.holes(origin(1), Epoch(5), 0, 30).await.unwrap(), []);
}

#[tokio::test]
async fn a_flipped_bit_is_detected_and_neighbours_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    three_batches(&store).await;
    check(&store, 0).await;
    let database = &store.inner.database;
    let row = database
        .fetch_optional("SELECT payload FROM batch WHERE id = 2", &[])
        .await
        .unwrap()
        .unwrap();
    let payload = row.bytes(0).unwrap().to_vec();
    for position in [0, payload.len() / 2, payload.len() - 1] {
        let mut changed = payload.clone();
        changed[position] ^= 1;
        database
            .execute(
                "UPDATE batch SET payload = $1 WHERE id = 2",
                &[(&changed).into()],
            )
            .await
            .unwrap();
        check(&store, 1).await;
    }
    database
        .execute(
            "UPDATE batch SET payload = $1 WHERE id = 2",
            &[(&payload).into()],
        )
        .await
        .unwrap();
    check(&store, 0).await;
}

#[tokio::test]
async fn a_payload_moved_to_another_row_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    three_batches(&store).await;
    let database = &store.inner.database;
    let moved = "UPDATE batch SET (key_id, counter, payload) = \
                 (SELECT key_id, counter, payload FROM batch AS other WHERE other.id = 1) WHERE id = 3";
    database.execute(moved, &[]).await.unwrap();
    check(&store, 1).await;
    // The newest point is the newest one that can be read.
    let latest = store
        .latest(project(1), &[source(1, "level")])
        .await
        .unwrap();
    assert_eq!(latest.map(|point: Point| point.time), Some(at(19)));
}

#[tokio::test]
async fn every_column_that_names_a_payload_is_bound_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    three_batches(&store).await;
    let database = &store.inner.database;
    let changes = [
        "UPDATE batch SET first = first + 100 WHERE id = 2",
        "UPDATE batch SET first = first - 100, count = count + 1 WHERE id = 2",
        "UPDATE batch SET count = count - 1, branch = 1 WHERE id = 2",
        "UPDATE batch SET branch = 0, counter = counter + 7 WHERE id = 2",
        "UPDATE batch SET counter = counter - 7, key_id = 99 WHERE id = 2",
    ];
    let range = TimeRange {
        from: at(0),
        to: at(30),
    };
    for change in changes {
        database.execute(change, &[]).await.unwrap();
        let page = store
            .scan(project(1), &[source(1, "level")], range, None, 100)
            .await
            .unwrap();
        assert_eq!((page.damaged, page.points.len()), (1, 20), "{change}");
    }
}

#[tokio::test]
async fn a_damaged_channel_table_hides_only_what_it_explains() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    three_batches(&store).await;
    store
        .append_channels(origin(2), &table(5, 1, &["level"], 1_000_000), received())
        .await
        .unwrap();
    store
        .append(origin(2), &simple(5, 0, [0; 32], &[1.0]), received())
        .await
        .unwrap();
    store
        .inner
        .database
        .execute("UPDATE channels SET payload = (SELECT payload FROM channels AS c WHERE c.id = 2) WHERE id = 1", &[])
        .await
        .unwrap();
    store.close().await;
    let store = open(folder.path()).await;
    let range = TimeRange {
        from: at(0),
        to: at(30),
    };
    let page = store
        .scan(project(1), &[source(1, "level")], range, None, 100)
        .await
        .unwrap();
    assert!(page.points.is_empty());
    let page = store
        .scan(project(1), &[source(2, "level")], range, None, 100)
        .await
        .unwrap();
    assert_eq!(page.points.len(), 1);
    // The device sends its table again, and all is readable.
    let receipt = store
        .append_channels(origin(1), &table(5, 1, &["level"], 1_000_000), received())
        .await
        .unwrap();
    assert!(!receipt.new);
    let fresh = store
        .append(origin(1), &simple(5, 30, [0; 32], &[1.0]), received())
        .await
        .unwrap();
    assert_eq!((fresh.outcome, fresh.readable), (Outcome::Stored, true));
}

#[tokio::test]
async fn a_damaged_page_is_detected_and_neighbours_are_read() {
    const PAGE: usize = 4_096;
    const RECORDS: u32 = 3_000;
    const BATCHES: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .append_channels(origin(1), &table(5, 1, &["level"], 1_000_000), received())
        .await
        .unwrap();
    let mut chance = Chance(8);
    let mut values = Vec::new();
    for number in 0..BATCHES as u64 {
        // Noise, so that a payload goes over several pages.
        let noise: Vec<f64> = (0..RECORDS)
            .map(|_| f64::from(u32::try_from(chance.below(1 << 31)).unwrap()) * 0.01)
            .collect();
        let first = number * u64::from(RECORDS);
        let batch = simple(5, first, [0; 32], &noise);
        store.append(origin(1), &batch, received()).await.unwrap();
        values.extend(noise);
    }
    store.close().await;
    let path = folder.path().join("series.db");
    let whole = std::fs::read(&path).unwrap();
    let range = TimeRange {
        from: at(0),
        to: at(40_000),
    };
    let (mut refused, mut told, mut untouched) = (0, 0, 0);
    for page in 1..whole.len() / PAGE {
        let mut damaged = whole.clone();
        damaged[page * PAGE + 100] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let Ok(store) = Store::open(options(folder.path())).await else {
            refused += 1;
            continue;
        };
        let read = store
            .scan(project(1), &[source(1, "level")], range, None, 1_000_000)
            .await;
        store.close().await;
        let Ok(read) = read else {
            refused += 1;
            continue;
        };
        // Nothing that is shown is wrong, and what is missing is told.
        let shown: Vec<f64> = read.points.iter().map(|point| point.value).collect();
        let batch = RECORDS as usize;
        let lost: Vec<usize> = (0..BATCHES)
            .filter(|place| {
                !shown
                    .windows(batch)
                    .any(|part| part == &values[place * batch..][..batch])
            })
            .collect();
        assert_eq!(shown.len(), (BATCHES - lost.len()) * batch, "page {page}");
        assert_eq!(read.damaged, lost.len() as u64, "page {page}");
        if lost.is_empty() {
            untouched += 1;
        } else {
            told += 1;
            assert!(read.gaps.iter().any(|gap| gap.reason == GapReason::Damaged));
        }
    }
    println!("{refused} refused, {told} told, {untouched} untouched");
    // Payloads are most of the file.
    assert!(
        told >= 2 * BATCHES && told > refused,
        "{refused} refused, {told} told"
    );
}
