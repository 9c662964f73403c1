//! Settings: one TOML file, defaults and manual in one.
//!
//! `config.default.toml` is embedded, documents every key, and says the same as [`Config::default`]. Promises that every
//! fault of a file is reported at once, each with file and key, and that no unknown key passes in silence.
//! Holds no secret, only paths; reads no environment and no command line: the callers lay those over it.

mod reader;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use reader::Reader;

/// The manual: every key with its default.
pub const MANUAL: &str = include_str!("../config.default.toml");

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The host under which devices and people reach this cloud.
    pub name: String,
    /// The folder with all stored data.
    pub data: PathBuf,
    /// The file with the master key; None for the default place.
    pub master_key: Option<PathBuf>,
    /// Where people and services connect.
    pub https: SocketAddr,
    /// Where devices connect by HTTPS.
    pub device: SocketAddr,
    /// Where devices connect by MQTT.
    pub mqtt: SocketAddr,
    /// The operator's own certificate for `https`.
    pub https_certificate: Option<CertificateFiles>,
    /// Sign-in and sessions.
    pub sessions: Sessions,
    /// Room on the disk.
    pub space: Space,
    /// The daily backup.
    pub backup: Backup,
    /// The mail server; None for none.
    pub mail: Option<Mail>,
}

/// Room on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The reserve, in MiB; 0 for none.
    pub reserve_mib: u32,
}

impl Default for Space {
    fn default() -> Self {
        Self { reserve_mib: 64 }
    }
}

/// A certificate as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Leaf first, then what is between it and the root.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Sign-in and sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// How long a session lives without use.
    pub idle_s: u32,
    /// How long it lives at most.
    pub absolute_s: u32,
    /// Attempts at once per account.
    pub attempts_per_account: u32,
    /// Attempts at once per source.
    pub attempts_per_source: u32,
    /// How long until there is one attempt more.
    pub attempt_every_s: u32,
    /// Requests a minute of each API key and service account.
    pub key_requests_per_minute: u32,
    /// Whether operators and administrators may do without a second factor. No key of the file: only the demo, whose
    /// data are made up, sets it.
    pub second_factor_optional: bool,
}

/// The mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Its host name, which its certificate must have.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How TLS begins.
    pub tls: MailTls,
    /// From whom letters are.
    pub from: String,
    /// The user, and the file with the password; None without a login.
    pub login: Option<(String, PathBuf)>,
    /// The roots that the server's certificate must lead to; None for the system's.
    pub ca: Option<PathBuf>,
}

/// How TLS begins on the way to the mail server. There is no way without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// At once (port 465).
    Implicit,
    /// By the command STARTTLS, and not a word before (port 587).
    StartTls,
}

/// The daily backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The folder that it goes to; None for no backup.
    pub to: Option<PathBuf>,
    /// Its hour: minutes after midnight, UTC.
    pub at_minute: u32,
    /// How long data archives are kept; None for ever.
    pub keep_days: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        Self {
            name: "localhost".to_owned(),
            data: PathBuf::from("/var/lib/fieldkeep"),
            master_key: None,
            https: any(8443),
            device: any(8444),
            mqtt: any(8883),
            https_certificate: None,
            sessions: Sessions::default(),
            space: Space::default(),
            backup: Backup::default(),
            mail: None,
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            idle_s: 12 * 3_600,
            absolute_s: 14 * 24 * 3_600,
            attempts_per_account: 10,
            attempts_per_source: 50,
            attempt_every_s: 30,
            second_factor_optional: false,
            key_requests_per_minute: 600,
        }
    }
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            to: None,
            at_minute: 2 * 60 + 30,
            keep_days: None,
        }
    }
}

/// What to do with keys that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKeys {
    /// Faults, like everything else that is wrong.
    Refuse,
    /// Reported in [`Loaded::ignored`]: an older program starts on a newer file.
    Report,
}

/// Settings from a file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings, defaults where the file is silent.
    pub config: Config,
    /// Keys of the file that this program does not know.
    pub ignored: Vec<String>,
}

/// Everything that is wrong with a file of settings; the process ends with exit code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults {
    file: PathBuf,
    faults: Vec<Fault>,
}

/// One fault of a file of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, such as `sessions.idle_s`; empty when the file as a whole is at fault.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

