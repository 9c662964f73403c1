//! An instance on a temporary folder, with everybody who may knock at its door.
//!
//! Owns two projects: "ours" with one of everything, at the location "there", and "theirs", of which the stranger is
//! administrator. Time stands still until a test moves it.

mod services;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use fieldkeep_protocol::{
    ClaimId, DeploymentId, DeviceId, ElementId, InvitationId, LocationId, PersonId, ProjectId,
    ServiceId, Timestamp,
};
use fieldkeep_store::{Options, Store};
use http::{Request, Response, header};
use http_body_util::BodyExt as _;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::access::{
    Access, Action, Locations, NewApiKey, NewInvitation, Role, Scopes, Task, system,
};
use crate::api::{Rooms, router};
use crate::backup::Backup;
use crate::clock::{Clock, Hands};
use crate::config::Sessions;
use crate::db::Db;
use crate::fleet::Fleet;
use crate::keys::{Keys, MasterKey};
use crate::pki::{DeviceSession, Endpoints, NewClaim, Peer, Pki};
use crate::projects::{ElementKind, NewDeployment, NewElement, NewLocation, Projects, ValueKind};
use crate::series::Series;
use crate::space::Space;
use crate::trail::Origin;

/// 2026-03-01T12:00:00Z
pub(super) const START: Timestamp = Timestamp::from_micros(1_772_366_400_000_000);

/// One of everything in a project.
pub(super) struct Ids {
    pub(super) project: ProjectId,
    pub(super) location: LocationId,
    pub(super) element: ElementId,
    pub(super) deployment: DeploymentId,
    pub(super) device: DeviceId,
}

/// The instance.
pub(super) struct World {
    pub(super) router: Router,
    pub(super) access: Access,
    pub(super) projects: Projects,
    pub(super) pki: Pki,
    pub(super) series: Series,
    pub(super) hands: Hands,
    /// Tells the door that the server stops.
    pub(super) stop: watch::Sender<bool>,
    pub(super) ours: Ids,
    pub(super) theirs: Ids,
    /// A location of ours at which nothing is; a limited viewer reaches only it.
    pub(super) here: LocationId,
    /// The device of ours, signed in.
    pub(super) device: DeviceSession,
    /// An API key that was revoked, and a session that expired.
    pub(super) revoked: String,
    pub(super) expired: String,
    pub(super) db: Db,
    services: tokio::sync::Mutex<Vec<(Scopes, ServiceId, String)>>,
    cookie: String,
    spares: AtomicU32,
    _folder: TempDir,
}

/// Who knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    None,
    Garbage,
    Expired,
    Revoked,
    Stranger,
    Operator,
    Limited,
    /// An administrator who proved long ago who they are.
    Stale,
    Person(Role),
    Key(Role),
    /// A service account with a token of these scopes.
    Service(Scopes),
    /// A service account with a token of the compatibility routes.
    Legacy,
}

impl Who {
    pub(super) const ALL: [Self; 21] = [
        Self::None,
        Self::Garbage,
        Self::Expired,
        Self::Revoked,
        Self::Stranger,
        Self::Operator,
        Self::Limited,
        Self::Stale,
        Self::Person(Role::Viewer),
        Self::Person(Role::Auditor),
        Self::Person(Role::Editor),
        Self::Person(Role::Administrator),
        Self::Key(Role::Viewer),
        Self::Key(Role::Auditor),
        Self::Key(Role::Editor),
        Self::Key(Role::Administrator),
        Self::Service(Scopes::READ),
        Self::Service(Scopes::AUDIT),
        Self::Service(Scopes::WRITE),
        Self::Service(Scopes::ALL),
        Self::Legacy,
    ];

