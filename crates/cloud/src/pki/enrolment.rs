//! Enrolment and renewal: a public key in, a certificate out, in one transaction with its rows.
//!
//! Promises that a claim makes at most one device, that a key is certified once, and that an answer lost on the
//! way can be asked for again with the same code and key. An expired certificate renews for 400 days.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::time::Duration;

use fieldkeep_protocol::{ClaimId, DeviceId, LocationId, ProjectId};
use rustls::pki_types::CertificateDer;

use super::claim::{self, Code};
use super::csr::{CsrFault, CsrKey};
use super::device::{self, State};
use super::profile;
use super::session::{Known, Peer, Refused};
use super::{Pki, PkiError, pem, sha256};
use crate::db::Transaction;
use crate::keys::{hex, new_id};
use crate::trail::{Act, Entry, Origin, Who};
use serde_json::json;

/// How long after its end a certificate still renews.
const RENEWABLE_US: i64 = 400 * 86_400 * 1_000_000;
/// Renewals of one device in 24 hours. Certificates are kept for ever, so a device must not make them at will.
const RENEWALS: i64 = 24;
const DAY_US: i64 = 86_400 * 1_000_000;
/// When a device that renews too often may come back.
const RENEWAL_PAUSE: Duration = Duration::from_secs(3_600);

