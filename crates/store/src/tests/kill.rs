//! kill -9 while batches are appended: what was acknowledged is there once, and nothing is there twice.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use fieldkeep_protocol::Epoch;

use super::*;

const FOLDER: &str = "FIELDKEEP_STORE_KILL_FOLDER";
const DEVICES: u8 = 6;
const RECORDS: u64 = 3;

fn value(device: u8, record: u64) -> f64 {
    f64::from(device) * 1e6 + f64::from(u32::try_from(record).unwrap())
}

fn batch(device: u8, first: u64) -> Vec<u8> {
    let values: Vec<f64> = (first..first + RECORDS)
        .map(|record| value(device, record))
        .collect();
    simple(5, first, [device; 32], &values)
}

/// Not a test by itself: the process that is killed. It appends for ever and prints what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appender() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let store = open(Path::new(&folder)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for device in 1..=DEVICES {
        let store = store.clone();
        tasks.spawn(async move {
            store
                .append_channels(origin(device), &table(5, 1, &["a"], 1_000_000), received())
                .await
                .unwrap();
            // As a device does that did not hear of the last acknowledgement.
            let mut first = store
                .next_record(origin(device), Epoch(5))
                .await
                .unwrap()
                .saturating_sub(RECORDS);
            loop {
                store
                    .append(origin(device), &batch(device, first), received())
                    .await
                    .unwrap();
                let line = format!("acknowledged {device} {first}\n");
                std::io::stdout().write_all(line.as_bytes()).unwrap();
                first += RECORDS;
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn acknowledged_batches_survive_kill_9_once() {
    let seed = 20_261_124;
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeSet<(u8, u64)> = BTreeSet::new();
    for _ in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::kill::appender", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 1 + chance.below(120);
        for line in lines {
            let line = line.unwrap();
            let Some((_, numbers)) = line.split_once("acknowledged ") else {
                continue;
            };
            let (device, first) = numbers.split_once(' ').unwrap();
            acknowledged.insert((device.parse().unwrap(), first.parse().unwrap()));
            left = left.saturating_sub(1);
            if left == 0 {
                // The pipe still holds what was acknowledged before; it is read to its end.
                child.kill().unwrap();
                left = u64::MAX;
            }
        }
        child.wait().unwrap();
        check(folder.path(), &acknowledged).await;
    }
    assert!(acknowledged.len() > 200);
}

async fn check(folder: &Path, acknowledged: &BTreeSet<(u8, u64)>) {
    let store = open(folder).await;
    for device in 1..=DEVICES {
        let end = store.next_record(origin(device), Epoch(5)).await.unwrap();
        assert_eq!(
            store.holes(origin(device), Epoch(5), 0, end).await.unwrap(),
            []
        );
        for (_, first) in acknowledged.iter().filter(|(of, _)| *of == device) {
            assert!(
                first + RECORDS <= end,
                "acknowledged and lost: {device} {first}"
            );
        }
        let totals = store.totals(origin(device)).await.unwrap();
        assert_eq!(
            (totals.records, totals.batches * RECORDS),
            (end, end),
            "stored twice"
        );
        let page = store
            .scan(project(1), &[source(device, "a")], FOREVER, None, 1_000_000)
            .await
            .unwrap();
        let values: Vec<f64> = page.points.iter().map(|point| point.value).collect();
        assert_eq!(
            values,
            (0..end)
                .map(|record| value(device, record))
                .collect::<Vec<_>>()
        );
    }
    store.close().await;
}
