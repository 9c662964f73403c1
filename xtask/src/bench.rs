//! `cargo xtask bench`: installs the peers, builds a release, and becomes the run that measures them all.
//!
//! A peer that cannot be had is reported here and named as missing in the table; nothing that is already there needs
//! the network.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{setup, shell, web};

/// Debian packages, each with the program that shows whether it is there.
const PEERS: [(&str, &str); 3] = [
    ("victoria-metrics", "/usr/bin/victoria-metrics"),
    ("influxdb", "/usr/bin/influxd"),
    ("mosquitto", "/usr/sbin/mosquitto"),
];
/// ClickHouse inside a Python package.
const CHDB: &str = "chdb==4.*";
const HOURLY: &str = "../shared/data/beijing-pm25-hourly.csv";

/// Installs, builds, and becomes the bench.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    println!("1/3 Looking for the peers …");
    peers();
    let python = chdb();
    println!("2/3 Building (some minutes the first time) …");
    setup::run(false)?;
    if !shell::root().join("web/dist/index.html").exists() {
        web::build()?;
    }
    shell::run(
        shell::cargo()
            .args(["build", "--release", "--locked"])
            .args(["-p", "fieldkeep-cloud", "-p", "fieldkeep-sim"])
            .args(["--bin", "fieldkeep", "--example", "bench"]),
    )?;
    println!("3/3 Measuring …");
    let mut bench = shell::command(shell::target().join("release/examples/bench"));
    bench
        .arg("--document")
        .arg(shell::root().join("docs/benchmarks.md"))
        // Temporary files may be in memory, where a sync costs nothing.
        .arg("--folder")
        .arg(shell::target());
    if let Some(python) = python {
        bench.arg("--python").arg(python);
    }
    let hourly = shell::root().join(HOURLY);
    if hourly.exists() {
        bench.arg("--hourly").arg(hourly);
    }
    bench.args(arguments);
    use std::os::unix::process::CommandExt as _;
    // On success this never returns: Ctrl-C and the exit status are the bench's own.
    Err(bench.exec()).context("cannot start the bench")
}

fn peers() {
    let missing: Vec<&str> = PEERS
        .iter()
        .filter(|(_, program)| !Path::new(program).exists())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return;
    }
    if let Err(error) = setup::install(&missing) {
        eprintln!("bench: goes on without {}: {error:#}", missing.join(", "));
        return;
    }
    // Debian starts what it installs; the bench starts its own, on ports of its own.
    if Path::new("/run/systemd/system").exists() {
        for package in missing {
            let stop = ["disable", "--now", package];
            if !shell::succeeds("systemctl", &stop) {
                eprintln!("bench: could not stop the service {package}");
            }
        }
    }
}

/// The Python of a virtual environment with ClickHouse in it.
fn chdb() -> Option<PathBuf> {
    let venv = shell::root().join(".tools/chdb");
    let python = venv.join("bin/python");
    let has_it = || shell::succeeds(&python.to_string_lossy(), &["-c", "import chdb"]);
    if has_it() {
        return Some(python);
    }
    println!("setup: ClickHouse ({CHDB}) into .tools/");
    let install = || -> Result<()> {
        if !shell::succeeds("python3", &["-c", "import ensurepip, venv"]) {
            setup::install(&["python3", "python3-venv"])?;
        }
        shell::run(shell::command("python3").args(["-m", "venv"]).arg(&venv))?;
        shell::run(shell::command(venv.join("bin/pip")).args(["install", "--quiet", CHDB]))
    };
    match install() {
        Ok(()) if has_it() => Some(python),
        Ok(()) => None,
        Err(error) => {
            eprintln!("bench: goes on without ClickHouse: {error:#}");
            None
        }
    }
}
