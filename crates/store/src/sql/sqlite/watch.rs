//! Tells one state of a file from the next, whoever wrote to it: `PRAGMA data_version` on a connection that never writes.
//!
//! The number means something on one connection alone, so there is one, and a new one in its place begins a new count.

use std::sync::PoisonError;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::sync::Mutex;

use super::super::State;
use super::connections::Connections;

/// The one connection that is asked.
#[derive(Debug)]
pub(super) struct Watch {
    options: SqliteConnectOptions,
    writer: Connections,
    asked: Mutex<Asked>,
    seen: std::sync::Mutex<Option<Seen>>,
}

/// The last answer, and how many uses of the writer had ended before it was asked.
#[derive(Clone, Copy, Debug)]
struct Seen {
    state: State,
    ended: u64,
}

#[derive(Debug, Default)]
struct Asked {
    connection: Option<SqliteConnection>,
    /// How many there were before it.
    count: u64,
    closed: bool,
}

impl Watch {
    /// Opens nothing before the first question.
    pub(super) fn new(options: SqliteConnectOptions, writer: Connections) -> Self {
        Self {
            options,
            writer,
            asked: Mutex::default(),
            seen: std::sync::Mutex::default(),
        }
    }

    pub(super) async fn state(&self) -> Result<State, sqlx::Error> {
        let mut asked = self.asked.lock().await;
        if asked.closed {
            return Err(sqlx::Error::PoolClosed);
        }
        let ended = self.writer.ended();
        // Taken out: after an error, or when the caller goes away meanwhile, the next one opens another.
        let mut connection = match asked.connection.take() {
            Some(connection) => connection,
            None => {
                asked.count += 1;
                self.options.connect().await?
            }
        };
        let row = sqlx::query("PRAGMA data_version")
            .fetch_one(&mut connection)
            .await?;
        // The column has no type that sqlx knows.
        let version = row.try_get_unchecked(0)?;
        asked.connection = Some(connection);
        let state = State {
            count: asked.count,
            version,
        };
        // Still under the lock: no older answer takes the place of a newer one.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen { state, ended });
        Ok(state)
    }

    /// The last answer, unless something of this process has ended since.
    pub(super) fn seen(&self) -> Option<State> {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.filter(|seen| seen.ended == self.writer.ended())
            .map(|seen| seen.state)
    }

    pub(super) async fn close(&self) {
        let mut asked = self.asked.lock().await;
        asked.closed = true;
        if let Some(connection) = asked.connection.take() {
            super::connections::close(connection).await;
        }
    }
}
