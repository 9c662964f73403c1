//! Devices' clocks and the cloud's own: what is known of them, what persons say, and the look at them that goes on by
//! itself.

use std::time::Duration;

use fieldkeep_protocol::DeviceId;
use fieldkeep_store::{ClockNote, DeviceClock, Restamp, Restamped};
use tokio::time::{MissedTickBehavior, interval};

use super::{Series, SeriesError};
use crate::access::{Grant, Read, Write};
use crate::clock::trust::{self, Doubt};
use crate::trail::{Act, Entry};
use serde_json::json;

const LOOK_EVERY: Duration = Duration::from_secs(30);

impl Series {
    /// Judges this machine's clock, and lets the store know: while it is in doubt, no record is called ahead of it.
    pub async fn judge_own_clock(&self) -> Result<Option<Doubt>, SeriesError> {
        let newest = self.store.newest().await?;
        let doubt = trust::doubt(self.clock.now(), self.clock.synchronised(), newest);
        self.store.trust_clock(doubt.is_none());
        Ok(doubt)
    }

    /// Looks at marked clocks of devices once.
    pub async fn settle_clocks(&self) -> Result<(), SeriesError> {
        let settled = self.store.settle_clocks(self.clock.now()).await?;
        if settled.stamped + settled.proposed > 0 {
            tracing::info!(
                stamped = settled.stamped,
                proposed = settled.proposed,
                waiting = settled.waiting,
                "clocks of devices were looked at"
            );
        }
        Ok(())
    }

    /// Judges this machine's clock and looks at those of devices, again and again, until dropped.
    pub async fn watch_clocks(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut doubted, mut failed) = (None, false);
        loop {
            ticks.tick().await;
            let judged = self.judge_own_clock().await;
            let doubt = match &judged {
                Ok(doubt) => *doubt,
                Err(_) => doubted,
            };
            if doubt != doubted {
                doubted = doubt;
                match doubt {
                    Some(doubt) => tracing::error!(
                        "this machine's clock is not believed, devices get no time: {doubt}"
                    ),
                    None => tracing::info!("this machine's clock is believed again"),
                }
            }
            // By a clock in doubt nobody's wait is over.
            let looked = match (judged, doubt) {
                (Err(error), _) => Err(error),
                (Ok(_), Some(_)) => Ok(()),
                (Ok(_), None) => self.settle_clocks().await,
            };
            match looked {
                Ok(()) => failed = false,
                Err(_) if failed => {}
                Err(error) => {
                    failed = true;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "clocks of devices cannot be looked at; it is tried again"
                    );
                }
            }
        }
    }

    /// Of all projects, how many batches are held, and how many proposals wait for a decision.
    pub async fn clocks_to_look_at(&self) -> Result<(u64, u64), SeriesError> {
        Ok(self.store.clocks_to_look_at().await?)
    }

    /// What is known of a device's clock.
    pub async fn device_clock(
        &self,
        grant: &Grant<'_, Read>,
        device: DeviceId,
    ) -> Result<DeviceClock, SeriesError> {
        let origin = self.reached(grant, device).await?;
        Ok(self.store.device_clock(origin).await?)
    }

    /// Gives records of a device other times, or believes them as sent. Durable when this returns; who and why are kept.
    pub async fn restamp(
        &self,
        grant: &Grant<'_, Write>,
        device: DeviceId,
        wanted: &Restamp,
        reason: &str,
    ) -> Result<Restamped, SeriesError> {
        let origin = self.reached(&grant.read(), device).await?;
        let note = note(grant, reason);
        let now = self.clock.now();
        let restamped = self.store.restamp(origin, wanted, &note, now).await?;
        let act = match wanted.correction {
            None => Act::ClockRelease,
            Some(_) => Act::ClockStamp,
        };
        let new = json!({
            "epoch": format!("{:016x}", wanted.epoch.0),
            "first": wanted.first,
            "last": wanted.last,
            "offset_us": wanted.correction.map(|correction| correction.offset_us),
            "batches": restamped.batches,
        });
        let entry = grant.entry(act).on(device).new_value(new);
        self.tell(entry, reason).await?;
        Ok(restamped)
    }

    /// Decides a proposal. Durable when this returns; who and why are kept.
    pub async fn decide_clock_proposal(
        &self,
        grant: &Grant<'_, Write>,
        device: DeviceId,
        proposal: i64,
        confirmed: bool,
        reason: &str,
    ) -> Result<Restamped, SeriesError> {
        let origin = self.reached(&grant.read(), device).await?;
        let note = note(grant, reason);
        let now = self.clock.now();
        let decided = self
            .store
            .decide_clock_proposal(origin, proposal, confirmed, &note, now)
            .await?;
        let act = if confirmed {
            Act::ClockConfirm
        } else {
            Act::ClockDismiss
        };
        let new = json!({ "proposal": proposal });
        let entry = grant.entry(act).on(device).new_value(new);
        self.tell(entry, reason).await?;
        Ok(decided)
    }

    /// The store has noted who and why with the decision itself, in its own database; this makes the trail say it too.
    async fn tell(&self, entry: Entry, reason: &str) -> Result<(), SeriesError> {
        let told = self.access.trail().append(entry.reason(Some(reason))).await;
        told.map_err(|error| SeriesError::Projects(error.into()))
    }
}

fn note(grant: &Grant<'_, Write>, reason: &str) -> ClockNote {
    ClockNote {
        actor: grant.actor().to_string(),
        reason: reason.to_owned(),
    }
}
