//! Front door for devices: MQTT and HTTPS with the device's certificate.
//!
//! Promises: nothing of a device is touched before `pki` has proved which device it is; a message is acknowledged only
//! when it is durable; a device reaches its own topics only; bytes that cannot be read are kept apart and hold up
//! nothing; a device that is disabled loses its live session within seconds; a device has one session.
//! Opens no sockets: `serve` hands in connections whose handshake is done.

mod down;
mod exchange;
mod https;
mod live;
mod mqtt;
mod problem;
mod quota;
mod session;
mod up;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use fieldkeep_protocol::{DeviceId, ProjectId};
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast::error::RecvError;

use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::pki::{Peer, Pki, Refused};
use crate::projects::Projects;
use crate::series::Series;
use crate::telemetry::Sparing;
use crate::trail::{Act, Entry, Origin, Outcome, Who};

use live::{Cut, Live};
use quota::Quota;

/// Takes what devices send. Cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Inner>);

struct Inner {
    pki: Pki,
    fleet: Fleet,
    projects: Projects,
    series: Series,
    clock: Clock,
    live: Live,
    quota: Quota,
    lines: Sparing,
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ingest")
    }
}

impl Ingest {
    /// The front door to these rooms.
    pub fn new(pki: Pki, fleet: Fleet, projects: Projects, series: Series, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            pki,
            fleet,
            projects,
            series,
            clock,
            live: Live::default(),
            quota: Quota::default(),
            lines: Sparing::default(),
        }))
    }

    /// Speaks MQTT on a connection until it ends, or until `stop` returns. The stream is handed through several futures, each
    /// of which has room for it: it should be small.
    pub fn mqtt<'a>(
        &'a self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'a,
        peer: Peer,
        stop: impl Future<Output = ()> + Send + 'a,
    ) -> impl Future<Output = ()> + Send + 'a {
        session::run(&self.0, stream, peer, Box::pin(stop))
    }

    /// The routes of the device listener: enrolment, renewal, exchange. Every request must carry its [`Peer`] as an extension.
    pub fn routes(&self) -> axum::Router {
        https::routes(Arc::clone(&self.0))
    }

    /// Makes live sessions of devices whose state has changed prove themselves again, until dropped.
    pub async fn run(&self) {
        let mut changes = self.0.pki.watch();
        loop {
            match changes.recv().await {
                Ok(device) => self.0.live.tell(device, Cut::Recheck),
                Err(RecvError::Lagged(_)) => self.0.live.tell_all(Cut::Recheck),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// The devices with a live session.
    pub fn connected(&self) -> Vec<DeviceId> {
        self.0.live.devices()
    }
}

impl Inner {
    /// Whether a line that a stranger or a device caused may be logged; if so, how many were not since the last. The
    /// devices' own logs have a bound of their own.
    fn may_log(&self) -> Option<u64> {
        self.lines.may_log(self.clock.elapsed())
    }

    /// Notes in the trail that something was refused: to a device where it is certain which, else to nobody.
    fn note(
        &self,
        address: Option<IpAddr>,
        device: Option<(ProjectId, DeviceId)>,
        code: &'static str,
    ) {
        let origin = Origin::new(address, None);
        let who = device.map_or_else(Who::nobody, |(_, device)| Who::device(device));
        let project = device.map(|(project, _)| project);
        let entry =
            Entry::new(project, who, &origin, Act::DeviceRefuse).ended(Outcome::Refused(code));
        self.projects.trail().note(entry);
    }

    /// Logs that a connection was turned away: for the operator, and for the device's people where it is known.
    async fn turned_away(&self, peer: &Peer, refused: &Refused) {
        self.note(Some(peer.address.ip()), refused.device(), refused.code());
        if let Some(unlogged) = self.may_log() {
            let device = refused.device().map(|(_, device)| device.to_string());
            tracing::warn!(
                source = %peer.address.ip(),
                reason = refused.code(),
                device.id = device,
                error = refused as &dyn std::error::Error,
                unlogged,
                "device refused"
            );
        }
        if let Err(error) = self.fleet.refused(refused).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a refusal cannot be logged"
            );
        }
    }
}
