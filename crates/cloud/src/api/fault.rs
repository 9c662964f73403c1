//! What rooms refuse, as problems: one exhaustive table per room.
//!
//! Owns which fault of a room is the client's (and then which field it names) and which is ours. Inner text goes to the
//! log, never into a problem.

use std::time::Duration;

use super::door::denied;
use super::id::Time;
use super::problem::{Code, Problem};
use crate::access::{AccessError, Failure};
use crate::backup::BackupError;
use crate::fleet::FleetError;
use crate::pki::PkiError;
use crate::projects::ProjectsError;
use crate::series::SeriesError;
use crate::space::SpaceError;
use fieldkeep_store::{ClockError, StoreError};

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
        AccessError::WrongCode => Problem::field("code", error.to_string()),
        AccessError::PasskeyRefused => Problem::new(Code::SignInFailed).detail(error.to_string()),
        AccessError::NoPasskeysHere
        | AccessError::LastFactor
        | AccessError::PasswordTooShortAlone
        | AccessError::TotpExists
        | AccessError::OtherPerson
        | AccessError::HasAccount => Problem::new(Code::Conflict).detail(error.to_string()),
        AccessError::Password(fault) => Problem::field("password", fault.to_string()),
        AccessError::PersonUnknown
        | AccessError::KeyUnknown
        | AccessError::NotFound
        | AccessError::AccountUnknown
        | AccessError::CredentialUnknown
        | AccessError::MemberUnknown
        | AccessError::ProjectUnknown => Problem::new(Code::NotFound),
        AccessError::Last(_)
        | AccessError::Emergency
        | AccessError::Hanging
        | AccessError::AlreadyMember => Problem::new(Code::Conflict).detail(error.to_string()),
        AccessError::CannotTakeOver => Problem::field("to", error.to_string()),
        AccessError::NoReason => Problem::field("reason", error.to_string()),
        AccessError::TooLong => Problem::field("hours", "are between 1 and 24"),
        AccessError::InvalidEmail => Problem::field("email", "is not an e-mail address"),
        AccessError::InvalidName => Problem::field("name", error.to_string()),
        AccessError::RoleAbove(_) => Problem::field("role", "allows more than your own role"),
        AccessError::LocationsBeyond => Problem::field("locations", "reach further than your own"),
        AccessError::ScopesBeyond => Problem::field("scopes", error.to_string()),
        AccessError::PastDate => Problem::field("expires", "is past"),
        AccessError::TooLongLived => Problem::field("expires", "is more than a year away"),
        AccessError::TooMany(_) => Problem::new(Code::Conflict).detail(error.to_string()),
        AccessError::CodeUnknown => Problem::field("user_code", error.to_string()),
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
        ProjectsError::LocationInUse
        | ProjectsError::Overlap { .. }
        | ProjectsError::Held
        | ProjectsError::NotHeld => Problem::new(Code::Conflict).detail(error.to_string()),
        ProjectsError::Sql(_)
        | ProjectsError::Keys(_)
        | ProjectsError::Sealed(_)
        | ProjectsError::Unknown(_)
        | ProjectsError::Access(_) => Problem::internal("the catalogue failed", &error),
    }
}

/// Devices and claims.
pub(super) fn pki(error: PkiError) -> Problem {
    match error {
        PkiError::NotFound => Problem::new(Code::NotFound),
        PkiError::InvalidName => Problem::field("name", error.to_string()),
        PkiError::NoEndpoint => {
            Problem::unavailable("no listener for devices is announced", &error)
        }
        PkiError::Certificate(_)
        | PkiError::Anchor(_)
        | PkiError::Tls(_)
        | PkiError::Keys(_)
        | PkiError::Sealed(_)
        | PkiError::Stored(_)
        | PkiError::Sql(_) => Problem::internal("device identities failed", &error),
    }
}

