//! Room on the disk: watched, forecast, and kept for what must still be possible when it is full.
//!
//! Owns the reserve file of the data folder, the history of growth and what an operator may do about a filling disk,
//! with the bytes that each frees. Promises that new data are refused (devices keep them and come back) before the
//! last room is used up, and are let in again by themselves once there is room. Never deletes anything: people decide.

mod forecast;
mod reserve;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fieldkeep_protocol::{ProjectId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use crate::access::{OperatorGrant, Task, system};
use crate::clock::Clock;
use crate::db::{Db, SqlError};
use crate::series::{Series, SeriesError};

use forecast::{Day, Forecast};
use reserve::{Reserve, Step};

const HISTORY: &str = "space.history";
const REPORT: &str = "space.report";
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks between two entries of the history.
const LOOKS_AN_ENTRY: u32 = 1_800;
/// From here on the disk counts as nearly full.
const LOW_PERCENT: u64 = 90;
/// A forecast that is further off than this is nobody's worry yet.
const WARN_DAYS: i64 = 30;
const DAY_US: i64 = 86_400_000_000;
/// How old the counted actions of a report may be.
const FRESH_US: i64 = 600_000_000;
/// What is offered: batches of a project that are older than this.
const OFFERS_DAYS: [u32; 3] = [365, 90, 30];

/// Why the room on the disk cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// The disk does not say how full it is.
    #[error("the disk cannot be asked")]
    Disk(#[source] std::io::Error),
    /// The catalogue failed.
    #[error("the catalogue failed")]
    Sql(#[from] SqlError),
    /// Measurements cannot be counted.
    #[error("measurements cannot be counted")]
    Series(#[from] SeriesError),
}

/// How the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing to do.
    Fine,
    /// It will be full within 30 days at the pace of the last weeks.
    Filling,
    /// Nine tenths are used.
    Low,
    /// New data are refused; devices keep them.
    Full,
}

/// What an operator can do, and what it frees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Remedy {
    /// Keep the batches of a project, which are its evidence, so many days only; every value stays readable.
    ShortenEvidence {
        /// The project's id as text.
        project: String,
        /// `hot_days` of its retention.
        hot_days: u32,
    },
    /// Write the measurements' file anew without what is free in it.
    Rewrite,
    /// Remove the copies that upgrades left.
    OldCopies {
        /// Their names in the data folder.
        files: Vec<String>,
    },
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ShortenEvidence { project, hot_days } => write!(
                f,
                "keep the batches of {project} for {hot_days} days only (PUT /api/v1/projects/{project}/retention); \
                 every value stays readable"
            ),
            Self::Rewrite => f.write_str(
                "stop the server and run `fieldkeep admin rewrite`, which needs room for a second copy",
            ),
            Self::OldCopies { files } => {
                write!(f, "remove what upgrades left in the data folder: {}", files.join(", "))
            }
        }
    }
}

/// One thing that an operator can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What.
    #[serde(flatten)]
    pub remedy: Remedy,
    /// Bytes that it frees.
    pub frees_bytes: u64,
}

/// The room on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it was looked at, in microseconds since 1970.
    pub at_us: i64,
    /// How it is.
    pub state: State,
    /// The whole disk.
    pub total_bytes: u64,
    /// What is left of it for this program.
    pub free_bytes: u64,
    /// The data folder without its reserve.
    pub data_bytes: u64,
    /// Free inside the measurements' file: new data use it first.
    pub unused_bytes: u64,
    /// The reserve, 0 while it is released or switched off.
    pub reserve_bytes: u64,
    /// How much more is used each day, where that is known and positive.
    pub growth_bytes_a_day: Option<u64>,
    /// When the disk is full at that pace.
    pub full_us: Option<i64>,
    /// What can be done, where something should be; the largest first.
    pub actions: Vec<Action>,
}

impl Report {
    /// How much of the disk is used, in percent.
    #[must_use]
    pub fn used_percent(&self) -> u64 {
        let used = self.total_bytes.saturating_sub(self.free_bytes);
        used.saturating_mul(100) / self.total_bytes.max(1)
    }