/// Why nobody was enrolled, or nothing renewed.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No claim has this code.
    #[error("no claim has this code")]
    ClaimUnknown,
    /// The claim has made its device.
    #[error("this claim was used already")]
    ClaimUsed,
    /// The claim's 24 hours are over.
    #[error("this claim has expired")]
    ClaimExpired,
    /// The certificate request is not one, or proves nothing.
    #[error("the certificate request is refused: {0}")]
    Csr(#[from] CsrFault),
    /// The key has a certificate already.
    #[error("this key has a certificate already: make a new key")]
    KeyReused,
    /// Too many failures from this source, or renewals of this device.
    #[error("too many attempts")]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// The certificate to renew is refused.
    #[error("the certificate is refused: {0}")]
    Refused(#[source] Refused),
    /// The certificate to renew expired too long ago.
    #[error("the certificate expired more than 400 days ago: enrol the device again")]
    TooOld,
    /// Something of ours failed.
    #[error("enrolment failed")]
    Failed(#[from] PkiError),
}

impl From<crate::db::SqlError> for EnrolError {
    fn from(error: crate::db::SqlError) -> Self {
        Self::Failed(error.into())
    }
}

/// A device with its first certificate.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The device.
    pub device: DeviceId,
    /// Its project.
    pub project: ProjectId,
    /// Its certificate and the issuing authority's, in PEM.
    pub certificate: String,
}

struct Row {
    project: ProjectId,
    id: ClaimId,
    name_sealed: Vec<u8>,
    simulated: bool,
    location: Option<LocationId>,
    expires_us: i64,
    device: Option<DeviceId>,
}

impl Pki {
    /// Makes the device of a claim and certifies the key of its request. All of it is durable when this returns.
    pub async fn enrol(
        &self,
        source: IpAddr,
        code: &str,
        csr_pem: &str,
    ) -> Result<Enrolled, EnrolError> {
        if let Some(retry_after) = self.throttled(source) {
            return Err(EnrolError::RateLimited { retry_after });
        }
        let outcome = self.redeem(source, code, csr_pem).await;
        if matches!(
            outcome,
            Err(EnrolError::ClaimUnknown | EnrolError::ClaimUsed | EnrolError::ClaimExpired)
        ) {
            let mut throttle = self
                .0
                .throttle
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            throttle.failed(source, self.0.clock.elapsed());
        }
        outcome
    }

    /// A new certificate for the device of a connection; its own may have expired up to 400 days ago.
    pub async fn renew(&self, peer: &Peer, csr_pem: &str) -> Result<String, EnrolError> {
        let known = self.identify(peer).await.map_err(EnrolError::Refused)?;
        self.may_renew(&known)?;
        let key = CsrKey::from_pem(csr_pem)?;
        let mut transaction = self.0.db.begin().await?;
        let since_us = self.0.clock.now().as_micros().saturating_sub(DAY_US);
        let renewals = transaction
            .fetch_optional(
                "SELECT count(*) FROM certificate
                 WHERE device = $1 AND cause = 'renewal' AND issued_us > $2",
                &[known.verified.device.as_bytes().into(), since_us.into()],
            )
            .await?;
        if renewals.map_or(Ok(0), |row| row.i64(0))? >= RENEWALS {
            return Err(EnrolError::RateLimited {
                retry_after: RENEWAL_PAUSE,
            });
        }
        let leaf = self
            .certify(&mut transaction, known.verified.device, &key, "renewal")
            .await?;
        let origin = Origin::new(Some(peer.address.ip()), None);
        let who = Who::device(known.verified.device);
        let entry = Entry::new(Some(known.project), who, &origin, Act::DeviceRenew)
            .on(known.verified.device)
            .new_value(json!({ "certificate": hex(&sha256(&leaf)) }));
        let written = self.0.trail.write(&mut transaction, entry).await;
        written.map_err(PkiError::from)?;
        transaction.commit().await?;
        tracing::info!(device.id = %known.verified.device, "certificate renewed");
        Ok(self.with_issuing(leaf))
    }

    fn may_renew(&self, known: &Known) -> Result<(), EnrolError> {
        if known.state != State::Active {
            return Err(EnrolError::Refused(Refused::Inactive {
                project: known.project,
                device: known.verified.device,
                state: known.state,
            }));
        }
        let over_us = self
            .0
            .clock
            .now()
            .saturating_since(known.verified.not_after);
        if over_us > RENEWABLE_US {
            return Err(EnrolError::TooOld);
        }
        Ok(())
    }

    fn throttled(&self, source: IpAddr) -> Option<Duration> {
        let throttle = self
            .0
            .throttle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        throttle.wait(source, self.0.clock.elapsed())
    }

    async fn redeem(
        &self,
        source: IpAddr,
        code: &str,
        csr_pem: &str,
    ) -> Result<Enrolled, EnrolError> {
        let code = Code::parse(code).ok_or(EnrolError::ClaimUnknown)?;
        let hash = self.code_hash(&code);
        // Looked up, and the request judged, before the write lock is taken: neither guessing nor a slow request
        // must hold up everyone else.
        let known = self
            .0
            .db
            .fetch_optional(
                "SELECT 1 FROM claim WHERE code_hash = $1",
                &[(&hash).into()],
            )
            .await?;
        known.ok_or(EnrolError::ClaimUnknown)?;
        // The code is right from here on; a bad request does not use it up.
        let key = CsrKey::from_pem(csr_pem)?;
        let mut transaction = self.0.db.begin().await?;
        let claim = find(&mut transaction, &hash)
            .await?
            .ok_or(EnrolError::ClaimUnknown)?;
        if let Some(device) = claim.device {
            return repeated(&mut transaction, &claim, device, &key)
                .await?
                .map(|leaf| self.enrolled(device, claim.project, leaf))
                .ok_or(EnrolError::ClaimUsed);
        }
        let now_us = self.0.clock.now().as_micros();
        if claim.expires_us <= now_us {
            return Err(EnrolError::ClaimExpired);
        }
        let device = new_id(&self.0.clock, DeviceId::from_parts);
        self.insert(&mut transaction, &claim, device).await?;
        let leaf = self
            .certify(&mut transaction, device, &key, "claim")
            .await?;
        transaction
            .execute(
                "UPDATE claim SET used_us = $1, device = $2 WHERE project = $3 AND id = $4",
                &[
                    now_us.into(),
                    device.as_bytes().into(),
                    claim.project.as_bytes().into(),
                    claim.id.as_bytes().into(),
                ],
            )
            .await?;
        let origin = Origin::new(Some(source), None);
        let entry = Entry::new(
            Some(claim.project),
            Who::device(device),
            &origin,
            Act::DeviceEnrol,
        )
        .on(device)
        .at(claim.location)
        .new_value(json!({
            "claim": claim.id.to_string(),
            "certificate": hex(&sha256(&leaf)),
        }));
        let written = self.0.trail.write(&mut transaction, entry).await;
        written.map_err(PkiError::from)?;
        transaction.commit().await?;
        tracing::info!(device.id = %device, project.id = %claim.project, claim.id = %claim.id, "device enrolled");
        Ok(self.enrolled(device, claim.project, leaf))
    }

    async fn insert(
        &self,
        transaction: &mut Transaction,
        claim: &Row,
        device: DeviceId,
    ) -> Result<(), PkiError> {
        let sealing = self.0.keys.project(claim.project).await?;
        let name = sealing.open(claim::NAME, claim.id.as_bytes(), &claim.name_sealed)?;
        let name = sealing.seal(device::NAME, device.as_bytes(), &name);
        let now_us = self.0.clock.now().as_micros();
        transaction
            .execute(
                "INSERT INTO device (project, id, state, simulated, name_sealed, location, created_us, changed_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
                &[
                    claim.project.as_bytes().into(),
                    device.as_bytes().into(),
                    State::Active.word().into(),
                    claim.simulated.into(),
                    (&name).into(),
                    claim.location.as_ref().map(LocationId::as_bytes).into(),
                    now_us.into(),
                ],
            )
            .await?;
        Ok(())
    }

    async fn certify(
        &self,
        transaction: &mut Transaction,
        device: DeviceId,
        key: &CsrKey,
        cause: &'static str,
    ) -> Result<CertificateDer<'static>, EnrolError> {
        let now = self.0.clock.now();
        let issuer = self.0.devices.issuing.issuer()?;
        let made = profile::device(device, now, key, &issuer).map_err(PkiError::from)?;
        let stored = transaction
            .execute(
                "INSERT INTO certificate
                 (fingerprint, serial, device, spki_hash, der, not_before_us, not_after_us, issued_us, cause)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (spki_hash) DO NOTHING",
                &[
                    (&sha256(&made.certificate)).into(),
                    (&made.serial).into(),
                    device.as_bytes().into(),
                    key.spki_hash().into(),
                    made.certificate.as_ref().into(),
                    made.not_before.as_micros().into(),
                    made.not_after.as_micros().into(),
                    now.as_micros().into(),
                    cause.into(),
                ],
            )
            .await?;
        if stored == 0 {
            return Err(EnrolError::KeyReused);
        }
        Ok(made.certificate)
    }

    fn enrolled(
        &self,
        device: DeviceId,
        project: ProjectId,
        leaf: CertificateDer<'static>,
    ) -> Enrolled {
        Enrolled {
            device,
            project,
            certificate: self.with_issuing(leaf),
        }
    }

    fn with_issuing(&self, leaf: CertificateDer<'static>) -> String {
        pem(&[leaf, self.0.devices.issuing.certificate.clone()])
    }
}

