//! VictoriaMetrics: import of JSON lines over HTTP, PromQL.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::Value;
use tokio::process::Command;

use super::{Peer, check, import, stays};
use crate::load::http::{Asker, escaped};
use crate::load::process::{Program, disk_use, found, free_port, settled, spent};
use crate::load::questions::{GROUP, MONDAY_US, Questions, Size, ask, groups, picked};
use crate::load::walk::{CHANNELS, DAY_US, Row, decimals};

/// The program, and the Debian package that has it.
pub const PROGRAM: &str = "victoria-metrics";

/// Loads, asks, ends.
pub async fn run(folder: &Path, size: &Size) -> Result<Peer> {
    let data = folder.join("victoria");
    let port = free_port()?;
    let mut command = Command::new(found(PROGRAM).context("it is not installed")?);
    command
        .arg(format!("-storageDataPath={}", data.display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .args(["-retentionPeriod=100y", "-loggerLevel=ERROR"]);
    let program = Program::start(&mut command, port, &folder.join("victoria.log")).await?;
    let loading = import(&program, "/api/v1/import", size.stations(), 1_440, lines);
    let (points, spent) = spent(program.process, loading).await?;
    let mut asker = Asker::plain(program.address).await?;
    asker.get("/internal/force_flush").await?;
    asker.get("/internal/force_merge").await?;
    settled(program.process, Duration::from_secs(120)).await?;
    // Merged parts leave the disk some seconds after they were merged.
    let still = Duration::from_secs(if size.quick { 8 } else { 30 });
    let bytes = stays(|| disk_use(&data), still, Duration::from_secs(120)).await?;
    let questions = questions(size);
    let values = |body: &Value| {
        let series = body["data"]["result"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        series
            .iter()
            .map(|one| one["values"].as_array().map_or(1, Vec::len))
            .sum()
    };
    check(&mut asker, questions.last.first(), 1, values).await?;
    let exported = |body: &Value| body["values"].as_array().map_or(0, Vec::len);
    check(&mut asker, questions.day.first(), 800, exported).await?;
    check(&mut asker, questions.year.first(), 8_000, values).await?;
    check(&mut asker, questions.many.first(), 120_000, values).await?;
    let answers = ask(&mut asker, &questions, size).await?;
    program.end().await?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(Peer {
        points_per_core: points as f64 / spent.cpu.as_secs_f64(),
        points_per_second: points as f64 / spent.wall.as_secs_f64(),
        bytes_a_point: bytes as f64 / points as f64,
        answers,
    })
}

/// One line a series: `{"metric":{…},"values":[…],"timestamps":[…]}`.
fn lines(text: &mut String, number: u32, rows: &[Row]) -> u64 {
    let mut points = 0;
    for channel in 0..CHANNELS {
        let digits = decimals(channel) as usize;
        let present = rows
            .iter()
            .filter_map(|row| Some((row.time_us, row.value(channel)?)));
        let values: Vec<(i64, f64)> = present.collect();
        points += values.len() as u64;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            r#"{{"metric":{{"__name__":"e{channel}","d":"{number}","g":"{}"}},"values":["#,
            number / GROUP
        );
        for (place, (_, value)) in values.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let _ = write!(text, "{comma}{value:.digits$}");
        }
        text.push_str(r#"],"timestamps":["#);
        for (place, (time_us, _)) in values.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let _ = write!(text, "{comma}{}", time_us / 1_000);
        }
        text.push_str("]}\n");
    }
    points
}

fn questions(size: &Size) -> Questions {
    let mut questions = Questions::default();
    let second = |us: i64| us / 1_000_000;
    let range = |query: &str, from_us: i64, to_us: i64, step: i64| {
        // A bucket is told by its end here.
        vec![format!(
            "/api/v1/query_range?query={}&start={}&end={}&step={step}&nocache=1",
            escaped(query),
            second(from_us) + step,
            second(to_us)
        )]
    };
    for (device, channel) in picked(size) {
        let series = escaped(&format!("e{channel}{{d=\"{device}\"}}"));
        let end = second(MONDAY_US + 2 * DAY_US) - 60;
        questions.last.push(vec![format!(
            "/api/v1/query?query={series}&time={end}&nocache=1"
        )]);
        questions.day.push(vec![format!(
            "/api/v1/export?match%5B%5D={series}&start={}&end={}",
            second(MONDAY_US),
            second(MONDAY_US + DAY_US) - 1
        )]);
    }
    let year = size.year();
    for channel in 0..CHANNELS {
        let query = format!("avg_over_time(e{channel}{{d=\"{}\"}}[1h])", year.number);
        questions
            .year
            .push(range(&query, year.start_us, year.end_us(), 3_600));
    }
    for group in groups(size) {
        let query = format!("avg_over_time({{g=\"{group}\"}}[10m]) keep_metric_names");
        questions
            .many
            .push(range(&query, MONDAY_US, MONDAY_US + DAY_US, 600));
    }
    questions
}

/// The bytes a point of some rows of their own, once merged.
pub async fn bytes_alone(folder: &Path, text: String, points: u64) -> Result<f64> {
    let data = folder.join("victoria-alone");
    let port = free_port()?;
    let mut command = Command::new(found(PROGRAM).context("it is not installed")?);
    command
        .arg(format!("-storageDataPath={}", data.display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .args(["-retentionPeriod=100y", "-loggerLevel=ERROR"]);
    let program = Program::start(&mut command, port, &folder.join("victoria-alone.log")).await?;
    let mut asker = Asker::plain(program.address).await?;
    asker.post("/api/v1/import", Bytes::from(text)).await?;
    asker.get("/internal/force_flush").await?;
    asker.get("/internal/force_merge").await?;
    settled(program.process, Duration::from_secs(60)).await?;
    let bytes = stays(
        || disk_use(&data),
        Duration::from_secs(8),
        Duration::from_secs(60),
    )
    .await?;
    program.end().await?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(bytes as f64 / points as f64)
}
