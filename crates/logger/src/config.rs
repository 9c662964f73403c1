//! Owns the settings of `logger.toml`: what can be set, the defaults, and what is refused.
//! Promises that unknown keys are refused and that all errors are told at once, each with file and key.
//! Does not open the drivers it names.

mod duration;
mod reader;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use toml::{Table, Value};

use crate::session::Way;
pub use duration::{parse_duration, parse_size};
use reader::Section;

/// The defaults, written down: what `enroll` puts into a new folder.
const DEFAULT_TEXT: &str = include_str!("config/logger.default.toml");

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is read and refused; every line names file and key.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

/// What the logger does.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How often every channel is measured.
    pub interval: Duration,
    /// When a batch is closed.
    pub reporting: Reporting,
    /// How it is delivered.
    pub link: Link,
    /// How much is kept.
    pub journal: Retention,
    /// Where the measurements come from.
    pub drivers: Vec<DriverConfig>,
}

/// When a batch is closed and sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Reporting {
    /// At this many records.
    pub batch_records: u32,
    /// When the first record is this old.
    pub batch_age: Duration,
}

/// How batches reach the cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// On a connection that stays, or by visits.
    pub way: Way,
    /// The time between visits.
    pub interval: Duration,
}

/// How much the journal keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    /// The most it may take on disk.
    pub max_bytes: u64,
    /// How many days acknowledged records stay.
    pub keep_days: u32,
}

/// One source of measurements.
#[derive(Clone, Debug, PartialEq)]
pub enum DriverConfig {
    /// This machine's own sensors and counters.
    Host,
    /// Rows of a CSV file.
    Replay {
        /// The file; a relative path is relative to the settings.
        file: PathBuf,
        /// Times as fast as recorded; `None` is as fast as possible.
        speed: Option<f64>,
        /// The name of the time column, if it cannot be guessed.
        time_column: Option<String>,
    },
    /// A made-up river station with faults.
    Simulated {
        /// Same seed, same river.
        seed: u64,
        /// How much history is made up at the first start, and at which interval.
        backfill: Option<(Duration, Duration)>,
    },
}

/// A driver as named on the command line of `enroll`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// This machine's own sensors.
    Host,
    /// A river station, simulated, with a year of history.
    Simulated,
    /// A CSV file.
    Replay,
}

impl Config {
    /// Reads and checks a settings file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let name = path.file_name().map_or_else(
            || path.display().to_string(),
            |n| n.to_string_lossy().into_owned(),
        );
        Config::parse(&name, &text)
    }

    /// Checks settings text; `name` is what errors call the file.
    pub fn parse(name: &str, text: &str) -> Result<Config, ConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            ConfigError::Refused(vec![format!("{name}: {}", error.to_string().trim_end())])
        })?;
        let mut errors = Vec::new();
        let config = read(table, &mut errors);
        if errors.is_empty() {
            Ok(config)
        } else {
            let lines = errors.into_iter().map(|e| format!("{name}: {e}")).collect();
            Err(ConfigError::Refused(lines))
        }
    }

    /// The text of a new settings file with one driver.
    pub fn default_text(driver: DriverKind) -> String {
        let section = match driver {
            DriverKind::Host => {
                "\n# This machine: load, memory, disk, network, temperatures.\n[[driver]]\nkind = \"host\"\n"
            }
            DriverKind::Simulated => {
                "\n# A made-up river station: level, temperature, turbidity, conductivity, battery, with faults.\n\
                 # At the first start it also makes up the past.\n[[driver]]\nkind = \"simulated\"\nseed = 1\n\
                 backfill = \"365d\"\nbackfill_interval = \"10min\"\n"
            }
            DriverKind::Replay => {
                "\n# Rows of a CSV file with a header, a time column and numbers.\n[[driver]]\nkind = \"replay\"\n\
                 file = \"replay.csv\"\n# Times as fast as recorded, or \"max\".\nspeed = \"max\"\n"
            }
        };
        format!("{DEFAULT_TEXT}{section}")
    }
}

