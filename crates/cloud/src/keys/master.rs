//! The master key: one file of one line, readable by its owner alone, outside the data folder.
//!
//! `fieldkeep-master-key-1 <64 hex digits>`. The first word is the format's version. Promises to create the
//! file only where none is, and to refuse one that others may read.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::derive::{derive, from_hex, hex};
use super::{KeysError, Secret, random};

const FORMAT: &str = "fieldkeep-master-key-1";
/// Longer than any key file; a mistyped path must not be read whole.
const LIMIT: u64 = 1_024;

/// Names a master key without telling anything of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MasterKeyId([u8; 8]);

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mk-{}", hex(&self.0))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl MasterKeyId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = from_hex(text.strip_prefix("mk-")?)?;
        bytes.try_into().ok().map(Self)
    }
}

/// The key that everything in a data folder hangs on.
#[derive(Clone, Debug)]
pub struct MasterKey {
    key: Secret,
    id: MasterKeyId,
}

impl MasterKey {
    /// Makes a new key at `path`, and the folders above it where missing; durable when this returns.
    ///
    /// # Errors
    /// [`KeysError::Io`] where a file is already: an existing key is never overwritten.
    pub fn create(path: &Path) -> Result<Self, KeysError> {
        let failed = |source| KeysError::Io {
            path: path.to_path_buf(),
            verb: "created",
            source,
        };
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(failed)?;
        let key = Secret::new(random());
        let line = Zeroizing::new(format!("{FORMAT} {}\n", *Zeroizing::new(hex(key.expose()))));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.write_all(line.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        Ok(Self::new(key))
    }

    /// Reads the key at `path`; None where there is no file.
    ///
    /// # Errors
    /// [`KeysError::Exposed`] when its group or others may read it, [`KeysError::Malformed`] when it is no key.
    pub fn load(path: &Path) -> Result<Option<Self>, KeysError> {
        let failed = |source| KeysError::Io {
            path: path.to_path_buf(),
            verb: "read",
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Exposed {
                path: path.to_path_buf(),
                mode,
            });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text)
            .map(Some)
            .ok_or_else(|| KeysError::Malformed {
                path: path.to_path_buf(),
                what: "master key",
            })
    }

    /// Which key this is.
    pub fn id(&self) -> MasterKeyId {
        self.id
    }

    pub(super) fn derive(&self, label: &'static str, context: &[&[u8]]) -> Secret {
        derive(&self.key, label, context)
    }

    fn new(key: Secret) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&derive(&key, "id", &[]).expose()[..8]);
        Self {
            key,
            id: MasterKeyId(id),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(FORMAT)?.strip_prefix(' ')?.trim_end();
        let bytes = Zeroizing::new(from_hex(digits)?);
        let key: [u8; 32] = bytes.as_slice().try_into().ok()?;
        Some(Self::new(Secret::new(key)))
    }
}

/// Where the master key is when nobody says: `$FIELDKEEP_MASTER_KEY`, else the system's folder for root, else the
/// user's configuration folder. None when there is neither variable nor home.
pub fn default_path(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(path) = set("FIELDKEEP_MASTER_KEY") {
        return Some(PathBuf::from(path));
    }
    // The owner of a process's entry in /proc is its effective user.
    if fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0) {
        return Some(PathBuf::from("/etc/fieldkeep/master.key"));
    }
    set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config")))
        .map(|folder| folder.join("fieldkeep").join("master.key"))
}
