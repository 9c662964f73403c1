//! What rooms refuse, as problems: one exhaustive table per room.
//!
//! Owns which fault of a room is the client's (and then which field it names) and which is ours. Inner text goes to the
//! log, never into a problem.

use super::problem::{Code, Problem};
use crate::access::{AccessError, Failure};
use crate::projects::ProjectsError;

/// The access data failed.
pub(super) fn failure(failure: &Failure) -> Problem {
    Problem::internal("the access data failed", failure)
}

/// People, sessions and keys.
pub(super) fn access(error: AccessError) -> Problem {
    match error {
        AccessError::WrongCredentials => Problem::new(Code::SignInFailed),
        AccessError::Throttled { retry_after_s } => {
            Problem::new(Code::RateLimited).retry_after(retry_after_s)
        }
        AccessError::LinkRefused => Problem::new(Code::LinkInvalid),
        AccessError::Password(fault) => Problem::field("password", fault.to_string()),
        AccessError::PersonUnknown | AccessError::KeyUnknown => Problem::new(Code::NotFound),
        AccessError::InvalidEmail => Problem::field("email", "is not an e-mail address"),
        AccessError::InvalidName => Problem::field("name", error.to_string()),
        AccessError::RoleAbove(_) => Problem::field("role", "allows more than your own role"),
        AccessError::LocationsBeyond => Problem::field("locations", "reach further than your own"),
        AccessError::PastDate => Problem::field("expires", "is past"),
        AccessError::NotAPerson => {
            Problem::new(Code::Forbidden).detail("only a person who signed in can do this")
        }
        AccessError::Failed(inner) => failure(&inner),
    }
}

/// Projects and what they hold.
pub(super) fn projects(error: ProjectsError) -> Problem {
    match error {
        ProjectsError::NoProject | ProjectsError::NotFound(_) => Problem::new(Code::NotFound),
        ProjectsError::Invalid { field, reason } => Problem::field(field, reason.to_string()),
        ProjectsError::Limited => Problem::new(Code::Forbidden).detail(error.to_string()),
        ProjectsError::LocationInUse | ProjectsError::Overlap { .. } | ProjectsError::Ended => {
            Problem::new(Code::Conflict).detail(error.to_string())
        }
        ProjectsError::Sql(_)
        | ProjectsError::Keys(_)
        | ProjectsError::Sealed(_)
        | ProjectsError::Unknown(_)
        | ProjectsError::Access(_) => Problem::internal("the catalogue failed", &error),
    }
}
