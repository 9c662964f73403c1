//! Grants for the program's own work: a closed list of tasks, so that a reviewer sees every one.
//!
//! Nothing here is reached from outside: a request never becomes a task.

use std::borrow::Cow;

use fieldkeep_protocol::ProjectId;

use super::grant::{Caller, Grant, Level, Locations, OperatorGrant, Standing};
use super::roles::Role;

/// Why the program acts on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A person at the machine runs `fieldkeep admin …`.
    AdminCommand,
    /// `fieldkeep demo` sets up its project.
    Demo,
    /// The daily backup.
    Backup,
    /// A device's channels become elements of its project.
    Ingest,
    /// What is old enough is deleted as its project says.
    Retention,
}

impl Task {
    /// The word for it in logs and in the trail.
    pub fn name(self) -> &'static str {
        match self {
            Self::AdminCommand => "admin-command",
            Self::Demo => "demo",
            Self::Backup => "backup",
            Self::Ingest => "ingest",
            Self::Retention => "retention",
        }
    }
}

/// The program acting for one task.
pub fn system(task: Task) -> System {
    System(task)
}

/// Lends grants for a task.
#[derive(Clone, Copy, Debug)]
pub struct System(Task);

impl System {
    /// The whole of one project. Whether it exists shows when the grant is used.
    pub fn project(self, project: ProjectId) -> SystemSession {
        tracing::trace!(task = self.0.name(), project.id = %project, "system grant");
        SystemSession {
            caller: Caller::system(self.0),
            standing: Standing::of_role(project, Role::Administrator, Locations::All),
        }
    }

    /// The instance itself.
    pub fn operator(&self) -> OperatorGrant<'_> {
        OperatorGrant::new(Cow::Owned(Caller::system(self.0)))
    }
}

/// A task's key for one project.
#[derive(Debug)]
pub struct SystemSession {
    caller: Caller,
    standing: Standing,
}

impl SystemSession {
    /// Lends a grant of any level.
    pub fn grant<L: Level>(&self) -> Grant<'_, L> {
        Grant::new(&self.caller, &self.standing)
    }
}
