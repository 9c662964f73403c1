//! The store's view of project keys: one key a project that wraps the store's data keys.

use fieldkeep_protocol::ProjectId;
use fieldkeep_store::{KeyUnavailable, ProjectKey, ProjectKeyFuture, ProjectKeys};

use super::derive::derive;
use super::{Keys, KeysError};

impl ProjectKeys for Keys {
    fn project_key(&self, project: ProjectId) -> ProjectKeyFuture<'_> {
        Box::pin(async move {
            match self.project_secret(project).await {
                Ok(key) => {
                    let wrapping = derive(&key, "data keys", &[project.as_bytes()]);
                    Ok(ProjectKey::new(*wrapping.expose()))
                }
                Err(KeysError::NoProjectKey(_)) => Err(KeyUnavailable::gone()),
                Err(error) => Err(KeyUnavailable::because(error)),
            }
        })
    }
}
