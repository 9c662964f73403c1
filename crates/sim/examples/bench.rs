//! One run of the bench: `make bench` builds and starts it. Prints the table; with `--document` it also goes there.
//!
//! Everything that it starts ends with it, and its folder goes, whether it succeeds, fails, or is interrupted.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fieldkeep_sim::load::course::{self, Plan};
use fieldkeep_sim::load::questions::Size;
use fieldkeep_sim::load::{report::Report, tls};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
Usage: bench [--quick] [--document FILE] [--folder DIR] [--python FILE] [--hourly FILE] [--host-seconds N] [--keep]

  --quick           fewer devices and repetitions: within ten minutes
  --document FILE   write the table into this document, between its markers
  --folder DIR      where to put what is measured: on a real disk (default: the folder for temporary files)
  --python FILE     a Python that has chdb
  --hourly FILE     the hourly data of a real station
  --host-seconds N  how long to record this machine's sensors
  --keep            leave the folder, with the logs in it";

struct Arguments {
    size: Size,
    document: Option<PathBuf>,
    folder: PathBuf,
    python: Option<PathBuf>,
    hourly: Option<PathBuf>,
    keep: bool,
}

fn main() -> ExitCode {
    match act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let [word, folder] = given.as_slice()
        && word == tls::BARE
    {
        return runtime.block_on(tls::serve_bare(Path::new(folder)));
    }
    if given.iter().any(|word| word == "--help" || word == "-h") {
        println!("{HELP}");
        return Ok(());
    }
    let arguments = parse(given)?;
    raise_file_limit();
    let folder = tempfile::Builder::new()
        .prefix("fieldkeep-bench-")
        .tempdir_in(&arguments.folder)
        .with_context(|| format!("no folder can be made in {}", arguments.folder.display()))?;
    course::refuse_memory(folder.path())?;
    let plan = Plan {
        size: arguments.size,
        folder: folder.path().to_owned(),
        python: arguments.python,
        hourly: arguments.hourly,
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = course::run(&plan) => outcome,
            () = interrupted() => bail!("interrupted"),
        }
    });
    // Whatever was still running was told to end when the run was dropped.
    runtime.shutdown_timeout(Duration::from_secs(5));
    let kept = folder.keep();
    if arguments.keep {
        eprintln!("bench: kept {}", kept.display());
    } else {
        remove(&kept)?;
    }
    show(&outcome?, arguments.document.as_deref())
}

fn show(report: &Report, document: Option<&Path>) -> Result<()> {
    println!("{}", report.markdown());
    if let Some(document) = document {
        report.write(document)?;
        println!("Written to {}.", document.display());
    }
    Ok(())
}

fn parse(given: Vec<String>) -> Result<Arguments> {
    let mut arguments = Arguments {
        size: Size::FULL,
        document: None,
        folder: std::env::temp_dir(),
        python: None,
        hourly: None,
        keep: false,
    };
    let mut host_s = None;
    let mut words = given.into_iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value\n\n{HELP}"))
        };
        match word.as_str() {
            "--quick" => arguments.size = Size::QUICK,
            "--keep" => arguments.keep = true,
            "--document" => arguments.document = Some(value()?.into()),
            "--folder" => arguments.folder = value()?.into(),
            "--python" => arguments.python = Some(std::path::absolute(value()?)?),
            "--hourly" => arguments.hourly = Some(value()?.into()),
            "--host-seconds" => host_s = Some(value()?.parse()?),
            _ => bail!("unknown argument {word:?}\n\n{HELP}"),
        }
    }
    if let Some(host_s) = host_s {
        arguments.size.host_s = host_s;
    }
    Ok(arguments)
}

/// Thousands of connections need as many files, here and in the programs that are started.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("bench: the limit of open files stays: {error}");
    }
}

async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Programs that were killed a moment ago may still be writing.
fn remove(folder: &Path) -> Result<()> {
    for _ in 0..50 {
        if std::fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    bail!("{} could not be removed", folder.display())
}
