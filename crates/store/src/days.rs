//! The days under which batch rows are found: the table `stream_day` beside the index `batch_day` and the view `hot`.
//!
//! Promises that the day of every batch row is listed, in the transaction that gives the row its time, and that a day is
//! removed only with its last row. Who reads a stream's rows asks the view, and bounds the day where it can.

use crate::devices::Device;
use crate::sql::{SqlError, Transaction, Value};
use crate::stream::Stream;

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;
/// Where held rows stand: their times are not to be believed.
const HELD: i64 = -1;

/// The day of an instant.
pub(crate) fn day(time_us: i64) -> i64 {
    time_us / DAY_US
}

/// The day of a batch row.
pub(crate) fn day_of(held: bool, from_us: i64) -> i64 {
    if held { HELD } else { day(from_us) }
}

/// Lists days of streams, by project, stream and day.
pub(crate) async fn list(
    transaction: &mut Transaction,
    days: &[(i64, i64, i64)],
) -> Result<(), SqlError> {
    let values: Vec<Value<'_>> = days
        .iter()
        .flat_map(|(project, stream, day)| [(*project).into(), (*stream).into(), (*day).into()])
        .collect();
    transaction
        .insert_rows(
            "INSERT INTO stream_day (project, stream, day) VALUES",
            "ON CONFLICT DO NOTHING",
            3,
            &values,
        )
        .await?;
    Ok(())
}

/// Removes a device's days of some instants that have no row any more. What streams remember is forgotten within the
/// transaction, so that the writer, whose own comes after it, lists its days anew.
pub(crate) async fn unlist(
    transaction: &mut Transaction,
    device: &Device,
    streams: &[std::sync::Arc<Stream>],
    (from_us, to_us): (i64, i64),
) -> Result<(), SqlError> {
    for stream in streams {
        let removed = transaction
            .execute(
                "DELETE FROM stream_day WHERE project = $1 AND stream = $2 AND day >= $3 AND day <= $4 AND NOT EXISTS (\
                   SELECT 1 FROM batch WHERE batch.project = $1 AND batch.stream = $2 \
                     AND (CASE WHEN batch.held THEN -1 ELSE batch.from_us / 86400000000 END) = stream_day.day + 0)",
                &[
                    device.project.number.into(),
                    stream.identity.id.into(),
                    day(from_us).into(),
                    day(to_us).into(),
                ],
            )
            .await?;
        if removed > 0 {
            stream.unlisted();
        }
    }
    Ok(())
}
