//! Logs to standard error, so that standard output stays for what a command answers.
//!
//! Levels: ERROR means that a person should act. Never secrets, payloads, addresses or e-mails.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Sends the process's log to standard error. `filter` has the syntax of `RUST_LOG`
/// (`info,fieldkeep_cloud::ingest=debug`). A second call changes nothing.
///
/// # Errors
/// What is wrong with the filter, for the person who wrote it.
pub fn start(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
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
