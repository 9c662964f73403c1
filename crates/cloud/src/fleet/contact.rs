//! Contact with devices: seen, connected, newest record, what the device said of itself.
//!
//! Held in memory while it changes; the table has it some seconds later. A device that is gone and written is
//! dropped from memory.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use fieldkeep_protocol::message::State;
use fieldkeep_protocol::{ClockQuality, DeviceId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Fleet, FleetError};
use crate::db::Row;
use crate::keys::SealingKey;
use crate::pki::DeviceSession;

const DETAIL: &str = "device_status.detail_sealed";
/// Gaps between arrivals beyond this are outages, not a plan.
const LONGEST_PLAN_US: i64 = 86_400 * 1_000_000;
/// What comes closer together than this belongs to one visit of a device that sleeps.
const TOGETHER_US: i64 = 30 * 1_000_000;

/// One device's row, with what memory adds.
#[derive(Clone, Debug)]
pub(super) struct Contact {
    pub(super) project: ProjectId,
    pub(super) seen: Option<Timestamp>,
    pub(super) connected: bool,
    pub(super) record: Option<Timestamp>,
    pub(super) report_every_us: Option<i64>,
    pub(super) detail: Detail,
    /// When the last batch came, by the clock that never runs back; only within one connection.
    arrival: Option<Duration>,
    /// The batches that come now come together, by one exchange: only the time between exchanges is a plan.
    exchanging: bool,
    unwritten: bool,
}

/// What has no column of its own; sealed as JSON. Fields may be added, none changes its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    /// The smallest interval of its channels.
    pub(super) interval_us: i64,
    pub(super) arrived_us: Option<i64>,
    pub(super) reported: Option<Reported>,
    pub(super) refused: Option<Refusal>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) at_us: i64,
    pub(super) text: String,
}

/// A device's own `state` message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reported {
    pub(super) at_us: i64,
    pub(super) epoch: u64,
    pub(super) oldest: Option<u64>,
    pub(super) next: u64,
    pub(super) dropped_total: u64,
    pub(super) journal_bytes: u64,
    pub(super) uptime_s: u64,
    clock: String,
    clock_age_s: Option<u32>,
    pub(super) version: String,
}

impl Reported {
    fn new(state: &State<'_>, at: Timestamp) -> Self {
        let (clock, clock_age_s) = written(state.clock);
        Self {
            at_us: at.as_micros(),
            epoch: state.epoch.0,
            oldest: state.oldest,
            next: state.next,
            dropped_total: state.dropped_total,
            journal_bytes: state.journal_bytes,
            uptime_s: state.uptime_s,
            clock: clock.to_owned(),
            clock_age_s,
            version: state.version.to_owned(),
        }
    }

    pub(super) fn clock(&self) -> Option<ClockQuality> {
        match (self.clock.as_str(), self.clock_age_s) {
            ("synchronised", None) => Some(ClockQuality::Synchronised),
            ("free_running", Some(age_s)) => Some(ClockQuality::FreeRunning { age_s }),
            ("unset", None) => Some(ClockQuality::Unset),
            _ => None,
        }
    }
}

/// A clock's quality as it is kept.
fn written(clock: ClockQuality) -> (&'static str, Option<u32>) {
    match clock {
        ClockQuality::Synchronised => ("synchronised", None),
        ClockQuality::FreeRunning { age_s } => ("free_running", Some(age_s)),
        ClockQuality::Unset => ("unset", None),
    }
}

impl Contact {
    pub(super) fn new(project: ProjectId) -> Self {
        Self {
            project,
            seen: None,
            connected: false,
            record: None,
            report_every_us: None,
            detail: Detail::default(),
            arrival: None,
            exchanging: false,
            unwritten: false,
        }
    }

    /// Learns the plan from gaps between arrivals: up at once, down slowly; never below the channels' interval.
    fn arrived(&mut self, at: Duration) {
        if let Some(last) = self.arrival.replace(at) {
            self.learn(i64::try_from(at.saturating_sub(last).as_micros()).unwrap_or(i64::MAX));
        }
        self.expect_no_less();
    }

    fn learn(&mut self, gap_us: i64) {
        if (0..LONGEST_PLAN_US).contains(&gap_us) {
            let known_us = self.report_every_us.unwrap_or(0);
            let learned_us = if gap_us > known_us {
                gap_us
            } else {
                known_us - (known_us - gap_us) / 8
            };
            self.report_every_us = Some(learned_us);
        }
    }

    fn expect_no_less(&mut self) {
        if self.detail.interval_us > 0 {
            let known_us = self.report_every_us.unwrap_or(0);
            self.report_every_us = Some(known_us.max(self.detail.interval_us));
        }
    }
}

