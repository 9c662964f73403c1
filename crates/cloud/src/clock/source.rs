//! Where the time comes from: the machine, or a test's hand.
//!
//! The one file that may call the standard library's clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(test)]
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use fieldkeep_protocol::time::Timestamp;

#[derive(Clone, Debug)]
pub(super) enum Source {
    System {
        started: Instant,
    },
    #[cfg(test)]
    Manual {
        start: i64,
        now: Arc<AtomicI64>,
    },
}

impl Source {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    pub(super) fn system() -> Self {
        Self::System {
            started: Instant::now(),
        }
    }

    #[cfg(test)]
    pub(super) fn manual(start: Timestamp) -> (Self, Hands) {
        let now = Arc::new(AtomicI64::new(start.as_micros()));
        let source = Self::Manual {
            start: start.as_micros(),
            now: Arc::clone(&now),
        };
        (source, Hands(now))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    pub(super) fn now(&self) -> Timestamp {
        match self {
            Self::System { .. } => {
                let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
                    Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
                    Err(before) => i64::try_from(before.duration().as_micros())
                        .map_or(i64::MIN, |micros| -micros),
                };
                Timestamp::from_micros(micros)
            }
            #[cfg(test)]
            Self::Manual { now, .. } => Timestamp::from_micros(now.load(Ordering::SeqCst)),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        match self {
            Self::System { started } => started.elapsed(),
            #[cfg(test)]
            Self::Manual { start, now } => {
                let micros = now.load(Ordering::SeqCst).saturating_sub(*start);
                Duration::from_micros(u64::try_from(micros).unwrap_or(0))
            }
        }
    }
}

/// Moves a manual [`Clock`](super::Clock).
#[cfg(test)]
#[derive(Clone, Debug)]
pub struct Hands(Arc<AtomicI64>);

#[cfg(test)]
impl Hands {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.0.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.as_micros(), Ordering::SeqCst);
    }
}
