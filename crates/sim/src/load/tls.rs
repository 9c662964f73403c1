//! Certificates for those who do not come with their own, and the least server that TLS allows.
//!
//! The bare server does the same full handshake as ours with the same library, one authority between root and leaf, and
//! nothing else: what a listener of ours costs beyond it is our own. Our roots have P-384 keys, the usual ones P-256;
//! with both kinds it shows what that choice costs who verifies up to the root each time.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::fleet::connector;

/// The word by which this program becomes the bare server.
pub const BARE: &str = "bare-tls";

/// The keys of the root; everything below it has P-256 keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// As most have.
    P256,
    /// As ours: the root alone has a P-384 key.
    LikeOurs,
}

/// An authority with a server's and a client's certificate, as files.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes everything in a folder.
    pub fn make(folder: &Path, curve: Curve) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let root_algorithm = match curve {
            Curve::P256 => &PKCS_ECDSA_P256_SHA256,
            Curve::LikeOurs => &PKCS_ECDSA_P384_SHA384,
        };
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let root_key = KeyPair::generate_for(root_algorithm)?;
        let root_params = authority("Bench root");
        let root = root_params.self_signed(&root_key)?;
        let root_issuer = Issuer::new(root_params, root_key);
        let issuing_key = KeyPair::generate()?;
        let issuing_params = authority("Bench issuing");
        let issuing = issuing_params.signed_by(&issuing_key, &root_issuer)?;
        let issuer = Issuer::new(issuing_params, issuing_key);
        let authority = Self {
            folder: folder.to_owned(),
        };
        std::fs::write(authority.root(), root.pem())?;
        for (name, usage) in [
            ("server", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![usage];
            let leaf = params.signed_by(&key, &issuer)?;
            let chain = format!("{}{}", leaf.pem(), issuing.pem());
            std::fs::write(authority.chain(name), chain)?;
            std::fs::write(authority.key(name), key.serialize_pem())?;
        }
        Ok(authority)
    }

    /// The folder with the files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The root that both sides trust.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The chain of `server` or `client`.
    #[must_use]
    pub fn chain(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    /// The private key of `server` or `client`.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.key"))
    }

    /// A client with the client's certificate.
    pub fn connector(&self) -> Result<TlsConnector> {
        let (chain, key) = self.pair("client")?;
        connector(&Arc::new(self.roots()?), chain, key)
    }

    fn acceptor(&self) -> Result<TlsAcceptor> {
        let verifier = WebPkiClientVerifier::builder(Arc::new(self.roots()?)).build()?;
        let (chain, key) = self.pair("server")?;
        let config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.root())?)?;
        Ok(roots)
    }

    fn pair(&self, name: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::pem_file_iter(self.chain(name))?.collect::<Result<_, _>>()?;
        Ok((chain, PrivateKeyDer::from_pem_file(self.key(name))?))
    }
}

/// Serves handshakes until it is killed; its port is the line that it prints.
pub async fn serve_bare(folder: &Path) -> Result<()> {
    let authority = Authority {
        folder: folder.to_owned(),
    };
    let acceptor = authority.acceptor()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?.port());
    serve(listener, acceptor).await
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) -> Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A client that goes away is the next one's gain.
            let Ok(mut stream) = acceptor.accept(tcp).await else {
                return;
            };
            let mut rest = [0; 64];
            while matches!(stream.read(&mut rest).await, Ok(length) if length > 0) {}
            let _ = stream.shutdown().await;
        });
    }
}

/// The bare server as a process of its own.
pub struct Bare {
    child: Child,
    /// Its process id.
    pub process: u32,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Bare {
    /// Starts this very program as the bare server.
    pub async fn start(authority: &Authority) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(BARE)
            .arg(authority.folder())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("the bare server's output")?;
        let line = BufReader::new(output).lines().next_line().await?;
        let port: u16 = line.context("the bare server's port")?.parse()?;
        Ok(Self {
            process: child.id().context("a process id")?,
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        })
    }

    /// Kills it and waits for its end.
    pub async fn end(mut self) -> Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::mqtt::handshake;

    #[test]
    fn the_certificates_fit_together() {
        let folder = crate::folder();
        for curve in [Curve::P256, Curve::LikeOurs] {
            let authority = Authority::make(folder.path(), curve).unwrap();
            assert!(authority.connector().is_ok());
            assert_eq!(authority.pair("server").unwrap().0.len(), 2);
        }
    }

    #[tokio::test]
    async fn the_bare_server_takes_its_own_clients_only() {
        let folder = crate::folder();
        let [own, other] = ["own", "other"]
            .map(|name| Authority::make(&folder.path().join(name), Curve::P256).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = own.acceptor().unwrap();
        let server = tokio::spawn(serve(listener, acceptor));
        let mut stream = handshake(address, &own.connector().unwrap()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        let (chain, key) = other.pair("client").unwrap();
        let stranger = connector(&Arc::new(own.roots().unwrap()), chain, key).unwrap();
        // A client of TLS 1.3 hears only after its handshake that it was refused.
        let mut stream = handshake(address, &stranger).await.unwrap();
        assert!(stream.read(&mut [0; 8]).await.is_err());
        server.abort();
    }
}
