//! Owns the logger's only readings of time. Everything else is told what time it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::clock::Reading;

/// The system's clocks, with a start of their own for the ticks.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    skew_us: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clocks; ticks begin here.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the monotonic clock"
    )]
    pub fn system() -> Clock {
        Clock {
            start: Instant::now(),
            skew_us: Arc::default(),
        }
    }

    /// Reads both clocks.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clocks"
    )]
    pub fn read(&self) -> Reading {
        let ticks = Instant::now().saturating_duration_since(self.start);
        let wall_us = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Reading {
            wall_us: wall_us.saturating_add(self.skew_us.load(Ordering::Relaxed)),
            ticks_us: u64::try_from(ticks.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// Makes the wall clock, and all clones of it, wrong by so much: how tests step or unset a clock.
    pub fn skew(&self, by_us: i64) {
        self.skew_us.store(by_us, Ordering::Relaxed);
    }
}
