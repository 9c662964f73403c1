//! The embedded engine: SQLite under SQLCipher, one writer and a few readers.
//!
//! WAL with `synchronous=FULL`: a committed transaction survives a power cut.
//! The raw key skips SQLCipher's passphrase hashing, which would cost 256 k rounds a connection.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous, SqliteTypeInfo,
};
use sqlx::{AssertSqlSafe, Row as _, SqlSafeStr, TypeInfo, ValueRef};
use zeroize::Zeroizing;

use super::value::Cell;
use super::{Row, SqlError, Value};

const READERS: u32 = 4;
/// SQLite's compiled limit is 32,766 placeholders a statement.
const PLACEHOLDERS: usize = 30_000;

#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// An open transaction, driven by plain statements: sqlx's own counts on a rollback that SQLite has done already when
/// the disk is full, and its connection would refuse every transaction after that.
#[derive(Debug)]
pub(super) struct Open {
    connection: PoolConnection<sqlx::Sqlite>,
    committed: bool,
}

impl Sqlite {
    pub(super) async fn open(path: &Path, key: &[u8; 32]) -> Result<Self, SqlError> {
        // Before SQLCipher does it: this way OpenSSL installs no exit handler, which would free its tables under
        // connection threads that are still closing. `.cargo/config.toml` does the same for SQLCipher's own.
        openssl_sys::init();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .pragma("key", key_pragma(key).to_string())
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("secure_delete", "ON")
            // A wrong key is told by the error; SQLCipher would write to stderr on its own.
            .pragma("cipher_log_level", "NONE")
            // After a burst the log gives its space back at the next checkpoint.
            .pragma("journal_size_limit", "67108864")
            .pragma("temp_store", "MEMORY")
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(classify)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options)
            .await
            .map_err(classify)?;
        Ok(Self { writer, readers })
    }

    pub(super) async fn fetch_all(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, SqlError> {
        let rows = sqlx::query_with(sql, arguments(values)?)
            .fetch_all(&self.readers)
            .await
            .map_err(classify)?;
        rows.iter().map(row).collect()
    }

    pub(super) async fn begin(&self) -> Result<Open, SqlError> {
        let mut open = Open {
            connection: self.writer.acquire().await.map_err(classify)?,
            committed: false,
        };
        open.execute("BEGIN IMMEDIATE", &[]).await?;
        Ok(open)
    }

    /// Lets the file grow to so many pages, as a full disk would: on this connection's successors too.
    #[cfg(test)]
    pub(super) async fn limit(&self, pages: u32) {
        let options = SqliteConnectOptions::clone(&self.writer.connect_options());
        let pages = pages.to_string();
        self.writer
            .set_connect_options(options.pragma("max_page_count", pages));
        drop(self.begin().await);
    }

    pub(super) async fn close(&self) {
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
        head: &'static str,
        tail: &'static str,
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
            // Built from literals and placeholders alone; no outside text is in it.
            let done = sqlx::query_with(AssertSqlSafe(sql).into_sql_str(), arguments(part)?)
                .execute(&mut *self.connection)
                .await
                .map_err(classify)?;
            touched += done.rows_affected();
        }
        Ok(touched)
    }

    pub(super) async fn commit(mut self) -> Result<(), SqlError> {
        self.execute("COMMIT", &[]).await?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Open {
    /// Closing the connection rolls back whatever state a failure, or a caller that went away, left it in.
    fn drop(&mut self) {
        if !self.committed {
            self.connection.close_on_drop();
        }
    }
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

/// SQLite's primary result codes: 13 full disk, 26 not a database (a wrong key looks like this).
fn classify(error: sqlx::Error) -> SqlError {
    let code = match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => {
            return SqlError::Duplicate(error);
        }
        sqlx::Error::Database(database) => database
            .code()
            .and_then(|code| code.parse::<u32>().ok())
            .map(|code| code & 0xff),
        _ => None,
    };
    match code {
        Some(13) => SqlError::Full(error),
        Some(26) => SqlError::WrongKey(error),
        _ => SqlError::Engine(error),
    }
}
