//! Encryption of payloads: fresh data keys of this process, wrapped by the project's key.
//!
//! A data key belongs to one project and one process; its nonce is a counter that lives in memory only, so a restored
//! or copied database can never make a nonce twice. Its wrapped row is durable before its first use. What a payload is
//! (project, kind, device, epoch, numbers, branch, key) is authenticated with it: moved to another row, it does not open.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rand;
use fieldkeep_protocol::{DeviceId, ProjectId, Timestamp};
use zeroize::Zeroizing;

use crate::error::{KeyUnavailable, StoreError};
use crate::projects::Project;
use crate::sql::Database;

const VERSION: u8 = 1;
const WRAPPED: usize = 40;
const USES: u64 = 1 << 30;
/// Callers that hold a key while it is replaced still have room far below a repeated counter.
const USES_REFUSED: u64 = 1 << 31;
const LIFE_US: i64 = 86_400_000_000;
/// Opened data keys kept in memory, about 600 bytes each.
const KEPT: usize = 4_096;

/// The key of one project that wraps its data keys (AES-256 key wrap, RFC 3394).
pub struct ProjectKey(Zeroizing<[u8; 32]>);

impl ProjectKey {
    /// Takes the raw key bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn wrapper(&self) -> Result<AesKek, StoreError> {
        AesKek::new(&AES_256, self.0.as_slice()).map_err(|_| StoreError::Encryption)
    }
}

/// Answer of [`ProjectKeys::project_key`].
pub type ProjectKeyFuture<'a> =
    Pin<Box<dyn Future<Output = Result<ProjectKey, KeyUnavailable>> + Send + 'a>>;

/// The keeper of project keys.
pub trait ProjectKeys: Send + Sync + 'static {
    /// The key of a project; asked for once for each data key that is made or opened.
    fn project_key(&self, project: ProjectId) -> ProjectKeyFuture<'_>;
}

/// What a payload holds. The numbers are part of what is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Batch = 1,
    Channels = 2,
    Seal = 3,
    Quarantine = 4,
    Chunk = 5,
    Rollup = 6,
    Note = 7,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Channels => "channel table",
            Self::Seal => "seal",
            Self::Quarantine => "quarantined message",
            Self::Chunk => "chunk",
            Self::Rollup => "roll-up",
            Self::Note => "note",
        }
    }
}

/// What a payload is; the row's columns say the same, and the payload opens only under them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(crate) project: ProjectId,
    pub(crate) kind: Kind,
    pub(crate) device: DeviceId,
    pub(crate) epoch: u64,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) branch: u32,
}

impl Subject {
    fn aad(&self, key_id: i64) -> Vec<u8> {
        let mut aad = Vec::with_capacity(66);
        aad.push(VERSION);
        aad.extend_from_slice(self.project.as_bytes());
        aad.push(self.kind as u8);
        aad.extend_from_slice(self.device.as_bytes());
        aad.extend_from_slice(&self.epoch.to_be_bytes());
        aad.extend_from_slice(&self.first.to_be_bytes());
        aad.extend_from_slice(&self.count.to_be_bytes());
        aad.extend_from_slice(&self.branch.to_be_bytes());
        aad.extend_from_slice(&key_id.to_be_bytes());
        aad
    }

    /// The error that a payload which does not open stands for; also the one place that logs it.
    pub(crate) fn damaged(&self) -> StoreError {
        let error = StoreError::Damaged {
            kind: self.kind.name(),
            device: self.device,
            first: self.first,
            count: self.count,
        };
        tracing::error!(project.id = %self.project, device.id = %self.device, epoch = self.epoch, branch = self.branch, "{error}");
        error
    }
}

/// An encrypted payload and what is needed, besides its row, to open it.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) key_id: i64,
    pub(crate) counter: i64,
    pub(crate) payload: Vec<u8>,
}

/// A data key of this process.
pub(crate) struct DataKey {
    id: i64,
    key: Arc<LessSafeKey>,
    counter: AtomicU64,
    created: Timestamp,
}

impl DataKey {
    pub(crate) fn seal(&self, subject: &Subject, plain: &[u8]) -> Result<Sealed, StoreError> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        if counter >= USES_REFUSED {
            return Err(StoreError::Encryption);
        }
        let mut payload = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        payload.extend_from_slice(plain);
        self.key
            .seal_in_place_append_tag(
                nonce(counter),
                Aad::from(subject.aad(self.id)),
                &mut payload,
            )
            .map_err(|_| StoreError::Encryption)?;
        let counter = i64::try_from(counter).map_err(|_| StoreError::Encryption)?;
        Ok(Sealed {
            key_id: self.id,
            counter,
            payload,
        })
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        let age = now.saturating_since(self.created);
        (-LIFE_US..LIFE_US).contains(&age) && self.counter.load(Ordering::Relaxed) < USES
    }
}

