//! kill -9 while batches arrive and times become cold: nothing acknowledged is lost, nothing comes twice.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use fieldkeep_protocol::Epoch;

use super::*;

const FOLDER: &str = "FIELDKEEP_STORE_COMPACT_FOLDER";
const RECORDS: i64 = 40;

/// Batch by batch, every third one kept back until later: what is cold gets late rows all the time.
fn batch_of(first: i64) -> Vec<u8> {
    let times: Vec<i64> = (first..first + RECORDS)
        .map(|record| at(record * 10 * MINUTE).as_micros())
        .collect();
    let cells = (first..first + RECORDS)
        .map(|record| Cell::measured(record as f64 / 10.0))
        .collect();
    encode(
        header(5, first.cast_unsigned(), [1; 32]),
        &times,
        &[(0, cells)],
    )
}

/// Not a test by itself: the process that is killed. It appends, makes cold, and prints what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = open(Path::new(&folder)).await;
    explain(&store, 1).await;
    let compacting = store.clone();
    tokio::spawn(async move {
        loop {
            compacting.compact(at(LATER), 1).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let next = store.next_record(origin(1), Epoch(5)).await.unwrap();
    let mut first = next.cast_signed().saturating_sub(4 * RECORDS).max(0);
    loop {
        for index in [0, 2, 3, 1] {
            let begin = first + index * RECORDS;
            store
                .append(origin(1), &batch_of(begin), at(LATER))
                .await
                .unwrap();
            let line = format!("acknowledged {begin}\n");
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
        first += 4 * RECORDS;
        if first > 60 * 144 {
            return;
        }
    }
}

#[tokio::test]
async fn killed_anywhere_nothing_is_lost_or_doubled() {
    let seed = 20_261_124;
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: std::collections::BTreeSet<i64> = std::collections::BTreeSet::new();
    for _ in 0..16 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::compact::killed::worker", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 1 + chance.below(40);
        for line in lines {
            let line = line.unwrap();
            let Some((_, number)) = line.split_once("acknowledged ") else {
                continue;
            };
            acknowledged.insert(number.parse().unwrap());
            left = left.saturating_sub(1);
            if left == 0 {
                child.kill().unwrap();
                left = u64::MAX;
            }
        }
        child.wait().unwrap();
        check(folder.path(), &acknowledged).await;
    }
    let store = open(folder.path()).await;
    settle(&store, LATER + 2 * DAY).await;
    assert!(number(&store, "SELECT count(*) FROM chunk").await > 0);
    assert_orderly(&store).await;
    store.close().await;
    check(folder.path(), &acknowledged).await;
}

async fn check(folder: &Path, acknowledged: &std::collections::BTreeSet<i64>) {
    let store = open(folder).await;
    let page = store
        .scan(project(1), &[source(1, "level")], ALL, None, 1_000_000)
        .await
        .unwrap();
    let records: Vec<i64> = page
        .points
        .iter()
        .map(|point| (point.time.as_micros() - START) / (10 * MINUTE * SECOND))
        .collect();
    assert!(
        records.is_sorted_by(|before, after| before < after),
        "something comes twice"
    );
    for first in acknowledged {
        for record in *first..first + RECORDS {
            assert!(
                records.binary_search(&record).is_ok(),
                "acknowledged and lost: {record}"
            );
        }
    }
    let stored = store.totals(origin(1)).await.unwrap().records;
    assert_eq!(stored, records.len() as u64);
    store.close().await;
}
