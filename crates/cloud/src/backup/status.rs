//! What is known of an instance's backups, and what somebody should do about them.

use std::fmt;
use std::path::{Path, PathBuf};

use fieldkeep_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use super::target::same_disk;
use super::{Backup, BackupError, Done};
use crate::access::OperatorGrant;
use crate::clock::rfc3339;
use crate::db::{Db, SqlError};

const TARGET: &str = "backup.target";
const NEWEST: &str = "backup.newest";
const FAILURE: &str = "backup.failure";
/// A day and two hours: the next one had its time to be made.
const STALE_US: i64 = 26 * 3_600 * 1_000_000;

/// The newest good backup that this instance made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// The instant of which it is.
    pub made: Timestamp,
    /// The data archive.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Series in it.
    pub series: u64,
    /// Batches in it.
    pub batches: u64,
    /// Records in it.
    pub records: u64,
}

/// As the setting keeps it.
#[derive(Serialize, Deserialize)]
struct Kept {
    made_us: i64,
    path: PathBuf,
    bytes: u64,
    series: u64,
    batches: u64,
    records: u64,
}

/// What is known of an instance's backups.
#[derive(Clone, Debug)]
pub struct Status {
    /// The recovery key's id, if there is one.
    pub recovery_key: Option<String>,
    /// Whether somebody said that it is on paper.
    pub confirmed: bool,
    /// Where the daily backup goes, if `serve` was told.
    pub target: Option<PathBuf>,
    /// The newest good one.
    pub newest: Option<Newest>,
    /// What somebody should do, most urgent first.
    pub warnings: Vec<Warning>,
}

/// Something that somebody should do; its text says what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// There is no recovery key, so there can be no backup.
    NoRecoveryKey,
    /// There is no backup and none is planned.
    Never,
    /// A target is set, and no backup was made so far.
    NoneYet,
    /// The newest is older than 26 hours.
    Stale {
        /// When it was made.
        made: Timestamp,
    },
    /// The newest attempt failed.
    Failed {
        /// How.
        how: String,
    },
    /// Backups lie on the disk that they should survive.
    SameDisk {
        /// Where they lie.
        target: PathBuf,
    },
    /// Nobody said that the recovery key is on paper.
    Unconfirmed {
        /// Which key.
        id: String,
    },
}

impl Warning {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRecoveryKey => "no_recovery_key",
            Self::Never => "never",
            Self::NoneYet => "none_yet",
            Self::Stale { .. } => "stale",
            Self::Failed { .. } => "failed",
            Self::SameDisk { .. } => "same_disk",
            Self::Unconfirmed { .. } => "recovery_key_unconfirmed",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecoveryKey => f.write_str(
                "there is no recovery key, so nothing can be backed up: `fieldkeep admin recovery-kit`",
            ),
            Self::Never => f.write_str(
                "nothing was ever backed up and nothing will be: set `to` under [backup] in the settings, or run \
                 `fieldkeep backup --to DIR` every day",
            ),
            Self::NoneYet => f.write_str(
                "there is no backup yet: the daily one comes by itself, or run `fieldkeep backup --to DIR`",
            ),
            Self::Stale { made } => write!(
                f,
                "the newest backup is of {}, more than 26 h old: run `fieldkeep backup --to DIR` and see what it says",
                rfc3339::format(*made)
            ),
            Self::Failed { how } => write!(f, "the last backup failed: {how}"),
            Self::SameDisk { target } => write!(
                f,
                "backups lie in {} on the disk of the data and go with it: choose a folder on another disk or machine",
                target.display()
            ),
            Self::Unconfirmed { id } => write!(
                f,
                "nobody confirmed that the recovery key {id} is kept on paper: `fieldkeep admin recovery-kit --confirm`"
            ),
        }
    }
}

