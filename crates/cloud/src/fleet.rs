//! What is known of each device beyond its identity: contact, state in one sentence, log.
//!
//! Owns the tables `device_status` and `device_log`. Contact is kept in memory and written every few seconds, so that
//! ingest never waits for the catalogue; what a crash loses is at most that. Log lines are durable when their
//! call returns, and bounded: 10,000 a device, and a rate beyond which lines are only counted.
//! Does not decide whether a device may act: `pki` does.

mod contact;
mod log;
mod sentence;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fieldkeep_protocol::{ClockQuality, DeviceId, Timestamp};
use tokio::time::{MissedTickBehavior, interval};

use crate::access::{Grant, Read};
use crate::clock::Clock;
use crate::db::{Db, SqlError};
use crate::keys::{Keys, KeysError, Unsealable};
use crate::pki::{Device, Pki, PkiError};

pub use log::{Line, LineSource};
pub use sentence::Condition;

use contact::Contact;
use sentence::Facts;

/// How often contact is written to the catalogue.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// What can go wrong with what is known of devices.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is no such device in the part of the project that the caller may see.
    #[error("there is no such device")]
    NotFound,
    /// The device's row could not be read.
    #[error("the device's identity cannot be read")]
    Pki(#[from] PkiError),
    /// The project's key cannot be had.
    #[error("the project's key cannot be had")]
    Keys(#[from] KeysError),
    /// A sealed column does not open.
    #[error("a stored value does not open")]
    Sealed(#[from] Unsealable),
    /// A stored value is none that this program writes.
    #[error("column {0} holds an unknown value")]
    Stored(&'static str),
    /// The catalogue failed.
    #[error("the catalogue failed")]
    Sql(#[from] SqlError),
}

/// How a device is, for people.
#[derive(Clone, Debug)]
pub struct Status {
    /// One word.
    pub state: Condition,
    /// One sentence why.
    pub sentence: String,
    /// Whether a session is open.
    pub connected: bool,
    /// The last sign of life.
    pub last_seen: Option<Timestamp>,
    /// The time of the newest record.
    pub last_record: Option<Timestamp>,
    /// How often it is expected to report, in microseconds.
    pub report_every_us: Option<i64>,
    /// What it said of its clock.
    pub clock: Option<ClockQuality>,
    /// The end of its newest certificate.
    pub certificate_expires: Timestamp,
    /// The version of its software.
    pub version: Option<String>,
    /// What it said of its journal.
    pub journal: Option<Journal>,
}

/// What a device said of its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The epoch of its records.
    pub epoch: u64,
    /// The oldest record that it keeps.
    pub oldest: Option<u64>,
    /// The number that its next record gets.
    pub next: u64,
    /// Unacknowledged records that it lost for want of space.
    pub dropped_total: u64,
    /// The journal's size.
    pub bytes: u64,
    /// When it said so.
    pub reported: Timestamp,
}

/// What is known of the devices. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    db: Db,
    keys: Keys,
    clock: Clock,
    pki: Pki,
    /// Boxed, because half of a table's places may be empty.
    contacts: Mutex<HashMap<DeviceId, Box<Contact>>>,
    budgets: Mutex<HashMap<DeviceId, log::Budget>>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fleet")
    }
}

impl Fleet {
    /// What is known of the devices of an open catalogue.
    pub fn new(db: Db, keys: Keys, clock: Clock, pki: Pki) -> Self {
        Self(Arc::new(Inner {
            db,
            keys,
            clock,
            pki,
            contacts: Mutex::default(),
            budgets: Mutex::default(),
        }))
    }

    /// Writes contact to the catalogue every few seconds, until dropped. One server runs this, and begins with
    /// nobody connected.
    pub async fn run(&self) {
        if let Err(error) = self.forget_connections().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "device states cannot be written"
            );
        }
        let mut ticks = interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.write().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "device states cannot be written"
                );
            }
        }
    }

    /// How one device is.
    pub async fn status(
        &self,
        grant: &Grant<'_, Read>,
        device: DeviceId,
    ) -> Result<Status, FleetError> {
        let device = self
            .0
            .pki
            .device(grant, device)
            .await?
            .ok_or(FleetError::NotFound)?;
        let contact = self.contact(grant.project(), device.id).await?;
        Ok(self.judge(&device, &contact))
    }

    /// Every device that the grant reaches, and how it is.
    pub async fn statuses(
        &self,
        grant: &Grant<'_, Read>,
    ) -> Result<Vec<(Device, Status)>, FleetError> {
        let devices = self.0.pki.devices(grant).await?;
        let mut stored = self.stored_contacts(grant.project()).await?;
        let held = |device| {
            let contacts = self.contacts();
            contacts.get(&device).map(|contact| Contact::clone(contact))
        };
        Ok(devices
            .into_iter()
            .map(|device| {
                let contact = held(device.id).or_else(|| stored.remove(&device.id));
                let contact = contact.unwrap_or_else(|| Contact::new(grant.project()));
                let status = self.judge(&device, &contact);
                (device, status)
            })
            .collect())
    }

    fn judge(&self, device: &Device, contact: &Contact) -> Status {
        let now = self.0.clock.now();
        let facts = Facts {
            state: device.state,
            certificate_expires: device.certificate_expires,
            connected: contact.connected,
            seen: contact.seen,
            record: contact.record,
            arrived: contact.detail.arrived_us.map(Timestamp::from_micros),
            report_every_us: contact.report_every_us,
            refused: contact
                .detail
                .refused
                .as_ref()
                .map(|refusal| (Timestamp::from_micros(refusal.at_us), refusal.text.as_str())),
        };
        let (state, sentence) = sentence::judge(&facts, now);
        let reported = contact.detail.reported.as_ref();
        Status {
            state,
            sentence,
            connected: contact.connected,
            last_seen: contact.seen,
            last_record: contact.record,
            report_every_us: contact.report_every_us,
            clock: reported.and_then(contact::Reported::clock),
            certificate_expires: device.certificate_expires,
            version: reported.map(|reported| reported.version.clone()),
            journal: reported.map(|reported| Journal {
                epoch: reported.epoch,
                oldest: reported.oldest,
                next: reported.next,
                dropped_total: reported.dropped_total,
                bytes: reported.journal_bytes,
                reported: Timestamp::from_micros(reported.at_us),
            }),
        }
    }
}
