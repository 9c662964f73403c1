//! Batch rows by day and stream: a file from before is the same after its upgrade, and statements find rows by the index.

use fieldkeep_protocol::batch::hash;

use super::whole::{existing, key, read};
use super::*;
use crate::kept::print;
use crate::sql::{Database, Row, Value};
use crate::{ClockNote, EpochLedger, Links, MIGRATIONS, Outcome, Point, Restamp, Totals};

/// The schema before rows were found by day.
const BEFORE: i64 = 5;
const DAY: i64 = 86_400;

/// All that is sent to device 1: chained batches over ten days, a resent hole, a fork, and times that are not believed.
fn history() -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    let mut prev = [0; 32];
    for number in 0..40_u64 {
        let first = number * 20;
        let times: Vec<i64> = (0..20)
            .map(|record| at(i64::try_from(number).unwrap() * DAY / 4 + record).as_micros())
            .collect();
        let cells = vec![Cell::measured(f64::from(u32::try_from(number).unwrap())); 20];
        let bytes = encode(header(5, first, prev), &times, &[(0, cells)]);
        prev = hash(&bytes);
        sent.push(bytes);
    }
    // A hole that is filled at the end, and one that stays.
    let late = sent.remove(17);
    sent.remove(30);
    sent.push(late);
    sent.push(simple(5, 45, [3; 32], &[7.0; 10]));
    for (first, clock) in [(800, ClockQuality::Unset), (810, ClockQuality::Unset)] {
        let header = Header {
            clock,
            ..header(5, first, prev)
        };
        let cells = vec![Cell::measured(9.0); 10];
        let times: Vec<i64> = (0..10).map(|record| record * SECOND).collect();
        let bytes = encode(header, &times, &[(0, cells)]);
        prev = hash(&bytes);
        sent.push(bytes);
    }
    sent
}

type Seen = (Vec<EpochLedger>, Vec<Point>, Totals);

async fn seen(store: &Store) -> Seen {
    let everything = TimeRange {
        from: Timestamp::from_micros(0),
        to: at(100 * DAY),
    };
    let page = store
        .scan(project(1), &[source(1, "level")], everything, None, 10_000)
        .await
        .unwrap();
    (
        store.ledger(origin(1)).await.unwrap(),
        page.points,
        store.totals(origin(1)).await.unwrap(),
    )
}

/// The same rows in the schema of before, with whole hashes.
async fn as_before(from: &Path, to: &Path, sent: &[Vec<u8>]) {
    let source = existing(from).await;
    let (tables, _) = read(&source).await;
    source.close().await;
    let file = to.join("series.db");
    let database = Database::open_to_fill(&file, &key(), MIGRATIONS, BEFORE)
        .await
        .unwrap();
    let mut transaction = database.begin().await.unwrap();
    for (table, rows) in &tables {
        if table.name() == "stream_day" {
            continue;
        }
        let hashes: Vec<[u8; 32]> = sent.iter().map(|bytes| hash(bytes)).collect();
        let column = table.columns().iter().position(|name| name == "hash");
        let width = table.columns().len();
        let mut values: Vec<Value<'_>> = rows.iter().flat_map(Row::values).collect();
        if let Some(column) = column.filter(|_| table.name() == "batch") {
            for row in values.chunks_mut(width) {
                let Value::Bytes(stored) = row[column] else {
                    panic!("a batch without a hash");
                };
                assert_eq!(stored.len(), 8);
                let whole = hashes.iter().find(|whole| print(*whole) == print(stored));
                row[column] = Value::from(whole.unwrap());
            }
        }
        transaction.fill(table, &values).await.unwrap();
    }
    transaction.commit().await.unwrap();
    database.close().await;
}

