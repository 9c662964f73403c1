//! Whether a project lets clients of another cloud's API in: off until an administrator turns it on.

use fieldkeep_protocol::ProjectId;
use serde_json::json;

use super::grant::{Admin, Grant, Locations, Read};
use super::{Access, AccessError, Failure};
use crate::trail::Act;

impl Access {
    /// Whether the project's service accounts may use the compatibility routes.
    pub async fn compatibility(&self, grant: &Grant<'_, Read>) -> Result<bool, AccessError> {
        Ok(self.legacy_allowed(grant.project()).await?)
    }

    /// Turns the compatibility routes on or off for the project. Off counts at the next request.
    ///
    /// # Errors
    /// [`AccessError::LocationsBeyond`] for a grant that does not reach the whole project.
    pub async fn set_compatibility(
        &self,
        grant: &Grant<'_, Admin>,
        on: bool,
    ) -> Result<(), AccessError> {
        if !grant.locations().cover(&Locations::All) {
            return Err(AccessError::LocationsBeyond);
        }
        let project = grant.project();
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "INSERT INTO compatibility (project, consibio_v2, changed_us) VALUES ($1, $2, $3)
                 ON CONFLICT (project) DO UPDATE SET consibio_v2 = excluded.consibio_v2,
                     changed_us = excluded.changed_us",
                &[
                    project.as_bytes().into(),
                    on.into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        let entry = grant.entry(Act::ProjectChange).on(project);
        let entry = entry.new_value(json!({ "compatibility": { "consibio_v2": on } }));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, by = %grant.actor(), on, "compatibility set");
        Ok(())
    }

    pub(super) async fn legacy_allowed(&self, project: ProjectId) -> Result<bool, Failure> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT consibio_v2 FROM compatibility WHERE project = $1",
                &[project.as_bytes().into()],
            )
            .await?;
        Ok(row.map_or(Ok(false), |row| row.bool(0))?)
    }
}
