//! The trail: who did what, on what, from where, and how it ended.
//!
//! Owns the table `trail`. An [`Entry`] of a change is written in the transaction of the change itself
//! ([`Trail::write`]), so that there is none without the other; what has no transaction (refusals at doors) is noted
//! ([`Trail::note`]) and written soon after, bounded and never lost without a word. Entries are numbered per project
//! without gaps and never updated or deleted; names, values and addresses are sealed under the project's key (the
//! instance's for what belongs to no project), bound to the rest of the row. Secrets and payloads never get here.
//! Knows no people and no roles: `access` makes entries from its grants and decides who may read.

mod act;
mod entry;
mod queue;
mod read;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use fieldkeep_protocol::{ProjectId, Timestamp};
use tokio::sync::{Mutex, Notify};

use crate::clock::Clock;
use crate::db::{Db, SqlError, Transaction};
use crate::keys::{Keys, KeysError, SealingKey};

pub use act::Act;
pub use entry::{Entry, Object, Origin, Outcome, Who, WhoKind};
pub use read::{Filter, Page, Record};

use entry::{Bound, Detail};
use queue::Desk;

/// How often notes are looked through when nothing new comes.
const SWEEP: Duration = Duration::from_secs(1);

/// Why the trail cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The catalogue failed.
    #[error("the trail's table failed")]
    Sql(#[from] SqlError),
    /// The project has no key (any more).
    #[error("the trail's key is missing")]
    Keys(#[from] KeysError),
}

/// The trail of an instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trail(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    keys: Keys,
    clock: Clock,
    desk: std::sync::Mutex<Desk>,
    noted: Notify,
    writing: Mutex<()>,
}

impl Trail {
    /// The trail in an open catalogue.
    #[must_use]
    pub fn new(db: Db, keys: Keys, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            db,
            keys,
            clock,
            desk: std::sync::Mutex::new(Desk::default()),
            noted: Notify::new(),
            writing: Mutex::new(()),
        }))
    }

    /// Writes an entry in the transaction of what it tells of.
    ///
    /// # Errors
    /// [`TrailError`]: the caller then does not commit, since nothing is done without its entry.
    pub async fn write(
        &self,
        transaction: &mut Transaction,
        entry: Entry,
    ) -> Result<(), TrailError> {
        let at = self.0.clock.now();
        self.insert(transaction, &entry, at).await?;
        entry.origin.mark();
        Ok(())
    }

    /// Writes an entry about something that is done elsewhere: on the disk, in another database.
    pub async fn append(&self, entry: Entry) -> Result<(), TrailError> {
        let mut transaction = self.0.db.begin().await?;
        self.write(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    /// Notes a decision that changes nothing, such as a refusal. Never waits. The same refusal again within ten seconds is
    /// counted and not written by itself; what finds no place is counted, and the count written.
    pub fn note(&self, entry: Entry) {
        entry.origin.mark();
        let (at, elapsed) = (self.0.clock.now(), self.0.clock.elapsed());
        self.desk(|desk| desk.take(entry, at, elapsed));
        self.0.noted.notify_one();
    }

    /// Writes what was noted, for as long as the server runs.
    pub async fn run(&self) {
        loop {
            // Either way it is time to look.
            let _ = tokio::time::timeout(SWEEP, self.0.noted.notified()).await;
            self.flush(false).await;
        }
    }

    /// Writes what was noted; with `all` also the counts that still stand open. The server's last act, and for tests.
    pub async fn flush(&self, all: bool) {
        let _one_at_a_time = self.0.writing.lock().await;
        let (now, elapsed) = (self.0.clock.now(), self.0.clock.elapsed());
        let batch = self.desk(|desk| desk.due(now, elapsed, all));
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.write_noted(&batch).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                entries = batch.len(),
                "the trail could not be written; it is tried again"
            );
            self.desk(|desk| desk.take_back(batch));
        }
    }

    async fn write_noted(&self, batch: &[(Entry, Timestamp)]) -> Result<(), TrailError> {
        let mut transaction = self.0.db.begin().await?;
        for (entry, at) in batch {
            match self.insert(&mut transaction, entry, *at).await {
                // Erased since: the instance remembers that somebody knocked.
                Err(TrailError::Keys(KeysError::NoProjectKey(_))) => {
                    let mut orphan = entry.clone();
                    orphan.project = None;
                    self.insert(&mut transaction, &orphan, *at).await?;
                }
                other => other?,
            }
        }
        Ok(transaction.commit().await?)
    }

    async fn insert(
        &self,
        transaction: &mut Transaction,
        entry: &Entry,
        at: Timestamp,
    ) -> Result<(), TrailError> {
        let key = self.key(entry.project).await?;
        let project = scope(entry.project);
        // The writing transaction is alone, so the next number is free.
        let last = transaction
            .fetch_optional(
                "SELECT id FROM trail WHERE project = $1 ORDER BY id DESC LIMIT 1",
                &[(&project).into()],
            )
            .await?;
        let id = match last {
            Some(row) => row.i64(0)?.saturating_add(1),
            None => 1,
        };
        let bound = Bound::new(entry, id, at);
        let sealed = key.seal(DETAIL, &bound.bytes(), &Detail::of(entry).bytes());
        transaction
            .execute(
                "INSERT INTO trail (project, id, at_us, who_kind, who, act, object_kind, object,
                     location, result, code, count, detail_sealed)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
                &[
                    (&project).into(),
                    id.into(),
                    bound.at_us.into(),
                    bound.who_kind.into(),
                    bound.who.into(),
                    bound.act.into(),
                    bound.object_kind.into(),
                    bound.object.into(),
                    bound.location.into(),
                    bound.result.into(),
                    bound.code.into(),
                    bound.count.into(),
                    (&sealed).into(),
                ],
            )
            .await?;
        Ok(())
    }

    async fn key(&self, project: Option<ProjectId>) -> Result<SealingKey, KeysError> {
        match project {
            Some(project) => self.0.keys.project(project).await,
            None => Ok(self.0.keys.instance().clone()),
        }
    }

    /// A panic under this lock cannot leave the desk half changed in a way that matters: it is counters and a list.
    fn desk<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        let mut desk = self
            .0
            .desk
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&mut desk)
    }
}

const DETAIL: &str = "trail.detail";

/// The column `project`: empty for the instance.
fn scope(project: Option<ProjectId>) -> Vec<u8> {
    project.map_or_else(Vec::new, |project| project.as_bytes().to_vec())
}
