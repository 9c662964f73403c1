//! Journals lost, cloned and behind: no acknowledged data is hidden or lost.

use std::path::Path;

use anyhow::Result;
use fieldkeep_sim::story::{Scene, counted, counting_csv, replay};
use fieldkeep_sim::{folder, wait};
use serde_json::Value;

const ROWS: u32 = 60;

async fn delivered(
    scene: &Scene,
    folder: &Path,
    rows: u32,
) -> Result<fieldkeep_sim::logger::Logger> {
    let mut logger = scene.logger(folder, &replay("rows.csv", "\"max\"")).await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(rows))?;
    logger.start()?;
    let element = scene.element("level").await;
    assert_eq!(scene.at_least(&element, rows as usize).await, counted(rows));
    wait::until("everything acknowledged", async || {
        (logger.status().await.ok()?["journal"]["unacknowledged"] == 0).then_some(())
    })
    .await;
    Ok(logger)
}

async fn epochs(scene: &Scene) -> Result<Vec<Value>> {
    let device = scene.device().await?;
    let ledger = scene.get(&format!("devices/{device}/ledger")).await?;
    Ok(ledger["items"].as_array().cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_lost_journal_begins_a_new_epoch() -> Result<()> {
    let folder = folder();
    let scene = Scene::open(folder.path()).await?;
    let mut logger = delivered(&scene, &folder.path().join("logger"), ROWS).await?;
    logger.stop().await?;
    std::fs::remove_dir_all(logger.folder.join("journal"))?;
    logger.start()?;
    // The replay begins anew; its records are stored beside the first ones, and nothing of them is lost.
    wait::until("a second epoch", async || {
        (epochs(&scene).await.ok()?.len() == 2).then_some(())
    })
    .await;
    let element = scene.element("level").await;
    let points = scene.at_least(&element, 2 * ROWS as usize).await;
    for point in counted(ROWS) {
        assert_eq!(
            points.iter().filter(|one| **one == point).count(),
            2,
            "{point:?}"
        );
    }
    logger.stop().await
}

#[tokio::test]
async fn a_cloned_journal_is_a_fork_and_both_stay_readable() -> Result<()> {
    let folder = folder();
    let scene = Scene::open(folder.path()).await?;
    let mut logger = delivered(&scene, &folder.path().join("logger"), ROWS).await?;
    logger.stop().await?;
    let clone = folder.path().join("clone");
    copy(&logger.folder, &clone)?;
    // Each goes on with rows of its own, under the same record numbers.
    let extend = |folder: &Path, offset: u32| {
        let more = counting_csv(ROWS + 20);
        let rows: Vec<String> = more
            .lines()
            .enumerate()
            .map(|(number, line)| match line.split_once(',') {
                Some((time, value)) if number > ROWS as usize => {
                    format!("{time},{}", value.parse::<u32>().unwrap_or(0) + offset)
                }
                _ => line.to_owned(),
            })
            .collect();
        std::fs::write(folder.join("rows.csv"), rows.join("\n") + "\n")
    };
    extend(&logger.folder, 1_000)?;
    extend(&clone, 2_000)?;
    let element = scene.element("level").await;
    logger.start()?;
    let _ = scene.at_least(&element, ROWS as usize + 20).await;
    logger.stop().await?;
    let mut twin = fieldkeep_sim::logger::Logger::new(&clone, &replay("rows.csv", "\"max\""))?;
    twin.start()?;
    let points = scene.at_least(&element, ROWS as usize + 40).await;
    twin.stop().await?;
    for row in ROWS..ROWS + 20 {
        for offset in [1_000, 2_000] {
            let value = f64::from(row + offset);
            assert!(
                points.iter().any(|point| point.1 == value),
                "{value} is lost"
            );
        }
    }
    // The copy's records went out under the same numbers, or it noticed first and left the epoch.
    let epochs = epochs(&scene).await?;
    let branches = epochs[0]["branches"].as_i64().unwrap_or_default();
    assert!(
        epochs.len() > 1 || branches > 1,
        "the fork shows in the ledger: {epochs:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_restored_older_cloud_asks_again() -> Result<()> {
    let folder = folder();
    let mut scene = Scene::open(folder.path()).await?;
    let mut logger = delivered(&scene, &folder.path().join("logger"), ROWS).await?;
    logger.stop().await?;
    scene.cloud.stop().await?;
    let backup = folder.path().join("backup");
    copy(&scene.cloud.data(), &backup)?;
    scene.cloud.start().await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(3 * ROWS))?;
    logger.start()?;
    let element = scene.element("level").await;
    let _ = scene.at_least(&element, 3 * ROWS as usize).await;
    wait::until("everything acknowledged", async || {
        (logger.status().await.ok()?["journal"]["unacknowledged"] == 0).then_some(())
    })
    .await;
    logger.stop().await?;
    scene.cloud.stop().await?;
    std::fs::remove_dir_all(scene.cloud.data())?;
    copy(&backup, &scene.cloud.data())?;
    scene.cloud.start().await?;
    assert_eq!(
        scene.points(&element).await?,
        counted(ROWS),
        "the backup is older"
    );
    logger.start()?;
    assert_eq!(
        scene.at_least(&element, 3 * ROWS as usize).await,
        counted(3 * ROWS)
    );
    logger.stop().await
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
