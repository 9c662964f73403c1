//! `keyring`: which master key this data folder needs, and the database keys wrapped by it.
//!
//! JSON of format 1, written to `keyring.new`, flushed, then renamed: a reader sees the whole file or none. Each
//! key is wrapped under a key for its own database and this instance, so that entries cannot be exchanged.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::derive::{from_hex, hex, random, unwrap, wrap};
use super::{KeysError, MasterKey, MasterKeyId, Secret};

const FORMAT: u32 = 1;
/// The keyring's file in the data folder.
pub(super) const FILE: &str = "keyring";
/// What a first start writes before it makes the databases; its rename to [`FILE`] ends the first start.
pub(super) const PENDING: &str = "keyring.new";

/// Names one installation; random, public, made at its first start.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct InstanceId([u8; 16]);

impl InstanceId {
    pub(super) fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Eight characters that tell two installations on one host apart, as in cookie names.
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The databases whose keys the keyring holds.
#[derive(Clone, Copy)]
pub(super) enum Base {
    Catalogue,
    Series,
    Keys,
}

impl Base {
    pub(super) const ALL: [Self; 3] = [Self::Catalogue, Self::Series, Self::Keys];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Series => "series",
            Self::Keys => "keys",
        }
    }

    pub(super) fn path(self, data: &Path) -> PathBuf {
        data.join(format!("{}.db", self.name()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keyring {
    format: u32,
    instance: String,
    master_key: String,
    catalogue: String,
    series: String,
    keys: String,
}

impl Keyring {
    /// Fresh random database keys, wrapped by `master`.
    pub(super) fn create(master: &MasterKey, instance: InstanceId) -> Self {
        let wrapped = |base: Base| {
            let key = Secret::new(random());
            hex(&wrap(&wrapping(master, instance, base), &key))
        };
        Self {
            format: FORMAT,
            instance: instance.to_string(),
            master_key: master.id().to_string(),
            catalogue: wrapped(Base::Catalogue),
            series: wrapped(Base::Series),
            keys: wrapped(Base::Keys),
        }
    }

    /// Reads a keyring file; None where there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, KeysError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(path, "read", source)),
        };
        let malformed = || KeysError::Malformed {
            path: path.to_path_buf(),
            what: "keyring",
        };
        let keyring: Self = serde_json::from_slice(&text).map_err(|_| malformed())?;
        let sound = keyring.format == FORMAT
            && keyring.instance().is_some()
            && keyring.master_key().is_some();
        sound.then_some(Some(keyring)).ok_or_else(malformed)
    }

    /// Writes to `keyring.new`; durable when this returns.
    pub(super) fn write_pending(&self, data: &Path) -> Result<(), KeysError> {
        let path = data.join(PENDING);
        let write = || -> std::io::Result<()> {
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(&text)?;
            file.sync_all()?;
            sync_folder(data)
        };
        write().map_err(|source| failed(&path, "written", source))
    }

    /// Makes the pending keyring the one that counts; durable when this returns.
    pub(super) fn settle(data: &Path) -> Result<(), KeysError> {
        let path = data.join(FILE);
        fs::rename(data.join(PENDING), &path)
            .and_then(|()| sync_folder(data))
            .map_err(|source| failed(&path, "written", source))
    }

    pub(super) fn instance(&self) -> Option<InstanceId> {
        from_hex(&self.instance)?.try_into().ok().map(InstanceId)
    }

    pub(super) fn master_key(&self) -> Option<MasterKeyId> {
        MasterKeyId::parse(&self.master_key)
    }

    /// None when the entry was damaged.
    pub(super) fn unwrap(&self, master: &MasterKey, base: Base) -> Option<Secret> {
        let wrapped = match base {
            Base::Catalogue => &self.catalogue,
            Base::Series => &self.series,
            Base::Keys => &self.keys,
        };
        unwrap(
            &wrapping(master, self.instance()?, base),
            &from_hex(wrapped)?,
        )
    }
}

fn wrapping(master: &MasterKey, instance: InstanceId, base: Base) -> Secret {
    master.derive("database", &[base.name().as_bytes(), instance.as_bytes()])
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn failed(path: &Path, verb: &'static str, source: std::io::Error) -> KeysError {
    KeysError::Io {
        path: path.to_path_buf(),
        verb,
        source,
    }
}
