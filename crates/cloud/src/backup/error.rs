//! What can go wrong with a backup or a restore, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

use fieldkeep_store::StoreError;
use fieldkeep_store::sql::SqlError;

use crate::keys::KeysError;
use crate::pki::PkiError;

/// Why there is no backup, or no restored instance.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Backups are encrypted to the recovery key, and there is none.
    #[error("there is no recovery key yet: make one with `fieldkeep admin recovery-kit`")]
    NoRecoveryKey,
    /// A recovery key exists; its secret half cannot be shown again.
    #[error(
        "there is a recovery key already ({id}), and its secret is stored nowhere here: if its page is lost, make a new \
         one with `fieldkeep admin recovery-kit --replace` (older backups still need the old one)"
    )]
    RecoveryKeyExists {
        /// Which.
        id: String,
    },
    /// What was given as recovery key is none.
    #[error("this is no recovery key: it is one line that begins with AGE-SECRET-KEY-1")]
    NotARecoveryKey,
    /// The recovery key does not open the archive.
    #[error("{path} needs the recovery key {needed}; given was {given}")]
    WrongRecoveryKey {
        /// The archive.
        path: PathBuf,
        /// The key that opens it, as far as the archive says.
        needed: String,
        /// The keys that were tried.
        given: String,
    },
    /// A file or folder could not be read or written.
    #[error("{path} cannot be {verb}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: read, written, created.
        verb: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// There is no room for a backup or a restored instance.
    #[error("the disk of {path} is full: make room and try again; nothing incomplete was left")]
    Full {
        /// The folder that was written to.
        path: PathBuf,
    },
    /// Another backup of the same instance is being written.
    #[error("another backup of this instance is being written: wait for its end")]
    Busy,
    /// Another restore is filling the folder.
    #[error("another restore into {path} is going on")]
    Claimed {
        /// The folder.
        path: PathBuf,
    },
    /// The program ends.
    #[error("the backup was broken off")]
    Stopped,
    /// An archive does not hold what it should.
    #[error("{path} is damaged or cut short ({what}): use another backup")]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer program wrote it.
    #[error(
        "{path} was written by fieldkeep {program}: restore it with that version or a newer one"
    )]
    Newer {
        /// The archive.
        path: PathBuf,
        /// The version that wrote it.
        program: String,
    },
    /// There is no archive to restore.
    #[error("{path} holds no backup (a file fieldkeep-…-data.age)")]
    NoBackup {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Archives of several instances lie in one folder.
    #[error(
        "{path} holds backups of several instances ({found}): name the file to restore with --from FILE"
    )]
    SeveralInstances {
        /// The folder.
        path: PathBuf,
        /// Their short ids.
        found: String,
    },
    /// No key archive fits the data.
    #[error(
        "there is no key archive (fieldkeep-…-keys.age) as new as {path} beside it: name one with --keys FILE"
    )]
    NoKeys {
        /// The data archive.
        path: PathBuf,
    },
    /// Keys and data do not belong together.
    #[error("{keys} does not fit {data}: {why}")]
    Unfit {
        /// The key archive.
        keys: PathBuf,
        /// The data archive.
        data: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A restore fills empty folders only.
    #[error("{path} holds {entry}: restore into a folder that is empty or does not exist")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// Something in it.
        entry: String,
    },
    /// What was restored is not what was backed up.
    #[error("what was restored is not what was backed up: {what}; use another backup")]
    Unequal {
        /// The first difference.
        what: String,
    },
    /// The key database or a key file failed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A database failed.
    #[error("a database failed")]
    Sql(#[source] SqlError),
    /// The measurement store failed.
    #[error("the measurement store failed")]
    Store(#[source] StoreError),
    /// The certificate authorities did not open.
    #[error("the certificate authorities do not open")]
    Pki(#[from] PkiError),
}

impl BackupError {
    /// A failure of a file, a full disk told apart.
    pub(super) fn io(path: &Path, verb: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                path: path.parent().unwrap_or(path).to_path_buf(),
            },
            _ => Self::Io {
                path: path.to_path_buf(),
                verb,
                source,
            },
        }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            what: what.into(),
        }
    }

    /// Whether the person who started it must give something else (exit code 2).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NoRecoveryKey
            | Self::RecoveryKeyExists { .. }
            | Self::NotARecoveryKey
            | Self::WrongRecoveryKey { .. }
            | Self::NoBackup { .. }
            | Self::SeveralInstances { .. }
            | Self::NoKeys { .. }
            | Self::Unfit { .. }
            | Self::Newer { .. }
            | Self::NotEmpty { .. } => true,
            Self::Io { .. }
            | Self::Full { .. }
            | Self::Busy
            | Self::Claimed { .. }
            | Self::Stopped
            | Self::Damaged { .. }
            | Self::Unequal { .. }
            | Self::Keys(_)
            | Self::Sql(_)
            | Self::Store(_)
            | Self::Pki(_) => false,
        }
    }
}

impl From<SqlError> for BackupError {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
