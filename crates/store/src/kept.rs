//! Record numbers whose batch rows retention removed.
//!
//! They stay durable: the ledger counts them, a device is never asked for them again, and the same batch that comes once
//! more is a duplicate. A run of consecutive batches of one branch is one row, with eight bytes of each batch's hash:
//! what comes under the same numbers with other content is a fork as ever, and is stored. Knows no policy and deletes
//! nothing: [`retention`](crate::retention) does, and enters the numbers in the same transaction.

use crate::error::StoreError;
use crate::sql::{Database, SqlError, Transaction, Value};
use crate::stream::{Identity, Stream};

/// Bytes of a batch's hash that its row keeps, and that stay of it.
const PRINT: usize = 8;

/// The first bytes of a batch's hash, which its row keeps: the whole is made from the payload.
pub(crate) type Print = [u8; PRINT];

/// The print of a hash or of what is stored of one; zeros where that is too short to be either.
pub(crate) fn print(hash: &[u8]) -> Print {
    hash.first_chunk().copied().unwrap_or_default()
}
/// Batches of one run; a longer one goes on in the next row.
const RUN: usize = 4_096;

/// A batch whose row is about to be removed.
#[derive(Clone, Debug)]
pub(crate) struct Removed {
    pub(crate) stream: i64,
    pub(crate) branch: u32,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) print: Print,
    /// Its predecessor was not there.
    pub(crate) gap: bool,
    /// Its latest time.
    pub(crate) to_us: i64,
}

/// Where the highest runs of a stream end: the number after, the branch and the last batch's print.
pub(crate) async fn ends(
    database: &Database,
    identity: &Identity,
    most: usize,
) -> Result<Vec<(u64, u32, Print)>, StoreError> {
    let rows = database
        .fetch_all(
            "SELECT last, branch, hash FROM kept_numbers WHERE project = $1 AND stream = $2 \
             ORDER BY last DESC, branch DESC LIMIT $3",
            &[
                identity.project.number.into(),
                identity.id.into(),
                i64::try_from(most).unwrap_or(i64::MAX).into(),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let branch = u32::try_from(row.i64(1)?).unwrap_or(u32::MAX);
            Ok((
                row.i64(0)?.cast_unsigned() + 1,
                branch,
                print(row.bytes(2)?),
            ))
        })
        .collect()
}

/// Whether a batch with this print was stored over these record numbers, and its row removed.
pub(crate) async fn holds(
    database: &Database,
    stream: &Stream,
    first: u64,
    last: u64,
    wanted: Print,
) -> Result<bool, StoreError> {
    let identity = &stream.identity;
    // A batch whose numbers begin in one run ends in it, unless it is another batch.
    let rows = database
        .fetch_all(
            "SELECT prints FROM kept_numbers \
             WHERE project = $1 AND stream = $2 AND first <= $3 AND last >= $4",
            &[
                identity.project.number.into(),
                identity.id.into(),
                first.cast_signed().into(),
                last.cast_signed().into(),
            ],
        )
        .await?;
    for row in rows {
        if has_print(row.bytes(0)?, wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_print(prints: &[u8], wanted: Print) -> bool {
    prints.chunks_exact(PRINT).any(|print| print == wanted)
}

/// Enters the numbers of batches that the same transaction removes; `removed` in the order of stream, branch, first.
pub(crate) async fn keep(
    transaction: &mut Transaction,
    project: i64,
    removed: &[Removed],
) -> Result<(), SqlError> {
    let follows = |a: &Removed, b: &Removed| {
        a.stream == b.stream && a.branch == b.branch && a.first + u64::from(a.count) == b.first
    };
    for run in removed.chunk_by(follows) {
        let mut rest = run;
        if let Some(head) = run.first() {
            let place = [
                Value::from(project),
                head.stream.into(),
                head.branch.into(),
                head.first.cast_signed().into(),
            ];
            let before = transaction
                .fetch_optional(
                    "SELECT id, prints FROM kept_numbers \
                     WHERE project = $1 AND stream = $2 AND branch = $3 AND last = $4 - 1",
                    &place,
                )
                .await?;
            if let Some(row) = before {
                let mut prints = row.bytes(1)?.to_vec();
                let room = RUN.saturating_sub(prints.len() / PRINT);
                let (more, after) = rest.split_at(room.min(rest.len()));
                rest = after;
                extend(transaction, row.i64(0)?, &mut prints, more).await?;
            }
        }
        for part in rest.chunks(RUN) {
            insert(transaction, project, part).await?;
        }
    }
    Ok(())
}

struct Sums {
    last: i64,
    records: i64,
    gaps: i64,
    to_us: i64,
    print: Print,
}

fn sums(part: &[Removed], prints: &mut Vec<u8>) -> Option<Sums> {
    let end = part.last()?;
    for batch in part {
        prints.extend_from_slice(&batch.print);
    }
    Some(Sums {
        last: (end.first + u64::from(end.count) - 1).cast_signed(),
        records: part.iter().map(|batch| i64::from(batch.count)).sum(),
        gaps: part.iter().map(|batch| i64::from(batch.gap)).sum(),
        to_us: part.iter().map(|batch| batch.to_us).max()?,
        print: end.print,
    })
}

async fn extend(
    transaction: &mut Transaction,
    id: i64,
    prints: &mut Vec<u8>,
    part: &[Removed],
) -> Result<(), SqlError> {
    let Some(sums) = sums(part, prints) else {
        return Ok(());
    };
    transaction
        .execute(
            "UPDATE kept_numbers SET last = $2, batches = batches + $3, records = records + $4, gaps = gaps + $5, \
               to_us = CASE WHEN to_us > $6 THEN to_us ELSE $6 END, hash = $7, prints = $8 WHERE id = $1",
            &[
                id.into(),
                sums.last.into(),
                i64::try_from(part.len()).unwrap_or(i64::MAX).into(),
                sums.records.into(),
                sums.gaps.into(),
                sums.to_us.into(),
                (&sums.print).into(),
                (&*prints).into(),
            ],
        )
        .await?;
    Ok(())
}

async fn insert(
    transaction: &mut Transaction,
    project: i64,
    part: &[Removed],
) -> Result<(), SqlError> {
    let mut prints = Vec::with_capacity(part.len() * PRINT);
    let (Some(head), Some(sums)) = (part.first(), sums(part, &mut prints)) else {
        return Ok(());
    };
    transaction
        .execute(
            "INSERT INTO kept_numbers (project, stream, branch, first, last, batches, records, gaps, to_us, hash, prints) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            &[
                project.into(),
                head.stream.into(),
                head.branch.into(),
                head.first.cast_signed().into(),
                sums.last.into(),
                i64::try_from(part.len()).unwrap_or(i64::MAX).into(),
                sums.records.into(),
                sums.gaps.into(),
                sums.to_us.into(),
                (&sums.print).into(),
                (&prints).into(),
            ],
        )
        .await?;
    Ok(())
}
