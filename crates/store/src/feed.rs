//! Hot rows, in the order of their first instants, a few at a time, each with the times for which it is read.
//!
//! A stretch of a stream, and the late rows of a device, are lanes with a few rows in memory; between two statements
//! nothing is held open, and each statement goes on after the last key it saw. A stream's widest batch tells how far
//! before a stretch its rows begin. A row that touches two lanes comes twice, for different times.

use std::collections::VecDeque;
use std::sync::Arc;

use fieldkeep_protocol::Timestamp;

use crate::days::day;
use crate::error::StoreError;
use crate::projects::Project;
use crate::spans::{Span, Spans};
use crate::sql::{Database, Row, Value};
use crate::stream::Stream;

/// Rows in memory over all lanes, and the bounds for one.
const ROWS: usize = 512;
const LANE_ROWS: (usize, usize) = (8, 128);
/// Late rows of one statement.
const LATE_ROWS: usize = 16;

/// A stored batch, still encrypted.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) branch: u32,
    pub(crate) from_us: i64,
    /// Inclusive.
    pub(crate) to_us: i64,
    pub(crate) revision: u32,
    pub(crate) key_id: i64,
    pub(crate) counter: i64,
    pub(crate) payload: Vec<u8>,
    /// The newest stamp; `None` where its times are as sent.
    pub(crate) stamp: Option<i64>,
}

impl Stored {
    /// From the columns `first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id`.
    pub(crate) fn from_row(row: &Row) -> Result<Self, StoreError> {
        let from_us = row.i64(3)?;
        let small =
            |column| Ok::<_, StoreError>(u32::try_from(row.i64(column)?).unwrap_or(u32::MAX));
        Ok(Self {
            first: row.i64(0)?.cast_unsigned(),
            count: small(1)?,
            branch: small(2)?,
            from_us,
            to_us: from_us.saturating_add(row.i64(4)?),
            revision: small(5)?,
            key_id: row.i64(6)?,
            counter: row.i64(7)?,
            payload: row.bytes(8)?.to_vec(),
            stamp: row.opt_i64(9)?,
            id: row.i64(10)?,
        })
    }

    /// Its place in the order of rows: from, span, first, count, branch.
    pub(crate) fn place(&self) -> [i64; 5] {
        [
            self.from_us,
            self.to_us.saturating_sub(self.from_us),
            self.first.cast_signed(),
            self.count.into(),
            self.branch.into(),
        ]
    }
}

/// A row that is to be read.
pub(crate) struct Fed {
    pub(crate) stream: Arc<Stream>,
    pub(crate) row: Stored,
    /// The times of its records that are read here.
    pub(crate) times: Arc<Spans>,
    /// It is read instead of a chunk that is damaged.
    pub(crate) instead: bool,
}

/// A late row that is to be read.
pub(crate) struct Beside {
    pub(crate) batch: i64,
    pub(crate) from_us: i64,
    pub(crate) times: Spans,
}

struct Lane {
    rows: Rows,
    ready: VecDeque<Fed>,
    /// No row that begins before this one's instant is left to read.
    after: [i64; 5],
    done: bool,
}

enum Rows {
    /// All rows of a stream within bounds with an instant in the stretch.
    Stretch {
        stream: Arc<Stream>,
        stretch: Span,
        bounds: Bounds,
        times: Arc<Spans>,
    },
    /// Rows by id, by time.
    Late {
        project: Project,
        streams: Vec<Arc<Stream>>,
        rows: VecDeque<Beside>,
    },
}

/// The highest id, the last time of arrival, and whether rows with stamps are among them.
#[derive(Clone, Copy)]
struct Bounds {
    id: i64,
    received_us: i64,
    stamped: bool,
}

/// Readable rows, by time.
pub(crate) struct Feed<'a> {
    database: &'a Database,
    lanes: Vec<Lane>,
}

impl<'a> Feed<'a> {
    pub(crate) fn new(database: &'a Database) -> Self {
        Self {
            database,
            lanes: Vec::new(),
        }
    }

    /// Adds the rows of a stream up to the id `most`, as far as its extent touches the stretch, with an instant in it.
    pub(crate) async fn add(
        &mut self,
        stream: &Arc<Stream>,
        stretch: Span,
        most: i64,
    ) -> Result<(), StoreError> {
        let bounds = Bounds {
            id: most,
            received_us: i64::MAX,
            stamped: true,
        };
        self.add_bounded(stream, stretch, bounds).await
    }

