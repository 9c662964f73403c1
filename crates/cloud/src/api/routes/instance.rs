//! About the instance itself, for its operators.

use serde::Serialize;
use utoipa::ToSchema;

use crate::access::OperatorSession;
use crate::api::App;
use crate::api::door::Json;
use crate::api::fault;
use crate::api::id::Time;
use crate::api::problem::Problem;
use crate::backup::{Newest, Status, Warning};

/// How the instance's backups are.
#[derive(Serialize, ToSchema)]
#[schema(as = BackupState)]
pub(super) struct BackupView {
    /// The key that backups are encrypted to; null where there is none.
    recovery_key: Option<RecoveryKeyView>,
    /// The folder that the daily backup goes to; null where none is set.
    target: Option<String>,
    /// The newest good backup; null where there is none.
    newest: Option<NewestView>,
    /// What somebody should do; empty when all is well.
    warnings: Vec<WarningView>,
}

/// The recovery key. Its secret is on paper only.
#[derive(Serialize, ToSchema)]
#[schema(as = RecoveryKey)]
pub(super) struct RecoveryKeyView {
    /// Names the key; also written in every archive.
    id: String,
    /// Whether somebody confirmed that it is on paper.
    confirmed: bool,
}

/// A backup that was made and read back.
#[derive(Serialize, ToSchema)]
#[schema(as = NewestBackup)]
pub(super) struct NewestView {
    made: Time,
    path: String,
    bytes: u64,
    series: u64,
    batches: u64,
    records: u64,
}

/// Something that somebody should do.
#[derive(Serialize, ToSchema)]
#[schema(as = BackupWarning)]
pub(super) struct WarningView {
    /// `no_recovery_key`, `never`, `none_yet`, `stale`, `failed`, `same_disk` or `recovery_key_unconfirmed`.
    code: &'static str,
    /// What it is and what to do.
    text: String,
}

impl From<Warning> for WarningView {
    fn from(warning: Warning) -> Self {
        Self {
            code: warning.code(),
            text: warning.to_string(),
        }
    }
}

impl From<Newest> for NewestView {
    fn from(newest: Newest) -> Self {
        Self {
            made: newest.made.into(),
            path: newest.path.display().to_string(),
            bytes: newest.bytes,
            series: newest.series,
            batches: newest.batches,
            records: newest.records,
        }
    }
}

impl From<Status> for BackupView {
    fn from(status: Status) -> Self {
        let confirmed = status.confirmed;
        Self {
            recovery_key: status
                .recovery_key
                .map(|id| RecoveryKeyView { id, confirmed }),
            target: status.target.map(|path| path.display().to_string()),
            newest: status.newest.map(NewestView::from),
            warnings: status.warnings.into_iter().map(WarningView::from).collect(),
        }
    }
}

/// How the backups are.
pub(super) async fn backup(
    operator: OperatorSession,
    app: App,
) -> Result<Json<BackupView>, Problem> {
    let status = app.backup.status(&operator.grant()).await;
    status
        .map(|status| Json(status.into()))
        .map_err(|error| fault::backup(&error))
}
