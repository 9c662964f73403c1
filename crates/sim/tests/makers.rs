//! A maker's own device: `docs/examples/simple_device.c`, compiled with nothing but OpenSSL and run against the real cloud.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fieldkeep_sim::folder;
use fieldkeep_sim::story::{Scene, replay};
use tokio::process::Command;

const SOURCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/examples/simple_device.c"
);

async fn compile(program: &Path) -> Result<()> {
    let output = Command::new("gcc")
        .args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O1",
            SOURCE,
            "-o",
        ])
        .arg(program)
        .args(["-lssl", "-lcrypto"])
        .output()
        .await
        .context("gcc: run `cargo xtask setup test`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "run `cargo xtask setup test` if libssl-dev is missing: {said}"
    );
    Ok(())
}

#[tokio::test]
async fn the_simple_device_delivers_what_it_measured() -> Result<()> {
    let lines = std::fs::read_to_string(SOURCE)?.lines().count();
    assert!(lines <= 150, "{lines} lines are not simple");
    let folder = folder();
    let scene = Scene::open(folder.path()).await?;
    let device = scene
        .logger(
            &folder.path().join("device"),
            &replay("none.csv", "\"max\""),
        )
        .await?;
    let program = folder.path().join("simple_device");
    compile(&program).await?;
    let port = scene.cloud.addresses()[1].port();

    let output = Command::new(&program)
        .arg(format!("localhost:{port}"))
        .arg(&device.folder)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said} {error}");
    assert_eq!(
        said,
        "channels: 0x00 durable\nbatch: 0x00 durable\nbatch: 0x00 durable\n"
    );

    // Bit for bit what the device computed, a second apart.
    for (channel, value) in [
        ("level", (|i| f64::from(201 + i) / 10.0) as fn(i32) -> f64),
        ("temperature", |i| 4.5 + f64::from(i) / 7.0),
    ] {
        let element = scene.element(channel).await;
        let points = scene.at_least(&element, 20).await;
        let values: Vec<f64> = points.iter().map(|point| point.1).collect();
        assert_eq!(values, (0..20).map(value).collect::<Vec<_>>(), "{channel}");
    }
    let id = scene.device().await?;
    let ledger = scene.get(&format!("devices/{id}/ledger")).await?;
    let epoch = &ledger["items"][0];
    assert_eq!(epoch["durable"].to_string(), "[[0,19]]", "{ledger}");
    assert_eq!(epoch["links"]["linked"], 2, "{ledger}");

    // Another root is not this cloud.
    std::fs::copy(
        device.folder.join("device.pem"),
        device.folder.join("ca.pem"),
    )?;
    let refused = Command::new(&program)
        .arg(format!("localhost:{port}"))
        .arg(&device.folder)
        .output()
        .await?;
    assert!(!refused.status.success() && refused.stdout.is_empty());
    Ok(())
}
