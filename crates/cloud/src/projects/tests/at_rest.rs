//! What lies in the data folder tells nothing, and a copy of it without the master key opens nothing.

use std::fs;
use std::path::Path;

use super::*;
use crate::access::NewApiKey;
use crate::keys::KeysError;

const CANARIES: [&str; 8] = [
    "canary-project-7f3a",
    "canary-location-7f3a",
    "canary-element-7f3a",
    "canary-station-7f3a",
    "canary-channel-7f3a",
    "canary-key-7f3a",
    "canary-person-7f3a@example.org",
    "canary-passphrase-7f3a",
];

async fn fill(bench: &Bench) -> Vec<String> {
    let [
        project,
        location,
        element,
        station,
        channel,
        key,
        email,
        password,
    ] = CANARIES;
    let cookie = bench.access.full_session(email).await.unwrap();
    bench
        .access
        .set_password_of(&cookie, password)
        .await
        .unwrap();
    let started = bench
        .access
        .sign_in(email, password, "192.0.2.77", &Origin::here())
        .await
        .unwrap();
    let task = bench.project(project).await;
    let here = bench.location(&task, location).await;
    bench.element(&task, element, Some(here)).await;
    let device = bench.device(&task, Some(here)).await;
    let channels = [ChannelDescription {
        name: channel,
        label: None,
        unit: "m",
        kind: ValueKind::Number,
        digits: 0,
        interval_us: 0,
    }];
    let table = DeviceChannels {
        device,
        name: station,
        location: Some(here),
        channels: &channels,
        from: at(0),
    };
    bench
        .projects
        .bind_channels(&task.grant(), table)
        .await
        .unwrap();
    let new = NewApiKey {
        name: key.to_owned(),
        role: Role::Viewer,
        locations: Locations::All,
        expires: None,
    };
    let (_, secret) = bench
        .access
        .create_api_key(&task.grant(), new)
        .await
        .unwrap();
    let link = bench.access.sign_in_link(email).await.unwrap();
    let mut planted: Vec<String> = CANARIES.map(str::to_owned).to_vec();
    planted.extend([secret, link, started.cookie]);
    planted
}

fn found_in(folder: &Path, planted: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for text in planted {
            if bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes())
            {
                found.push(format!("{text} in {}", path.display()));
            }
        }
    }
    found
}

#[tokio::test]
async fn no_file_shows_what_was_stored_while_running_or_after() {
    let bench = Bench::new().await;
    let planted = fill(&bench).await;
    assert_eq!(found_in(&bench.data(), &planted), Vec::<String>::new());
    bench.db.close().await;
    assert_eq!(found_in(&bench.data(), &planted), Vec::<String>::new());
    assert!(fs::read_dir(bench.data()).unwrap().count() >= 4);
}

/// The database's own encryption aside, columns are sealed and secrets are hashes.
#[tokio::test]
async fn no_column_shows_what_was_stored() {
    let bench = Bench::new().await;
    let planted = fill(&bench).await;
    for sql in [
        "SELECT * FROM person",
        "SELECT * FROM session",
        "SELECT * FROM sign_in_link",
        "SELECT * FROM project",
        "SELECT * FROM membership",
        "SELECT * FROM api_key",
        "SELECT * FROM location",
        "SELECT * FROM element",
        "SELECT * FROM deployment",
    ] {
        for row in bench.db.fetch_all(sql, &[]).await.unwrap() {
            for column in 0.. {
                let cell = match (row.opt_bytes(column), row.opt_text(column)) {
                    (Ok(Some(bytes)), _) => bytes.to_vec(),
                    (_, Ok(Some(text))) => text.as_bytes().to_vec(),
                    (Err(_), Err(_)) if row.opt_i64(column).is_err() => break,
                    _ => continue,
                };
                for text in &planted {
                    let shown = cell.windows(text.len()).any(|part| part == text.as_bytes());
                    assert!(!shown, "{text} in {sql}, column {column}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_copy_without_the_master_key_opens_nothing() {
    let bench = Bench::new().await;
    fill(&bench).await;
    let copy = bench.folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(bench.data()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    let other_path = bench.folder.path().join("other");
    let error = MasterKey::for_data(&other_path, &copy).err().unwrap();
    assert!(matches!(error, KeysError::MasterKeyMissing { .. }));
    let other = MasterKey::create(&other_path).unwrap();
    let error = Keys::open(&copy, &other, &bench.clock).await.err().unwrap();
    assert!(matches!(error, KeysError::WrongMasterKey { .. }));
    let guess = fieldkeep_store::sql::DatabaseKey::new([7; 32]);
    let error = Db::open(&copy, &guess).await.err().unwrap();
    assert!(matches!(error, SqlError::WrongKey(_)));
}
