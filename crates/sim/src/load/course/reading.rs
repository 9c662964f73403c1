//! The questions of a run alone, on a folder that is kept: to see what a change of the read path brings.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fieldkeep_protocol::ProjectId;

use super::stored::{EPOCH, RECORDS, compact, deliver_alone, histories};
use crate::load::fleet::Instance;
use crate::load::journal::table;
use crate::load::questions::{self, Elements, Size};
use crate::load::report::percentile;
use crate::load::traffic::{Sender, announce, deliver, journals};
use crate::load::walk::{CHANNELS, MINUTE_US};

const SIZE: Size = Size::QUICK;

/// Fills a folder with what the quick run stores and waits until it is cold; the project and its devices.
pub async fn load(folder: &Path) -> Result<(String, Vec<String>)> {
    let mut instance = Instance::start(folder).await?;
    let project = instance.project("Weather").await?;
    let stations = SIZE.stations();
    let devices = instance.enrol(project, stations.len() + 2).await?;
    let (fleet, alone) = devices.split_at(stations.len());
    announce(instance.mqtt(), fleet, &table(EPOCH, CHANNELS, MINUTE_US)?).await?;
    let senders: Vec<Sender> = fleet.iter().map(Sender::from).collect();
    let all = journals(stations, EPOCH, CHANNELS, RECORDS).await?;
    deliver(instance.process()?, instance.mqtt(), &senders, &all).await?;
    for (device, station) in alone.iter().zip([SIZE.long(), SIZE.fast()]) {
        deliver_alone(&instance, device, station).await?;
    }
    instance.stop().await?;
    compact(&mut instance).await?;
    instance.stop().await?;
    let ids = devices.iter().map(|device| device.id.to_string());
    Ok((project.to_string(), ids.collect()))
}

/// Asks what has `only` in its name of a folder that was filled, and prints how long it took.
pub async fn ask(
    folder: &Path,
    project: ProjectId,
    devices: &[String],
    rounds: usize,
    only: &str,
) -> Result<()> {
    let mut instance = Instance::start(folder).await?;
    println!("server: {}", instance.process()?);
    let id = project.to_string();
    let mut asker = instance.reader(project).await?;
    let elements = Elements::read(&mut asker, &id, devices).await?;
    let (questions, notes) = questions::ours(&mut asker, &id, &elements, &SIZE).await?;
    for note in notes {
        println!("{note}");
    }
    let paths = histories(&id, &elements, &SIZE)?;
    let alive = asker.time(&[vec!["/livez".to_owned()]], SIZE.asked).await?;
    show("no question at all", &alive);
    let single = |path: String| vec![vec![path]];
    let mut all = vec![
        ("last value", questions.last, SIZE.asked),
        ("1 day raw", questions.day, SIZE.asked),
        ("1 year hourly", questions.year, 50),
        ("1 day of 10 x 100", questions.many, 30),
    ];
    all.extend(paths.map(|(name, path)| (name, single(path), 50)));
    for _ in 0..rounds {
        for (name, calls, times) in &all {
            if name.contains(only) {
                show(name, &asker.time(calls, *times).await?);
            }
        }
    }
    drop(asker);
    instance.stop().await
}

fn show(name: &str, took: &[Duration]) {
    let [low, middle, high] = [0.1, 0.5, 0.99].map(|part| percentile(took, part));
    println!("{name:24} {middle:8.3} ms   (p10 {low:8.3} ms, p99 {high:8.3} ms)");
}
