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

/// A set of actions that a key or token is limited to. Closed: who may write may read, who may administer may do all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every action.
    pub const ALL: Self = Self(0b1111);
    /// Reading alone.
    pub const READ: Self = Self(0b0001);
    /// Reading, and seeing who did what.
    pub const AUDIT: Self = Self(0b0011);
    /// Reading and changing.
    pub const WRITE: Self = Self(0b0101);

    /// The smallest closed set with these actions; None for none at all.
    pub fn of(actions: impl IntoIterator<Item = Action>) -> Option<Self> {
        let bits = actions.into_iter().fold(0, |bits, action| {
            bits | match action {
                Action::Read => Self::READ.0,
                Action::Audit => Self::AUDIT.0,
                Action::Write => Self::WRITE.0,
                Action::Administer => Self::ALL.0,
            }
        });
        (bits != 0).then_some(Self(bits))
    }

    /// What a role allows.
    pub fn of_role(role: Role) -> Self {
        let allowed = Action::ALL
            .into_iter()
            .filter(|&action| role.allows(action));
        // Every role may read.
        Self::of(allowed).unwrap_or(Self::READ)
    }

    /// From words with spaces between them, as OAuth writes and the catalogue stores them; None for an unknown word or
    /// none at all.
    pub fn parse(text: &str) -> Option<Self> {
        let mut actions = Vec::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            actions.push(
                Action::ALL
                    .into_iter()
                    .find(|action| action.name() == word)?,
            );
        }
        Self::of(actions)
    }

    /// Whether the action is in it.
    pub fn allow(self, action: Action) -> bool {
        let bit = match action {
            Action::Read => 0b0001,
            Action::Audit => 0b0010,
            Action::Write => 0b0100,
            Action::Administer => 0b1000,
        };
        self.0 & bit != 0
    }

    /// Whether everything in `other` is in this.
    pub fn cover(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What both allow. Closed, since both are; reading is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The actions in it, in the table's order.
    pub fn actions(self) -> impl Iterator<Item = Action> {
        Action::ALL
            .into_iter()
            .filter(move |&action| self.allow(action))
    }

    /// The highest role that needs no more than this.
    pub fn role(self) -> Role {
        let roles = [Role::Administrator, Role::Editor, Role::Auditor];
        roles
            .into_iter()
            .find(|&role| self.cover(Self::of_role(role)))
            .unwrap_or(Role::Viewer)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, action) in self.actions().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            f.write_str(action.name())?;
        }
        Ok(())
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
    fn scopes_are_closed_and_never_more_than_asked_for() {
        for bits in 1..16_u8 {
            let asked: Vec<Action> = Action::ALL
                .into_iter()
                .enumerate()
                .filter(|(at, _)| bits >> at & 1 == 1)
                .map(|(_, action)| action)
                .collect();
            let scopes = Scopes::of(asked.clone()).unwrap();
            assert!(scopes.allow(Action::Read));
            assert!(asked.iter().all(|&action| scopes.allow(action)));
            assert_eq!(Scopes::parse(&scopes.to_string()), Some(scopes));
            assert!(scopes.cover(Scopes::of_role(scopes.role())));
            let whole = scopes.allow(Action::Administer);
            assert_eq!(whole, scopes == Scopes::ALL);
        }
        for role in Role::ALL {
            assert_eq!(Scopes::of_role(role).role(), role);
            for action in Action::ALL {
                assert_eq!(Scopes::of_role(role).allow(action), role.allows(action));
            }
        }
        for text in ["", " ", "all", "read writes", "READ"] {
            assert_eq!(Scopes::parse(text), None, "{text:?}");
        }
        let narrowed = Scopes::of_role(Role::Editor).and(Scopes::of_role(Role::Auditor));
        assert_eq!(narrowed, Scopes::READ);
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
