//! Reads the hot rows of one window into a chunk that is being built, a few at a time.
//!
//! Memory is bounded by the window: what would be too much is refused, and the caller takes a shorter window. A row that
//! cannot be read does not stop the others; it is named in the chunk.

use std::sync::Arc;

use fieldkeep_protocol::batch::Batch;

use super::Window;
use super::chunk::{ChunkBuilder, Origin, Place, Unread};
use crate::error::StoreError;
use crate::feed::Feed;
use crate::gaps::GapReason;
use crate::stamp::{Timing, cells};
use crate::store::Inner;
use crate::stream::Stream;
use crate::tables::ChannelTable;

/// Cells of one chunk at most, 16 bytes each while it is built.
const CELLS: usize = 1 << 23;

/// What was read of a window.
pub(super) enum Rows {
    /// All of it.
    All(ChunkBuilder),
    /// More than one chunk may have.
    TooMany,
}

/// Reads the rows of `streams` up to the id `built`, as far as their records lie in the window.
pub(super) async fn read(
    inner: &Inner,
    streams: &[Arc<Stream>],
    window: Window,
    built: i64,
) -> Result<Rows, StoreError> {
    let mut feed = Feed::new(&inner.database);
    for stream in streams {
        feed.add(stream, (window.from, window.to), built).await?;
    }
    let mut builder = ChunkBuilder::new();
    let mut cells_added = 0_usize;
    while let Some(fed) = feed.next().await? {
        let (stream, row) = (fed.stream, fed.row);
        let origin = Origin {
            stream: stream.identity.id,
            branch: row.branch,
            revision: row.revision,
        };
        let unread = |reason| Unread {
            origin,
            first: row.first,
            count: row.count,
            from_us: row.from_us,
            to_us: row.to_us,
            reason,
        };
        let Some(table) = inner.table(&stream, row.revision).await? else {
            // When it comes, it leaves a mark on these times.
            builder.unread(unread(GapReason::Held));
            continue;
        };
        let damaged = unread(GapReason::Damaged);
        let number = builder.origin(origin);
        for channel in &table.channels {
            let place = Place {
                channel: channel.index,
                interval_us: channel.interval_us,
            };
            builder.place(number, &channel.name, place);
        }
        let timing = Timing::of(&inner.database, &stream, &row).await?;
        let plain = inner.open_batch(&stream, row).await?;
        // Every stored batch was decoded when it came: bytes that authenticate and do not decode are damaged as well.
        let added = plain
            .as_deref()
            .and_then(|plain| Batch::decode(plain).ok())
            .map(|batch| add(&mut builder, number, (&table, &timing), &batch, window));
        match added {
            Some(Some(added)) => cells_added += added,
            Some(None) => return Ok(Rows::TooMany),
            None => builder.unread(damaged),
        }
        if cells_added > CELLS {
            return Ok(Rows::TooMany);
        }
    }
    Ok(Rows::All(builder))
}

/// Adds the records of a batch that lie in the window; answers how many cells, or `None` where the chunk is full.
fn add(
    builder: &mut ChunkBuilder,
    origin: u32,
    (table, timing): (&ChannelTable, &Timing),
    batch: &Batch<'_>,
    window: Window,
) -> Option<usize> {
    let first = batch.header().first;
    // By offset in the batch; filled by whichever column comes first, since each gives the time of every record.
    let mut rows: Vec<Option<u32>> = Vec::new();
    let mut added = 0;
    for channel in &table.channels {
        let mut column = Vec::new();
        for (record, time, cell) in cells(batch, channel.index, channel.interval_us, timing) {
            if !window.contains(time) {
                continue;
            }
            let offset = usize::try_from(record.wrapping_sub(first)).ok()?;
            if rows.len() <= offset {
                rows.resize(offset + 1, None);
            }
            let slot = rows.get_mut(offset)?;
            let row = match *slot {
                Some(row) => row,
                None => *slot.insert(builder.row(origin, time, record)?),
            };
            column.push((row, cell));
        }
        added += column.len();
        builder.add(&channel.name, column);
    }
    Some(added)
}
