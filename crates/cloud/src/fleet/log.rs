//! The log of each device: what it said, and what the cloud says of it. Bounded in lines and in rate.

use std::sync::PoisonError;
use std::time::Duration;

use fieldkeep_protocol::message::{Level, LogLine};
use fieldkeep_protocol::{DeviceId, ProjectId, Timestamp, limits};

use super::{Fleet, FleetError};
use crate::access::{Grant, Read};
use crate::pki::{DeviceSession, Refused};

const TEXT: &str = "device_log.text_sealed";
/// Lines kept of each device.
const KEPT: i64 = 10_000;
/// Lines between two looks at whether there are too many.
const PRUNE_EVERY: u32 = 64;
const BURST: u32 = 60;
const EARLIEST_US: i64 = 946_684_800_000_000;
const FUTURE_US: i64 = 86_400 * 1_000_000;

/// Who wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineSource {
    /// The device itself.
    Device,
    /// The cloud, about the device.
    Cloud,
}

impl LineSource {
    /// The word for it in columns and in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Cloud => "cloud",
        }
    }
}

/// One line of a device's log.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its position: later lines have higher ones.
    pub id: i64,
    /// When it happened, by the clock of whoever wrote it.
    pub time: Timestamp,
    /// How weighty.
    pub level: Level,
    /// Who wrote it.
    pub source: LineSource,
    /// What kind, for machines.
    pub code: String,
    /// What happened, for people.
    pub text: String,
}

/// How many more lines a device may write: 60 at once, one a second.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    refilled: Duration,
    unkept: u64,
    written: u32,
}

enum Spent {
    Kept { unkept: u64, prune: bool },
    Counted,
}

impl Budget {
    fn new(now: Duration) -> Self {
        Self {
            left: BURST,
            refilled: now,
            unkept: 0,
            written: 0,
        }
    }

    fn spend(&mut self, now: Duration) -> Spent {
        let seconds = now.saturating_sub(self.refilled).as_secs();
        self.refilled += Duration::from_secs(seconds);
        let refill = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(refill).min(BURST);
        if self.left == 0 {
            self.unkept += 1;
            return Spent::Counted;
        }
        self.left -= 1;
        let prune = self.written.is_multiple_of(PRUNE_EVERY);
        self.written = self.written.wrapping_add(1);
        Spent::Kept {
            unkept: std::mem::take(&mut self.unkept),
            prune,
        }
    }
}

impl Fleet {
    /// Writes a line of the cloud about a device; durable when this returns, or counted when there are too many.
    pub async fn log(
        &self,
        project: ProjectId,
        device: DeviceId,
        level: Level,
        code: &str,
        text: &str,
    ) -> Result<(), FleetError> {
        let at = self.0.clock.now();
        self.write_line(project, device, at, LineSource::Cloud, level, code, text)
            .await
    }

    /// Writes a line of the device's own log. Its time is kept where it can be true.
    pub async fn device_line(
        &self,
        session: &DeviceSession,
        line: &LogLine<'_>,
    ) -> Result<(), FleetError> {
        let now_us = self.0.clock.now().as_micros();
        let possible = EARLIEST_US..now_us.saturating_add(FUTURE_US);
        let at = match possible.contains(&line.time.as_micros()) {
            true => line.time,
            false => Timestamp::from_micros(now_us),
        };
        let (project, device) = (session.project(), session.device());
        self.write_line(
            project,
            device,
            at,
            LineSource::Device,
            line.level,
            line.code,
            line.text,
        )
        .await
    }

    /// Notes that a device was turned away, in its log and in its state.
    pub async fn refused(&self, refused: &Refused) -> Result<(), FleetError> {
        let Some((project, device)) = refused.device() else {
            return Ok(());
        };
        let text = format!("Certificate refused: {refused}");
        self.turned_away(project, device, &text).await?;
        self.log(project, device, Level::Warning, refused.code(), &text)
            .await
    }