#[tokio::test]
async fn a_file_from_before_is_the_same_after_its_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let names = table(5, 1, &["level"], 0);
    store
        .append_channels(origin(1), &names, received())
        .await
        .unwrap();
    let sent = history();
    for bytes in &sent {
        store.append(origin(1), bytes, at(50 * DAY)).await.unwrap();
    }
    let moved = Restamp {
        epoch: Epoch(5),
        first: 800,
        last: 809,
        correction: Some(crate::ClockCorrection {
            offset_us: at(20 * DAY).as_micros(),
            drift: None,
            error_us: None,
        }),
    };
    store
        .restamp(
            origin(1),
            &moved,
            &ClockNote {
                actor: "somebody".to_owned(),
                reason: "the installer's notes".to_owned(),
            },
            at(50 * DAY),
        )
        .await
        .unwrap();
    let before = seen(&store).await;
    let links = before.0[0].links;
    assert!(
        links.linked > 30 && links.gap + links.pending > 1,
        "{links:?}"
    );
    assert_eq!((before.0[0].held, before.0[0].branches), (1, 2));
    assert_eq!(before.1.len(), 39 * 20 + 10 + 10);
    store.close().await;

    let other = tempfile::tempdir().unwrap();
    as_before(folder.path(), other.path(), &sent).await;
    for path in [folder.path(), other.path()] {
        let store = open(path).await;
        assert_eq!(seen(&store).await, before);
        for bytes in &sent {
            let receipt = store.append(origin(1), bytes, at(51 * DAY)).await.unwrap();
            assert_eq!(receipt.outcome, Outcome::Duplicate, "{:?}", receipt.range);
        }
        // What comes next finds the hash of what was there.
        let last = hash(sent.last().unwrap());
        let next = simple(5, 820, last, &[1.0; 5]);
        store.append(origin(1), &next, at(51 * DAY)).await.unwrap();
        // The same numbers with other content are a fork, also where their rows have other times now.
        for first in [0, 800, 810] {
            let other = simple(5, first, [0; 32], &[5.5; 10]);
            let receipt = store.append(origin(1), &other, at(51 * DAY)).await.unwrap();
            assert!(matches!(receipt.outcome, Outcome::Fork { .. }), "{first}");
        }
        let after = store.ledger(origin(1)).await.unwrap();
        let expected = Links {
            linked: links.linked + 2,
            ..after[0].links
        };
        assert_eq!(after[0].links, expected, "the next one and the first fork");
        store.close().await;
    }
}

#[tokio::test]
async fn a_day_that_was_removed_with_its_rows_is_listed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let names = table(5, 1, &["level"], 0);
    store
        .append_channels(origin(1), &names, received())
        .await
        .unwrap();
    let days = |store: Store| async move {
        let sql = "SELECT day FROM stream_day ORDER BY day";
        let rows = store.inner.database.fetch_all(sql, &[]).await.unwrap();
        let days: Vec<i64> = rows.iter().map(|row| row.i64(0).unwrap()).collect();
        days
    };
    let today = START / (DAY * SECOND);
    let tomorrow = u64::try_from(DAY).unwrap();
    for first in [0, tomorrow, 10] {
        let bytes = simple(5, first, [0; 32], &[1.0; 10]);
        store.append(origin(1), &bytes, received()).await.unwrap();
    }
    assert_eq!(days(store.clone()).await, [today, today + 1]);
    let device = store.inner.open_device(origin(1)).await.unwrap();
    let streams = device.streams(&store.inner.database).await.unwrap();
    let mut transaction = store.inner.database.begin().await.unwrap();
    transaction
        .execute("DELETE FROM batch WHERE first < 20", &[])
        .await
        .unwrap();
    let whole = (START, START + 2 * DAY * SECOND);
    crate::days::unlist(&mut transaction, &device, &streams, whole)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(
        days(store.clone()).await,
        [today + 1],
        "that of a row stays"
    );

    let bytes = simple(5, 20, [0; 32], &[2.0; 10]);
    store.append(origin(1), &bytes, received()).await.unwrap();
    assert_eq!(days(store.clone()).await, [today, today + 1]);
    let page = store
        .scan(project(1), &[source(1, "level")], FOREVER, None, 100)
        .await
        .unwrap();
    assert_eq!(page.points.len(), 20);
    store.close().await;
}

#[tokio::test]
async fn rows_of_a_stream_are_found_by_day_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let rows = store
        .inner
        .database
        .fetch_all(
            "EXPLAIN QUERY PLAN SELECT id, payload FROM hot \
             WHERE project = $1 AND stream = $2 AND day >= $3 AND day <= $4 AND held = false \
               AND (from_us, span_us, first, count, branch) > ($5, $6, $7, $8, $9) AND from_us < $10 \
             ORDER BY day, from_us, span_us, first, count, branch LIMIT 8",
            &[Value::I64(1); 10],
        )
        .await
        .unwrap();
    let plan: Vec<&str> = rows.iter().map(|row| row.text(3).unwrap()).collect();
    assert_eq!(plan.len(), 2, "nothing is sorted: {plan:?}");
    assert!(
        plan[0].contains("project=? AND stream=? AND day>? AND day<?"),
        "{plan:?}"
    );
    assert!(
        plan[1].contains("batch_day (project=? AND <expr>=? AND stream=? AND ("),
        "{plan:?}"
    );
    store.close().await;
}
