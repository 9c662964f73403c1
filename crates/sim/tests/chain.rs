//! The whole chain on real TLS: enrol, sample, publish, acknowledge, read back exactly.

use anyhow::Result;
use fieldkeep_sim::story::{Scene, replay};
use fieldkeep_sim::{folder, wait};

const CSV: &str = "\
time,level,temperature
2026-03-29T00:59:58Z,1.234,4.5
2026-03-29T00:59:59Z,1.235,NA
2026-03-29T01:00:00Z,-0.001,4.6
2026-03-29T01:00:01Z,1e-7,123456789.25
2026-03-29T01:00:02Z,NA,0
2026-03-29T01:00:03Z,NA,1
2026-03-29T01:00:04Z,NA,2
2026-03-29T01:00:05Z,3.141592653589793,-40
";
const FIRST_US: i64 = 1_774_745_998_000_000;

#[tokio::test]
async fn what_the_sensor_gave_is_what_the_reader_gets() -> Result<()> {
    let folder = folder();
    let mut scene = Scene::open(folder.path()).await?;
    let mut logger = scene
        .logger(
            &folder.path().join("logger"),
            &replay("rows.csv", "\"max\""),
        )
        .await?;
    std::fs::write(logger.folder.join("rows.csv"), CSV)?;
    logger.start()?;

    let level = scene.element("level").await;
    let level = scene.at_least(&level, 5).await;
    let second = |n: i64| FIRST_US + n * 1_000_000;
    let expected = [
        (0, 1.234),
        (1, 1.235),
        (2, -0.001),
        (3, 1e-7),
        (7, std::f64::consts::PI),
    ];
    assert_eq!(level, expected.map(|(n, value)| (second(n), value)));
    let temperature = scene.element("temperature").await;
    let temperature = scene.at_least(&temperature, 7).await;
    let expected = [
        (0, 4.5),
        (2, 4.6),
        (3, 123_456_789.25),
        (4, 0.0),
        (5, 1.0),
        (6, 2.0),
        (7, -40.0),
    ];
    assert_eq!(temperature, expected.map(|(n, value)| (second(n), value)));

    // Missing values are a gap with a reason, never made-up numbers.
    let element = scene.element("level").await;
    let range = "from=2026-03-29T01:00:00Z&to=2026-03-29T01:00:06Z";
    let body = scene
        .get(&format!("points?element={element}&{range}"))
        .await?;
    let gap = &body["items"][0]["gaps"][0];
    assert_eq!(gap["from"], "2026-03-29T01:00:01Z", "{body}");
    assert_eq!(gap["to"], "2026-03-29T01:00:05Z", "{body}");
    assert_eq!(gap["reason"], "not_sampled", "{body}");

    let status = wait::until("everything acknowledged", async || {
        let status = logger.status().await.ok()?;
        (status["journal"]["unacknowledged"] == 0).then_some(status)
    })
    .await;
    assert_eq!(status["journal"]["dropped"], 0, "{status}");
    logger.stop().await?;
    scene.cloud.stop().await
}

#[tokio::test]
async fn a_logger_never_listens() -> Result<()> {
    let folder = folder();
    let scene = Scene::open(folder.path()).await?;
    let configuration = "[[driver]]\nkind = \"simulated\"\nseed = 7\n";
    let mut logger = scene
        .logger(&folder.path().join("logger"), configuration)
        .await?;
    logger.start()?;
    let element = scene.element("level").await;
    for count in [1, 3, 5] {
        let _ = scene.at_least(&element, count).await;
        let process = logger.process().expect("it runs");
        assert_eq!(
            listening_sockets(process)?,
            0,
            "the logger opened a listening socket"
        );
    }
    logger.stop().await
}

/// Sockets in state LISTEN (TCP) or unconnected (UDP) among a process's descriptors.
fn listening_sockets(process: u32) -> Result<usize> {
    let mut inodes = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fd"))? {
        let Ok(link) = std::fs::read_link(entry?.path()) else {
            continue;
        };
        let link = link.to_string_lossy().into_owned();
        if let Some(inode) = link.strip_prefix("socket:[") {
            inodes.push(inode.trim_end_matches(']').to_owned());
        }
    }
    let mut listening = 0;
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let text = std::fs::read_to_string(format!("/proc/{process}/net/{table}"))?;
        listening += text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|cells| cells.get(3) == Some(&state))
            .filter(|cells| {
                cells
                    .get(9)
                    .is_some_and(|inode| inodes.iter().any(|one| one == inode))
            })
            .count();
    }
    Ok(listening)
}
