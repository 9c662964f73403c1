//! Tests of the SQL layer: keys, migrations, transactions, bulk inserts, a full disk.

use tempfile::TempDir;

use super::{Database, DatabaseKey, Migration, SqlError, Value};

const ONE: Migration = Migration {
    number: 1,
    sql: "CREATE TABLE thing (id bigint PRIMARY KEY, name text, data bytea, fine boolean);\nCREATE INDEX thing_name ON thing (name);\n",
};
const TWO: Migration = Migration {
    number: 2,
    sql: "ALTER TABLE thing ADD COLUMN note text;\nUPDATE thing SET note = 'old';\n",
};
const BROKEN: Migration = Migration {
    number: 2,
    sql: "ALTER TABLE thing ADD COLUMN note text;\nUPDATE nothing SET note = 'old';\n",
};

async fn open(folder: &TempDir, key: u8, migrations: &[Migration]) -> Result<Database, SqlError> {
    let path = folder.path().join("test.db");
    Database::open(&path, &DatabaseKey::new([key; 32]), migrations).await
}

async fn count(database: &Database) -> i64 {
    let row = database
        .fetch_optional("SELECT count(*) FROM thing", &[])
        .await
        .unwrap();
    row.unwrap().i64(0).unwrap()
}

#[tokio::test]
async fn values_come_back_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    let insert = "INSERT INTO thing (id, name, data, fine) VALUES ($1, $2, $3, $4)";
    let row: [Value<'_>; 4] = [i64::MIN.into(), "ö".into(), (&[0, 255]).into(), true.into()];
    assert_eq!(database.execute(insert, &row).await.unwrap(), 1);
    let nulls = [Value::I64(7), Value::Null, Value::Null, Value::Null];
    database.execute(insert, &nulls).await.unwrap();
    let rows = database
        .fetch_all("SELECT id, name, data, fine FROM thing ORDER BY id", &[])
        .await
        .unwrap();
    assert_eq!(rows[0].i64(0).unwrap(), i64::MIN);
    assert_eq!(rows[0].text(1).unwrap(), "ö");
    assert_eq!(rows[0].array(2).unwrap(), [0, 255]);
    assert!(rows[0].bool(3).unwrap());
    assert_eq!(rows[1].opt_text(1).unwrap(), None);
    assert!(matches!(
        rows[0].array::<3>(2),
        Err(SqlError::Column { column: 2 })
    ));
    assert!(matches!(
        rows[0].text(0),
        Err(SqlError::Column { column: 0 })
    ));
    assert!(matches!(
        rows[1].bytes(2),
        Err(SqlError::Column { column: 2 })
    ));
    assert!(matches!(
        rows[1].i64(9),
        Err(SqlError::Column { column: 9 })
    ));
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_the_file_is_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    database
        .execute("INSERT INTO thing (id) VALUES (1)", &[])
        .await
        .unwrap();
    database.close().await;
    let before = std::fs::read(folder.path().join("test.db")).unwrap();
    assert!(matches!(
        open(&folder, 2, &[ONE]).await,
        Err(SqlError::WrongKey(_))
    ));
    assert_eq!(
        std::fs::read(folder.path().join("test.db")).unwrap(),
        before
    );
    assert_eq!(count(&open(&folder, 1, &[ONE]).await.unwrap()).await, 1);
}

#[tokio::test]
async fn migrations_run_once_in_order_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    database
        .execute("INSERT INTO thing (id) VALUES (1)", &[])
        .await
        .unwrap();
    database.close().await;
    assert!(matches!(
        open(&folder, 1, &[ONE, BROKEN]).await,
        Err(SqlError::Engine(_))
    ));
    // Nothing of the broken step was kept.
    let database = open(&folder, 1, &[ONE, TWO]).await.unwrap();
    let row = database
        .fetch_optional("SELECT note FROM thing", &[])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.text(0).unwrap(), "old");
    database.close().await;
    let database = open(&folder, 1, &[ONE, TWO]).await.unwrap();
    database.close().await;
    let refused = open(&folder, 1, &[ONE]).await;
    assert!(matches!(
        refused,
        Err(SqlError::Newer { found: 2, known: 1 })
    ));
}

#[tokio::test]
async fn what_is_not_committed_never_was() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    transaction
        .execute("INSERT INTO thing (id) VALUES (1)", &[])
        .await
        .unwrap();
    assert_eq!(
        transaction
            .fetch_all("SELECT id FROM thing", &[])
            .await
            .unwrap()
            .len(),
        1
    );
    drop(transaction);
    assert_eq!(count(&database).await, 0);
    database
        .execute("INSERT INTO thing (id) VALUES (1)", &[])
        .await
        .unwrap();
    let twice = database
        .execute("INSERT INTO thing (id) VALUES (1)", &[])
        .await;
    assert!(matches!(twice, Err(SqlError::Duplicate(_))));
    database
        .execute("INSERT INTO thing (id) VALUES (2)", &[])
        .await
        .unwrap();
    assert_eq!(count(&database).await, 2);
}

#[tokio::test]
async fn many_rows_go_in_whatever_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    let head = "INSERT INTO thing (id, name) VALUES";
    let mut expected = 0;
    for rows in [0i64, 1, 3, 5, 21, 277, 800] {
        let values: Vec<Value<'_>> = (expected..expected + rows)
            .flat_map(|id| [id.into(), "name".into()])
            .collect();
        let mut transaction = database.begin().await.unwrap();
        let touched = transaction.insert_rows(head, "", 2, &values).await.unwrap();
        assert_eq!(touched, rows.cast_unsigned());
        let again = transaction
            .insert_rows(head, "ON CONFLICT DO NOTHING", 2, &values)
            .await
            .unwrap();
        assert_eq!(again, 0);
        transaction.commit().await.unwrap();
        expected += rows;
    }
    assert_eq!(count(&database).await, expected);
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_the_next_transaction_works() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    database.limit(20).await;
    let blob = vec![1; 200_000];
    let insert = "INSERT INTO thing (id, data) VALUES ($1, $2)";
    for _ in 0..3 {
        let refused = database
            .execute(insert, &[1i64.into(), (&blob).into()])
            .await;
        assert!(matches!(refused, Err(SqlError::Full(_))));
    }
    database
        .execute(insert, &[2i64.into(), Value::Null])
        .await
        .unwrap();
    database.limit(1_000).await;
    database
        .execute(insert, &[1i64.into(), (&blob).into()])
        .await
        .unwrap();
    assert_eq!(count(&database).await, 2);
}

#[tokio::test]
async fn a_table_takes_its_pages_and_those_of_its_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    let before = bytes_of(&database, "thing").await;
    assert!(
        before >= 2 * 4_096,
        "a page for the table, one for its index: {before}"
    );
    let data = vec![7; 100_000];
    let row: [Value<'_>; 4] = [1_i64.into(), "one".into(), (&data).into(), true.into()];
    let insert = "INSERT INTO thing (id, name, data, fine) VALUES ($1, $2, $3, $4)";
    database.execute(insert, &row).await.unwrap();
    let grown = bytes_of(&database, "thing").await - before;
    assert!((90_000..110_000).contains(&grown), "{grown}");
}

async fn bytes_of(database: &Database, name: &str) -> i64 {
    let tables = database.table_bytes().await.unwrap();
    let found = tables.iter().find(|(table, _)| table == name);
    found.map_or(0, |(_, bytes)| *bytes)
}
