//! An instance of the cloud with projects and enrolled devices, and the clients that it takes.
//!
//! The server is the real program. Enrolment goes through the `pki` room of a second process (this one) on the same
//! data, as `fieldkeep admin` would, because one HTTPS request for each of thousands of devices would take minutes;
//! keys, requests and certificates are as real as any.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use fieldkeep_cloud::access::{Task, Write, system};
use fieldkeep_cloud::clock::Clock;
use fieldkeep_cloud::config::Config;
use fieldkeep_cloud::pki::NewClaim;
use fieldkeep_cloud::serve::Base;
use fieldkeep_logger::identity;
use fieldkeep_protocol::topic::{Topic, Up};
use fieldkeep_protocol::{DeviceId, ProjectId};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsConnector;

use super::http::Asker;
use super::mqtt::Session;
use crate::cloud::Cloud;

/// A running cloud.
pub struct Instance {
    cloud: Cloud,
    roots: Arc<RootCertStore>,
}

/// A device that may connect.
#[derive(Clone)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its certificate, and trust in the cloud's.
    pub tls: TlsConnector,
}

impl Device {
    /// The topic of its batches.
    #[must_use]
    pub fn topic(&self) -> String {
        Topic::up(self.id, Up::Batch).as_str().to_owned()
    }

    /// The topic of its channel tables.
    #[must_use]
    pub fn channels_topic(&self) -> String {
        Topic::up(self.id, Up::Channels).as_str().to_owned()
    }

    /// Opens its session.
    pub async fn connect(&self, address: SocketAddr) -> Result<Session> {
        Session::open(address, &self.tls, &self.id.to_string())
            .await
            .with_context(|| format!("device {}", self.id))
    }
}

impl Instance {
    /// Starts one on an empty folder.
    pub async fn start(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut cloud = Cloud::new(folder);
        cloud.start().await?;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(cloud.ca())? {
            roots.add(root?)?;
        }
        Ok(Self {
            cloud,
            roots: Arc::new(roots),
        })
    }

    /// The server's process.
    pub fn process(&self) -> Result<u32> {
        self.cloud.process().context("the cloud runs")
    }

    /// Where devices connect by MQTT.
    #[must_use]
    pub fn mqtt(&self) -> SocketAddr {
        self.cloud.addresses()[2]
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> std::path::PathBuf {
        self.cloud.data()
    }

    /// The file of the master key.
    #[must_use]
    pub fn master_key(&self) -> std::path::PathBuf {
        self.cloud.master_key()
    }

    /// Stops it in order: what is written is folded into the files.
    pub async fn stop(&mut self) -> Result<()> {
        self.cloud.stop().await
    }

    /// Starts it again.
    pub async fn resume(&mut self) -> Result<()> {
        self.cloud.start().await
    }

    /// A new project.
    pub async fn project(&self, name: &str) -> Result<ProjectId> {
        self.cloud
            .project(name)
            .await?
            .parse()
            .context("a project's id")
    }

    /// A kept connection of somebody who may read that project.
    pub async fn reader(&self, project: ProjectId) -> Result<Asker> {
        let made = self
            .cloud
            .admin(&[
                "api-key",
                "--project",
                &project.to_string(),
                "--role",
                "viewer",
            ])
            .await?;
        let key = made["key"].as_str().context("the key")?.to_owned();
        let tls = ClientConfig::builder()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        Asker::secure(
            self.cloud.addresses()[0],
            &TlsConnector::from(Arc::new(tls)),
            &key,
        )
        .await
    }

    /// Enrols so many devices.
    pub async fn enrol(&self, project: ProjectId, count: usize) -> Result<Vec<Device>> {
        let config = self.config();
        let base = Base::existing(&config, Clock::system()).await?;
        let task = system(Task::AdminCommand).project(project);
        let mut devices = Vec::with_capacity(count);
        for number in 0..count {
            let new = NewClaim {
                name: format!("Logger {number}"),
                simulated: false,
                location: None,
            };
            let claim = base.pki.create_claim(&task.grant::<Write>(), new).await?;
            let code = claim.line.split(':').nth(3).context("the claim's code")?;
            let request = identity::request()?;
            let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let enrolled = base.pki.enrol(here, code, &request.csr_pem).await?;
            let chain = CertificateDer::pem_slice_iter(enrolled.certificate.as_bytes())
                .collect::<Result<Vec<_>, _>>()?;
            let key = PrivateKeyDer::from_pem_slice(request.key_pem.as_bytes())?;
            devices.push(Device {
                id: enrolled.device,
                tls: connector(&self.roots, chain, key)?,
            });
        }
        base.db.close().await;
        base.keys.close().await;
        Ok(devices)
    }

    fn config(&self) -> Config {
        Config {
            data: self.cloud.data(),
            master_key: Some(self.master_key()),
            ..Config::default()
        }
    }
}

/// A client that trusts these roots and shows this certificate; each handshake is a full one.
pub fn connector(
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<TlsConnector> {
    let mut config = ClientConfig::builder()
        .with_root_certificates(Arc::clone(roots))
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
