//! A device that is not ours: Debian's `mosquitto_pub` with the files that `enroll` leaves. What it
//! sends well is stored, a missing predecessor shows as a link that is pending, and bad bytes harm nothing else.

use anyhow::Result;
use fieldkeep_protocol::batch;
use fieldkeep_sim::story::{NOON_US, Scene, replay};
use fieldkeep_sim::stranger::{Stranger, device_id, table, two_records};
use fieldkeep_sim::{folder, wait};

#[tokio::test]
async fn a_stranger_can_deliver_and_harms_nothing() -> Result<()> {
    visit("mqttv5").await
}

#[tokio::test]
async fn so_can_one_of_the_older_version() -> Result<()> {
    visit("mqttv311").await
}

async fn visit(version: &'static str) -> Result<()> {
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
    let stranger = Stranger::new(&scene, &logger.folder, version)?;
    let device = stranger.device.clone();

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
    let garbage = b"\x8d\x01not a batch";
    let taken = stranger.publish(&device, "batch", garbage).await?;
    // The older version has no word for quarantined: an acknowledgement has to do.
    assert_eq!(taken, version == "mqttv311");
    let _ = stranger
        .publish(&device, "batch", &vec![0x8d; 66_000])
        .await?;
    let theirs = device_id(&other.folder)?;
    assert!(!stranger.publish(&theirs, "batch", &second).await?);
    // What would have no durable answer ends the session; a will is read and never published.
    for arguments in [&["-q", "0"][..], &["-q", "1", "-r"], &["-q", "2"]] {
        // The newer version is told the highest quality and comes down to it on its own.
        if version == "mqttv5" && arguments == ["-q", "2"] {
            continue;
        }
        let _ = stranger
            .publish_as(&device, "batch", &second, arguments)
            .await?;
    }
    let will = format!("fk/1/{theirs}/batch");
    let fourth = two_records(6, batch::hash(&third))?;
    let with_will = ["-q", "1", "--will-topic", &will, "--will-payload", "boo"];
    assert!(
        stranger
            .publish_as(&device, "batch", &fourth, &with_will)
            .await?
    );
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

    let ledger = scene.get(&format!("devices/{device}/ledger")).await?;
    let durable = &ledger["items"][0]["durable"];
    assert_eq!(
        durable.to_string(),
        "[[0,1],[4,7]]",
        "nothing of the second came"
    );

    // The neighbours are whole, the missing one is still welcome, and again is once.
    stranger.send("batch", &second).await?;
    stranger.send("batch", &second).await?;
    let expected: Vec<_> = (0..8_i32)
        .map(|n| (NOON_US + i64::from(n) * 1_000_000, f64::from(n) / 8.0))
        .collect();
    assert_eq!(scene.at_least(&element, 8).await, expected);
    let ledger = scene.get(&format!("devices/{device}/ledger")).await?;
    assert_eq!(ledger["items"][0]["links"]["linked"], 4, "{ledger}");
    scene.cloud.stop().await
}
