//! Projects and what they hold: locations, elements, deployments, and how long their measurements are kept.
//!
//! Owns those tables in the catalogue. Every function takes a key and finds other ids only under that key's project and
//! locations: what lies outside is not found. All names and places are sealed under the project's key; a channel's
//! name is looked up by a keyed hash.
//! Holds no measurements, and no device's identity: devices are [`pki`](crate::pki)'s.

mod channels;
mod deployments;
mod elements;
mod legacy;
mod locations;
mod retention;
mod text;
mod units;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use fieldkeep_protocol::{DeploymentId, ElementId, ProjectId, Timestamp};
use serde_json::json;

use crate::access::{
    Access, Admin, Failure, Grant, Locations, OperatorGrant, Read, Role, SignedIn, System,
};
use crate::clock::Clock;
use crate::db::{Db, Remembered, Row, SqlError};
use crate::keys::{Keys, KeysError, SealingKey, Unsealable, new_id};
use crate::trail::{Act, Trail, TrailError};

pub use channels::{Bound, ChannelDescription, DeviceChannels, Mismatch, NewElementOf};
use deployments::Fed;
pub use deployments::{Deployment, NewDeployment};
pub use elements::{Element, ElementChange, ElementKind, NewElement, ValueKind};
pub use legacy::{LegacyIds, LegacyObject};
pub use locations::{Location, LocationChange, NewLocation, Place};
pub use retention::{Hold, Keeping, Policy, ProjectRetention, Retention};
pub use text::Invalid;
pub use units::{NewUnit, Scaling, UnitChange, UnitMode};

/// Why something about a project was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ProjectsError {
    /// The project does not exist (any more).
    #[error("no such project")]
    NoProject,
    /// Nothing with this id is in the grant's reach.
    #[error("no such {0}")]
    NotFound(Thing),
    /// A field does not hold what it should.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field, as in the API.
        field: &'static str,
        /// What is wrong with it.
        reason: Invalid,
    },
    /// The act concerns the whole project, and the grant reaches only some locations.
    #[error("this concerns the whole project, and your access is limited to some of its locations")]
    Limited,
    /// Devices or elements are at the location.
    #[error("devices or elements are at this location: move them first")]
    LocationInUse,
    /// The element would have two sources at one instant.
    #[error("deployment {with} feeds this element in that time already: end it first")]
    Overlap {
        /// The deployment in the way.
        with: DeploymentId,
    },
    /// There is a legal hold already.
    #[error("there is a legal hold already: release it first to set another")]
    Held,
    /// There is no legal hold.
    #[error("there is no legal hold to release")]
    NotHeld,
    /// The catalogue failed.
    #[error("the catalogue failed")]
    Sql(#[from] SqlError),
    /// The project's key is missing.
    #[error("the project's key cannot be had")]
    Keys(#[source] KeysError),
    /// A sealed column does not open.
    #[error("a sealed column does not open")]
    Sealed(#[from] Unsealable),
    /// A stored value is none that this program writes.
    #[error("column {0} holds a value that this program does not know")]
    Unknown(&'static str),
    /// Memberships could not be read.
    #[error("memberships could not be read")]
    Access(#[from] Failure),
}

/// What was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A location.
    Location,
    /// A device.
    Device,
    /// An element.
    Element,
    /// A deployment.
    Deployment,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Location => "location",
            Self::Device => "device",
            Self::Element => "element",
            Self::Deployment => "deployment",
        })
    }
}

impl From<KeysError> for ProjectsError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::NoProjectKey(_) => Self::NoProject,
            other => Self::Keys(other),
        }
    }
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Which.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// The time zone that days and months follow, such as `Europe/Copenhagen`.
    pub zone: String,
    /// When it was made.
    pub created: Timestamp,
}

/// How much of what is in the grant's reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Devices.
    pub devices: u64,
    /// Elements.
    pub elements: u64,
}

/// What to change of a project; None leaves as it is.
#[derive(Clone, Debug, Default)]
pub struct ProjectChange {
    /// A new name.
    pub name: Option<String>,
    /// A new time zone.
    pub zone: Option<String>,
}

/// Projects over the catalogue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Projects {
    db: Db,
    keys: Keys,
    clock: Clock,
    access: Access,
    fed: Arc<Remembered<(ProjectId, ElementId), Fed>>,
}

/// Elements whose sources are remembered at most, some hundred bytes each.
const REMEMBERED: usize = 65_536;

impl From<TrailError> for ProjectsError {
    fn from(error: TrailError) -> Self {
        match error {
            TrailError::Sql(error) => Self::Sql(error),
            TrailError::Keys(error) => Self::Keys(error),
        }
    }
}

impl Projects {
    /// Projects of an open catalogue.
    pub fn new(db: Db, keys: Keys, clock: Clock, access: Access) -> Self {
        Self {
            db,
            keys,
            clock,
            access,
            fed: Arc::new(Remembered::new(REMEMBERED)),
        }
    }

    /// The instance's trail, for doors that work with projects.
    pub(crate) fn trail(&self) -> &Trail {
        self.access.trail()
    }

