//! Which role may do what: the one table.
//!
//! A golden text (`tests/golden/roles.txt`) holds every cell, so that a change of a right is seen in review.

use std::fmt;
use std::str::FromStr;

/// A kind of act inside one project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// See measurements, devices, elements and their state.
    Read,
    /// See who has access and what was done.
    Audit,
    /// Change what is measured and described: devices, claims, elements, locations.
    Write,
    /// Change the project itself and who may do what in it.
    Administer,
}

impl Action {
    /// Every action, in the table's order.
    pub const ALL: [Self; 4] = [Self::Read, Self::Audit, Self::Write, Self::Administer];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Audit => "audit",
            Self::Write => "write",
            Self::Administer => "administer",
        }
    }
}

/// What a member is in one project. Operators of the instance are not members: they see no project's data
/// unless they are also given a role in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Looks on.
    Viewer,
    /// Looks on, and sees who did what.
    Auditor,
    /// Looks after devices and elements.
    Editor,
    /// Decides over the project and its members.
    Administrator,
}

impl Role {
    /// Every role, in the table's order.
    pub const ALL: [Self; 4] = [
        Self::Viewer,
        Self::Auditor,
        Self::Editor,
        Self::Administrator,
    ];

    /// The word for it, as stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Editor => "editor",
            Self::Administrator => "administrator",
        }
    }

    /// The table.
    pub fn allows(self, action: Action) -> bool {
        use Action::{Administer, Audit, Read, Write};
        let allowed: &[Action] = match self {
            Self::Viewer => &[Read],
            Self::Auditor => &[Read, Audit],
            Self::Editor => &[Read, Write],
            Self::Administrator => &[Read, Audit, Write, Administer],
        };
        allowed.contains(&action)
    }

    /// Whether this role may do everything that `other` may: nobody hands out more than they have.
    pub fn covers(self, other: Self) -> bool {
        Action::ALL
            .iter()
            .all(|&action| self.allows(action) || !other.allows(action))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a role: use viewer, auditor, editor or administrator")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(UnknownRole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_golden_text() {
        let mut text = format!("{:14}", "");
        for action in Action::ALL {
            text.push_str(&format!(" {:10}", action.name()));
        }
        for role in Role::ALL {
            text.push_str(&format!("\n{:14}", role.name()));
            for action in Action::ALL {
                let cell = if role.allows(action) { "yes" } else { "-" };
                text.push_str(&format!(" {cell:10}"));
            }
        }
        let text: Vec<&str> = text.lines().map(str::trim_end).collect();
        let golden = include_str!("../../tests/golden/roles.txt");
        assert_eq!(text, golden.lines().collect::<Vec<_>>());
    }

    #[test]
    fn an_administrator_covers_all_and_the_middle_roles_not_each_other() {
        for role in Role::ALL {
            assert!(role.covers(role));
            assert!(Role::Administrator.covers(role));
            assert!(role.covers(Role::Viewer));
        }
        assert!(!Role::Auditor.covers(Role::Editor));
        assert!(!Role::Editor.covers(Role::Auditor));
    }
}
