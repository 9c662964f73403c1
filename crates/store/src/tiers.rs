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
//! The horizon, the marks, and which chunks and roll-ups there are come from one statement, as of one instant. A map may be
//! partial: first without chunks and finer roll-ups, which are asked for when the coarsest roll-ups do not say it all, again
//! as of one instant, and taken only if everything else is as before. Payloads are asked for later, each under the nonce that the map names; if a worker has replaced one meanwhile it is not found,
//! and the read begins anew with a new map ([`Read::Moved`]).

mod around;

use fieldkeep_protocol::ProjectId;

use crate::cipher::{Kind, Subject};
use crate::cold::{Length, Level};
use crate::days::day;
use crate::devices::Device;
use crate::error::StoreError;
use crate::spans::{Span, Spans};
use crate::sql::Database;
use crate::store::Inner;

/// The cause of a mark that a late row leaves.
pub(crate) const LATE: i64 = 1;
/// Changed stretches that are told apart: more are joined, which is as right and reads a little more.
const STRETCHES: usize = 32;

/// The id of what stands for chunks that cannot be found.
const LOST: i64 = -1;

/// A chunk or a roll-up, as its row says, without the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Before it hot rows may be gone.
    pub(crate) gone: i64,
    /// What else is there follows from; none of it is left out.
    ground: Ground,
    /// Chunks and finer roll-ups are left out.
    partial: bool,
}

/// What decides which times are hot and cold, and the roll-ups of the coarsest level that was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Ground {
    horizon: i64,
    gone: i64,
    marks: Vec<Mark>,
    coarsest: Vec<Entry>,
}

