//! The hot rows of some streams, in the order of their first instants, a few at a time.
//!
//! Each stream is a lane with a short stretch of rows in memory; between two statements nothing is held open, and each
//! statement goes on after the last key it saw. A stream's widest batch tells how far before the range its rows begin.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::StoreError;
use crate::sql::{Database, Row};
use crate::stream::Stream;

/// Rows in memory over all lanes, and the bounds for one.
const ROWS: usize = 512;
const LANE_ROWS: (usize, usize) = (8, 128);

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

struct Lane {
    stream: Arc<Stream>,
    ready: VecDeque<Stored>,
    /// No row before this one is left to read: from, span, first, count, branch.
    after: [i64; 5],
    done: bool,
}

/// Readable rows that touch a range of time.
pub(crate) struct Feed<'a> {
    database: &'a Database,
    lanes: Vec<Lane>,
    from: i64,
    /// Exclusive.
    to: i64,
    page: usize,
}

impl<'a> Feed<'a> {
    /// The rows of `streams` (as far as their extent touches the range) with an instant in `from..to`.
    pub(crate) async fn open(
        database: &'a Database,
        streams: impl IntoIterator<Item = Arc<Stream>>,
        from: i64,
        to: i64,
    ) -> Result<Self, StoreError> {
        let mut lanes = Vec::new();
        for stream in streams {
            let times = stream.state(database).await?.times;
            let Some(times) = times.filter(|times| times.from < to && times.to >= from) else {
                continue;
            };
            let earliest = times.from.max(from.saturating_sub(times.span));
            lanes.push(Lane {
                stream,
                ready: VecDeque::new(),
                after: [earliest, i64::MIN, 0, 0, 0],
                done: false,
            });
        }
        let page = (ROWS / lanes.len().max(1)).clamp(LANE_ROWS.0, LANE_ROWS.1);
        Ok(Self {
            database,
            lanes,
            from,
            to,
            page,
        })
    }

    /// The next row, and the stream it belongs to.
    pub(crate) async fn next(&mut self) -> Result<Option<(Arc<Stream>, Stored)>, StoreError> {
        loop {
            let head = |lane: &Lane| lane.ready.front().map_or(lane.after[0], |row| row.from_us);
            let next = self
                .lanes
                .iter_mut()
                .filter(|lane| !lane.done || !lane.ready.is_empty())
                .min_by_key(|lane| head(lane));
            let Some(lane) = next else { return Ok(None) };
            if let Some(row) = lane.ready.pop_front() {
                return Ok(Some((Arc::clone(&lane.stream), row)));
            }
            lane.fill(self.database, self.from, self.to, self.page)
                .await?;
        }
    }
}

impl Lane {
    async fn fill(
        &mut self,
        database: &Database,
        from: i64,
        to: i64,
        page: usize,
    ) -> Result<(), StoreError> {
        let identity = &self.stream.identity;
        let [from_us, span_us, first, count, branch] = self.after;
        let rows = database
            .fetch_all(
                "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id FROM batch \
                 WHERE project = $1 AND stream = $2 AND held = false \
                   AND (from_us, span_us, first, count, branch) > ($3, $4, $5, $6, $7) \
                   AND from_us < $8 AND from_us + span_us >= $9 \
                 ORDER BY from_us, span_us, first, count, branch LIMIT $10",
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
                ],
            )
            .await?;
        self.done = rows.len() < page;
        for row in &rows {
            let row = Stored::from_row(row)?;
            self.after = row.place();
            self.ready.push_back(row);
        }
        Ok(())
    }
}
