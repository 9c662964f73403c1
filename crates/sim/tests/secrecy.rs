//! Nothing of a project can be read from the data folder's bytes, and without the master key nothing opens.

use std::path::{Path, PathBuf};

use anyhow::Result;
use fieldkeep_sim::cloud::Cloud;
use fieldkeep_sim::folder;
use fieldkeep_sim::story::{Scene, replay};
use serde_json::json;

#[tokio::test]
async fn no_canary_is_in_any_byte_and_a_copy_alone_opens_nothing() -> Result<()> {
    let folder = folder();
    let mut scene = Scene::open(folder.path()).await?;
    let project = scene.cloud.project("Kanarienvogel-projekt-7f3a").await?;
    scene.project.clone_from(&project);
    scene.client = scene.cloud.client(&project, "administrator").await?;
    scene
        .cloud
        .admin(&["sign-in-link", "kanarie.9c41@example.org"])
        .await?;
    let mut logger = scene
        .logger(
            &folder.path().join("logger"),
            &replay("rows.csv", "\"max\""),
        )
        .await?;
    let csv =
        "time,kanal_5be2\n2026-01-01T00:00:00Z,86421357.9753\n2026-01-01T00:00:01Z,86421357.9753\n";
    std::fs::write(logger.folder.join("rows.csv"), csv)?;
    logger.start()?;
    let element = scene.element("kanal_5be2").await;
    let _ = scene.at_least(&element, 2).await;
    let path = format!("/api/v1/projects/{project}/elements/{element}");
    let name = json!({ "name": "Kanarie-element-11d0" });
    let (status, body) = scene.client.send("PATCH", &path, Some(name)).await?;
    assert_eq!(status, 200, "{body}");
    logger.stop().await?;

    let value = 86_421_357.975_3_f64;
    let mut canaries: Vec<Vec<u8>> = [
        "Kanarienvogel",
        "kanarie.9c41",
        "kanal_5be2",
        "Kanarie-element",
        "86421357",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    canaries.extend([value.to_le_bytes().to_vec(), value.to_be_bytes().to_vec()]);
    canaries.extend([
        864_213_579_753_i64.to_le_bytes().to_vec(),
        864_213_579_753_i64.to_be_bytes().to_vec(),
    ]);
    // While it runs (write-ahead logs included), and after a clean stop.
    search(&scene.cloud.data(), &canaries)?;
    let backups = folder.path().join("backups");
    scene.cloud.admin(&["recovery-kit"]).await?;
    let made = scene.cloud.backup(&backups).status().await?;
    assert!(made.success() && search(&backups, &canaries)? == 2);
    scene.cloud.stop().await?;
    let files = search(&scene.cloud.data(), &canaries)?;
    assert!(files >= 4, "the search saw only {files} files");

    let stolen = folder.path().join("stolen");
    std::fs::create_dir_all(&stolen)?;
    copy_flat(&scene.cloud.data(), &stolen.join("cloud"))?;
    let error = Cloud::new(&stolen)
        .start()
        .await
        .expect_err("no master key");
    assert!(error.to_string().contains("key"), "{error}");
    assert!(
        !stolen.join("master.key").exists(),
        "a key was made anew beside existing data"
    );
    // Another instance's key is refused as well.
    let mut other = Cloud::new(&folder.path().join("other"));
    other.start().await?;
    other.stop().await?;
    std::fs::copy(other.master_key(), stolen.join("master.key"))?;
    assert!(
        Cloud::new(&stolen).start().await.is_err(),
        "a wrong master key was accepted"
    );
    Ok(())
}

fn search(folder: &Path, canaries: &[Vec<u8>]) -> Result<usize> {
    let mut files = 0;
    for path in all_files(folder)? {
        files += 1;
        let bytes = std::fs::read(&path)?;
        for canary in canaries {
            let found = bytes.windows(canary.len()).any(|window| window == canary);
            assert!(
                !found,
                "{} holds {}",
                path.display(),
                String::from_utf8_lossy(canary)
            );
        }
    }
    Ok(files)
}

fn all_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(all_files(&path)?)
        } else {
            files.push(path)
        }
    }
    Ok(files)
}

fn copy_flat(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for path in all_files(from)? {
        std::fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}
