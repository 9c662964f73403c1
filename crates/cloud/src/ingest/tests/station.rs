//! A cloud with its store and front door, and devices that speak to it through memory.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use fieldkeep_protocol::batch::{self, Cell, ColumnInput, Header};
use fieldkeep_protocol::channels::{self, Channel, Kind};
use fieldkeep_protocol::message::State;
use fieldkeep_protocol::topic::{Topic, Up};
use fieldkeep_protocol::{ClockQuality, Epoch, ProjectId, Spans, Timestamp, limits, seal};
use fieldkeep_store::sql::DatabaseKey;
use fieldkeep_store::{Options, Origin, ProjectKey, ProjectKeyFuture, ProjectKeys, Store};
use tokio::io::DuplexStream;
use tokio::sync::oneshot;

use super::client::{Client, Got};
use crate::access::{Read, Task, system};
use crate::fleet::{Fleet, Line};
use crate::ingest::Ingest;
use crate::pki::Peer;
use crate::pki::tests::{Bench, Identity};
use crate::projects::Projects;
use crate::series::Series;

pub(crate) const EPOCH: Epoch = Epoch(0x00c0_ffee);

pub(crate) struct Station {
    pub(crate) bench: Bench,
    pub(crate) fleet: Fleet,
    pub(crate) projects: Projects,
    pub(crate) store: Store,
    pub(crate) ingest: Ingest,
}

struct OneKey;

impl ProjectKeys for OneKey {
    fn project_key(&self, _: ProjectId) -> ProjectKeyFuture<'_> {
        Box::pin(async { Ok(ProjectKey::new([7; 32])) })
    }
}

impl Station {
    pub(crate) async fn new() -> Self {
        let bench = Bench::new().await;
        let path = bench.folder.path().join("series.db");
        let options = Options::new(path, DatabaseKey::new([9; 32]), Arc::new(OneKey));
        let store = Store::open(options).await.unwrap();
        let fleet = Fleet::new(
            bench.db.clone(),
            bench.keys.clone(),
            bench.clock.clone(),
            bench.pki.clone(),
        );
        let projects = Projects::new(
            bench.db.clone(),
            bench.keys.clone(),
            bench.clock.clone(),
            bench.access.clone(),
        );
        let series = Series::new(
            store.clone(),
            projects.clone(),
            bench.pki.clone(),
            bench.access.clone(),
            bench.clock.clone(),
        );
        let ingest = Ingest::new(
            bench.pki.clone(),
            fleet.clone(),
            projects.clone(),
            series,
            bench.clock.clone(),
        );
        Self {
            bench,
            fleet,
            projects,
            store,
            ingest,
        }
    }

    /// A connection as it is after a handshake that let `peer` through.
    pub(crate) fn dial(&self, peer: Peer) -> (Client<DuplexStream>, oneshot::Sender<()>) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (stop, stopped) = oneshot::channel();
        let ingest = self.ingest.clone();
        tokio::spawn(async move {
            let stopped = async {
                // Dropping the sender must not stop the session.
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            ingest.mqtt(far, peer, stopped).await;
        });
        (Client::new(near), stop)
    }

    /// An open session.
    pub(crate) async fn session(&self, identity: &Identity) -> Client<DuplexStream> {
        let (mut client, _) = self.dial(identity.peer());
        let id = identity.device.to_string();
        assert_eq!(client.connect(&id).await, Got::Connack(0));
        client
    }

    pub(crate) fn origin(&self, identity: &Identity) -> Origin {
        Origin {
            project: self.bench.project,
            device: identity.device,
        }
    }

    pub(crate) async fn log(&self, identity: &Identity) -> Vec<Line> {
        let task = system(Task::AdminCommand).project(self.bench.project);
        let grant = task.grant::<Read>();
        self.fleet
            .device_log(&grant, identity.device, 1_000, None)
            .await
            .unwrap()
    }

    pub(crate) async fn log_codes(&self, identity: &Identity) -> Vec<String> {
        self.log(identity)
            .await
            .into_iter()
            .map(|line| line.code)
            .collect()
    }
}

pub(crate) fn up(identity: &Identity, kind: Up) -> Topic {
    Topic::up(identity.device, kind)
}

/// A batch of `count` records from `first` on, one a second up to now, after a batch with the hash `prev`.
pub(crate) fn batch(now: Timestamp, first: u64, count: u32, prev: [u8; 32]) -> Vec<u8> {
    let header = Header {
        epoch: EPOCH,
        first,
        count,
        prev,
        boot: 1,
        ticks_us: first * 1_000_000,
        clock: ClockQuality::Synchronised,
        revision: 1,
    };
    let start = now.as_micros() - 3_600_000_000;
    let numbers = first..first + u64::from(count);
    let times: Vec<i64> = numbers
        .clone()
        .map(|n| start + n.cast_signed() * 1_000_000)
        .collect();
    let cells: Vec<Cell> = numbers.map(|n| Cell::measured(n as f64 / 10.0)).collect();
    let column = ColumnInput {
        channel: 0,
        values: &cells,
    };
    let mut out = vec![0; limits::BATCH_BYTES];
    let length = batch::encode(&header, &times, &[], &[column], &mut out).unwrap();
    out.truncate(length);
    out
}

pub(crate) fn table() -> Vec<u8> {
    let channel = Channel {
        index: 0,
        name: "water.level",
        unit: "m",
        kind: Kind::Number,
        digits: 2,
        interval_us: 1_000_000,
        label: Some("Water level"),
    };
    let mut out = vec![0; limits::CHANNELS_BYTES];
    let length = channels::encode(EPOCH, 1, &[channel], &mut out).unwrap();
    out.truncate(length);
    out
}

pub(crate) fn state(oldest: Option<u64>, next: u64) -> Vec<u8> {
    let state = State {
        epoch: EPOCH,
        oldest,
        next,
        dropped_total: 0,
        journal_bytes: 4_096,
        uptime_s: 60,
        clock: ClockQuality::Synchronised,
        version: "0.1.0",
    };
    let mut out = vec![0; limits::STATE_BYTES];
    let length = state.encode(&mut out).unwrap();
    out.truncate(length);
    out
}

/// A seal that names the certificate of `named`, signed by the key of `signer`.
pub(crate) fn sealed(now: Timestamp, named: &Identity, signer: &Identity) -> Vec<u8> {
    let payload = seal::Payload {
        epoch: EPOCH,
        last: 9,
        hash: [3; 32],
        time: now,
        dropped: Spans::EMPTY,
    };
    let mut bytes = vec![0; limits::SEAL_PAYLOAD_BYTES];
    let length = payload.encode(&mut bytes).unwrap();
    bytes.truncate(length);
    let x5t = crate::pki::sha256(&named.chain[0]);
    let mut signed = vec![0; limits::SEAL_BYTES];
    let length = seal::to_be_signed(&x5t, &bytes, &mut signed).unwrap();
    let pkcs8 = signer.key.serialize_der();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap();
    let signature = key.sign(&SystemRandom::new(), &signed[..length]).unwrap();
    let mut out = vec![0; limits::SEAL_BYTES];
    let signature = signature.as_ref().try_into().unwrap();
    let length = seal::assemble(&x5t, &bytes, signature, &mut out).unwrap();
    out.truncate(length);
    out
}