    /// The head of its column in the golden text.
    pub(super) fn name(self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Garbage => "garbage".to_owned(),
            Self::Expired => "expired".to_owned(),
            Self::Revoked => "revoked".to_owned(),
            Self::Stranger => "stranger".to_owned(),
            Self::Operator => "operator".to_owned(),
            Self::Limited => "limited".to_owned(),
            Self::Stale => "stale".to_owned(),
            Self::Person(role) => role.name().to_owned(),
            Self::Key(role) => format!("key:{}", role.name()),
            Self::Service(scopes) => {
                let last = scopes.actions().last();
                format!("svc:{}", last.map_or("none", Action::name))
            }
            Self::Legacy => "legacy".to_owned(),
        }
    }

    fn email(self) -> String {
        format!("{}@example.org", self.name())
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let master = MasterKey::create(&folder.path().join("master.key")).unwrap();
        let (clock, hands) = Clock::manual(START);
        let opened = Keys::open(&data, &master, &clock).await.unwrap();
        let keys = opened.keys;
        let db = Db::open(&data, &opened.catalogue).await.unwrap();
        let access = Access::open(
            db.clone(),
            keys.clone(),
            clock.clone(),
            &Sessions::default(),
        )
        .await
        .unwrap();
        let projects = Projects::new(db.clone(), keys.clone(), clock.clone(), access.clone());
        let pki = Pki::open(db.clone(), keys.clone(), clock.clone())
            .await
            .unwrap();
        pki.announce(&Endpoints {
            device: "localhost:8444".to_owned(),
            mqtt: "localhost:8883".to_owned(),
        })
        .await
        .unwrap();
        let fleet = Fleet::new(db.clone(), keys.clone(), clock.clone(), pki.clone());
        let backup = Backup::new(
            db.clone(),
            keys.clone(),
            clock.clone(),
            &data,
            opened.series.clone(),
        );
        let store = Store::open(Options::new(
            data.join("series.db"),
            opened.series,
            Arc::new(keys.clone()),
        ))
        .await
        .unwrap();
        let series = Series::new(
            store,
            projects.clone(),
            pki.clone(),
            access.clone(),
            clock.clone(),
        );
        let (ours, device) = furnish(&projects, &pki, "ours").await;
        let (theirs, _) = furnish(&projects, &pki, "theirs").await;
        let here = {
            let session = system(Task::AdminCommand).project(ours.project);
            let new = NewLocation {
                name: "here".to_owned(),
                place: None,
            };
            projects
                .create_location(&session.grant(), new)
                .await
                .unwrap()
                .id
        };
        let (stop, stopping) = watch::channel(false);
        let router = router(Rooms {
            access: access.clone(),
            projects: projects.clone(),
            pki: pki.clone(),
            fleet,
            series: series.clone(),
            space: Space::new(&data, 0, db.clone(), series.clone(), clock.clone()),
            backup,
            keys,
            clock,
            db: db.clone(),
            stopping,
        });
        access.announce("localhost", "localhost:8443");
        let mut world = Self {
            router,
            db,
            services: tokio::sync::Mutex::default(),
            cookie: access.cookie_name(),
            access,
            projects,
            pki,
            series,
            hands,
            stop,
            ours,
            theirs,
            here,
            device,
            revoked: String::new(),
            expired: String::new(),
            spares: AtomicU32::new(0),
            _folder: folder,
        };
        world.populate().await;
        let endpoint = [("endpoint.https", "localhost:8443")];
        world.db.set(&endpoint).await.unwrap();
        world
    }

    async fn populate(&mut self) {
        let ours = self.ours.project;
        for who in Who::ALL {
            let role_and_place = match who {
                Who::Person(role) => Some((ours, role, Locations::All)),
                Who::Stale => Some((ours, Role::Administrator, Locations::All)),
                Who::Limited => Some((ours, Role::Viewer, Locations::only([self.here]))),
                Who::Stranger => Some((self.theirs.project, Role::Administrator, Locations::All)),
                Who::Operator => None,
                Who::None
                | Who::Garbage
                | Who::Expired
                | Who::Revoked
                | Who::Key(_)
                | Who::Service(_)
                | Who::Legacy => continue,
            };
            let name = who.name();
            let operator = who == Who::Operator;
            let person = self
                .access
                .add_person(&who.email(), &name, operator)
                .await
                .unwrap();
            if let Some((project, role, locations)) = role_and_place {
                self.access
                    .add_member(person, project, role, locations, None)
                    .await
                    .unwrap();
            }
        }
        let (key, secret) = self.make_key(Role::Administrator).await;
        let session = system(Task::AdminCommand).project(ours);
        self.access
            .revoke_api_key(&session.grant(), key)
            .await
            .unwrap();
        self.revoked = secret;
        self.expired = self.session(Who::Person(Role::Administrator)).await;
        self.hands.advance(Duration::from_secs(15 * 24 * 3_600));
    }

    async fn make_key(&self, role: Role) -> (fieldkeep_protocol::KeyId, String) {
        let session = system(Task::AdminCommand).project(self.ours.project);
        let new = NewApiKey {
            name: "test".to_owned(),
            role,
            locations: Locations::All,
            expires: None,
        };
        let (key, secret) = self
            .access
            .create_api_key(&session.grant(), new)
            .await
            .unwrap();
        (key.id, secret)
    }

    /// A key of ours that a request may revoke.
    pub(super) async fn spare_key(&self) -> fieldkeep_protocol::KeyId {
        self.make_key(Role::Viewer).await.0
    }

    /// A member of ours whom a request may change or remove.
    pub(super) async fn spare_member(&self) -> PersonId {
        let number = self.spares.fetch_add(1, Ordering::Relaxed);
        let email = format!("spare{number}@example.org");
        let person = self
            .access
            .add_person(&email, "Spare", false)
            .await
            .unwrap();
        self.access
            .add_member(
                person,
                self.ours.project,
                Role::Viewer,
                Locations::only([self.ours.location]),
                None,
            )
            .await
            .unwrap();
        person
    }

    /// A claim of ours that a request may withdraw.
    pub(super) async fn spare_claim(&self) -> ClaimId {
        let session = system(Task::AdminCommand).project(self.ours.project);
        let new = NewClaim {
            name: "spare".to_owned(),
            simulated: false,
            location: Some(self.ours.location),
        };
        self.pki
            .create_claim(&session.grant(), new)
            .await
            .unwrap()
            .claim
            .id
    }

    /// An invitation of ours that a request may use up, and its token.
    pub(super) async fn spare_invitation(&self) -> (InvitationId, String) {
        let session = system(Task::AdminCommand).project(self.ours.project);
        let number = self.spares.fetch_add(1, Ordering::Relaxed);
        let new = NewInvitation {
            email: format!("guest{number}@example.org"),
            role: Role::Viewer,
            locations: Locations::All,
            until: None,
        };
        let (invitation, link) = self
            .access
            .invite(&session.grant(), "ours", new)
            .await
            .unwrap();
        // Revoked or not, there may be only so many at once.
        let link = link.unwrap();
        (invitation.id, link.split_once('#').unwrap().1.to_owned())
    }

    /// A location of ours that a request may remove.
    pub(super) async fn spare_location(&self) -> LocationId {
        let session = system(Task::AdminCommand).project(self.ours.project);
        let new = NewLocation {
            name: "spare".to_owned(),
            place: None,
        };
        self.projects
            .create_location(&session.grant(), new)
            .await
            .unwrap()
            .id
    }

    /// An element of ours that nothing feeds.
    pub(super) async fn spare_element(&self) -> ElementId {
        let session = system(Task::AdminCommand).project(self.ours.project);
        element(&self.projects, &session, self.ours.location).await
    }

    /// A session of a person, by a link.
    pub(super) async fn session(&self, who: Who) -> String {
        self.access.full_session(&who.email()).await.unwrap()
    }

    /// A person's id.
    pub(super) async fn person(&self, who: Who) -> PersonId {
        let token = self.link(who).await;
        let started = self
            .access
            .redeem_link(&token, &Origin::here())
            .await
            .unwrap();
        started.who.actor().person().unwrap()
    }

    /// A sign-in link of a person.
    pub(super) async fn link(&self, who: Who) -> String {
        self.access.sign_in_link(&who.email()).await.unwrap()
    }

    /// Adds what proves who knocks: each request of a person has a session of its own.
    pub(super) async fn as_who(&self, who: Who, request: &mut Request<Body>) {
        let cookie = match who {
            Who::None => return,
            Who::Garbage => return bearer(request, "fk_garbage"),
            Who::Revoked => return bearer(request, &self.revoked),
            Who::Key(role) => return bearer(request, &self.make_key(role).await.1),
            Who::Service(scopes) => return bearer(request, &self.token(scopes).await),
            Who::Legacy => return bearer(request, &self.legacy_token().await),
            Who::Expired => self.expired.clone(),
            Who::Stale => {
                let cookie = self.session(who).await;
                self.access.grow_stale(&cookie).await.unwrap();
                cookie
            }
            Who::Stranger | Who::Operator | Who::Limited | Who::Person(_) => {
                self.session(who).await
            }
        };
        let headers = request.headers_mut();
        headers.insert(
            header::COOKIE,
            format!("{}={cookie}", self.cookie).parse().unwrap(),
        );
        headers.insert("x-fieldkeep", "1".parse().unwrap());
    }

    /// Sends a request through the whole door.
    pub(super) async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Asks as somebody and reads the JSON of the answer.
    pub(super) async fn ask(
        &self,
        who: Who,
        method: &str,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> (u16, serde_json::Value) {
        let mut request = request(method, path, body);
        self.as_who(who, &mut request).await;
        let response = self.send(request).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

pub(super) fn request(method: &str, path: &str, body: Option<serde_json::Value>) -> Request<Body> {
    let builder = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost:8443");
    match body {
        None => builder.body(Body::empty()).unwrap(),
        Some(body) => builder
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap(),
    }
}

fn bearer(request: &mut Request<Body>, secret: &str) {
    let value = format!("Bearer {secret}").parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, value);
}

async fn furnish(projects: &Projects, pki: &Pki, name: &str) -> (Ids, DeviceSession) {
    let task = system(Task::AdminCommand);
    let project = projects
        .create(&task.operator(), name, "UTC")
        .await
        .unwrap()
        .id;
    let session = task.project(project);
    let new = NewLocation {
        name: format!("{name} there"),
        place: None,
    };
    let location = projects
        .create_location(&session.grant(), new)
        .await
        .unwrap()
        .id;
    let element = element(projects, &session, location).await;
    let device = enrol(pki, &session, location).await;
    let new = NewDeployment {
        element,
        device: device.device(),
        channel: "level".to_owned(),
        interval_us: 1_000_000,
        from: Timestamp::from_micros(0),
        to: None,
    };
    let deployment = projects
        .create_deployment(&session.grant(), new)
        .await
        .unwrap()
        .id;
    let ids = Ids {
        project,
        location,
        element,
        deployment,
        device: device.device(),
    };
    (ids, device)
}

async fn element(
    projects: &Projects,
    session: &crate::access::SystemSession,
    location: LocationId,
) -> ElementId {
    let new = NewElement {
        name: "level".to_owned(),
        unit: "m".to_owned(),
        digits: 3,
        kind: ElementKind::Measured,
        value_kind: ValueKind::Number,
        colour: None,
        location: Some(location),
    };
    projects
        .create_element(&session.grant(), new)
        .await
        .unwrap()
        .id
}

async fn enrol(
    pki: &Pki,
    session: &crate::access::SystemSession,
    location: LocationId,
) -> DeviceSession {
    let new = NewClaim {
        name: "logger".to_owned(),
        simulated: true,
        location: Some(location),
    };
    let claim = pki.create_claim(&session.grant(), new).await.unwrap();
    let code = claim.line.split(':').nth(3).unwrap().to_owned();
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .pem()
        .unwrap();
    let address: SocketAddr = "192.0.2.1:5000".parse().unwrap();
    let enrolled = pki.enrol(address.ip(), &code, &csr).await.unwrap();
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(enrolled.certificate.as_bytes()).collect();
    let chain = chain.unwrap().into();
    pki.authenticate(&Peer { address, chain }).await.unwrap()
}