async fn find(transaction: &mut Transaction, hash: &[u8; 32]) -> Result<Option<Row>, PkiError> {
    let row = transaction
        .fetch_optional(
            "SELECT project, id, name_sealed, simulated, location, expires_us, device FROM claim
             WHERE code_hash = $1",
            &[hash.into()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Row {
        project: ProjectId::from_bytes(row.array(0)?),
        id: ClaimId::from_bytes(row.array(1)?),
        name_sealed: row.bytes(2)?.to_vec(),
        simulated: row.bool(3)?,
        location: row.opt_array(4)?.map(LocationId::from_bytes),
        expires_us: row.i64(5)?,
        device: row.opt_array(6)?.map(DeviceId::from_bytes),
    }))
}

/// The certificate that a used claim gave to the very same key: the device missed our first answer.
async fn repeated(
    transaction: &mut Transaction,
    claim: &Row,
    device: DeviceId,
    key: &CsrKey,
) -> Result<Option<CertificateDer<'static>>, PkiError> {
    let row = transaction
        .fetch_optional(
            "SELECT certificate.der FROM certificate JOIN device ON device.id = certificate.device
             WHERE certificate.device = $1 AND spki_hash = $2 AND cause = 'claim'
             AND device.project = $3 AND device.state = 'active'",
            &[
                device.as_bytes().into(),
                key.spki_hash().into(),
                claim.project.as_bytes().into(),
            ],
        )
        .await?;
    Ok(row
        .map(|row| row.bytes(0).map(|der| CertificateDer::from(der.to_vec())))
        .transpose()?)
}
