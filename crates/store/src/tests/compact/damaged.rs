//! Damaged pages under chunks and roll-ups: told, read from the batches that they were made from, and made anew.

use super::*;
const PAGE: usize = 4_096;

/// The pages of a table with its indexes: number, whether a payload goes on there.
async fn pages(store: &Store, table: &'static str) -> Vec<(usize, bool)> {
    let rows = store
        .inner
        .database
        .fetch_all(
            "SELECT d.pageno, d.pagetype FROM dbstat d JOIN sqlite_schema s ON s.name = d.name \
             WHERE s.tbl_name = $1 ORDER BY d.pageno",
            &[table.into()],
        )
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            let number = usize::try_from(row.i64(0).unwrap()).unwrap();
            (number, row.text(1).unwrap() == "overflow")
        })
        .collect()
}

/// How many chunks and roll-ups there are, those that could not be removed included.
async fn rows(store: &Store) -> i64 {
    number(
        store,
        "SELECT (SELECT count(*) FROM chunk) + (SELECT count(*) FROM rollup)",
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_is_read_around_and_what_was_in_it_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    explain(&store, 1).await;
    append(&store, 1, &measured(&mut Chance(21), 42, MINUTE)).await;
    settle(&store, LATER).await;
    let expected = ask_all(&store, 1).await;
    let chunks = pages(&store, "chunk").await;
    let rollups = pages(&store, "rollup").await;
    let before = rows(&store).await;
    store.close().await;
    let path = folder.path().join("series.db");
    let whole = std::fs::read(&path).unwrap();
    let (mut anew, mut around, mut refused) = (0, 0, 0);
    for (page, is_payload) in chunks.into_iter().chain(rollups) {
        let mut damaged = whole.clone();
        damaged[(page - 1) * PAGE + 100] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let Ok(store) = Store::open(options(folder.path())).await else {
            refused += 1;
            continue;
        };
        let when = format!("page {page}");
        println!("{when}, of a payload: {is_payload}");
        assert_same(&ask_all(&store, 1).await, &expected, &when);
        let done = store.compact(at(LATER), 1_000).await.unwrap();
        if is_payload {
            assert!(done.renewed > 0 && done.failed == 0, "{when}: {done:?}");
            settle(&store, LATER).await;
            assert!(rows(&store).await > before, "{when}");
            assert_same(&ask_all(&store, 1).await, &expected, &when);
            // Nobody meets it again.
            let done = store.compact(at(LATER), 1_000).await.unwrap();
            assert_eq!(done, Compacted::default(), "{when}");
            anew += 1;
        } else {
            assert_same(&ask_all(&store, 1).await, &expected, &when);
            around += 1;
        }
        store.close().await;
    }
    println!("{anew} made anew, {around} read around, {refused} refused");
    assert!(anew > 2 && around > 2, "{anew}, {around}");
    assert_eq!(refused, 0);
}
