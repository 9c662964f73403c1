//! A database as a whole: every row of it as of one instant, and the way back into an empty one.
//!
//! For backup and restore, which know no table by name: what a later migration adds is in a backup without a line of
//! code. Promises that all that one [`Snapshot`] yields was true at the same moment, whatever is written meanwhile.
//! Names of tables and columns come out of the open database alone, never out of a backup.

use std::path::Path;

use tokio::sync::mpsc;

use super::{
    Database, DatabaseKey, Engine, Inner, Migration, Purpose, Row, SqlError, Transaction, Value,
    sqlite,
};

/// The table that says which migrations were applied; it is made by them, not copied.
const MIGRATION: &str = "migration";
/// Parts that a reader may lie behind; each is bounded, so memory is too.
const AHEAD: usize = 4;

/// A table and its columns, as the schema of an open database has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

impl Table {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its columns, in the order in which rows have them.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
}

/// What comes out of a snapshot, in this order: a table, its rows, the next table.
#[derive(Debug)]
pub enum Part {
    /// The rows that follow are of this table.
    Table(Table),
    /// Some rows, in the order in which they were written.
    Rows(Vec<Row>),
    /// Every table was yielded; without this part the snapshot broke off.
    End,
}

/// All rows of a database as of the moment when this was made. Holds a reading transaction until it was read to the end
/// or is dropped: writers go on, but their log is not folded away meanwhile.
#[derive(Debug)]
pub struct Snapshot {
    schema: i64,
    parts: mpsc::Receiver<Result<Part, SqlError>>,
}

impl Snapshot {
    /// The number of the newest migration in it.
    pub fn schema(&self) -> i64 {
        self.schema
    }

    /// The next part, for a thread that may block.
    ///
    /// # Errors
    /// What the database answered; nothing comes after it.
    pub fn blocking_next(&mut self) -> Result<Part, SqlError> {
        self.parts.blocking_recv().unwrap_or_else(|| Err(broken()))
    }

    /// The next part.
    ///
    /// # Errors
    /// What the database answered; nothing comes after it.
    pub async fn next(&mut self) -> Result<Part, SqlError> {
        self.parts.recv().await.unwrap_or_else(|| Err(broken()))
    }
}

/// The task that reads went away without a word, as it does when the program ends.
fn broken() -> SqlError {
    SqlError::Engine(sqlx::Error::WorkerCrashed)
}

impl Database {
    /// Opens the file at `path` as it is: nothing is made, no migration is applied.
    ///
    /// # Errors
    /// [`SqlError::WrongKey`] leaves the file untouched.
    pub async fn open_existing(path: &Path, key: &DatabaseKey) -> Result<Self, SqlError> {
        Ok(Self {
            engine: Engine::Sqlite(sqlite::Sqlite::open(path, &key.0, Purpose::Look).await?),
        })
    }

    /// Makes an empty database with the schema that `migrations` up to number `schema` yield, to be filled with
    /// [`Transaction::fill`]. References between tables are not enforced while it is open this way.
    ///
    /// # Errors
    /// [`SqlError::Newer`] when there are not that many migrations.
    pub async fn open_to_fill(
        path: &Path,
        key: &DatabaseKey,
        migrations: &[Migration],
        schema: i64,
    ) -> Result<Self, SqlError> {
        let known = migrations.last().map_or(0, |step| step.number);
        let newer = SqlError::Newer {
            file: path.to_owned(),
            found: schema,
            known,
        };
        let end = migrations
            .iter()
            .position(|step| step.number == schema)
            .ok_or(newer)?;
        let database = Self {
            engine: Engine::Sqlite(sqlite::Sqlite::open(path, &key.0, Purpose::Fill).await?),
        };
        database
            .migrate(path, migrations.get(..=end).unwrap_or_default())
            .await?;
        Ok(database)
    }

    /// Everything in it as of now.
    pub async fn snapshot(&self) -> Result<Snapshot, SqlError> {
        let mut reading = match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.reading().await?,
        };
        let schema = reading.schema().await?;
        let (send, parts) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            // Who reads may stop early; then there is nobody to tell.
            if let Err(error) = reading.all(&send).await {
                let _ = send.send(Err(error)).await;
            }
            reading.end().await;
        });
        Ok(Snapshot { schema, parts })
    }

    /// The tables that hold data, in the order in which they were made.
    pub async fn tables(&self) -> Result<Vec<Table>, SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.tables().await,
        }
    }

    /// How many rows refer to a row that does not exist.
    pub async fn dangling(&self) -> Result<usize, SqlError> {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.dangling().await,
        }
    }
}

impl Transaction {
    /// Inserts rows as they are: `values` holds one value a column of `table`, row after row.
    pub async fn fill(&mut self, table: &Table, values: &[Value<'_>]) -> Result<u64, SqlError> {
        match &mut self.inner {
            Inner::Sqlite(open) => open.fill(table, values).await,
        }
    }
}

/// Whether a table is part of a snapshot.
pub(super) fn is_data(name: &str) -> bool {
    name != MIGRATION
}
