//! How far a backup or a restore is, for whoever waits for it; and the word to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not begun.
    Waiting,
    /// From the databases into the archive.
    Copying,
    /// The archive is read back.
    Verifying,
    /// From the archive into new databases.
    Filling,
    /// The new databases are read.
    Checking,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Copying,
        Self::Verifying,
        Self::Filling,
        Self::Checking,
    ];

    /// As a person reads it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Copying => "copying",
            Self::Verifying => "reading back",
            Self::Filling => "restoring",
            Self::Checking => "checking",
        }
    }
}

/// Counts rows and bytes of the stage that is going on.
#[derive(Debug, Default)]
pub struct Progress {
    stage: AtomicU8,
    rows: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    /// Stage, rows and bytes so far.
    pub fn read(&self) -> (Stage, u64, u64) {
        let stage = usize::from(self.stage.load(Ordering::Relaxed));
        (
            Stage::ALL.get(stage).copied().unwrap_or(Stage::Waiting),
            self.rows.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.rows.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    pub(super) fn add(&self, rows: usize, bytes: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Tells the thread that does the work to stop when whoever waits for it goes away.
    pub(super) fn stop_on_drop(self: &Arc<Self>) -> StopOnDrop {
        StopOnDrop(Arc::clone(self))
    }
}

pub(super) struct StopOnDrop(Arc<Progress>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}