/// A data key that opens payloads, whichever process made it.
#[derive(Clone)]
pub(crate) struct OpeningKey(i64, Arc<LessSafeKey>);

impl OpeningKey {
    /// The plain bytes; `None` if the payload is not what `subject` says.
    pub(crate) fn open(
        &self,
        subject: &Subject,
        counter: i64,
        mut payload: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let counter = u64::try_from(counter).ok()?;
        let length = self
            .1
            .open_in_place(nonce(counter), Aad::from(subject.aad(self.0)), &mut payload)
            .ok()?
            .len();
        payload.truncate(length);
        Some(payload)
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    let (_, low) = bytes.split_at_mut(4);
    low.copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// All data keys in use.
pub(crate) struct DataKeys {
    database: Database,
    keeper: Arc<dyn ProjectKeys>,
    current: RwLock<HashMap<i64, Arc<DataKey>>>,
    making: tokio::sync::Mutex<()>,
    opened: Mutex<HashMap<i64, (ProjectId, OpeningKey)>>,
}

impl DataKeys {
    pub(crate) fn new(database: Database, keeper: Arc<dyn ProjectKeys>) -> Self {
        Self {
            database,
            keeper,
            current: RwLock::default(),
            making: tokio::sync::Mutex::default(),
            opened: Mutex::default(),
        }
    }

    /// The key that encrypts for `project` at `now`; a new one is durable when this returns.
    pub(crate) async fn current(
        &self,
        project: Project,
        now: Timestamp,
    ) -> Result<Arc<DataKey>, StoreError> {
        if let Some(key) = self.fresh(project, now) {
            return Ok(key);
        }
        let _making = self.making.lock().await;
        if let Some(key) = self.fresh(project, now) {
            return Ok(key);
        }
        let wrapper = self.keeper.project_key(project.id).await?.wrapper()?;
        let mut plain = Zeroizing::new([0; 32]);
        rand::fill(plain.as_mut_slice()).map_err(|_| StoreError::Encryption)?;
        let mut wrapped = [0; WRAPPED];
        wrapper
            .wrap(plain.as_slice(), &mut wrapped)
            .map_err(|_| StoreError::Encryption)?;
        let mut transaction = self.database.begin().await?;
        let rows = transaction
            .fetch_all(
                "INSERT INTO data_key (project, wrapped, created_us) VALUES ($1, $2, $3) RETURNING id",
                &[project.number.into(), (&wrapped).into(), now.as_micros().into()],
            )
            .await?;
        let id = rows.first().ok_or(StoreError::Encryption)?.i64(0)?;
        transaction.commit().await?;
        let key = Arc::new(DataKey {
            id,
            key: Arc::new(aead_key(&plain)?),
            counter: AtomicU64::new(0),
            created: now,
        });
        self.current
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(project.number, Arc::clone(&key));
        Ok(key)
    }

    fn fresh(&self, project: Project, now: Timestamp) -> Option<Arc<DataKey>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&project.number)
            .filter(|key| key.is_fresh(now))
            .map(Arc::clone)
    }

    /// The key under which a row was written; `None` if there is none, or its wrapping is damaged.
    pub(crate) async fn opening(
        &self,
        project: Project,
        key_id: i64,
    ) -> Result<Option<OpeningKey>, StoreError> {
        let known = self
            .opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key_id)
            .filter(|(owner, _)| *owner == project.id)
            .map(|(_, key)| key.clone());
        if known.is_some() {
            return Ok(known);
        }
        let row = self
            .database
            .fetch_optional(
                "SELECT wrapped FROM data_key WHERE project = $1 AND id = $2",
                &[project.number.into(), key_id.into()],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let wrapper = self.keeper.project_key(project.id).await?.wrapper()?;
        let mut plain = Zeroizing::new([0; 32]);
        if wrapper.unwrap(row.bytes(0)?, plain.as_mut_slice()).is_err() {
            return Ok(None);
        }
        let key = OpeningKey(key_id, Arc::new(aead_key(&plain)?));
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.len() >= KEPT {
            opened.clear();
        }
        opened.insert(key_id, (project.id, key.clone()));
        Ok(Some(key))
    }

    /// Drops every key of a project from memory.
    pub(crate) fn forget(&self, project: Project) {
        self.current
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&project.number);
        self.opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, (owner, _)| *owner != project.id);
    }
}

fn aead_key(plain: &[u8; 32]) -> Result<LessSafeKey, StoreError> {
    let key = UnboundKey::new(&AES_256_GCM, plain).map_err(|_| StoreError::Encryption)?;
    Ok(LessSafeKey::new(key))
}
