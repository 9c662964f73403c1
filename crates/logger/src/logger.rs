//! Owns a logger as a whole: opened in an enrolled folder, run until told to stop, summed up.
//! Promises that on stopping the open batch is closed and delivery is tried for a bounded time, and that one logger at
//! most runs in a folder. It never opens a listening socket.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fieldkeep_protocol::message::Level;
use tokio::sync::{Notify, watch};

use crate::{
    books::Books,
    clock::{Judge, build_time_us},
    config::{Config, ConfigError},
    driver::{DriverError, Sources},
    folder::{Enrolment, Folder},
    identity::{Identity, IdentityError},
    journal::{Doubt, FileDisk, Journal, JournalError, Limits},
    shell::{clock::Clock, link, sampling},
    status::{JournalStatus, Link, LinkState, Status, clock_words},
};

/// Why a logger cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LoggerError {
    /// The folder is not enrolled.
    #[error("{} is not enrolled", .0.display())]
    NotEnrolled(PathBuf),
    /// `device.toml` is damaged.
    #[error("{}: {reason}", path.display())]
    Enrolment {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another logger runs in the folder.
    #[error("another logger is running in {}", .0.display())]
    Running(PathBuf),
    /// The settings are refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A source cannot be used.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The key or the certificate cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The folder cannot be used.
    #[error("cannot use {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LoggerError {
    /// The exit code of the command: 1 failed, 2 usage or configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            LoggerError::NotEnrolled(_)
            | LoggerError::Enrolment { .. }
            | LoggerError::Running(_)
            | LoggerError::Config(_)
            | LoggerError::Driver(_) => 2,
            LoggerError::Identity(_) | LoggerError::Journal(_) | LoggerError::Folder { .. } => 1,
        }
    }
}

/// How a logger runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long stopping may take to deliver what is left.
    pub drain: Duration,
    /// The longest wait between attempts to connect.
    pub backoff_most: Duration,
    /// The clocks.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            drain: Duration::from_secs(10),
            backoff_most: Duration::from_secs(300),
            clock: Clock::system(),
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Records measured.
    pub sampled: u64,
    /// Records that the cloud acknowledged; those of earlier runs among them.
    pub acknowledged: u64,
    /// Records that wait in the journal.
    pub waiting: u64,
    /// Records of the epoch given up before the cloud had them.
    pub dropped: u64,
    /// Records that could not be kept.
    pub lost: u64,
}

/// Whether a logger works or winds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    Draining,
}

/// What the two sides of a running logger share.
pub(crate) struct Shared {
    pub(crate) folder: Folder,
    pub(crate) config: Config,
    pub(crate) enrolment: Enrolment,
    pub(crate) options: Options,
    pub(crate) phase: watch::Sender<Phase>,
    /// A batch was closed.
    pub(crate) wake: Notify,
    books: Mutex<Books>,
    link: Mutex<LinkView>,
    sources: Vec<String>,
}

#[derive(Default)]
pub(crate) struct LinkView {
    pub(crate) link: Link,
    pub(crate) certificate_expires_s: Option<i64>,
}

impl Shared {
    /// The books; never held across an await.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn link(&self) -> MutexGuard<'_, LinkView> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_link(&self, state: LinkState) {
        let since_us = self.options.clock.read().wall_us;
        let link = &mut self.link().link;
        if link.state != state {
            link.state = state;
            link.since_us = since_us;
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() == Phase::Draining
    }

    pub(crate) fn status(&self) -> Status {
        let reading = self.options.clock.read();
        let (link, certificate_expires_s) = {
            let view = self.link();
            (view.link.clone(), view.certificate_expires_s)
        };
        let books = self.books();
        let facts = books.journal.facts();
        let (written_us, quality) = books.judge.time(reading);
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: self.enrolment.device.to_string(),
            mqtt: self.enrolment.endpoint(self.config.link.way).to_string(),
            written_us,
            sources: self.sources.clone(),
            interval_us: u64::try_from(self.config.interval.as_micros()).unwrap_or(u64::MAX),
            sampled: books.counts.sampled,
            acknowledged: books.counts.acknowledged,
            lost: books.counts.lost,
            newest_us: books.newest_us,
            link,
            clock: clock_words(quality),
            certificate_expires_s,
            journal: JournalStatus {
                epoch: format!("{:016x}", facts.epoch),
                boot: facts.boot,
                oldest: facts.oldest,
                oldest_us: facts.oldest_us,
                next: facts.next,
                bytes: facts.bytes,
                unacknowledged: facts.unacknowledged + facts.open,
                dropped: facts.dropped,
            },
        }
    }

    fn summary(&self) -> Summary {
        let books = self.books();
        let facts = books.journal.facts();
        Summary {
            sampled: books.counts.sampled,
            acknowledged: books.counts.acknowledged,
            waiting: facts.unacknowledged + facts.open,
            dropped: facts.dropped,
            lost: books.counts.lost,
        }
    }
}