/// What is known of devices.
pub(super) fn fleet(error: FleetError) -> Problem {
    match error {
        FleetError::NotFound => Problem::new(Code::NotFound),
        FleetError::Pki(inner) => pki(inner),
        FleetError::Keys(_)
        | FleetError::Sealed(_)
        | FleetError::Stored(_)
        | FleetError::Sql(_) => Problem::internal("device states failed", &error),
    }
}

/// What a person asks of a device's clock; `field` is the one that says by how much.
pub(super) fn clock(error: SeriesError, field: &'static str) -> Problem {
    match error {
        SeriesError::Clock(error) => match error {
            ClockError::NoRecords => Problem::field("first", error.to_string()),
            ClockError::TooMany => Problem::field("last", error.to_string()),
            ClockError::Partly { .. } => Problem::field("first", error.to_string()),
            ClockError::Impossible { .. } => Problem::field(field, error.to_string()),
            ClockError::NoProposal => Problem::new(Code::NotFound),
            ClockError::Decided | ClockError::Raced => {
                Problem::new(Code::Conflict).detail(error.to_string())
            }
            ClockError::Store(error) => series(SeriesError::Store(error)),
        },
        other => series(other),
    }
}

/// Backups. Nothing that a client sends is at fault: it only asks how they are.
pub(super) fn backup(error: &BackupError) -> Problem {
    Problem::internal("the state of the backups is not known", error)
}

/// Measurements.
pub(super) fn series(error: SeriesError) -> Problem {
    match error {
        SeriesError::Clock(_) => clock(error, "first"),
        SeriesError::NoElement | SeriesError::NoDevice => Problem::new(Code::NotFound),
        SeriesError::Projects(inner) => projects(inner),
        SeriesError::Pki(inner) => pki(inner),
        SeriesError::Ended(inner) => denied(inner),
        SeriesError::Store(StoreError::RevisionGone) => Problem::new(Code::Gone)
            .detail(
                "what changed since then can no longer be told: read everything again and go on from the revision of that \
                 answer",
            )
            .blame("since", "is of another state of this instance, or older than what is kept"),
        SeriesError::Store(StoreError::EvidenceGone { until }) => Problem::new(Code::Gone)
            .detail(format!(
                "what was known before cannot be told for times before {}: the batches of then were removed",
                Time(until)
            ))
            .blame("from", format!("is before {}", Time(until))),
        SeriesError::Store(StoreError::TooManyBuckets { .. }) => {
            Problem::field("buckets", "are too many for this range")
        }
        SeriesError::Store(StoreError::Closed) => {
            Problem::unavailable("the measurement store is closed", &error)
        }
        SeriesError::Store(
            StoreError::Sql(_)
            | StoreError::Commit(_)
            | StoreError::Key(_)
            | StoreError::Damaged { .. }
            | StoreError::Encryption
            // Only devices begin epochs.
            | StoreError::TooManyEpochs(_)
            | StoreError::NoRoom,
        ) => Problem::internal("the measurement store failed", &error),
    }
}

/// Room on the disk.
pub(super) fn space(error: SpaceError) -> Problem {
    match error {
        SpaceError::Series(inner) => series(inner),
        SpaceError::Disk(_) | SpaceError::Sql(_) => {
            Problem::internal("the room on the disk cannot be told", &error)
        }
    }
}

/// The longest that one answer may take: what would take longer is refused, and told what to narrow.
const QUERY_TIME: Duration = Duration::from_secs(30);

/// Waits for a whole answer about a range of time.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    within(QUERY_TIME, work).await
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(time, work).await {
        Ok(done) => done,
        Err(_) => Err(Problem::new(Code::TooSlow)
            .detail(format!("an answer may take {} s", time.as_secs()))
            .blame("to", "is too far from from: ask for less time at once, for fewer elements, or by exports")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_too_long_is_refused_with_advice() {
        let never = std::future::pending::<Result<(), Problem>>();
        let problem = within(Duration::ZERO, never).await.unwrap_err();
        assert_eq!(problem.code(), Code::TooSlow);
        let done = within(Duration::from_secs(60), async { Ok(7) }).await;
        assert_eq!(done.ok(), Some(7));
    }
}
