//! What an idle connection costs the cloud: enrols devices, opens one MQTT session over mutual TLS for each and leaves them
//! alone, then tells the resident memory of the cloud's process for each. `idle_connections [DEVICES]`, 2,000 by
//! default; the cloud is the program beside this one's folder.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fieldkeep_logger::enroll::{self, Invitation};
use fieldkeep_logger::folder::{Enrolment, Folder};
use fieldkeep_logger::identity::Identity;
use fieldkeep_logger::mqtt::{Client, Incoming};
use fieldkeep_logger::{reach, shell, tls};
use fieldkeep_sim::folder;
use fieldkeep_sim::story::Scene;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

struct Device {
    enrolment: Enrolment,
    identity: Identity,
}

#[tokio::main]
async fn main() -> Result<()> {
    let most: usize = std::env::args()
        .nth(1)
        .map_or(Ok(2_000), |text| text.parse())?;
    let folder = folder();
    let scene = Scene::open(folder.path()).await?;
    let process = scene.cloud.process().context("the cloud runs")?;
    let path = format!("/api/v1/projects/{}/claims", scene.project);
    let clock = shell::clock::Clock::system();
    let now_s = (clock.read().wall_us / 1_000_000).unsigned_abs();
    let mut devices = Vec::with_capacity(most);
    for number in 0..most {
        let order = serde_json::json!({ "name": format!("idle {number}") });
        let (status, claim) = scene.client.send("POST", &path, Some(order)).await?;
        ensure!(status == 201, "{status} {claim}");
        let line = claim["line"].as_str().context("the claim's line")?;
        let home = Folder::at(folder.path().join("device"));
        let options = enroll::Options {
            force: true,
            ..enroll::Options::default()
        };
        let _ = std::fs::remove_dir_all(home.path());
        enroll::enroll(&home, &Invitation::Line(line.parse()?), options, now_s).await?;
        let text = std::fs::read_to_string(home.enrolment())?;
        let enrolment = Enrolment::parse(&text).map_err(anyhow::Error::msg)?;
        let identity = Identity::load(&home, enrolment.device)?;
        devices.push(Device {
            enrolment,
            identity,
        });
    }
    let roots = std::fs::read(scene.cloud.ca())?;
    let roots = Arc::new(tls::roots(&roots).context("the cloud's root")?);

    // The first ones also pay for what all share.
    let (first, rest) = devices.split_at(most / 10);
    let mut open = Vec::new();
    for device in first {
        open.push(connect(device, Arc::clone(&roots), now_s).await?);
    }
    let before = resident(process)?;
    for device in rest {
        open.push(connect(device, Arc::clone(&roots), now_s).await?);
    }
    let after = resident(process)?;
    #[expect(clippy::cast_precision_loss, reason = "printed figures")]
    let each = after.saturating_sub(before) as f64 / rest.len() as f64;
    println!(
        "{} connections; {before} KiB with {}, {after} KiB with all: {each:.1} KiB each, {:.0} to a GiB",
        open.len(),
        first.len(),
        1_048_576.0 / each
    );
    Ok(())
}

/// An open session that subscribes and then says nothing.
async fn connect(
    device: &Device,
    roots: Arc<rustls::RootCertStore>,
    now_s: u64,
) -> Result<TlsStream<TcpStream>> {
    let config = tls::client_config(roots, Some(device.identity.for_tls()), now_s)?;
    let mut stream = reach::connect(&device.enrolment.mqtt, config).await?;
    let mut client = Client::connect(&device.enrolment.device.to_string(), 0);
    let mut buffer = [0; 1_024];
    loop {
        stream.write_all(&client.take_output()).await?;
        stream.flush().await?;
        let count = stream.read(&mut buffer).await?;
        ensure!(count > 0, "the cloud closed the connection");
        client.handle_bytes(buffer.get(..count).unwrap_or_default(), 0);
        let heard = client.take_incoming();
        if heard
            .iter()
            .any(|event| matches!(event, Incoming::Connected { .. }))
        {
            return Ok(stream);
        }
        ensure!(heard.is_empty(), "{heard:?}");
    }
}

/// Resident memory of a process in KiB.
fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("VmRSS")?.parse()?)
}
