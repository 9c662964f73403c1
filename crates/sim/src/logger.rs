//! A datalogger as a process: enrolled, configured, started, killed, asked for its status.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};

/// One logger with its folder.
pub struct Logger {
    /// Identity, configuration and journal.
    pub folder: PathBuf,
    child: Option<Child>,
}

impl Logger {
    /// A logger that keeps everything in `folder`, configured by `configuration` (TOML).
    pub fn new(folder: &Path, configuration: &str) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("logger.toml"), configuration)?;
        Ok(Self {
            folder: folder.to_owned(),
            child: None,
        })
    }

    /// Enrols with a claim line.
    pub async fn enrol(&self, line: &str) -> Result<()> {
        let output = Command::new(crate::program("fieldkeep-logger"))
            .args(["enroll", line, "--dir"])
            .arg(&self.folder)
            .output()
            .await?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "enroll: {} {error}", output.status);
        Ok(())
    }

    /// Starts sampling and sending.
    pub fn start(&mut self) -> Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("logger.log"))?;
        let child = Command::new(crate::program("fieldkeep-logger"))
            .args(["run", "--dir"])
            .arg(&self.folder)
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// The process id while it runs.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.take().context("the logger runs")?.kill().await?;
        Ok(())
    }

    /// SIGTERM; the exit must be clean.
    pub async fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the logger runs")?;
        let status = terminate(&mut child).await?;
        ensure!(status.success(), "the logger stopped with {status}");
        Ok(())
    }

    /// What `status --json` says.
    pub async fn status(&self) -> Result<Value> {
        let output = Command::new(crate::program("fieldkeep-logger"))
            .args(["status", "--json", "--dir"])
            .arg(&self.folder)
            .output()
            .await?;
        serde_json::from_slice(&output.stdout).context("the logger's status")
    }
}

/// Sends SIGTERM and waits.
pub(crate) async fn terminate(child: &mut Child) -> Result<ExitStatus> {
    let process = child.id().context("the process runs")?;
    let sent = Command::new("kill")
        .args(["-TERM", &process.to_string()])
        .status()
        .await?;
    ensure!(sent.success(), "cannot signal {process}");
    Ok(child.wait().await?)
}
