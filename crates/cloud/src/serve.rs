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

use fieldkeep_store::sql::{DatabaseKey, SqlError};
use fieldkeep_store::{Store, StoreError};

use crate::access::{self, Access};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Db;
use crate::fleet::Fleet;
use crate::keys::{self, Keys, KeysError, MasterKey};
use crate::pki::{Pki, PkiError};
use crate::projects::Projects;
use crate::series::Series;

pub use running::Running;

/// How long batches wait for each other before they are made durable together.
const COMMIT_WINDOW: Duration = Duration::from_millis(1);
const COMMIT_BATCHES: usize = 256;
/// How long a window of time stays hot after its end.
const SETTLE: Duration = Duration::from_secs(3_600);
const HTTPS_ENDPOINT: &str = "endpoint.https";

/// Why a data folder cannot be opened or served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is no instance in the folder.
    #[error("{} holds no Fieldkeep data: give the right folder with --data DIR, or start `fieldkeep serve` on it once", .0.display())]
    NoData(PathBuf),
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
            | Self::NoKeyPlace
            | Self::Keys(_)
            | Self::Listen { .. }
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
        let path = match &config.master_key {
            Some(path) => path.clone(),
            None => {
                keys::default_path(|name| std::env::var(name).ok()).ok_or(ServeError::NoKeyPlace)?
            }
        };
        let master = MasterKey::for_data(&path, &config.data)?;
        let opened = Keys::open(&config.data, &master, &clock).await?;
        let db = Db::open(&config.data, &opened.catalogue).await?;
        let keys = opened.keys;
        let access =
            Access::open(db.clone(), keys.clone(), clock.clone(), &config.sessions).await?;
        let pki = Pki::open(db.clone(), keys.clone(), clock.clone()).await?;
        let projects = Projects::new(db.clone(), keys.clone(), clock.clone(), access.clone());
        Ok((
            Self {
                clock,
                keys,
                db,
                access,
                pki,
                projects,
            },
            opened.series,
        ))
    }

    /// `host:port` where people reach the server that last ran on this data.
    pub async fn people_endpoint(&self) -> Result<Option<String>, SqlError> {
        self.db.setting(HTTPS_ENDPOINT).await
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
    store: Store,
    _lock: Arc<File>,
}

impl Server {
    /// Opens everything; only one server at a time holds a data folder.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, ServeError> {
        let (base, key) = Base::open(config, clock).await?;
        let lock = lock(&config.data)?;
        let store = Store::open(fieldkeep_store::Options {
            path: config.data.join("series.db"),
            key,
            keys: Arc::new(base.keys.clone()),
            commit_window: COMMIT_WINDOW,
            commit_batches: COMMIT_BATCHES,
            settle: SETTLE,
        })
        .await?;
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
        Ok(Self {
            base,
            series,
            fleet,
            store,
            _lock: Arc::new(lock),
        })
    }

    /// Folds the write-ahead logs into their files and closes them.
    async fn close(&self) {
        self.store.close().await;
        self.base.db.close().await;
        self.base.keys.close().await;
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
