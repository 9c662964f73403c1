//! Master key, keyring, project keys and sealed columns.
//!
//! Owns the master key file (outside the data folder), `keyring` and `keys.db` (inside it). Promises that a
//! copy of the data folder alone opens nothing, and that no key is ever made beside existing data: a first
//! start needs an empty folder, everything else needs the key that the folder was made with.
//! Keys are never printed: no type here shows key bytes in `Debug`.
//!
//! From the master key: database keys (in the keyring), project keys and the instance key (in `keys.db`), each
//! wrapped under a key of its own for exactly that place. From a project's key: one key that seals columns, one
//! that hashes for look-up, one that wraps the store's data keys.

mod data_keys;
mod derive;
mod keyring;
mod master;
mod recovery;
mod sealing;
mod start;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use fieldkeep_protocol::id::ProjectId;
use fieldkeep_store::sql::{Database, DatabaseKey, SqlError};

use crate::clock::Clock;

pub use derive::{Secret, hex, new_id, random};
pub use keyring::InstanceId;
pub use master::{MasterKey, MasterKeyId, default_path};
pub use recovery::{KeySnapshot, Restored};
pub use sealing::{SealingKey, Unsealable};
pub use start::{CLOSED, UNFINISHED, is_started};

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file or folder could not be read or written.
    #[error("{path} cannot be {verb}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: read, written, created.
        verb: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The data folder exists and its master key does not: nothing can be opened, nothing is made anew.
    #[error(
        "there is data, but no master key at {path}: give the file of master key {needed} with --master-key FILE"
    )]
    MasterKeyMissing {
        /// Where it was looked for.
        path: PathBuf,
        /// The key that opens the data.
        needed: MasterKeyId,
    },
    /// The master key is not the one that the data folder was made with.
    #[error("the master key is {found}, but this data needs the master key {needed}")]
    WrongMasterKey {
        /// The key that was given.
        found: MasterKeyId,
        /// The key that opens the data.
        needed: MasterKeyId,
    },
    /// Others than the owner may read the master key.
    #[error("{path} has mode {mode:o}: only its owner may read a master key (chmod 600)")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file does not hold what it should.
    #[error("{path} is not a valid {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// A first start needs an empty data folder.
    #[error("{path} holds {entry} but no keyring: a first start needs an empty folder")]
    NotEmpty {
        /// The data folder.
        path: PathBuf,
        /// Something in it.
        entry: String,
    },
    /// Databases without their keyring: they cannot be opened, and nothing is made anew beside them.
    #[error("{path} holds databases but no keyring: restore the keyring from a backup")]
    KeyringMissing {
        /// The data folder.
        path: PathBuf,
    },
    /// A restore into this folder was broken off.
    #[error("a restore into {path} was not finished: run the same `fieldkeep restore` again")]
    RestoreUnfinished {
        /// The data folder.
        path: PathBuf,
    },
    /// The keyring names a database whose file is gone.
    #[error("{path} is missing: restore it from a backup")]
    DatabaseMissing {
        /// The file.
        path: PathBuf,
    },
    /// A wrapped key does not open: the row or the keyring was damaged or exchanged.
    #[error("the wrapped key of {of} is damaged")]
    Damaged {
        /// Whose key.
        of: String,
    },
    /// The project has no key: it never existed, or it was erased.
    #[error("project {0} has no key")]
    NoProjectKey(ProjectId),
    /// The key database failed.
    #[error("the key database failed")]
    Sql(#[from] SqlError),
}

/// What opening a data folder's keys yields.
pub struct Opened {
    /// The keys of this instance.
    pub keys: Keys,
    /// Opens `catalogue.db`.
    pub catalogue: DatabaseKey,
    /// Opens `series.db`.
    pub series: DatabaseKey,
}

/// The keys of an open instance. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    master: MasterKey,
    instance: InstanceId,
    sealing: SealingKey,
}

impl Keys {
    /// This installation's random id, made at its first start.
    pub fn instance_id(&self) -> InstanceId {
        self.0.instance
    }

    /// The id of the master key in use.
    pub fn master_key_id(&self) -> MasterKeyId {
        self.0.master.id()
    }

    /// The key for what belongs to no project: people, authorities, sessions.
    pub fn instance(&self) -> &SealingKey {
        &self.0.sealing
    }

    /// The sealing key of a project. Never cached, so an erased key is gone at once.
    ///
    /// # Errors
    /// [`KeysError::NoProjectKey`] when the project never existed or was erased.
    pub async fn project(&self, project: ProjectId) -> Result<SealingKey, KeysError> {
        let key = self.project_secret(project).await?;
        Ok(SealingKey::derive(&key, project.as_bytes()))
    }

    /// Makes a key for a new project; durable when this returns. A project that has one keeps it.
    pub async fn create_project(
        &self,
        project: ProjectId,
        clock: &Clock,
    ) -> Result<SealingKey, KeysError> {
        let key = Secret::new(random());
        let wrapped = self.0.wrap(project.as_bytes(), "project", &key);
        self.0
            .database
            .execute(
                "INSERT INTO project_key (project, wrapped, created_us) VALUES ($1, $2, $3)
                 ON CONFLICT DO NOTHING",
                &[
                    project.as_bytes().into(),
                    (&wrapped).into(),
                    clock.now().as_micros().into(),
                ],
            )
            .await?;
        self.project(project).await
    }

    /// How many changes of this process to the keys there were: what was opened with a key is to be forgotten when this is
    /// another number. Only the server's process destroys keys.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.0.database.ended()
    }

    /// Destroys a project's key: all that it sealed, here and in the store, is unreadable from then on.
    pub async fn erase_project(&self, project: ProjectId) -> Result<(), KeysError> {
        self.0
            .database
            .execute(
                "DELETE FROM project_key WHERE project = $1",
                &[project.as_bytes().into()],
            )
            .await?;
        Ok(())
    }

    /// Closes the key database. The keys that are in memory go with the last clone.
    pub async fn close(&self) {
        self.0.database.close().await;
    }

    async fn project_secret(&self, project: ProjectId) -> Result<Secret, KeysError> {
        let row = self
            .0
            .database
            .fetch_optional(
                "SELECT wrapped FROM project_key WHERE project = $1",
                &[project.as_bytes().into()],
            )
            .await?
            .ok_or(KeysError::NoProjectKey(project))?;
        self.0
            .unwrap(project.as_bytes(), "project", row.bytes(0)?)
            .ok_or_else(|| KeysError::Damaged {
                of: project.to_string(),
            })
    }
}

impl Inner {
    /// Each row is wrapped under a key for that row alone, so exchanged rows do not open.
    fn wrap(&self, row: &[u8], purpose: &'static str, key: &Secret) -> Vec<u8> {
        derive::wrap(&self.wrapping(row, purpose), key)
    }

    fn unwrap(&self, row: &[u8], purpose: &'static str, wrapped: &[u8]) -> Option<Secret> {
        derive::unwrap(&self.wrapping(row, purpose), wrapped)
    }

    fn wrapping(&self, row: &[u8], purpose: &'static str) -> Secret {
        let context: [&[u8]; 3] = [purpose.as_bytes(), self.instance.as_bytes(), row];
        self.master.derive("wrap", &context)
    }
}
