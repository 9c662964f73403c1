//! Folding the log into the file beside the writer.
//!
//! SQLite would do it inside the commit that makes the log long: that commit, and everybody who waits for it, then waits for thousands of
//! pages and a sync of the file. Here a reader's connection does it, which hinders no writer. What was written meanwhile is
//! folded by the writer, a few pages, so that the next commit begins the log anew and it does not grow for ever. A
//! fold that fails loses nothing: the log keeps everything, and the next one tries again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::connections::Connections;

/// What a commit weighs beside its rows: of few rows it writes more pages than they would take.
const COMMIT: u64 = 16;
/// Weight after which the log is folded: some thousand pages, so that a page that many commits write goes to the file once.
const DUE: u64 = 16_384;

/// How much was written since the log was last folded. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Due(Arc<Written>);

#[derive(Debug, Default)]
struct Written {
    weight: AtomicU64,
    reached: Notify,
}

impl Due {
    /// A transaction with so many rows is durable.
    pub(super) fn committed(&self, rows: u64) {
        let weight = rows.saturating_add(COMMIT);
        if self.0.weight.fetch_add(weight, Ordering::Relaxed) + weight >= DUE {
            self.0.reached.notify_one();
        }
    }

    async fn reached(&self) {
        self.0.reached.notified().await;
        self.0.weight.store(0, Ordering::Relaxed);
    }
}

/// The task that folds; ends when it is dropped, or with its connections.
#[derive(Debug)]
pub(super) struct Folding(AbortHandle);

impl Folding {
    pub(super) fn begin(readers: Connections, writer: Connections, due: Due) -> Self {
        let task = tokio::spawn(async move {
            loop {
                due.reached().await;
                for connections in [&readers, &writer] {
                    match fold(connections).await {
                        Ok(()) => {}
                        Err(sqlx::Error::PoolClosed) => return,
                        Err(error) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::debug!(error, "the log was not folded");
                            break;
                        }
                    }
                }
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Moves into the file what no reader needs from the log. Waits for nobody and makes nobody wait.
async fn fold(connections: &Connections) -> Result<(), sqlx::Error> {
    let mut connection = connections.acquire().await?;
    let folded = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
        .fetch_all(&mut *connection)
        .await;
    if folded.is_ok() {
        connection.done();
    }
    folded.map(|_| ())
}
