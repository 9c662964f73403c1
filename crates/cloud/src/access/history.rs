//! Who may read the trail: auditors and administrators their project's, operators the instance's.

use super::grant::{Audit, Grant, Locations, OperatorGrant};
use super::{Access, AccessError};
use crate::trail::{Filter, Page};

impl Access {
    /// Entries of the grant's project before a number, newest first. A grant that reaches only some locations sees what
    /// happened there, and nothing else.
    pub async fn trail_of_project(
        &self,
        grant: &Grant<'_, Audit>,
        mut filter: Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page, AccessError> {
        filter.locations = match grant.locations() {
            Locations::All => None,
            Locations::Only(locations) => Some(locations.clone()),
        };
        let project = Some(grant.project());
        Ok(self.trail().page(project, &filter, before, limit).await?)
    }

    /// Entries that belong to no project, before a number, newest first.
    pub async fn trail_of_instance(
        &self,
        _operator: &OperatorGrant<'_>,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page, AccessError> {
        Ok(self.trail().page(None, filter, before, limit).await?)
    }
}
