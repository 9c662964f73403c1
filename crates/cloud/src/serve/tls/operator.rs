//! The operator's own certificate for the people's listener: PEM files, read again when they change.
//!
//! Promises that a renewal by another program (an ACME client, a copy job) is served without a restart, and that
//! files which do not fit together never replace a certificate that works.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tokio::time::{MissedTickBehavior, interval};

use crate::pki::ServerCertificate;

const POLL: Duration = Duration::from_secs(30);

/// Why the operator's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OperatorCertificateError {
    /// A file cannot be read as PEM.
    #[error("{path} cannot be read as PEM")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The chain file holds no certificate.
    #[error("{path} holds no certificate")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The key is not the certificate's, or of an unsupported kind.
    #[error("the private key does not fit the certificate")]
    Unfit(#[source] rustls::Error),
}

/// The operator's certificate chain and private key on disk.
pub struct OperatorCertificate {
    chain: PathBuf,
    key: PathBuf,
    served: Arc<ServerCertificate>,
}

impl OperatorCertificate {
    /// Reads both files.
    pub fn read(chain: PathBuf, key: PathBuf) -> Result<Self, OperatorCertificateError> {
        let served = Arc::new(ServerCertificate::new(read(&chain, &key)?));
        Ok(Self { chain, key, served })
    }

    /// What a listener resolves through.
    pub fn served(&self) -> &Arc<ServerCertificate> {
        &self.served
    }

    /// Looks for changed files every half minute, until dropped.
    pub async fn watch(self) {
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut read_at = self.changed().await;
        loop {
            ticks.tick().await;
            let changed = self.changed().await;
            if changed == read_at {
                continue;
            }
            read_at = changed;
            match read(&self.chain, &self.key) {
                Ok(next) => {
                    self.served.replace(next);
                    tracing::info!("the operator's certificate was read again");
                }
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the operator's new certificate is refused; the old one stays"
                ),
            }
        }
    }

    async fn changed(&self) -> [Option<SystemTime>; 2] {
        let mut times = [None; 2];
        for (path, time) in [&self.chain, &self.key].into_iter().zip(&mut times) {
            let metadata = tokio::fs::metadata(path).await.ok();
            *time = metadata.and_then(|metadata| metadata.modified().ok());
        }
        times
    }
}

fn read(chain: &PathBuf, key: &PathBuf) -> Result<CertifiedKey, OperatorCertificateError> {
    let unreadable = |path: &PathBuf| {
        let path = path.clone();
        move |source| OperatorCertificateError::Read { path, source }
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(chain))?;
    if certificates.is_empty() {
        return Err(OperatorCertificateError::Empty {
            path: chain.clone(),
        });
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key))?;
    let signer = any_supported_type(&key).map_err(OperatorCertificateError::Unfit)?;
    let certified = CertifiedKey::new(certificates, signer);
    certified
        .keys_match()
        .map_err(OperatorCertificateError::Unfit)?;
    Ok(certified)
}
