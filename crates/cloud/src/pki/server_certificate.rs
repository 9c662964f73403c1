//! The server's own certificate: kept over restarts, renewed and swapped while listeners run.
//!
//! Promises that a listener which resolves through [`ServerCertificate`] serves the newest one from its next
//! handshake on, with issuing authority and root, so that a device can pin the root out of the chain.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::KeyPair;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::PkiError;
use super::authority::{self, Branch, Holder};
use super::profile::{self, LEAF_RENEWAL};
use crate::clock::Clock;
use crate::db::Db;
use crate::keys::Keys;

const KIND: &str = "server_leaf";

/// A server certificate that can be replaced under running listeners.
pub struct ServerCertificate {
    current: RwLock<Arc<CertifiedKey>>,
}

impl ServerCertificate {
    /// Starts with `first`.
    pub fn new(first: CertifiedKey) -> Self {
        Self {
            current: RwLock::new(Arc::new(first)),
        }
    }

    /// Serves `next` from the next handshake on.
    pub fn replace(&self, next: CertifiedKey) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// What is served: leaf first, root last.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current().cert.clone()
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerCertificate")
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// The certificate to serve for `name`: the stored one, or a new one when there is none for this name, or its
/// last third has begun.
pub(super) async fn current(
    db: &Db,
    keys: &Keys,
    clock: &Clock,
    branch: &Branch,
    name: &str,
) -> Result<CertifiedKey, PkiError> {
    let mut transaction = db.begin().await?;
    let mut stored = authority::read(&mut transaction, keys, KIND).await?;
    let good = stored
        .drain(..)
        .next()
        .filter(|leaf| is_good(leaf, clock, name) && is_issued_by(leaf, branch));
    let leaf = match good {
        Some(leaf) => leaf,
        None => {
            let key = KeyPair::generate()?;
            let made = profile::server(name, clock.now(), &key, &branch.issuing.issuer()?)?;
            transaction
                .execute("DELETE FROM authority WHERE purpose = $1", &[KIND.into()])
                .await?;
            let parent = Some(&branch.issuing.id);
            authority::store(&mut transaction, keys, clock, KIND, made, &key, parent).await?
        }
    };
    transaction.commit().await?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key.to_vec()));
    let chain = vec![
        leaf.certificate,
        branch.issuing.certificate.clone(),
        branch.root.clone(),
    ];
    Ok(CertifiedKey::new(chain, any_supported_type(&key)?))
}

fn is_good(leaf: &Holder, clock: &Clock, name: &str) -> bool {
    let reserve_us = i64::try_from(LEAF_RENEWAL.as_micros()).unwrap_or(i64::MAX);
    let lasts = leaf.not_after_us > clock.now().as_micros().saturating_add(reserve_us);
    let mut wanted = profile::server_names(name);
    let mut found = names(&leaf.certificate);
    wanted.sort();
    found.sort();
    lasts && wanted == found
}

fn is_issued_by(leaf: &Holder, branch: &Branch) -> bool {
    let issuer = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der)
            .map(|(_, parsed)| {
                (
                    parsed.issuer().as_raw().to_vec(),
                    parsed.subject().as_raw().to_vec(),
                )
            })
            .ok()
    };
    match (
        issuer(&leaf.certificate),
        issuer(&branch.issuing.certificate),
    ) {
        (Some((issuer, _)), Some((_, subject))) => issuer == subject,
        _ => false,
    }
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(sixteen).to_string())
}
