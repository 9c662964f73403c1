//! Opens the rooms and mounts both front doors on their listeners.
//!
//! [`Base`] is what commands beside a running server need; [`Server`] adds the
//! measurements; [`Running`] listens. Owns the order of opening and closing and
//! the lock that lets only one server onto a data folder. Decides nothing of what a door does.

mod running;
pub mod tls;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fieldkeep_store::sql::{DatabaseKey, SqlError, go_back};
use fieldkeep_store::{Store, StoreError};

use crate::access::{self, Access};
use crate::backup::Backup;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Db;
use crate::fleet::Fleet;
use crate::keys::{self, Keys, KeysError, MasterKey};
use crate::pki::{Pki, PkiError};
use crate::projects::Projects;
use crate::series::Series;
use crate::space::Space;

pub use running::Running;

/// How long batches wait for each other before they are made durable together.
const COMMIT_WINDOW: Duration = Duration::from_millis(1);
const COMMIT_BATCHES: usize = 256;
/// How long a window of time stays hot after its end.
const SETTLE: Duration = Duration::from_secs(3_600);
const HTTPS_ENDPOINT: &str = "endpoint.https";
const CLOCKS: &str = "clocks.to_look_at";

/// Why a data folder cannot be opened or served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no instance in the folder.
    #[error("{} holds no Fieldkeep data: give the right folder with --data DIR, or start `fieldkeep serve` on it once", .0.display())]
    NoData(PathBuf),
    /// It was restored, and nobody has opened it since.
    #[error("{} was restored from a backup and is closed: nobody gets in, and loggers keep what they have. Make sure that the \
             instance it stands for runs no more, then open it with `fieldkeep admin open --data {} --master-key FILE`",
            .0.display(), .0.display())]
    Closed(PathBuf),
    /// Another server holds the folder.
    #[error("another fieldkeep already serves {}: stop it first", .0.display())]
    Busy(PathBuf),
    /// No place for the master key is known.
    #[error("no place for the master key: set --master-key FILE or $FIELDKEEP_MASTER_KEY")]
    NoKeyPlace,
    /// Keys and data do not fit together.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The catalogue does not open.
    #[error("the catalogue does not open")]
    Catalogue(#[from] SqlError),
    /// The measurements do not open.
    #[error("the measurements do not open")]
    Store(#[from] StoreError),
    /// People and keys cannot be served.
    #[error("access cannot be opened")]
    Access(#[from] access::Failure),
    /// Certificates cannot be made or read.
    #[error("the certificate authorities do not open")]
    Pki(#[from] PkiError),
    /// A listener could not listen.
    #[error("cannot listen on {address}: choose another with --{listener} ADDRESS:PORT")]
    Listen {
        /// Which listener.
        listener: &'static str,
        /// The address that is taken or not ours.
        address: std::net::SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Mail cannot be sent with these settings.
    #[error("mail cannot be set up")]
    Mail(#[from] crate::mail::MailError),
    /// A file of the folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The operator's own certificate cannot be used.
    #[error("the certificate of [https_certificate] cannot be used")]
    OwnCertificate(#[source] tls::OperatorCertificateError),
}

impl ServeError {
    /// Whether the person who starts it must change a setting (exit code 2).
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::NoData(_)
            | Self::Closed(_)
            | Self::NoKeyPlace
            | Self::Keys(_)
            | Self::Listen { .. }
            | Self::Mail(_)
            | Self::OwnCertificate(_) => true,
            Self::Busy(_)
            | Self::Catalogue(_)
            | Self::Store(_)
            | Self::Access(_)
            | Self::Pki(_)
            | Self::Write { .. } => false,
        }
    }
}

/// The rooms that need no measurements: what `admin` opens beside a running server.
#[derive(Clone)]
pub struct Base {
    /// Time.
    pub clock: Clock,
    /// Keys.
    pub keys: Keys,
    /// The catalogue.
    pub db: Db,
    /// People, keys, grants.
    pub access: Access,
    /// Certificates and devices.
    pub pki: Pki,
    /// Projects and what is in them.
    pub projects: Projects,
    /// Backups of all of it.
    pub backup: Backup,
}

impl Base {
    /// Opens an instance that exists.
    ///
    /// # Errors
    /// [`ServeError::NoData`] where there is none; nothing is made.
    pub async fn existing(config: &Config, clock: Clock) -> Result<Self, ServeError> {
        if !keys::is_started(&config.data) {
            return Err(ServeError::NoData(config.data.clone()));
        }
        Ok(Self::open(config, clock).await?.0)
    }

    /// Opens an instance, or makes a new one in an empty or missing folder; with the key of `series.db`.
    async fn open(config: &Config, clock: Clock) -> Result<(Self, DatabaseKey), ServeError> {
        let path = master_key_path(config)?;
        let master = MasterKey::for_data(&path, &config.data)?;
        let opened = Keys::open(&config.data, &master, &clock).await?;
        let db = Db::open(&config.data, &opened.catalogue).await?;
        let keys = opened.keys;
        let access =
            Access::open(db.clone(), keys.clone(), clock.clone(), &config.sessions).await?;
        let pki = Pki::open(db.clone(), keys.clone(), clock.clone()).await?;
        let projects = Projects::new(db.clone(), keys.clone(), clock.clone(), access.clone());
        let backup = Backup::new(
            db.clone(),
            keys.clone(),
            clock.clone(),
            &config.data,
            opened.series.clone(),
        );
        Ok((
            Self {
                clock,
                keys,
                db,
                access,
                pki,
                projects,
                backup,
            },
            opened.series,
        ))
    }

    /// `host:port` where people reach the server that last ran on this data.
    pub async fn people_endpoint(&self) -> Result<Option<String>, SqlError> {
        self.db.setting(HTTPS_ENDPOINT).await
    }

    /// Batches that are held and proposals that wait, as the server that last ran on this data counted them.
    pub async fn clocks_to_look_at(&self) -> Result<Option<(u64, u64)>, SqlError> {
        let text = self.db.setting(CLOCKS).await?;
        Ok(text.and_then(|text| {
            let (held, open) = text.split_once(' ')?;
            Some((held.parse().ok()?, open.parse().ok()?))
        }))
    }

    async fn announce_clocks(&self, held: u64, open: u64) -> Result<(), SqlError> {
        self.db.set(&[(CLOCKS, &format!("{held} {open}"))]).await
    }

    async fn announce_people_endpoint(&self, endpoint: &str) -> Result<(), SqlError> {
        self.db.set(&[(HTTPS_ENDPOINT, endpoint)]).await
    }
}

/// All rooms, open.
#[derive(Clone)]
pub struct Server {
    /// The rooms without measurements.
    pub base: Base,
    /// Measurements.
    pub series: Series,
    /// What is known of each device.
    pub fleet: Fleet,
    /// Room on the disk.
    pub space: Space,
    store: Store,
    _lock: Arc<File>,
}

impl Server {
    /// Opens everything; only one server at a time holds a data folder.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, ServeError> {
        let (base, key) = Base::open(config, clock).await?;
        let lock = lock(&config.data)?;
        let store = open_store(config, &base, key).await?;
        let fleet = Fleet::new(
            base.db.clone(),
            base.keys.clone(),
            base.clock.clone(),
            base.pki.clone(),
        );
        let series = Series::new(
            store.clone(),
            base.projects.clone(),
            base.pki.clone(),
            base.access.clone(),
            base.clock.clone(),
        );
        // Before anybody is heard: what comes first is judged by it too.
        if let Err(error) = series.judge_own_clock().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "this machine's clock cannot be judged yet"
            );
        }
        let space = Space::new(
            &config.data,
            u64::from(config.space.reserve_mib) << 20,
            base.db.clone(),
            series.clone(),
            base.clock.clone(),
        );
        Ok(Self {
            base,
            series,
            fleet,
            space,
            store,
            _lock: Arc::new(lock),
        })
    }

    /// Writes the measurements' file anew without what is free in it; answers how many bytes went. No server may run.
    pub async fn rewrite(config: &Config, clock: Clock) -> Result<u64, ServeError> {
        if !keys::is_started(&config.data) {
            return Err(ServeError::NoData(config.data.clone()));
        }
        let server = Self::open(config, clock).await?;
        let given = server.store.rewrite().await;
        server.close().await;
        Ok(given?)
    }

    /// Lets people and devices in to a restored instance; answers whether it was closed.
    ///
    /// # Errors
    /// As [`open`](Self::open): an instance that does not open stays closed.
    pub async fn admit(config: &Config, clock: Clock) -> Result<bool, ServeError> {
        if !keys::is_started(&config.data) {
            return Err(ServeError::NoData(config.data.clone()));
        }
        open_and_close(config, clock).await?;
        let path = config.data.join(keys::CLOSED);
        let removed = match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            removed => removed.and_then(|()| File::open(&config.data)?.sync_all()),
        };
        removed.map_err(|source| ServeError::Write { path, source })?;
        Ok(true)
    }

    /// Puts the copies from before an upgrade in the place of databases that are too new for this program; answers which
    /// files. No server may run.
    ///
    /// # Errors
    /// As [`open`](Self::open), also where there is no copy to go back to.
    pub async fn go_back(config: &Config, clock: Clock) -> Result<Vec<PathBuf>, ServeError> {
        if !keys::is_started(&config.data) {
            return Err(ServeError::NoData(config.data.clone()));
        }
        let _lock = lock(&config.data)?;
        let mut changed = Vec::new();
        loop {
            let Err(error) = open_and_close(config, clock.clone()).await else {
                return Ok(changed);
            };
            let Some((file, known)) = too_new(&error) else {
                return Err(error);
            };
            let write = |source| ServeError::Write {
                path: file.clone(),
                source,
            };
            if !go_back(&file, known).map_err(write)? {
                return Err(error);
            }
            changed.push(file);
        }
    }

    /// Folds the write-ahead logs into their files and closes them.
    async fn close(&self) {
        self.store.close().await;
        self.base.db.close().await;
        self.base.keys.close().await;
    }
}

