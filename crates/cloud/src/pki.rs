//! Certificate authorities, device identity, enrolment, renewal, the one verifier.
//!
//! Owns the tables `authority`, `device`, `certificate` and `claim`. Promises: a [`DeviceSession`] exists only for
//! a certificate that this cloud issued, whose device is active, checked at that moment; a claim makes one
//! device at most; no two certificates share a key; device and server never share a root.
//! Does not read batches, keep contact times or speak HTTP.

mod authority;
mod claim;
mod csr;
mod device;
mod enrolment;
mod profile;
mod proven;
mod server_certificate;
mod session;
mod throttle;
mod verify;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ServerConfig, version};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::db::{Db, SqlError};
use crate::keys::{Keys, KeysError, Unsealable};
use crate::trail::{Trail, TrailError};

pub use claim::{Claim, ClaimLine, NewClaim};
pub use csr::CsrFault;
pub use device::{Device, State};
pub use enrolment::{EnrolError, Enrolled};
pub use server_certificate::ServerCertificate;
pub use session::{DeviceSession, Peer, Refused};
pub use throttle::network;
pub use verify::{Fault, Verifier};

pub(crate) use csr::sha256;

const DEVICE_ENDPOINT: &str = "endpoint.device";
const MQTT_ENDPOINT: &str = "endpoint.mqtt";

