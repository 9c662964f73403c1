//! The devices in memory: each with its streams and the newest points that were asked for.
//!
//! Bounded: what was not used for longest goes first, but never a device that somebody is working with, whose queued
//! batches the next load from the rows would not see.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fieldkeep_protocol::{DeviceId, Epoch, ProjectId, Timestamp};
use tokio::sync::OnceCell;

use crate::error::StoreError;
use crate::latest::Newest;
use crate::projects::Project;
use crate::sql::Database;
use crate::stream::{Identity, Stream};

/// Devices kept in memory, one to two KiB each.
const KEPT: usize = 65_536;
/// Epochs of one device. A journal begins one when its continuity is in doubt, some in a lifetime; a device that invents
/// them without end must not fill memory and disk.
pub(crate) const EPOCHS: usize = if cfg!(test) { 48 } else { 4_096 };
/// Streams whose numbers come from the device; the cloud numbers none so far.
const NUMBERED_BY_DEVICE: i64 = 1;

/// A device as far as its data goes.
pub(crate) struct Device {
    pub(crate) project: Project,
    pub(crate) id: DeviceId,
    pub(crate) newest: Newest,
    horizon: Horizon,
    /// The newest time of its readable records, once [`Device::know_newest`] was asked; the writer's alone.
    pub(crate) newest_us: AtomicI64,
    newest_known: OnceCell<()>,
    streams: OnceCell<Mutex<Vec<Arc<Stream>>>>,
    making: tokio::sync::Mutex<()>,
    used: AtomicU64,
}

/// Where the cold times of a device end, as far as memory knows: never before the end that is stored.
struct Horizon {
    loaded: OnceCell<()>,
    until_us: AtomicI64,
}

impl Default for Horizon {
    fn default() -> Self {
        Self {
            loaded: OnceCell::new(),
            until_us: AtomicI64::new(i64::MIN),
        }
    }
}

impl Device {
    /// The horizon: no time from it on is cold. `i64::MIN` while nothing is. It may be ahead of what is stored, while a
    /// worker commits or after one failed to: who reads asks the rows where it ends ([`crate::tiers`]).
    pub(crate) async fn horizon(&self, database: &Database) -> Result<i64, StoreError> {
        self.horizon
            .loaded
            .get_or_try_init(|| async {
                let row = database
                    .fetch_optional(
                        "SELECT until_us FROM cold WHERE project = $1 AND device = $2",
                        &[self.project.number.into(), self.id.as_bytes().into()],
                    )
                    .await?;
                if let Some(row) = row {
                    self.raise_horizon(row.i64(0)?);
                }
                Ok::<_, StoreError>(())
            })
            .await?;
        Ok(self.known_horizon())
    }

    /// The horizon without asking the rows; whoever queued something of this device has loaded it.
    pub(crate) fn known_horizon(&self) -> i64 {
        self.horizon.until_us.load(Ordering::SeqCst)
    }

    /// Moves the horizon on. A worker does so inside its write transaction, before it commits: a row that is written
    /// after that transaction then knows that it is late.
    pub(crate) fn raise_horizon(&self, until_us: i64) {
        self.horizon.until_us.fetch_max(until_us, Ordering::SeqCst);
    }

