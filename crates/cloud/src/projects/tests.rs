//! Projects as a whole, over a real catalogue: projects and locations here, the rest in files of their own.

mod at_rest;
mod channels;
mod deployments;
mod elements;

use std::path::PathBuf;
use std::time::Duration;

use fieldkeep_protocol::{DeviceId, ElementId, LocationId, PersonId, Timestamp};
use fieldkeep_store::Source;
use tempfile::TempDir;

use super::*;
use crate::access::{Credential, Locations, Session, SystemSession, Task, Write, system};
use crate::clock::Hands;
use crate::keys::MasterKey;
use crate::trail::Origin;

struct Bench {
    folder: TempDir,
    hands: Hands,
    clock: Clock,
    db: Db,
    keys: Keys,
    access: Access,
    projects: Projects,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(Timestamp::from_micros(1_772_366_400_000_000));
        let master = MasterKey::create(&folder.path().join("key")).unwrap();
        let data = folder.path().join("data");
        let opened = Keys::open(&data, &master, &clock).await.unwrap();
        let db = Db::open(&data, &opened.catalogue).await.unwrap();
        let keys = opened.keys;
        let access = Access::open_default(db.clone(), keys.clone(), clock.clone())
            .await
            .unwrap();
        let projects = Projects::new(db.clone(), keys.clone(), clock.clone(), access.clone());
        Self {
            folder,
            hands,
            clock,
            db,
            keys,
            access,
            projects,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A project and the program's key to it.
    async fn project(&self, name: &str) -> SystemSession {
        let by = system(Task::Demo);
        let project = self.projects.create(&by.operator(), name, "UTC").await;
        by.project(project.unwrap().id)
    }

    async fn location(&self, task: &SystemSession, name: &str) -> LocationId {
        let new = NewLocation {
            name: name.to_owned(),
            place: None,
        };
        let made = self.projects.create_location(&task.grant(), new).await;
        made.unwrap().id
    }

    async fn element(
        &self,
        task: &SystemSession,
        name: &str,
        location: Option<LocationId>,
    ) -> ElementId {
        let made = self
            .projects
            .create_element(&task.grant(), new_element(name, location))
            .await;
        made.unwrap().id
    }

    /// A device's row, which is another room's.
    async fn device(&self, task: &SystemSession, location: Option<LocationId>) -> DeviceId {
        let id = new_id(&self.clock, DeviceId::from_parts);
        let insert = "INSERT INTO device (project, id, state, simulated, name_sealed, location,
                created_us, changed_us)
            VALUES ($1, $2, 'active', $3, $2, $4, 0, 0)";
        let project = task.grant::<Read>().project();
        let values = [
            project.as_bytes().into(),
            id.as_bytes().into(),
            false.into(),
            location.as_ref().map(LocationId::as_bytes).into(),
        ];
        self.db.execute(insert, &values).await.unwrap();
        id
    }

    /// A person who may do `L` at these locations alone.
    async fn limited<L: crate::access::Level>(
        &self,
        task: &SystemSession,
        role: Role,
        locations: Locations,
    ) -> Session<L> {
        let project = task.grant::<Read>().project();
        let email = format!("{}@example.org", new_id(&self.clock, PersonId::from_parts));
        let person = self.access.add_person(&email, "Anna", false).await.unwrap();
        let member = self
            .access
            .add_member(person, project, role, locations, None);
        member.await.unwrap();
        let who = self.sign_in(&email).await;
        self.access.session(who, project).await.unwrap()
    }

    async fn sign_in(&self, email: &str) -> SignedIn {
        let cookie = self.access.full_session(email).await.unwrap();
        self.access
            .actor(&Credential::Cookie(cookie), &Origin::here())
            .await
            .unwrap()
    }
}

