//! Retention: what goes is safe first, the ledger knows of nothing that went, and nothing comes back.

use fieldkeep_protocol::Epoch;
use fieldkeep_protocol::batch::hash;

use super::*;
use crate::retention::{Cutoffs, Expired, Order};
use crate::{EpochLedger, Outcome};

const ORDER: Order<'static> = Order {
    cause: "retention",
    actor: "system:retention",
    now: Timestamp::from_micros(START + 2_000_000 * SECOND),
};

/// Records of a batch, and batches of a window in these tests.
const RECORDS: u64 = 10;
const WINDOW: i64 = 100;

fn hot(seconds: i64) -> Cutoffs {
    Cutoffs {
        hot: Some(at(seconds)),
        ..Cutoffs::default()
    }
}

fn cold(seconds: i64) -> Cutoffs {
    Cutoffs {
        hot: Some(at(seconds)),
        cold: Some(at(seconds)),
        rollups: None,
    }
}

/// A chain of batches, each naming the one before.
fn chain(batches: u64) -> Vec<Vec<u8>> {
    let mut prev = [0; 32];
    (0..batches)
        .map(|number| {
            let first = number * RECORDS;
            let values: Vec<f64> = (first..first + RECORDS)
                .map(|record| f64::from(u32::try_from(record).unwrap()))
                .collect();
            let bytes = simple(5, first, prev, &values);
            prev = hash(&bytes);
            bytes
        })
        .collect()
}

/// A store with a channel table and the chain, whose oldest `windows` windows are cold.
async fn filled(folder: &Path, batches: &[Vec<u8>], windows: i64) -> Store {
    let store = open(folder).await;
    let names = table(5, 1, &["level"], 1_000_000);
    store
        .append_channels(origin(1), &names, received())
        .await
        .unwrap();
    for bytes in batches {
        store.append(origin(1), bytes, received()).await.unwrap();
    }
    make_cold(&store, windows, WINDOW).await;
    store
}

/// Windows of so many seconds become cold.
async fn make_cold(store: &Store, windows: i64, width: i64) {
    let until = at(windows * width).as_micros();
    compactor::compact(store, origin(1), width * SECOND, until).await;
}

async fn rows(store: &Store) -> i64 {
    one(store, "SELECT count(*) FROM batch").await
}

async fn one(store: &Store, sql: &'static str) -> i64 {
    let row = store.inner.database.fetch_optional(sql, &[]).await.unwrap();
    row.unwrap().i64(0).unwrap()
}

async fn run(store: &Store, sql: &'static str) {
    store.inner.database.execute(sql, &[]).await.unwrap();
}

async fn expire(store: &Store, cutoffs: &Cutoffs) -> Expired {
    store
        .expire(origin(1), cutoffs, &ORDER, usize::MAX)
        .await
        .unwrap()
}

/// Everything that the ledger says of the device.
async fn books(store: &Store) -> (Vec<EpochLedger>, u64, u64) {
    let totals = store.totals(origin(1)).await.unwrap();
    let ledger = store.ledger(origin(1)).await.unwrap();
    (ledger, totals.batches, totals.records)
}

#[tokio::test]
async fn the_ledger_knows_nothing_of_removed_rows() {
    let folder = tempfile::tempdir().unwrap();
    let batches = chain(60);
    let store = filled(folder.path(), &batches, 5).await;
    let before = books(&store).await;
    assert_eq!(before.0[0].links.linked, 60);

    let wanted = store.expirable(origin(1), &hot(250)).await.unwrap();
    let done = expire(&store, &hot(250)).await;
    // Two windows end before the cutoff: 20 batches of 10 records.
    assert_eq!((done.hot.items, done.hot.records), (20, 200));
    assert_eq!(wanted.hot, done.hot);
    assert_eq!(rows(&store).await, 40);
    assert_eq!(books(&store).await, before);
    store.close().await;

    let store = open(folder.path()).await;
    assert_eq!(books(&store).await, before);
    assert_eq!(store.holes(origin(1), Epoch(5), 0, 600).await.unwrap(), []);
    for bytes in &batches {
        let receipt = store.append(origin(1), bytes, received()).await.unwrap();
        assert_eq!(receipt.outcome, Outcome::Duplicate);
    }
    assert_eq!(rows(&store).await, 40);
    // What says otherwise is evidence, not a repetition.
    let other = simple(5, 10, [9; 32], &[0.5; 10]);
    let receipt = store.append(origin(1), &other, received()).await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Fork { branch: 1 });
    // Partly over removed numbers: kept whole.
    let wide = simple(5, 195, [9; 32], &[0.5; 10]);
    let receipt = store.append(origin(1), &wide, received()).await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Fork { branch: 1 });
    assert_eq!(rows(&store).await, 42);
}