    /// Adds the rows of a stream without stamps that had arrived by a time, likewise.
    pub(crate) async fn add_known(
        &mut self,
        stream: &Arc<Stream>,
        stretch: Span,
        known_at: Timestamp,
    ) -> Result<(), StoreError> {
        let bounds = Bounds {
            id: i64::MAX,
            received_us: known_at.as_micros(),
            stamped: false,
        };
        self.add_bounded(stream, stretch, bounds).await
    }

    async fn add_bounded(
        &mut self,
        stream: &Arc<Stream>,
        stretch: Span,
        bounds: Bounds,
    ) -> Result<(), StoreError> {
        let times = stream.state(self.database).await?.times;
        let (from, to) = stretch;
        let Some(times) = times.filter(|times| times.from < to && times.to >= from) else {
            return Ok(());
        };
        let earliest = times.from.max(from.saturating_sub(times.span));
        self.lanes.push(Lane {
            rows: Rows::Stretch {
                stream: Arc::clone(stream),
                stretch,
                bounds,
                times: Arc::new(Spans::one(from, to)),
            },
            ready: VecDeque::new(),
            after: [earliest, i64::MIN, 0, 0, 0],
            done: false,
        });
        Ok(())
    }

    /// Adds late rows of a device, by time.
    pub(crate) fn add_late(
        &mut self,
        project: Project,
        streams: &[Arc<Stream>],
        rows: VecDeque<Beside>,
    ) {
        let Some(first) = rows.front() else { return };
        self.lanes.push(Lane {
            after: [first.from_us, i64::MIN, 0, 0, 0],
            rows: Rows::Late {
                project,
                streams: streams.to_vec(),
                rows,
            },
            ready: VecDeque::new(),
            done: false,
        });
    }

    /// The instant at which the next row begins.
    pub(crate) async fn peek(&mut self) -> Result<Option<i64>, StoreError> {
        let page = (ROWS / self.lanes.len().max(1)).clamp(LANE_ROWS.0, LANE_ROWS.1);
        loop {
            let Some(lane) = self.first() else {
                return Ok(None);
            };
            let lane = self.lanes.get_mut(lane);
            let Some(lane) = lane else { return Ok(None) };
            if let Some(fed) = lane.ready.front() {
                return Ok(Some(fed.row.from_us));
            }
            lane.fill(self.database, page).await?;
        }
    }

    /// The next row.
    pub(crate) async fn next(&mut self) -> Result<Option<Fed>, StoreError> {
        if self.peek().await?.is_none() {
            return Ok(None);
        }
        let lane = self.first().and_then(|lane| self.lanes.get_mut(lane));
        Ok(lane.and_then(|lane| lane.ready.pop_front()))
    }

    /// The lane with the earliest row, or with rows that may be.
    fn first(&self) -> Option<usize> {
        let head = |lane: &Lane| {
            let ready = lane.ready.front();
            ready.map_or(lane.after[0], |fed| fed.row.from_us)
        };
        self.lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| !lane.done || !lane.ready.is_empty())
            .min_by_key(|(_, lane)| head(lane))
            .map(|(place, _)| place)
    }
}

impl Lane {
    async fn fill(&mut self, database: &Database, page: usize) -> Result<(), StoreError> {
        match &mut self.rows {
            Rows::Stretch {
                stream,
                stretch,
                bounds,
                times,
            } => {
                let within = (*stretch, *bounds);
                let (rows, done) =
                    match stretch_rows(database, stream, within, self.after, page).await {
                        Ok(rows) => {
                            let done = rows.len() < page;
                            (rows, done)
                        }
                        Err(StoreError::Sql(_)) => {
                            let row = around_damage(database, stream, within, self.after).await?;
                            let done = row.is_none();
                            (Vec::from_iter(row), done)
                        }
                        Err(error) => return Err(error),
                    };
                self.done = done;
                for row in rows {
                    self.after = row.place();
                    self.ready.push_back(Fed {
                        stream: Arc::clone(stream),
                        row,
                        times: Arc::clone(times),
                        instead: bounds.id != i64::MAX,
                    });
                }
            }
            Rows::Late {
                project,
                streams,
                rows,
            } => {
                let part: Vec<Beside> = rows.drain(..rows.len().min(LATE_ROWS)).collect();
                self.done = rows.is_empty();
                if let Some(next) = rows.front() {
                    self.after = [next.from_us, i64::MIN, 0, 0, 0];
                }
                let read = late_rows(database, *project, &part).await?;
                for (beside, (stream, row)) in read {
                    // A stream that is not listed began after this read did.
                    let stream = streams.iter().find(|known| known.identity.id == stream);
                    let Some(stream) = stream else { continue };
                    self.ready.push_back(Fed {
                        stream: Arc::clone(stream),
                        row,
                        times: Arc::new(beside.times.clone()),
                        instead: false,
                    });
                }
            }
        }
        Ok(())
    }
}