    /// Its streams, in the order in which the cloud first saw them.
    pub(crate) async fn streams(
        &self,
        database: &Database,
    ) -> Result<Vec<Arc<Stream>>, StoreError> {
        let streams = self.list(database).await?;
        Ok(streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }

    /// The stream of an epoch, if it was ever seen.
    pub(crate) async fn stream(
        &self,
        database: &Database,
        epoch: Epoch,
    ) -> Result<Option<Arc<Stream>>, StoreError> {
        let streams = self.list(database).await?;
        Ok(streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .find(|stream| stream.identity.epoch == epoch)
            .map(Arc::clone))
    }

    /// The stream of an epoch; a new one is durable when this returns.
    pub(crate) async fn open_stream(
        &self,
        database: &Database,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Arc<Stream>, StoreError> {
        if let Some(stream) = self.stream(database, epoch).await? {
            return Ok(stream);
        }
        let _making = self.making.lock().await;
        if let Some(stream) = self.stream(database, epoch).await? {
            return Ok(stream);
        }
        if self.streams(database).await?.len() >= EPOCHS {
            return Err(StoreError::TooManyEpochs(self.id));
        }
        // A caller that gave up after the commit leaves a row that memory does not know.
        let key = [
            self.project.number.into(),
            self.id.as_bytes().into(),
            epoch.0.cast_signed().into(),
        ];
        let mut transaction = database.begin().await?;
        let [number, device, signed] = key;
        transaction
            .execute(
                "INSERT INTO stream (project, device, epoch, first_seen_us, kind) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                &[
                    number,
                    device,
                    signed,
                    now.as_micros().into(),
                    NUMBERED_BY_DEVICE.into(),
                ],
            )
            .await?;
        let row = transaction
            .fetch_optional(
                "SELECT id, first_seen_us FROM stream WHERE project = $1 AND device = $2 AND epoch = $3",
                &key,
            )
            .await?
            .ok_or(StoreError::Closed)?;
        transaction.commit().await?;
        let stream = Arc::new(Stream::new(Identity {
            id: row.i64(0)?,
            project: self.project,
            device: self.id,
            epoch,
            first_seen: Timestamp::from_micros(row.i64(1)?),
        }));
        self.list(database)
            .await?
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&stream));
        Ok(stream)
    }

    /// Learns the newest time of its readable records, before the first of its batches is queued: by it the writer tells
    /// which are late.
    pub(crate) async fn know_newest(&self, database: &Database) -> Result<(), StoreError> {
        let learn = || async {
            let row = database
                .fetch_optional(
                    "SELECT max(from_us + span_us) FROM hot WHERE project = $1 AND held = false \
                       AND stream IN (SELECT id FROM stream WHERE project = $1 AND device = $2)",
                    &[self.project.number.into(), self.id.as_bytes().into()],
                )
                .await?;
            if let Some(newest) = row.map_or(Ok(None), |row| row.opt_i64(0))? {
                self.newest_us.fetch_max(newest, Ordering::Relaxed);
            }
            Ok(())
        };
        self.newest_known.get_or_try_init(learn).await.copied()
    }

    /// Puts a stream that will be loaded anew in the place of one whose commit failed.
    pub(crate) fn replace(&self, broken: &Arc<Stream>) {
        self.newest.forget();
        let Some(streams) = self.streams.get() else {
            return;
        };
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = streams
            .iter_mut()
            .find(|stream| Arc::ptr_eq(stream, broken))
        {
            *place = Arc::new(Stream::new(broken.identity));
        }
    }

    async fn list(&self, database: &Database) -> Result<&Mutex<Vec<Arc<Stream>>>, StoreError> {
        self.streams
            .get_or_try_init(|| async {
                let rows = database
                    .fetch_all(
                        "SELECT id, epoch, first_seen_us FROM stream WHERE project = $1 AND device = $2 ORDER BY id",
                        &[self.project.number.into(), self.id.as_bytes().into()],
                    )
                    .await?;
                let streams = rows
                    .iter()
                    .map(|row| {
                        Ok(Arc::new(Stream::new(Identity {
                            id: row.i64(0)?,
                            project: self.project,
                            device: self.id,
                            epoch: Epoch(row.i64(1)?.cast_unsigned()),
                            first_seen: Timestamp::from_micros(row.i64(2)?),
                        })))
                    })
                    .collect::<Result<_, StoreError>>()?;
                Ok(Mutex::new(streams))
            })
            .await
    }
}

/// The devices in memory.
#[derive(Default)]
pub(crate) struct Devices {
    known: Mutex<HashMap<(ProjectId, DeviceId), Arc<Device>>>,
    clock: AtomicU64,
}

impl Devices {
    /// The device; nothing is read or written for it yet.
    pub(crate) fn open(&self, project: Project, id: DeviceId) -> Arc<Device> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT && !known.contains_key(&(project.id, id)) {
            make_room(&mut known);
        }
        let device = known.entry((project.id, id)).or_insert_with(|| {
            Arc::new(Device {
                project,
                id,
                newest: Newest::default(),
                horizon: Horizon::default(),
                newest_us: AtomicI64::new(i64::MIN),
                newest_known: OnceCell::new(),
                streams: OnceCell::new(),
                making: tokio::sync::Mutex::default(),
                used: AtomicU64::new(now),
            })
        });
        device.used.store(now, Ordering::Relaxed);
        Arc::clone(device)
    }
}

/// Forgets the longest unused eighth, except devices that somebody holds.
fn make_room(known: &mut HashMap<(ProjectId, DeviceId), Arc<Device>>) {
    let mut used: Vec<u64> = known
        .values()
        .map(|device| device.used.load(Ordering::Relaxed))
        .collect();
    let eighth = used.len() / 8;
    let (_, bar, _) = used.select_nth_unstable(eighth);
    let bar = *bar;
    known.retain(|_, device| {
        device.used.load(Ordering::Relaxed) > bar || Arc::strong_count(device) > 1
    });
}
