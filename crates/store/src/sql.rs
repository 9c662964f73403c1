//! The SQL layer: one set of portable statements over whichever engine stands behind.
//!
//! Statements use `$n` placeholders and the types bigint, bytea, text and
//! boolean, which every engine accepts. What differs between engines lives in
//! `sql/<engine>.rs`. Holds no schema: callers hand in their migrations.

mod sqlite;
mod upgrade;
mod value;
mod whole;

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use upgrade::go_back;
pub use value::{Row, Value};
pub use whole::{Part, Snapshot, Table};

/// A 32-byte raw database key; every page and log frame of the file is encrypted with it.
#[derive(Clone)]
pub struct DatabaseKey(Zeroizing<[u8; 32]>);

impl DatabaseKey {
    /// Takes the raw key bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// One forward-only step of a schema: applied once, in order; all that are missing are one transaction.
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
    #[error(
        "{} has schema {found}, this program knows {known}: use the newer program, or go back to the copies from before \
         the upgrade with `fieldkeep admin go-back --data {}`",
        file.display(),
        file.parent().unwrap_or(file).display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// The schema number in the file.
        found: i64,
        /// The newest number this program can apply.
        known: i64,
    },
}

/// How much of a database file is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// The whole file, as it will be once the log is folded into it.
    pub file_bytes: u64,
    /// Of it, what holds nothing: new rows use it first.
    pub free_bytes: u64,
    /// Whether free pages can be given back to the system step by step; else only [`Database::rewrite`] does it.
    pub shrinks: bool,
}

/// A state of a database: two equal ones say that nothing was changed in between, here or by another process. A commit
/// that writes what is there already may change no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    count: u64,
    version: i64,
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

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The usual: made where it is missing, references between tables enforced.
    Work,
    /// To be read as it is; never made.
    Look,
    /// To be filled table by table, in an order that references do not follow.
    Fill,
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
            engine: Engine::Sqlite(sqlite::Sqlite::open(path, &key.0, Purpose::Work).await?),
        };
        if let Err(error) = database.migrate(path, migrations).await {
            database.close().await;
            return Err(error);
        }
        Ok(database)
    }

    /// The state that the database is in. What was read after this was asked is still so while the answer is the same:
    /// one short question instead of many.
    pub async fn state(&self) -> Result<State, SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.state().await,
        }
    }

    /// The state that [`Database::state`] answered last, while no transaction of this process has ended since. Nobody is
    /// asked: what another process commits is not seen before the next question.
    #[must_use]
    pub fn seen_state(&self) -> Option<State> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.seen_state(),
        }
    }

    /// How many transactions of this process have ended, one way or the other. Nobody is asked, so it knows nothing of
    /// other processes.
    #[must_use]
    pub fn ended(&self) -> u64 {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.ended(),
        }
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

    /// As [`Database::fetch_all`], and an error where a page under the rows is damaged, also where it could be taken for
    /// zeros.
    pub(crate) async fn fetch_whole(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.fetch_whole(sql, values).await,
        }
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

    /// How much of the file is in use.
    pub async fn space(&self) -> Result<Space, SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.space().await,
        }
    }

    /// Gives at most `pages` free pages back to the system, in a short transaction of its own. Does nothing to a file
    /// that cannot be cut ([`Space::shrinks`]).
    pub async fn shrink(&self, pages: u32) -> Result<(), SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.shrink(pages).await,
        }
    }

    /// Folds the log into the file and cuts both, as far as no reader is in the way.
    pub async fn fold(&self) -> Result<(), SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.fold().await,
        }
    }

    /// Writes the file anew without free pages, so that it can be cut from then on. Needs room for a second copy, and
    /// nobody else at it.
    pub async fn rewrite(&self) -> Result<(), SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.rewrite().await,
        }
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
