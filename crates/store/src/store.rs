//! The store as a whole: opens the database, starts the writer, and holds what all rooms of this crate share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use fieldkeep_protocol::{DeviceId, ProjectId, Timestamp};
use tokio::sync::{Mutex, Notify, broadcast};
use tokio::task::JoinHandle;

use crate::arrivals::Arrival;
use crate::changes::HIGHEST_BATCH;
use crate::cipher::{DataKeys, ProjectKeys};
use crate::cold::Worker;
use crate::devices::{Device, Devices};
use crate::error::StoreError;
use crate::lanes::{Lanes, lanes};
use crate::projects::Projects;
use crate::sql::{Database, DatabaseKey, Migration};
use crate::tables::Tables;
use crate::writer::{Item, Writer};

/// The steps of the schema of a store's database, for who fills one from a backup.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        sql: include_str!("../migrations/sqlite/0001_first.sql"),
    },
    Migration {
        number: 2,
        sql: include_str!("../migrations/sqlite/0002_tiers.sql"),
    },
    Migration {
        number: 3,
        sql: include_str!("../migrations/sqlite/0003_stamps.sql"),
    },
    Migration {
        number: 4,
        sql: include_str!("../migrations/sqlite/0004_changes.sql"),
    },
    Migration {
        number: 5,
        sql: include_str!("../migrations/sqlite/0005_retention.sql"),
    },
    Migration {
        number: 6,
        sql: include_str!("../migrations/sqlite/0006_days.sql"),
    },
    Migration {
        number: 7,
        sql: include_str!("../migrations/sqlite/0007_beside.sql"),
    },
];

/// Arrivals that a slow listener may lag behind before it has to ask the rows.
const ARRIVALS: usize = 4_096;

/// What a store is opened with.
pub struct Options {
    /// The database file; created if it is missing.
    pub path: PathBuf,
    /// The key of the whole file.
    pub key: DatabaseKey,
    /// The keeper of project keys.
    pub keys: Arc<dyn ProjectKeys>,
    /// How long the writer waits for more while arrivals come together.
    pub commit_window: Duration,
    /// Most batches of one commit, and of one project that may wait for it.
    pub commit_batches: usize,
    /// How long after its end a window of time stays hot, so that what is a little late is still on time.
    pub settle: Duration,
    /// Records of a chunk of four weeks, of a week and of a day at most; with more of them its window is shorter.
    pub window_records: [i64; 3],
}

impl Options {
    /// With the commit window (1 ms) and size (256) that suit one machine, and an hour of grace for what is late.
    pub fn new(path: impl Into<PathBuf>, key: DatabaseKey, keys: Arc<dyn ProjectKeys>) -> Self {
        Self {
            path: path.into(),
            key,
            keys,
            commit_window: Duration::from_millis(1),
            commit_batches: 256,
            settle: Duration::from_secs(3_600),
            window_records: [16_000, 100_000, 1_000_000],
        }
    }
}

/// Whose data it is. The caller has it from the device's certificate, not from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The project.
    pub project: ProjectId,
    /// The device.
    pub device: DeviceId,
}

