//! The worker: makes closed windows cold, and makes those anew that marks call stale.
//!
//! A window is closed when it has ended and a time of grace is over. Each is read from hot rows, made away from the
//! executor, and committed alone, so that a worker killed anywhere has lost one window's work and nothing else. What it
//! makes is a function of the hot rows up to one id: two workers at once, or one that begins again, make the same. Ingest
//! never waits for more than the transaction that puts a finished window in its place.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand;
use fieldkeep_protocol::{DeviceId, ProjectId, Timestamp};

use super::choose::{self, Standing};
use super::device::{DeviceWork, Ended};
use super::mark::{Stale, mark_changed};
use crate::devices::Device;
use crate::error::StoreError;
use crate::projects::Project;
use crate::sql::{Row, SqlError};
use crate::store::{Inner, Store};

/// How long a lease holds.
const LEASE_US: i64 = 60_000_000;
/// A device that failed is left alone for this long.
const RETRY_US: i64 = 600_000_000;
/// A device whose next window is open is looked at again after this.
const LOOK_AGAIN_US: i64 = 3_600_000_000;
/// Devices of one statement.
const PAGE: i64 = 256;
/// Damaged times that are remembered from one round to the next.
const DAMAGED: usize = 4_096;
/// Devices whose next look is remembered.
const REMEMBERED: usize = 1 << 18;

/// What a round of [`Store::compact`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Windows that became cold.
    pub moved: usize,
    /// Cold windows that were made anew.
    pub renewed: usize,
    /// Devices whose windows could not be made; the log names each once, and they are tried again later.
    pub failed: usize,
    /// There is more to do at once.
    pub left: bool,
}

/// The worker's own state, one for each store.
pub(crate) struct Worker {
    turn: tokio::sync::Mutex<Turn>,
    /// Times of devices whose chunk or roll-up readers could not read.
    damaged: Mutex<BTreeSet<Damaged>>,
}

/// Project's number and id, device, and the times.
type Damaged = (i64, [u8; 16], DeviceId, (i64, i64));

type Key = (i64, DeviceId);

#[derive(Default)]
struct Turn {
    /// Names this store in leases; made at the first round.
    holder: Option<[u8; 16]>,
    /// When a device has to be looked at again, where nothing calls for it.
    again: HashMap<Key, i64>,
    /// Devices that failed, and when they are tried again.
    failing: HashMap<Key, i64>,
}

impl Worker {
    pub(crate) fn new() -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            damaged: Mutex::default(),
        }
    }

    /// Remembers that what is stored of some times of a device cannot be read. The next round makes it anew where the rows
    /// that it was made from are kept; what is forgotten in between is found again by the next reader.
    pub(crate) fn found_damaged(&self, device: &Device, times: (i64, i64)) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        if damaged.len() < DAMAGED {
            let project = device.project;
            damaged.insert((project.number, *project.id.as_bytes(), device.id, times));
        }
    }

    fn take_damaged(&self) -> BTreeSet<Damaged> {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *damaged)
    }
}

impl Store {
    /// Makes closed windows cold and stale ones anew, at most so many. Resumable: what a round that was dropped, or
    /// failed, has committed stays; the rest is done by the next one. Rounds of one store take turns.
    ///
    /// # Errors
    /// A failing database; it is safe to try again.
    pub async fn compact(&self, now: Timestamp, most: usize) -> Result<Compacted, StoreError> {
        let inner = &self.inner;
        let mut turn = inner.worker.turn.lock().await;
        let turn = &mut *turn;
        let holder = match turn.holder {
            Some(holder) => holder,
            None => {
                let mut holder = [0; 16];
                rand::fill(&mut holder).map_err(|_| StoreError::Encryption)?;
                *turn.holder.insert(holder)
            }
        };
        let mut round = Round {
            inner,
            now,
            most,
            holder,
            done: Compacted::default(),
            turn,
        };
        round.damaged().await?;
        round.marked().await?;
        round.due().await?;
        Ok(round.done)
    }
}

struct Round<'a> {
    inner: &'a Inner,
    now: Timestamp,
    most: usize,
    holder: [u8; 16],
    done: Compacted,
    turn: &'a mut Turn,
}

