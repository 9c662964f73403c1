//! Owns what a logger tells about itself beside its work: the file that `status` reads, and the sentences it makes of it.

use std::{fs, path::Path};

use fieldkeep_protocol::ClockQuality;
use serde::{Deserialize, Serialize};

use crate::folder::{Folder, write_atomically};

/// How a logger is, as it wrote it down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The process.
    pub pid: u32,
    /// The logger's version.
    pub version: String,
    /// The device's id.
    pub device: String,
    /// Where batches go.
    pub mqtt: String,
    /// When this was written, microseconds since 1970 UTC.
    pub written_us: i64,
    /// The kinds of the sources.
    pub sources: Vec<String>,
    /// How often they are measured.
    pub interval_us: u64,
    /// Records measured since the start.
    pub sampled: u64,
    /// Records acknowledged since the start.
    pub acknowledged: u64,
    /// Records that could not be kept since the start.
    pub lost: u64,
    /// The time of the newest record.
    pub newest_us: Option<i64>,
    /// How the line to the cloud is.
    pub link: Link,
    /// How far the clock can be believed.
    pub clock: String,
    /// When the certificate ends, seconds since 1970 UTC.
    pub certificate_expires_s: Option<i64>,
    /// How the journal is.
    pub journal: JournalStatus,
}

/// How the line to the cloud is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// In a word or two.
    pub state: LinkState,
    /// Since when.
    pub since_us: i64,
    /// When the cloud last acknowledged a batch.
    pub delivered_us: Option<i64>,
    /// What went wrong last, until something goes well.
    pub error: Option<String>,
}

/// What the line to the cloud does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Not tried yet.
    #[default]
    Starting,
    /// A connection is being made.
    Connecting,
    /// Connected, and the cloud and the device are agreeing on what is missing.
    Agreeing,
    /// Batches go out as they are closed.
    Delivering,
    /// The certificate is being renewed.
    Renewing,
    /// Waiting for the next attempt.
    Waiting,
    /// All is delivered; the next visit is due later.
    Resting,
}

impl LinkState {
    fn words(self) -> &'static str {
        match self {
            LinkState::Starting => "starting",
            LinkState::Connecting => "connecting",
            LinkState::Agreeing => "connected, agreeing on what is missing",
            LinkState::Delivering => "connected",
            LinkState::Renewing => "renewing the certificate",
            LinkState::Waiting => "not connected, waiting for the next attempt",
            LinkState::Resting => "resting until the next visit",
        }
    }
}

/// How the journal is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// The current epoch, in hexadecimal.
    pub epoch: String,
    /// How often the logger was started here.
    pub boot: u32,
    /// The oldest record of the epoch that is kept.
    pub oldest: Option<u64>,
    /// Its time.
    pub oldest_us: Option<i64>,
    /// The number that the next record gets.
    pub next: u64,
    /// What it takes on disk.
    pub bytes: u64,
    /// Records that wait for the cloud.
    pub unacknowledged: u64,
    /// Records given up before the cloud had them.
    pub dropped: u64,
}

impl Status {
    /// Writes the file; a status that cannot be written stops nothing.
    pub fn write(&self, folder: &Folder) {
        let Ok(bytes) = serde_json::to_vec_pretty(self) else {
            return;
        };
        if let Err(error) = write_atomically(&folder.status(), &bytes, 0o644) {
            tracing::debug!(%error, "the status file cannot be written");
        }
    }

    /// Reads the file; `None` if there is none that can be read.
    pub fn read(path: &Path) -> Option<Status> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// The lines that a person reads.
    pub fn lines(&self, is_running: bool, now_us: i64) -> Vec<String> {
        let ago = |then: i64| age(now_us.saturating_sub(then));
        let sampling = match (is_running, self.newest_us) {
            (false, _) => format!("not running; it last was {}", ago(self.written_us)),
            (true, None) => "no record yet".to_owned(),
            (true, Some(newest)) => format!(
                "{} every {}; newest record {}",
                self.sources.join(", "),
                length(i64::try_from(self.interval_us).unwrap_or(i64::MAX)),
                ago(newest)
            ),
        };
        let mut delivery = match (is_running, self.link.delivered_us) {
            (false, _) => "not running".to_owned(),
            (true, None) => format!(
                "{}; nothing acknowledged in this run",
                self.link.state.words()
            ),
            (true, Some(at)) => format!(
                "{}; last acknowledgement {}",
                self.link.state.words(),
                ago(at)
            ),
        };
        if let Some(error) = &self.link.error {
            delivery.push_str(&format!("; last error: {error}"));
        }
        let certificate = self
            .certificate_expires_s
            .map_or("unknown".to_owned(), |at| {
                let left = at.saturating_mul(1_000_000).saturating_sub(now_us);
                if left > 0 {
                    format!("expires in {}", length(left))
                } else {
                    format!("expired {}", age(-left))
                }
            });
        let reach = self.journal.oldest_us.map_or("empty".to_owned(), |at| {
            format!("reaches back to {}, {}", date(at), ago(at))
        });
        vec![
            format!("device       {} at {}", self.device, self.mqtt),
            format!("sampling     {sampling}"),
            format!("delivery     {delivery}"),
            format!("clock        {}", self.clock),
            format!("certificate  {certificate}"),
            format!(
                "journal      {reach}; {} records wait; {} dropped; {} lost; {}",
                self.journal.unacknowledged,
                self.journal.dropped,
                self.lost,
                size(self.journal.bytes)
            ),
        ]
    }
}

/// Clock quality in words.
pub fn clock_words(quality: ClockQuality) -> String {
    match quality {
        ClockQuality::Synchronised => "synchronised".to_owned(),
        ClockQuality::FreeRunning { age_s } => {
            format!("free-running for {}", length(i64::from(age_s) * 1_000_000))
        }
        ClockQuality::Unset => "unset".to_owned(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}

fn date(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us).map_or_else(
        |_| time_us.to_string(),
        |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

fn age(us: i64) -> String {
    if us < 0 {
        "in the future".to_owned()
    } else {
        format!("{} ago", length(us))
    }
}

fn length(us: i64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0 if us >= 1_000 => format!("{} ms", us / 1_000),
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_in_sentences_how_it_is() {
        let now = 1_800_000_000_000_000;
        let status = Status {
            device: "dev_1".to_owned(),
            mqtt: "cloud:8883".to_owned(),
            sources: vec!["host".to_owned()],
            interval_us: 1_000_000,
            newest_us: Some(now - 2_000_000),
            link: Link {
                state: LinkState::Waiting,
                delivered_us: Some(now - 3_600_000_000),
                error: Some("cloud:8883 refused the connection".to_owned()),
                ..Link::default()
            },
            clock: clock_words(ClockQuality::FreeRunning { age_s: 90_000 }),
            certificate_expires_s: Some(1_800_000_000 + 89 * 86_400),
            journal: JournalStatus {
                oldest_us: Some(now - 86_400_000_000),
                unacknowledged: 3_600,
                bytes: 2_500,
                ..JournalStatus::default()
            },
            ..Status::default()
        };
        let lines = status.lines(true, now).join("\n");
        let expected = "device       dev_1 at cloud:8883
sampling     host every 1 s; newest record 2 s ago
delivery     not connected, waiting for the next attempt; last acknowledgement 60 min ago; last error: cloud:8883 refused the connection
clock        free-running for 25 h
certificate  expires in 89 days
journal      reaches back to 2027-01-14 08:00:00 UTC, 24 h ago; 3600 records wait; 0 dropped; 0 lost; 3 KiB";
        assert_eq!(lines, expected);
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    }
}
