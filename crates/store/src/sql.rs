//! The SQL layer: one set of portable statements over whichever engine stands behind.
//!
//! Statements use `$n` placeholders and the types bigint, bytea, text and
//! boolean, which every engine accepts. What differs between engines lives in
//! `sql/<engine>.rs`. Holds no schema: callers hand in their migrations.

mod sqlite;
mod value;

use std::path::Path;

use zeroize::Zeroizing;

pub use value::{Row, Value};

/// A 32-byte raw database key; every page and log frame of the file is encrypted with it.
pub struct DatabaseKey(Zeroizing<[u8; 32]>);

impl DatabaseKey {
    /// Takes the raw key bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// One forward-only step of a schema: applied once, in order, in a transaction of its own.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Position in the sequence, from 1 without gaps.
    pub number: i64,
    /// The statements, separated by `;` at line ends.
    pub sql: &'static str,
}

/// What can go wrong with a statement. The engine's own text is the source and never leaves the log.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The file is not a database, or the key is not its key.
    #[error("the database cannot be opened with this key")]
    WrongKey(#[source] sqlx::Error),
    /// The disk or the quota is full; nothing of the transaction was kept.
    #[error("the disk is full")]
    Full(#[source] sqlx::Error),
    /// A unique constraint refused the row.
    #[error("a row with this key exists already")]
    Duplicate(#[source] sqlx::Error),
    /// Any other failure of the engine.
    #[error("the database failed")]
    Engine(#[source] sqlx::Error),
    /// A column does not hold what the code expects: corruption, or a mistake in a statement.
    #[error("column {column} is missing or holds another type")]
    Column {
        /// Position of the column in the row, from 0.
        column: usize,
    },
    /// The file was written by a newer version of the product.
    #[error("the database has schema {found}, this program knows {known}: use the newer program")]
    Newer {
        /// The schema number in the file.
        found: i64,
        /// The newest number this program can apply.
        known: i64,
    },
}

/// An open database. Cheap to clone; all clones share its connections.
#[derive(Clone, Debug)]
pub struct Database {
    engine: Engine,
}

#[derive(Clone, Debug)]
enum Engine {
    Sqlite(sqlite::Sqlite),
}

impl Database {
    /// Opens (or creates) the encrypted file at `path` and applies `migrations` that it lacks.
    ///
    /// # Errors
    /// [`SqlError::WrongKey`] leaves the file untouched.
    pub async fn open(
        path: &Path,
        key: &DatabaseKey,
        migrations: &[Migration],
    ) -> Result<Self, SqlError> {
        let database = Self {
            engine: Engine::Sqlite(sqlite::Sqlite::open(path, &key.0).await?),
        };
        database.migrate(migrations).await?;
        Ok(database)
    }

    /// Runs one writing statement in a transaction of its own; durable when this returns.
    /// Answers the number of rows touched.
    pub async fn execute(&self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, SqlError> {
        let mut transaction = self.begin().await?;
        let touched = transaction.execute(sql, values).await?;
        transaction.commit().await?;
        Ok(touched)
    }

    /// All rows of a reading statement, as of one instant.
    pub async fn fetch_all(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.fetch_all(sql, values).await,
        }
    }

    /// The first row of a reading statement, if there is one.
    pub async fn fetch_optional(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, SqlError> {
        Ok(self.fetch_all(sql, values).await?.into_iter().next())
    }

    /// Bytes of each table with its indexes.
    pub async fn table_bytes(&self) -> Result<Vec<(String, i64)>, SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.table_bytes().await,
        }
    }

    /// Begins a writing transaction; waits for the one before it. Dropped without
    /// [`Transaction::commit`], nothing of it is kept.
    pub async fn begin(&self) -> Result<Transaction, SqlError> {
        Ok(match &self.engine {
            Engine::Sqlite(sqlite) => Transaction {
                inner: Inner::Sqlite(sqlite.begin().await?),
            },
        })
    }

    /// Closes every connection and folds the write-ahead log into the file.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.close().await,
        }
    }

    /// Lets the file grow to so many pages, as a full disk would.
    #[cfg(test)]
    pub(crate) async fn limit(&self, pages: u32) {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.limit(pages).await,
        }
    }

    async fn migrate(&self, migrations: &[Migration]) -> Result<(), SqlError> {
        let mut first = self.begin().await?;
        first
            .execute(
                "CREATE TABLE IF NOT EXISTS migration (number bigint PRIMARY KEY)",
                &[],
            )
            .await?;
        let done = first
            .fetch_all("SELECT coalesce(max(number), 0) FROM migration", &[])
            .await?;
        let done = done.first().map_or(Ok(0), |row| row.i64(0))?;
        first.commit().await?;
        let known = migrations.last().map_or(0, |step| step.number);
        if done > known {
            return Err(SqlError::Newer { found: done, known });
        }
        for step in migrations.iter().filter(|step| step.number > done) {
            let mut transaction = self.begin().await?;
            // Another process may have come first since `done` was read.
            let applied = transaction
                .fetch_optional(
                    "SELECT 1 FROM migration WHERE number = $1",
                    &[step.number.into()],
                )
                .await?;
            if applied.is_some() {
                continue;
            }
            for statement in step.sql.split(";\n").filter(|part| !part.trim().is_empty()) {
                transaction.execute(statement, &[]).await?;
            }
            transaction
                .execute(
                    "INSERT INTO migration (number) VALUES ($1)",
                    &[step.number.into()],
                )
                .await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}

/// A writing transaction: all of it is durable after [`Transaction::commit`], or none.
#[derive(Debug)]
pub struct Transaction {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Sqlite(sqlite::Open),
}

impl Transaction {
    /// Runs one statement; answers the number of rows touched.
    pub async fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, SqlError> {
        match &mut self.inner {
            Inner::Sqlite(open) => open.execute(sql, values).await,
        }
    }

    /// All rows of a statement, which sees what this transaction wrote.
    pub async fn fetch_all(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, SqlError> {
        match &mut self.inner {
            Inner::Sqlite(open) => open.fetch_all(sql, values).await,
        }
    }

    /// The first row of a statement, if there is one.
    pub async fn fetch_optional(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, SqlError> {
        Ok(self.fetch_all(sql, values).await?.into_iter().next())
    }

    /// Inserts many rows in one statement: `head` is `INSERT INTO table (columns) VALUES`, `tail` what
    /// follows the rows (`ON CONFLICT DO NOTHING`, or empty); `values` holds `width` values a row, row after row.
    pub async fn insert_rows(
        &mut self,
        head: &'static str,
        tail: &'static str,
        width: usize,
        values: &[Value<'_>],
    ) -> Result<u64, SqlError> {
        match &mut self.inner {
            Inner::Sqlite(open) => open.insert_rows(head, tail, width, values).await,
        }
    }

    /// Makes everything done here durable.
    ///
    /// # Errors
    /// After an error nothing of the transaction was kept.
    pub async fn commit(self) -> Result<(), SqlError> {
        match self.inner {
            Inner::Sqlite(open) => open.commit().await,
        }
    }
}

#[cfg(test)]
mod tests;
