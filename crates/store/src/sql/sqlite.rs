//! The embedded engine: SQLite under SQLCipher, one writer and a few readers.
//!
//! WAL with `synchronous=FULL`: a committed transaction survives a power cut.
//! The raw key skips SQLCipher's passphrase hashing, which would cost 256 k rounds a connection.

mod beside;
mod connections;
mod watch;
mod whole;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteRow,
    SqliteSynchronous, SqliteTypeInfo,
};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqlSafeStr, TypeInfo, ValueRef,
};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use self::beside::{Due, Folding};
use super::value::Cell;
use super::{Purpose, Row, Space, SqlError, State, Value};
use connections::{Connections, Lent};
use watch::Watch;

const READERS: u32 = 4;
/// SQLite's compiled limit is 32,766 placeholders a statement.
const PLACEHOLDERS: usize = 30_000;

/// The writer's page cache in KiB, as SQLite counts it: a page that falls out has to be decrypted and checked again.
const WRITER_CACHE: &str = "-16384";
/// Pages of the log after which a commit folds it into the file itself: many more than work [`beside`] lets it grow to, in case
/// that fails.
const CHECKPOINT_PAGES: &str = "40000";

/// How often and how long apart an opening that found the file locked tries again: ten seconds in all.
const LOCKED_TRIES: u32 = 400;
const LOCKED_REST: Duration = Duration::from_millis(25);
/// SQLite's result codes; a wrong key looks like a file that is no database.
const ERROR: u32 = 1;
const BUSY: u32 = 5;
const NO_MEMORY: u32 = 7;
const FULL: u32 = 13;
const NOT_A_DATABASE: u32 = 26;
/// `PRAGMA auto_vacuum` of a file that can be cut.
const INCREMENTAL: i64 = 2;

const BEGIN: &str = "BEGIN IMMEDIATE";
/// Reads a page, which after a damaged one its connection cannot.
const ASK: &str = "SELECT count(*) FROM sqlite_schema";

/// Set when the C library is ready in this process; see [`start`].
static STARTED: OnceCell<()> = OnceCell::const_new();

#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    writer: Connections,
    readers: Connections,
    watch: Arc<Watch>,
    due: Due,
    _folding: Arc<Folding>,
}

/// An open transaction, driven by plain statements: sqlx's own counts on a rollback that SQLite has done already when
/// the disk is full, and its connection would refuse every transaction after that. Dropped without a commit, its
/// connection is closed, which rolls back whatever state a failure, or a caller that went away, left it in.
#[derive(Debug)]
pub(super) struct Open {
    connection: Lent,
    rows: u64,
    due: Due,
}

impl Sqlite {
    pub(super) async fn open(
        path: &Path,
        key: &[u8; 32],
        purpose: Purpose,
    ) -> Result<Self, SqlError> {
        // Before SQLCipher does it: this way OpenSSL installs no exit handler, which would free its tables under
        // connection threads that are still closing. `.cargo/config.toml` does the same for SQLCipher's own.
        openssl_sys::init();
        STARTED.get_or_try_init(start).await.map_err(classify)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(purpose != Purpose::Look)
            .pragma("key", key_pragma(key).to_string())
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(purpose != Purpose::Fill)
            .pragma("secure_delete", "ON")
            // A wrong key is told by the error; SQLCipher would write to stderr on its own.
            .pragma("cipher_log_level", "NONE")
            // After a burst the log gives its space back at the next checkpoint.
            .pragma("journal_size_limit", "67108864")
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("temp_store", "MEMORY")
            // In KiB; a page that is in memory is neither decrypted nor authenticated again.
            .pragma("cache_size", "-8192")
            .busy_timeout(Duration::from_secs(10));
        let writing = options.clone().pragma("cache_size", WRITER_CACHE);
        let writer = connect(1, &for_first(path, &writing)).await?;
        writer.set_options(writing);
        let readers = connect(READERS, &options).await?;
        let watch = Arc::new(Watch::new(options, writer.clone()));
        let due = Due::default();
        let folding = Folding::begin(readers.clone(), writer.clone(), due.clone());
        Ok(Self {
            writer,
            readers,
            watch,
            due,
            _folding: Arc::new(folding),
        })
    }

