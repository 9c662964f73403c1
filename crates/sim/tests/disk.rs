//! A disk that is full or fails under the running cloud: it says "keep, back off", loses nothing that it acknowledged, and
//! goes on by itself.

use anyhow::{Context as _, Result};
use fieldkeep_sim::cloud::Cloud;
use fieldkeep_sim::faults::DiskFault;
use fieldkeep_sim::logger::Logger;
use fieldkeep_sim::seed::Seed;
use fieldkeep_sim::story::{Scene, counted, counting_csv, replay};
use fieldkeep_sim::{folder, wait};

const ROWS: u32 = 2_400;
const SPEED: &str = "100";

/// Records that the logger has an acknowledgement for.
async fn acknowledged(logger: &Logger) -> Result<u64> {
    let status = logger.status().await?;
    let journal = &status["journal"];
    let next = journal["next"].as_u64().context("journal.next")?;
    let waiting = journal["unacknowledged"].as_u64();
    Ok(next - waiting.context("journal.unacknowledged")?)
}

async fn weather(fault: DiskFault, number: u64) -> Result<()> {
    let mut seed = Seed::new(number);
    let folder = folder();
    let mut scene = Scene::open_on(Cloud::on_a_failing_disk(folder.path())).await?;
    let mut logger = scene
        .logger(&folder.path().join("logger"), &replay("rows.csv", SPEED))
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(ROWS))?;
    logger.start()?;
    let element = scene.element("level").await;
    scene.at_least(&element, 50).await;
    let process = scene.cloud.process();

    for round in 0..3 {
        let before = refusals(&scene.cloud)?;
        scene.cloud.disk_fails(Some(fault)).await?;
        wait::until("a refusal while the disk fails", async || {
            (refusals(&scene.cloud).ok()? > before).then_some(())
        })
        .await;
        wait::run_for(200 + seed.below(800)).await;
        // Reading goes on meanwhile, and what is durable is still there.
        let seen = scene.points(&element).await;
        let seen = seen.with_context(|| scene.cloud.log().unwrap_or_default())?;
        assert_eq!(seen, counted(u32::try_from(seen.len())?));
        scene.cloud.disk_fails(None).await?;
        scene.at_least(&element, seen.len() + 10).await;
        assert_eq!(
            scene.cloud.process(),
            process,
            "round {round}: it was restarted"
        );
    }

    // In the middle of the fourth: what the logger had an answer for is on the disk, whatever happens now.
    scene.cloud.disk_fails(Some(fault)).await?;
    wait::run_for(seed.below(600)).await;
    logger.stop().await?;
    let promised = acknowledged(&logger).await?;
    scene.cloud.kill().await?;
    scene.cloud.start().await?;
    let durable = scene.points(&element).await?.len() as u64;
    assert!(
        durable >= promised,
        "{promised} acknowledged, {durable} kept"
    );

    logger.start()?;
    let points = scene.at_least(&element, ROWS as usize).await;
    assert_eq!(points, counted(ROWS));
    logger.stop().await
}

/// Messages that could not be kept so far.
fn refusals(cloud: &Cloud) -> Result<usize> {
    let log = cloud.log()?;
    Ok(log.matches("a message cannot be kept").count())
}

#[tokio::test]
async fn a_full_disk_refuses_loses_nothing_and_goes_on() -> Result<()> {
    weather(DiskFault::Full, 51).await
}

#[tokio::test]
async fn writes_that_fail_lose_nothing() -> Result<()> {
    weather(DiskFault::Write, 52).await
}

#[tokio::test]
async fn syncs_that_fail_lose_nothing() -> Result<()> {
    weather(DiskFault::Sync, 53).await
}
