//! The instance itself, for its operators: the room on its disk, its backups.

use serde::Serialize;
use utoipa::ToSchema;

use crate::access::OperatorSession;
use crate::api::App;
use crate::api::door::Json;
use crate::api::fault;
use crate::api::id::Time;
use crate::api::problem::Problem;
use crate::backup::{Newest, Status, Warning};
use crate::space::{Action, Remedy, Report, State};

/// The room on the disk, and what can be done where it gets scarce. Nothing is deleted by itself.
#[derive(Serialize, ToSchema)]
#[schema(as = Space)]
pub(super) struct SpaceView {
    at: Time,
    state: StateWord,
    total_bytes: u64,
    free_bytes: u64,
    used_percent: u64,
    /// The data folder without its reserve.
    data_bytes: u64,
    /// Free inside the measurements' file: new data use it first.
    unused_bytes: u64,
    /// The reserve; 0 while it is released or switched off.
    reserve_bytes: u64,
    /// How much more is used each day, from the last 30; null without growth or with too little history.
    growth_bytes_a_day: Option<u64>,
    /// When the disk is full at that pace.
    full_on: Option<Time>,
    /// What can be done, the largest first; empty while the state is fine.
    actions: Vec<ActionView>,
}

/// How the disk is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SpaceState)]
pub(super) enum StateWord {
    /// Nothing to do.
    Fine,
    /// It will be full within 30 days.
    Filling,
    /// Nine tenths are used.
    Low,
    /// New data are refused until there is room; devices keep them.
    Full,
}

impl From<State> for StateWord {
    fn from(state: State) -> Self {
        match state {
            State::Fine => Self::Fine,
            State::Filling => Self::Filling,
            State::Low => Self::Low,
            State::Full => Self::Full,
        }
    }
}

/// Something that an operator or a project's administrator can do.
#[derive(Serialize, ToSchema)]
#[schema(as = SpaceAction)]
pub(super) struct ActionView {
    kind: ActionKind,
    /// What to do, for people.
    text: String,
    /// Bytes that it frees.
    frees_bytes: u64,
    /// The project that it concerns.
    project: Option<String>,
    /// With `shorten_evidence`: `hot_days` of the project's retention.
    hot_days: Option<u32>,
}

/// What can be done.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SpaceActionKind)]
pub(super) enum ActionKind {
    /// Keep a project's batches for fewer days; every value stays readable.
    ShortenEvidence,
    /// Write the measurements' file anew: `fieldkeep admin rewrite`, with the server stopped.
    Rewrite,
    /// Remove the copies that upgrades left.
    OldCopies,
}

impl From<Action> for ActionView {
    fn from(action: Action) -> Self {
        let text = action.remedy.to_string();
        let frees_bytes = action.frees_bytes;
        let (kind, project, hot_days) = match action.remedy {
            Remedy::ShortenEvidence { project, hot_days } => {
                (ActionKind::ShortenEvidence, Some(project), Some(hot_days))
            }
            Remedy::Rewrite => (ActionKind::Rewrite, None, None),
            Remedy::OldCopies { .. } => (ActionKind::OldCopies, None, None),
        };
        Self {
            kind,
            text,
            frees_bytes,
            project,
            hot_days,
        }
    }
}

impl From<Report> for SpaceView {
    fn from(report: Report) -> Self {
        Self {
            at: report.at().into(),
            state: report.state.into(),
            total_bytes: report.total_bytes,
            free_bytes: report.free_bytes,
            used_percent: report.used_percent(),
            data_bytes: report.data_bytes,
            unused_bytes: report.unused_bytes,
            reserve_bytes: report.reserve_bytes,
            growth_bytes_a_day: report.growth_bytes_a_day,
            full_on: report.full().map(Time::from),
            actions: report.actions.into_iter().map(ActionView::from).collect(),
        }
    }
}

/// The room on the disk.
pub(super) async fn space(session: OperatorSession, app: App) -> Result<Json<SpaceView>, Problem> {
    let report = app.space.report(&session.grant()).await;
    report
        .map(|report| Json(report.into()))
        .map_err(fault::space)
}

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
