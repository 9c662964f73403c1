//! The part of a run that is about what is stored: load everything, count it hot and cold, ask.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::load::fleet::{Device, Instance};
use crate::load::http::Asker;
use crate::load::journal::table;
use crate::load::process::settled;
use crate::load::questions::{self, Answers, Elements, Size, ask, points};
use crate::load::report::percentile;
use crate::load::size::{Tiers, tiers};
use crate::load::traffic::{Rate, Sender, announce, deliver, journals};
use crate::load::walk::{CHANNELS, DAY_US, MINUTE_US, Station};

/// Records of a batch.
pub(super) const RECORDS: usize = 60;
/// Records of a batch of the long history, which is about reading.
const RECORDS_LONG: usize = 1_440;
/// How long compaction may take.
const PATIENCE: Duration = Duration::from_secs(1_800);
pub(super) const EPOCH: u64 = 1;
/// Buckets of the question about growth.
const GROWTH: usize = 400;

/// What was found.
pub(super) struct Stored {
    pub(super) points: u64,
    pub(super) load: Rate,
    /// Before anything was compacted.
    pub(super) hot: u64,
    pub(super) tiers: Tiers,
    pub(super) answers: Answers,
    /// Milliseconds of a million points to 1,200 buckets.
    pub(super) million: f64,
    /// Milliseconds of the same question about one and about many years.
    pub(super) one_year: f64,
    pub(super) decade: f64,
    /// Buckets in the answers to these three.
    pub(super) buckets: [usize; 3],
    pub(super) notes: Vec<String>,
}

pub(super) async fn run(folder: &Path, size: &Size) -> Result<Stored> {
    let mut instance = Instance::start(&folder.join("ours")).await?;
    let project = instance.project("Weather").await?;
    let stations = size.stations();
    let devices = instance.enrol(project, stations.len() + 2).await?;
    let (fleet, alone) = devices.split_at(stations.len());
    announce(instance.mqtt(), fleet, &table(EPOCH, CHANNELS, MINUTE_US)?).await?;
    let senders: Vec<Sender> = fleet.iter().map(Sender::from).collect();
    let journals_of_all = journals(stations, EPOCH, CHANNELS, RECORDS).await?;
    let loaded: u64 = journals_of_all.iter().map(|journal| journal.points).sum();
    let load = deliver(
        instance.process()?,
        instance.mqtt(),
        &senders,
        &journals_of_all,
    )
    .await?;
    drop(journals_of_all);

    instance.stop().await?;
    let before = tiers(&instance).await?;
    compact(&mut instance).await?;
    instance.stop().await?;
    let after = tiers(&instance).await?;
    instance.resume().await?;

    let id = project.to_string();
    let ids: Vec<String> = devices.iter().map(|device| device.id.to_string()).collect();
    let mut asker = instance.reader(project).await?;
    let elements = Elements::read(&mut asker, &id, &ids).await?;
    eprintln!("bench: questions");
    let (questions, notes) = questions::ours(&mut asker, &id, &elements, size).await?;
    let answers = ask(&mut asker, &questions, size).await?;

    eprintln!("bench: {} years of one element", size.years);
    for (device, station) in alone.iter().zip([size.long(), size.fast()]) {
        deliver_alone(&instance, device, station).await?;
    }
    instance.stop().await?;
    compact(&mut instance).await?;
    let mut asker = instance.reader(project).await?;
    let elements = Elements::read(&mut asker, &id, &ids).await?;
    let [million, one_year, decade] = histories(&id, &elements, size)?.map(|(_, path)| path);
    let mut buckets = [0; 3];
    for (slot, path) in buckets.iter_mut().zip([&million, &one_year, &decade]) {
        *slot = count(&mut asker, path).await?;
    }
    let mut middle = async |path: String| -> Result<f64> {
        Ok(percentile(
            &asker.time(&[vec![path]], size.asked_large).await?,
            0.5,
        ))
    };
    let (million, one_year, decade) = (
        middle(million).await?,
        middle(one_year).await?,
        middle(decade).await?,
    );
    drop(asker);
    instance.stop().await?;
    Ok(Stored {
        points: loaded,
        load,
        hot: before.hot,
        tiers: after,
        answers,
        million,
        one_year,
        decade,
        buckets,
        notes,
    })
}

/// The questions about the long histories: a million points that no roll-up stands for, one year, and all years in as
/// many buckets.
pub(super) fn histories(
    project: &str,
    elements: &Elements,
    size: &Size,
) -> Result<[(&'static str, String); 3]> {
    let since = |station: Station, from_us: i64, buckets: usize| -> Result<String> {
        let element = elements.of(station.number, 0)?;
        let how = format!("buckets={buckets}");
        Ok(points(project, element, from_us, station.end_us(), &how))
    };
    let (fast, long) = (size.fast(), size.long());
    Ok([
        ("a million points", since(fast, fast.start_us, 1_200)?),
        ("a year", since(long, long.end_us() - 365 * DAY_US, GROWTH)?),
        ("all years", since(long, long.start_us, GROWTH)?),
    ])
}

/// Sends all that a device of one channel has.
pub(super) async fn deliver_alone(
    instance: &Instance,
    device: &Device,
    station: Station,
) -> Result<()> {
    let table = table(EPOCH, 1, station.step_us)?;
    announce(instance.mqtt(), std::slice::from_ref(device), &table).await?;
    let journal = journals(vec![station], EPOCH, 1, RECORDS_LONG).await?;
    let sender = [Sender::from(device)];
    deliver(instance.process()?, instance.mqtt(), &sender, &journal).await?;
    Ok(())
}

/// Starts the server, which compacts what is closed, and waits until it rests.
pub(super) async fn compact(instance: &mut Instance) -> Result<()> {
    instance.resume().await?;
    let rests = settled(instance.process()?, PATIENCE).await?;
    ensure!(
        rests,
        "the server was still busy after {} s",
        PATIENCE.as_secs()
    );
    Ok(())
}

/// How many buckets an answer has; there must be some.
async fn count(asker: &mut Asker, path: &str) -> Result<usize> {
    let body: Value = serde_json::from_slice(&asker.get(path).await?)?;
    let buckets = body["items"][0]["buckets"]["time_us"]
        .as_array()
        .map_or(0, Vec::len);
    ensure!(buckets > 10, "only {buckets} buckets: {path}");
    Ok(buckets)
}