async fn open_store(config: &Config, base: &Base, key: DatabaseKey) -> Result<Store, ServeError> {
    let path = config.data.join("series.db");
    let options = fieldkeep_store::Options {
        commit_window: COMMIT_WINDOW,
        commit_batches: COMMIT_BATCHES,
        settle: SETTLE,
        ..fieldkeep_store::Options::new(path, key, Arc::new(base.keys.clone()))
    };
    Ok(Store::open(options).await?)
}

async fn open_and_close(config: &Config, clock: Clock) -> Result<(), ServeError> {
    let (base, key) = Base::open(config, clock).await?;
    let opened = open_store(config, &base, key).await;
    if let Ok(store) = &opened {
        store.close().await;
    }
    base.db.close().await;
    base.keys.close().await;
    opened.map(|_| ())
}

/// The database that is too new for this program, and the schema that it knows.
fn too_new(error: &ServeError) -> Option<(PathBuf, i64)> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(SqlError::Newer { file, known, .. }) = error.downcast_ref() {
            return Some((file.clone(), *known));
        }
        cause = error.source();
    }
    None
}

/// Where the master key of these settings is.
pub(crate) fn master_key_path(config: &Config) -> Result<PathBuf, ServeError> {
    match &config.master_key {
        Some(path) => Ok(path.clone()),
        None => keys::default_path(|name| std::env::var(name).ok()).ok_or(ServeError::NoKeyPlace),
    }
}

/// Held by the open file; the system frees it however the process ends.
fn lock(data: &Path) -> Result<File, ServeError> {
    let path = data.join("serve.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| ServeError::Write { path, source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(ServeError::Busy(data.to_owned())),
    }
}
