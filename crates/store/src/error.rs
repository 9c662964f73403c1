//! What can go wrong in the store, by what the caller can do about it.

use std::error::Error;
use std::sync::Arc;

use fieldkeep_protocol::{DecodeError, DeviceId, Timestamp};

use crate::sql::SqlError;

/// A failure of the store itself.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the measurement store's database failed")]
    Sql(#[from] SqlError),
    /// The commit that carried this failed; nothing of it was kept.
    #[error("the measurement store could not commit")]
    Commit(#[source] Arc<SqlError>),
    /// The project's key cannot be had: erased, or its keeper failed.
    #[error("the project's key is not available")]
    Key(#[from] KeyUnavailable),
    /// A stored payload does not authenticate as what its row says it is.
    #[error("{kind} of {device} at {first} (+{count}) is damaged")]
    Damaged {
        /// What the row holds.
        kind: &'static str,
        /// Whose it is.
        device: DeviceId,
        /// Its first record number (revision of a channel table, number of a quarantined message).
        first: u64,
        /// Its number of records, 0 where it has none.
        count: u32,
    },
    /// The cryptographic library refused to encrypt or to make a key.
    #[error("encryption failed")]
    Encryption,
    /// The query asks for more than one answer may hold.
    #[error("the query asks for {asked} buckets, more than {most}")]
    TooManyBuckets {
        /// What the query asked for.
        asked: u64,
        /// The limit.
        most: u64,
    },
    /// What changed after the revision cannot be told any more: read everything again.
    #[error("what changed since then is no longer kept")]
    RevisionGone,
    /// What was known at the time cannot be told any more: the evidence before this instant was removed.
    #[error("the evidence is no longer kept")]
    EvidenceGone {
        /// Before it hot rows were removed.
        until: Timestamp,
    },
    /// The device has begun as many epochs as one device may: a quota, like a full disk.
    #[error("{0} has begun too many epochs")]
    TooManyEpochs(DeviceId),
    /// The disk is nearly full and what is left serves other work; see [`Store::let_in`](crate::Store::let_in).
    #[error("the disk is nearly full: nothing is let in until there is room")]
    NoRoom,
    /// The store has been closed.
    #[error("the measurement store is closed")]
    Closed,
}

impl StoreError {
    /// Whether the disk (or the quota) is full: try again later, nothing is broken.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sql(error) => matches!(error, SqlError::Full(_)),
            Self::Commit(error) => matches!(**error, SqlError::Full(_)),
            Self::TooManyEpochs(_) | Self::NoRoom => true,
            _ => false,
        }
    }
}

/// Why a batch, a channel table or a seal was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The bytes are not what they should be and never will be: quarantine them.
    #[error("undecodable: {0}")]
    Undecodable(DecodeError),
    /// The disk or a quota is full; the device keeps it and comes back later.
    #[error("the disk or a quota is full")]
    Full(#[source] StoreError),
    /// The store failed; nothing was acknowledged, the device sends it again.
    #[error("the measurement store is not available")]
    Unavailable(#[source] StoreError),
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        if error.is_full() {
            Self::Full(error)
        } else {
            Self::Unavailable(error)
        }
    }
}

impl From<SqlError> for AppendError {
    fn from(error: SqlError) -> Self {
        StoreError::Sql(error).into()
    }
}

impl From<DecodeError> for AppendError {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

/// The keeper of project keys could not give one.
#[derive(Debug, thiserror::Error)]
#[error("the project's key is not available")]
pub struct KeyUnavailable(#[source] Option<Box<dyn Error + Send + Sync>>);

impl KeyUnavailable {
    /// With the keeper's own reason.
    pub fn because(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Some(source.into()))
    }

    /// The project has no key: it does not exist, or was erased.
    pub fn gone() -> Self {
        Self(None)
    }

    /// Whether there is no key, as against a keeper that failed.
    pub fn is_gone(&self) -> bool {
        self.0.is_none()
    }
}
