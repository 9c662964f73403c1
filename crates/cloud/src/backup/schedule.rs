//! The daily backup: made by the server at its hour, made up for when the server was not there, tried again when it fails.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fieldkeep_protocol::Timestamp;

use super::target::newest;
use super::{Backup, BackupError, Progress, blocking};
use crate::access::{self, Task};
use crate::config;

const DAY_US: i64 = 86_400_000_000;
const MINUTE_US: i64 = 60_000_000;
const LOOK_EVERY: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_secs(3_600);

impl Backup {
    /// Makes the daily backup for as long as it is polled; without a target it only notes that there is none.
    pub async fn run(&self, settings: config::Backup) {
        self.run_looking(settings, LOOK_EVERY).await;
    }

    pub(super) async fn run_looking(&self, settings: config::Backup, every: Duration) {
        let announced = self.announce(settings.to.as_deref()).await;
        if let Err(error) = announced {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "where backups go could not be noted"
            );
        }
        let Some(to) = settings.to else { return };
        let mut failed_at: Option<Duration> = None;
        loop {
            let rested = failed_at
                .is_none_or(|failed| self.clock().elapsed().saturating_sub(failed) >= AGAIN_AFTER);
            if rested && self.is_due(&to, settings.at_minute).await {
                failed_at = self
                    .daily(&to, settings.keep_days)
                    .await
                    .is_err()
                    .then(|| self.clock().elapsed());
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Whether the folder lacks the backup of the day. The folder is asked, so that one that was made elsewhere, or is on a
    /// disk that was exchanged, does not count.
    pub(super) async fn is_due(&self, to: &Path, at_minute: u32) -> bool {
        let (to, instance) = (to.to_path_buf(), self.keys().instance_id().short());
        let newest = blocking(move || Ok(newest(&to, &instance))).await;
        due(newest.ok().flatten(), self.clock().now(), at_minute)
    }

    async fn daily(&self, to: &Path, keep_days: Option<u32>) -> Result<(), BackupError> {
        let task = access::system(Task::Backup);
        let progress = Arc::new(Progress::default());
        match self.make(&task.operator(), to, keep_days, &progress).await {
            Ok(done) => {
                tracing::info!(
                    path = %done.path.display(), bytes = done.bytes, series = done.series,
                    records = done.records, "backup made and read back"
                );
                Ok(())
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    to = %to.display(), "no backup was made; the next try is in an hour"
                );
                Err(error)
            }
        }
    }
}

/// Whether the hour of a daily backup has passed since the newest one. One from the future (the clock was set back) does
/// not put off the next for longer than a day.
fn due(newest: Option<Timestamp>, now: Timestamp, at_minute: u32) -> bool {
    let Some(newest) = newest else { return true };
    let at_us = i64::from(at_minute) * MINUTE_US;
    let passed = (now.as_micros() - at_us).div_euclid(DAY_US) * DAY_US + at_us;
    newest.as_micros() < passed || newest.saturating_since(now) > DAY_US
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24T00:00:00Z.
    const MIDNIGHT: i64 = 1_795_478_400_000_000;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_micros(MIDNIGHT + minutes * MINUTE_US)
    }

    #[test]
    fn one_a_day_at_its_hour_and_made_up_for_when_missed() {
        let half_past_two = 150;
        assert!(due(None, at(0), half_past_two), "the first comes at once");
        assert!(
            !due(Some(at(-1_000)), at(149), half_past_two),
            "not before its hour"
        );
        assert!(due(Some(at(-1_000)), at(150), half_past_two));
        assert!(!due(Some(at(150)), at(151), half_past_two), "once a day");
        assert!(!due(Some(at(155)), at(150 + 1_439), half_past_two));
        assert!(due(Some(at(155)), at(150 + 1_440), half_past_two));
        assert!(due(Some(at(-4_000)), at(10), half_past_two), "missed");
        assert!(
            !due(Some(at(200)), at(160), half_past_two),
            "the clock went back a little"
        );
        assert!(
            due(Some(at(1_000_000)), at(160), half_past_two),
            "it was years ahead"
        );
    }
}
