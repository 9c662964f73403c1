//! What must be read of one device for a range of time, so that every stored record is met exactly once.
//!
//! Owns the partition of time between hot rows and cold chunks. Each instant has one place:
//! - from the horizon on, and wherever a mark without a batch says that rows changed: the hot rows, all of them;
//! - everywhere else, the chunk of its window, which holds the rows up to the id it was built from, and beside it the
//!   rows of marks with a batch, each only where the chunk was built from less than its id.
//!
//! So no record can come twice: its time has one place, and in a cold place its row is either inside the chunk (its id is
//! not above `built`) or beside it (its id is). None is left out either: the writer marks a row that begins before the
//! horizon in the transaction that stores it, and a worker marks those that came while it built.
//!
//! Where hot rows were removed (retention) no chunk is made again. A mark without a batch then hides nothing: beside the
//! chunk are read the rows that are still there and end before what is gone, which are in no chunk, or would be gone.
//!
//! The horizon, the marks, and which chunks and roll-ups there are come from one statement, as of one instant. Payloads
//! are asked for later, each under the nonce that the map names; if a worker has replaced one meanwhile it is not found,
//! and the read begins anew with a new map ([`Read::Moved`]).

use fieldkeep_protocol::ProjectId;

use crate::cipher::{Kind, Subject};
use crate::days::day;
use crate::devices::Device;
use crate::error::StoreError;
use crate::spans::Spans;
use crate::sql::Database;
use crate::store::Inner;

/// The cause of a mark that a late row leaves.
pub(crate) const LATE: i64 = 1;
/// Changed stretches that are told apart: more are joined, which is as right and reads a little more.
const STRETCHES: usize = 32;

/// A chunk or a roll-up, as its row says, without the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    id: i64,
    /// The window's kind, or the roll-up's level.
    pub(crate) kind: i64,
    pub(crate) from: i64,
    /// Exclusive.
    pub(crate) to: i64,
    /// The highest batch id that is inside.
    pub(crate) built: i64,
    key_id: i64,
    counter: i64,
}

/// A row that came after its time had become cold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late {
    pub(crate) batch: i64,
    pub(crate) from: i64,
    /// It is in no chunk, whatever its id.
    outside: bool,
}

/// Where the records of one device are, for a range of time, as of one instant.
#[derive(Debug)]
pub(crate) struct Tiers {
    /// Times that are read from hot rows.
    pub(crate) hot: Spans,
    /// Times that are read from chunks and the rows beside them.
    pub(crate) cold: Spans,
    /// The chunks that touch the range, by time.
    pub(crate) chunks: Vec<Entry>,
    /// The roll-ups that were asked for and touch the range, by level and time.
    pub(crate) rollups: Vec<Entry>,
    /// The late rows that touch the range, by time.
    pub(crate) late: Vec<Late>,
}

/// What a payload turned out to be.
#[derive(Debug)]
pub(crate) enum Read {
    /// The plain bytes.
    Plain(Vec<u8>),
    /// It does not authenticate; the log says so.
    Damaged,
    /// A worker has replaced it since the map was read.
    Moved,
}

impl Tiers {
    /// The map of `device` for `from..to`, with the roll-ups of the levels `1..=level`.
    pub(crate) async fn load(
        database: &Database,
        device: &Device,
        (from, to): (i64, i64),
        level: i64,
    ) -> Result<Self, StoreError> {
        if from >= device.horizon(database).await? {
            return Ok(Self::hot(from, to));
        }
        let rows = database
            .fetch_all(
                "SELECT 0, 0, 0, until_us, until_us, 0, 0, 0 FROM cold WHERE project = $1 AND device = $2 \
                 UNION ALL SELECT 1, id, 0, from_us, to_us, coalesce(batch, 0), 0, 0 FROM dirty \
                   WHERE project = $1 AND device = $2 AND from_us < $4 AND to_us > $3 \
                 UNION ALL SELECT 2, id, kind, from_us, to_us, built, key_id, counter FROM chunk \
                   WHERE project = $1 AND device = $2 AND from_us < $4 AND to_us > $3 \
                 UNION ALL SELECT 3, id, level, from_us, to_us, built, key_id, counter FROM rollup \
                   WHERE project = $1 AND device = $2 AND level BETWEEN 1 AND $5 AND from_us < $4 AND to_us > $3 \
                 UNION ALL SELECT 4, 0, 0, until_us, until_us, 0, 0, 0 FROM evidence_gone WHERE project = $1 AND device = $2",
                &[
                    device.project.number.into(),
                    device.id.as_bytes().into(),
                    from.into(),
                    to.into(),
                    level.into(),
                ],
            )
            .await?;
        let (mut horizon, mut gone, mut changed) = (i64::MIN, i64::MIN, Vec::new());
        let (mut chunks, mut rollups, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let entry = Entry {
                id: row.i64(1)?,
                kind: row.i64(2)?,
                from: row.i64(3)?,
                to: row.i64(4)?,
                built: row.i64(5)?,
                key_id: row.i64(6)?,
                counter: row.i64(7)?,
            };
            let Entry { from, to, .. } = entry;
            match row.i64(0)? {
                0 => horizon = from,
                1 if entry.built == 0 => changed.push((from, to)),
                1 => late.push(Late {
                    batch: entry.built,
                    from,
                    outside: false,
                }),
                2 => chunks.push(entry),
                3 => rollups.push(entry),
                _ => gone = from,
            }
        }
        let range = Spans::one(from, to);
        let changed = Spans::of(join(changed));
        let frozen = changed
            .intersect(&range)
            .intersect(&Spans::one(i64::MIN, gone));
        if let Some(extent) = frozen.extent() {
            let outside = left_over(database, device, extent, gone).await?;
            late.retain(|late: &Late| outside.iter().all(|row| row.batch != late.batch));
            late.extend(outside);
        }
        chunks.sort_by_key(|chunk| chunk.from);
        rollups.sort_by_key(|rollup| (rollup.kind, rollup.from));
        late.sort_by_key(|late| (late.from, late.batch));
        late.dedup_by_key(|late| late.batch);
        let changed = changed.intersect(&Spans::one(gone, i64::MAX));
        let hot = changed
            .union(&Spans::one(horizon, i64::MAX))
            .intersect(&range);
        Ok(Self {
            cold: range.without(&hot),
            hot,
            chunks,
            rollups,
            late,
        })
    }

