//! The API as a stranger meets it: its document tried by schemathesis with all checks, and the Python examples of its
//! manual as they are printed, against a running instance with a device's data.
//!
//! Needs `.tools/api`, which `cargo xtask setup` makes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use fieldkeep_sim::cloud::Cloud;
use fieldkeep_sim::story::{Scene, counted, counting_csv, replay};
use fieldkeep_sim::{folder, logger::Logger};
use serde_json::json;
use tokio::process::Command;

const ROWS: u32 = 40;
/// Whoever tries everything asks more often than a key of daily life may.
const SETTINGS: &str = "[sessions]\nkey_requests_per_minute = 1000000\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tool(name: &str) -> Command {
    let program = root().join(".tools/api/bin").join(name);
    assert!(
        program.exists(),
        "{name} is not installed: run `cargo xtask setup` first"
    );
    Command::new(program)
}

/// A project with a device whose rows have all arrived.
async fn furnished(folder: &Path) -> Result<(Scene, Logger, String)> {
    let cloud = Cloud::new(folder).with_settings(SETTINGS);
    let scene = Scene::open_on(cloud).await?;
    let configuration = replay("rows.csv", "\"max\"");
    let mut logger = scene.logger(&folder.join("logger"), &configuration).await?;
    std::fs::write(logger.folder.join("rows.csv"), counting_csv(ROWS))?;
    logger.start()?;
    let element = scene.element("level").await;
    scene.at_least(&element, ROWS as usize).await;
    Ok((scene, logger, element))
}

async fn key(scene: &Scene, role: &str) -> Result<String> {
    let made = scene
        .cloud
        .admin(&["api-key", "--project", &scene.project, "--role", role])
        .await?;
    Ok(made["key"].as_str().context("the key")?.to_owned())
}

/// A service account that may read, and its secret.
async fn service_account(scene: &Scene) -> Result<(String, String)> {
    let administrator = scene.cloud.client(&scene.project, "administrator").await?;
    let accounts = format!("/api/v1/projects/{}/service-accounts", scene.project);
    let order = json!({ "name": "Reporting", "scopes": ["read"] });
    let (status, account) = administrator.send("POST", &accounts, Some(order)).await?;
    ensure!(status == 201, "{status} {account}");
    let account = account["id"].as_str().context("its id")?.to_owned();
    let credentials = format!("{accounts}/{account}/credentials");
    let made = administrator.send("POST", &credentials, Some(json!({})));
    let (status, made) = made.await?;
    ensure!(status == 201, "{status} {made}");
    let secret = made["secret"].as_str().context("the secret")?.to_owned();
    Ok((account, secret))
}

#[tokio::test]
async fn the_document_is_what_the_server_does() -> Result<()> {
    let folder = folder();
    let (mut scene, _logger, element) = furnished(folder.path()).await?;
    let deployments = scene.get("deployments").await?;
    let deployment = deployments["items"][0]["id"].as_str().context("an id")?;
    let (account, _) = service_account(&scene).await?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let output = tool("schemathesis")
        .current_dir(&here)
        .args(["--config-file", "schemathesis.toml", "run"])
        .arg(root().join("docs/openapi.json"))
        .arg("--url")
        .arg(format!(
            "https://localhost:{}",
            scene.cloud.addresses()[0].port()
        ))
        .arg("--tls-verify")
        .arg(scene.cloud.ca())
        // A stream that never ends answers no check.
        .args(["--exclude-path-regex", "/live$", "--seed", "7"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--request-timeout", "30"])
        .env("FK_KEY", key(&scene, "administrator").await?)
        .env("FK_PROJECT", &scene.project)
        .env("FK_DEVICE", scene.device().await?)
        .env("FK_ELEMENT", &element)
        .env("FK_DEPLOYMENT", deployment)
        .env("FK_ACCOUNT", account)
        .env("NO_COLOR", "1")
        .output()
        .await?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // It must have tried: a run without cases is no proof.
    ensure!(told.contains("generated"), "{told}");
    scene.cloud.stop().await
}

/// The Python blocks of the manual, in their order.
fn examples() -> Result<Vec<String>> {
    let manual = std::fs::read_to_string(root().join("docs/api.md"))?;
    let blocks = manual.split("```python\n").skip(1);
    Ok(blocks
        .filter_map(|rest| rest.split("```").next())
        .map(str::to_owned)
        .collect())
}

#[tokio::test]
async fn the_python_examples_of_the_manual_run_as_they_are_printed() -> Result<()> {
    let folder = folder();
    let (mut scene, _logger, element) = furnished(folder.path()).await?;
    let key = key(&scene, "viewer").await?;
    let (account, secret) = service_account(&scene).await?;
    let ca = scene.cloud.ca();
    let host = format!("localhost:{}", scene.cloud.addresses()[0].port());
    let fill = |example: &str| {
        example
            .replace("localhost:8443", &host)
            .replace("cloud/ca.pem", &ca.to_string_lossy())
            .replace("prj_…", &scene.project)
            .replace("elm_…", &element)
            .replace("fk_…", &key)
            .replace("2026-03-01T00:00:00Z", "2026-01-01T00:00:00Z")
            .replace("time.sleep(10)", "break")
    };
    let examples = examples()?;
    ensure!(examples.len() == 3, "{} examples", examples.len());
    ensure!(
        examples[0].lines().count() <= 5,
        "an example opens with at most five lines"
    );
    let expected: f64 = counted(ROWS).iter().map(|(_, value)| value).sum();
    // What the text before the example of a service has the reader set.
    let set = format!("HOST, ID, SECRET = 'https://{host}', '{account}', '{secret}'\n");
    // What a reader does with what the examples give.
    let goes_on = [
        "\nassert len(table) == ROWS, table\nassert table.iloc[:, 1].sum() == SUM, table\nprint('fine')\n",
        "\nassert 0 < grant['expires_in'] <= 900, 'how long'\nme = s.get(HOST + '/api/v1/me')\n\
         assert me.status_code == 200 and ID in me.text, me.text\nprint('fine')\n",
        "\ncopy = {}\npage = get('changes')\nfor change in page['items']:\n    for time_us, value, flag in points(change['element'], \
         change['from'], change['to']):\n        copy[change['element'], time_us] = value\nassert len(copy) == ROWS, copy\n\
         assert sum(copy.values()) == SUM, copy\nassert since['since'], since\nprint('fine')\n",
    ];
    for (example, goes_on) in examples.iter().zip(goes_on) {
        let goes_on = goes_on
            .replace("ROWS", &ROWS.to_string())
            .replace("SUM", &expected.to_string());
        let output = tool("python")
            .arg("-c")
            .arg(set.clone() + &fill(example) + &goes_on)
            // It would count more than what the example says.
            .env_remove("REQUESTS_CA_BUNDLE")
            .env_remove("CURL_CA_BUNDLE")
            .output()
            .await?;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && told.ends_with("fine\n"),
            "{example}\n{told}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    scene.cloud.stop().await
}
