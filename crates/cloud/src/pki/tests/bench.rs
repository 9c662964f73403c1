//! A catalogue with keys, a project and a PKI in a folder of its own, and devices' identities.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fieldkeep_protocol::{DeviceId, ProjectId};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

use crate::access::{Access, Admin, Task, Write, system};
use crate::clock::{Clock, Hands};
use crate::config;
use crate::db::Db;
use crate::keys::{Keys, MasterKey, new_id};
use crate::pki::{Endpoints, EnrolError, NewClaim, Peer, Pki, State};

/// The address that tests connect from.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) clock: Clock,
    pub(crate) hands: Hands,
    pub(crate) db: Db,
    pub(crate) keys: Keys,
    pub(crate) pki: Pki,
    pub(crate) access: Access,
    pub(crate) project: ProjectId,
}

/// A device's key and certificate, as it keeps them.
pub(crate) struct Identity {
    pub(crate) device: DeviceId,
    pub(crate) key: KeyPair,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

impl Bench {
    /// Starts at the system's time, so that other programs' verifiers accept what is issued here.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(Clock::system().now());
        let master = MasterKey::create(&folder.path().join("key")).unwrap();
        let data = folder.path().join("data");
        let opened = Keys::open(&data, &master, &clock).await.unwrap();
        let db = Db::open(&data, &opened.catalogue).await.unwrap();
        let keys = opened.keys;
        let rules = config::Sessions::default();
        let access = Access::open(db.clone(), keys.clone(), clock.clone(), &rules)
            .await
            .unwrap();
        let project = add_project(&db, &keys, &clock).await;
        let pki = Pki::open(db.clone(), keys.clone(), clock.clone())
            .await
            .unwrap();
        let endpoints = Endpoints {
            device: "localhost:8443".into(),
            mqtt: "localhost:8883".into(),
        };
        pki.announce(&endpoints).await.unwrap();
        Self {
            folder,
            clock,
            hands,
            db,
            keys,
            pki,
            access,
            project,
        }
    }

    /// One more project.
    pub(crate) async fn add_project(&self) -> ProjectId {
        add_project(&self.db, &self.keys, &self.clock).await
    }

    /// The same data, as another process beside this one sees it.
    pub(crate) async fn beside(&self) -> Pki {
        Pki::open(self.db.clone(), self.keys.clone(), self.clock.clone())
            .await
            .unwrap()
    }

    /// The code of a new claim.
    pub(crate) async fn claim(&self, name: &str) -> String {
        let task = system(Task::AdminCommand).project(self.project);
        let new = NewClaim {
            name: name.into(),
            simulated: false,
            location: None,
        };
        let claim = self
            .pki
            .create_claim(&task.grant::<Write>(), new)
            .await
            .unwrap();
        claim.line.split(':').nth(3).unwrap().to_owned()
    }

    pub(crate) async fn enrol(&self, name: &str) -> Identity {
        let code = self.claim(name).await;
        let key = KeyPair::generate().unwrap();
        self.enrol_with(&code, key).await.unwrap()
    }

    pub(crate) async fn enrol_with(
        &self,
        code: &str,
        key: KeyPair,
    ) -> Result<Identity, EnrolError> {
        let enrolled = self.pki.enrol(HERE, code, &csr(&key)).await?;
        assert_eq!(enrolled.project, self.project);
        Ok(Identity {
            device: enrolled.device,
            key,
            chain: chain(&enrolled.certificate),
        })
    }

    pub(crate) async fn set_state(&self, device: DeviceId, state: State) {
        let task = system(Task::AdminCommand).project(self.project);
        self.pki
            .set_state(&task.grant::<Admin>(), device, state)
            .await
            .unwrap();
    }

    /// The authority that issues devices' certificates, for those that it never would.
    pub(crate) fn issuer(&self) -> Issuer<'static, KeyPair> {
        self.pki.0.devices.issuing.issuer().unwrap()
    }

    pub(crate) fn issuing(&self) -> CertificateDer<'static> {
        self.pki.0.devices.issuing.certificate.clone()
    }

    pub(crate) fn issuing_key(&self) -> KeyPair {
        self.pki.0.devices.issuing.key_pair().unwrap()
    }

    pub(crate) fn server_root(&self) -> CertificateDer<'static> {
        self.pki.0.server.root.clone()
    }

    pub(crate) fn server_issuing(&self) -> (Issuer<'static, KeyPair>, CertificateDer<'static>) {
        let issuing = &self.pki.0.server.issuing;
        (issuing.issuer().unwrap(), issuing.certificate.clone())
    }
}

/// A bare project: what it holds is another room's.
async fn add_project(db: &Db, keys: &Keys, clock: &Clock) -> ProjectId {
    let id = new_id(clock, ProjectId::from_parts);
    let sealing = keys.create_project(id, clock).await.unwrap();
    let name = sealing.seal("project.name_sealed", id.as_bytes(), b"Demo");
    db.execute(
        "INSERT INTO project (id, name_sealed, zone, created_us) VALUES ($1, $2, 'UTC', 0)",
        &[id.as_bytes().into(), (&name).into()],
    )
    .await
    .unwrap();
    id
}

impl Identity {
    pub(crate) fn peer(&self) -> Peer {
        peer(self.chain.clone())
    }

    /// What `device.pem` holds.
    pub(crate) fn pem(&self) -> String {
        crate::pki::pem(&self.chain)
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        private_key(&self.key)
    }
}

pub(crate) fn private_key(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

pub(crate) fn peer(chain: Vec<CertificateDer<'static>>) -> Peer {
    Peer {
        address: SocketAddr::new(HERE, 40_000),
        chain: Arc::from(chain),
    }
}

pub(crate) fn csr(key: &KeyPair) -> String {
    let params = CertificateParams::new(vec!["root.example".into()]).unwrap();
    params.serialize_request(key).unwrap().pem().unwrap()
}

pub(crate) fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}
