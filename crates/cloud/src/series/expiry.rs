//! Retention at work: asks the projects what is to be kept, and has the store remove what is older, device by device.
//!
//! A round can end anywhere and the next one goes on. What counts as old never runs ahead of the newest stored record
//! by more than a day, so that a machine whose clock jumps deletes nothing for it. A hold that is set during a round
//! counts from the next device on.

use std::time::Duration;

use fieldkeep_protocol::{DeviceId, ProjectId, Timestamp};
use fieldkeep_store::sql::Space;
use fieldkeep_store::{Cutoffs, Deletion, Expired, Order, Origin};

use tokio::time::{MissedTickBehavior, interval};

use super::{Series, SeriesError};
use crate::access::{Audit, Grant, Read, System, Task, system};
use crate::projects::{Keeping, Policy};
use crate::trail::Act;
use serde_json::json;

const ROUND_EVERY: Duration = Duration::from_secs(86_400);
const DAY_US: i64 = 86_400_000_000;
/// Windows of one device that go before the next device has its turn.
const AT_ONCE: usize = 8;
/// As deletion entries name it.
const CAUSE: &str = "retention";

impl Series {
    /// Rounds once a day and whenever a policy changed, until dropped. One server runs this.
    pub async fn keep_to_retention(&self) {
        let mut days = interval(ROUND_EVERY);
        days.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = days.tick() => {}
                () = self.due.notified() => {}
            }
            if let Err(error) = self.expire(system(Task::Retention)).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "what is old cannot be removed; the next round tries again"
                );
            }
        }
    }

    /// A policy changed, or a hold ended: the next round begins at once.
    pub fn retention_changed(&self) {
        self.due.notify_one();
    }

    /// One round over all projects: removes what is old enough and gives the space back. Answers what went.
    pub async fn expire(&self, by: System) -> Result<Expired, SeriesError> {
        let mut all = Expired::default();
        let projects = self.projects.all(by).await.map_err(SeriesError::Projects)?;
        for project in projects {
            // One project's trouble, such as a lost key, keeps no other from its due.
            match self.expire_project(by, project.id).await {
                Ok(expired) => {
                    if expired.bytes() > 0 {
                        self.tell_deleted(by, project.id, &expired).await?;
                    }
                    all.add(&expired);
                }
                Err(error) => tracing::error!(
                    project.id = %project.id,
                    error = &error as &dyn std::error::Error,
                    "what is old cannot be removed; the next round tries again"
                ),
            }
        }
        if all.bytes() > 0 {
            let given = self.store.give_back().await?;
            tracing::info!(
                batches = all.hot.items,
                chunks = all.cold.items,
                rollups = all.rollups.items,
                bytes = all.bytes(),
                given_back_bytes = given,
                "old data were removed as their projects say"
            );
        }
        Ok(all)
    }

    /// The store has a row of each deletion; the trail says once a round what went.
    async fn tell_deleted(
        &self,
        by: System,
        project: ProjectId,
        expired: &Expired,
    ) -> Result<(), SeriesError> {
        let session = by.project(project);
        let entry = session
            .grant::<Read>()
            .entry(Act::DataDelete)
            .on(project)
            .new_value(json!({
                "batches": expired.hot.items,
                "chunks": expired.cold.items,
                "rollups": expired.rollups.items,
                "bytes": expired.bytes(),
            }));
        let told = self.access.trail().append(entry).await;
        told.map_err(|error| SeriesError::Projects(error.into()))
    }

    async fn expire_project(&self, by: System, project: ProjectId) -> Result<Expired, SeriesError> {
        let session = by.project(project);
        let mut all = Expired::default();
        for device in self.pki.devices(&session.grant()).await? {
            loop {
                let keeping = self.projects.keeping(&session).await;
                let keeping = keeping.map_err(SeriesError::Projects)?;
                let Some(cutoffs) = self.cutoffs(&keeping, device.id).await? else {
                    break;
                };
                let origin = Origin {
                    project,
                    device: device.id,
                };
                let order = Order {
                    cause: CAUSE,
                    actor: "system:retention",
                    now: self.clock.now(),
                };
                let expired = self.store.expire(origin, &cutoffs, &order, AT_ONCE).await?;
                all.add(&expired);
                if !expired.more {
                    break;
                }
            }
        }
        all.more = false;
        Ok(all)
    }

    /// What the project's policy, or another one, would remove now, all rounds together.
    pub async fn expirable(
        &self,
        grant: &Grant<'_, Read>,
        policy: Option<Policy>,
    ) -> Result<Expired, SeriesError> {
        let keeping = self.projects.keeping_if(grant, policy).await;
        let keeping = keeping.map_err(SeriesError::Projects)?;
        let mut all = Expired::default();
        for device in self.pki.devices(grant).await? {
            let Some(cutoffs) = self.cutoffs(&keeping, device.id).await? else {
                continue;
            };
            let origin = Origin {
                project: grant.project(),
                device: device.id,
            };
            all.add(&self.store.expirable(origin, &cutoffs).await?);
        }
        Ok(all)
    }

    /// What each project could free by keeping batches so many days only, for the instance's operator: nothing of what
    /// was measured is shown, and nothing is removed.
    pub async fn droppable(
        &self,
        by: System,
        hot_days: u32,
    ) -> Result<Vec<(ProjectId, u64)>, SeriesError> {
        let policy = Policy {
            hot_days: Some(hot_days),
            ..Policy::FOR_EVER
        };
        let mut found = Vec::new();
        for project in self.projects.all(by).await.map_err(SeriesError::Projects)? {
            let session = by.project(project.id);
            let expired = self.expirable(&session.grant(), Some(policy)).await?;
            if expired.bytes() > 0 {
                found.push((project.id, expired.bytes()));
            }
        }
        Ok(found)
    }

    /// What was deleted of the project, newest first, and where the next page begins, if there is one.
    pub async fn deletions(
        &self,
        grant: &Grant<'_, Audit>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<Deletion>, Option<i64>), SeriesError> {
        let entries = self.store.deletions(grant.project(), before, limit).await?;
        let last = entries.last().map(|entry| entry.id);
        let next = last.filter(|_| entries.len() >= limit);
        let devices = self.pki.devices(&grant.read()).await?;
        // An entry of a device out of reach is not for this reader.
        let reached = |entry: &Deletion| devices.iter().any(|device| device.id == entry.device);
        Ok((entries.into_iter().filter(reached).collect(), next))
    }

    /// How much of the measurements' file is in use.
    pub async fn space(&self) -> Result<Space, SeriesError> {
        Ok(self.store.space().await?)
    }

    /// Lets new data in, or not: devices keep what is not let in, and come back.
    pub fn let_in(&self, open: bool) {
        self.store.let_in(open);
    }

    /// From when on the tiers of a device are kept; None where nothing of it may go.
    async fn cutoffs(
        &self,
        keeping: &Keeping,
        device: DeviceId,
    ) -> Result<Option<Cutoffs>, SeriesError> {
        let (Some(policy), Some(newest)) = (keeping.of(device), self.store.newest().await?) else {
            return Ok(None);
        };
        if policy == Policy::FOR_EVER {
            return Ok(None);
        }
        let newest = newest.as_micros().saturating_add(DAY_US);
        let now = self.clock.now().as_micros().min(newest);
        let before = |days: Option<u32>| {
            days.map(|days| Timestamp::from_micros(now.saturating_sub(i64::from(days) * DAY_US)))
        };
        Ok(Some(Cutoffs {
            hot: before(policy.hot_days),
            cold: before(policy.cold_days),
            rollups: before(policy.rollup_days),
        }))
    }
}
