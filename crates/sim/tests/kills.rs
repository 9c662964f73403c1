//! `kill -9` of either side at seeded moments: every record is there once, none twice.

use anyhow::Result;
use fieldkeep_sim::seed::Seed;
use fieldkeep_sim::story::{Scene, counted, counting_csv, replay};
use fieldkeep_sim::{folder, wait};

const ROUNDS: u32 = 20;
/// 40 minutes at 100 times the speed outlast the rounds; 10 records make a batch.
const ROWS: u32 = 2_400;
const SPEED: &str = "100";

#[tokio::test]
async fn killing_the_cloud_loses_and_doubles_nothing() -> Result<()> {
    let mut seed = Seed::new(41);
    let folder = folder();
    let mut scene = Scene::open(folder.path()).await?;
    let mut logger = scene
        .logger(&folder.path().join("logger"), &replay("rows.csv", SPEED))
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(ROWS))?;
    logger.start()?;
    for _ in 0..ROUNDS {
        wait::run_for(50 + seed.below(700)).await;
        scene.cloud.kill().await?;
        wait::run_for(seed.below(200)).await;
        scene.cloud.start().await?;
    }
    let element = scene.element("level").await;
    let points = scene.at_least(&element, ROWS as usize).await;
    assert_eq!(points, counted(ROWS));
    logger.stop().await
}

#[tokio::test]
async fn killing_the_logger_loses_and_doubles_nothing() -> Result<()> {
    let mut seed = Seed::new(42);
    let folder = folder();
    let scene = Scene::open(folder.path()).await?;
    let mut logger = scene
        .logger(&folder.path().join("logger"), &replay("rows.csv", SPEED))
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(ROWS))?;
    for _ in 0..ROUNDS {
        logger.start()?;
        wait::run_for(50 + seed.below(700)).await;
        logger.kill().await?;
    }
    logger.start()?;
    let element = scene.element("level").await;
    let points = scene.at_least(&element, ROWS as usize).await;
    assert_eq!(points, counted(ROWS));
    logger.stop().await
}
