//! Where the time comes from: the machine, or a test's hand.
//!
//! The one file that may call the standard library's clocks.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(any(test, feature = "test-support"))]
use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU8, Ordering},
};

use fieldkeep_protocol::time::Timestamp;

#[derive(Clone, Debug)]
pub(super) enum Source {
    System {
        started: Instant,
    },
    #[cfg(any(test, feature = "test-support"))]
    Manual {
        start: i64,
        now: Arc<AtomicI64>,
        /// 0: nobody says, 1: no, 2: yes.
        synchronised: Arc<AtomicU8>,
    },
}

/// Where systemd-timesyncd says that it runs, and that it has set the clock.
const TIME_SERVICE: &str = "/run/systemd/timesync";

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

    #[cfg(any(test, feature = "test-support"))]
    pub(super) fn manual(start: Timestamp) -> (Self, Hands) {
        let now = Arc::new(AtomicI64::new(start.as_micros()));
        let synchronised = Arc::new(AtomicU8::new(0));
        let source = Self::Manual {
            start: start.as_micros(),
            now: Arc::clone(&now),
            synchronised: Arc::clone(&synchronised),
        };
        (source, Hands { now, synchronised })
    }

    pub(super) fn synchronised(&self) -> Option<bool> {
        match self {
            Self::System { .. } => {
                let service = Path::new(TIME_SERVICE);
                service
                    .exists()
                    .then(|| service.join("synchronized").exists())
            }
            #[cfg(any(test, feature = "test-support"))]
            Self::Manual { synchronised, .. } => match synchronised.load(Ordering::SeqCst) {
                0 => None,
                said => Some(said == 2),
            },
        }
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
            #[cfg(any(test, feature = "test-support"))]
            Self::Manual { now, .. } => Timestamp::from_micros(now.load(Ordering::SeqCst)),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        match self {
            Self::System { started } => started.elapsed(),
            #[cfg(any(test, feature = "test-support"))]
            Self::Manual { start, now, .. } => {
                let micros = now.load(Ordering::SeqCst).saturating_sub(*start);
                Duration::from_micros(u64::try_from(micros).unwrap_or(0))
            }
        }
    }
}

/// Moves a manual [`Clock`](super::Clock).
#[cfg(any(test, feature = "test-support"))]
#[derive(Clone, Debug)]
pub struct Hands {
    now: Arc<AtomicI64>,
    synchronised: Arc<AtomicU8>,
}

#[cfg(any(test, feature = "test-support"))]
impl Hands {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.now.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, to: Timestamp) {
        self.now.store(to.as_micros(), Ordering::SeqCst);
    }

    /// Lets the system's time service say whether it has set the clock.
    pub fn synchronise(&self, said: bool) {
        self.synchronised
            .store(1 + u8::from(said), Ordering::SeqCst);
    }
}