    /// When it was looked at.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_micros(self.at_us)
    }

    /// When the disk is full at the pace of the last weeks.
    #[must_use]
    pub fn full(&self) -> Option<Timestamp> {
        self.full_us.map(Timestamp::from_micros)
    }
}

/// The disk as the system tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Disk {
    total: u64,
    free: u64,
}

/// The room on the disk of one data folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Space(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    data: PathBuf,
    reserve: Reserve,
    db: Db,
    series: Series,
    clock: Clock,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    let_in: bool,
    actions: Vec<Action>,
    counted_us: i64,
}

impl Space {
    /// Room on the disk of `data`, with a reserve of at most so many bytes (0: none).
    pub fn new(data: &Path, most_reserve: u64, db: Db, series: Series, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            reserve: Reserve::new(data, most_reserve),
            data: data.to_owned(),
            db,
            series,
            clock,
            kept: Mutex::new(Kept {
                let_in: true,
                actions: Vec::new(),
                counted_us: i64::MIN,
            }),
        }))
    }

    /// Watches until dropped. One server runs this.
    pub async fn run(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0;
        let mut complained = false;
        loop {
            ticks.tick().await;
            let was_let_in = self.kept().let_in;
            let mut outcome = self.look();
            let changed = self.kept().let_in != was_let_in;
            if (changed || looks % LOOKS_AN_ENTRY == 0) && outcome.is_ok() {
                outcome = self.note().await;
            }
            looks += 1;
            match outcome {
                Ok(()) => complained = false,
                Err(error) if !complained => {
                    complained = true;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the room on the disk cannot be watched"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// How much room there is, and what can be done.
    pub async fn report(&self, _by: &OperatorGrant<'_>) -> Result<Report, SpaceError> {
        self.measure().await
    }

    /// What the server said last, for commands beside it; None if none has run on this data.
    pub async fn last(db: &Db) -> Result<Option<Report>, SqlError> {
        let text = db.setting(REPORT).await?;
        // One of another version says nothing.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// One look at the disk: refuses new data, or lets them in, as there is room.
    fn look(&self) -> Result<(), SpaceError> {
        let inner = &self.0;
        let disk = disk(&inner.data).map_err(SpaceError::Disk)?;
        let let_in = self.kept().let_in;
        let step = inner.reserve.judge(disk.total, disk.free, let_in);
        match step {
            Step::Stay => {}
            Step::Make => self.make_reserve(disk.total),
            Step::Shut => {
                self.let_in(false);
                inner.reserve.release();
                tracing::error!(
                    free_bytes = disk.free,
                    "the disk is full: new data are refused, and devices keep them; make room"
                );
            }
            Step::Open => {
                self.make_reserve(disk.total);
                self.let_in(true);
                tracing::info!(
                    free_bytes = disk.free,
                    "there is room again: new data are let in"
                );
            }
        }
        Ok(())
    }

    fn make_reserve(&self, total: u64) {
        if let Err(error) = self.0.reserve.make(total) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the reserve on the disk cannot be made"
            );
        }
    }

    fn let_in(&self, open: bool) {
        self.kept().let_in = open;
        self.0.series.let_in(open);
    }

    /// Enters how much is used today, and keeps the report for commands beside the server.
    async fn note(&self) -> Result<(), SpaceError> {
        let inner = &self.0;
        let disk = disk(&inner.data).map_err(SpaceError::Disk)?;
        let space = inner.series.space().await?;
        let mut history = self.history().await?;
        let used = data_bytes(&inner.data).saturating_sub(space.free_bytes);
        history.enter(Day {
            day: inner.clock.now().as_micros().div_euclid(DAY_US),
            data: used,
            disk: disk
                .total
                .saturating_sub(disk.free)
                .saturating_sub(space.free_bytes),
        });
        let report = self.measure().await?;
        let written = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
        let (history, report) = (
            written(serde_json::to_string(&history)),
            written(serde_json::to_string(&report)),
        );
        inner
            .db
            .set(&[(HISTORY, &history), (REPORT, &report)])
            .await?;
        Ok(())
    }

    async fn history(&self) -> Result<Forecast, SpaceError> {
        let text = self.0.db.setting(HISTORY).await?;
        Ok(text
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default())
    }

    async fn measure(&self) -> Result<Report, SpaceError> {
        let inner = &self.0;
        let disk = disk(&inner.data).map_err(SpaceError::Disk)?;
        let space = inner.series.space().await?;
        let now_us = inner.clock.now().as_micros();
        let growth = self.history().await?.growth();
        let left = disk.free.saturating_add(space.free_bytes);
        let full_us = growth.and_then(|growth| forecast::full_us(now_us, left, growth));
        let mut report = Report {
            at_us: now_us,
            state: State::Fine,
            total_bytes: disk.total,
            free_bytes: disk.free,
            data_bytes: data_bytes(&inner.data),
            unused_bytes: space.free_bytes,
            reserve_bytes: inner.reserve.held(),
            growth_bytes_a_day: growth,
            full_us,
            actions: Vec::new(),
        };
        let soon = now_us.saturating_add(WARN_DAYS * DAY_US);
        report.state = if !self.kept().let_in {
            State::Full
        } else if report.used_percent() >= LOW_PERCENT {
            State::Low
        } else if full_us.is_some_and(|full| full <= soon) {
            State::Filling
        } else {
            State::Fine
        };
        if report.state != State::Fine {
            report.actions = self.actions(now_us, &space).await?;
        }
        Ok(report)
    }

    /// Counting goes over every batch, so its result is used for some minutes.
    async fn actions(
        &self,
        now_us: i64,
        space: &fieldkeep_store::sql::Space,
    ) -> Result<Vec<Action>, SpaceError> {
        {
            let kept = self.kept();
            if now_us.saturating_sub(kept.counted_us) < FRESH_US {
                return Ok(kept.actions.clone());
            }
        }
        let mut actions = Vec::new();
        for hot_days in OFFERS_DAYS {
            let task = system(Task::Retention);
            for (project, frees_bytes) in self.0.series.droppable(task, hot_days).await? {
                actions.push(shorten(project, hot_days, frees_bytes));
            }
        }
        if !space.shrinks && space.free_bytes > 0 {
            actions.push(Action {
                remedy: Remedy::Rewrite,
                frees_bytes: space.free_bytes,
            });
        }
        let (files, frees_bytes) = old_copies(&self.0.data);
        if !files.is_empty() {
            actions.push(Action {
                remedy: Remedy::OldCopies { files },
                frees_bytes,
            });
        }
        actions.sort_by_key(|action| std::cmp::Reverse(action.frees_bytes));
        let mut kept = self.kept();
        kept.actions.clone_from(&actions);
        kept.counted_us = now_us;
        Ok(actions)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shorten(project: ProjectId, hot_days: u32, frees_bytes: u64) -> Action {
    Action {
        remedy: Remedy::ShortenEvidence {
            project: project.to_string(),
            hot_days,
        },
        frees_bytes,
    }
}

fn disk(data: &Path) -> std::io::Result<Disk> {
    let found = rustix::fs::statvfs(data)?;
    Ok(Disk {
        total: found.f_blocks.saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

/// The files of the data folder, its reserve left out.
fn files(data: &Path) -> impl Iterator<Item = (String, u64)> {
    let entries = std::fs::read_dir(data).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let size = entry
            .metadata()
            .ok()
            .filter(std::fs::Metadata::is_file)?
            .len();
        (!name.starts_with(reserve::FILE)).then_some((name, size))
    })
}

fn data_bytes(data: &Path) -> u64 {
    files(data).map(|(_, size)| size).sum()
}

/// What upgrades left: `series.db.before-3`.
fn old_copies(data: &Path) -> (Vec<String>, u64) {
    let mut names = Vec::new();
    let mut bytes = 0;
    for (name, size) in files(data) {
        if name.contains(".db.before-") {
            names.push(name);
            bytes += size;
        }
    }
    names.sort();
    (names, bytes)
}