impl Round<'_> {
    fn is_full(&self) -> bool {
        self.done.moved + self.done.renewed >= self.most
    }

    /// Leaves marks on what readers found damaged, as far as the rows that it was made from are there.
    async fn damaged(&mut self) -> Result<(), StoreError> {
        for (number, project, id, (from, to)) in self.inner.worker.take_damaged() {
            let id_of_project = ProjectId::from_bytes(project);
            let project = Project {
                number,
                id: id_of_project,
            };
            let device = self.inner.devices.open(project, id);
            let standing = Standing::load(&self.inner.database, &device).await?;
            let times = (from.max(standing.floor), to.min(standing.horizon));
            if times.0 >= times.1 {
                continue;
            }
            let mut transaction = self.inner.database.begin().await?;
            let known = transaction
                .fetch_optional(
                    "SELECT 1 FROM dirty WHERE project = $1 AND device = $2 AND batch IS NULL AND from_us <= $3 \
                       AND to_us >= $4 LIMIT 1",
                    &[
                        number.into(),
                        id.as_bytes().into(),
                        times.0.into(),
                        times.1.into(),
                    ],
                )
                .await?;
            if known.is_none() {
                mark_changed(&mut transaction, &device, times, Stale::Damaged, self.now).await?;
                transaction.commit().await?;
            }
        }
        Ok(())
    }

    /// The devices with marks.
    async fn marked(&mut self) -> Result<(), StoreError> {
        let rows = self
            .inner
            .database
            .fetch_all(
                "SELECT DISTINCT project.id, project.project, dirty.device FROM dirty \
                   JOIN project ON project.id = dirty.project \
                   LEFT JOIN evidence_gone AS gone ON gone.project = dirty.project AND gone.device = dirty.device \
                   LEFT JOIN cold ON cold.project = dirty.project AND cold.device = dirty.device \
                 WHERE dirty.from_us < cold.until_us AND (dirty.from_us >= coalesce(gone.until_us, $1) \
                   OR dirty.batch IS NULL AND dirty.to_us > gone.until_us)",
                &[i64::MIN.into()],
            )
            .await?;
        for row in rows {
            if self.is_full() {
                self.done.left = true;
                return Ok(());
            }
            let (project, device) = named(&row)?;
            let device = self.inner.devices.open(project, device);
            if !self.waits(&device, false) {
                self.work(&device).await?;
            }
        }
        Ok(())
    }

    /// The devices that may have a closed window at their horizon.
    async fn due(&mut self) -> Result<(), StoreError> {
        let settle = self.inner.settle_us;
        let now = self.now.as_micros();
        let mut after = (i64::MIN, Vec::new());
        loop {
            let rows = self
                .inner
                .database
                .fetch_all(
                    "SELECT project.id, project.project, page.device, page.first FROM (\
                       SELECT stream.project, stream.device, min((SELECT hot.from_us FROM hot \
                         WHERE hot.project = stream.project AND hot.stream = stream.id AND hot.held = false \
                           AND hot.day >= coalesce(cold.until_us, $4) / 86400000000 \
                           AND hot.from_us >= coalesce(cold.until_us, $4) ORDER BY hot.day, hot.from_us LIMIT 1)) AS first \
                       FROM stream LEFT JOIN cold ON cold.project = stream.project AND cold.device = stream.device \
                       WHERE (stream.project, stream.device) > ($1, $2) \
                       GROUP BY stream.project, stream.device ORDER BY stream.project, stream.device LIMIT $3) AS page \
                     JOIN project ON project.id = page.project ORDER BY page.project, page.device",
                    &[after.0.into(), (&after.1).into(), PAGE.into(), i64::MIN.into()],
                )
                .await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = (last.i64(0)?, last.bytes(2)?.to_vec());
            for row in rows {
                let (project, device) = named(&row)?;
                let Some(first) = row.opt_i64(3)? else {
                    continue;
                };
                if first.saturating_add(settle) > now {
                    continue;
                }
                let device = self.inner.devices.open(project, device);
                if self.waits(&device, true) {
                    continue;
                }
                if self.is_full() {
                    self.done.left = true;
                    return Ok(());
                }
                match self.closes(&device, first).await? {
                    None => self.work(&device).await?,
                    Some(at) => self.look_again(&device, at),
                }
            }
        }
    }

    /// Whether a device is left alone: it failed a while ago or, with `open`, its next window was open.
    fn waits(&self, device: &Device, open: bool) -> bool {
        let key = key(device);
        let now = self.now.as_micros();
        // A clock that was set back must not make anything wait longer than it could.
        let ahead = |at: Option<&i64>, most: i64| {
            at.is_some_and(|at| *at > now && *at <= now.saturating_add(most))
        };
        ahead(self.turn.failing.get(&key), RETRY_US)
            || open && ahead(self.turn.again.get(&key), LOOK_AGAIN_US)
    }

    fn look_again(&mut self, device: &Device, at: i64) {
        if self.turn.again.len() >= REMEMBERED {
            self.turn.again.clear();
        }
        self.turn.again.insert(key(device), at);
    }

    /// When the next window of a device is to be looked at; `None` where it is closed.
    async fn closes(&self, device: &Device, first: i64) -> Result<Option<i64>, StoreError> {
        let database = &self.inner.database;
        let now = self.now.as_micros();
        let standing = Standing::load(database, device).await?;
        let again = now.saturating_add(LOOK_AGAIN_US);
        let chosen = choose::at_horizon(self.inner, device, standing, (first, now), None).await?;
        Ok(match chosen {
            Some((_, window)) => {
                let closed = window.to.saturating_add(self.inner.settle_us);
                (closed > now).then_some(closed.min(again))
            }
            None => Some(again),
        })
    }

    /// All that there is to do for one device, under its lease. What is wrong with one device keeps no other waiting.
    async fn work(&mut self, device: &Arc<Device>) -> Result<(), StoreError> {
        let now = self.now.as_micros();
        match self.leased(device).await {
            Ok(ended) => {
                self.turn.failing.remove(&key(device));
                match ended {
                    Ended::Nothing => self.look_again(device, now.saturating_add(LOOK_AGAIN_US)),
                    Ended::More => self.done.left = true,
                }
                Ok(())
            }
            Err(
                error @ (StoreError::Key(_)
                | StoreError::Damaged { .. }
                | StoreError::Encryption
                // A damaged page, which may be of this device alone.
                | StoreError::Sql(SqlError::Engine(_) | SqlError::WrongKey(_))),
            ) => {
                self.done.failed += 1;
                let retry = now.saturating_add(RETRY_US);
                if self.turn.failing.insert(key(device), retry).is_none() {
                    tracing::error!(
                        project.id = %device.project.id, device.id = %device.id,
                        error = &error as &dyn std::error::Error,
                        "the times of a device cannot be made cold; they stay as they came"
                    );
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn leased(&mut self, device: &Arc<Device>) -> Result<Ended, StoreError> {
        let database = &self.inner.database;
        let now = self.now.as_micros();
        let place = [
            device.project.number.into(),
            device.id.as_bytes().into(),
            (&self.holder).into(),
        ];
        let [project, id, holder] = place;
        let until = now.saturating_add(LEASE_US);
        // One that ends later than any that could be given now was given by a clock that was ahead.
        let taken = database
            .execute(
                "INSERT INTO lease (project, device, holder, until_us) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (project, device) DO UPDATE SET holder = excluded.holder, until_us = excluded.until_us \
                 WHERE lease.until_us <= $5 OR lease.until_us > $4 OR lease.holder = excluded.holder",
                &[project, id, holder, until.into(), now.into()],
            )
            .await?;
        if taken == 0 {
            return Ok(Ended::Nothing);
        }
        let room = self
            .most
            .saturating_sub(self.done.moved + self.done.renewed);
        let mut work = DeviceWork::begin(self.inner, device, self.holder, self.now, room).await?;
        let ended = work.run().await;
        self.done.moved += work.moved;
        self.done.renewed += work.renewed;
        database
            .execute(
                "DELETE FROM lease WHERE project = $1 AND device = $2 AND holder = $3",
                &place,
            )
            .await?;
        ended
    }
}

fn key(device: &Device) -> Key {
    (device.project.number, device.id)
}

/// The project and the device of a row that begins with the project's number, the project and the device.
fn named(row: &Row) -> Result<(Project, DeviceId), StoreError> {
    let project = Project {
        number: row.i64(0)?,
        id: ProjectId::from_bytes(row.array(1)?),
    };
    Ok((project, DeviceId::from_bytes(row.array(2)?)))
}