async fn stretch_rows(
    database: &Database,
    stream: &Stream,
    ((from, to), bounds): (Span, Bounds),
    after: [i64; 5],
    page: usize,
) -> Result<Vec<Stored>, StoreError> {
    let identity = &stream.identity;
    let [from_us, span_us, first, count, branch] = after;
    let rows = database
        .fetch_all(
            "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id FROM hot \
             WHERE project = $1 AND stream = $2 AND day >= $14 AND day <= $15 AND held = false \
               AND (from_us, span_us, first, count, branch) > ($3, $4, $5, $6, $7) \
               AND from_us < $8 AND from_us + span_us >= $9 AND id <= $11 AND received_us <= $12 AND (stamp IS NULL OR $13) \
             ORDER BY day, from_us, span_us, first, count, branch LIMIT $10",
            &[
                identity.project.number.into(),
                identity.id.into(),
                from_us.into(),
                span_us.into(),
                first.into(),
                count.into(),
                branch.into(),
                to.into(),
                from.into(),
                i64::try_from(page).unwrap_or(i64::MAX).into(),
                bounds.id.into(),
                bounds.received_us.into(),
                bounds.stamped.into(),
                day(from_us).into(),
                day(to).into(),
            ],
        )
        .await?;
    rows.iter().map(Stored::from_row).collect()
}

/// The next row where a page of the file is damaged: read alone, and where that fails as well, what an index says of it,
/// with a payload that does not open, so that it is told as damaged and its neighbours are read.
async fn around_damage(
    database: &Database,
    stream: &Stream,
    within: (Span, Bounds),
    after: [i64; 5],
) -> Result<Option<Stored>, StoreError> {
    let failure = match stretch_rows(database, stream, within, after, 1).await {
        Ok(rows) => return Ok(rows.into_iter().next()),
        Err(error) => error,
    };
    let ((from, to), bounds) = within;
    let [from_us, span_us, first, count, branch] = after;
    // All these columns are in one index.
    let found = database
        .fetch_optional(
            "SELECT first, count, branch, from_us, span_us, id FROM hot \
             WHERE project = $1 AND stream = $2 AND day >= $11 AND day <= $12 AND held = false \
               AND (from_us, span_us, first, count, branch) > ($3, $4, $5, $6, $7) \
               AND from_us < $8 AND from_us + span_us >= $9 AND id <= $10 \
             ORDER BY day, from_us, span_us, first, count, branch LIMIT 1",
            &[
                stream.identity.project.number.into(),
                stream.identity.id.into(),
                from_us.into(),
                span_us.into(),
                first.into(),
                count.into(),
                branch.into(),
                to.into(),
                from.into(),
                bounds.id.into(),
                day(from_us).into(),
                day(to).into(),
            ],
        )
        .await;
    // Without the index nothing is known of what is there.
    let Ok(found) = found else {
        return Err(failure);
    };
    let Some(row) = found else { return Ok(None) };
    let revision = stream.state(database).await?.revisions.last().copied();
    let from_us = row.i64(3)?;
    Ok(Some(Stored {
        first: row.i64(0)?.cast_unsigned(),
        count: u32::try_from(row.i64(1)?).unwrap_or(u32::MAX),
        branch: u32::try_from(row.i64(2)?).unwrap_or(u32::MAX),
        from_us,
        to_us: from_us.saturating_add(row.i64(4)?),
        revision: revision.unwrap_or(0),
        key_id: 0,
        counter: 0,
        payload: Vec::new(),
        stamp: None,
        id: row.i64(5)?,
    }))
}

/// Some rows by their ids, with the ids of their streams, in the order asked.
async fn late_rows<'a>(
    database: &Database,
    project: Project,
    part: &'a [Beside],
) -> Result<Vec<(&'a Beside, (i64, Stored))>, StoreError> {
    // One statement for any number of ids: no row has the id 0.
    let mut values = [Value::I64(0); LATE_ROWS + 1];
    values[LATE_ROWS] = project.number.into();
    for (value, beside) in values.iter_mut().zip(part.iter().take(LATE_ROWS)) {
        *value = beside.batch.into();
    }
    let rows = database
        .fetch_all(
            "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id, stream FROM batch \
             WHERE id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
               AND project = $17 AND held = false",
            &values,
        )
        .await?;
    let mut read = Vec::with_capacity(rows.len());
    for beside in part {
        for row in &rows {
            if row.i64(10)? == beside.batch {
                read.push((beside, (row.i64(11)?, Stored::from_row(row)?)));
            }
        }
    }
    Ok(read)
}
