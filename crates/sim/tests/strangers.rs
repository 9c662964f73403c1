//! A device that is not ours: Debian's `mosquitto_pub` with the files that `enroll` leaves. What it
//! sends well is stored, a missing predecessor shows as a link that is pending, and bad bytes harm nothing else.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fieldkeep_protocol::batch::{self, Cell, ColumnInput, Header};
use fieldkeep_protocol::channels::{self, Channel, Kind};
use fieldkeep_protocol::{ClockQuality, Epoch};
use fieldkeep_sim::story::{NOON_US, Scene, replay};
use fieldkeep_sim::{folder, wait};
use tokio::process::Command;

const EPOCH: Epoch = Epoch(0x5eed_0fa5_7a46_e201);

fn table() -> Result<Vec<u8>> {
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
fn two_records(first: u64, prev: [u8; 32]) -> Result<Vec<u8>> {
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

struct Stranger<'a> {
    scene: &'a Scene,
    folder: &'a Path,
    device: String,
}

impl Stranger<'_> {
    /// Publishes bytes with QoS 1 and waits for the answer; whether the client was content.
    async fn publish(&self, device: &str, topic: &str, bytes: &[u8]) -> Result<bool> {
        let file = self.folder.join("message");
        std::fs::write(&file, bytes)?;
        let output = Command::new("mosquitto_pub")
            .args([
                "-V",
                "mqttv5",
                "-q",
                "1",
                "-h",
                "localhost",
                "-i",
                &self.device,
            ])
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
        let quiet = output.stderr.is_empty();
        Ok(output.status.success() && quiet)
    }

    async fn send(&self, topic: &str, bytes: &[u8]) -> Result<()> {
        ensure!(
            self.publish(&self.device, topic, bytes).await?,
            "{topic} was not taken"
        );
        Ok(())
    }
}

#[tokio::test]
async fn a_stranger_can_deliver_and_harms_nothing() -> Result<()> {
    let folder = folder();
    let mut scene = Scene::open(folder.path()).await?;
    let logger = scene
        .logger(
            &folder.path().join("device"),
            &replay("none.csv", "\"max\""),
        )
        .await?;
    let other = scene
        .logger(&folder.path().join("other"), &replay("none.csv", "\"max\""))
        .await?;
    let device = device_id(&logger.folder)?;
    let stranger = Stranger {
        scene: &scene,
        folder: &logger.folder,
        device: device.clone(),
    };

    let first = two_records(0, [0; 32])?;
    let second = two_records(2, batch::hash(&first))?;
    let third = two_records(4, batch::hash(&second))?;
    // The table after the batch: readable when it arrives. The second batch is missing at first.
    stranger.send("batch", &first).await?;
    stranger.send("channels", &table()?).await?;
    stranger.send("batch", &third).await?;
    let element = scene.element("level").await;
    assert_eq!(scene.at_least(&element, 4).await.len(), 4);
    let ledger = scene.get(&format!("devices/{device}/ledger")).await?;
    assert_eq!(ledger["items"][0]["links"]["pending"], 1, "{ledger}");

    // Bytes that nobody can read, an oversized message, another device's topic.
    let _ = stranger
        .publish(&device, "batch", b"\x8d\x01not a batch")
        .await?;
    let _ = stranger
        .publish(&device, "batch", &vec![0x8d; 66_000])
        .await?;
    let theirs = device_id(&other.folder)?;
    let _ = stranger.publish(&theirs, "batch", &second).await?;
    let kept = wait::until("the damaged batch in quarantine", async || {
        let list = scene
            .get(&format!("devices/{device}/quarantine"))
            .await
            .ok()?;
        list["items"]
            .as_array()
            .filter(|items| !items.is_empty())
            .cloned()
    })
    .await;
    assert!(kept[0]["reason"].is_string(), "{kept:?}");
    let log = scene
        .get(&format!("devices/{device}/log"))
        .await?
        .to_string();
    assert!(
        log.contains("undecodable") || log.contains("batch"),
        "{log}"
    );
    let theirs = scene.get(&format!("devices/{theirs}/ledger")).await?;
    assert_eq!(
        theirs["items"].as_array().map(Vec::len),
        Some(0),
        "{theirs}"
    );

    // The neighbours are whole, the missing one is still welcome, and again is once.
    stranger.send("batch", &second).await?;
    stranger.send("batch", &second).await?;
    let expected: Vec<_> = (0..6_i32)
        .map(|n| (NOON_US + i64::from(n) * 1_000_000, f64::from(n) / 8.0))
        .collect();
    assert_eq!(scene.at_least(&element, 6).await, expected);
    let ledger = scene.get(&format!("devices/{device}/ledger")).await?;
    assert_eq!(ledger["items"][0]["links"]["linked"], 3, "{ledger}");
    scene.cloud.stop().await
}

fn device_id(folder: &Path) -> Result<String> {
    let text = std::fs::read_to_string(folder.join("device.toml"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("device"))
        .context("a device line")?;
    Ok(line.split('"').nth(1).context("a device id")?.to_owned())
}