impl ConfigFaults {
    /// Each of them, in the order of the manual.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.faults.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: ", self.file.display())?;
            if !fault.key.is_empty() {
                write!(f, "{}: ", fault.key)?;
            }
            f.write_str(&fault.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

impl Config {
    /// Reads a file of settings.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(path: &Path, unknown: UnknownKeys) -> Result<Loaded, ConfigFaults> {
        let text = fs::read_to_string(path).map_err(|error| ConfigFaults {
            file: path.to_path_buf(),
            faults: vec![Fault {
                key: String::new(),
                what: format!("cannot be read: {error}"),
            }],
        })?;
        Self::parse(&text, path, unknown)
    }

    /// Reads the text of a file of settings; `file` only names it in faults.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse(text: &str, file: &Path, unknown: UnknownKeys) -> Result<Loaded, ConfigFaults> {
        let mut reader = match Reader::new(text) {
            Ok(reader) => reader,
            Err(fault) => {
                return Err(ConfigFaults {
                    file: file.to_path_buf(),
                    faults: vec![fault],
                });
            }
        };
        let config = Self::read(&mut reader);
        let (mut faults, ignored) = reader.finish();
        if unknown == UnknownKeys::Refuse {
            faults.extend(ignored.iter().map(|key| Fault {
                key: key.clone(),
                what: "unknown key: config.default.toml lists the known ones".to_owned(),
            }));
        }
        if faults.is_empty() {
            Ok(Loaded { config, ignored })
        } else {
            Err(ConfigFaults {
                file: file.to_path_buf(),
                faults,
            })
        }
    }

    fn read(reader: &mut Reader) -> Self {
        let mut config = Self::default();
        reader.host("name", &mut config.name);
        reader.path("data", &mut config.data);
        reader.optional_path("master_key", &mut config.master_key);
        reader.address("https", &mut config.https);
        reader.address("device", &mut config.device);
        reader.address("mqtt", &mut config.mqtt);
        reader.distinct_ports(&[
            ("https", config.https),
            ("device", config.device),
            ("mqtt", config.mqtt),
        ]);
        if reader.table("https_certificate") {
            let mut files = CertificateFiles {
                chain: PathBuf::new(),
                key: PathBuf::new(),
            };
            reader.required_path("https_certificate.chain", &mut files.chain);
            reader.required_path("https_certificate.key", &mut files.key);
            config.https_certificate = Some(files);
        }
        reader.table("sessions");
        let sessions = &mut config.sessions;
        reader.number("sessions.idle_s", 60..=31_536_000, &mut sessions.idle_s);
        reader.number(
            "sessions.absolute_s",
            60..=31_536_000,
            &mut sessions.absolute_s,
        );
        reader.number(
            "sessions.attempts_per_account",
            1..=100,
            &mut sessions.attempts_per_account,
        );
        reader.number(
            "sessions.attempts_per_source",
            1..=10_000,
            &mut sessions.attempts_per_source,
        );
        reader.number(
            "sessions.attempt_every_s",
            1..=3_600,
            &mut sessions.attempt_every_s,
        );
        reader.number(
            "sessions.key_requests_per_minute",
            1..=1_000_000,
            &mut sessions.key_requests_per_minute,
        );
        reader.table("space");
        reader.number(
            "space.reserve_mib",
            0..=65_536,
            &mut config.space.reserve_mib,
        );
        reader.table("backup");
        let backup = &mut config.backup;
        reader.optional_path("backup.to", &mut backup.to);
        reader.time_of_day("backup.at", &mut backup.at_minute);
        reader.optional_number("backup.keep_days", 31..=36_500, &mut backup.keep_days);
        config.mail = read_mail(reader);
        config
    }
}

fn read_mail(reader: &mut Reader) -> Option<Mail> {
    if !reader.table("mail") {
        return None;
    }
    let mut mail = Mail {
        host: String::new(),
        port: 0,
        tls: MailTls::Implicit,
        from: String::new(),
        login: None,
        ca: None,
    };
    reader.required_text("mail.host", &mut mail.host);
    let mut tls = "implicit".to_owned();
    reader.word("mail.tls", &["implicit", "starttls"], &mut tls);
    let mut port = 465;
    if tls == "starttls" {
        mail.tls = MailTls::StartTls;
        port = 587;
    }
    reader.number("mail.port", 1..=65_535, &mut port);
    mail.port = u16::try_from(port).unwrap_or_default();
    reader.required_text("mail.from", &mut mail.from);
    let mut user = None;
    let mut password = None;
    reader.optional_text("mail.user", &mut user);
    reader.optional_path("mail.password_file", &mut password);
    mail.login = reader.both(("mail.user", user), ("mail.password_file", password));
    reader.optional_path("mail.ca", &mut mail.ca);
    Some(mail)
}
