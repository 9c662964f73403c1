//! A device that is not ours: Debian's `mosquitto_pub` with the files that `enroll` leaves, and the messages it sends.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fieldkeep_protocol::batch::{self, Cell, ColumnInput, Header};
use fieldkeep_protocol::channels::{self, Channel, Kind};
use fieldkeep_protocol::{ClockQuality, Epoch};
use tokio::process::Command;

use crate::story::{NOON_US, Scene};

/// The epoch of all its messages.
pub const EPOCH: Epoch = Epoch(0x5eed_0fa5_7a46_e201);

/// A channel table with the channel `level`.
pub fn table() -> Result<Vec<u8>> {
    let mut bytes = vec![0; 1_024];
    let channel = Channel {
        index: 0,
        name: "level",
        unit: "m",
        kind: Kind::Number,
        digits: 3,
        interval_us: 1_000_000,
        label: None,
    };
    let written = channels::encode(EPOCH, 1, &[channel], &mut bytes)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    bytes.truncate(written);
    Ok(bytes)
}

/// Two records from `first` on, with `prev` as the link to what came before.
pub fn two_records(first: u64, prev: [u8; 32]) -> Result<Vec<u8>> {
    let header = Header {
        epoch: EPOCH,
        first,
        count: 2,
        prev,
        boot: 1,
        ticks_us: first * 1_000_000,
        clock: ClockQuality::Synchronised,
        revision: 1,
    };
    let times = [0, 1].map(|n| NOON_US + i64::try_from(first + n).unwrap_or(0) * 1_000_000);
    let cells = [0, 1].map(|n| Cell::measured((first + n) as f64 / 8.0));
    let mut bytes = vec![0; 4_096];
    let columns = [ColumnInput {
        channel: 0,
        values: &cells,
    }];
    let written = batch::encode(&header, &times, &[], &columns, &mut bytes)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    bytes.truncate(written);
    Ok(bytes)
}

/// A maker's device.
pub struct Stranger<'a> {
    /// Where it delivers.
    pub scene: &'a Scene,
    /// Where its identity is.
    pub folder: &'a Path,
    /// Its id.
    pub device: String,
    /// `mqttv5` or `mqttv311`.
    pub version: &'static str,
}

impl<'a> Stranger<'a> {
    /// The device that was enrolled in `folder`.
    pub fn new(scene: &'a Scene, folder: &'a Path, version: &'static str) -> Result<Self> {
        Ok(Self {
            scene,
            folder,
            device: device_id(folder)?,
            version,
        })
    }

    /// Publishes bytes with QoS 1 and waits for the answer; whether the client was content.
    pub async fn publish(&self, device: &str, topic: &str, bytes: &[u8]) -> Result<bool> {
        self.publish_as(device, topic, bytes, &["-q", "1"]).await
    }

    /// Publishes bytes with arguments of the caller's; whether the client was content.
    pub async fn publish_as(
        &self,
        device: &str,
        topic: &str,
        bytes: &[u8],
        arguments: &[&str],
    ) -> Result<bool> {
        let file = self.folder.join("message");
        std::fs::write(&file, bytes)?;
        let output = Command::new("mosquitto_pub")
            .args(["-V", self.version, "-h", "localhost", "-i", &self.device])
            .args(arguments)
            .args(["-p", &self.scene.cloud.addresses()[2].port().to_string()])
            .arg("--cafile")
            .arg(self.folder.join("ca.pem"))
            .arg("--cert")
            .arg(self.folder.join("device.pem"))
            .arg("--key")
            .arg(self.folder.join("device.key"))
            .args(["-t", &format!("fk/1/{device}/{topic}"), "-f"])
            .arg(&file)
            .output()
            .await
            .context("mosquitto_pub of Debian's mosquitto-clients")?;
        Ok(output.status.success() && output.stderr.is_empty())
    }

    /// Publishes; the client must be content.
    pub async fn send(&self, topic: &str, bytes: &[u8]) -> Result<()> {
        ensure!(
            self.publish(&self.device, topic, bytes).await?,
            "{topic} was not taken"
        );
        Ok(())
    }
}

/// The id of the device that was enrolled in `folder`.
pub fn device_id(folder: &Path) -> Result<String> {
    let text = std::fs::read_to_string(folder.join("device.toml"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("device"))
        .context("a device line")?;
    Ok(line.split('"').nth(1).context("a device id")?.to_owned())
}