fn new_element(name: &str, location: Option<LocationId>) -> NewElement {
    NewElement {
        name: name.to_owned(),
        unit: "m".to_owned(),
        digits: 3,
        kind: ElementKind::Measured,
        value_kind: ValueKind::Number,
        colour: None,
        location,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

#[tokio::test]
async fn the_creator_becomes_administrator_and_nobody_else_sees_it() {
    let bench = Bench::new().await;
    let who = bench.sign_in("operator@example.org").await;
    let operator = bench.access.operator(who).unwrap();
    let made = bench
        .projects
        .create(&operator.grant(), " River ", "Europe/Copenhagen")
        .await
        .unwrap();
    assert_eq!(
        (made.name.as_str(), made.zone.as_str()),
        ("River", "Europe/Copenhagen")
    );
    bench.project("Demo").await;

    let mine = bench.projects.list(operator.signed_in()).await.unwrap();
    assert_eq!(mine, [(made.clone(), Role::Administrator)]);
    let all = bench
        .projects
        .all(system(Task::AdminCommand))
        .await
        .unwrap();
    assert_eq!(all.len(), 2);

    let who = bench.sign_in("operator@example.org").await;
    let session = bench.access.session::<Admin>(who, made.id).await.unwrap();
    assert_eq!(bench.projects.one(&session.read()).await.unwrap(), made);
    let change = ProjectChange {
        name: Some("River Å".to_owned()),
        zone: None,
    };
    let changed = bench
        .projects
        .change(&session.grant(), change)
        .await
        .unwrap();
    assert_eq!(changed.name, "River Å");
    assert_eq!(bench.projects.one(&session.read()).await.unwrap(), changed);
    let bad = ProjectChange {
        name: Some("\n".to_owned()),
        zone: None,
    };
    let error = bench
        .projects
        .change(&session.grant(), bad)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        ProjectsError::Invalid { field: "name", .. }
    ));
}

#[tokio::test]
async fn a_project_that_does_not_exist_or_was_erased_is_not_found() {
    let bench = Bench::new().await;
    let nowhere = system(Task::Demo).project(ProjectId::from_bytes([1; 16]));
    let error = bench.projects.one(&nowhere.grant()).await.unwrap_err();
    assert!(matches!(error, ProjectsError::NoProject));
    let task = bench.project("Demo").await;
    let project = task.grant::<Read>().project();
    bench.keys.erase_project(project).await.unwrap();
    let error = bench.projects.one(&task.grant()).await.unwrap_err();
    assert!(matches!(error, ProjectsError::NoProject));
}

#[tokio::test]
async fn locations_are_made_changed_and_deleted_when_empty() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let place = Place {
        latitude: 56.15,
        longitude: 10.2,
    };
    let new = NewLocation {
        name: "Bridge".to_owned(),
        place: Some(place),
    };
    let made = bench
        .projects
        .create_location(&task.grant(), new.clone())
        .await
        .unwrap();
    assert_eq!(
        bench
            .projects
            .location(&task.grant(), made.id)
            .await
            .unwrap(),
        made
    );
    let change = LocationChange {
        name: Some("Old bridge".to_owned()),
        place: Some(None),
    };
    let changed = bench
        .projects
        .change_location(&task.grant(), made.id, change)
        .await
        .unwrap();
    assert_eq!((changed.name.as_str(), changed.place), ("Old bridge", None));
    assert_eq!(
        bench.projects.locations(&task.grant()).await.unwrap(),
        [changed]
    );
    let wrong = NewLocation {
        place: Some(Place {
            latitude: f64::NAN,
            ..place
        }),
        ..new
    };
    let error = bench
        .projects
        .create_location(&task.grant(), wrong)
        .await
        .unwrap_err();
    assert!(matches!(error, ProjectsError::Invalid { .. }));

    bench.element(&task, "Level", Some(made.id)).await;
    let error = bench
        .projects
        .delete_location(&task.grant(), made.id)
        .await
        .unwrap_err();
    assert!(matches!(error, ProjectsError::LocationInUse));
    let empty = bench.location(&task, "Empty").await;
    bench
        .projects
        .delete_location(&task.grant(), empty)
        .await
        .unwrap();
    let error = bench
        .projects
        .delete_location(&task.grant(), empty)
        .await
        .unwrap_err();
    assert!(matches!(error, ProjectsError::NotFound(Thing::Location)));
}

