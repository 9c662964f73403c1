//! `fieldkeep backup` and `fieldkeep restore`: what a person types, and what they see meanwhile.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Failure, Place};
use crate::access::{self, Task};
use crate::backup::{self, BackupError, Progress, RecoveryKey, RestoreOrder};
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::serve::{Base, master_key_path};

/// Who waits longer than this is told how far it is, and again as often.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Longer than any file of recovery keys.
const KEY_FILE_LIMIT: u64 = 64 * 1024;

/// Write a backup, encrypted to the recovery key, and read it back
///
/// Works beside a running server; ingest goes on. The recovery key is made once, by `fieldkeep admin recovery-kit`.
///
/// Examples:
///   fieldkeep backup --to /mnt/backup/fieldkeep --data /var/lib/fieldkeep
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct BackupArguments {
    #[command(flatten)]
    place: Place,
    /// The folder that it goes to: on another disk, or another machine's that is mounted here
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Remove data archives older than so many days, at least 31 [default: keep all]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(31..=36_500))]
    keep_days: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Make an instance out of a backup and the recovery key
///
/// Fills an empty folder, with a new master key, and says yes only after everything was compared and opened.
///
/// Examples:
///   fieldkeep restore --from /mnt/backup/fieldkeep --data DIR --master-key FILE --recovery-key paper.txt
///   fieldkeep restore --from fieldkeep-1a2b3c4d-20261124T023000Z-data.age --data DIR --recovery-key -
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RestoreArguments {
    #[command(flatten)]
    place: Place,
    /// A folder of backups, whose newest is taken, or one data archive
    #[arg(long, value_name = "DIR|FILE")]
    from: PathBuf,
    /// The key archive, where it does not lie beside the data archive
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// A file with the recovery key (a line AGE-SECRET-KEY-1…), or - to type it
    #[arg(long, value_name = "FILE|-")]
    recovery_key: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        if error.is_usage() {
            Self::Usage(error.into())
        } else {
            Self::Failed(error.into())
        }
    }
}

pub(super) async fn backup(arguments: BackupArguments) -> Result<(), Failure> {
    let mut config = Config::default();
    arguments.place.apply(&mut config);
    let base = Base::existing(&config, Clock::system()).await?;
    let task = access::system(Task::AdminCommand);
    let operator = task.operator();
    let progress = Arc::new(Progress::default());
    let making = base
        .backup
        .make(&operator, &arguments.to, arguments.keep_days, &progress);
    let done = watched(making, &progress, arguments.json).await?;
    let json = json!({
        "data": done.path, "keys": done.keys, "made": rfc3339::format(done.made), "bytes": done.bytes,
        "series": done.series, "batches": done.batches, "records": done.records,
    });
    if arguments.json {
        super::print_line(&json.to_string());
    } else {
        super::print_line(&format!(
            "{}\n{}\n{} series, {} batches, {} records, {}: read back and equal",
            done.path.display(),
            done.keys.display(),
            done.series,
            done.batches,
            done.records,
            size(done.bytes)
        ));
    }
    Ok(())
}

pub(super) async fn restore(arguments: RestoreArguments) -> Result<(), Failure> {
    let mut config = Config::default();
    arguments.place.apply(&mut config);
    if arguments.place.data.is_none() {
        return Err(Failure::Usage(anyhow!(
            "where to? Name a new folder with --data DIR"
        )));
    }
    let master_key = master_key_path(&config)?;
    let order = RestoreOrder {
        from: arguments.from,
        keys: arguments.keys,
        data: config.data.clone(),
        master_key: master_key.clone(),
        recovery_key: recovery_key(&arguments.recovery_key)?,
    };
    let progress = Arc::new(Progress::default());
    let restoring = backup::restore(order, Clock::system(), &progress);
    let done = watched(restoring, &progress, arguments.json).await?;
    if arguments.json {
        let json = json!({
            "instance": done.instance, "from": done.from, "made": rfc3339::format(done.made),
            "series": done.series, "batches": done.batches, "records": done.records,
            "opened": done.opened, "erased_series": done.erased,
            "data": config.data, "master_key": master_key, "master_key_id": done.master_key.to_string(),
        });
        super::print_line(&json.to_string());
        return Ok(());
    }
    let erased = match done.erased {
        0 => String::new(),
        some => format!("\n{some} series belong to projects that were erased, and stay unreadable"),
    };
    let made = if done.new_master_key { "new " } else { "" };
    super::print_line(&format!(
        "Instance {} as of {}, from {}\n{} series, {} batches, {} records: all equal to the backup, {} payloads opened{erased}\n\
         The {made}master key {} is in {}: keep a copy of it apart from the data\n\
         It is closed: nobody gets in yet. When the instance it stands for runs no more: \
         fieldkeep admin open --data {} --master-key {}\n\
         Next: fieldkeep serve --data {} --master-key {} --name HOST",
        done.instance,
        rfc3339::format(done.made),
        done.from.display(),
        done.series,
        done.batches,
        done.records,
        done.opened,
        done.master_key,
        master_key.display(),
        config.data.display(),
        master_key.display(),
        config.data.display(),
        master_key.display(),
    ));
    Ok(())
}

fn recovery_key(path: &Path) -> Result<RecoveryKey, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(KEY_FILE_LIMIT)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(KEY_FILE_LIMIT).read_to_string(&mut text))
    };
    read.with_context(|| format!("the recovery key cannot be read from {}", path.display()))
        .map_err(Failure::Usage)?;
    Ok(RecoveryKey::parse(&text)?)
}

/// Waits for the work, and says on standard error how far it is.
async fn watched<T>(
    work: impl Future<Output = Result<T, BackupError>>,
    progress: &Progress,
    quiet: bool,
) -> Result<T, BackupError> {
    let mut work = Box::pin(work);
    loop {
        tokio::select! {
            outcome = &mut work => return outcome,
            () = tokio::time::sleep(TELL_EVERY) => {
                let (stage, rows, bytes) = progress.read();
                if !quiet {
                    eprintln!("{}: {rows} rows, {}", stage.word(), size(bytes));
                }
            }
        }
    }
}

fn size(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
