//! Devices at work: all that they have as fast as it is taken, a steady stream, a flood beside a neighbour, silence,
//! and coming and going.
//!
//! Works on any server that speaks MQTT 5 with client certificates, so that a broker gets exactly the same. The server's
//! processor time is measured alone; the clients share the machine with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::fleet::Device;
use super::journal::{self, Journal};
use super::mqtt::{Session, handshake};
use super::process::{Spent, now, resident, spent};
use super::walk::Station;

/// Messages of one connection that wait for their answer.
pub const WINDOW: usize = 16;
/// Connections that are opened at the same time.
const OPENING: usize = 32;
/// Clients that shake hands at the same time.
const SHAKERS: usize = 4;

/// A client with the one topic that it publishes on.
#[derive(Clone)]
pub struct Sender {
    /// Its certificate.
    pub tls: TlsConnector,
    /// Its client id.
    pub id: String,
    /// Its topic.
    pub topic: String,
}

impl From<&Device> for Sender {
    fn from(device: &Device) -> Self {
        Self {
            tls: device.tls.clone(),
            id: device.id.to_string(),
            topic: device.topic(),
        }
    }
}

/// How fast a server took messages.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Acknowledged messages.
    pub messages: f64,
    /// Values in them.
    pub points: f64,
    /// What it took.
    pub spent: Spent,
}

impl Rate {
    /// Messages a second by the wall clock.
    #[must_use]
    pub fn messages_per_second(&self) -> f64 {
        self.messages / self.spent.wall.as_secs_f64()
    }

    /// Messages a second of the server's processor time.
    #[must_use]
    pub fn messages_per_core(&self) -> f64 {
        self.messages / self.spent.cpu.as_secs_f64().max(0.01)
    }

    /// Points a second of the server's processor time.
    #[must_use]
    pub fn points_per_core(&self) -> f64 {
        self.points / self.spent.cpu.as_secs_f64().max(0.01)
    }
}

/// Encodes one journal a station on all processors, in the stations' order.
pub async fn journals(
    stations: Vec<Station>,
    epoch: u64,
    channels: usize,
    records: usize,
) -> Result<Arc<Vec<Journal>>> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let share = stations.len().div_ceil(workers).max(1);
    let mut tasks = Vec::new();
    for part in stations.chunks(share) {
        let part = part.to_vec();
        tasks.push(tokio::task::spawn_blocking(move || {
            part.iter()
                .map(|station| journal::of_station(station, epoch, channels, records))
                .collect::<Result<Vec<_>>>()
        }));
    }
    let mut all = Vec::with_capacity(stations.len());
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(Arc::new(all))
}

