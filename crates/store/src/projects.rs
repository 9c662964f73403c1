//! The narrow numbers that stand for projects in rows and index entries.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use fieldkeep_protocol::ProjectId;

use crate::error::StoreError;
use crate::sql::Database;

/// A project and its number in this database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) id: ProjectId,
    pub(crate) number: i64,
}

/// Every project that was asked for; they are few, and one costs 24 bytes.
pub(crate) struct Projects {
    database: Database,
    numbers: RwLock<HashMap<ProjectId, i64>>,
}

impl Projects {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
            numbers: RwLock::default(),
        }
    }

    /// The project, if anything of it was ever stored.
    pub(crate) async fn find(&self, id: ProjectId) -> Result<Option<Project>, StoreError> {
        if let Some(number) = self.known(id) {
            return Ok(Some(Project { id, number }));
        }
        let row = self
            .database
            .fetch_optional(
                "SELECT id FROM project WHERE project = $1",
                &[id.as_bytes().into()],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let number = row.i64(0)?;
        self.learn(id, number);
        Ok(Some(Project { id, number }))
    }

    /// The project, numbered now if it is new.
    pub(crate) async fn open(&self, id: ProjectId) -> Result<Project, StoreError> {
        if let Some(project) = self.find(id).await? {
            return Ok(project);
        }
        self.database
            .execute(
                "INSERT INTO project (project) VALUES ($1) ON CONFLICT DO NOTHING",
                &[id.as_bytes().into()],
            )
            .await?;
        self.find(id).await?.ok_or(StoreError::Closed)
    }

    fn known(&self, id: ProjectId) -> Option<i64> {
        self.numbers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .copied()
    }

    fn learn(&self, id: ProjectId, number: i64) {
        self.numbers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, number);
    }
}
