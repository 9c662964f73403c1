//! Logs to standard error, so that standard output stays for what a command answers.
//!
//! Levels: ERROR means that a person should act. Never secrets, payloads, addresses or e-mails. What strangers can make
//! the log say is said [`Sparing`]ly.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// What is logged, in the syntax of `tracing` filters: `info,fieldkeep_cloud::ingest=debug`.
const VARIABLE: &str = "FIELDKEEP_LOG";

/// Sends the process's log to standard error, filtered by `$FIELDKEEP_LOG` where it is set, else by `standard`. A
/// second call changes nothing.
///
/// # Errors
/// What is wrong with the filter, for the person who wrote it.
pub fn start(standard: &str) -> Result<(), String> {
    let filter = std::env::var(VARIABLE).unwrap_or_else(|_| standard.to_owned());
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("{VARIABLE}: {error}"))?;
    let installed = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(true)
        .try_init();
    // The only reason to fail is that a log is already there, as in tests that start two clouds.
    drop(installed);
    Ok(())
}

const LINES: u32 = 20;
const LINES_PER: Duration = Duration::from_secs(10);

/// A bound on the lines that others can cause: 20 in 10 seconds, the rest is counted.
#[derive(Debug, Default)]
pub struct Sparing(Mutex<Spared>);

#[derive(Debug, Default)]
struct Spared {
    lines: u32,
    since: Duration,
    unlogged: u64,
}

impl Sparing {
    /// Whether a line may be logged `now`, by a clock that never runs back; if so, how many were not since the last.
    pub fn may_log(&self, now: Duration) -> Option<u64> {
        let mut spared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= spared.since + LINES_PER {
            spared.since = now;
            spared.lines = 0;
        }
        if spared.lines >= LINES {
            spared.unlogged += 1;
            return None;
        }
        spared.lines += 1;
        Some(std::mem::take(&mut spared.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_later() {
        let sparing = Sparing::default();
        let logged = (0..LINES + 5).filter_map(|_| sparing.may_log(Duration::ZERO));
        assert_eq!(logged.count(), LINES as usize);
        assert_eq!(sparing.may_log(LINES_PER), Some(5));
    }
}