/// A row of marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    id: i64,
    from: i64,
    /// Exclusive.
    to: i64,
    /// The late row; 0 where everything in the range changed.
    batch: i64,
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
    /// The map of `device` for a range, with the roll-ups of the levels `1..=level`. Where there are any to ask for it may
    /// be partial, with the coarsest alone: of many years these are a few rows, and the rest is hundreds.
    pub(crate) async fn load(
        database: &Database,
        device: &Device,
        range: Span,
        level: i64,
    ) -> Result<Self, StoreError> {
        if range.0 >= device.horizon(database).await? {
            return Ok(Self::hot(range.0, range.1));
        }
        if level > 0 {
            let map = Self::read(database, device, range, (level, None)).await?;
            // Where a late row is read depends on the chunks.
            if map.late.is_empty() {
                return Ok(map);
            }
        }
        Self::read(database, device, range, (level, Some(range))).await
    }

    /// Adds what a partial map left out, as far as it touches `rest`. False: the map is another one meanwhile, and the
    /// read begins anew.
    pub(crate) async fn complete(
        &mut self,
        database: &Database,
        device: &Device,
        range: Span,
        level: i64,
        rest: Span,
    ) -> Result<bool, StoreError> {
        if !self.partial {
            return Ok(true);
        }
        let whole = Self::read(database, device, range, (level, Some(rest))).await?;
        // Roll-ups are replaced together with their chunks: with the same ground, what was taken so far is part of the
        // new map as well, and the new map is as of one instant.
        let same = self.ground == whole.ground && whole.late.is_empty();
        *self = whole;
        Ok(same)
    }

    async fn read(
        database: &Database,
        device: &Device,
        (from, to): Span,
        (level, rest): (i64, Option<Span>),
    ) -> Result<Self, StoreError> {
        // An empty range touches nothing.
        let (rest_from, rest_to) = rest.unwrap_or((i64::MAX, i64::MIN));
        let earliest = |from: i64, longest: i64| from.saturating_sub(longest);
        let [ten_minutes, hour, day] = Level::ALL.map(|known| {
            let is_coarsest = known as i64 == level;
            let from = if is_coarsest { from } else { rest_from };
            earliest(from, known.row_us())
        });
        let read = database
            .fetch_all(
                "SELECT 0, 0, 0, until_us, until_us, 0, 0, 0 FROM cold WHERE project = $1 AND device = $2 \
                 UNION ALL SELECT 1, id, 0, from_us, to_us, coalesce(batch, 0), 0, 0 FROM dirty \
                   WHERE project = $1 AND device = $2 AND from_us < $4 AND to_us > $3 \
                 UNION ALL SELECT 2, id, kind, from_us, to_us, built, key_id, counter FROM chunk \
                   WHERE project = $1 AND device = $2 AND from_us >= $8 AND from_us < $7 AND to_us > $6 \
                 UNION ALL SELECT 3, id, level, from_us, to_us, built, key_id, counter FROM rollup \
                   WHERE project = $1 AND device = $2 AND level = 1 AND $5 >= 1 AND from_us >= $9 AND from_us < $4 AND to_us > $3 \
                 UNION ALL SELECT 3, id, level, from_us, to_us, built, key_id, counter FROM rollup \
                   WHERE project = $1 AND device = $2 AND level = 2 AND $5 >= 2 AND from_us >= $10 AND from_us < $4 AND to_us > $3 \
                 UNION ALL SELECT 3, id, level, from_us, to_us, built, key_id, counter FROM rollup \
                   WHERE project = $1 AND device = $2 AND level = 3 AND $5 >= 3 AND from_us >= $11 AND from_us < $4 AND to_us > $3 \
                 UNION ALL SELECT 4, 0, 0, until_us, until_us, 0, 0, 0 FROM evidence_gone WHERE project = $1 AND device = $2",
                &[
                    device.project.number.into(),
                    device.id.as_bytes().into(),
                    from.into(),
                    to.into(),
                    level.into(),
                    rest_from.into(),
                    rest_to.into(),
                    earliest(rest_from, Length::LONGEST_US).into(),
                    ten_minutes.into(),
                    hour.into(),
                    day.into(),
                ],
            )
            .await;
        let (entries, partial) = match read {
            Ok(rows) => {
                let entries = rows.iter().map(Entry::from_row);
                (entries.collect::<Result<_, StoreError>>()?, rest.is_none())
            }
            Err(_) => (
                around::load(database, device, (from, to), level).await?,
                false,
            ),
        };
        // Around damage everything is found, also what a partial map leaves out.
        let (rest_from, rest_to) = match rest {
            None if !partial => (from, to),
            _ => (rest_from, rest_to),
        };
        let mut ground = Ground {
            horizon: i64::MIN,
            gone: i64::MIN,
            marks: Vec::new(),
            coarsest: Vec::new(),
        };
        let (mut chunks, mut rollups) = (Vec::new(), Vec::new());
        for (part, entry) in entries {
            match part {
                0 => ground.horizon = entry.from,
                1 => ground.marks.push(Mark {
                    id: entry.id,
                    from: entry.from,
                    to: entry.to,
                    batch: entry.built,
                }),
                2 => chunks.push(entry),
                3 if entry.kind == level => ground.coarsest.push(entry),
                3 if entry.from < rest_to && entry.to > rest_from => rollups.push(entry),
                3 => {}
                _ => ground.gone = entry.from,
            }
        }
        ground.marks.sort_by_key(|mark| mark.id);
        // The newest first: what it was made in the place of may still be in the file.
        ground
            .coarsest
            .sort_by_key(|rollup| (rollup.from, -rollup.id));
        ground.coarsest.dedup_by_key(|rollup| rollup.from);
        let gone = ground.gone;
        let of_all = ground.marks.iter().filter(|mark| mark.batch == 0);
        let changed = Spans::of(join(of_all.map(|mark| (mark.from, mark.to)).collect()));
        let of_rows = ground.marks.iter().filter(|mark| mark.batch != 0);
        let late = of_rows.map(|mark| Late {
            batch: mark.batch,
            from: mark.from,
            outside: false,
        });
        let mut late: Vec<Late> = late.collect();
        let range = Spans::one(from, to);
        let frozen = changed
            .intersect(&range)
            .intersect(&Spans::one(i64::MIN, gone));
        if let Some(extent) = frozen.extent() {
            let outside = left_over(database, device, extent, gone).await?;
            late.retain(|late: &Late| outside.iter().all(|row| row.batch != late.batch));
            late.extend(outside);
        }
        rollups.extend(&ground.coarsest);
        chunks.sort_by_key(|chunk| (chunk.from, -chunk.id));
        chunks.dedup_by_key(|chunk| chunk.from);
        rollups.sort_by_key(|rollup| (rollup.kind, rollup.from, -rollup.id));
        rollups.dedup_by_key(|rollup| (rollup.kind, rollup.from));
        late.sort_by_key(|late| (late.from, late.batch));
        late.dedup_by_key(|late| late.batch);
        let changed = changed.intersect(&Spans::one(gone, i64::MAX));
        let hot = changed
            .union(&Spans::one(ground.horizon, i64::MAX))
            .intersect(&range);
        Ok(Self {
            cold: range.without(&hot),
            hot,
            chunks,
            rollups,
            late,
            gone,
            ground,
            partial,
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
            gone: i64::MIN,
            ground: Ground {
                horizon: i64::MIN,
                gone: i64::MIN,
                marks: Vec::new(),
                coarsest: Vec::new(),
            },
            partial: false,
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
        if entry.id == LOST {
            // Logged where it was missed.
            self.worker.found_damaged(device, (entry.from, entry.to));
            return Ok(Read::Damaged);
        }
        let (payload, place) = match kind {
            Kind::Rollup => (
                "SELECT payload FROM rollup WHERE id = $1 AND project = $2 AND key_id = $3 AND counter = $4",
                "SELECT 1 FROM rollup WHERE id = $1 AND project = $2 AND key_id = $3 AND counter = $4",
            ),
            _ => (
                "SELECT payload FROM chunk WHERE id = $1 AND project = $2 AND key_id = $3 AND counter = $4",
                "SELECT 1 FROM chunk WHERE id = $1 AND project = $2 AND key_id = $3 AND counter = $4",
            ),
        };
        let values = [
            entry.id.into(),
            device.project.number.into(),
            entry.key_id.into(),
            entry.counter.into(),
        ];
        let payload = match self.database.fetch_optional(payload, &values).await {
            Ok(Some(row)) => Some(row.bytes(0)?.to_vec()),
            Ok(None) => return Ok(Read::Moved),
            // The row is there, and its payload's pages are not whole.
            Err(error) => match self.database.fetch_optional(place, &values).await {
                Ok(Some(_)) => None,
                _ => return Err(error.into()),
            },
        };
        let subject = subject(device, kind, entry);
        let key = self.keys.opening(device.project, entry.key_id).await?;
        let plain = payload
            .zip(key)
            .and_then(|(payload, key)| key.open(&subject, entry.counter, payload));
        Ok(match plain {
            Some(plain) => Read::Plain(plain),
            None => {
                // Logged there; the caller goes on with the rows that it was made from.
                let _ = subject.damaged();
                self.worker.found_damaged(device, (entry.from, entry.to));
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
