//! A full disk: told apart, nothing acknowledged, nothing lost, and it goes on when there is room again.

use fieldkeep_protocol::Epoch;

use super::*;
use crate::{AppendError, Outcome};

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_without_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let values: Vec<f64> = (0..1_000u32)
        .map(|value| f64::from(value) * 0.37 * f64::from(value % 7))
        .collect();
    store
        .append(origin(1), &simple(5, 0, [0; 32], &values), received())
        .await
        .unwrap();
    let database = &store.inner.database;
    database.limit(70).await;

    let mut acknowledged = vec![0u64];
    let mut refused = Vec::new();
    for group in 0..30u64 {
        let mut tasks = tokio::task::JoinSet::new();
        for member in 1..=4 {
            let first = (group * 4 + member) * 1_000;
            let (store, bytes) = (store.clone(), simple(5, first, [0; 32], &values));
            tasks.spawn(async move { (first, store.append(origin(1), &bytes, received()).await) });
        }
        for (first, answer) in tasks.join_all().await {
            match answer {
                Ok(receipt) => {
                    assert_eq!(receipt.outcome, Outcome::Stored);
                    acknowledged.push(first);
                }
                Err(AppendError::Full(_)) => refused.push(first),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    assert!(!refused.is_empty() && acknowledged.len() > 1);
    let durable = |ledger: &[crate::EpochLedger]| -> Vec<u64> {
        ledger[0]
            .ranges
            .iter()
            .flat_map(|(first, last)| (*first..=*last).step_by(1_000))
            .collect()
    };
    acknowledged.sort_unstable();
    assert_eq!(
        durable(&store.ledger(origin(1)).await.unwrap()),
        acknowledged
    );
    assert!(
        store
            .quarantine(origin(1), "big", &[1; 60_000], received())
            .await
            .unwrap_err()
            .is_full()
    );

    database.limit(1_000_000).await;
    for first in refused {
        let bytes = simple(5, first, [0; 32], &values);
        let receipt = store.append(origin(1), &bytes, received()).await.unwrap();
        assert_eq!(receipt.outcome, Outcome::Stored);
    }
    assert_eq!(
        store.holes(origin(1), Epoch(5), 0, 121_000).await.unwrap(),
        []
    );
    assert_eq!(store.totals(origin(1)).await.unwrap().batches, 121);
}

#[tokio::test]
async fn a_commit_that_failed_and_was_kept_all_the_same_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let first = simple(5, 0, [0; 32], &[1.0]);
    store.append(origin(1), &first, received()).await.unwrap();
    // As if another writer's answer had been lost: a row that this process does not know of.
    let database = &store.inner.database;
    let copy = "INSERT INTO batch (id, project, stream, first, count, branch, hash, prev, from_us, span_us, \
                received_us, revision, held, key_id, counter, payload) \
                SELECT id + 1, project, stream, first + 1, count, branch, hash, prev, from_us, \
                span_us, received_us, revision, held, key_id, counter, payload FROM batch";
    database.execute(copy, &[]).await.unwrap();
    let second = simple(5, 1, [0; 32], &[2.0]);
    let refused = store.append(origin(1), &second, received()).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))));
    let receipt = store.append(origin(1), &second, received()).await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Fork { branch: 1 });
    assert_eq!(store.totals(origin(1)).await.unwrap().batches, 3);
}
