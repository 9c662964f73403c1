//! What connections cost, one row of the bench at a time and quickly: for whoever changes something about them.
//!
//! The cloud is the program beside this one's folder. Its processor time and memory are read from the kernel and are its own alone.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use fieldkeep_cloud::clock::Clock;
use fieldkeep_sim::load::fleet::{Device, Instance};
use fieldkeep_sim::load::journal::table;
use fieldkeep_sim::load::process::spent;
use fieldkeep_sim::load::report::percentile;
use fieldkeep_sim::load::tls::{self, Authority, Bare, Curve};
use fieldkeep_sim::load::traffic::{Sender, announce, deliver, handshakes, idle, journals, pace};
use fieldkeep_sim::load::walk::{CHANNELS, Station};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const HELP: &str = "\
Usage: connections handshakes [COUNT]          full handshakes beside bare rustls, three times in turns
       connections idle [COUNT]                memory of a connection that says nothing
       connections acknowledgements [PER_SECOND [SECONDS]]
                                               how long an answer takes at a steady pace; half of the fullest by default";

/// Devices that send, and records of a batch, as in the bench.
const SENDERS: usize = 200;
const RECORDS: usize = 60;
const SECOND_US: i64 = 1_000_000;
/// Connections that only bring the server to size.
const WARM: usize = 100;
const REPEATS: usize = 3;
/// Clients that open sessions at the same time.
const SHAKERS: usize = 4;

#[tokio::main]
async fn main() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = given.iter().map(String::as_str).collect();
    if let [tls::BARE, folder] = words.as_slice() {
        return tls::serve_bare(Path::new(folder)).await;
    }
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    )?;
    let folder = fieldkeep_sim::folder();
    match words.as_slice() {
        ["handshakes", rest @ ..] => shake(folder.path(), number(rest.first(), 4_000)?).await,
        ["idle", rest @ ..] => rest_quietly(folder.path(), number(rest.first(), 4_000)?).await,
        ["acknowledgements", rest @ ..] => {
            let rate = rest.first().map(|word| word.parse()).transpose()?;
            answer(folder.path(), rate, number(rest.get(1), 10)?).await
        }
        _ => bail!("{HELP}"),
    }
}

fn number(word: Option<&&str>, otherwise: usize) -> Result<usize> {
    Ok(word
        .map(|word| word.parse())
        .transpose()?
        .unwrap_or(otherwise))
}

async fn shake(folder: &Path, count: usize) -> Result<()> {
    let usual = Authority::make(&folder.join("usual"), Curve::P256)?;
    let like_ours = Authority::make(&folder.join("like-ours"), Curve::LikeOurs)?;
    let bare = [Bare::start(&usual).await?, Bare::start(&like_ours).await?];
    let strangers = [[usual.connector()?], [like_ours.connector()?]];
    let mut instance = Instance::start(&folder.join("ours")).await?;
    let project = instance.project("Handshakes").await?;
    let devices = instance.enrol(project, SENDERS).await?;
    let clients: Vec<TlsConnector> = devices.iter().map(|device| device.tls.clone()).collect();
    println!("handshakes a second of processor time");
    for _ in 0..REPEATS {
        let ours = handshakes(instance.process()?, instance.mqtt(), &clients, count).await?;
        let mut rates = Vec::new();
        for (bare, clients) in bare.iter().zip(&strangers) {
            rates.push(handshakes(bare.process, bare.address, clients, count).await?);
        }
        let [p256, like] = rates.as_slice() else {
            bail!("two bare servers")
        };
        let sessions = open(instance.process()?, instance.mqtt(), &devices, count).await?;
        println!(
            "ours {ours:.0}; bare {p256:.0}, ours {:.0} % of it; bare with authorities like ours {like:.0}; \
             ours with a session opened and closed {sessions:.0}",
            100.0 * ours / p256
        );
    }
    instance.stop().await
}

/// Sessions that are opened and closed again, one after the other by a few clients, for each second of processor time.
async fn open(process: u32, address: SocketAddr, devices: &[Device], count: usize) -> Result<f64> {
    let share = devices.len().div_ceil(SHAKERS);
    let ((), spent) = spent(process, async {
        let mut tasks = JoinSet::new();
        for part in devices.chunks(share) {
            let part = part.to_vec();
            tasks.spawn(async move {
                for device in part.iter().cycle().take(count / SHAKERS) {
                    device.connect(address).await?.close().await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    })
    .await?;
    #[expect(clippy::cast_precision_loss, reason = "printed figures")]
    Ok(count as f64 / spent.cpu.as_secs_f64().max(0.01))
}

async fn rest_quietly(folder: &Path, count: usize) -> Result<()> {
    let mut instance = Instance::start(folder).await?;
    let project = instance.project("Idle").await?;
    let devices = instance.enrol(project, count).await?;
    let senders: Vec<Sender> = devices.iter().map(Sender::from).collect();
    let bytes = idle(instance.process()?, instance.mqtt(), &senders, WARM).await?;
    println!(
        "{count} connections: {:.2} KiB each, {:.1} k to a GiB",
        bytes / 1_024.0,
        1_048.576 * 1_024.0 / bytes
    );
    instance.stop().await
}

async fn answer(folder: &Path, rate: Option<f64>, seconds: usize) -> Result<()> {
    let mut instance = Instance::start(folder).await?;
    let project = instance.project("Acknowledgements").await?;
    let devices = instance.enrol(project, SENDERS).await?;
    let senders: Vec<Sender> = devices.iter().map(Sender::from).collect();
    let address = instance.mqtt();
    let rate = match rate {
        Some(rate) => rate,
        None => {
            let journals = journals(stations(1, 100 * RECORDS)?, 1, CHANNELS, RECORDS).await?;
            announce(address, &devices, &table(1, CHANNELS, SECOND_US)?).await?;
            let full = deliver(instance.process()?, address, &senders, &journals).await?;
            println!(
                "{:.0} batches a second at the most",
                full.messages_per_second()
            );
            full.messages_per_second() / 2.0
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "some thousand"
    )]
    let records = (rate * seconds as f64 / SENDERS as f64) as usize * RECORDS;
    let journals = journals(stations(2, records)?, 2, CHANNELS, RECORDS).await?;
    announce(address, &devices, &table(2, CHANNELS, SECOND_US)?).await?;
    let took = pace(address, &senders, &journals, rate).await?;
    let shown = |share| percentile(&took, share);
    println!(
        "{} answers at {rate:.0} a second: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms",
        took.len(),
        shown(0.5),
        shown(0.9),
        shown(0.99),
        shown(0.999),
        took.iter().max().map_or(0.0, Duration::as_secs_f64) * 1_000.0
    );
    instance.stop().await
}

fn stations(run: u32, records: usize) -> Result<Vec<Station>> {
    let records = u32::try_from(records).context("a number of records")?;
    let start_us = Clock::system().now().as_micros() - i64::from(records) * SECOND_US;
    Ok((run * 10_000..)
        .take(SENDERS)
        .map(|number| Station {
            number,
            start_us,
            step_us: SECOND_US,
            records,
        })
        .collect())
}
