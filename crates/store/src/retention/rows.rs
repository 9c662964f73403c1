//! Batch rows of a stretch of time: which may go, and their removal with what stays of them.

use std::sync::Arc;

use super::Amount;
use super::windows::{Opened, Window};
use crate::days::{self, day};
use crate::devices::Device;
use crate::error::StoreError;
use crate::kept::{self, Print, Removed, print};
use crate::sql::{Database, SqlError, Transaction};
use crate::stream::Stream;

/// A batch row, without its payload.
pub(super) struct Candidate {
    pub(super) id: i64,
    pub(super) removed: Removed,
    pub(super) from_us: i64,
    prev: Option<Print>,
    bytes: u64,
}

/// The believed rows of some streams that end in `from..to`.
pub(super) async fn ending_in(
    transaction: &mut Transaction,
    streams: &[Arc<Stream>],
    from: i64,
    to: i64,
) -> Result<Vec<Candidate>, SqlError> {
    let mut found = Vec::new();
    for stream in streams {
        let rows = transaction
            .fetch_all(
                "SELECT id, first, count, branch, hash, prev, from_us, span_us, length(payload) FROM hot \
                 WHERE project = $1 AND stream = $2 AND held = false AND day <= $5 AND from_us < $4 \
                   AND from_us + span_us >= $3 AND from_us + span_us < $4 ORDER BY branch, first",
                &[
                    stream.identity.project.number.into(),
                    stream.identity.id.into(),
                    from.into(),
                    to.into(),
                    day(to).into(),
                ],
            )
            .await?;
        for row in &rows {
            let from_us = row.i64(6)?;
            found.push(Candidate {
                id: row.i64(0)?,
                removed: Removed {
                    stream: stream.identity.id,
                    branch: u32::try_from(row.i64(3)?).unwrap_or(u32::MAX),
                    first: row.i64(1)?.cast_unsigned(),
                    count: u32::try_from(row.i64(2)?).unwrap_or(u32::MAX),
                    print: print(row.bytes(4)?),
                    gap: false,
                    to_us: from_us.saturating_add(row.i64(7)?),
                },
                from_us,
                prev: row.opt_array::<32>(5)?.map(|prev| print(&prev)),
                bytes: row.i64(8)?.cast_unsigned(),
            });
        }
    }
    Ok(found)
}

impl Candidate {
    /// Whether every record of it is in a chunk that was opened and is still there. One record lies in one window.
    pub(super) fn is_copied(&self, windows: &[Window], opened: &[Opened]) -> bool {
        let Removed {
            stream,
            branch,
            first,
            count,
            ..
        } = self.removed;
        let found: u64 = opened
            .iter()
            .filter(|chunk| chunk.is_among(windows))
            .map(|chunk| chunk.holds(stream, branch, first, count))
            .sum();
        found == count.into()
    }
}

/// Removes the rows and keeps their numbers. Answers how much it was, and the highest id.
pub(super) async fn remove(
    transaction: &mut Transaction,
    database: &Database,
    device: &Device,
    streams: &[Arc<Stream>],
    mut rows: Vec<Candidate>,
) -> Result<(Amount, i64), StoreError> {
    let project = device.project.number;
    let mut amount = Amount::default();
    let mut highest = 0;
    for row in &mut rows {
        row.removed.gap = match row.prev {
            Some(prev) => !is_linked(transaction, database, streams, row, prev).await?,
            None => false,
        };
        highest = highest.max(row.id);
        amount.add(Amount {
            items: 1,
            records: row.removed.count.into(),
            bytes: row.bytes,
        });
    }
    let removed: Vec<Removed> = rows.iter().map(|row| row.removed.clone()).collect();
    kept::keep(transaction, project, &removed).await?;
    for row in &rows {
        transaction
            .execute("DELETE FROM batch WHERE id = $1", &[row.id.into()])
            .await?;
    }
    let begins = rows.iter().map(|row| row.from_us);
    if let (Some(from), Some(to)) = (begins.clone().min(), begins.max()) {
        days::unlist(transaction, device, streams, (from, to)).await?;
    }
    Ok((amount, highest))
}

/// Whether the predecessor that a batch names is there, or was.
async fn is_linked(
    transaction: &mut Transaction,
    database: &Database,
    streams: &[Arc<Stream>],
    row: &Candidate,
    prev: Print,
) -> Result<bool, StoreError> {
    let first = row.removed.first;
    let Some(before) = first.checked_sub(1) else {
        return Ok(false);
    };
    let Some(stream) = streams
        .iter()
        .find(|stream| stream.identity.id == row.removed.stream)
    else {
        return Ok(false);
    };
    let found = transaction
        .fetch_optional(
            "SELECT 1 FROM hot WHERE project = $1 AND stream = $2 AND first < $3 AND first >= $3 - 4096 \
               AND first + count = $3 AND substr(hash, 1, 8) = $4",
            &[
                stream.identity.project.number.into(),
                stream.identity.id.into(),
                first.cast_signed().into(),
                (&prev).into(),
            ],
        )
        .await?;
    Ok(found.is_some() || kept::holds(database, stream, before, before, prev).await?)
}
