//! What most stories begin and end with: a cloud with a project, an enrolled
//! logger, and the whole record read back through the REST API.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::client::Client;
use crate::cloud::Cloud;
use crate::logger::Logger;
use crate::wait;

/// A running cloud with one project and a client that may read and write it.
pub struct Scene {
    /// The cloud.
    pub cloud: Cloud,
    /// The project's id.
    pub project: String,
    /// An editor's API key.
    pub client: Client,
}

/// One point as the API gives it: microseconds since 1970 and the value.
pub type Point = (i64, f64);

impl Scene {
    /// Starts a cloud below `folder`.
    pub async fn open(folder: &Path) -> Result<Self> {
        Self::open_on(Cloud::new(folder)).await
    }

    /// The same on a cloud that was prepared, and not yet started.
    pub async fn open_on(mut cloud: Cloud) -> Result<Self> {
        cloud.start().await?;
        let project = cloud.project("Weir").await?;
        let client = cloud.client(&project, "editor").await?;
        Ok(Self {
            cloud,
            project,
            client,
        })
    }

    /// Enrols a new logger of that configuration; not started.
    pub async fn logger(&self, folder: &Path, configuration: &str) -> Result<Logger> {
        let logger = Logger::new(folder, configuration)?;
        logger
            .enrol(&self.cloud.claim(&self.project).await?)
            .await?;
        Ok(logger)
    }

    /// GET below the project; the status must be 200.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let path = format!("/api/v1/projects/{}/{path}", self.project);
        let (status, body) = self.client.get(&path).await?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        Ok(body)
    }

    /// The element that a channel feeds, once it is there; `channel` is the last part of its name.
    pub async fn element(&self, channel: &str) -> String {
        wait::until(&format!("an element of channel {channel}"), async || {
            let list = self.get("elements").await.ok()?;
            let items = list["items"].as_array()?;
            let found = items.iter().find(|element| {
                let name = element["channel"].as_str().unwrap_or_default();
                name.rsplit('.').next() == Some(channel)
            })?;
            found["id"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Every point of an element, in the order that the API gives them.
    pub async fn points(&self, element: &str) -> Result<Vec<Point>> {
        let mut points = Vec::new();
        let mut cursor = String::new();
        loop {
            let range = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&limit=1000";
            let body = self
                .get(&format!("points?element={element}&{range}{cursor}"))
                .await?;
            let columns = &body["items"][0]["points"];
            let times = columns["time_us"].as_array().context("time_us")?;
            let values = columns["value"].as_array().context("value")?;
            ensure!(times.len() == values.len(), "columns of one length");
            for (time, value) in times.iter().zip(values) {
                points.push((
                    time.as_i64().context("a time")?,
                    value.as_f64().context("a value")?,
                ));
            }
            match body["next_cursor"].as_str() {
                Some(next) => {
                    cursor.clear();
                    write!(cursor, "&cursor={next}")?;
                }
                None => return Ok(points),
            }
        }
    }

    /// Waits until the element holds at least that many points, and reads them.
    pub async fn at_least(&self, element: &str, count: usize) -> Vec<Point> {
        wait::until(&format!("{count} points"), async || {
            self.points(element)
                .await
                .ok()
                .filter(|points| points.len() >= count)
        })
        .await
    }

    /// The only device of the project.
    pub async fn device(&self) -> Result<String> {
        let list = self.get("devices").await?;
        let id = list["items"][0]["id"].as_str().context("a device")?;
        Ok(id.to_owned())
    }
}

/// A CSV file of `rows` seconds from noon of 2026-01-01, one column `level` with the row's number.
#[must_use]
pub fn counting_csv(rows: u32) -> String {
    let mut csv = String::from("time,level\n");
    for row in 0..rows {
        let (hour, minute, second) = (12 + row / 3_600, row / 60 % 60, row % 60);
        // Writing to a String cannot fail.
        let _ = writeln!(csv, "2026-01-01T{hour:02}:{minute:02}:{second:02}Z,{row}");
    }
    csv
}

/// Noon of 2026-01-01 in microseconds since 1970.
pub const NOON_US: i64 = 1_767_268_800_000_000;

/// The points that [`counting_csv`] must become.
#[must_use]
pub fn counted(rows: u32) -> Vec<Point> {
    (0..rows)
        .map(|row| (NOON_US + i64::from(row) * 1_000_000, f64::from(row)))
        .collect()
}

/// A replay of `file` at `speed` (`"max"` or a number), in small batches.
#[must_use]
pub fn replay(file: &str, speed: &str) -> String {
    format!(
        "[reporting]\nbatch_records = 10\nbatch_age = \"1s\"\n\n\
         [[driver]]\nkind = \"replay\"\nfile = \"{file}\"\nspeed = {speed}\n"
    )
}
