//! Loggers that sleep: they visit the cloud by exchanges over HTTPS. Killing either side in the middle of a visit loses
//! nothing and doubles nothing.

use anyhow::Result;
use fieldkeep_sim::seed::Seed;
use fieldkeep_sim::story::{Scene, counted, counting_csv, replay};
use fieldkeep_sim::{folder, wait};

const ROUNDS: u32 = 12;
/// 40 minutes at 100 times the speed outlast the rounds; 10 records make a batch, so a visit brings some dozens.
const ROWS: u32 = 2_400;

fn visiting() -> String {
    let link = "[link]\nmode = \"exchange\"\ninterval = \"1s\"\n\n";
    format!("{link}{}", replay("rows.csv", "100"))
}

#[tokio::test]
async fn killing_the_cloud_amid_visits_loses_and_doubles_nothing() -> Result<()> {
    let mut seed = Seed::new(43);
    let folder = folder();
    let mut scene = Scene::open(folder.path()).await?;
    let mut logger = scene
        .logger(&folder.path().join("logger"), &visiting())
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(ROWS))?;
    logger.start()?;
    for _ in 0..ROUNDS {
        wait::run_for(50 + seed.below(1_500)).await;
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
async fn killing_the_logger_amid_visits_loses_and_doubles_nothing() -> Result<()> {
    let mut seed = Seed::new(44);
    let folder = folder();
    let scene = Scene::open(folder.path()).await?;
    let mut logger = scene
        .logger(&folder.path().join("logger"), &visiting())
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(ROWS))?;
    for _ in 0..ROUNDS {
        logger.start()?;
        wait::run_for(50 + seed.below(1_500)).await;
        logger.kill().await?;
    }
    logger.start()?;
    let element = scene.element("level").await;
    let points = scene.at_least(&element, ROWS as usize).await;
    assert_eq!(points, counted(ROWS));
    let device = scene.device().await?;
    let ledger = scene.get(&format!("devices/{device}/ledger")).await?;
    assert_eq!(ledger["items"][0]["branches"], 1, "{ledger}");
    logger.stop().await
}

#[tokio::test]
async fn a_visit_ends_the_connection_and_seals() -> Result<()> {
    let folder = folder();
    let scene = Scene::open(folder.path()).await?;
    let settings = visiting().replace("\"1s\"\n\n", "\"1h\"\n\n");
    let mut logger = scene
        .logger(&folder.path().join("logger"), &settings)
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(30))?;
    logger.start()?;
    let resting = wait::until("the logger rests between visits", async || {
        let status = logger.status().await.ok()?;
        (status["link"]["state"] == "resting").then_some(status)
    })
    .await;
    assert!(resting["link"]["error"].is_null(), "{resting}");
    // Stopping is one more visit, with what is left.
    logger.stop().await?;
    let element = scene.element("level").await;
    assert_eq!(scene.at_least(&element, 30).await, counted(30));
    let device = scene.device().await?;
    let shown = scene.get(&format!("devices/{device}")).await?;
    assert_eq!(shown["connected"], false, "{shown}");
    Ok(())
}