    /// Makes a project; the person who does becomes its administrator.
    pub async fn create(
        &self,
        by: &OperatorGrant<'_>,
        name: &str,
        zone: &str,
    ) -> Result<Project, ProjectsError> {
        let name = text::name("name", name)?;
        let zone = text::zone("zone", zone)?;
        let id = new_id(&self.clock, ProjectId::from_parts);
        // The key first: a key without a project does no harm, a project without a key could not be read.
        let key = self.keys.create_project(id, &self.clock).await?;
        let created = self.clock.now();
        let mut transaction = self.db.begin().await?;
        transaction
            .execute(
                "INSERT INTO project (id, name_sealed, zone, created_us) VALUES ($1, $2, $3, $4)",
                &[
                    id.as_bytes().into(),
                    (&key.seal("project.name", id.as_bytes(), name.as_bytes())).into(),
                    zone.into(),
                    created.as_micros().into(),
                ],
            )
            .await?;
        let entry = by
            .entry(Act::ProjectCreate)
            .on(id)
            .new_value(json!({ "name": name, "zone": zone }));
        let trail = self.access.trail();
        trail
            .write(&mut transaction, entry.clone().in_project(id))
            .await?;
        trail.write(&mut transaction, entry).await?;
        self.access
            .make_administrator(&mut transaction, by, id, created)
            .await?;
        transaction.commit().await?;
        tracing::info!(project.id = %id, by = %by.actor(), "project created");
        Ok(Project {
            id,
            name: name.to_owned(),
            zone: zone.to_owned(),
            created,
        })
    }

    /// The caller's projects with their role in each, oldest membership first.
    pub async fn list(&self, who: &SignedIn) -> Result<Vec<(Project, Role)>, ProjectsError> {
        let mut projects = Vec::new();
        for membership in self.access.memberships(who).await? {
            match self.project(membership.project).await {
                Ok(project) => projects.push((project, membership.role)),
                // Erased meanwhile.
                Err(ProjectsError::NoProject) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(projects)
    }

    /// Every project, for the program's own work.
    pub async fn all(&self, _by: System) -> Result<Vec<Project>, ProjectsError> {
        let rows = self
            .db
            .fetch_all("SELECT id FROM project ORDER BY id", &[])
            .await?;
        let mut projects = Vec::with_capacity(rows.len());
        for row in &rows {
            projects.push(self.project(ProjectId::from_bytes(row.array(0)?)).await?);
        }
        Ok(projects)
    }

    /// The grant's project.
    pub async fn one(&self, grant: &Grant<'_, Read>) -> Result<Project, ProjectsError> {
        self.project(grant.project()).await
    }

    /// How many devices and elements are in reach.
    pub async fn counts(&self, grant: &Grant<'_, Read>) -> Result<Counts, ProjectsError> {
        let project = grant.project();
        let project = [project.as_bytes().into()];
        let devices = self
            .db
            .fetch_all(
                "SELECT location, count(*) FROM device WHERE project = $1 GROUP BY location",
                &project,
            )
            .await?;
        let elements = self
            .db
            .fetch_all(
                "SELECT location, count(*) FROM element WHERE project = $1 GROUP BY location",
                &project,
            )
            .await?;
        Ok(Counts {
            devices: in_reach(&devices, grant.locations())?,
            elements: in_reach(&elements, grant.locations())?,
        })
    }

    /// Changes the grant's project.
    pub async fn change(
        &self,
        grant: &Grant<'_, Admin>,
        change: ProjectChange,
    ) -> Result<Project, ProjectsError> {
        whole(grant.locations())?;
        let mut project = self.project(grant.project()).await?;
        let old = told(&project);
        if let Some(name) = &change.name {
            text::name("name", name)?.clone_into(&mut project.name);
        }
        if let Some(zone) = &change.zone {
            text::zone("zone", zone)?.clone_into(&mut project.zone);
        }
        let key = self.key(project.id).await?;
        let id = project.id.as_bytes();
        let mut transaction = self.db.begin().await?;
        transaction
            .execute(
                "UPDATE project SET name_sealed = $2, zone = $3 WHERE id = $1",
                &[
                    id.into(),
                    (&key.seal("project.name", id, project.name.as_bytes())).into(),
                    project.zone.as_str().into(),
                ],
            )
            .await?;
        let entry = grant
            .entry(Act::ProjectChange)
            .on(project.id)
            .old(old)
            .new_value(told(&project));
        self.access.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        Ok(project)
    }

    async fn project(&self, id: ProjectId) -> Result<Project, ProjectsError> {
        let row = self
            .db
            .fetch_optional(
                "SELECT name_sealed, zone, created_us FROM project WHERE id = $1",
                &[id.as_bytes().into()],
            )
            .await?
            .ok_or(ProjectsError::NoProject)?;
        let key = self.key(id).await?;
        Ok(Project {
            id,
            name: key.open_text("project.name", id.as_bytes(), row.bytes(0)?)?,
            zone: row.text(1)?.to_owned(),
            created: Timestamp::from_micros(row.i64(2)?),
        })
    }

    async fn key(&self, project: ProjectId) -> Result<SealingKey, ProjectsError> {
        Ok(self.keys.project(project).await?)
    }
}

/// A project as the trail tells it.
fn told(project: &Project) -> serde_json::Value {
    json!({ "name": project.name, "zone": project.zone })
}

/// Sums the counts of rows (location, count) that are in reach.
fn in_reach(rows: &[Row], locations: &Locations) -> Result<u64, ProjectsError> {
    let mut sum = 0;
    for row in rows {
        if locations.allow(locations::optional(row, 0)?) {
            sum += u64::try_from(row.i64(1)?).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// Refuses a grant that reaches only a part.
fn whole(locations: &Locations) -> Result<(), ProjectsError> {
    match locations {
        Locations::All => Ok(()),
        Locations::Only(_) => Err(ProjectsError::Limited),
    }
}
