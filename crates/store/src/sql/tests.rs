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
        Err(SqlError::Newer {
            found: 2,
            known: 1,
            ..
        })
    ));
}

#[tokio::test]
async fn an_upgrade_leaves_a_copy_to_go_back_to() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    database
        .execute("INSERT INTO thing (id) VALUES (1)", &[])
        .await
        .unwrap();
    database.close().await;
    let database = open(&folder, 1, &[ONE, TWO]).await.unwrap();
    database
        .execute("INSERT INTO thing (id) VALUES (2)", &[])
        .await
        .unwrap();
    database.close().await;
    let file = folder.path().join("test.db");
    let refused = open(&folder, 1, &[ONE]).await.unwrap_err().to_string();
    let command = format!(
        "`fieldkeep admin go-back --data {}`",
        folder.path().display()
    );
    assert!(refused.ends_with(&command), "{refused}");
    assert!(!super::go_back(&file, 7).unwrap());
    assert!(super::go_back(&file, 1).unwrap());
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    assert_eq!(count(&database).await, 1);
    database.close().await;
    // The copy is as secret as the file, and the newer file is still there.
    assert!(matches!(
        open(&folder, 2, &[ONE]).await,
        Err(SqlError::WrongKey(_))
    ));
    assert!(folder.path().join("test.db.newer").exists());
    assert!(!super::go_back(&file, 1).unwrap());
}

const FOLDER: &str = "FIELDKEEP_SQL_KILL_FOLDER";
const MANY: i64 = 20_000;
/// Steps that take a while.
const LONG: [Migration; 3] = [
    ONE,
    Migration {
        number: 2,
        sql: "ALTER TABLE thing ADD COLUMN note text;\nUPDATE thing SET note = hex(data);\n",
    },
    Migration {
        number: 3,
        sql: "CREATE INDEX thing_note ON thing (note);\nUPDATE thing SET fine = true;\n",
    },
];

/// Not a test by itself: the process that is killed while it upgrades.
#[tokio::test]
async fn upgrader() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let path = std::path::Path::new(&folder).join("test.db");
    println!("upgrading");
    Database::open(&path, &DatabaseKey::new([1; 32]), &LONG)
        .await
        .unwrap()
        .close()
        .await;
}

#[tokio::test]
async fn an_upgrade_killed_anywhere_leads_back_and_forward() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    let blob = vec![7; 100];
    let values: Vec<Value<'_>> = (0..MANY)
        .flat_map(|id| [id.into(), (&blob).into()])
        .collect();
    let mut transaction = database.begin().await.unwrap();
    transaction
        .insert_rows("INSERT INTO thing (id, data) VALUES", "", 2, &values)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    database.close().await;
    let file = folder.path().join("test.db");
    let mut cut = 0;
    for round in 0..12u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sql::tests::upgrader", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains("upgrading") {}
        // Spread over the copy and the steps, however fast the machine is.
        tokio::time::sleep(std::time::Duration::from_millis(round * round * 5)).await;
        let _ = child.kill();
        child.wait().unwrap();
        let database = match open(&folder, 1, &[ONE]).await {
            Err(SqlError::Newer { found, known, .. }) => {
                assert_eq!((found, known), (3, 1), "round {round}: half an upgrade");
                assert!(super::go_back(&file, known).unwrap(), "round {round}");
                open(&folder, 1, &[ONE]).await.unwrap()
            }
            opened => {
                cut += 1;
                opened.unwrap()
            }
        };
        assert_eq!(count(&database).await, MANY, "round {round}");
        database.close().await;
    }
    assert!(cut > 0);
    let database = open(&folder, 1, &LONG).await.unwrap();
    assert_eq!(count(&database).await, MANY);
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

#[tokio::test]
async fn a_file_gives_free_pages_back_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    fill_and_empty(&database).await;
    let full = database.space().await.unwrap();
    assert!(full.shrinks && full.free_bytes > 1 << 20, "{full:?}");
    database.shrink(10).await.unwrap();
    let less = database.space().await.unwrap();
    assert_eq!(full.free_bytes - less.free_bytes, 10 * 4_096);
    database.shrink(100_000).await.unwrap();
    database.fold().await.unwrap();
    let least = database.space().await.unwrap();
    assert_eq!(least.free_bytes, 0);
    assert_eq!(size(&folder), least.file_bytes);
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_file_from_before_it_could_be_cut_needs_one_rewrite() {
    use sqlx::{Connection as _, Executor as _};
    let folder = tempfile::tempdir().unwrap();
    // As this program made files before they could be cut.
    let key = format!("\"x'{}'\"", "01".repeat(32));
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(folder.path().join("test.db"))
        .create_if_missing(true)
        .pragma("key", key);
    drop(open(&tempfile::tempdir().unwrap(), 1, &[]).await.unwrap());
    let mut old = sqlx::SqliteConnection::connect_with(&options)
        .await
        .unwrap();
    old.execute("CREATE TABLE something (id bigint)")
        .await
        .unwrap();
    old.close().await.unwrap();

    let database = open(&folder, 1, &[ONE]).await.unwrap();
    fill_and_empty(&database).await;
    let full = database.space().await.unwrap();
    assert!(!full.shrinks && full.free_bytes > 1 << 20, "{full:?}");
    database.shrink(100_000).await.unwrap();
    assert_eq!(database.space().await.unwrap(), full);
    database.rewrite().await.unwrap();
    let least = database.space().await.unwrap();
    assert!(least.shrinks && least.free_bytes == 0, "{least:?}");
    assert_eq!(size(&folder), least.file_bytes);
    assert_eq!(count(&database).await, 1);
}

