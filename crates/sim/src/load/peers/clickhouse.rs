//! ClickHouse as PyPI's `chdb`: in one process with the program that asks, so without HTTP in either direction, which
//! favours it. Decimals with delta and ZSTD, the best that was found for this data.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Peer;
use crate::load::questions::{Answers, MONDAY_US, Size, groups, picked};
use crate::load::walk::{CHANNELS, decimals};

const PROGRAM: &str = include_str!("clickhouse.py");

/// Loads, asks, ends; `python` has the package.
pub async fn run(python: &Path, folder: &Path, size: &Size) -> Result<Peer> {
    let rows = folder.join("rows.bin");
    write_rows(&rows, size)?;
    let task = json!({
        "folder": folder.join("clickhouse"),
        "rows": rows,
        "channels": CHANNELS,
        "decimals": (0..CHANNELS).map(decimals).collect::<Vec<_>>(),
        "monday": MONDAY_US / 1_000_000,
        "picked": picked(size),
        "year": size.year().number,
        "groups": groups(size),
        "asked": size.asked,
        "asked_large": size.asked_large,
    });
    let mut child = Command::new(python)
        .args(["-c", PROGRAM])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("it is not installed")?;
    let mut input = child.stdin.take().context("its input")?;
    input.write_all(task.to_string().as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "it ended with {}: {}",
        output.status,
        said.lines().last().unwrap_or_default()
    );
    std::fs::remove_file(&rows)?;
    read(&serde_json::from_slice(&output.stdout)?)
}

fn read(result: &Value) -> Result<Peer> {
    let number = |name: &str| result[name].as_f64().with_context(|| format!("no {name}"));
    let points = number("points")?;
    let took = |name: &str| -> Result<Vec<Duration>> {
        let all = result["answers"][name].as_array().context("answers")?;
        Ok(all
            .iter()
            .filter_map(Value::as_f64)
            .map(Duration::from_secs_f64)
            .collect())
    };
    Ok(Peer {
        points_per_core: points / number("cpu")?,
        points_per_second: points / number("wall")?,
        bytes_a_point: number("bytes")? / points,
        answers: Answers {
            last: took("last")?,
            day: took("day")?,
            year: took("year")?,
            many: took("many")?,
        },
    })
}

/// The data as RowBinary: device, second, then each channel as a null byte or a scaled integer.
fn write_rows(file: &Path, size: &Size) -> Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    for station in size.stations() {
        let number = u16::try_from(station.number)?.to_le_bytes();
        for row in station.rows() {
            out.write_all(&number)?;
            let second = u32::try_from(row.time_us / 1_000_000)?;
            out.write_all(&second.to_le_bytes())?;
            for units in row.units {
                match units {
                    Some(units) => {
                        out.write_all(&[0])?;
                        out.write_all(&units.to_le_bytes())?;
                    }
                    None => out.write_all(&[1])?,
                }
            }
        }
    }
    out.flush()?;
    Ok(())
}
