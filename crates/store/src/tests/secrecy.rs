//! What lies on the disk says nothing, and opens for nobody without the keys.

use std::path::Path;

use super::*;
use crate::StoreError;
use crate::sql::SqlError;

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), std::fs::read(&path).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn no_name_and_no_value_is_found_in_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    // Not exact in decimals, so that the column is plain and the value would stand there as it is.
    let canary = f64::from_bits(0x3ff1_c0ff_ee15_600d);
    store
        .append_channels(origin(1), &table(5, 1, &["canary_channel"], 0), received())
        .await
        .unwrap();
    let bytes = simple(5, 0, [0; 32], &[canary; 50]);
    assert!(bytes.windows(8).any(|part| part == canary.to_le_bytes()));
    store.append(origin(1), &bytes, received()).await.unwrap();
    store
        .quarantine(origin(1), "canary_reason", b"canary_message", received())
        .await
        .unwrap();
    let check = || {
        let files = files(folder.path());
        assert!(files.len() > 1 || files[0].1.len() > 4_096);
        for (name, content) in files {
            for canary in [
                &b"canary"[..],
                &canary.to_le_bytes(),
                b"SQLite format",
                b"CREATE TABLE",
            ] {
                assert!(
                    !content.windows(canary.len()).any(|part| part == canary),
                    "{name}"
                );
            }
        }
    };
    check();
    store.close().await;
    check();
}

#[tokio::test]
async fn a_wrong_file_key_opens_nothing_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let bytes = simple(5, 0, [0; 32], &[1.0]);
    store.append(origin(1), &bytes, received()).await.unwrap();
    store.close().await;
    let before = files(folder.path());
    let mut options = options(folder.path());
    options.key = DatabaseKey::new([4; 32]);
    let refused = Store::open(options).await;
    assert!(matches!(
        refused.err(),
        Some(StoreError::Sql(SqlError::WrongKey(_)))
    ));
    let after = files(folder.path());
    let main = |files: &[(String, Vec<u8>)]| {
        files
            .iter()
            .find(|(name, _)| name.ends_with(".db"))
            .cloned()
    };
    assert_eq!(main(&before), main(&after));
    let store = open(folder.path()).await;
    assert_eq!(store.totals(origin(1)).await.unwrap().batches, 1);
}

#[tokio::test]
async fn without_the_projects_key_the_ledger_is_there_and_no_value_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .append_channels(origin(1), &table(5, 1, &["level"], 0), received())
        .await
        .unwrap();
    store
        .append(origin(1), &simple(5, 0, [0; 32], &[1.0]), received())
        .await
        .unwrap();
    store.close().await;
    let mut options = options(folder.path());
    options.keys = Arc::new(Keeper { lost: true });
    let store = Store::open(options).await.unwrap();
    assert_eq!(store.ledger(origin(1)).await.unwrap()[0].ranges, [(0, 0)]);
    let refused = store
        .scan(project(1), &[source(1, "level")], FOREVER, None, 10)
        .await;
    assert!(matches!(refused, Err(StoreError::Key(_))));
    let refused = store
        .append(origin(1), &simple(5, 1, [0; 32], &[1.0]), received())
        .await;
    assert!(matches!(
        refused,
        Err(crate::AppendError::Unavailable(StoreError::Key(_)))
    ));
}

#[tokio::test]
async fn each_process_and_day_has_a_data_key_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let keys = async |store: &Store| {
        let rows = store
            .inner
            .database
            .fetch_all("SELECT count(*) FROM data_key", &[])
            .await
            .unwrap();
        rows[0].i64(0).unwrap()
    };
    let store = open(folder.path()).await;
    for record in 0..3u8 {
        store
            .append(
                origin(1),
                &simple(5, record.into(), [0; 32], &[1.0]),
                received(),
            )
            .await
            .unwrap();
    }
    assert_eq!(keys(&store).await, 1);
    let tomorrow = Timestamp::from_micros(received().as_micros() + 86_400 * SECOND);
    store
        .append(origin(1), &simple(5, 3, [0; 32], &[1.0]), tomorrow)
        .await
        .unwrap();
    assert_eq!(keys(&store).await, 2);
    store.close().await;
    let store = open(folder.path()).await;
    store
        .append(origin(1), &simple(5, 4, [0; 32], &[1.0]), tomorrow)
        .await
        .unwrap();
    assert_eq!(keys(&store).await, 3);
    let rows = store
        .inner
        .database
        .fetch_all("SELECT DISTINCT key_id, counter FROM batch", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), 5, "no nonce twice");
}