impl Fleet {
    /// A session of the device has begun.
    pub async fn connected(&self, session: &DeviceSession) -> Result<(), FleetError> {
        let stored = self.contact(session.project(), session.device()).await?;
        let now = self.0.clock.now();
        let mut contacts = self.contacts();
        let contact = contacts
            .entry(session.device())
            .or_insert_with(|| Box::new(stored));
        contact.seen = Some(now);
        contact.connected = true;
        contact.detail.refused = None;
        contact.arrival = None;
        contact.exchanging = false;
        contact.unwritten = true;
        Ok(())
    }

    /// An exchange of the device has begun. Its batches come together; only what lies between its visits is a plan.
    pub async fn exchanging(&self, session: &DeviceSession) -> Result<(), FleetError> {
        let stored = self.contact(session.project(), session.device()).await?;
        let now = self.0.clock.now();
        let mut contacts = self.contacts();
        let contact = contacts
            .entry(session.device())
            .or_insert_with(|| Box::new(stored));
        contact.seen = Some(now);
        contact.detail.refused = None;
        contact.exchanging = true;
        contact.unwritten = true;
        Ok(())
    }

    /// The exchange has ended.
    pub fn exchanged(&self, session: &DeviceSession) {
        self.change(session, |contact, _| contact.exchanging = false);
    }

    /// The session has ended.
    pub fn disconnected(&self, session: &DeviceSession) {
        self.change(session, |contact, now| {
            contact.seen = Some(now);
            contact.connected = false;
            contact.arrival = None;
        });
    }

    /// Anything came from the device.
    pub fn seen(&self, session: &DeviceSession) {
        self.change(session, |contact, now| contact.seen = Some(now));
    }

    /// A batch came whose newest record has this time, of a clock of this quality.
    pub fn stored(&self, session: &DeviceSession, newest: Timestamp, clock: ClockQuality) {
        let elapsed = self.0.clock.elapsed();
        self.change(session, |contact, now| {
            contact.seen = Some(now);
            // A device says its state at the start of a session, before it has heard the time; its batches know better.
            if contact.record.is_none_or(|known| known <= newest)
                && let Some(reported) = &mut contact.detail.reported
            {
                let (word, age_s) = written(clock);
                word.clone_into(&mut reported.clock);
                reported.clock_age_s = age_s;
            }
            contact.record = contact.record.max(Some(newest));
            let before = contact.detail.arrived_us.replace(now.as_micros());
            if !contact.exchanging {
                return contact.arrived(elapsed);
            }
            let gap_us = before.map_or(0, |before| now.as_micros().saturating_sub(before));
            if gap_us >= TOGETHER_US {
                contact.learn(gap_us);
            }
            contact.expect_no_less();
        });
    }

    /// The device's channels promise a record every `interval_us` at least; 0 is no promise.
    pub fn expects(&self, session: &DeviceSession, interval_us: i64) {
        self.change(session, |contact, _| {
            contact.detail.interval_us = interval_us;
            contact.report_every_us = None;
            contact.expect_no_less();
        });
    }

    /// The device said how it is.
    pub fn reported(&self, session: &DeviceSession, state: &State<'_>) {
        self.change(session, |contact, now| {
            contact.seen = Some(now);
            contact.detail.reported = Some(Reported::new(state, now));
        });
    }

    /// The device was turned away, for a reason that people should read in its state.
    pub(super) async fn turned_away(
        &self,
        project: ProjectId,
        device: DeviceId,
        text: &str,
    ) -> Result<(), FleetError> {
        let stored = self.contact(project, device).await?;
        let at_us = self.0.clock.now().as_micros();
        let mut contacts = self.contacts();
        let contact = contacts.entry(device).or_insert_with(|| Box::new(stored));
        contact.detail.refused = Some(Refusal {
            at_us,
            text: text.to_owned(),
        });
        contact.unwritten = true;
        Ok(())
    }

