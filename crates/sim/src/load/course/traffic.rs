//! The part of a run that is about messages: ours, the append-only file, the broker and bare rustls, in turns.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fieldkeep_cloud::clock::Clock;
use tokio_rustls::TlsConnector;

use crate::load::bound;
use crate::load::fleet::{Device, Instance};
use crate::load::journal::{Journal, table};
use crate::load::peers::mosquitto;
use crate::load::process::{Program, spent};
use crate::load::questions::Size;
use crate::load::report::Spread;
use crate::load::tls::{Authority, Bare, Curve};
use crate::load::traffic::{
    Rate, Sender, announce, beside_a_flood, deliver, handshakes, idle, journals, pace,
};
use crate::load::walk::{CHANNELS, Station};

/// Connections of a load.
const CONNECTIONS: usize = 200;
/// Records of a batch.
const RECORDS: usize = 60;
/// Devices of the quiet project, and their messages a second together.
const QUIET: usize = 4;
const QUIET_RATE: f64 = 200.0;
/// Connections that only bring a server to size before idle ones are counted.
const WARM: usize = 100;
/// How often the append-only file is written.
const BOUND_REPEATS: u64 = 5;
const SECOND_US: i64 = 1_000_000;

/// What was found.
pub(super) struct Traffic {
    pub(super) connections: usize,
    /// Points for each second of this process's time, of the append-only file.
    pub(super) bound: Vec<f64>,
    pub(super) batches: Vec<Rate>,
    pub(super) singles: Vec<Rate>,
    pub(super) steady: Vec<Duration>,
    pub(super) alone: Vec<Duration>,
    pub(super) beside: Vec<Duration>,
    /// Bytes of a connection.
    pub(super) idle: f64,
    pub(super) handshakes: Vec<f64>,
    pub(super) bare: Vec<f64>,
    /// Of bare rustls with authorities like ours.
    pub(super) bare_like_ours: Vec<f64>,
    pub(super) mosquitto: Result<Broker, String>,
}

/// What the broker did.
#[derive(Default)]
pub(super) struct Broker {
    pub(super) batches: Vec<Rate>,
    pub(super) singles: Vec<Rate>,
    pub(super) idle: f64,
    pub(super) handshakes: Vec<f64>,
}

impl Traffic {
    /// The cell of the broker.
    pub(super) fn broker(&self, show: impl Fn(&Broker) -> String) -> String {
        self.mosquitto.as_ref().map_or_else(Clone::clone, show)
    }
}

/// A running broker with its clients and its results so far; a reason once it failed.
struct Beside {
    program: Program,
    senders: Vec<Sender>,
    broker: Broker,
}