#[tokio::test]
async fn another_project_s_ids_are_not_found() {
    let bench = Bench::new().await;
    let [mine, other] = [bench.project("Mine").await, bench.project("Other").await];
    let location = bench.location(&other, "There").await;
    let element = bench.element(&other, "Level", Some(location)).await;
    let device = bench.device(&other, None).await;
    let own_element = bench.element(&mine, "Level", None).await;
    let own_device = bench.device(&mine, None).await;
    let projects = &bench.projects;
    assert!(projects.location(&mine.grant(), location).await.is_err());
    assert!(
        projects
            .delete_location(&mine.grant(), location)
            .await
            .is_err()
    );
    assert!(projects.element(&mine.grant(), element).await.is_err());
    assert!(
        projects
            .sources(&mine.grant(), element)
            .await
            .unwrap()
            .is_none()
    );
    let change = ElementChange::default();
    assert!(
        projects
            .change_element(&mine.grant(), element, change)
            .await
            .is_err()
    );
    let moved = ElementChange {
        location: Some(Some(location)),
        ..ElementChange::default()
    };
    let error = projects
        .change_element(&mine.grant(), own_element, moved)
        .await;
    assert!(matches!(
        error,
        Err(ProjectsError::Invalid {
            field: "location",
            reason: Invalid::Unknown
        })
    ));
    for (element, device) in [(element, own_device), (own_element, device)] {
        let new = deployments::new(element, device, 0, None);
        assert!(
            projects
                .create_deployment(&mine.grant(), new)
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn limited_people_reach_their_locations_alone() {
    let bench = Bench::new().await;
    let task = bench.project("Demo").await;
    let [here, there] = [
        bench.location(&task, "Here").await,
        bench.location(&task, "There").await,
    ];
    let near = bench.element(&task, "Near", Some(here)).await;
    let far = bench.element(&task, "Far", Some(there)).await;
    bench.element(&task, "Nowhere", None).await;
    let device = bench.device(&task, Some(there)).await;
    let own = bench.device(&task, Some(here)).await;
    let session = bench
        .limited::<Write>(&task, Role::Editor, Locations::only([here]))
        .await;
    let (read, write) = (session.read(), session.grant());
    let projects = &bench.projects;

    let names = |elements: Vec<Element>| {
        let names = elements.into_iter().map(|element| element.name);
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(projects.elements(&read).await.unwrap()), ["Near"]);
    let seen = projects.locations(&read).await.unwrap();
    assert_eq!(
        seen.iter().map(|location| location.id).collect::<Vec<_>>(),
        [here]
    );
    let counts = projects.counts(&read).await.unwrap();
    assert_eq!(
        counts,
        Counts {
            devices: 1,
            elements: 1
        }
    );
    let whole = projects.counts(&task.grant()).await.unwrap();
    assert_eq!(
        whole,
        Counts {
            devices: 2,
            elements: 3
        }
    );
    assert!(projects.element(&read, far).await.is_err());
    assert!(projects.sources(&read, far).await.unwrap().is_none());
    assert!(projects.location(&read, there).await.is_err());

    for location in [None, Some(there)] {
        let new = new_element("New", location);
        assert!(projects.create_element(&write, new).await.is_err());
        let change = ElementChange {
            location: Some(location),
            ..ElementChange::default()
        };
        assert!(projects.change_element(&write, near, change).await.is_err());
    }
    projects
        .create_element(&write, new_element("New", Some(here)))
        .await
        .unwrap();
    let unnamed = ElementChange::default();
    assert!(projects.change_element(&write, far, unnamed).await.is_err());
    assert!(projects.delete_location(&write, there).await.is_err());
    let new = NewLocation {
        name: "Third".to_owned(),
        place: None,
    };
    let error = projects.create_location(&write, new).await.unwrap_err();
    assert!(matches!(error, ProjectsError::Limited));
    let new = deployments::new(near, device, 0, None);
    assert!(projects.create_deployment(&write, new).await.is_err());
    let new = deployments::new(far, own, 0, None);
    assert!(projects.create_deployment(&write, new).await.is_err());
    let far_one = deployments::new(far, device, 0, None);
    let far_one = projects
        .create_deployment(&task.grant(), far_one)
        .await
        .unwrap();
    assert!(
        projects
            .end_deployment(&write, far_one.id, at(9))
            .await
            .is_err()
    );
    assert!(projects.deployments(&read).await.unwrap().is_empty());

    let admin = bench
        .limited::<Admin>(&task, Role::Administrator, Locations::only([here]))
        .await;
    let error = projects
        .change(&admin.grant(), ProjectChange::default())
        .await;
    assert!(matches!(error, Err(ProjectsError::Limited)));
}
