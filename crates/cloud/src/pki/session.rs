//! From a TLS connection to a device: the proof that every act of a device needs.
//!
//! Promises that a [`DeviceSession`] was made for a certificate that passed the one verifier, whose row is known,
//! whose device's row says active and which had not expired, all at the time of the call. Because it verifies
//! the chain itself, a resumed connection (which skips the verifier in its handshake) is judged alike.

use std::net::SocketAddr;
use std::sync::Arc;

use fieldkeep_protocol::{DeviceId, ProjectId, Timestamp};
use rustls::pki_types::CertificateDer;

use super::device::State;
use super::verify::Verified;
use super::{Fault, Pki, PkiError};

/// The other end of a TLS connection, not judged yet.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it connects from.
    pub address: SocketAddr,
    /// The certificates that it sent, its own first; empty when it sent none.
    pub chain: Arc<[CertificateDer<'static>]>,
}

/// Proof that the holder of an active device's certificate is connected. Only this room makes one.
#[derive(Debug)]
pub struct DeviceSession {
    project: ProjectId,
    device: DeviceId,
    serial: Vec<u8>,
    not_after: Timestamp,
    /// How many changes of devices' states this process knew of before the row was read.
    changes: u64,
}

impl DeviceSession {
    /// The project that the device belongs to.
    pub fn project(&self) -> ProjectId {
        self.project
    }

    /// The device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The serial number of the certificate.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The end of the certificate's life.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// Why a connection is not a device's.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The client sent no certificate.
    #[error("no certificate was sent")]
    NoCertificate,
    /// The certificate is not a device's of ours.
    #[error("{0}")]
    Certificate(#[source] Fault),
    /// It is correctly signed, but this cloud has no record of it.
    #[error("this cloud has no record of the certificate")]
    Unknown {
        /// The device that it names.
        device: DeviceId,
    },
    /// It has expired; only renewal is open.
    #[error("expired {} ago", in_days(*.days))]
    Expired {
        /// The device's project.
        project: ProjectId,
        /// The device.
        device: DeviceId,
        /// Whole days since.
        days: i64,
    },
    /// The device's row is not active.
    #[error("the device is {}", .state.word())]
    Inactive {
        /// The device's project.
        project: ProjectId,
        /// The device.
        device: DeviceId,
        /// What it is instead.
        state: State,
    },
    /// It cannot be judged, so it is refused.
    #[error("the certificate cannot be judged at the moment")]
    Unavailable(#[source] PkiError),
}

fn in_days(days: i64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

impl Refused {
    /// The word for it in logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCertificate => "certificate_missing",
            Self::Certificate(fault) => fault.code(),
            Self::Unknown { .. } => "certificate_unknown",
            Self::Expired { .. } => "certificate_expired",
            Self::Inactive { .. } => "device_inactive",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// The device whose certificate it certainly is, and its project.
    pub fn device(&self) -> Option<(ProjectId, DeviceId)> {
        match self {
            Self::Expired {
                project, device, ..
            }
            | Self::Inactive {
                project, device, ..
            } => Some((*project, *device)),
            Self::NoCertificate
            | Self::Certificate(_)
            | Self::Unknown { .. }
            | Self::Unavailable(_) => None,
        }
    }
}

impl From<PkiError> for Refused {
    fn from(error: PkiError) -> Self {
        Self::Unavailable(error)
    }
}

/// A verified certificate with its row.
pub(super) struct Known {
    pub(super) verified: Verified,
    pub(super) project: ProjectId,
    pub(super) state: State,
}

impl Pki {
    /// Turns a connection into a device. To be called after every handshake, resumed or not.
    pub async fn authenticate(&self, peer: &Peer) -> Result<DeviceSession, Refused> {
        let changes = self.changes();
        let known = self.identify(peer).await?;
        let (project, device) = (known.project, known.verified.device);
        if known.state != State::Active {
            return Err(Refused::Inactive {
                project,
                device,
                state: known.state,
            });
        }
        let over_us = self
            .0
            .clock
            .now()
            .saturating_since(known.verified.not_after);
        if over_us > 0 {
            return Err(Refused::Expired {
                project,
                device,
                days: over_us / 86_400_000_000,
            });
        }
        Ok(DeviceSession {
            project,
            device,
            serial: known.verified.serial,
            not_after: known.verified.not_after,
            changes,
        })
    }

    /// Whether this process has learnt of no change of any device's state since the session was authenticated. Asked by
    /// who takes a place among the live sessions in between: a change is counted before it is told to them, so that it is
    /// either seen here or told to that place.
    pub fn is_unchanged_since(&self, session: &DeviceSession) -> bool {
        self.changes() == session.changes
    }

    /// Whether an authenticated device may stay: its row is still active and its certificate not over.
    pub async fn still_valid(&self, session: &DeviceSession) -> Result<bool, PkiError> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT state FROM device WHERE project = $1 AND id = $2",
                &[
                    session.project.as_bytes().into(),
                    session.device.as_bytes().into(),
                ],
            )
            .await?;
        let active = match row {
            Some(row) => State::from_word(row.text(0)?) == Some(State::Active),
            None => false,
        };
        Ok(active && self.0.clock.now() <= session.not_after)
    }

    /// The point on P-256 of a certificate of this device (by SHA-256 of its DER), of whatever age.
    pub async fn certificate_key(
        &self,
        session: &DeviceSession,
        fingerprint: &[u8],
    ) -> Result<Option<Vec<u8>>, PkiError> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT der FROM certificate WHERE fingerprint = $1 AND device = $2",
                &[fingerprint.into(), session.device.as_bytes().into()],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (_, parsed) = x509_parser::parse_x509_certificate(row.bytes(0)?)
            .map_err(|_| PkiError::Stored("certificate.der"))?;
        Ok(Some(parsed.public_key().subject_public_key.data.to_vec()))
    }

    /// Verifies the chain and finds its rows; judges neither state nor end of life.
    pub(super) async fn identify(&self, peer: &Peer) -> Result<Known, Refused> {
        let (leaf, intermediates) = peer.chain.split_first().ok_or(Refused::NoCertificate)?;
        let verified = self
            .0
            .verifier
            .verify(leaf, intermediates)
            .map_err(Refused::Certificate)?;
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT device.project, device.state FROM certificate
                 JOIN device ON device.id = certificate.device
                 WHERE certificate.fingerprint = $1 AND certificate.device = $2",
                &[
                    (&verified.fingerprint).into(),
                    verified.device.as_bytes().into(),
                ],
            )
            .await
            .map_err(PkiError::from)?
            .ok_or(Refused::Unknown {
                device: verified.device,
            })?;
        let project = row.array(0).map(ProjectId::from_bytes);
        let state = row.text(1).map(State::from_word);
        Ok(Known {
            project: project.map_err(PkiError::from)?,
            state: state
                .map_err(PkiError::from)?
                .ok_or(PkiError::Stored("device.state"))?,
            verified,
        })
    }
}