/// What can go wrong with identities and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// There is no such device or claim in the part of the project that the caller may see.
    #[error("there is no such device or claim")]
    NotFound,
    /// A device's name is not one.
    #[error("a name has 1 to 128 characters and no control characters")]
    InvalidName,
    /// No server has run on this data folder yet, so a claim line could not say where to enrol.
    #[error("start the server once before making claims: it has to say where devices reach it")]
    NoEndpoint,
    /// A certificate could not be made or read.
    #[error("a certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// A root of ours could not be read.
    #[error("a stored authority is damaged")]
    Anchor(#[from] webpki::Error),
    /// The TLS library refused our own certificate or key.
    #[error("the TLS library refused our own certificate")]
    Tls(#[from] rustls::Error),
    /// The keys that seal names or authorities cannot be had.
    #[error("the keys of this data cannot be had")]
    Keys(#[from] KeysError),
    /// A sealed column does not open.
    #[error("a stored value does not open")]
    Sealed(#[from] Unsealable),
    /// A stored value is none that this program writes.
    #[error("column {0} holds an unknown value")]
    Stored(&'static str),
    /// The catalogue failed.
    #[error("the catalogue failed")]
    Sql(#[from] SqlError),
}

impl From<TrailError> for PkiError {
    fn from(error: TrailError) -> Self {
        match error {
            TrailError::Sql(error) => Self::Sql(error),
            TrailError::Keys(error) => Self::Keys(error),
        }
    }
}

/// Where devices reach this cloud, as `host:port` with the name they must use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The device listener: enrolment and renewal.
    pub device: String,
    /// The MQTT listener.
    pub mqtt: String,
}

/// Identities of devices and of the server. Cheap to clone.
#[derive(Clone)]
pub struct Pki(Arc<Inner>);

struct Inner {
    db: Db,
    keys: Keys,
    clock: Clock,
    devices: authority::Branch,
    server: authority::Branch,
    verifier: Arc<Verifier>,
    trail: Trail,
    throttle: Mutex<throttle::Throttle>,
    changes: broadcast::Sender<fieldkeep_protocol::DeviceId>,
    changes_told: AtomicU64,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pki")
    }
}

impl Pki {
    /// Opens the authorities of an instance; the first call on new data makes them.
    pub async fn open(db: Db, keys: Keys, clock: Clock) -> Result<Self, PkiError> {
        let devices = authority::open(&db, &keys, &clock, profile::Purpose::Device).await?;
        let server = authority::open(&db, &keys, &clock, profile::Purpose::Server).await?;
        let verifier = Verifier::new(
            std::slice::from_ref(&devices.root),
            devices.issuing_certificates(),
            clock.clone(),
        )?;
        let (changes, _) = broadcast::channel(1_024);
        // Only for entries that go with a change: the desk for notes is the one of `access`.
        let trail = Trail::new(db.clone(), keys.clone(), clock.clone());
        Ok(Self(Arc::new(Inner {
            db,
            keys,
            clock,
            devices,
            server,
            verifier: Arc::new(verifier),
            trail,
            throttle: Mutex::default(),
            changes,
            changes_told: AtomicU64::new(0),
        })))
    }

    /// The certificate that clients of every listener must trust, in PEM: what `ca.pem` holds.
    pub fn server_root_pem(&self) -> String {
        pem(std::slice::from_ref(&self.0.server.root))
    }

    /// The server's certificate for `name`, kept over restarts; [`run`](Self::run) renews it.
    pub async fn server_certificate(&self, name: &str) -> Result<Arc<ServerCertificate>, PkiError> {
        let first = self.certified(name).await?;
        Ok(Arc::new(ServerCertificate::new(first)))
    }

    /// TLS for a listener that devices use: 1.3 only, no early data; a device certificate is demanded from
    /// every client where `mandatory`, else checked when one is sent.
    pub fn device_tls(
        &self,
        certificate: &Arc<ServerCertificate>,
        mandatory: bool,
        protocols: &[&str],
    ) -> Result<ServerConfig, PkiError> {
        let verifier: Arc<dyn ClientCertVerifier> = Arc::new(verify::InHandshake {
            verifier: Arc::clone(&self.0.verifier),
            mandatory,
        });
        let mut config = tls(verifier, certificate, protocols)?;
        // A device has one connection at a time, and a ticket carries its certificates.
        config.send_tls13_tickets = 1;
        Ok(config)
    }

    /// TLS for the listener of people and services: 1.3 only, and never asks for a client certificate.
    pub fn people_tls(
        &self,
        certificate: &Arc<ServerCertificate>,
        protocols: &[&str],
    ) -> Result<ServerConfig, PkiError> {
        tls(Arc::new(NoClientAuth), certificate, protocols)
    }

    /// Says where devices reach this cloud. Kept, so that claims can be made beside the server.
    pub async fn announce(&self, endpoints: &Endpoints) -> Result<(), PkiError> {
        let said = [
            (DEVICE_ENDPOINT, endpoints.device.as_str()),
            (MQTT_ENDPOINT, endpoints.mqtt.as_str()),
        ];
        Ok(self.0.db.set(&said).await?)
    }

    /// Where devices reach this cloud, once a server has said so.
    pub async fn endpoints(&self) -> Result<Option<Endpoints>, PkiError> {
        let device = self.0.db.setting(DEVICE_ENDPOINT).await?;
        let mqtt = self.0.db.setting(MQTT_ENDPOINT).await?;
        Ok(device
            .zip(mqtt)
            .map(|(device, mqtt)| Endpoints { device, mqtt }))
    }

    async fn certified(&self, name: &str) -> Result<rustls::sign::CertifiedKey, PkiError> {
        let inner = &self.0;
        server_certificate::current(&inner.db, &inner.keys, &inner.clock, &inner.server, name).await
    }
}

fn tls(
    clients: Arc<dyn ClientCertVerifier>,
    certificate: &Arc<ServerCertificate>,
    protocols: &[&str],
) -> Result<ServerConfig, PkiError> {
    let resolver: Arc<ServerCertificate> = Arc::clone(certificate);
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(config)
}

/// `host:port`, with an IPv6 address in brackets.
pub fn endpoint(name: &str, port: u16) -> String {
    match name.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) => format!("{name}:{port}"),
    }
}

fn pem(chain: &[CertificateDer<'_>]) -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for certificate in chain {
        let body = base64::engine::general_purpose::STANDARD.encode(certificate);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        // 64 columns, as RFC 7468 wants. The alphabet is ASCII, so every byte index is a character's.
        for start in (0..body.len()).step_by(64) {
            text.push_str(&body[start..body.len().min(start + 64)]);
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
