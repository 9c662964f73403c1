//! The only readings of time, and times as text.
//!
//! Owns the one call to the system's clock; everything else gets a [`Clock`] handed in, so that tests
//! move time by hand. [`rfc3339`] is how times look outside the program.
//! [`trust`] judges whether the system's clock can be right; whoever has stored data to compare it with asks.

mod source;

pub mod rfc3339;
pub mod trust;

use std::time::Duration;

use fieldkeep_protocol::time::Timestamp;

#[cfg(any(test, feature = "test-support"))]
pub use source::Hands;

/// Tells the time. Cheap to clone; all clones tell the same.
#[derive(Clone, Debug)]
pub struct Clock(source::Source);

impl Clock {
    /// The machine's own clock.
    pub fn system() -> Self {
        Self(source::Source::system())
    }

    /// A clock that stands at `start` until its [`Hands`] are moved.
    #[cfg(any(test, feature = "test-support"))]
    pub fn manual(start: Timestamp) -> (Self, Hands) {
        let (source, hands) = source::Source::manual(start);
        (Self(source), hands)
    }

    /// The wall clock, which may jump either way.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Whether the system's time service has set the clock; `None` where no service says.
    pub fn synchronised(&self) -> Option<bool> {
        self.0.synchronised()
    }

    /// Time since this clock was made; never runs backwards, whatever happens to the wall clock.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
