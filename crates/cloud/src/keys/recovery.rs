//! The keys of an instance as a backup keeps them, and a new keyring made from them.
//!
//! A snapshot holds the instance's key and the projects' keys in the clear: whoever makes one encrypts it before it
//! touches a disk. It never holds the master key or a database key: a restore makes new ones, so that those of the
//! machine that was lost open nothing of the new one.
//!
//! Format 1: `fieldkeep-keys-1`, then entries of id (16) ‖ key (32) ‖ time of making (8, microseconds since 1970,
//! big-endian): the instance's first, then one a project.

use std::path::Path;

use fieldkeep_protocol::{ProjectId, Timestamp};
use fieldkeep_store::sql::{Database, DatabaseKey};
use zeroize::Zeroizing;

use super::derive::wrap;
use super::keyring::{Base, InstanceId, Keyring};
use super::start::{MIGRATIONS, database_key, open_with, private};
use super::{Inner, Keys, KeysError, MasterKey, SealingKey, Secret};
use crate::clock::Clock;

const MAGIC: &[u8; 16] = b"fieldkeep-keys-1";
const ENTRY: usize = 16 + 32 + 8;

/// The keys of an instance at one instant, as a backup keeps them. Cleared when dropped, never printed.
pub struct KeySnapshot {
    instance: InstanceId,
    key: Secret,
    created: Timestamp,
    projects: Vec<(ProjectId, Secret, Timestamp)>,
}

impl KeySnapshot {
    /// Whose keys they are.
    pub fn instance_id(&self) -> InstanceId {
        self.instance
    }

    /// How many projects have a key in it.
    pub fn projects(&self) -> usize {
        self.projects.len()
    }

    /// The bytes, in the clear.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Of the final size at once: growing would leave copies behind.
        let size = MAGIC.len() + ENTRY * (1 + self.projects.len());
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        bytes.extend_from_slice(MAGIC);
        let mut entry = |id: &[u8; 16], key: &Secret, created: Timestamp| {
            bytes.extend_from_slice(id);
            bytes.extend_from_slice(key.expose());
            bytes.extend_from_slice(&created.as_micros().to_be_bytes());
        };
        entry(self.instance.as_bytes(), &self.key, self.created);
        for (project, key, created) in &self.projects {
            entry(project.as_bytes(), key, *created);
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; None for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (entries, []) = bytes.strip_prefix(MAGIC)?.as_chunks::<ENTRY>() else {
            return None;
        };
        let (instance, projects) = entries.split_first()?;
        let (instance, key, created) = entry(instance)?;
        let projects = projects.iter().map(|one| {
            let (project, key, created) = entry(one)?;
            Some((ProjectId::from_bytes(project), key, created))
        });
        Some(Self {
            instance: InstanceId::new(instance),
            key,
            created,
            projects: projects.collect::<Option<_>>()?,
        })
    }
}

fn entry(bytes: &[u8; ENTRY]) -> Option<([u8; 16], Secret, Timestamp)> {
    let (id, rest) = bytes.split_first_chunk::<16>()?;
    let (key, created) = rest.split_first_chunk::<32>()?;
    let created = i64::from_be_bytes(created.try_into().ok()?);
    Some((*id, Secret::new(*key), Timestamp::from_micros(created)))
}

/// A keyring that is not yet in place; until it is, nobody takes the folder for an instance.
pub struct Restored {
    keyring: Keyring,
    /// Will open `catalogue.db`.
    pub catalogue: DatabaseKey,
    /// Will open `series.db`.
    pub series: DatabaseKey,
}

impl Restored {
    /// Opens the keys although their keyring is not yet in place.
    pub async fn open(
        &self,
        data: &Path,
        master: &MasterKey,
        clock: &Clock,
    ) -> Result<Keys, KeysError> {
        let opened = open_with(data, master, &self.keyring, clock).await?;
        Ok(opened.keys)
    }

    /// Puts the keyring in place; durable when this returns.
    pub fn settle(&self, data: &Path) -> Result<(), KeysError> {
        self.keyring.write_pending(data)?;
        Keyring::settle(data)
    }
}

impl Keys {
    /// All keys that a restored instance needs, as of now.
    pub async fn snapshot(&self) -> Result<KeySnapshot, KeysError> {
        let inner = &self.0;
        let damaged = |of: String| KeysError::Damaged { of };
        let row = inner
            .database
            .fetch_optional(
                "SELECT wrapped, created_us FROM instance_key WHERE name = 'instance'",
                &[],
            )
            .await?
            .ok_or_else(|| damaged("the instance".to_owned()))?;
        let key = inner
            .unwrap(b"instance", "instance", row.bytes(0)?)
            .ok_or_else(|| damaged("the instance".to_owned()))?;
        let created = Timestamp::from_micros(row.i64(1)?);
        let rows = inner
            .database
            .fetch_all(
                "SELECT project, wrapped, created_us FROM project_key ORDER BY project",
                &[],
            )
            .await?;
        let mut projects = Vec::with_capacity(rows.len());
        for row in rows {
            let project = ProjectId::from_bytes(row.array(0)?);
            let key = inner
                .unwrap(project.as_bytes(), "project", row.bytes(1)?)
                .ok_or_else(|| damaged(project.to_string()))?;
            projects.push((project, key, Timestamp::from_micros(row.i64(2)?)));
        }
        Ok(KeySnapshot {
            instance: inner.instance,
            key,
            created,
            projects,
        })
    }

    /// Makes `keys.db` in an empty folder out of a snapshot, under a master key and database keys of its own, and empty
    /// private files for the other databases.
    pub async fn restore(
        data: &Path,
        master: &MasterKey,
        snapshot: &KeySnapshot,
    ) -> Result<Restored, KeysError> {
        let keyring = Keyring::create(master, snapshot.instance);
        let key =
            |base| database_key(&keyring, master, base).map(|key| DatabaseKey::new(*key.expose()));
        for base in Base::ALL {
            private(&base.path(data))?;
        }
        let database =
            Database::open(&Base::Keys.path(data), &key(Base::Keys)?, MIGRATIONS).await?;
        let inner = Inner {
            database,
            master: master.clone(),
            instance: snapshot.instance,
            sealing: SealingKey::derive(&snapshot.key, snapshot.instance.as_bytes()),
        };
        let mut transaction = inner.database.begin().await?;
        let wrapped = wrap(&inner.wrapping(b"instance", "instance"), &snapshot.key);
        transaction
            .execute(
                "INSERT INTO instance_key (name, wrapped, created_us) VALUES ('instance', $1, $2)",
                &[(&wrapped).into(), snapshot.created.as_micros().into()],
            )
            .await?;
        for (project, key, created) in &snapshot.projects {
            let wrapped = inner.wrap(project.as_bytes(), "project", key);
            transaction
                .execute(
                    "INSERT INTO project_key (project, wrapped, created_us) VALUES ($1, $2, $3)",
                    &[
                        project.as_bytes().into(),
                        (&wrapped).into(),
                        created.as_micros().into(),
                    ],
                )
                .await?;
        }
        transaction.commit().await?;
        inner.database.close().await;
        Ok(Restored {
            catalogue: key(Base::Catalogue)?,
            series: key(Base::Series)?,
            keyring,
        })
    }
}
