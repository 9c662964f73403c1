//! The programs that we are measured beside: same data, same questions, each alone on the machine while it runs.
//!
//! Each is set up to do its best at this work; what it does not promise (an acknowledgement after a sync, encryption) is
//! said in the notes, not held against it.

pub mod clickhouse;
pub mod influx;
pub mod mosquitto;
pub mod victoria;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::http::Asker;
use super::process::Program;
use super::questions::Answers;
use super::walk::{Row, Station};

/// Connections that import at the same time.
const IMPORTERS: usize = 4;

/// What a peer did.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Points for each second of its processor time.
    pub points_per_core: f64,
    /// Points a second by the wall clock, our making of the text included.
    pub points_per_second: f64,
    /// Bytes a point on disk, once it has put its files in order.
    pub bytes_a_point: f64,
    /// How long its answers took.
    pub answers: Answers,
}

/// Posts every station's rows as text, `rows` at a time; answers how many values that were.
async fn import(
    program: &Program,
    path: &'static str,
    stations: Vec<Station>,
    rows: usize,
    write: fn(&mut String, u32, &[Row]) -> u64,
) -> Result<u64> {
    let queue = Arc::new(Mutex::new(stations.into_iter()));
    let points = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..IMPORTERS {
        let (queue, points) = (Arc::clone(&queue), Arc::clone(&points));
        let mut asker = Asker::plain(program.address).await?;
        tasks.spawn(async move {
            loop {
                let Some(station) = queue.lock().await.next() else {
                    return anyhow::Ok(());
                };
                let mut left = station.rows();
                loop {
                    let part: Vec<Row> = left.by_ref().take(rows).collect();
                    if part.is_empty() {
                        break;
                    }
                    let mut text = String::with_capacity(part.len() * 160);
                    points.fetch_add(write(&mut text, station.number, &part), Ordering::Relaxed);
                    asker.post(path, Bytes::from(text)).await?;
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(points.load(Ordering::Relaxed))
}

/// Waits until a number that only falls or stays (bytes on disk) has stayed for so long.
async fn stays(
    mut read: impl FnMut() -> Result<u64>,
    still: Duration,
    patience: Duration,
) -> Result<u64> {
    let begin = super::process::now();
    let (mut seen, mut since) = (read()?, super::process::now());
    while since.elapsed() < still && begin.elapsed() < patience {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = read()?;
        if again != seen {
            (seen, since) = (again, super::process::now());
        }
    }
    Ok(seen)
}

/// Asks one question and hands its JSON to `count`, which must find at least so many.
async fn check(
    asker: &mut Asker,
    question: Option<&Vec<String>>,
    least: usize,
    count: impl Fn(&Value) -> usize,
) -> Result<()> {
    let path = question
        .and_then(|calls| calls.first())
        .context("a question")?;
    let body = asker.get(path).await?;
    let found = count(&serde_json::from_slice(&body)?);
    ensure!(
        found >= least,
        "{found} instead of {least} values: {}",
        String::from_utf8_lossy(&body)
            .chars()
            .take(200)
            .collect::<String>()
    );
    Ok(())
}