#[tokio::test]
async fn the_next_batch_links_to_a_removed_one() {
    let folder = tempfile::tempdir().unwrap();
    let batches = chain(21);
    let store = filled(folder.path(), &batches[..20], 2).await;
    // The highest id stays, whatever its age: another device's row has it here.
    let names = table(5, 1, &["level"], 1_000_000);
    store
        .append_channels(origin(2), &names, received())
        .await
        .unwrap();
    let other = simple(5, 0, [0; 32], &[1.0]);
    store.append(origin(2), &other, received()).await.unwrap();
    assert_eq!(expire(&store, &hot(1_000)).await.hot.items, 20);
    assert_eq!(rows(&store).await, 1);
    store.close().await;

    let store = open(folder.path()).await;
    assert_eq!(store.newest().await.unwrap(), Some(at(199)));
    let receipt = store
        .append(origin(1), &batches[20], received())
        .await
        .unwrap();
    assert_eq!(receipt.outcome, Outcome::Stored);
    let ledger = store.ledger(origin(1)).await.unwrap();
    assert_eq!(ledger[0].ranges, [(0, 209)]);
    assert_eq!((ledger[0].links.linked, ledger[0].links.gap), (21, 0));
}

#[tokio::test]
async fn a_broken_chain_stays_a_finding_after_its_rows_went() {
    let folder = tempfile::tempdir().unwrap();
    let mut batches = chain(40);
    // The sixth names a predecessor that never was; the tenth comes before its predecessor.
    batches[5] = simple(5, 50, [7; 32], &[0.25; 10]);
    batches.swap(8, 9);
    let store = filled(folder.path(), &batches, 3).await;
    let before = books(&store).await;
    assert!(before.0[0].links.gap > 0);
    expire(&store, &hot(200)).await;
    assert_eq!(books(&store).await, before);
    store.close().await;
    let store = open(folder.path()).await;
    assert_eq!(books(&store).await, before);
}

#[tokio::test]
async fn nothing_goes_that_is_not_safe() {
    // What is in the way, and how many batches of the first three windows stay for it.
    let cases = [
        ("UPDATE cold SET until_us = until_us - 500000000", 30),
        // None of them opens.
        ("UPDATE chunk SET built = 25", 30),
        ("UPDATE chunk SET payload = x'00' WHERE id = 2", 20),
        // The second window's stay, and are read where they are.
        ("DELETE FROM chunk WHERE id = 2", 10),
        (
            "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) \
             SELECT project, device, from_us + 1, from_us + 2, 1, 7, 0 FROM chunk WHERE id = 1",
            30,
        ),
        (
            "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) \
             SELECT project, device, from_us, to_us, 3, NULL, 0 FROM chunk WHERE id = 3",
            10,
        ),
        (
            "INSERT INTO lease SELECT project, device, x'00', 9000000000000000 FROM cold",
            30,
        ),
        ("UPDATE batch SET held = true WHERE id <= 5", 5),
        // Other records than those in the chunk.
        ("UPDATE batch SET first = first + 7000 WHERE id = 5", 1),
        ("UPDATE batch SET branch = 1 WHERE id = 5", 1),
        ("DELETE FROM batch WHERE id > 30", 10),
    ];
    for (obstacle, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path(), &chain(50), 4).await;
        run(&store, obstacle).await;
        expire(&store, &hot(300)).await;
        let left = one(&store, "SELECT count(*) FROM batch WHERE id <= 30").await;
        assert_eq!(left, expected, "{obstacle}");
    }
}