/// An open measurement store. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) keys: DataKeys,
    pub(crate) projects: Projects,
    pub(crate) devices: Devices,
    pub(crate) tables: Tables,
    pub(crate) queue: Lanes<ProjectId, Item>,
    pub(crate) arrivals: broadcast::Sender<Arrival>,
    pub(crate) worker: Worker,
    pub(crate) settle_us: i64,
    pub(crate) window_records: [i64; 3],
    /// How many transactions had ended, and the highest id of a change then.
    pub(crate) newest_change: std::sync::Mutex<Option<(u64, i64)>>,
    newest: Arc<AtomicI64>,
    settled: Arc<AtomicI64>,
    trusts_clock: AtomicBool,
    shut: AtomicBool,
    stop: Arc<Notify>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens (or creates) the store.
    ///
    /// # Errors
    /// A wrong key, a newer schema or a failing disk; the file is left as it was.
    pub async fn open(options: Options) -> Result<Self, StoreError> {
        let database = Database::open(&options.path, &options.key, MIGRATIONS).await?;
        let newest = Arc::new(AtomicI64::new(newest_stored(&database).await?));
        let settled = Arc::new(AtomicI64::new(highest_batch(&database).await?));
        let most = options.commit_batches.max(1);
        let (queue, queued) = lanes(most);
        let stop = Arc::new(Notify::new());
        let (arrivals, _) = broadcast::channel(ARRIVALS);
        let writer = Writer {
            database: database.clone(),
            queue: queued,
            window: options.commit_window,
            most,
            arrivals: arrivals.clone(),
            newest: Arc::clone(&newest),
            last_id: None,
            settled: Arc::clone(&settled),
            stop: Arc::clone(&stop),
        };
        let writer = tokio::spawn(writer.run());
        Ok(Self {
            inner: Arc::new(Inner {
                keys: DataKeys::new(database.clone(), options.keys),
                projects: Projects::new(database.clone()),
                devices: Devices::default(),
                tables: Tables::default(),
                worker: Worker::new(),
                settle_us: i64::try_from(options.settle.as_micros()).unwrap_or(i64::MAX),
                window_records: options.window_records,
                database,
                queue,
                arrivals,
                newest_change: std::sync::Mutex::default(),
                newest,
                settled,
                trusts_clock: AtomicBool::new(true),
                shut: AtomicBool::new(false),
                stop,
                writer: Mutex::new(Some(writer)),
            }),
        })
    }

    /// Everything that becomes durable from now on, once it is. A listener that lags gets to know
    /// ([`broadcast::error::RecvError::Lagged`]) and goes on with [`Store::arrived_since`].
    pub fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.inner.arrivals.subscribe()
    }

    /// Whether so much of a project waits for the disk that it should not be asked for more.
    pub fn is_crowded(&self, project: ProjectId) -> bool {
        self.inner.queue.is_full(project)
    }

    /// The newest stored record time, held records left out; a clock behind it is wrong.
    pub async fn newest(&self) -> Result<Option<Timestamp>, StoreError> {
        let newest = self.inner.newest();
        Ok((newest != i64::MIN).then(|| Timestamp::from_micros(newest)))
    }

    /// Whether the times of arrival that callers hand in can be right; while not, no record is called ahead of them.
    pub fn trust_clock(&self, trusted: bool) {
        self.inner.trusts_clock.store(trusted, Ordering::Relaxed);
    }

    /// Lets arrivals in, or refuses each as a full disk does, so that what room is left serves other work.
    pub fn let_in(&self, open: bool) {
        self.inner.shut.store(!open, Ordering::Relaxed);
    }

    /// Drops what is in memory of a project's keys: to be called when the project is erased.
    pub async fn forget(&self, project: ProjectId) -> Result<(), StoreError> {
        if let Some(project) = self.inner.projects.find(project).await? {
            self.inner.keys.forget(project);
        }
        Ok(())
    }

    /// Ends the store in order: what is queued is written and answered, later calls fail, and the
    /// write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.inner.stop.notify_one();
        if let Some(writer) = self.inner.writer.lock().await.take()
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the writer did not end in order");
        }
        self.inner.database.close().await;
    }
}

impl Inner {
    /// The newest stored record time in microseconds; `i64::MIN` if there is none.
    pub(crate) fn newest(&self) -> i64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// The highest id of a batch that whoever reads finds.
    pub(crate) fn settled(&self) -> i64 {
        self.settled.load(Ordering::Acquire)
    }

    pub(crate) fn trusts_clock(&self) -> bool {
        self.trusts_clock.load(Ordering::Relaxed)
    }

    /// Notes that records have other times: up to `new_us`, and no longer up to `old_us`.
    pub(crate) async fn moved(&self, old_us: i64, new_us: i64) -> Result<(), StoreError> {
        if old_us >= self.newest() {
            let newest = newest_stored(&self.database).await?;
            self.newest.store(newest, Ordering::Relaxed);
        }
        self.newest.fetch_max(new_us, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses while nothing is let in.
    pub(crate) fn check_room(&self) -> Result<(), StoreError> {
        if self.shut.load(Ordering::Relaxed) {
            return Err(StoreError::NoRoom);
        }
        Ok(())
    }

    /// The device, if its project has any data.
    pub(crate) async fn find_device(
        &self,
        origin: Origin,
    ) -> Result<Option<Arc<Device>>, StoreError> {
        let project = self.projects.find(origin.project).await?;
        Ok(project.map(|project| self.devices.open(project, origin.device)))
    }

    /// The device, its project numbered now if it is new.
    pub(crate) async fn open_device(&self, origin: Origin) -> Result<Arc<Device>, StoreError> {
        let project = self.projects.open(origin.project).await?;
        Ok(self.devices.open(project, origin.device))
    }
}

/// The highest id that a batch was ever given.
async fn highest_batch(database: &Database) -> Result<i64, StoreError> {
    let row = database.fetch_optional(HIGHEST_BATCH, &[]).await?;
    row.map_or(Ok(0), |row| Ok(row.i64(0)?.max(row.i64(1)?)))
}

/// The last instant of each stream's last batch, and the latest of these and of the rows that were removed.
async fn newest_stored(database: &Database) -> Result<i64, StoreError> {
    let row = database
        .fetch_optional(
            "SELECT max((SELECT from_us + span_us FROM hot \
               WHERE hot.project = stream.project AND hot.stream = stream.id AND held = false \
               ORDER BY day DESC, from_us DESC, span_us DESC LIMIT 1)), (SELECT max(to_us) FROM kept_numbers) FROM stream",
            &[],
        )
        .await?;
    let Some(row) = row else { return Ok(i64::MIN) };
    let newest = row.opt_i64(0)?.max(row.opt_i64(1)?);
    Ok(newest.unwrap_or(i64::MIN))
}
