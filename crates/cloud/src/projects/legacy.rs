//! The ids that a project, its devices and its elements had in another cloud, for clients that still know them by these.
//!
//! Given by an administrator, each at most once among the things of one kind in its project. They name, and open nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use fieldkeep_protocol::{DeviceId, ElementId, ProjectId};
use serde_json::json;

use super::{Invalid, Projects, ProjectsError, Thing, whole};
use crate::access::{Admin, Grant, Read};
use crate::db::Transaction;
use crate::trail::Act;

/// Longer than any such id.
const LONGEST: usize = 64;

/// What can have an id from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LegacyObject {
    /// The project itself.
    Project(ProjectId),
    /// A device.
    Device(DeviceId),
    /// An element.
    Element(ElementId),
}

impl LegacyObject {
    fn kind(self) -> &'static str {
        match self {
            Self::Project(_) => "project",
            Self::Device(_) => "device",
            Self::Element(_) => "element",
        }
    }

    fn bytes(&self) -> &[u8; 16] {
        match self {
            Self::Project(id) => id.as_bytes(),
            Self::Device(id) => id.as_bytes(),
            Self::Element(id) => id.as_bytes(),
        }
    }
}

impl fmt::Display for LegacyObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(id) => id.fmt(f),
            Self::Device(id) => id.fmt(f),
            Self::Element(id) => id.fmt(f),
        }
    }
}

impl FromStr for LegacyObject {
    type Err = fieldkeep_protocol::id::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self::Project)
            .or_else(|_| text.parse().map(Self::Device))
            .or_else(|_| text.parse().map(Self::Element))
    }
}

/// Which thing of a project had which id elsewhere.
#[derive(Clone, Debug, Default)]
pub struct LegacyIds(BTreeMap<LegacyObject, String>);

impl LegacyIds {
    /// The id that a thing had; where it had none, its own.
    pub fn name(&self, object: LegacyObject) -> String {
        let given = self.0.get(&object).cloned();
        given.unwrap_or_else(|| object.to_string())
    }

    /// The things with their ids from elsewhere.
    pub fn iter(&self) -> impl Iterator<Item = (LegacyObject, &str)> {
        self.0.iter().map(|(object, id)| (*object, id.as_str()))
    }
}

impl Projects {
    /// The ids from elsewhere of the grant's whole project: names alone, whatever the grant reaches of the things.
    pub async fn legacy_ids(&self, grant: &Grant<'_, Read>) -> Result<LegacyIds, ProjectsError> {
        let project = grant.project();
        let rows = self
            .db
            .fetch_all(
                "SELECT kind, object, legacy FROM legacy_id WHERE project = $1",
                &[project.as_bytes().into()],
            )
            .await?;
        let mut ids = BTreeMap::new();
        for row in &rows {
            let bytes = row.array(1)?;
            let object = match row.text(0)? {
                "project" => LegacyObject::Project(ProjectId::from_bytes(bytes)),
                "device" => LegacyObject::Device(DeviceId::from_bytes(bytes)),
                "element" => LegacyObject::Element(ElementId::from_bytes(bytes)),
                _ => return Err(ProjectsError::Unknown("legacy_id.kind")),
            };
            ids.insert(object, row.text(2)?.to_owned());
        }
        Ok(LegacyIds(ids))
    }

    /// Whether the grant's project is meant by `asked`: its own id, or the one that it had elsewhere.
    pub async fn is_called(
        &self,
        grant: &Grant<'_, Read>,
        asked: &str,
    ) -> Result<bool, ProjectsError> {
        let project = grant.project();
        if asked.parse() == Ok(project) {
            return Ok(true);
        }
        let row = self
            .db
            .fetch_optional(
                "SELECT 1 FROM legacy_id WHERE project = $1 AND kind = 'project' AND legacy = $2",
                &[project.as_bytes().into(), asked.into()],
            )
            .await?;
        Ok(row.is_some())
    }

    /// Gives things ids from elsewhere, or takes them away (None): all, or none where one is refused.
    ///
    /// # Errors
    /// [`ProjectsError::Invalid`] for an id that is none, or that another thing of its kind has;
    /// [`ProjectsError::NotFound`] for a thing that the project does not have.
    pub async fn set_legacy_ids(
        &self,
        grant: &Grant<'_, Admin>,
        ids: &[(LegacyObject, Option<String>)],
    ) -> Result<(), ProjectsError> {
        whole(grant.locations())?;
        let project = grant.project();
        let mut transaction = self.db.begin().await?;
        // Gone first, so that two things may change places.
        for (object, _) in ids {
            exists(&mut transaction, project, *object).await?;
            transaction
                .execute(
                    "DELETE FROM legacy_id WHERE project = $1 AND object = $2",
                    &[project.as_bytes().into(), object.bytes().into()],
                )
                .await?;
        }
        for (object, id) in ids {
            let Some(id) = id else { continue };
            if !sound(id) {
                return Err(refused(Invalid::LegacyId));
            }
            let set = transaction
                .execute(
                    "INSERT INTO legacy_id (project, object, kind, legacy) VALUES ($1, $2, $3, $4)
                     ON CONFLICT DO NOTHING",
                    &[
                        project.as_bytes().into(),
                        object.bytes().into(),
                        object.kind().into(),
                        id.as_str().into(),
                    ],
                )
                .await?;
            if set == 0 {
                return Err(refused(Invalid::Taken));
            }
        }
        let told: BTreeMap<String, _> = ids
            .iter()
            .map(|(object, id)| (object.to_string(), id))
            .collect();
        let entry = grant.entry(Act::ProjectChange).on(project);
        let entry = entry.new_value(json!({ "legacy_ids": told }));
        self.access.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, by = %grant.actor(), count = ids.len(), "ids from elsewhere set");
        Ok(())
    }
}

fn refused(reason: Invalid) -> ProjectsError {
    ProjectsError::Invalid {
        field: "legacy_id",
        reason,
    }
}

/// Letters, digits, `-` and `_`. Not in the form of our own ids: one must not pass for another thing's.
fn sound(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && id.parse::<LegacyObject>().is_err()
}

async fn exists(
    transaction: &mut Transaction,
    project: ProjectId,
    object: LegacyObject,
) -> Result<(), ProjectsError> {
    let (sql, thing) = match object {
        LegacyObject::Project(id) if id == project => return Ok(()),
        LegacyObject::Project(_) => return Err(ProjectsError::NoProject),
        LegacyObject::Device(_) => (
            "SELECT 1 FROM device WHERE project = $1 AND id = $2",
            Thing::Device,
        ),
        LegacyObject::Element(_) => (
            "SELECT 1 FROM element WHERE project = $1 AND id = $2",
            Thing::Element,
        ),
    };
    let row = transaction
        .fetch_optional(sql, &[project.as_bytes().into(), object.bytes().into()])
        .await?;
    row.map(|_| ()).ok_or(ProjectsError::NotFound(thing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_from_elsewhere() {
        for good in ["Ab3dEf6hIj9kLm2nOp5q", "a", "a-b_c", &"x".repeat(64)] {
            assert!(sound(good), "{good}");
        }
        let ours = ElementId::from_bytes([7; 16]).to_string();
        for bad in ["", "a;b", "a/b", "a b", "å", &"x".repeat(65), &ours] {
            assert!(!sound(bad), "{bad}");
        }
    }
}
