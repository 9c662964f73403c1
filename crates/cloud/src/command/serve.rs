//! `fieldkeep serve`: the cloud in the foreground until it is told to stop.

use std::path::{Path, PathBuf};

use super::{Failure, Listen, Place};
use crate::clock::Clock;
use crate::config::{Config, UnknownKeys};
use crate::serve::Running;

/// Run the cloud on one data folder
///
/// The first start makes the folder's keys and certificates. Logs go to standard error.
///
/// Examples:
///   fieldkeep serve --data /var/lib/fieldkeep --name cloud.example.org
///   fieldkeep serve --data DIR --https 127.0.0.1:0 --device 127.0.0.1:0 --mqtt 127.0.0.1:0 --json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    listen: Listen,
    /// Settings (TOML); `cloud/config.default.toml` explains each
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start although the settings hold keys that this version does not know; each is reported
    #[arg(long)]
    accept_unknown_keys: bool,
    /// Print one JSON line with the addresses when ready
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = match &arguments.config {
        Some(path) => load(path, arguments.accept_unknown_keys)?,
        None => Config::default(),
    };
    arguments.place.apply(&mut config);
    arguments.listen.apply(&mut config);
    let mut interrupt = super::Interrupt::listen()?;
    let running = Running::start(config, Clock::system()).await?;
    if arguments.json {
        super::print_line(&running.ready().to_string());
    } else {
        super::print_line(&format!("Ready: https://{}", running.authority()));
    }
    interrupt.told().await;
    running.stop().await;
    Ok(())
}

fn load(path: &Path, accept_unknown_keys: bool) -> Result<Config, Failure> {
    let unknown = if accept_unknown_keys {
        UnknownKeys::Report
    } else {
        UnknownKeys::Refuse
    };
    let loaded = Config::load(path, unknown)?;
    for key in &loaded.ignored {
        tracing::warn!(key, file = %path.display(), "setting is not known and ignored");
    }
    Ok(loaded.config)
}