/// Leaves one row and much that is free.
async fn fill_and_empty(database: &Database) {
    let blob = vec![1; 2_000_000];
    let insert = "INSERT INTO thing (id, data) VALUES ($1, $2)";
    for id in [1i64, 2] {
        database
            .execute(insert, &[id.into(), (&blob).into()])
            .await
            .unwrap();
    }
    database
        .execute("DELETE FROM thing WHERE id = 1", &[])
        .await
        .unwrap();
}

fn size(folder: &TempDir) -> u64 {
    std::fs::metadata(folder.path().join("test.db"))
        .unwrap()
        .len()
}

#[tokio::test]
async fn the_log_is_folded_beside_the_writer_and_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    let length = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
    let (mut number, data) = (0, [7; 500]);
    let mut insert = async |rows: i64| {
        let mut transaction = database.begin().await.unwrap();
        let values: Vec<Value<'_>> = (number..number + rows)
            .flat_map(|id| [Value::I64(id), "x".into(), (&data).into(), true.into()])
            .collect();
        number += rows;
        let head = "INSERT INTO thing (id, name, data, fine) VALUES";
        transaction.insert_rows(head, "", 4, &values).await.unwrap();
        transaction.commit().await.unwrap();
        number
    };
    // Nothing but that work writes to the file while the database is open.
    let empty = length("test.db");
    let mut written = 0;
    while length("test.db") < empty + 4_000_000 {
        written = insert(64).await;
        assert!(written < 200_000, "the log was never folded");
    }
    // Were it never begun anew, the log would hold every row and more.
    while written < 100_000 {
        written = insert(64).await;
    }
    let log = length("test.db-wal");
    assert!(log < 500 * written.cast_unsigned() / 2, "{log}");
    assert_eq!(count(&database).await, written);
    database.close().await;
}

#[tokio::test]
async fn a_state_stays_until_somebody_commits() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    let other = open(&folder, 1, &[ONE]).await.unwrap();
    let mut state = database.state().await.unwrap();
    for round in 0..6 {
        for again in 0..3 {
            let same = database.state().await.unwrap();
            assert_eq!(same, state, "round {round}, question {again}");
        }
        assert_eq!(database.seen_state(), Some(state));
        let ended = database.ended();
        let writer = if round % 2 == 0 { &database } else { &other };
        writer
            .execute(
                "INSERT INTO thing (id) VALUES ($1)",
                &[i64::from(round).into()],
            )
            .await
            .unwrap();
        assert_eq!(database.ended() != ended, round % 2 == 0);
        assert_eq!(database.seen_state().is_none(), round % 2 == 0);
        let next = database.state().await.unwrap();
        assert_ne!(next, state);
        state = next;
    }
    drop(database.begin().await.unwrap());
    assert_eq!(
        database.state().await.unwrap(),
        state,
        "nothing was committed"
    );
}

#[tokio::test]
async fn a_damaged_page_is_met_by_its_own_row_alone() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    let long = vec![7; 10_000];
    let insert = "INSERT INTO thing (id, data) VALUES ($1, $2)";
    // The long one is the last that is read.
    for (id, data) in [(2i64, &Vec::new()), (1, &long)] {
        let values = [id.into(), data.into()];
        database.execute(insert, &values).await.unwrap();
    }
    let last = "SELECT pageno FROM dbstat WHERE name = 'thing' AND pagetype = 'overflow' ORDER BY path DESC LIMIT 1";
    let page = database.fetch_all(last, &[]).await.unwrap()[0]
        .i64(0)
        .unwrap();
    database.close().await;
    let file = folder.path().join("test.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[usize::try_from(page - 1).unwrap() * 4_096 + 100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let database = open(&folder, 1, &[ONE]).await.unwrap();
    let (data, ids) = ("SELECT data FROM thing", "SELECT id FROM thing");
    let first = "SELECT data FROM thing WHERE id = 1";
    for round in 0..3 {
        // More of them than there are connections, each of which may have met it.
        let met = (0..6).map(|_| database.fetch_all(data, &[]));
        futures_util::future::join_all(met).await;
        assert!(database.fetch_whole(first, &[]).await.is_err());
        assert_eq!(database.fetch_whole(ids, &[]).await.unwrap().len(), 2);
        for _ in 0..6 {
            assert_eq!(database.fetch_all(ids, &[]).await.unwrap().len(), 2);
        }
        let mut snapshot = database.snapshot().await.unwrap();
        while let Ok(part) = snapshot.next().await {
            assert!(!matches!(part, super::Part::End));
        }
        let super::Engine::Sqlite(engine) = &database.engine;
        let copy = folder.path().join(format!("copy-{round}"));
        assert!(engine.copy(&copy).await.is_err());
        assert!(database.rewrite().await.is_err());
        let mut met = database.begin().await.unwrap();
        let _ = met.fetch_all(data, &[]).await;
        let _ = met.commit().await;
        let written = database
            .execute("UPDATE thing SET name = 'new' WHERE id = 2", &[])
            .await;
        assert_eq!(written.unwrap(), 1);
    }
    assert!(
        database
            .execute("DELETE FROM thing WHERE id = 1", &[])
            .await
            .is_err()
    );
    assert_eq!(count(&database).await, 2);
}