fn read(mut root: Table, errors: &mut Vec<String>) -> Config {
    let defaults = Config {
        interval: Duration::from_secs(1),
        reporting: Reporting {
            batch_records: 10,
            batch_age: Duration::from_secs(5),
        },
        link: Link {
            way: Way::Mqtt,
            interval: Duration::from_secs(900),
        },
        journal: Retention {
            max_bytes: 128 << 20,
            keep_days: 31,
        },
        drivers: vec![DriverConfig::Host],
    };
    let day = Duration::from_secs(86_400);

    let mut sampling = section(&mut root, "sampling", errors);
    let interval = sampling
        .duration("interval", Duration::from_millis(100), day)
        .unwrap_or(defaults.interval);
    sampling.finish();

    let mut part = section(&mut root, "reporting", errors);
    let most = i64::try_from(fieldkeep_protocol::limits::BATCH_RECORDS).unwrap_or(i64::MAX);
    let reporting = Reporting {
        batch_records: part
            .integer("batch_records", 1, most)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(defaults.reporting.batch_records),
        batch_age: part
            .duration("batch_age", Duration::from_millis(100), day)
            .unwrap_or(defaults.reporting.batch_age),
    };
    part.finish();

    let mut part = section(&mut root, "link", errors);
    let way = match part.text("mode").as_deref() {
        None => defaults.link.way,
        Some("session") => Way::Mqtt,
        Some("exchange") => Way::Exchange,
        Some(other) => {
            let message = format!("must be session or exchange, not \"{other}\"");
            part.note("mode", message);
            defaults.link.way
        }
    };
    let link = Link {
        way,
        interval: part
            .duration("interval", Duration::from_secs(1), day)
            .unwrap_or(defaults.link.interval),
    };
    part.finish();

    let mut part = section(&mut root, "journal", errors);
    let journal = Retention {
        max_bytes: part
            .size("max_bytes", 1 << 20, 1 << 40)
            .unwrap_or(defaults.journal.max_bytes),
        keep_days: part
            .integer("keep_days", 1, 36_500)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(defaults.journal.keep_days),
    };
    part.finish();

    let drivers = match root.remove("driver") {
        None => defaults.drivers,
        Some(value) => read_drivers(value, errors),
    };
    for key in root.keys() {
        errors.push(format!("{key}: is not a key of this file"));
    }
    Config {
        interval,
        reporting,
        link,
        journal,
        drivers,
    }
}

fn section<'a>(root: &mut Table, key: &str, errors: &'a mut Vec<String>) -> Section<'a> {
    let table = match root.remove(key) {
        None => Table::new(),
        Some(Value::Table(table)) => table,
        Some(other) => {
            errors.push(format!("{key}: must be a section, not {other}"));
            Table::new()
        }
    };
    Section::new(&format!("{key}."), table, errors)
}

fn read_drivers(value: Value, errors: &mut Vec<String>) -> Vec<DriverConfig> {
    let Value::Array(items) = value else {
        errors.push("driver: must be written as [[driver]]".to_owned());
        return Vec::new();
    };
    let count = items.len();
    let drivers: Vec<DriverConfig> = items
        .into_iter()
        .enumerate()
        .filter_map(|(index, item)| read_driver(index, item, errors))
        .collect();
    if count == 0 {
        errors.push("driver: at least one is needed".to_owned());
    }
    // Rows of a file and made-up history have times of their own; one record cannot have two times.
    let own_times = |d: &DriverConfig| {
        matches!(
            d,
            DriverConfig::Replay { .. }
                | DriverConfig::Simulated {
                    backfill: Some(_),
                    ..
                }
        )
    };
    if count > 1 && drivers.iter().any(own_times) {
        errors.push(
            "driver: replay, and simulated with a backfill, must be the only driver".to_owned(),
        );
    }
    let hosts = drivers
        .iter()
        .filter(|d| matches!(d, DriverConfig::Host))
        .count();
    if hosts > 1 || drivers.len() - hosts > 1 {
        errors.push("driver: the same kind twice would give two channels one name".to_owned());
    }
    drivers
}

fn read_driver(index: usize, item: Value, errors: &mut Vec<String>) -> Option<DriverConfig> {
    let Value::Table(table) = item else {
        errors.push("driver: must be written as [[driver]]".to_owned());
        return None;
    };
    let mut part = Section::new(&format!("driver[{index}]."), table, errors);
    let kind = part.text("kind");
    let driver = match kind.as_deref() {
        Some("host") => Some(DriverConfig::Host),
        Some("replay") => read_replay(&mut part),
        Some("simulated") => read_simulated(&mut part),
        Some(other) => {
            let message = format!("must be host, replay or simulated, not \"{other}\"");
            part.note("kind", message);
            return None;
        }
        None => {
            part.note("kind", "is needed: host, replay or simulated");
            return None;
        }
    };
    part.finish();
    driver
}

fn read_replay(part: &mut Section<'_>) -> Option<DriverConfig> {
    let file = part.text("file");
    if file.is_none() {
        part.note("file", "is needed: the CSV file");
    }
    let speed = match part.take("speed") {
        None => None,
        Some(Value::String(text)) if text == "max" => None,
        Some(Value::Integer(n)) if n > 0 => Some(n as f64),
        Some(Value::Float(x)) if x.is_finite() && x > 0.0 => Some(x),
        Some(other) => {
            part.note(
                "speed",
                format_args!("must be a number above 0, or \"max\", not {other}"),
            );
            None
        }
    };
    Some(DriverConfig::Replay {
        file: PathBuf::from(file?),
        speed,
        time_column: part.text("time_column"),
    })
}

fn read_simulated(part: &mut Section<'_>) -> Option<DriverConfig> {
    let seed = part.integer("seed", 0, i64::MAX).unwrap_or(1);
    let day = Duration::from_secs(86_400);
    let length = part.duration("backfill", day / 24, day * 3660);
    let step = part
        .duration("backfill_interval", Duration::from_secs(1), day)
        .unwrap_or(Duration::from_secs(600));
    Some(DriverConfig::Simulated {
        seed: seed.unsigned_abs(),
        backfill: length.map(|length| (length, step)),
    })
}

#[cfg(test)]
mod tests;
