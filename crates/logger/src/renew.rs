//! Owns the renewal of the device's certificate: a new key, a request over the old identity, and the new pair in place.
//! Promises that a renewal that fails anywhere leaves the old pair.

use std::sync::Arc;

use rustls::RootCertStore;

use crate::{
    folder::{Enrolment, Folder},
    http::{self, PostError},
    identity::{self, Identity, IdentityError},
    tls::{self, TlsError},
};

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The cloud was not reached, or refused.
    #[error("cannot renew the certificate: {0}")]
    Post(#[from] PostError),
    /// The new key or certificate cannot be used or written.
    #[error("cannot renew the certificate: {0}")]
    Identity(#[from] IdentityError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl RenewError {
    /// Whether only the dates of the server's certificate were wrong, by the time it was judged by.
    pub fn is_about_dates(&self) -> bool {
        matches!(self, RenewError::Post(PostError::Reach(error)) if error.is_about_dates())
    }
}

#[derive(serde::Serialize)]
struct Ask<'a> {
    csr: &'a str,
}

#[derive(serde::Deserialize)]
struct Answer {
    certificate: String,
}

/// Renews the certificate in a folder.
pub async fn renew(
    folder: &Folder,
    enrolment: &Enrolment,
    identity: &Identity,
    roots: Arc<RootCertStore>,
    now_s: u64,
) -> Result<(), RenewError> {
    let request = identity::request()?;
    let config = tls::client_config(roots, Some(identity.for_tls()), now_s)?;
    let ask = Ask {
        csr: &request.csr_pem,
    };
    let answer: Answer = http::post(&enrolment.https, config, "/device/1/renew", &ask).await?;
    let (key, chain) = (request.key_pem.as_bytes(), answer.certificate.as_bytes());
    Identity::parse(key, chain, enrolment.device)?;
    identity::replace_pair(folder, &request.key_pem, &answer.certificate)?;
    Ok(())
}
