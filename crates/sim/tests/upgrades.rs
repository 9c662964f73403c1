//! An upgrade that must not be: the older program says which command goes back, and that command does.

use anyhow::{Context as _, Result, ensure};
use fieldkeep_cloud::clock::Clock;
use fieldkeep_cloud::keys::{Keys, MasterKey};
use fieldkeep_sim::cloud::Cloud;
use fieldkeep_sim::folder;
use fieldkeep_sim::story::{Scene, counted, counting_csv, replay};
use fieldkeep_store::MIGRATIONS;
use fieldkeep_store::sql::{Database, Migration};
use tokio::process::Command;

const ROWS: u32 = 600;

/// What a newer program does first: one more step on the measurements' file.
async fn upgrade(cloud: &Cloud, sql: &'static str) -> Result<bool> {
    let data = cloud.data();
    let master = MasterKey::for_data(&cloud.master_key(), &data)?;
    let opened = Keys::open(&data, &master, &Clock::system()).await?;
    let mut steps = MIGRATIONS.to_vec();
    let number = steps.last().context("a step")?.number + 1;
    steps.push(Migration { number, sql });
    // Steps are part of a program, and so live as long as it does.
    let steps: &'static [Migration] = steps.leak();
    let upgraded = Database::open(&data.join("series.db"), &opened.series, steps).await;
    let done = upgraded.is_ok();
    if let Ok(database) = upgraded {
        database.close().await;
    }
    opened.keys.close().await;
    Ok(done)
}

#[tokio::test]
async fn the_printed_command_goes_back() -> Result<()> {
    let folder = folder();
    let mut scene = Scene::open(&folder.path().join("cloud")).await?;
    let mut logger = scene
        .logger(
            &folder.path().join("logger"),
            &replay("rows.csv", "\"max\""),
        )
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(ROWS))?;
    logger.start()?;
    let element = scene.element("level").await;
    scene.at_least(&element, ROWS as usize).await;
    logger.stop().await?;
    scene.cloud.stop().await?;

    // A step that fails has changed nothing.
    ensure!(!upgrade(&scene.cloud, "CREATE TABLE batch (id INTEGER)").await?);
    scene.cloud.start().await?;
    assert_eq!(scene.points(&element).await?, counted(ROWS));
    scene.cloud.stop().await?;

    ensure!(upgrade(&scene.cloud, "DROP TABLE quarantine").await?);
    let refusal = scene.cloud.start().await.expect_err("newer").to_string();
    let command = refusal.split('`').nth(1).context("a command")?;
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("fieldkeep"), "{refusal}");
    let back = Command::new(fieldkeep_sim::program("fieldkeep"))
        .args(words)
        .env("FIELDKEEP_MASTER_KEY", scene.cloud.master_key())
        .output()
        .await?;
    let said = String::from_utf8_lossy(&back.stdout);
    ensure!(back.status.success(), "{back:?}");
    assert!(said.contains("as before the upgrade"), "{said}");
    assert!(scene.cloud.data().join("series.db.newer").exists());
    scene.cloud.start().await?;
    assert_eq!(scene.points(&element).await?, counted(ROWS));
    scene.cloud.stop().await
}
