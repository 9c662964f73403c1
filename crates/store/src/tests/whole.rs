//! A store as a whole: one instant of it beside a writer, and an equal one made out of its rows.

use std::collections::BTreeMap;

use super::*;
use crate::sql::{Database, Part, Row, SqlError, Table, Value};
use crate::{Audit, Figures, MIGRATIONS, Opened};

pub(super) fn key() -> DatabaseKey {
    DatabaseKey::new([3; 32])
}

/// Every row of a database, table by table, and what they amount to.
pub(super) async fn read(database: &Database) -> (Vec<(Table, Vec<Row>)>, Vec<Figures>) {
    let mut snapshot = database.snapshot().await.unwrap();
    assert_eq!(snapshot.schema(), MIGRATIONS.last().unwrap().number);
    let (mut tables, mut audit) = (Vec::new(), Audit::default());
    loop {
        match snapshot.next().await.unwrap() {
            Part::Table(table) => {
                audit.table(table.name(), table.columns()).unwrap();
                tables.push((table, Vec::new()));
            }
            Part::Rows(rows) => {
                for row in &rows {
                    let values: Vec<Value<'_>> = row.values().collect();
                    audit.row(&values).unwrap();
                }
                tables.last_mut().unwrap().1.extend(rows);
            }
            Part::End => return (tables, audit.finish().unwrap()),
        }
    }
}

pub(super) async fn existing(path: &Path) -> Database {
    Database::open_existing(&path.join("series.db"), &key())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_snapshot_is_one_instant_whatever_is_written_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let database = existing(folder.path()).await;
    let mut stored: u64 = 0;
    for round in 0..20_u64 {
        store
            .append(
                origin(1),
                &simple(5, round * 50, [0; 32], &[1.5; 50]),
                received(),
            )
            .await
            .unwrap();
        stored += 50;
        let mut snapshot = database.snapshot().await.unwrap();
        // Begun and not read: everything that comes now is after its instant.
        let later = simple(6, round * 10, [0; 32], &[2.5; 10]);
        store.append(origin(2), &later, received()).await.unwrap();
        let mut audit = Audit::default();
        loop {
            match snapshot.next().await.unwrap() {
                Part::Table(table) => audit.table(table.name(), table.columns()).unwrap(),
                Part::Rows(rows) => {
                    for row in &rows {
                        let values: Vec<Value<'_>> = row.values().collect();
                        audit.row(&values).unwrap();
                    }
                }
                Part::End => break,
            }
        }
        let found: BTreeMap<u64, u64> = audit
            .finish()
            .unwrap()
            .iter()
            .map(|one| (one.epoch.0, one.records))
            .collect();
        assert_eq!(found.get(&5), Some(&stored));
        assert_eq!(found.get(&6).copied().unwrap_or(0), round * 10);
    }
    database.close().await;
    store.close().await;
}

#[tokio::test]
async fn what_is_filled_from_a_snapshot_is_equal_and_readable() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for device in 1..=3 {
        let table = table(5, 1, &["level"], 0);
        store
            .append_channels(origin(device), &table, received())
            .await
            .unwrap();
        for part in 0..30 {
            let bytes = simple(5, part * 100, [0; 32], &[f64::from(device) + 0.25; 100]);
            store
                .append(origin(device), &bytes, received())
                .await
                .unwrap();
        }
    }
    store
        .quarantine(origin(1), "odd", b"bytes", received())
        .await
        .unwrap();
    let totals = store.totals(origin(2)).await.unwrap();
    store.close().await;
    let from = existing(folder.path()).await;
    let (tables, figures) = read(&from).await;
    assert_eq!(figures.len(), 3);
    for one in &figures {
        assert_eq!((one.batches, one.records), (totals.batches, totals.records));
    }

    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("series.db");
    let schema = MIGRATIONS.last().unwrap().number;
    let to = Database::open_to_fill(&path, &key(), MIGRATIONS, schema)
        .await
        .unwrap();
    let mut transaction = to.begin().await.unwrap();
    for (table, rows) in &tables {
        let values: Vec<Value<'_>> = rows.iter().flat_map(Row::values).collect();
        let filled = transaction.fill(table, &values).await.unwrap();
        assert_eq!(filled, rows.len() as u64, "{}", table.name());
    }
    transaction.commit().await.unwrap();
    assert_eq!(to.dangling().await.unwrap(), 0);
    let (_, copied) = read(&to).await;
    assert_eq!(copied, figures);
    // One byte of one payload is another checksum of one series.
    to.execute(
        "UPDATE batch SET received_us = received_us + 1 WHERE id = (SELECT max(id) FROM batch)",
        &[],
    )
    .await
    .unwrap();
    let (_, changed) = read(&to).await;
    let differ = changed
        .iter()
        .zip(&figures)
        .filter(|(new, old)| new != old)
        .count();
    assert_eq!(differ, 1);
    to.close().await;
    from.close().await;

    let copy = open(other.path()).await;
    let page = copy
        .scan(project(1), &[source(3, "level")], FOREVER, None, 5_000)
        .await
        .unwrap();
    assert_eq!(page.points.len(), 3_000);
    let opened = copy.open_ends(origin(3), Epoch(5)).await.unwrap();
    assert_eq!(
        opened,
        Opened {
            sound: 2,
            damaged: 0,
            erased: 0
        }
    );
    copy.close().await;
}

#[tokio::test]
async fn what_does_not_open_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for part in 0..3 {
        let bytes = simple(5, part * 100, [0; 32], &[1.0; 100]);
        store.append(origin(1), &bytes, received()).await.unwrap();
    }
    store.close().await;
    let database = existing(folder.path()).await;
    database
        .execute(
            "UPDATE batch SET counter = counter + 1 WHERE first = 200",
            &[],
        )
        .await
        .unwrap();
    database.close().await;
    let store = open(folder.path()).await;
    let opened = store.open_ends(origin(1), Epoch(5)).await.unwrap();
    assert_eq!(
        opened,
        Opened {
            sound: 1,
            damaged: 1,
            erased: 0
        }
    );
    store.close().await;
    let lost = Options {
        keys: Arc::new(Keeper { lost: true }),
        ..options(folder.path())
    };
    let store = Store::open(lost).await.unwrap();
    let opened = store.open_ends(origin(1), Epoch(5)).await.unwrap();
    assert_eq!(
        opened,
        Opened {
            sound: 0,
            damaged: 0,
            erased: 2
        }
    );
    store.close().await;
}

#[tokio::test]
async fn nothing_is_made_and_nothing_newer_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("series.db");
    assert!(Database::open_existing(&path, &key()).await.is_err());
    assert!(!path.exists());
    let newest = MIGRATIONS.last().unwrap().number;
    for schema in [0, newest + 1] {
        let refused = Database::open_to_fill(&path, &key(), MIGRATIONS, schema).await;
        assert!(matches!(refused, Err(SqlError::Newer { .. })), "{schema}");
    }
    assert!(!path.exists());
}
