//! The demo's two loggers as child processes: enrolled, started, watched, stopped.
//!
//! Talks to them only as any operator could: command line, signals, output.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use fieldkeep_protocol::{DeviceId, ProjectId};
use tokio::process::{Child, Command};

use crate::access::{self, Task};
use crate::pki::{Endpoints, NewClaim};
use crate::serve::Base;

/// What one logger of the demo is.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) folder: &'static str,
    name: &'static str,
    simulated: bool,
    configuration: &'static str,
}

/// This machine, and a river station that is labelled as simulated.
pub(super) fn plans() -> [Plan; 2] {
    [
        Plan {
            folder: "this-machine",
            name: "This machine",
            simulated: false,
            configuration: include_str!("this-machine.toml"),
        },
        Plan {
            folder: "river",
            name: "River station (simulated)",
            simulated: true,
            configuration: include_str!("river.toml"),
        },
    ]
}

/// What loggers did while they ran.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) sampled: u64,
    pub(super) acknowledged: u64,
}

pub(super) struct Logger {
    plan: Plan,
    folder: PathBuf,
    child: Option<Child>,
}

impl Logger {
    pub(super) fn new(plan: Plan, folder: PathBuf) -> Self {
        Self {
            plan,
            folder,
            child: None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.plan.name
    }

    /// Enrols through a claim unless the folder holds a certificate from an earlier start.
    pub(super) async fn enrol(&self, base: &Base, project: ProjectId) -> Result<&'static str> {
        let known = self.folder.join("device.toml");
        if known.exists() {
            let endpoints = base.pki.endpoints().await?;
            let endpoints = endpoints.context("the cloud has no address for devices")?;
            let text = readdressed(&tokio::fs::read_to_string(&known).await?, &endpoints);
            let new = self.folder.join("device.toml.new");
            tokio::fs::write(&new, text).await?;
            tokio::fs::rename(&new, &known).await?;
            return Ok("enrolled before");
        }
        tokio::fs::create_dir_all(&self.folder).await?;
        tokio::fs::write(self.folder.join("logger.toml"), self.plan.configuration).await?;
        let session = access::system(Task::Demo).project(project);
        let new = NewClaim {
            name: self.plan.name.to_owned(),
            simulated: self.plan.simulated,
            location: None,
        };
        let claim = base.pki.create_claim(&session.grant(), new).await?;
        let output = Command::new(program()?)
            // What an enrolment that was cut short left behind is kept aside.
            .args(["enroll", claim.line.as_str(), "--force", "--dir"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot start fieldkeep-logger")?;
        if !output.status.success() {
            bail!(
                "enrolling {} failed: {}",
                self.plan.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok("enrolled with its own certificate")
    }

    pub(super) async fn start(&mut self) -> Result<()> {
        let log = tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("logger.log"))
            .await?
            .into_std()
            .await;
        // The logger's input stays open as long as the demo lives: where the demo is killed, its loggers end too.
        let child = Command::new(program()?)
            .args(["run", "--json", "--stop-with-stdin", "--dir"])
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start fieldkeep-logger")?;
        self.child = Some(child);
        Ok(())
    }

    /// Why the logger is not running, if it ended by itself.
    pub(super) fn ended(&mut self) -> Option<anyhow::Error> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        let log = self.folder.join("logger.log");
        Some(anyhow!(
            "logger {} ended with {status}: see {}",
            self.plan.name,
            log.display()
        ))
    }

    /// Asks the logger to deliver and end, and reads its summary.
    pub(super) async fn stop(&mut self, within: Duration) -> Result<Sums> {
        let mut child = self.child.take().context("the logger was not started")?;
        drop(child.stdin.take());
        let output = tokio::time::timeout(within, child.wait_with_output())
            .await
            .with_context(|| format!("logger {} did not stop in time", self.plan.name))??;
        summary(&String::from_utf8_lossy(&output.stdout))
            .with_context(|| format!("logger {} printed no summary", self.plan.name))
    }

    pub(super) fn device(&self) -> Result<DeviceId> {
        device(&self.folder)
    }
}

/// A logger's `device.toml` with the addresses of this start: the ports may be others than before, and the name too.
fn readdressed(text: &str, endpoints: &Endpoints) -> String {
    let line = |line: &str| match line.split(' ').next() {
        Some("mqtt") => format!("mqtt = \"{}\"\n", endpoints.mqtt),
        Some("https") => format!("https = \"{}\"\n", endpoints.device),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn summary(output: &str) -> Option<Sums> {
    let line: serde_json::Value = serde_json::from_str(output.lines().last()?).ok()?;
    Some(Sums {
        sampled: line["sampled"].as_u64()?,
        acknowledged: line["acknowledged"].as_u64()?,
    })
}

fn device(folder: &Path) -> Result<DeviceId> {
    let text = std::fs::read_to_string(folder.join("device.toml"))?;
    let table: toml::Table = text.parse().context("device.toml is damaged")?;
    let id = table
        .get("device")
        .and_then(toml::Value::as_str)
        .context("device.toml names no device")?;
    id.parse()
        .map_err(|_| anyhow!("device.toml names {id:?}, which is no device"))
}

/// `fieldkeep-logger` beside this program.
fn program() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("fieldkeep-logger");
    if !path.exists() {
        bail!(
            "fieldkeep-logger is not beside fieldkeep: build both (`cargo build --workspace --bins`)"
        );
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logger_follows_the_cloud_to_other_ports() {
        let before =
            "device = \"d\"\nproject = \"p\"\nmqtt = \"localhost:1\"\nhttps = \"localhost:2\"\n";
        let endpoints = Endpoints {
            device: "vm:4".to_owned(),
            mqtt: "vm:3".to_owned(),
        };
        let after = "device = \"d\"\nproject = \"p\"\nmqtt = \"vm:3\"\nhttps = \"vm:4\"\n";
        assert_eq!(readdressed(before, &endpoints), after);
    }
}
