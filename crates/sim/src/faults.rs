//! A disk that fails when it is told to: libfiu between a program and the C library (Debian's `fiu-utils`).
//!
//! SQLite writes through the C library's `pwrite64` and `fsync`, which libfiu answers in its place. Only the program that
//! was started with it is concerned.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use tokio::process::Command;

/// How the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// Writes find no room (ENOSPC).
    Full,
    /// Writes fail (EIO).
    Write,
    /// What was written cannot be made durable (EIO).
    Sync,
}

impl DiskFault {
    /// The failure point and the system's error number.
    fn point(self) -> (&'static str, u32) {
        match self {
            Self::Full => ("posix/io/rw/pwrite", 28),
            Self::Write => ("posix/io/rw/pwrite", 5),
            Self::Sync => ("posix/io/sync/fsync", 5),
        }
    }
}

/// The pipes through which a program's disk is told to fail.
pub(crate) struct Faults {
    pipes: PathBuf,
}

impl Faults {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            pipes: folder.join("faults"),
        }
    }

    /// The program with libfiu around it.
    pub(crate) fn command(&self, program: &Path) -> Result<Command> {
        if !Path::new("/usr/lib/fiu/fiu_posix_preload.so").exists() {
            bail!("fiu-utils is missing: run `cargo xtask setup --tests`");
        }
        let mut command = Command::new("fiu-run");
        command.arg("-x").arg("-f").arg(&self.pipes).arg(program);
        Ok(command)
    }

    pub(crate) async fn set(&self, process: u32, how: Option<DiskFault>) -> Result<()> {
        let mut orders = Vec::new();
        for fault in [DiskFault::Full, DiskFault::Sync] {
            orders.push(format!("disable name={}", fault.point().0));
        }
        if let Some(fault) = how {
            let (point, number) = fault.point();
            orders.push(format!("enable name={point},failinfo={number}"));
        }
        for order in orders {
            let done = Command::new("fiu-ctrl")
                .arg("-f")
                .arg(&self.pipes)
                .args(["-c", &order, &process.to_string()])
                .output()
                .await?;
            // Switching off what was never on is refused, and as good.
            ensure!(
                done.status.success() || order.starts_with("disable"),
                "fiu-ctrl {order}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        Ok(())
    }
}