#[tokio::test]
async fn cold_times_go_whole_and_do_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let batches = chain(60);
    let store = filled(folder.path(), &batches, 5).await;
    run(
        &store,
        "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) \
         SELECT project, device, from_us, to_us, 1, 3, 0 FROM chunk WHERE id = 1",
    )
    .await;
    let before = books(&store).await;
    let done = expire(&store, &cold(250)).await;
    assert_eq!((done.cold.items, done.cold.records), (2, 200));
    assert_eq!((done.hot.items, done.hot.records), (20, 200));
    assert_eq!(one(&store, "SELECT count(*) FROM chunk").await, 3);
    assert_eq!(one(&store, "SELECT count(*) FROM dirty").await, 0);
    assert_eq!(
        one(&store, "SELECT count(*) FROM change WHERE cause = 2").await,
        2
    );
    assert_eq!(books(&store).await, before);
    let entries = store.deletions(project(1), None, 10).await.unwrap();
    let tiers: Vec<&str> = entries.iter().map(|entry| entry.tier.as_str()).collect();
    assert_eq!(tiers, ["hot", "cold", "hot", "cold"]);
    assert!(entries.iter().all(|entry| entry.actor == ORDER.actor));

    for bytes in &batches[..20] {
        let receipt = store.append(origin(1), bytes, received()).await.unwrap();
        assert_eq!(receipt.outcome, Outcome::Duplicate);
    }
    // Something new for times that are gone lasts until the next round.
    let late = simple(6, 0, [0; 32], &[1.0, 2.0]);
    store.append(origin(1), &late, received()).await.unwrap();
    let newer = simple(5, 600, hash(&batches[59]), &[1.0]);
    store.append(origin(1), &newer, received()).await.unwrap();
    let done = expire(&store, &cold(250)).await;
    assert_eq!((done.cold.items, done.hot.items), (0, 1));
    assert_eq!(expire(&store, &cold(250)).await, Expired::default());
}

#[tokio::test]
async fn small_steps_and_restarts_end_at_the_same() {
    let seeds = std::env::var("FIELDKEEP_STORE_SEEDS").map_or(6, |text| text.parse().unwrap());
    for seed in 0..seeds {
        println!("seed {seed}");
        let mut chance = Chance(seed);
        let mut batches = chain(60);
        // Forks, and an order of arrival of its own.
        for number in [7u64, 8, 33] {
            batches.push(simple(5, number * RECORDS, [9; 32], &[0.5; 10]));
        }
        chance.shuffle(&mut batches);
        let folder = tempfile::tempdir().unwrap();
        let mut store = filled(folder.path(), &batches, 5).await;
        let last = simple(5, 900, [1; 32], &[1.0]);
        store.append(origin(1), &last, received()).await.unwrap();
        let before = books(&store).await;
        let cutoffs = if chance.one_in(2) {
            hot(400)
        } else {
            cold(400)
        };
        loop {
            let step = store.expire(origin(1), &cutoffs, &ORDER, 1);
            // Some are given up half-way.
            let patience = std::time::Duration::from_micros(chance.below(6_000));
            let done = tokio::time::timeout(patience, step).await;
            assert_eq!(books(&store).await, before, "seed {seed}");
            if chance.one_in(3) {
                store.close().await;
                store = open(folder.path()).await;
                assert_eq!(books(&store).await, before, "seed {seed}");
            }
            if done.is_ok_and(|done| !done.unwrap().more) {
                break;
            }
        }
        let done = expire(&store, &cutoffs).await;
        assert_eq!(done.cold.items, 0, "seed {seed}");
        let old =
            "SELECT count(*) FROM batch WHERE from_us + span_us < 1767225600000000 + 400000000";
        assert_eq!(one(&store, old).await, 0, "seed {seed}");
        for bytes in &batches {
            let receipt = store.append(origin(1), bytes, received()).await.unwrap();
            assert_eq!(receipt.outcome, Outcome::Duplicate, "seed {seed}");
        }
        assert_eq!(books(&store).await, before, "seed {seed}");
    }
}

#[tokio::test]
async fn freed_space_goes_back_to_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let mut chance = Chance(3);
    let noise: Vec<f64> = (0..2_000)
        .map(|_| f64::from(u32::try_from(chance.below(1 << 30)).unwrap()) * 0.1)
        .collect();
    let batches: Vec<Vec<u8>> = (0..500u64)
        .map(|number| simple(5, number * 2_000, [2; 32], &noise))
        .collect();
    let store = open(folder.path()).await;
    let names = table(5, 1, &["level"], 1_000_000);
    store
        .append_channels(origin(1), &names, received())
        .await
        .unwrap();
    for bytes in &batches {
        store.append(origin(1), bytes, at(9_000_000)).await.unwrap();
    }
    make_cold(&store, 9, 100_000).await;
    let full = store.space().await.unwrap();
    assert!(full.shrinks && full.file_bytes > 2 << 20, "{full:?}");
    let done = expire(&store, &hot(900_000)).await;
    assert!(done.hot.items > 400);
    let given = store.give_back().await.unwrap();
    let after = store.space().await.unwrap();
    assert_eq!(given, full.file_bytes - after.file_bytes);
    let size = std::fs::metadata(folder.path().join("series.db"))
        .unwrap()
        .len();
    assert_eq!(size, after.file_bytes);
    assert!(size < full.file_bytes / 2, "{full:?} {after:?}");
    assert_eq!(store.totals(origin(1)).await.unwrap().batches, 500);
}
