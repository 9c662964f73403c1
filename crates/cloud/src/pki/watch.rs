//! Changes of device states, told to whoever holds live sessions; and the server certificate's renewal.
//!
//! A change by this process is told at once; one by another process (`fieldkeep admin` beside the server) is
//! found by reading the table every two seconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fieldkeep_protocol::DeviceId;
use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval};

use super::{Pki, PkiError, ServerCertificate};

const POLL: Duration = Duration::from_secs(2);
const RENEWAL_POLLS: u32 = 1_800;

impl Pki {
    /// Tells the id of each device whose state has changed. A receiver that lags must check all it holds.
    pub fn watch(&self) -> broadcast::Receiver<DeviceId> {
        self.0.changes.subscribe()
    }

    /// Finds changes made by other processes and renews the server's certificate for `name`, until dropped.
    pub async fn run(&self, certificate: &Arc<ServerCertificate>, name: &str) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut since_us = None;
        let mut polls = 0u32;
        loop {
            ticks.tick().await;
            if let Err(error) = self.poll(&mut since_us).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "device states cannot be read"
                );
            }
            polls = (polls + 1) % RENEWAL_POLLS;
            if polls == 0 {
                match self.certified(name).await {
                    Ok(next) => certificate.replace(next),
                    Err(error) => tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the server's certificate cannot be renewed"
                    ),
                }
            }
        }
    }

    pub(super) fn changed(&self, device: DeviceId) {
        self.0.changes_told.fetch_add(1, Ordering::SeqCst);
        // Nobody listening is no error: there are no live sessions then.
        let _ = self.0.changes.send(device);
    }

    /// How many changes have been told so far; counted before each is told.
    pub(super) fn changes(&self) -> u64 {
        self.0.changes_told.load(Ordering::SeqCst)
    }

    /// Tells every change after the newest one seen; the first call only finds where to start.
    pub(super) async fn poll(&self, since_us: &mut Option<i64>) -> Result<(), PkiError> {
        let Some(since) = *since_us else {
            let newest = self
                .0
                .db
                .fetch_optional("SELECT coalesce(max(changed_us), 0) FROM device", &[])
                .await?;
            *since_us = Some(newest.map_or(Ok(0), |row| row.i64(0))?);
            return Ok(());
        };
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id, changed_us FROM device WHERE changed_us > $1 ORDER BY changed_us",
                &[since.into()],
            )
            .await?;
        for row in rows {
            *since_us = Some(row.i64(1)?);
            self.changed(DeviceId::from_bytes(row.array(0)?));
        }
        Ok(())
    }
}