    /// Lines of a device, newest first; `before` goes on after the last one of the page before.
    pub async fn device_log(
        &self,
        grant: &Grant<'_, Read>,
        device: DeviceId,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<Line>, FleetError> {
        self.0
            .pki
            .device(grant, device)
            .await?
            .ok_or(FleetError::NotFound)?;
        let project = grant.project();
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id, at_us, level, source, code, text_sealed FROM device_log
                 WHERE project = $1 AND device = $2 AND id < $3 ORDER BY id DESC LIMIT $4",
                &[
                    project.as_bytes().into(),
                    device.as_bytes().into(),
                    before.unwrap_or(i64::MAX).into(),
                    limit.into(),
                ],
            )
            .await?;
        let sealing = self.0.keys.project(project).await?;
        let mut lines = Vec::with_capacity(rows.len());
        for row in &rows {
            let at_us = row.i64(1)?;
            let level = u8::try_from(row.i64(2)?).ok().and_then(Level::from_code);
            lines.push(Line {
                id: row.i64(0)?,
                time: Timestamp::from_micros(at_us),
                level: level.ok_or(FleetError::Stored("device_log.level"))?,
                source: match row.text(3)? {
                    "device" => LineSource::Device,
                    "cloud" => LineSource::Cloud,
                    _ => return Err(FleetError::Stored("device_log.source")),
                },
                code: row.text(4)?.to_owned(),
                text: sealing.open_text(TEXT, &line_key(device, at_us), row.bytes(5)?)?,
            });
        }
        Ok(lines)
    }

    #[expect(clippy::too_many_arguments, reason = "one row, one argument a column")]
    async fn write_line(
        &self,
        project: ProjectId,
        device: DeviceId,
        at: Timestamp,
        source: LineSource,
        level: Level,
        code: &str,
        text: &str,
    ) -> Result<(), FleetError> {
        let Spent::Kept { unkept, prune } = self.spend(device) else {
            return Ok(());
        };
        let mut text = clean(text);
        if unkept > 0 {
            text.push_str(&format!(" ({unkept} lines before this one were not kept)"));
        }
        let sealing = self.0.keys.project(project).await?;
        let at_us = at.as_micros();
        let sealed = sealing.seal(TEXT, &line_key(device, at_us), text.as_bytes());
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "INSERT INTO device_log (project, device, at_us, level, source, code, text_sealed)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &[
                    project.as_bytes().into(),
                    device.as_bytes().into(),
                    at_us.into(),
                    i64::from(level.code()).into(),
                    source.word().into(),
                    code.into(),
                    (&sealed).into(),
                ],
            )
            .await?;
        if prune {
            transaction
                .execute(
                    "DELETE FROM device_log WHERE project = $1 AND device = $2 AND id <=
                     (SELECT id FROM device_log WHERE project = $1 AND device = $2
                      ORDER BY id DESC LIMIT 1 OFFSET $3)",
                    &[
                        project.as_bytes().into(),
                        device.as_bytes().into(),
                        KEPT.into(),
                    ],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    fn spend(&self, device: DeviceId) -> Spent {
        let now = self.0.clock.elapsed();
        let mut budgets = self
            .0
            .budgets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let budget = budgets.entry(device).or_insert_with(|| Budget::new(now));
        budget.spend(now)
    }
}

/// A line's text is sealed for its device and time: the row's number is not known before it is written.
fn line_key(device: DeviceId, at_us: i64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(device.as_bytes());
    key[16..].copy_from_slice(&at_us.to_be_bytes());
    key
}

/// One line of bounded length without control characters.
fn clean(text: &str) -> String {
    let mut line = String::new();
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if line.len() + letter.len_utf8() > limits::LOG_TEXT_BYTES {
            break;
        }
        line.push(letter);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_kept() {
        let mut budget = Budget::new(Duration::ZERO);
        let kept = (0..1_000)
            .filter(|_| matches!(budget.spend(Duration::from_millis(500)), Spent::Kept { .. }))
            .count();
        assert_eq!(kept, BURST as usize);
        let Spent::Kept { unkept, .. } = budget.spend(Duration::from_secs(1)) else {
            panic!("a second later there is room for one line");
        };
        assert_eq!(unkept, 940);
    }

    #[test]
    fn texts_become_one_bounded_line() {
        assert_eq!(clean("a\r\nb\u{7}c"), "abc");
        assert!(clean(&"ø".repeat(2_000)).len() <= limits::LOG_TEXT_BYTES);
    }
}
