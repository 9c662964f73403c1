//! Owns the logger's only readings of time. Everything else is told what time it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::clock::Reading;

/// The system's clocks, with a start of their own for the ticks.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Duration,
    skew_us: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clocks; ticks begin here.
    pub fn system() -> Clock {
        Clock {
            start: since_boot(),
            skew_us: Arc::default(),
        }
    }

    /// Reads both clocks.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    pub fn read(&self) -> Reading {
        let ticks = since_boot().saturating_sub(self.start);
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

/// Time passes for a machine that sleeps, too: with a clock that stood still meanwhile, waking up would look like a step.
fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}