    pub(super) async fn fetch_all(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, SqlError> {
        let read = self.readers.acquire().await.map_err(classify)?;
        let rows = match fetch(read, sql, values).await? {
            Err(error) if may_be_earlier(&error) => {
                let fresh = self.readers.acquire_new().await.map_err(classify)?;
                fetch(fresh, sql, values).await?
            }
            rows => rows,
        };
        rows.map_err(classify)?.iter().map(row).collect()
    }

    /// As [`Self::fetch_all`], and an error where a page under the rows is damaged: the last page of a long value is taken
    /// for zeros without one, and only the next statement of the connection says so.
    pub(super) async fn fetch_whole(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, SqlError> {
        let read = self.readers.acquire().await.map_err(classify)?;
        let rows = match fetch_and_ask(read, sql, values).await? {
            Err(_) => {
                let fresh = self.readers.acquire_new().await.map_err(classify)?;
                fetch_and_ask(fresh, sql, values).await?
            }
            rows => rows,
        };
        rows.map_err(classify)?.iter().map(row).collect()
    }

    /// Reads the header of every page.
    pub(super) async fn table_bytes(&self) -> Result<Vec<(String, i64)>, SqlError> {
        let rows = self
            .fetch_all(
                "SELECT s.tbl_name, sum(d.pgsize) FROM dbstat('main', 1) d \
                   JOIN sqlite_schema s ON s.name = d.name GROUP BY s.tbl_name ORDER BY s.tbl_name",
                &[],
            )
            .await?;
        rows.iter()
            .map(|row| Ok((row.text(0)?.to_owned(), row.i64(1)?)))
            .collect()
    }

    pub(super) async fn state(&self) -> Result<State, SqlError> {
        self.watch.state().await.map_err(classify)
    }

    pub(super) fn seen_state(&self) -> Option<State> {
        self.watch.seen()
    }

    pub(super) fn ended(&self) -> u64 {
        self.writer.ended()
    }

    pub(super) async fn begin(&self) -> Result<Open, SqlError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        let mut begun = sqlx::query(BEGIN).execute(&mut *connection).await;
        if matches!(&begun, Err(error) if may_be_earlier(error)) {
            drop(connection);
            connection = self.writer.acquire_new().await.map_err(classify)?;
            begun = sqlx::query(BEGIN).execute(&mut *connection).await;
        }
        begun.map_err(classify)?;
        Ok(Open {
            connection,
            rows: 0,
            due: self.due.clone(),
        })
    }

    /// How much of the file is in use.
    pub(super) async fn space(&self) -> Result<Space, SqlError> {
        // The pragmas themselves give columns of no type that sqlx knows.
        let rows = self
            .fetch_all(
                "SELECT page_size + 0, page_count + 0, freelist_count + 0, auto_vacuum + 0 \
                 FROM pragma_page_size, pragma_page_count, pragma_freelist_count, pragma_auto_vacuum",
                &[],
            )
            .await?;
        let row = rows.first().ok_or(SqlError::Column { column: 0 })?;
        let page = row.i64(0)?.cast_unsigned();
        Ok(Space {
            file_bytes: row.i64(1)?.cast_unsigned() * page,
            free_bytes: row.i64(2)?.cast_unsigned() * page,
            shrinks: row.i64(3)? == INCREMENTAL,
        })
    }

    /// Takes at most so many free pages off the file's end, moving used ones forward.
    pub(super) async fn shrink(&self, pages: u32) -> Result<(), SqlError> {
        let mut open = self.begin().await?;
        let sql = AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})")).into_sql_str();
        // One row a page, all of which must be asked for.
        sqlx::query(sql)
            .fetch_all(&mut *open.connection)
            .await
            .map_err(classify)?;
        open.commit().await
    }

    /// Folds the log into the file and cuts both, as far as no reader is in the way.
    pub(super) async fn fold(&self) -> Result<(), SqlError> {
        let mut writer = self.writer.acquire().await.map_err(classify)?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_all(&mut *writer)
            .await
            .map_err(classify)?;
        writer.done();
        Ok(())
    }

    /// Writes the file anew without free pages. Needs room for a second copy, and nobody else at it.
    pub(super) async fn rewrite(&self) -> Result<(), SqlError> {
        let mut writer = self.writer.acquire().await.map_err(classify)?;
        for sql in ["PRAGMA auto_vacuum = INCREMENTAL", "VACUUM"] {
            sqlx::query(sql)
                .execute(&mut *writer)
                .await
                .map_err(classify)?;
        }
        writer.done();
        self.fold().await
    }

    /// Writes a consistent copy, under the same key, that is durable when this returns.
    pub(super) async fn copy(&self, to: &Path) -> Result<(), SqlError> {
        let mut reader = self.readers.acquire().await.map_err(classify)?;
        sqlx::query("VACUUM INTO ?")
            .bind(to.to_string_lossy().into_owned())
            .execute(&mut *reader)
            .await
            .map_err(classify)?;
        sqlx::query(ASK)
            .fetch_one(&mut *reader)
            .await
            .map_err(classify)?;
        reader.done();
        let synced = std::fs::File::open(to).and_then(|file| file.sync_all());
        synced.map_err(|error| SqlError::Engine(error.into()))
    }

    /// Lets the file grow to so many pages, as a full disk would: on this connection's successors too.
    #[cfg(test)]
    pub(super) async fn limit(&self, pages: u32) {
        let options = self.writer.options();
        let pages = pages.to_string();
        self.writer
            .set_options(options.pragma("max_page_count", pages));
        drop(self.begin().await);
    }

    pub(super) async fn close(&self) {
        self.watch.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Open {
    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, SqlError> {
        let done = sqlx::query_with(sql, arguments(values)?)
            .execute(&mut *self.connection)
            .await
            .map_err(classify)?;
        self.rows += done.rows_affected();
        Ok(done.rows_affected())
    }

    pub(super) async fn fetch_all(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, SqlError> {
        let rows = sqlx::query_with(sql, arguments(values)?)
            .fetch_all(&mut *self.connection)
            .await
            .map_err(classify)?;
        rows.iter().map(row).collect()
    }

    pub(super) async fn insert_rows(
        &mut self,
        head: &str,
        tail: &str,
        width: usize,
        values: &[Value<'_>],
    ) -> Result<u64, SqlError> {
        let mut touched = 0;
        let mut rest = values;
        while !rest.is_empty() {
            // A few fixed sizes, so that each statement is prepared once and found again in the cache.
            let rows = [256, 64, 16, 4, 1]
                .into_iter()
                .find(|rows| rows * width <= rest.len().min(PLACEHOLDERS))
                .unwrap_or(1);
            let (part, after) = rest
                .split_at_checked(rows * width)
                .ok_or(SqlError::Column { column: rest.len() })?;
            rest = after;
            let mut sql = String::with_capacity(head.len() + tail.len() + 4 + part.len() * 2);
            sql.push_str(head);
            for row in 0..rows {
                sql.push_str(if row == 0 { " (" } else { ", (" });
                sql.push_str(&"?,".repeat(width - 1));
                sql.push_str("?)");
            }
            sql.push(' ');
            sql.push_str(tail);
            // Built from literals, names out of the schema, and placeholders alone; no outside text is in it.
            let done = sqlx::query_with(AssertSqlSafe(sql).into_sql_str(), arguments(part)?)
                .execute(&mut *self.connection)
                .await
                .map_err(classify)?;
            touched += done.rows_affected();
        }
        self.rows += touched;
        Ok(touched)
    }

    pub(super) async fn commit(mut self) -> Result<(), SqlError> {
        self.execute("COMMIT", &[]).await?;
        self.due.committed(self.rows);
        self.connection.done();
        Ok(())
    }
}

/// Lets the C library start on one thread alone: SQLite counts as started before SQLCipher's part of the start has run,
/// and a key that another thread gives in between is refused.
async fn start() -> Result<(), sqlx::Error> {
    let nothing = SqliteConnectOptions::new().in_memory(true);
    nothing.connect().await?.close().await
}

/// A new file is made so that free pages can be given back. Only then: on a file that is there already, each connection
/// would write this anew.
fn for_first(path: &Path, options: &SqliteConnectOptions) -> SqliteConnectOptions {
    let is_new = std::fs::metadata(path).map_or(true, |found| found.len() == 0);
    if is_new {
        options.clone().auto_vacuum(SqliteAutoVacuum::Incremental)
    } else {
        options.clone()
    }
}

/// Turning a new file's log to WAL takes an exclusive lock, for which SQLite does not wait: where two processes open it
/// at once, one of them is told that it is locked, and tries again here.
async fn connect(most: u32, options: &SqliteConnectOptions) -> Result<Connections, SqlError> {
    let mut tries = LOCKED_TRIES;
    loop {
        match Connections::open(most, options).await {
            Err(error) if tries > 0 && primary_code(&error) == Some(BUSY) => {
                tries -= 1;
                tokio::time::sleep(LOCKED_REST).await;
            }
            connected => return connected.map_err(classify),
        }
    }
}

/// The rows of one reading statement, or the engine's error.
type Fetched = Result<Vec<SqliteRow>, sqlx::Error>;

/// Runs one reading statement. After an error the connection is not given back: SQLCipher refuses everything on one that
/// has met a damaged page, also what is whole.
async fn fetch(
    mut read: Lent,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<Fetched, SqlError> {
    let rows = sqlx::query_with(sql, arguments(values)?)
        .fetch_all(&mut *read)
        .await;
    if rows.is_ok() {
        read.done();
    }
    Ok(rows)
}

/// Runs one reading statement and then another, which fails if the first one met a damaged page and did not.
async fn fetch_and_ask(
    mut read: Lent,
    sql: &'static str,
    values: &[Value<'_>],
) -> Result<Fetched, SqlError> {
    let rows = sqlx::query_with(sql, arguments(values)?)
        .fetch_all(&mut *read)
        .await;
    let asked = match rows {
        Ok(rows) => sqlx::query(ASK).fetch_one(&mut *read).await.map(|_| rows),
        failed => failed,
    };
    if asked.is_ok() {
        read.done();
    }
    Ok(asked)
}

/// Whether an error may be of an earlier statement of the connection that met a damaged page and did not fail: SQLCipher
/// then refuses the next one, with either code.
fn may_be_earlier(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(ERROR | NO_MEMORY))
}

fn key_pragma(key: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(72));
    text.push_str("\"x'");
    for byte in key {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push_str("'\"");
    text
}

fn arguments(values: &[Value<'_>]) -> Result<SqliteArguments, SqlError> {
    use sqlx::Arguments as _;
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::I64(value) => arguments.add(*value),
            Value::Bool(value) => arguments.add(*value),
            Value::Text(value) => arguments.add((*value).to_owned()),
            Value::Bytes(value) => arguments.add(value.to_vec()),
        }
        .map_err(|error| SqlError::Engine(sqlx::Error::Encode(error)))?;
    }
    Ok(arguments)
}

fn row(row: &SqliteRow) -> Result<Row, SqlError> {
    (0..row.len())
        .map(|column| cell(row, column))
        .collect::<Result<_, _>>()
        .map(Row)
}

fn cell(row: &SqliteRow, column: usize) -> Result<Cell, SqlError> {
    let raw = row
        .try_get_raw(column)
        .map_err(|_| SqlError::Column { column })?;
    if raw.is_null() {
        return Ok(Cell::Null);
    }
    let kind: SqliteTypeInfo = raw.type_info().into_owned();
    let cell = match kind.name() {
        "INTEGER" | "BOOLEAN" => row.try_get_unchecked(column).map(Cell::I64),
        "TEXT" => row.try_get_unchecked(column).map(Cell::Text),
        "BLOB" => row.try_get_unchecked(column).map(Cell::Bytes),
        _ => return Err(SqlError::Column { column }),
    };
    cell.map_err(|_| SqlError::Column { column })
}

fn classify(error: sqlx::Error) -> SqlError {
    if matches!(&error, sqlx::Error::Database(database) if database.is_unique_violation()) {
        return SqlError::Duplicate(error);
    }
    match primary_code(&error) {
        Some(FULL) => SqlError::Full(error),
        Some(NOT_A_DATABASE) => SqlError::WrongKey(error),
        _ => SqlError::Engine(error),
    }
}

/// SQLite's result code without its details.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let sqlx::Error::Database(database) = error else {
        return None;
    };
    let code: u32 = database.code()?.parse().ok()?;
    Some(code & 0xff)
}