    /// All from hot rows.
    pub(crate) fn hot(from: i64, to: i64) -> Self {
        Self {
            hot: Spans::one(from, to),
            cold: Spans::default(),
            chunks: Vec::new(),
            rollups: Vec::new(),
            late: Vec::new(),
        }
    }

    /// Where a late row is read: in the cold times whose chunk, if there is one, was built without it.
    pub(crate) fn beside(&self, late: &Late) -> Spans {
        if late.outside {
            return self.cold.clone();
        }
        let inside = self
            .chunks
            .iter()
            .filter(|chunk| chunk.built >= late.batch)
            .map(|chunk| (chunk.from, chunk.to));
        self.cold.without(&Spans::of(inside))
    }
}

/// The readable rows of a device that touch an extent and end before `gone`.
async fn left_over(
    database: &Database,
    device: &Device,
    (from, to): (i64, i64),
    gone: i64,
) -> Result<Vec<Late>, StoreError> {
    let rows = database
        .fetch_all(
            "SELECT id, from_us FROM hot WHERE project = $1 \
               AND stream IN (SELECT id FROM stream WHERE project = $1 AND device = $2) AND day <= $6 AND held = false \
               AND from_us < $4 AND from_us + span_us >= $3 AND from_us + span_us < $5",
            &[
                device.project.number.into(),
                device.id.as_bytes().into(),
                from.into(),
                to.into(),
                gone.into(),
                day(to.min(gone)).into(),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Late {
                batch: row.i64(0)?,
                from: row.i64(1)?,
                outside: true,
            })
        })
        .collect()
}

impl Inner {
    /// The plain payloads of some chunks (or roll-ups) of a device, in their order.
    pub(crate) async fn open_cold(
        &self,
        device: &Device,
        kind: Kind,
        entry: &Entry,
    ) -> Result<Read, StoreError> {
        let sql = match kind {
            Kind::Rollup => {
                "SELECT payload FROM rollup WHERE id = $1 AND project = $2 AND key_id = $3 AND counter = $4"
            }
            _ => {
                "SELECT payload FROM chunk WHERE id = $1 AND project = $2 AND key_id = $3 AND counter = $4"
            }
        };
        let row = self
            .database
            .fetch_optional(
                sql,
                &[
                    entry.id.into(),
                    device.project.number.into(),
                    entry.key_id.into(),
                    entry.counter.into(),
                ],
            )
            .await?;
        let Some(row) = row else {
            return Ok(Read::Moved);
        };
        let subject = subject(device, kind, entry);
        let payload = row.bytes(0)?.to_vec();
        let key = self.keys.opening(device.project, entry.key_id).await?;
        let plain = key.and_then(|key| key.open(&subject, entry.counter, payload));
        Ok(match plain {
            Some(plain) => Read::Plain(plain),
            None => {
                // Logged there; the caller goes on with the rows that it was made from.
                let _ = subject.damaged();
                Read::Damaged
            }
        })
    }
}

/// What the payload of a chunk or a roll-up is sealed as.
fn subject(device: &Device, kind: Kind, entry: &Entry) -> Subject {
    let project: ProjectId = device.project.id;
    Subject {
        project,
        kind,
        device: device.id,
        epoch: entry.from.cast_unsigned(),
        first: entry.built.cast_unsigned(),
        count: u32::try_from(entry.kind).unwrap_or(u32::MAX),
        branch: 0,
    }
}

/// Joins the nearest stretches until there are few.
fn join(changed: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    let mut changed: Vec<(i64, i64)> = Spans::of(changed).iter().collect();
    while changed.len() > STRETCHES {
        changed = changed
            .chunks(2)
            .filter_map(|pair| Some((pair.first()?.0, pair.last()?.1)))
            .collect();
    }
    changed
}
