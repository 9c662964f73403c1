//! InfluxDB 1.6: line protocol over HTTP, InfluxQL.

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

/// The program.
pub const PROGRAM: &str = "influxd";

/// Loads, asks, ends.
pub async fn run(folder: &Path, size: &Size) -> Result<Peer> {
    let data = folder.join("influx");
    std::fs::create_dir_all(&data)?;
    let (port, other) = (free_port()?, free_port()?);
    let settings = folder.join("influx.conf");
    std::fs::write(&settings, configuration(&data, port, other))?;
    let mut command = Command::new(found(PROGRAM).context("it is not installed")?);
    command.arg("-config").arg(&settings);
    let program = Program::start(&mut command, port, &folder.join("influx.log")).await?;
    let mut asker = Asker::plain(program.address).await?;
    let create = format!("/query?q={}", escaped("CREATE DATABASE bench"));
    asker.post(&create, Bytes::new()).await?;
    let loading = import(
        &program,
        "/write?db=bench&precision=s",
        size.stations(),
        500,
        lines,
    );
    let (points, spent) = spent(program.process, loading).await?;
    // Its caches are written and its files compacted when they have been cold for ten seconds.
    let still = Duration::from_secs(25);
    stays(|| disk_use(&data), still, Duration::from_secs(300)).await?;
    settled(program.process, Duration::from_secs(120)).await?;
    let bytes = disk_use(&data)?;
    let questions = questions(size);
    let values = |body: &Value| {
        let series = body["results"][0]["series"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let rows = |one: &Value| one["values"].as_array().map_or(0, Vec::len);
        series
            .iter()
            .map(|one| rows(one) * one["columns"].as_array().map_or(0, |all| all.len() - 1))
            .sum()
    };
    check(&mut asker, questions.last.first(), 1, values).await?;
    check(&mut asker, questions.day.first(), 800, values).await?;
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

fn configuration(data: &Path, port: u16, other: u16) -> String {
    let data = data.display();
    format!(
        "reporting-disabled = true\n\
         bind-address = \"127.0.0.1:{other}\"\n\
         [meta]\ndir = \"{data}/meta\"\n\
         [data]\ndir = \"{data}/data\"\nwal-dir = \"{data}/wal\"\nquery-log-enabled = false\n\
         cache-snapshot-write-cold-duration = \"10s\"\ncompact-full-write-cold-duration = \"10s\"\n\
         max-series-per-database = 0\nmax-values-per-tag = 0\n\
         [monitor]\nstore-enabled = false\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\nwrite-tracing = false\n\
         [logging]\nlevel = \"error\"\n"
    )
}

/// One line a record, ten fields.
fn lines(text: &mut String, number: u32, rows: &[Row]) -> u64 {
    let mut points = 0;
    for row in rows {
        let mut comma = ' ';
        for channel in 0..CHANNELS {
            let Some(value) = row.value(channel) else {
                continue;
            };
            if comma == ' ' {
                // Writing to a String cannot fail.
                let _ = write!(text, "m,d={number},g={}", number / GROUP);
            }
            let digits = decimals(channel) as usize;
            let _ = write!(text, "{comma}e{channel}={value:.digits$}");
            comma = ',';
            points += 1;
        }
        if comma == ',' {
            let _ = writeln!(text, " {}", row.time_us / 1_000_000);
        }
    }
    points
}

fn questions(size: &Size) -> Questions {
    let mut questions = Questions::default();
    let call = |query: &str| vec![format!("/query?db=bench&epoch=ms&q={}", escaped(query))];
    let within = |from_us: i64, to_us: i64| format!("time >= {from_us}000 AND time < {to_us}000");
    for (device, channel) in picked(size) {
        questions.last.push(call(&format!(
            "SELECT last(e{channel}) FROM m WHERE d='{device}'"
        )));
        let day = within(MONDAY_US, MONDAY_US + DAY_US);
        questions.day.push(call(&format!(
            "SELECT e{channel} FROM m WHERE d='{device}' AND {day}"
        )));
    }
    let year = size.year();
    let within_year = within(year.start_us, year.end_us());
    for channel in 0..CHANNELS {
        questions.year.push(call(&format!(
            "SELECT mean(e{channel}) FROM m WHERE d='{}' AND {within_year} GROUP BY time(1h)",
            year.number
        )));
    }
    let means: Vec<String> = (0..CHANNELS)
        .map(|channel| format!("mean(e{channel})"))
        .collect();
    let day = within(MONDAY_US, MONDAY_US + DAY_US);
    for group in groups(size) {
        questions.many.push(call(&format!(
            "SELECT {} FROM m WHERE g='{group}' AND {day} GROUP BY time(10m), d",
            means.join(",")
        )));
    }
    questions
}
