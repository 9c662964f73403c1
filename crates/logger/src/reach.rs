//! Owns the way to a server and what can be wrong with it: the name, the port, the network, the certificate.
//! Promises that every failure says what happened and what to do next.

use std::{io, sync::Arc, time::Duration};

use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::folder::Endpoint;

/// How long a name may take to resolve, a port to answer, a handshake to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The name has no address.
    #[error("the name {} does not resolve", endpoint.host)]
    Name {
        /// Where to.
        endpoint: Endpoint,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// Nobody listens on the port.
    #[error("{endpoint} refused the connection: nothing listens there")]
    Refused {
        /// Where to.
        endpoint: Endpoint,
    },
    /// No answer at all.
    #[error("{endpoint} did not answer within {} seconds", PATIENCE.as_secs())]
    Silent {
        /// Where to.
        endpoint: Endpoint,
    },
    /// The network failed otherwise.
    #[error("cannot reach {endpoint}: {source}")]
    Network {
        /// Where to.
        endpoint: Endpoint,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What answers does not pass as the cloud, or does not let us in.
    #[error("{endpoint}: {}", fault.what())]
    Tls {
        /// Where to.
        endpoint: Endpoint,
        /// What was wrong.
        fault: TlsFault,
    },
}

/// What was wrong with a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The server's certificate comes from another authority than the one we trust.
    UnknownAuthority,
    /// The certificate is for other names.
    Name,
    /// By our clock the certificate is not valid yet.
    NotYetValid,
    /// By our clock the certificate has run out.
    Expired,
    /// The server ended the handshake or the connection with this alert.
    Alert(String),
    /// What answers does not speak TLS 1.3.
    Protocol(String),
}

impl TlsFault {
    fn what(&self) -> String {
        match self {
            TlsFault::UnknownAuthority => {
                "the server's certificate is not from the authority that this device trusts"
                    .to_owned()
            }
            TlsFault::Name => "the server's certificate is for another name".to_owned(),
            TlsFault::NotYetValid => {
                "by this machine's clock the server's certificate is not valid yet".to_owned()
            }
            TlsFault::Expired => {
                "by this machine's clock the server's certificate has expired".to_owned()
            }
            TlsFault::Alert(alert) => {
                format!("the server refused the connection (TLS alert: {alert})")
            }
            TlsFault::Protocol(what) => format!("no TLS 1.3 connection could be made ({what})"),
        }
    }

    /// Sorts a TLS error.
    pub fn of(error: &rustls::Error) -> TlsFault {
        match error {
            rustls::Error::InvalidCertificate(certificate) => match certificate {
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => TlsFault::Name,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    TlsFault::NotYetValid
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    TlsFault::Expired
                }
                _ => TlsFault::UnknownAuthority,
            },
            rustls::Error::AlertReceived(alert) => TlsFault::Alert(format!("{alert:?}")),
            other => TlsFault::Protocol(other.to_string()),
        }
    }

    /// Finds a TLS error inside what a socket said; a refusal shows only on the first read.
    pub fn within(error: &io::Error) -> Option<TlsFault> {
        error
            .get_ref()?
            .downcast_ref::<rustls::Error>()
            .map(TlsFault::of)
    }
}

impl ReachError {
    /// What a person can do about it.
    pub fn advice(&self) -> String {
        match self {
            ReachError::Name { endpoint, .. } => {
                format!("Check the spelling of {} and this machine's DNS, or use the cloud's IP address if its certificate names it.", endpoint.host)
            }
            ReachError::Refused { endpoint } => {
                format!("Check that the cloud runs and that port {} is its device port.", endpoint.port)
            }
            ReachError::Silent { endpoint } => {
                format!("A firewall may drop the packets: allow outgoing TCP to {endpoint}, and incoming on the cloud.")
            }
            ReachError::Network { .. } => "Check this machine's network and route to the cloud.".to_owned(),
            ReachError::Tls { fault, endpoint } => match fault {
                TlsFault::UnknownAuthority => "Make sure that this is the right server and that nothing intercepts the connection; then make a new claim in the cloud and use its line.".to_owned(),
                TlsFault::Name => format!("Use the name that the cloud was started with (its --name), instead of {}.", endpoint.host),
                TlsFault::NotYetValid | TlsFault::Expired => "Set this machine's clock (timedatectl, or the date command), then try again; if the clock is right, look at the cloud's certificate with `fieldkeep admin doctor`.".to_owned(),
                TlsFault::Alert(_) => "The cloud's log says why; the device may be disabled or its certificate not known there.".to_owned(),
                TlsFault::Protocol(_) => format!("Check that port {} is the cloud's device port and that no proxy stands between.", endpoint.port),
            },
        }
    }

    /// Whether only the dates of the server's certificate were wrong, by the time it was judged by.
    pub fn is_about_dates(&self) -> bool {
        matches!(
            self,
            ReachError::Tls {
                fault: TlsFault::NotYetValid | TlsFault::Expired,
                ..
            }
        )
    }

    /// Whether the server could not be reached at all, rather than answering wrongly.
    pub fn is_unreachable(&self) -> bool {
        !matches!(self, ReachError::Tls { .. })
    }
}

/// Connects and shakes hands. When this returns, the server's certificate has passed.
pub async fn connect(
    endpoint: &Endpoint,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, ReachError> {
    let silent = || ReachError::Silent {
        endpoint: endpoint.clone(),
    };
    let tcp = tokio::time::timeout(PATIENCE, dial(endpoint))
        .await
        .map_err(|_| silent())??;
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|e| ReachError::Name {
        endpoint: endpoint.clone(),
        source: io::Error::other(e),
    })?;
    // Batches are single small writes: waiting for more to send would only delay them.
    let _ = tcp.set_nodelay(true);
    let shake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let shaken = tokio::time::timeout(PATIENCE, shake)
        .await
        .map_err(|_| silent())?;
    shaken.map_err(|source| match TlsFault::within(&source) {
        Some(fault) => ReachError::Tls {
            endpoint: endpoint.clone(),
            fault,
        },
        None if source.kind() == io::ErrorKind::UnexpectedEof => ReachError::Tls {
            endpoint: endpoint.clone(),
            fault: TlsFault::Protocol("the connection was closed".to_owned()),
        },
        None => ReachError::Network {
            endpoint: endpoint.clone(),
            source,
        },
    })
}

async fn dial(endpoint: &Endpoint) -> Result<TcpStream, ReachError> {
    let to = || endpoint.clone();
    let addresses = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|source| ReachError::Name {
            endpoint: to(),
            source,
        })?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        None => ReachError::Name {
            endpoint: to(),
            source: io::ErrorKind::NotFound.into(),
        },
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            ReachError::Refused { endpoint: to() }
        }
        Some(error) if error.kind() == io::ErrorKind::TimedOut => {
            ReachError::Silent { endpoint: to() }
        }
        Some(source) => ReachError::Network {
            endpoint: to(),
            source,
        },
    })
}
