//! The live tail: from what the store says has arrived to points of elements.
//!
//! Owns one reader's position. Subscribes before it reads, so nothing falls in between; a reader that lags, or resumes,
//! reads the stored rows from its position on, so memory stays bounded and nothing is lost. Asks again whether the
//! session still stands before each arrival that it hands out and at least every 5 seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fieldkeep_protocol::{DeviceId, ElementId};
use fieldkeep_store::{Arrival, Point};
use futures_util::{Stream, stream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::{Series, SeriesError, scale};
use crate::access::{Read, Session};
use crate::projects::{Deployment, Scaling};

/// Deployments are read again after this, and sooner when a channel shows up that none of them names.
const DEPLOYMENTS_FOR: Duration = Duration::from_secs(5);
/// The longest time without asking whether the session still stands.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// An answer is good for a burst.
const CHECK_AFRESH: Duration = Duration::from_secs(1);
/// Arrivals read at a time.
const READ: usize = 64;

/// One arrival, as far as the reader may see it.
#[derive(Debug)]
pub struct Fresh {
    /// Its place in the project's order of arrival: where to resume.
    pub sequence: i64,
    /// The new points of each element.
    pub elements: Vec<(ElementId, Vec<Point>)>,
}

pub(super) fn stream(
    series: Series,
    session: Session<Read>,
    after: Option<i64>,
) -> impl Stream<Item = Fresh> + Send + use<> {
    let arrivals = series.store.arrivals();
    let tail = Tail {
        checked: None,
        behind: after.is_some(),
        after,
        arrivals,
        deployments: Deployments::default(),
        ready: VecDeque::new(),
        session,
        series,
    };
    stream::unfold(tail, |mut tail| async move {
        match tail.next().await {
            Ok(fresh) => fresh.map(|fresh| (fresh, tail)),
            Err(error) => {
                tracing::warn!(
                    project.id = %tail.session.project(),
                    cause = %error,
                    "a live stream broke off; its reader resumes"
                );
                None
            }
        }
    })
}

struct Tail {
    series: Series,
    session: Session<Read>,
    arrivals: Receiver<Arrival>,
    /// The last arrival handed out; none until the first one comes.
    after: Option<i64>,
    /// Is there more to read behind `after`?
    behind: bool,
    ready: VecDeque<Fresh>,
    deployments: Deployments,
    checked: Option<Duration>,
}

#[derive(Default)]
struct Deployments {
    all: Vec<Deployment>,
    scalings: BTreeMap<ElementId, Scaling>,
    read: Option<Duration>,
}

impl Tail {
    async fn next(&mut self) -> Result<Option<Fresh>, SeriesError> {
        loop {
            if !self.stands().await {
                return Ok(None);
            }
            if let Some(fresh) = self.ready.pop_front() {
                return Ok(Some(fresh));
            }
            if self.behind {
                self.read().await?;
            } else if !self.wait().await {
                return Ok(None);
            }
        }
    }

    /// Does the session still stand?
    async fn stands(&mut self) -> bool {
        let now = self.series.clock.elapsed();
        if self
            .checked
            .is_some_and(|at| now.saturating_sub(at) < CHECK_AFRESH)
        {
            return true;
        }
        self.checked = Some(now);
        match self.series.access.still_valid(&self.session).await {
            Ok(()) => true,
            Err(denied) => {
                tracing::info!(project.id = %self.session.project(), reason = %denied, "a live stream ended");
                false
            }
        }
    }

    /// Waits for an arrival of this project, or for the next check. False when the store is closed.
    async fn wait(&mut self) -> bool {
        let project = self.session.project();
        let arrivals = &mut self.arrivals;
        let coming = async {
            loop {
                match arrivals.recv().await {
                    Ok(arrival) if arrival.project == project => return Ok(Some(arrival.sequence)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return Ok(None),
                    Err(RecvError::Closed) => return Err(()),
                }
            }
        };
        match timeout(CHECK_EVERY, coming).await {
            Err(_) => true,
            Ok(Err(())) => false,
            Ok(Ok(Some(sequence))) => {
                self.after.get_or_insert(sequence.saturating_sub(1));
                self.behind = true;
                true
            }
            Ok(Ok(None)) => {
                self.behind = self.after.is_some();
                true
            }
        }
    }

    /// Reads arrivals behind the position.
    async fn read(&mut self) -> Result<(), SeriesError> {
        let after = self.after.unwrap_or_default();
        let arrived = self
            .series
            .store
            .arrived_since(self.session.project(), after, READ)
            .await?;
        let Some(last) = arrived.last() else {
            self.behind = false;
            return Ok(());
        };
        self.after = Some(last.sequence);
        let unknown = arrived.iter().any(|batch| {
            let mut channels = batch.channels.iter();
            channels.any(|fed| !self.deployments.knows(batch.device, &fed.channel))
        });
        self.refresh(unknown).await?;
        for batch in arrived {
            let mut elements = Vec::new();
            for fed in &batch.channels {
                self.deployments
                    .deal(batch.device, &fed.channel, &fed.points, &mut elements);
            }
            if !elements.is_empty() {
                self.ready.push_back(Fresh {
                    sequence: batch.sequence,
                    elements,
                });
            }
        }
        Ok(())
    }

    async fn refresh(&mut self, unknown: bool) -> Result<(), SeriesError> {
        let now = self.series.clock.elapsed();
        let good_for = if unknown {
            CHECK_AFRESH
        } else {
            DEPLOYMENTS_FOR
        };
        let fresh = self
            .deployments
            .read
            .is_some_and(|at| now.saturating_sub(at) < good_for);
        if !fresh {
            self.deployments.all = self
                .series
                .projects
                .deployments(&self.session.grant())
                .await
                .map_err(SeriesError::Projects)?;
            self.deployments.scalings = self
                .series
                .projects
                .all_scalings(&self.session.grant())
                .await
                .map_err(SeriesError::Projects)?;
            self.deployments.read = Some(now);
        }
        Ok(())
    }
}

impl Deployments {
    fn knows(&self, device: DeviceId, channel: &str) -> bool {
        let mut all = self.all.iter();
        all.any(|deployment| deployment.device == device && deployment.channel == channel)
    }

    /// Gives a channel's points to the elements that it fed at their times.
    fn deal(
        &self,
        device: DeviceId,
        channel: &str,
        points: &[Point],
        elements: &mut Vec<(ElementId, Vec<Point>)>,
    ) {
        let fed = self
            .all
            .iter()
            .filter(|deployment| deployment.device == device && deployment.channel == channel);
        for deployment in fed {
            let mut within: Vec<Point> = points
                .iter()
                .filter(|point| point.time >= deployment.from)
                .filter(|point| deployment.to.is_none_or(|to| point.time < to))
                .copied()
                .collect();
            if within.is_empty() {
                continue;
            }
            if let Some(scaling) = self.scalings.get(&deployment.element) {
                scale::points(scaling, &mut within);
            }
            match elements
                .iter_mut()
                .find(|(element, _)| *element == deployment.element)
            {
                Some((_, all)) => all.extend(within),
                None => elements.push((deployment.element, within)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::{DeploymentId, Flag, Timestamp};

    use super::*;

    fn point(at: i64) -> Point {
        Point {
            time: Timestamp::from_micros(at),
            value: 1.0,
            flag: Flag::Pass,
        }
    }

    fn deployment(element: u8, channel: &str, from: i64, to: Option<i64>) -> Deployment {
        Deployment {
            id: DeploymentId::from_bytes([element; 16]),
            element: ElementId::from_bytes([element; 16]),
            device: DeviceId::from_bytes([9; 16]),
            channel: channel.to_owned(),
            interval_us: 0,
            from: Timestamp::from_micros(from),
            to: to.map(Timestamp::from_micros),
        }
    }

    #[test]
    fn points_go_to_whom_the_channel_fed_then() {
        let deployments = Deployments {
            all: vec![
                deployment(1, "level", 0, Some(10)),
                deployment(2, "level", 10, None),
                deployment(3, "other", 0, None),
            ],
            ..Deployments::default()
        };
        let mut dealt = Vec::new();
        let device = DeviceId::from_bytes([9; 16]);
        deployments.deal(
            device,
            "level",
            &[point(9), point(10), point(11)],
            &mut dealt,
        );
        let counts: Vec<usize> = dealt.iter().map(|(_, points)| points.len()).collect();
        assert_eq!(counts, [1, 2]);
        dealt.clear();
        deployments.deal(
            DeviceId::from_bytes([8; 16]),
            "level",
            &[point(9)],
            &mut dealt,
        );
        assert!(dealt.is_empty());
    }
}