/// Publishes a channel table for each device, so that its batches can be read.
pub async fn announce(address: SocketAddr, devices: &[Device], table: &[u8]) -> Result<()> {
    let table = Arc::new(vec![table.to_vec()]);
    for group in devices.chunks(OPENING) {
        let mut tasks = JoinSet::new();
        for device in group {
            let (device, table) = (device.clone(), Arc::clone(&table));
            tasks.spawn(async move {
                let mut session = device.connect(address).await?;
                session.deliver(&device.channels_topic(), &table, 1).await?;
                session.close().await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
    }
    Ok(())
}

/// Opens a session for each sender, in their order.
pub async fn connect(address: SocketAddr, senders: &[Sender]) -> Result<Vec<Session>> {
    let mut sessions = Vec::with_capacity(senders.len());
    for group in senders.chunks(OPENING) {
        let mut tasks = Vec::new();
        for sender in group {
            let sender = sender.clone();
            tasks.push(tokio::spawn(async move {
                Session::open(address, &sender.tls, &sender.id).await
            }));
        }
        for task in tasks {
            sessions.push(task.await??);
        }
    }
    Ok(sessions)
}

async fn close(sessions: Vec<Session>) -> Result<()> {
    for session in sessions {
        session.close().await?;
    }
    Ok(())
}

/// Every sender delivers its journal over one connection each, all at the same time. Connecting is not part of it.
pub async fn deliver(
    process: u32,
    address: SocketAddr,
    senders: &[Sender],
    journals: &Arc<Vec<Journal>>,
) -> Result<Rate> {
    let sessions = connect(address, senders).await?;
    let (sessions, spent) = spent(process, run(sessions, senders, journals)).await?;
    close(sessions).await?;
    let batches: usize = journals.iter().map(|journal| journal.batches.len()).sum();
    let points: u64 = journals.iter().map(|journal| journal.points).sum();
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(Rate {
        messages: batches as f64,
        points: points as f64,
        spent,
    })
}

async fn run(
    sessions: Vec<Session>,
    senders: &[Sender],
    journals: &Arc<Vec<Journal>>,
) -> Result<Vec<Session>> {
    let mut tasks = JoinSet::new();
    for (number, (mut session, sender)) in sessions.into_iter().zip(senders).enumerate() {
        let (journals, topic) = (Arc::clone(journals), sender.topic.clone());
        tasks.spawn(async move {
            let journal = journals.get(number).context("a journal for each sender")?;
            session.deliver(&topic, &journal.batches, WINDOW).await?;
            anyhow::Ok(session)
        });
    }
    let mut sessions = Vec::with_capacity(senders.len());
    while let Some(done) = tasks.join_next().await {
        sessions.push(done??);
    }
    Ok(sessions)
}

/// Every sender delivers its journal at a steady pace, together `rate` messages a second: how long each answer took.
pub async fn pace(
    address: SocketAddr,
    senders: &[Sender],
    journals: &Arc<Vec<Journal>>,
    rate: f64,
) -> Result<Vec<Duration>> {
    let sessions = connect(address, senders).await?;
    #[expect(clippy::cast_precision_loss, reason = "some hundred senders")]
    let every = Duration::from_secs_f64(senders.len() as f64 / rate);
    let count = u32::try_from(senders.len())?;
    let begin = now() + Duration::from_millis(100);
    let mut tasks = JoinSet::new();
    for (number, (mut session, sender)) in (0..).zip(sessions.into_iter().zip(senders)) {
        let (journals, topic) = (Arc::clone(journals), sender.topic.clone());
        let first = begin + every * number / count;
        tasks.spawn(async move {
            let journal = journals
                .get(number as usize)
                .context("a journal for each sender")?;
            let took = session
                .pace(&topic, &journal.batches, first, every, WINDOW)
                .await?;
            session.close().await?;
            anyhow::Ok(took)
        });
    }
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

/// A quiet neighbour's answers while a flood runs beside it.
pub async fn beside_a_flood(
    address: SocketAddr,
    flood: (&[Sender], &Arc<Vec<Journal>>),
    quiet: (&[Sender], &Arc<Vec<Journal>>),
    quiet_rate: f64,
) -> Result<Vec<Duration>> {
    let sessions = connect(address, flood.0).await?;
    let flooding = run(sessions, flood.0, flood.1);
    let asking = pace(address, quiet.0, quiet.1, quiet_rate);
    let (sessions, took) = tokio::try_join!(flooding, asking)?;
    close(sessions).await?;
    Ok(took)
}

/// Resident bytes of the server for one more idle connection. The first `warm` only bring the server to size.
pub async fn idle(
    process: u32,
    address: SocketAddr,
    senders: &[Sender],
    warm: usize,
) -> Result<f64> {
    let (first, rest) = senders.split_at(warm.min(senders.len()));
    let mut held = connect(address, first).await?;
    sleep(Duration::from_secs(3)).await;
    let before = resident(process)?;
    held.extend(connect(address, rest).await?);
    sleep(Duration::from_secs(5)).await;
    let after = resident(process)?;
    close(held).await?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok(after.saturating_sub(before) as f64 / rest.len().max(1) as f64)
}

/// Full handshakes with client certificates, each on a connection of its own that then ends, for each second of the
/// server's processor time.
pub async fn handshakes(
    process: u32,
    address: SocketAddr,
    clients: &[TlsConnector],
    count: usize,
) -> Result<f64> {
    let clients: Arc<[TlsConnector]> = Arc::from(clients);
    let each = count / SHAKERS;
    let ((), spent) = spent(process, async {
        let mut tasks = JoinSet::new();
        for shaker in 0..SHAKERS {
            let clients = Arc::clone(&clients);
            tasks.spawn(async move {
                for number in 0..each {
                    let place = (shaker * each + number) % clients.len().max(1);
                    shake(address, clients.get(place).context("a client")?).await?;
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
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    Ok((each * SHAKERS) as f64 / spent.cpu.as_secs_f64().max(0.01))
}

/// One handshake; the server has judged our certificate when it closes in answer to our goodbye.
async fn shake(address: SocketAddr, tls: &TlsConnector) -> Result<()> {
    let mut stream = handshake(address, tls).await?;
    stream.shutdown().await?;
    let mut rest = [0; 512];
    let ended = async { while matches!(stream.read(&mut rest).await, Ok(length) if length > 0) {} };
    timeout(Duration::from_secs(20), ended)
        .await
        .context("the server does not close")
}
