//! The cloud as a process: started, asked, killed, started again on the same ports and data.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::faults::{DiskFault, Faults};

/// One instance, running or not.
pub struct Cloud {
    folder: PathBuf,
    addresses: Option<[SocketAddr; 3]>,
    child: Option<Child>,
    faults: Option<Faults>,
    settings: Option<String>,
}

impl Cloud {
    /// An instance that will keep everything below `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            addresses: None,
            child: None,
            faults: None,
            settings: None,
        }
    }

    /// The same, on a disk that [`disk_fails`](Self::disk_fails) can break.
    #[must_use]
    pub fn on_a_failing_disk(folder: &Path) -> Self {
        Self {
            faults: Some(Faults::new(folder)),
            ..Self::new(folder)
        }
    }

    /// The same, with a settings file of that text.
    #[must_use]
    pub fn with_settings(self, toml: &str) -> Self {
        Self {
            settings: Some(toml.to_owned()),
            ..self
        }
    }

    /// From now on the disk fails so, or no longer (None), for the process that runs.
    pub async fn disk_fails(&self, how: Option<DiskFault>) -> Result<()> {
        let faults = self.faults.as_ref().context("a failing disk")?;
        let process = self.process().context("the cloud runs")?;
        faults.set(process, how).await
    }

    /// What it has logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.join("cloud.log"))?)
    }

    /// The instance below another folder, on the same addresses: what was restored takes the place of what was lost.
    #[must_use]
    pub fn moved(&self, folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            addresses: self.addresses,
            child: None,
            faults: None,
            settings: None,
        }
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("cloud")
    }

    /// The master key, apart from the data.
    #[must_use]
    pub fn master_key(&self) -> PathBuf {
        self.folder.join("master.key")
    }

    /// The root that clients trust.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.data().join("ca.pem")
    }

    /// Where HTTPS, device and MQTT listen; the same after a restart.
    ///
    /// # Panics
    /// Before the first start.
    #[must_use]
    pub fn addresses(&self) -> [SocketAddr; 3] {
        self.addresses.expect("the cloud was started")
    }

    /// Starts it and waits for its ready line.
    pub async fn start(&mut self) -> Result<()> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let [https, device, mqtt] = self.addresses.unwrap_or([any; 3]);
        std::fs::create_dir_all(&self.folder)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("cloud.log"))?;
        let program = crate::program("fieldkeep");
        let mut command = match &self.faults {
            Some(faults) => faults.command(&program)?,
            None => Command::new(program),
        };
        command.arg("serve");
        if let Some(settings) = &self.settings {
            let file = self.folder.join("cloud.toml");
            std::fs::write(&file, settings)?;
            command.arg("--config").arg(file);
        }
        let mut child = command
            .args(["--json", "--data"])
            .arg(self.data())
            .arg("--master-key")
            .arg(self.master_key())
            .args([
                "--https",
                &https.to_string(),
                "--device",
                &device.to_string(),
            ])
            .args(["--mqtt", &mqtt.to_string()])
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("the cloud's output")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let Some(line) = line else {
            let status = child.wait().await?;
            let log = std::fs::read_to_string(self.folder.join("cloud.log"))?;
            bail!(
                "the cloud ended with {status}: {}",
                log.lines().last().unwrap_or_default()
            );
        };
        let ready: Value = serde_json::from_str(&line)?;
        let address = |name: &str| -> Result<SocketAddr> {
            let text = ready[name]
                .as_str()
                .context("an address in the ready line")?;
            let port = text.rsplit(':').next().context("a port")?;
            Ok(SocketAddr::from((
                [127, 0, 0, 1],
                port.trim_end_matches('/').parse()?,
            )))
        };
        self.addresses = Some([address("https")?, address("device")?, address("mqtt")?]);
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
        let mut child = self.child.take().context("the cloud runs")?;
        child.kill().await?;
        Ok(())
    }

    /// SIGTERM; the exit must be clean.
    pub async fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the cloud runs")?;
        let status = crate::logger::terminate(&mut child).await?;
        ensure!(status.success(), "the cloud stopped with {status}");
        Ok(())
    }

    /// Runs `fieldkeep admin … --json` beside it.
    pub async fn admin(&self, arguments: &[&str]) -> Result<Value> {
        let output = Command::new(crate::program("fieldkeep"))
            .arg("admin")
            .args(arguments)
            .args(["--json", "--data"])
            .arg(self.data())
            .arg("--master-key")
            .arg(self.master_key())
            .output()
            .await?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "admin {arguments:?}: {} {error}",
            output.status
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// `fieldkeep backup --json` of this instance, running or not.
    #[must_use]
    pub fn backup(&self, to: &Path) -> Command {
        let mut command = Command::new(crate::program("fieldkeep"));
        command.args(["backup", "--json", "--to"]).arg(to);
        self.place(&mut command);
        command
    }

    /// `fieldkeep restore --json` into the place of this instance.
    #[must_use]
    pub fn restore(&self, from: &Path, recovery_key: &Path) -> Command {
        let mut command = Command::new(crate::program("fieldkeep"));
        command.args(["restore", "--json", "--from"]).arg(from);
        command.arg("--recovery-key").arg(recovery_key);
        self.place(&mut command);
        command
    }

    fn place(&self, command: &mut Command) {
        command.arg("--data").arg(self.data());
        command.arg("--master-key").arg(self.master_key());
    }

    /// Makes a project and answers its id.
    pub async fn project(&self, name: &str) -> Result<String> {
        let made = self.admin(&["project", "create", name]).await?;
        Ok(made["id"].as_str().context("the project's id")?.to_owned())
    }

    /// A client with an API key of that role in that project.
    pub async fn client(&self, project: &str, role: &str) -> Result<Client> {
        let made = self
            .admin(&["api-key", "--project", project, "--role", role])
            .await?;
        let key = made["key"].as_str().context("the key")?.to_owned();
        Client::new(self.addresses()[0], &self.ca(), Some(key))
    }

    /// One claim line.
    pub async fn claim(&self, project: &str) -> Result<String> {
        let made = self.admin(&["claim", "--project", project]).await?;
        Ok(made["line"].as_str().context("the claim line")?.to_owned())
    }
}
