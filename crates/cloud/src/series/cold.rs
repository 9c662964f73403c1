//! The chore that makes old times cold and stale ones anew, so that the store stays small and fast.
//!
//! It never holds up ingest, and what it was doing when the server ends is done by the next one.

use std::time::Duration;

use fieldkeep_store::{Compacted, StoreError};
use tokio::time::{MissedTickBehavior, interval};

use super::Series;

/// How often is looked for windows that have closed and for marks.
const EVERY: Duration = Duration::from_secs(60);
/// Windows of one round; between two rounds others get their turn.
const WINDOWS: usize = 16;

impl Series {
    /// Works at once and then every minute until there is nothing left to do; runs until it is dropped. A failure is
    /// logged once and tried again.
    pub async fn run(&self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            ticks.tick().await;
            while self.compact(&mut failing).await {
                tokio::task::yield_now().await;
            }
        }
    }

    /// One round.
    pub(crate) async fn make_cold(&self) -> Result<Compacted, StoreError> {
        self.store.compact(self.clock.now(), WINDOWS).await
    }

    /// One round; whether there is more to do at once.
    async fn compact(&self, failing: &mut bool) -> bool {
        match self.make_cold().await {
            Ok(done) => {
                *failing = false;
                if done.moved + done.renewed > 0 {
                    tracing::debug!(
                        moved = done.moved,
                        renewed = done.renewed,
                        "windows made cold"
                    );
                }
                done.left && done.moved + done.renewed > 0
            }
            Err(error) => {
                if !*failing {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "times cannot be made cold; it is tried again every minute"
                    );
                }
                *failing = true;
                false
            }
        }
    }
}
