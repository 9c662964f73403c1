//! For the fuzz targets in `fuzz/` alone: reads everything that can be read of bytes that may be anything.

use super::{Chunk, Rollup, State};

/// Reads a chunk to its last cell; answers how much there was.
pub fn chunk(bytes: &[u8]) -> usize {
    let Some(chunk) = Chunk::decode(bytes.to_vec()) else {
        return 0;
    };
    let (times, segments) = (chunk.times(), chunk.segments());
    let mut seen = 0;
    for name in chunk.channels() {
        let Some(column) = chunk.column(name) else {
            continue;
        };
        if let (Some(times), Some(segments)) = (&times, &segments) {
            seen += column.values.len();
            let pieces = column.pieces(times, segments);
            seen += pieces.filter(|piece| piece.state != State::Nothing).count();
        }
    }
    // Without its times or its segments no reader takes anything of it.
    if times.is_none() || segments.is_none() {
        return 0;
    }
    seen + chunk.unread().len()
}

/// Reads a row of roll-ups to its last bucket; answers how much there was.
pub fn rollup(bytes: &[u8]) -> usize {
    let Some(rollup) = Rollup::decode(bytes.to_vec()) else {
        return 0;
    };
    let series = rollup.channels().filter_map(|name| rollup.channel(name));
    series.map(|series| series.buckets.len()).sum()
}
