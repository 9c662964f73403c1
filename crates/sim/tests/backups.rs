//! Backups beside a server that takes data in, restores of them, and both killed at seeded moments.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use fieldkeep_sim::cloud::Cloud;
use fieldkeep_sim::seed::Seed;
use fieldkeep_sim::story::{Scene, counted, counting_csv, replay};
use fieldkeep_sim::{folder, wait};
use serde_json::Value;
use tokio::process::Command;

/// What `fieldkeep` printed, as JSON, and how it ended.
struct Ended {
    code: Option<i32>,
    answer: Value,
    error: String,
}

async fn end(mut command: Command) -> Result<Ended> {
    let output = command.output().await?;
    Ok(Ended {
        code: output.status.code(),
        answer: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

async fn done(command: Command) -> Result<Value> {
    let ended = end(command).await?;
    ensure!(ended.code == Some(0), "{:?}: {}", ended.code, ended.error);
    Ok(ended.answer)
}

/// Makes the recovery key and answers the file that stands for the paper.
async fn recovery_key(cloud: &Cloud, folder: &Path) -> Result<PathBuf> {
    let kit = cloud.admin(&["recovery-kit"]).await?;
    let path = folder.join("paper.txt");
    std::fs::create_dir_all(folder)?;
    std::fs::write(&path, kit["recovery_key"].as_str().context("the key")?)?;
    Ok(path)
}

fn archives(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn a_restored_cloud_has_the_backup_and_gets_the_rest_from_the_journal() -> Result<()> {
    const ROWS: u32 = 1_200;
    let folder = folder();
    let mut scene = Scene::open(&folder.path().join("old")).await?;
    let paper = recovery_key(&scene.cloud, folder.path()).await?;
    let target = folder.path().join("target");
    let mut logger = scene
        .logger(&folder.path().join("logger"), &replay("rows.csv", "100"))
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(ROWS))?;
    logger.start()?;
    let element = scene.element("level").await;
    // In the middle of it: 12 seconds of replay are about to come.
    let before = scene.at_least(&element, 100).await.len() as u64;
    let made = done(scene.cloud.backup(&target)).await?;
    let records = made["records"].as_u64().context("records")?;
    assert!(records >= before, "{made}");
    assert!(
        records < u64::from(ROWS),
        "the backup came too late to tell: {made}"
    );
    assert_eq!(scene.at_least(&element, ROWS as usize).await, counted(ROWS));
    wait::until("everything acknowledged", async || {
        (logger.status().await.ok()?["journal"]["unacknowledged"] == 0).then_some(())
    })
    .await;
    logger.stop().await?;
    scene.cloud.stop().await?;

    let new = folder.path().join("new");
    let restored = done(Cloud::new(&new).restore(&target, &paper)).await?;
    assert_eq!(restored["records"], made["records"]);
    assert_eq!(restored["series"], 1);
    assert_eq!(restored["opened"], 2, "the first and the last batch");
    assert_ne!(
        std::fs::read(scene.cloud.master_key())?,
        std::fs::read(Cloud::new(&new).master_key())?,
        "the new instance has a master key of its own"
    );

    // In the place of the old one: the logger knows its addresses and its authority.
    scene.cloud = scene.cloud.moved(&new);
    let refusal = scene.cloud.start().await.expect_err("closed").to_string();
    ensure!(refusal.contains("fieldkeep admin open"), "{refusal}");
    let opened = scene.cloud.admin(&["open"]).await?;
    assert_eq!(opened["was_closed"], true);
    scene.cloud.start().await?;
    assert_eq!(
        scene.points(&element).await?,
        counted(u32::try_from(records)?),
        "exactly what the backup held"
    );
    logger.start()?;
    assert_eq!(scene.at_least(&element, ROWS as usize).await, counted(ROWS));
    logger.stop().await?;
    scene.cloud.stop().await
}

#[tokio::test]
async fn a_backup_that_is_killed_leaves_nothing_that_looks_complete() -> Result<()> {
    const ROUNDS: usize = 12;
    let mut seed = Seed::new(81);
    let folder = folder();
    let (scene, paper) = filled(folder.path()).await?;
    let target = folder.path().join("target");
    let mut killed = 0;
    for _ in 0..ROUNDS {
        let mut child = scene
            .cloud
            .backup(&target)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        wait::run_for(seed.below(250)).await;
        child.start_kill()?;
        killed += usize::from(!child.wait().await?.success());
        if !target.exists() {
            continue;
        }
        // Whatever has an archive's name is whole: it restores, or it is a key archive.
        let data = archives(&target)?
            .into_iter()
            .filter(|name| name.ends_with("-data.age"));
        for (number, name) in data.enumerate() {
            let place = folder.path().join(format!("check-{number}"));
            if !place.exists() {
                done(Cloud::new(&place).restore(&target.join(name), &paper)).await?;
            }
        }
    }
    assert!(killed > 0, "no backup was killed before its end");
    done(scene.cloud.backup(&target)).await?;
    let left = archives(&target)?;
    assert!(
        left.iter()
            .all(|name| name.ends_with(".age") && !name.starts_with('.')),
        "{left:?}"
    );
    let place = folder.path().join("last");
    done(Cloud::new(&place).restore(&target, &paper)).await?;
    Ok(())
}

#[tokio::test]
async fn a_restore_that_is_killed_is_never_served_and_the_next_one_clears_it() -> Result<()> {
    const ROUNDS: usize = 10;
    let mut seed = Seed::new(82);
    let folder = folder();
    let (mut scene, paper) = filled(folder.path()).await?;
    let target = folder.path().join("target");
    let made = done(scene.cloud.backup(&target)).await?;
    scene.cloud.stop().await?;
    let place = folder.path().join("new");
    let mut unfinished = 0;
    for _ in 0..ROUNDS {
        let mut child = Cloud::new(&place)
            .restore(&target, &paper)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        wait::run_for(seed.below(250)).await;
        child.start_kill()?;
        child.wait().await?;
        let data = Cloud::new(&place).data();
        if data.join("restore.unfinished").exists() {
            unfinished += 1;
            let mut cloud = Cloud::new(&place);
            let refusal = cloud.start().await.expect_err("unfinished").to_string();
            assert!(refusal.contains("not finished"), "{refusal}");
        } else if data.exists() {
            // It was quicker than the signal, or had made nothing but the folder: begin anew.
            std::fs::remove_dir_all(&data)?;
        }
    }
    assert!(unfinished > 0, "no restore was killed in the middle");
    let restored = done(Cloud::new(&place).restore(&target, &paper)).await?;
    assert_eq!(restored["records"], made["records"]);
    let again = end(Cloud::new(&place).restore(&target, &paper)).await?;
    assert_eq!(again.code, Some(2), "{}", again.error);
    assert!(again.error.contains("empty"), "{}", again.error);
    scene.cloud = scene.cloud.moved(&place);
    scene.cloud.admin(&["open"]).await?;
    scene.cloud.start().await?;
    let element = scene.element("level").await;
    assert_eq!(scene.points(&element).await?, counted(FILLED));
    scene.cloud.stop().await
}

const FILLED: u32 = 3_000;

/// A running cloud that holds [`FILLED`] records, and its recovery key.
async fn filled(folder: &Path) -> Result<(Scene, PathBuf)> {
    let scene = Scene::open(&folder.join("old")).await?;
    let paper = recovery_key(&scene.cloud, folder).await?;
    let mut logger = scene
        .logger(&folder.join("logger"), &replay("rows.csv", "\"max\""))
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(FILLED))?;
    logger.start()?;
    let element = scene.element("level").await;
    scene.at_least(&element, FILLED as usize).await;
    logger.stop().await?;
    Ok((scene, paper))
}
