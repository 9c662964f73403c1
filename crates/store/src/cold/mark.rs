//! Marks: what makes cold times stale, written in the transaction of its cause.

use fieldkeep_protocol::Timestamp;

use crate::devices::Device;
use crate::sql::{SqlError, Transaction, Value};

/// Why times are stale. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    /// A row that begins before the horizon came.
    Late = 1,
    /// The channel table of rows came after them.
    Channels = 2,
    /// What is stored of them cannot be read.
    Damaged = 5,
}

/// Marks everything of a device in `from_us..to_us` as changed. It is done whatever the horizon is: a worker that makes
/// these times cold at this moment has not read the mark, and so leaves it.
pub(crate) async fn mark_changed(
    transaction: &mut Transaction,
    device: &Device,
    (from_us, to_us): (i64, i64),
    cause: Stale,
    now: Timestamp,
) -> Result<(), SqlError> {
    transaction
        .execute(
            "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                device.project.number.into(),
                device.id.as_bytes().into(),
                from_us.into(),
                to_us.into(),
                (cause as i64).into(),
                Value::Null,
                now.as_micros().into(),
            ],
        )
        .await?;
    Ok(())
}
