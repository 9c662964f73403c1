//! Backup and restore: everything an instance holds, encrypted to a key that is on paper.
//!
//! Owns archives, their verification, the recovery key, the daily schedule and what is said about all this. Promises
//! that a file with an archive's name was read back and holds, series by series, what the databases held at one instant;
//! that no archive holds the master key; that a restore answers yes only after everything in the new databases was
//! compared and opened. Does not know a table by name (`store::sql` copies whole databases), nor what measurements mean.

mod archive;
mod error;
mod kit;
mod progress;
mod replay;
mod restore;
mod schedule;
mod seal;
mod status;
mod target;
mod write;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldkeep_protocol::Timestamp;
use fieldkeep_store::sql::DatabaseKey;

use crate::access::OperatorGrant;
use crate::clock::Clock;
use crate::db::Db;
use crate::keys::Keys;
use crate::trail::{Act, Object, Outcome, Trail};
use serde_json::json;

pub use error::BackupError;
pub use kit::NewRecoveryKey;
pub use progress::{Progress, Stage};
pub use restore::{Restoration, RestoreOrder, restore};
pub use seal::{RecoveryKey, RecoveryRecipient};
pub use status::{Newest, Status, Warning};

/// The databases, as archives and manifests call them.
const SERIES: &str = "series";
const CATALOGUE: &str = "catalogue";

/// Makes backups of one open instance. Cheap to clone.
#[derive(Clone)]
pub struct Backup(Arc<Inner>);

struct Inner {
    db: Db,
    keys: Keys,
    clock: Clock,
    data: PathBuf,
    series: DatabaseKey,
}

/// A backup that was made and read back.
#[derive(Clone, Debug)]
pub struct Done {
    /// The data archive.
    pub path: PathBuf,
    /// The key archive.
    pub keys: PathBuf,
    /// The instant of which it is.
    pub made: Timestamp,
    /// The size of the data archive.
    pub bytes: u64,
    /// Series in it.
    pub series: u64,
    /// Batches in it.
    pub batches: u64,
    /// Records in it.
    pub records: u64,
}

impl Backup {
    /// With the rooms and the folder of an open instance, and the key of its `series.db`.
    pub fn new(db: Db, keys: Keys, clock: Clock, data: &Path, series: DatabaseKey) -> Self {
        Self(Arc::new(Inner {
            db,
            keys,
            clock,
            data: data.to_path_buf(),
            series,
        }))
    }

    /// Makes one backup in the folder `to`; it was read back when this returns. What comes out of it, good or bad, is
    /// remembered for [`status`](Self::status). Works beside a running server.
    ///
    /// # Errors
    /// No archive gets its name then; what was begun is removed, or by the next backup after a crash.
    pub async fn make(
        &self,
        by: &OperatorGrant<'_>,
        to: &Path,
        keep_days: Option<u32>,
        progress: &Arc<Progress>,
    ) -> Result<Done, BackupError> {
        let outcome = self.write(to, keep_days, progress).await;
        let entry = by
            .entry(Act::BackupMake)
            .on(Object::new("instance", self.keys().instance_id()));
        let entry = match &outcome {
            Ok(done) => entry.new_value(json!({
                "to": done.path.display().to_string(),
                "bytes": done.bytes,
                "records": done.records,
            })),
            Err(_) => entry.ended(Outcome::Failed),
        };
        let trail = Trail::new(self.0.db.clone(), self.0.keys.clone(), self.0.clock.clone());
        // A full disk must not hide how the backup went.
        if let Err(error) = trail.append(entry).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the trail could not be written"
            );
        }
        self.remember(&outcome).await?;
        outcome
    }

    fn db(&self) -> &Db {
        &self.0.db
    }

    fn keys(&self) -> &Keys {
        &self.0.keys
    }

    fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn data(&self) -> &Path {
        &self.0.data
    }

    fn series_key(&self) -> &DatabaseKey {
        &self.0.series
    }

    /// Held while a backup of this instance is written; the system frees it however the process ends.
    fn lock(&self) -> Result<File, BackupError> {
        let path = self.data().join("backup.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| BackupError::io(&path, "created", source))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(_) => Err(BackupError::Busy),
        }
    }
}

/// Runs work that blocks on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    // A thread is lost only when the program ends.
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(BackupError::Stopped))
}
