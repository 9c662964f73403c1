//! What changed, for elements: from devices' changes through deployments.
//!
//! An arrival concerns the elements that the device fed at its times. Everything else concerns all that it ever fed, over the
//! whole range: a deployment that ended is no less a reason to read again than one that began.

use fieldkeep_protocol::{DeviceId, ElementId, Timestamp};
use fieldkeep_store::{Change, ChangeCause, Origin, Revision, TimeRange};

use super::{Series, SeriesError, origin};
use crate::access::{Grant, Read, Write};
use crate::pki::DeviceSession;
use crate::projects::Deployment;

/// A range of an element that reads otherwise than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementChange {
    /// The element.
    pub element: ElementId,
    /// Where: half open.
    pub range: TimeRange,
    /// Why.
    pub cause: ChangeCause,
}

/// Some changes, and where to go on.
#[derive(Clone, Debug)]
pub struct ElementChanges {
    /// By element and time; what touches is one.
    pub items: Vec<ElementChange>,
    /// What a reader that reads these again has seen.
    pub next: Revision,
    /// There are more behind `next` already.
    pub more: bool,
}

impl Series {
    /// What a reader that reads from now on will have seen: to be asked before the data.
    pub async fn revision(&self, _grant: &Grant<'_, Read>) -> Result<Revision, SeriesError> {
        Ok(self.store.revision().await?)
    }

    /// What changed after a revision, as far as the grant reaches; from at most `limit` changes of devices.
    pub async fn changes(
        &self,
        grant: &Grant<'_, Read>,
        since: Revision,
        limit: usize,
    ) -> Result<ElementChanges, SeriesError> {
        let page = self.store.changes(grant.project(), since, limit).await?;
        // After the changes: what a deployment that is younger than they brought is a change of its own.
        let deployments = self
            .projects
            .deployments(grant)
            .await
            .map_err(SeriesError::Projects)?;
        Ok(ElementChanges {
            items: of_elements(&page.items, &deployments),
            next: page.next,
            more: page.more,
        })
    }

    /// Tells whoever follows the changes that a deployment was made or ended.
    pub async fn redeployed(
        &self,
        grant: &Grant<'_, Write>,
        device: DeviceId,
        range: TimeRange,
    ) -> Result<(), SeriesError> {
        let origin = Origin {
            project: grant.project(),
            device,
        };
        self.store
            .note_change(origin, range, ChangeCause::Corrected, self.clock.now())
            .await?;
        Ok(())
    }

    /// Tells whoever follows the changes that a device's channels were given elements after some of its batches came.
    pub async fn bound(&self, device: &DeviceSession) -> Result<(), SeriesError> {
        let everything = TimeRange {
            from: Timestamp::from_micros(i64::MIN),
            to: Timestamp::from_micros(i64::MAX),
        };
        self.store
            .note_change(
                origin(device),
                everything,
                ChangeCause::Late,
                self.clock.now(),
            )
            .await?;
        Ok(())
    }
}

/// Deployment by deployment, so that no more is held than what is answered.
fn of_elements(changes: &[Change], deployments: &[Deployment]) -> Vec<ElementChange> {
    let mut sorted: Vec<&Change> = changes.iter().collect();
    sorted.sort_by_key(|change| (change.device, change.cause, change.range.from));
    let mut items: Vec<ElementChange> = Vec::new();
    for deployment in deployments {
        let begins = items.len();
        let start = sorted.partition_point(|change| change.device < deployment.device);
        let of_device = sorted.get(start..).unwrap_or_default().iter();
        for change in of_device.take_while(|change| change.device == deployment.device) {
            let range = concerned(change, deployment);
            if range.from >= range.to {
                continue;
            }
            let is_near = |last: &ElementChange| {
                let between = range.from.saturating_since(last.range.to);
                last.cause == change.cause && between <= near(deployment.interval_us)
            };
            match items.get_mut(begins..).and_then(<[_]>::last_mut) {
                Some(last) if is_near(last) => last.range.to = last.range.to.max(range.to),
                _ => items.push(ElementChange {
                    element: deployment.element,
                    range,
                    cause: change.cause,
                }),
            }
        }
    }
    items.sort_by_key(|item| (item.element, item.range.from, item.cause, item.range.to));
    items.dedup();
    items
}

fn concerned(change: &Change, deployment: &Deployment) -> TimeRange {
    match change.cause {
        ChangeCause::Corrected | ChangeCause::Deleted => change.range,
        ChangeCause::New | ChangeCause::Late => TimeRange {
            from: change.range.from.max(deployment.from),
            to: deployment
                .to
                .map_or(change.range.to, |to| to.min(change.range.to)),
        },
    }
}

/// Batches that follow each other are one change: no value lies between them.
fn near(interval_us: u64) -> i64 {
    i64::try_from(interval_us / 2 * 5).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::DeploymentId;

    use super::*;

    fn change(from: i64, to: i64, cause: ChangeCause) -> Change {
        Change {
            device: DeviceId::from_bytes([9; 16]),
            range: range(from, to),
            cause,
        }
    }

    fn range(from: i64, to: i64) -> TimeRange {
        TimeRange {
            from: Timestamp::from_micros(from),
            to: Timestamp::from_micros(to),
        }
    }

    fn deployment(element: u8, from: i64, to: Option<i64>) -> Deployment {
        Deployment {
            id: DeploymentId::from_bytes([element; 16]),
            element: ElementId::from_bytes([element; 16]),
            device: DeviceId::from_bytes([9; 16]),
            channel: "level".to_owned(),
            interval_us: 10,
            from: Timestamp::from_micros(from),
            to: to.map(Timestamp::from_micros),
        }
    }

    #[test]
    fn arrivals_go_to_whom_the_device_fed_and_corrections_to_all() {
        use ChangeCause::{Corrected, New};
        let deployments = [deployment(1, 0, Some(100)), deployment(2, 100, None)];
        let changes = [
            change(50, 90, New),
            change(95, 120, New),
            change(300, 400, New),
            change(60, 80, Corrected),
        ];
        let told: Vec<_> = of_elements(&changes, &deployments)
            .into_iter()
            .map(|item| (item.element.as_bytes()[0], item.range, item.cause))
            .collect();
        assert_eq!(
            told,
            [
                (1, range(50, 100), New),
                (1, range(60, 80), Corrected),
                (2, range(60, 80), Corrected),
                (2, range(100, 120), New),
                (2, range(300, 400), New),
            ]
        );
        let other = [Deployment {
            device: DeviceId::from_bytes([8; 16]),
            ..deployment(3, 0, None)
        }];
        assert_eq!(of_elements(&changes, &other), []);
    }
}
