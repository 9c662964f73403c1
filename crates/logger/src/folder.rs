//! Owns the layout of a logger's folder and how a file in it is replaced.
//! Promises that a replaced file is either the old or the new one, whole, even after a power cut.
//! Does not know what the files say, but for the two addresses in `device.toml`.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use fieldkeep_protocol::id::{DeviceId, ProjectId};

use crate::session::Way;

/// A logger's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at a path; nothing is read or made.
    pub fn at(root: impl Into<PathBuf>) -> Folder {
        Folder { root: root.into() }
    }

    /// Where a logger lives when nothing else is said: the system's state folder for root, the user's otherwise.
    pub fn default_root() -> PathBuf {
        if rustix::process::geteuid().is_root() {
            return PathBuf::from("/var/lib/fieldkeep-logger");
        }
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
        let home = || {
            let home = std::env::var_os("HOME").unwrap_or_else(|| ".".into());
            PathBuf::from(home).join(".local/state")
        };
        state
            .filter(|path| path.is_absolute())
            .unwrap_or_else(home)
            .join("fieldkeep-logger")
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The private key, PKCS#8 in PEM, readable by its owner only.
    pub fn key(&self) -> PathBuf {
        self.root.join("device.key")
    }

    /// The device's certificate and the one that issued it.
    pub fn certificate(&self) -> PathBuf {
        self.root.join("device.pem")
    }

    /// The root that the cloud's certificate is checked against.
    pub fn ca(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// Who this device is and where its cloud listens.
    pub fn enrolment(&self) -> PathBuf {
        self.root.join("device.toml")
    }

    /// The settings.
    pub fn config(&self) -> PathBuf {
        self.root.join("logger.toml")
    }

    /// The journal's folder.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Batches that the cloud could not read.
    pub fn rejected(&self) -> PathBuf {
        self.root.join("rejected")
    }

    /// What `status` reads.
    pub fn status(&self) -> PathBuf {
        self.root.join("status.json")
    }

    /// Held by the one logger that runs in this folder.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Where a renewal prepares the next key and certificate.
    pub fn next(&self) -> PathBuf {
        self.root.join("next")
    }

    /// Present once the simulated station has made up its past.
    pub fn backfilled(&self) -> PathBuf {
        self.root.join("backfilled")
    }

    /// Makes the folder, for its owner only.
    pub fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
    }
}

/// Replaces a file: new bytes beside it, synced, renamed over it, folder synced.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let beside = folder.join(name);
    // A leftover of an earlier crash may have wider permissions than this file must have.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(folder)
}

/// Makes names that were added to or removed from a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// An address of the cloud: a name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The text is not `HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address of the form HOST:PORT")]
pub struct BadEndpoint;

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Endpoint, BadEndpoint> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or(BadEndpoint)?,
            None => text.rsplit_once(':').ok_or(BadEndpoint)?,
        };
        let port = port.parse().map_err(|_| BadEndpoint)?;
        let name_ok = rustls_pki_types::ServerName::try_from(host).is_ok();
        if port == 0 || !name_ok {
            return Err(BadEndpoint);
        }
        Ok(Endpoint {
            host: host.to_owned(),
            port,
        })
    }
}

/// What enrolment settled: who the device is, and where its cloud listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The device.
    pub device: DeviceId,
    /// The project that its data belongs to.
    pub project: ProjectId,
    /// Where batches go.
    pub mqtt: Endpoint,
    /// Where certificates are renewed, and exchanges go.
    pub https: Endpoint,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolmentFile {
    device: String,
    project: String,
    mqtt: String,
    https: String,
}

impl Enrolment {
    /// Where a session of this way connects to.
    pub fn endpoint(&self, way: Way) -> &Endpoint {
        match way {
            Way::Mqtt => &self.mqtt,
            Way::Exchange => &self.https,
        }
    }

    /// The text of `device.toml`.
    pub fn to_text(&self) -> String {
        format!(
            "device = \"{}\"\nproject = \"{}\"\nmqtt = \"{}\"\nhttps = \"{}\"\n",
            self.device, self.project, self.mqtt, self.https
        )
    }

    /// Reads the text of `device.toml`; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Enrolment, String> {
        let file: EnrolmentFile = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let field = |name: &str| format!("{name} is not valid");
        Ok(Enrolment {
            device: file.device.parse().map_err(|_| field("device"))?,
            project: file.project.parse().map_err(|_| field("project"))?,
            mqtt: file.mqtt.parse().map_err(|_| field("mqtt"))?,
            https: file.https.parse().map_err(|_| field("https"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["cloud.example:8883", "127.0.0.1:1", "[2001:db8::1]:8443"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "cloud",
            "cloud:",
            "cloud:0",
            ":1",
            "a b:1",
            "cloud:70000",
            "[::1]",
        ] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replaced_file_has_its_mode_and_leaves_nothing_beside() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.key");
        fs::write(dir.path().join("device.key.tmp"), b"leftover").unwrap();
        write_atomically(&path, b"one", 0o600).unwrap();
        write_atomically(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