impl Backup {
    /// What is known of the instance's backups, whichever process made them.
    pub async fn status(&self, _: &OperatorGrant<'_>) -> Result<Status, BackupError> {
        let path = |text: String| (!text.is_empty()).then(|| PathBuf::from(text));
        let target = self.db().setting(TARGET).await?.and_then(path);
        let newest = self.newest().await?;
        let failure = self.db().setting(FAILURE).await?;
        let mut status = Status {
            recovery_key: self.recipient().await?.map(|one| one.id()),
            confirmed: self.is_confirmed().await?,
            target,
            newest,
            warnings: Vec::new(),
        };
        let disks = status.place().map(Path::to_path_buf);
        let data = self.data().to_path_buf();
        let shared = disks.filter(|place| same_disk(place, &data) == Some(true));
        let failure = failure.filter(|how| !how.is_empty());
        status.judge(self.clock().now(), failure, shared);
        Ok(status)
    }

    /// Notes where the daily backup goes, for whoever asks beside the server.
    pub(super) async fn announce(&self, target: Option<&Path>) -> Result<(), SqlError> {
        let text = target.map_or_else(String::new, |path| path.display().to_string());
        self.db().set(&[(TARGET, &text)]).await
    }

    /// Notes how an attempt ended.
    pub(super) async fn remember(
        &self,
        outcome: &Result<Done, BackupError>,
    ) -> Result<(), BackupError> {
        match outcome {
            Ok(done) => note(self.db(), done).await?,
            // These say nothing new: one is being made, nobody waited for its end, or a warning says so by itself.
            Err(BackupError::Busy | BackupError::Stopped | BackupError::NoRecoveryKey) => {}
            Err(error) => self.db().set(&[(FAILURE, &error.to_string())]).await?,
        }
        Ok(())
    }

    pub(super) async fn newest(&self) -> Result<Option<Newest>, SqlError> {
        let text = self.db().setting(NEWEST).await?;
        let kept = text.and_then(|text| serde_json::from_str::<Kept>(&text).ok());
        Ok(kept.map(|kept| Newest {
            made: Timestamp::from_micros(kept.made_us),
            path: kept.path,
            bytes: kept.bytes,
            series: kept.series,
            batches: kept.batches,
            records: kept.records,
        }))
    }
}

/// Notes a good backup: as the one that was made now, or as the one that the instance came from.
pub(super) async fn note(db: &Db, done: &Done) -> Result<(), BackupError> {
    let kept = Kept {
        made_us: done.made.as_micros(),
        path: std::path::absolute(&done.path).unwrap_or_else(|_| done.path.clone()),
        bytes: done.bytes,
        series: done.series,
        batches: done.batches,
        records: done.records,
    };
    let text = serde_json::to_string(&kept)
        .map_err(|error| BackupError::io(&done.path, "noted", error.into()))?;
    Ok(db.set(&[(NEWEST, &text), (FAILURE, "")]).await?)
}

impl Status {
    /// The folder that backups lie in, as far as is known.
    fn place(&self) -> Option<&Path> {
        let newest = self.newest.as_ref().and_then(|newest| newest.path.parent());
        self.target.as_deref().or(newest)
    }

    fn judge(&mut self, now: Timestamp, failure: Option<String>, shared: Option<PathBuf>) {
        let warnings = &mut self.warnings;
        if self.recovery_key.is_none() {
            warnings.push(Warning::NoRecoveryKey);
        }
        match (&self.newest, &self.target) {
            (Some(newest), _) if now.saturating_since(newest.made) > STALE_US => {
                warnings.push(Warning::Stale { made: newest.made });
            }
            (None, Some(_)) => warnings.push(Warning::NoneYet),
            (None, None) => warnings.push(Warning::Never),
            (Some(_), _) => {}
        }
        warnings.extend(failure.map(|how| Warning::Failed { how }));
        warnings.extend(shared.map(|target| Warning::SameDisk { target }));
        if let (Some(id), false) = (&self.recovery_key, self.confirmed) {
            warnings.push(Warning::Unconfirmed { id: id.clone() });
        }
    }
}