pub(super) async fn run(folder: &Path, size: &Size) -> Result<Traffic> {
    let authority = Authority::make(&folder.join("certificates"), Curve::P256)?;
    let mut mosquitto = match mosquitto::start(folder, &authority).await {
        Ok(program) => Ok(Beside {
            program,
            senders: mosquitto::senders(&authority, CONNECTIONS.max(size.idle))?,
            broker: Broker::default(),
        }),
        Err(error) => Err(super::excuse(mosquitto::PROGRAM, &error)),
    };
    if crate::load::process::found(mosquitto::PROGRAM).is_none() {
        mosquitto = Err("missing".to_owned());
    }
    let mut instance = Instance::start(&folder.join("ours")).await?;
    let project = instance.project("Traffic").await?;
    let devices = instance.enrol(project, CONNECTIONS.max(size.idle)).await?;
    let loaders = devices
        .get(..CONNECTIONS)
        .context("enough devices")?
        .to_vec();
    let mut ours = Ours {
        process: instance.process()?,
        senders: loaders.iter().map(Sender::from).collect(),
        address: instance.mqtt(),
        loaders,
        epoch: 0,
    };

    let (mut bounds, mut batches, mut singles) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..size.repeats {
        eprintln!("bench: traffic {} of {}", repeat + 1, size.repeats);
        let journals = ours
            .journals(size.batches as usize * RECORDS, RECORDS)
            .await?;
        bounds.push(of_the_bound(folder, &journals).await?);
        batches.push(ours.deliver(&journals).await?);
        broker(&mut mosquitto, &journals, |broker| &mut broker.batches).await;
        let journals = ours.journals(size.singles as usize, 1).await?;
        singles.push(ours.deliver(&journals).await?);
        broker(&mut mosquitto, &journals, |broker| &mut broker.singles).await;
    }

    eprintln!("bench: steady load, flood");
    let full = Spread::of(batches.iter().map(Rate::messages_per_second).collect()).median;
    let steady = ours.steady(full / 2.0, size).await?;
    let (alone, beside) = ours.flood(&instance, full, size).await?;

    eprintln!("bench: idle connections, handshakes");
    // A new process: what the load left in the allocator would hide what a connection takes.
    instance.stop().await?;
    instance.resume().await?;
    let process = instance.process()?;
    let everybody: Vec<Sender> = devices.iter().map(Sender::from).collect();
    let most = everybody.get(..size.idle).unwrap_or(&everybody);
    let idle_bytes = idle(process, instance.mqtt(), most, WARM).await?;
    if let Ok(beside) = &mut mosquitto {
        let senders = beside.senders.get(..size.idle).unwrap_or(&beside.senders);
        let (process, address) = (beside.program.process, beside.program.address);
        match idle(process, address, senders, WARM).await {
            Ok(bytes) => beside.broker.idle = bytes,
            Err(error) => mosquitto = Err(super::excuse(mosquitto::PROGRAM, &error)),
        }
    }
    let like_ours = Authority::make(&folder.join("certificates-like-ours"), Curve::LikeOurs)?;
    let bare = Bare::start(&authority).await?;
    let bare_like_ours = Bare::start(&like_ours).await?;
    let clients: Vec<TlsConnector> = ours
        .loaders
        .iter()
        .map(|device| device.tls.clone())
        .collect();
    let strangers = [authority.connector()?];
    let like = [like_ours.connector()?];
    let (mut shaken, mut shaken_bare, mut shaken_like) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.repeats {
        shaken.push(handshakes(process, instance.mqtt(), &clients, size.handshakes).await?);
        shaken_bare
            .push(handshakes(bare.process, bare.address, &strangers, size.handshakes).await?);
        let (process_like, address_like) = (bare_like_ours.process, bare_like_ours.address);
        shaken_like.push(handshakes(process_like, address_like, &like, size.handshakes).await?);
        if let Ok(beside) = &mut mosquitto {
            let (process, address) = (beside.program.process, beside.program.address);
            match handshakes(process, address, &strangers, size.handshakes).await {
                Ok(rate) => beside.broker.handshakes.push(rate),
                Err(error) => mosquitto = Err(super::excuse(mosquitto::PROGRAM, &error)),
            }
        }
    }
    bare.end().await?;
    bare_like_ours.end().await?;
    instance.stop().await?;
    let mosquitto = match mosquitto {
        Ok(beside) => {
            beside.program.end().await?;
            Ok(beside.broker)
        }
        Err(why) => Err(why),
    };
    Ok(Traffic {
        connections: CONNECTIONS,
        bound: bounds,
        batches,
        singles,
        steady,
        alone,
        beside,
        idle: idle_bytes,
        handshakes: shaken,
        bare: shaken_bare,
        bare_like_ours: shaken_like,
        mosquitto,
    })
}

/// Our own side of the traffic. Every load has an epoch of its own, with records up to this moment, so that nothing is
/// a duplicate and nothing is old enough to be compacted meanwhile.
struct Ours {
    process: u32,
    address: std::net::SocketAddr,
    loaders: Vec<Device>,
    senders: Vec<Sender>,
    epoch: u64,
}

impl Ours {
    async fn journals(&mut self, records: usize, each: usize) -> Result<Arc<Vec<Journal>>> {
        self.epoch += 1;
        let made = journals(
            stations(self.epoch, self.senders.len(), records)?,
            self.epoch,
            CHANNELS,
            each,
        );
        let made = made.await?;
        announce(
            self.address,
            &self.loaders,
            &table(self.epoch, CHANNELS, SECOND_US)?,
        )
        .await?;
        Ok(made)
    }

    async fn deliver(&self, journals: &Arc<Vec<Journal>>) -> Result<Rate> {
        deliver(self.process, self.address, &self.senders, journals).await
    }