    /// What is known of a device, newest first from memory.
    pub(super) async fn contact(
        &self,
        project: ProjectId,
        device: DeviceId,
    ) -> Result<Contact, FleetError> {
        if let Some(contact) = self.contacts().get(&device) {
            return Ok(Contact::clone(contact));
        }
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT device, seen_us, connected, record_us, report_every_us, detail_sealed
                 FROM device_status WHERE project = $1 AND device = $2",
                &[project.as_bytes().into(), device.as_bytes().into()],
            )
            .await?;
        let Some(row) = row else {
            return Ok(Contact::new(project));
        };
        let sealing = self.0.keys.project(project).await?;
        Ok(read(&row, project, &sealing)?.1)
    }

    pub(super) async fn stored_contacts(
        &self,
        project: ProjectId,
    ) -> Result<HashMap<DeviceId, Contact>, FleetError> {
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT device, seen_us, connected, record_us, report_every_us, detail_sealed
                 FROM device_status WHERE project = $1",
                &[project.as_bytes().into()],
            )
            .await?;
        let sealing = self.0.keys.project(project).await?;
        rows.iter()
            .map(|row| read(row, project, &sealing))
            .collect()
    }

    pub(super) async fn forget_connections(&self) -> Result<(), FleetError> {
        self.0
            .db
            .execute(
                "UPDATE device_status SET connected = $1 WHERE connected = $2",
                &[false.into(), true.into()],
            )
            .await?;
        Ok(())
    }

    /// Writes what has changed, in one transaction; what fails is tried again next time. [`run`](Self::run) does it every
    /// few seconds; a server that stops does it a last time.
    pub async fn write(&self) -> Result<(), FleetError> {
        let changed: Vec<(DeviceId, Contact)> = {
            let contacts = self.contacts();
            let unwritten = contacts.iter().filter(|(_, contact)| contact.unwritten);
            unwritten
                .map(|(device, contact)| (*device, Contact::clone(contact)))
                .collect()
        };
        if changed.is_empty() {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(changed.len());
        for (device, contact) in &changed {
            let sealing = self.0.keys.project(contact.project).await?;
            let detail = serde_json::to_vec(&contact.detail)
                .map_err(|_| FleetError::Stored("device_status.detail_sealed"))?;
            rows.push(sealing.seal(DETAIL, device.as_bytes(), &detail));
        }
        let mut transaction = self.0.db.begin().await?;
        for ((device, contact), detail) in changed.iter().zip(&rows) {
            transaction
                .execute(
                    "INSERT INTO device_status
                     (project, device, seen_us, connected, record_us, report_every_us, detail_sealed)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)
                     ON CONFLICT (project, device) DO UPDATE SET seen_us = excluded.seen_us,
                     connected = excluded.connected, record_us = excluded.record_us,
                     report_every_us = excluded.report_every_us, detail_sealed = excluded.detail_sealed",
                    &[
                        contact.project.as_bytes().into(),
                        device.as_bytes().into(),
                        contact.seen.map(Timestamp::as_micros).into(),
                        contact.connected.into(),
                        contact.record.map(Timestamp::as_micros).into(),
                        contact.report_every_us.into(),
                        detail.into(),
                    ],
                )
                .await?;
        }
        transaction.commit().await?;
        self.written(&changed);
        Ok(())
    }

    /// Marks as written what has not changed since, and forgets who is gone.
    fn written(&self, changed: &[(DeviceId, Contact)]) {
        let mut contacts = self.contacts();
        for (device, wrote) in changed {
            let Some(contact) = contacts.get_mut(device) else {
                continue;
            };
            if contact.seen != wrote.seen
                || contact.connected != wrote.connected
                || contact.detail != wrote.detail
            {
                continue;
            }
            contact.unwritten = false;
            if !contact.connected && !contact.exchanging {
                contacts.remove(device);
            }
        }
    }

    pub(super) fn contacts(&self) -> MutexGuard<'_, HashMap<DeviceId, Box<Contact>>> {
        self.0
            .contacts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, session: &DeviceSession, change: impl FnOnce(&mut Contact, Timestamp)) {
        let now = self.0.clock.now();
        if let Some(contact) = self.contacts().get_mut(&session.device()) {
            change(contact, now);
            contact.unwritten = true;
        }
    }
}

fn read(
    row: &Row,
    project: ProjectId,
    sealing: &SealingKey,
) -> Result<(DeviceId, Contact), FleetError> {
    let device = DeviceId::from_bytes(row.array(0)?);
    let detail = match row.opt_bytes(5)? {
        Some(sealed) => {
            let plain = sealing.open(DETAIL, device.as_bytes(), sealed)?;
            serde_json::from_slice(&plain)
                .map_err(|_| FleetError::Stored("device_status.detail_sealed"))?
        }
        None => Detail::default(),
    };
    let contact = Contact {
        seen: row.opt_i64(1)?.map(Timestamp::from_micros),
        connected: row.bool(2)?,
        record: row.opt_i64(3)?.map(Timestamp::from_micros),
        report_every_us: row.opt_i64(4)?,
        detail,
        ..Contact::new(project)
    };
    Ok((device, contact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_follows_gaps_up_at_once_and_down_slowly() {
        let mut contact = Contact::new(ProjectId::from_bytes([0; 16]));
        contact.detail.interval_us = 1_000_000;
        for second in [0, 1, 2, 12] {
            contact.arrived(Duration::from_secs(second));
        }
        assert_eq!(contact.report_every_us, Some(10_000_000));
        for second in 13..200 {
            contact.arrived(Duration::from_secs(second));
        }
        assert_eq!(contact.report_every_us.unwrap() / 100_000, 10);
        contact.arrived(Duration::from_secs(200 + 100_000));
        assert_eq!(
            contact.report_every_us.unwrap() / 100_000,
            10,
            "an outage is no plan"
        );
    }
}
