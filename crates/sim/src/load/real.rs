//! Real data: a station's five years where the file is there, and this machine's own sensors.
//!
//! Both go the whole way into an instance of their own, so that the bytes counted are theirs. Times of the machine's
//! sensors are moved into the past: what is of this week is not compacted yet.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fieldkeep_cloud::clock::Clock;
use fieldkeep_logger::driver::Driver as _;
use fieldkeep_logger::driver::host::Host;
use fieldkeep_protocol::Reason;
use fieldkeep_protocol::batch::Cell;
use tokio::task::JoinHandle;

use super::fleet::Instance;
use super::journal::{Writer, named_table};
use super::process::settled;
use super::questions::MONDAY_US;
use super::report::bytes;
use super::size::{each, tiers};
use super::traffic::announce;

/// Records of one batch.
const RECORDS: usize = 360;
const HOUR_US: i64 = 3_600_000_000;

/// Records by column.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Nominal time from one record to the next.
    pub interval_us: i64,
    /// The time of each record.
    pub times: Vec<i64>,
    /// The channels' names and decimals.
    pub names: Vec<(String, u8)>,
    /// One cell a record for each channel.
    pub columns: Vec<Vec<Cell>>,
}

/// The numeric columns of the hourly air quality of Beijing; other files of that form do as well.
pub fn hourly(csv: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(csv)?;
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().context("an empty file")?.split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let mut table = Table {
        interval_us: HOUR_US,
        // The file has every hour from 2010-01-01 on, those without a value included.
        times: (0_i64..)
            .take(rows.len())
            .map(|hour| 1_262_304_000_000_000 + hour * HOUR_US)
            .collect(),
        ..Table::default()
    };
    for (place, name) in head.iter().enumerate().skip(5) {
        let cell = |row: &Vec<&str>| match row.get(place).map(|text| text.trim()) {
            None | Some("" | "NA") => Some(Cell::missing(Reason::SensorError)),
            Some(text) => text.parse().ok().map(Cell::measured),
        };
        if let Some(cells) = rows.iter().map(cell).collect::<Option<Vec<_>>>() {
            table.names.push((name.replace('.', "_"), 2));
            table.columns.push(cells);
        }
    }
    Ok(table)
}

/// Records this machine once a second in the background.
#[must_use]
pub fn record(seconds: u64, folder: &Path) -> JoinHandle<Table> {
    let mut host = Host::find(Path::new("/"), folder);
    tokio::spawn(async move {
        let clock = Clock::system();
        let channels = host.channels();
        let mut table = Table {
            interval_us: 1_000_000,
            names: channels
                .iter()
                .map(|one| (one.name.clone(), one.digits))
                .collect(),
            columns: vec![Vec::new(); channels.len()],
            ..Table::default()
        };
        let mut every = tokio::time::interval(Duration::from_secs(1));
        for second in 0..seconds {
            every.tick().await;
            let ticks_us = u64::try_from(clock.elapsed().as_micros()).unwrap_or(u64::MAX);
            let now_us = clock.now().as_micros();
            if let Some(cells) = host.sample(now_us, ticks_us) {
                table
                    .times
                    .push(MONDAY_US + i64::try_from(second).unwrap_or(0) * 1_000_000);
                for (column, cell) in table.columns.iter_mut().zip(cells) {
                    column.push(cell);
                }
            }
        }
        table
    })
}

/// Sends a table through the whole system and counts its bytes: a row of the report.
pub async fn measure(name: &str, table: &Table, folder: &Path) -> Result<[String; 6]> {
    let mut instance = Instance::start(folder).await?;
    let project = instance.project("Real").await?;
    let devices = instance.enrol(project, 1).await?;
    let device = devices.first().context("a device")?;
    let named: Vec<(&str, u8)> = table
        .names
        .iter()
        .map(|(name, digits)| (name.as_str(), *digits))
        .collect();
    let described = named_table(1, &named, table.interval_us)?;
    announce(instance.mqtt(), &devices, &described).await?;
    instance.stop().await?;
    // A table that is empty has a page already, and a small record must not pay for it.
    let empty = tiers(&instance).await?;
    instance.resume().await?;
    let mut writer = Writer::new(1);
    for first in (0..table.times.len()).step_by(RECORDS) {
        let end = (first + RECORDS).min(table.times.len());
        let part = |cells: &Vec<Cell>| cells.get(first..end).unwrap_or_default().to_vec();
        let columns: Vec<Vec<Cell>> = table.columns.iter().map(part).collect();
        writer.batch(table.times.get(first..end).unwrap_or_default(), &columns)?;
    }
    let journal = writer.finish();
    let mut session = device.connect(instance.mqtt()).await?;
    session
        .deliver(&device.topic(), &journal.batches, 16)
        .await?;
    session.close().await?;
    instance.stop().await?;
    let before = tiers(&instance).await?.beyond(&empty);
    instance.resume().await?;
    settled(instance.process()?, Duration::from_secs(120)).await?;
    instance.stop().await?;
    let after = tiers(&instance).await?.beyond(&empty);
    let sent: usize = journal.batches.iter().map(Vec::len).sum();
    // What fits into pages that were there already cannot be counted.
    let show = |size: u64| match size {
        0 => "too little to count".to_owned(),
        size => bytes(each(size, journal.points)),
    };
    let cold = |size: u64| {
        if after.cold == 0 {
            "not measured".to_owned()
        } else {
            show(size)
        }
    };
    Ok([
        name.to_owned(),
        journal.points.to_string(),
        show(sent as u64),
        show(before.hot),
        cold(after.cold),
        cold(after.cold + after.rollups),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_columns_are_taken_and_words_left_out() {
        let folder = crate::folder();
        let file = folder.path().join("hourly.csv");
        let text =
            "No,year,month,day,hour,pm2.5,cbwd,Ir\n1,2010,1,1,0,NA,NW,0\n2,2010,1,1,1,129,SE,3\n";
        std::fs::write(&file, text).unwrap();
        let table = hourly(&file).unwrap();
        assert_eq!(table.names, [("pm2_5".to_owned(), 2), ("Ir".to_owned(), 2)]);
        assert_eq!(table.times, [1_262_304_000_000_000, 1_262_307_600_000_000]);
        assert_eq!(table.columns[0][0], Cell::missing(Reason::SensorError));
        assert_eq!(table.columns[0][1], Cell::measured(129.0));
    }
}
