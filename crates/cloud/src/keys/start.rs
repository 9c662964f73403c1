//! Opening a data folder: the first start, an interrupted first start, every later start, and the refusals.
//!
//! A first start writes `keyring.new`, makes the databases with its keys, then renames it to `keyring`. So a
//! keyring means that all databases exist, and a first start cut off at any point is finished by the next.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use fieldkeep_store::sql::{Database, DatabaseKey, Migration};

use super::keyring::{Base, FILE, Keyring, PENDING, failed};
use super::{Inner, InstanceId, Keys, KeysError, MasterKey, Opened, SealingKey, Secret, random};
use crate::clock::Clock;

pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    number: 1,
    sql: include_str!("../../migrations/keys/0001_first.sql"),
}];

/// In a folder from the beginning of a restore to its end: what is in it may be incomplete, and nobody opens it.
pub const UNFINISHED: &str = "restore.unfinished";

/// In a folder from the end of a restore until its operator opens it: nobody is served from it.
pub const CLOSED: &str = "restored.closed";

/// Whether there is something in this folder to open: a first start was completed, or a restore was begun (and opening
/// it says so). Commands that only work on existing data ask first, because opening an empty folder starts a new instance.
pub fn is_started(data: &Path) -> bool {
    data.join(FILE).exists() || data.join(UNFINISHED).exists()
}

impl MasterKey {
    /// The master key for a data folder: loaded from `path`, or made there if the folder holds nothing yet.
    ///
    /// # Errors
    /// [`KeysError::MasterKeyMissing`] names the key that existing data needs.
    pub fn for_data(path: &Path, data: &Path) -> Result<Self, KeysError> {
        refuse_unfinished(data)?;
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let keyring = match Keyring::load(&data.join(FILE))? {
            Some(keyring) => Some(keyring),
            // A torn pending keyring has no databases yet; one with databases is refused on opening.
            None => Keyring::load(&data.join(PENDING)).unwrap_or(None),
        };
        if let Some(needed) = keyring.and_then(|keyring| keyring.master_key()) {
            return Err(KeysError::MasterKeyMissing {
                path: path.to_path_buf(),
                needed,
            });
        }
        if data.exists() {
            refuse_strangers(data)?;
        }
        Self::create(path)
    }
}

impl Keys {
    /// Opens the keys of a data folder, or makes them if the folder is empty or missing. Concurrent openings,
    /// of other processes too, wait for each other.
    ///
    /// # Errors
    /// Everything that does not fit together is refused, and nothing is made anew beside existing data.
    pub async fn open(data: &Path, master: &MasterKey, clock: &Clock) -> Result<Opened, KeysError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .map_err(|source| failed(data, "created", source))?;
        let _turn = turn(data).await?;
        refuse_unfinished(data)?;
        if let Some(keyring) = Keyring::load(&data.join(FILE))? {
            refuse_other_master(&keyring, master)?;
            for path in Base::ALL.map(|base| base.path(data)) {
                if !path.exists() {
                    return Err(KeysError::DatabaseMissing { path });
                }
                private(&path)?;
            }
            return open_with(data, master, &keyring, clock).await;
        }
        let begun = Base::ALL.iter().any(|base| base.path(data).exists());
        let keyring = if begun {
            Keyring::load(&data.join(PENDING))?.ok_or_else(|| KeysError::KeyringMissing {
                path: data.to_path_buf(),
            })?
        } else {
            refuse_strangers(data)?;
            let keyring = Keyring::create(master, InstanceId::new(random()));
            keyring.write_pending(data)?;
            keyring
        };
        refuse_other_master(&keyring, master)?;
        for base in Base::ALL {
            private(&base.path(data))?;
        }
        for base in [Base::Catalogue, Base::Series] {
            let key = DatabaseKey::new(*database_key(&keyring, master, base)?.expose());
            Database::open(&base.path(data), &key, &[])
                .await?
                .close()
                .await;
        }
        let opened = open_with(data, master, &keyring, clock).await?;
        Keyring::settle(data)?;
        Ok(opened)
    }
}

