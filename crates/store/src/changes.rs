//! What changed: arrivals, and everything else that makes a range of a device read otherwise than before.
//!
//! An arrival is a change by being there: its row's id is its place in the order. Everything else leaves a row of
//! `change` in the transaction of its cause. A revision is the pair of the highest ids of both: whoever reads the
//! changes after a revision and reads the named ranges again has what a fresh reader would get. Knows devices, not
//! elements: callers go through deployments. What was removed from the rows cannot be told from them: a revision that is
//! older than what was removed is refused, never answered in part.

use fieldkeep_protocol::{DeviceId, Timestamp};

use crate::projects::Project;
use crate::sql::{SqlError, Transaction};

/// Why a device's measurements read otherwise than before, other than by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Times or values were set right.
    Corrected,
    /// Points were deleted.
    Deleted,
    /// What was stored before can be read now.
    Readable,
}

impl Cause {
    fn code(self) -> i64 {
        match self {
            Self::Corrected => 1,
            Self::Deleted => 2,
            Self::Readable => 3,
        }
    }
}

/// Enters a change of a device's measurements in `from_us..to_us`; durable with the transaction, which is the one that
/// makes the change.
pub(crate) async fn record_change(
    transaction: &mut Transaction,
    project: Project,
    device: DeviceId,
    (from_us, to_us): (i64, i64),
    cause: Cause,
    now: Timestamp,
) -> Result<(), SqlError> {
    transaction
        .execute(
            "INSERT INTO change (project, device, from_us, to_us, cause, changed_us) VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                project.number.into(),
                device.as_bytes().into(),
                from_us.into(),
                to_us.into(),
                cause.code().into(),
                now.as_micros().into(),
            ],
        )
        .await?;
    Ok(())
}

/// Enters that hot rows of a device were removed, the highest of which had the id `batch`, and all of which lay before
/// `until_us`; durable with the transaction that removes them.
pub(crate) async fn record_evidence_gone(
    transaction: &mut Transaction,
    project: Project,
    device: DeviceId,
    until_us: i64,
    batch: i64,
) -> Result<(), SqlError> {
    transaction
        .execute(
            "INSERT INTO evidence_gone (project, device, until_us, batch) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project, device) DO UPDATE SET \
               until_us = CASE WHEN excluded.until_us > evidence_gone.until_us THEN excluded.until_us ELSE evidence_gone.until_us END, \
               batch = CASE WHEN excluded.batch > evidence_gone.batch THEN excluded.batch ELSE evidence_gone.batch END",
            &[
                project.number.into(),
                device.as_bytes().into(),
                until_us.into(),
                batch.into(),
            ],
        )
        .await?;
    Ok(())
}
