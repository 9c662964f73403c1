//! The part of a run that is about what is stored: load everything, count it hot and cold, ask.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::load::fleet::Instance;
use crate::load::http::Asker;
use crate::load::journal::table;
use crate::load::process::settled;
use crate::load::questions::{self, Answers, Elements, MONDAY_US, Size, ask, points};
use crate::load::report::percentile;
use crate::load::size::{Tiers, tiers};
use crate::load::traffic::{Rate, Sender, announce, deliver, journals};
use crate::load::walk::{CHANNELS, DAY_US, MINUTE_US};

/// Records of a batch.
const RECORDS: usize = 60;
/// Records of a batch of the long history, which is about reading.
const RECORDS_LONG: usize = 1_440;
/// How long compaction may take.
const PATIENCE: Duration = Duration::from_secs(1_800);
const EPOCH: u64 = 1;
/// Buckets of the question about growth.
const GROWTH: usize = 400;
const MILLION_MINUTES: i64 = 1_051_200;

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
    let devices = instance.enrol(project, stations.len() + 1).await?;
    let (long, fleet) = devices.split_last().context("devices")?;
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
    let history = size.long();
    let journal = journals(vec![history], EPOCH, 1, RECORDS_LONG).await?;
    let alone = std::slice::from_ref(long);
    announce(instance.mqtt(), alone, &table(EPOCH, 1, MINUTE_US)?).await?;
    deliver(
        instance.process()?,
        instance.mqtt(),
        &[Sender::from(long)],
        &journal,
    )
    .await?;
    instance.stop().await?;
    compact(&mut instance).await?;
    let mut asker = instance.reader(project).await?;
    let elements = Elements::read(&mut asker, &id, &ids).await?;
    let element = elements.of(history.number, 0)?;
    let since = |from_us: i64, buckets: usize| {
        points(
            &id,
            element,
            from_us,
            MONDAY_US,
            &format!("buckets={buckets}"),
        )
    };
    let million = since(MONDAY_US - MILLION_MINUTES * MINUTE_US, 1_200);
    let one_year = since(MONDAY_US - 365 * DAY_US, GROWTH);
    let decade = since(history.start_us, GROWTH);
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

/// Starts the server, which compacts what is closed, and waits until it rests.
async fn compact(instance: &mut Instance) -> Result<()> {
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