    async fn steady(&mut self, rate: f64, size: &Size) -> Result<Vec<Duration>> {
        let journals = self
            .journals(share(rate, size, self.senders.len()), RECORDS)
            .await?;
        pace(self.address, &self.senders, &journals, rate).await
    }

    /// The quiet project alone, then beside a flood that lasts longer than it.
    async fn flood(
        &mut self,
        instance: &Instance,
        full: f64,
        size: &Size,
    ) -> Result<(Vec<Duration>, Vec<Duration>)> {
        let project = instance.project("Quiet").await?;
        let quiet = instance.enrol(project, QUIET).await?;
        let senders: Vec<Sender> = quiet.iter().map(Sender::from).collect();
        let mut quiet_journals = Vec::new();
        for epoch in [1, 2] {
            announce(self.address, &quiet, &table(epoch, CHANNELS, SECOND_US)?).await?;
            let records = share(QUIET_RATE, size, QUIET);
            let stations = stations(900 + epoch, QUIET, records)?;
            quiet_journals.push(journals(stations, epoch, CHANNELS, RECORDS).await?);
        }
        let [first, second] = quiet_journals.as_slice() else {
            return Ok(Default::default());
        };
        let flood = self
            .journals(share(full * 1.3, size, self.senders.len()), RECORDS)
            .await?;
        let alone = pace(self.address, &senders, first, QUIET_RATE).await?;
        let flood = (self.senders.as_slice(), &flood);
        let beside = beside_a_flood(self.address, flood, (&senders, second), QUIET_RATE).await?;
        Ok((alone, beside))
    }
}

/// Records of one sender when all together send `rate` batches a second for the time of a steady load.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some thousand"
)]
fn share(rate: f64, size: &Size, senders: usize) -> usize {
    let batches = rate * f64::from(size.steady_s) / senders as f64;
    (batches.max(1.0) as usize) * RECORDS
}

fn stations(run: u64, count: usize, records: usize) -> Result<Vec<Station>> {
    let records = u32::try_from(records)?;
    let start_us = Clock::system().now().as_micros() - i64::from(records) * SECOND_US;
    let first = u32::try_from(run * 10_000)?;
    Ok((first..)
        .take(count)
        .map(|number| Station {
            number,
            start_us,
            step_us: SECOND_US,
            records,
        })
        .collect())
}

/// Points for each second of this process's time, which does nothing else meanwhile.
async fn of_the_bound(folder: &Path, journals: &Arc<Vec<Journal>>) -> Result<f64> {
    let (file, all) = (folder.join("bound.log"), Arc::clone(journals));
    let work = async {
        let file = file.clone();
        tokio::task::spawn_blocking(move || {
            // Batch after batch of every device, as a server gets them.
            let rounds = all
                .iter()
                .map(|journal| journal.batches.len())
                .max()
                .unwrap_or(0);
            let batches = (0..rounds).flat_map(|round| {
                all.iter()
                    .filter_map(move |journal| journal.batches.get(round))
            });
            // Several times: one is over in a few of the kernel's hundredths of a second.
            for _ in 0..BOUND_REPEATS {
                bound::append(&file, batches.clone())?;
            }
            anyhow::Ok(())
        })
        .await?
    };
    let ((), spent) = spent(std::process::id(), work).await?;
    std::fs::remove_file(&file)?;
    let points: u64 = journals.iter().map(|journal| journal.points).sum();
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok((points * BOUND_REPEATS) as f64 / spent.cpu.as_secs_f64().max(0.01))
}

/// The same messages for the broker; its failure is its own.
async fn broker(
    mosquitto: &mut Result<Beside, String>,
    journals: &Arc<Vec<Journal>>,
    place: impl Fn(&mut Broker) -> &mut Vec<Rate>,
) {
    let Ok(beside) = mosquitto else { return };
    let (process, address) = (beside.program.process, beside.program.address);
    let senders = beside.senders.get(..CONNECTIONS).unwrap_or(&beside.senders);
    match deliver(process, address, senders, journals).await {
        Ok(rate) => place(&mut beside.broker).push(rate),
        Err(error) => *mosquitto = Err(super::excuse(mosquitto::PROGRAM, &error)),
    }
}