pub(super) async fn open_with(
    data: &Path,
    master: &MasterKey,
    keyring: &Keyring,
    clock: &Clock,
) -> Result<Opened, KeysError> {
    let instance = keyring.instance().ok_or_else(|| KeysError::Malformed {
        path: data.join(FILE),
        what: "keyring",
    })?;
    let key = |base| database_key(keyring, master, base).map(|key| DatabaseKey::new(*key.expose()));
    let database = Database::open(&Base::Keys.path(data), &key(Base::Keys)?, MIGRATIONS).await?;
    let mut inner = Inner {
        database,
        master: master.clone(),
        instance,
        // Replaced below by the stored one; a key that seals nothing.
        sealing: SealingKey::derive(&Secret::new(random()), instance.as_bytes()),
    };
    inner.sealing = SealingKey::derive(&instance_key(&inner, clock).await?, instance.as_bytes());
    Ok(Opened {
        keys: Keys(Arc::new(inner)),
        catalogue: key(Base::Catalogue)?,
        series: key(Base::Series)?,
    })
}

/// The stored instance key, made by the first start.
async fn instance_key(inner: &Inner, clock: &Clock) -> Result<Secret, KeysError> {
    let fresh = inner.wrap(b"instance", "instance", &Secret::new(random()));
    inner
        .database
        .execute(
            "INSERT INTO instance_key (name, wrapped, created_us) VALUES ('instance', $1, $2)
             ON CONFLICT DO NOTHING",
            &[(&fresh).into(), clock.now().as_micros().into()],
        )
        .await?;
    let damaged = || KeysError::Damaged {
        of: "the instance".to_owned(),
    };
    let row = inner
        .database
        .fetch_optional(
            "SELECT wrapped FROM instance_key WHERE name = 'instance'",
            &[],
        )
        .await?
        .ok_or_else(damaged)?;
    inner
        .unwrap(b"instance", "instance", row.bytes(0)?)
        .ok_or_else(damaged)
}

pub(super) fn database_key(
    keyring: &Keyring,
    master: &MasterKey,
    base: Base,
) -> Result<Secret, KeysError> {
    keyring
        .unwrap(master, base)
        .ok_or_else(|| KeysError::Damaged {
            of: format!("{}.db", base.name()),
        })
}

fn refuse_other_master(keyring: &Keyring, master: &MasterKey) -> Result<(), KeysError> {
    match keyring.master_key() {
        Some(needed) if needed != master.id() => Err(KeysError::WrongMasterKey {
            found: master.id(),
            needed,
        }),
        _ => Ok(()),
    }
}

/// Makes a database's file where there is none, for its owner alone; one that others may read is closed to them. Its
/// write-ahead log takes over the mode.
pub(super) fn private(path: &Path) -> Result<(), KeysError> {
    let close = || -> std::io::Result<()> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(())
    };
    close().map_err(|source| failed(path, "closed to others", source))
}

fn refuse_unfinished(data: &Path) -> Result<(), KeysError> {
    if data.join(UNFINISHED).exists() {
        return Err(KeysError::RestoreUnfinished {
            path: data.to_path_buf(),
        });
    }
    Ok(())
}

/// A first start makes its files only in an empty folder (a fresh volume's `lost+found` aside).
fn refuse_strangers(data: &Path) -> Result<(), KeysError> {
    let entries = fs::read_dir(data).map_err(|source| failed(data, "read", source))?;
    for entry in entries {
        let entry = entry.map_err(|source| failed(data, "read", source))?;
        let name = entry.file_name();
        if name != PENDING && name != "lost+found" {
            return Err(KeysError::NotEmpty {
                path: data.to_path_buf(),
                entry: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

/// Locks the data folder until dropped, so that two first starts do not mix their keys.
async fn turn(data: &Path) -> Result<File, KeysError> {
    let path = data.to_path_buf();
    tokio::task::spawn_blocking(move || {
        let folder = File::open(&path).map_err(|source| failed(&path, "read", source))?;
        folder
            .lock()
            .map_err(|source| failed(&path, "locked", source))?;
        Ok(folder)
    })
    .await
    .map_err(|error| failed(data, "locked", std::io::Error::other(error)))?
}
