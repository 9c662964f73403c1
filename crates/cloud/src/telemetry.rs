//! Logs to standard error, so that standard output stays for what a command answers.
//!
//! Levels: ERROR means that a person should act. Never secrets, payloads, addresses or e-mails.

use std::io::IsTerminal as _;

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