/// A view into a running logger, for whoever runs it in their own process.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// How the logger is at this moment.
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// What the run came to so far.
    pub fn summary(&self) -> Summary {
        self.0.summary()
    }
}

/// A logger that is ready to run.
pub struct Logger {
    shared: Arc<Shared>,
    sources: Sources,
    /// Held while the logger lives.
    _lock: fs::File,
}

impl Logger {
    /// Opens an enrolled folder: settings, identity, journal and sources, so that whatever is wrong shows here.
    pub fn open(folder: Folder, options: Options) -> Result<Logger, LoggerError> {
        let root = || folder.path().to_owned();
        let path = folder.enrolment();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LoggerError::NotEnrolled(root()));
            }
            Err(source) => return Err(LoggerError::Folder { path, source }),
        };
        let enrolment =
            Enrolment::parse(&text).map_err(|reason| LoggerError::Enrolment { path, reason })?;
        let config = Config::load(&folder.config())?;
        let used = |source| LoggerError::Folder {
            path: root(),
            source,
        };
        let lock = fs::File::create(folder.lock()).map_err(used)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(LoggerError::Running(root())),
            Err(fs::TryLockError::Error(source)) => return Err(used(source)),
        }

        let identity = Identity::load(&folder, enrolment.device)?;
        let disk = FileDisk::open(&folder.journal()).map_err(used)?;
        let limits = Limits {
            max_bytes: config.journal.max_bytes,
            keep_us: i64::from(config.journal.keep_days) * 86_400_000_000,
        };
        let (journal, found) =
            Journal::open(Box::new(disk), enrolment.device, limits, random_u64())?;
        let mut judge = Judge::new(build_time_us());
        judge.prove(identity.not_before_s.saturating_mul(1_000_000));
        judge.prove(journal.proven_us());
        let reading = options.clock.read();
        let sources = Sources::open(&config, &folder, judge.time(reading).0, |channels| {
            journal.newest_of(channels)
        })?;
        let mut books = Books::new(journal, judge);
        books.note(
            reading,
            Level::Info,
            "logger.started",
            format!("version {}", env!("CARGO_PKG_VERSION")),
        );
        if let Some(doubt) = found.doubt.filter(|doubt| *doubt != Doubt::New) {
            tracing::warn!(
                ?doubt,
                "the journal's continuity is in doubt: a new epoch begins"
            );
            books.note(
                reading,
                Level::Warning,
                "journal.new_epoch",
                format!("the journal's continuity is in doubt ({doubt:?})"),
            );
        }
        let view = LinkView {
            certificate_expires_s: Some(identity.not_after_s),
            ..LinkView::default()
        };
        let shared = Shared {
            sources: sources
                .names()
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            folder,
            config,
            enrolment,
            options,
            phase: watch::Sender::new(Phase::Running),
            wake: Notify::new(),
            books: Mutex::new(books),
            link: Mutex::new(view),
        };
        Ok(Logger {
            shared: Arc::new(shared),
            sources,
            _lock: lock,
        })
    }

    /// The device's id.
    pub fn device(&self) -> fieldkeep_protocol::DeviceId {
        self.shared.enrolment.device
    }

    /// A view that stays good while the logger runs.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }

    /// Measures and delivers until `stop` is ready, then winds up: the open batch is closed and what waits is delivered
    /// as far as the drain time allows.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Summary {
        let shared = Arc::clone(&self.shared);
        let mut line = Box::pin(link::run(&shared));
        {
            let measure = Box::pin(sampling::run(&shared, &mut self.sources));
            tokio::select! {
                () = stop => {}
                () = measure => {}
                () = &mut line => {}
            }
        }
        let reading = shared.options.clock.read();
        shared.books().close(reading);
        shared.phase.send_replace(Phase::Draining);
        shared.wake.notify_one();
        if tokio::time::timeout(shared.options.drain, line)
            .await
            .is_err()
        {
            tracing::warn!(
                "not everything could be delivered before the end; it stays in the journal"
            );
        }
        shared.status().write(&shared.folder);
        shared.summary()
    }
}

/// A random number.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness there is no TLS either; a fixed number only makes an epoch that the cloud sees as a fork.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// A random number from 0 to 1.
pub(crate) fn chance() -> f64 {
    (random_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests;
