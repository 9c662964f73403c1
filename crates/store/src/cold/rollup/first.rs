//! Reads version 1 of one channel of a row of roll-ups; it is written no more.
//!
//! There everything that a channel needs stands in its own block, and times in microseconds.

use fieldkeep_protocol::Flag;

use super::pack::{FLOATS, REASONS, expected};
use super::{Bucket, ROW_BUCKETS, Series};
use crate::cold::bytes::Reader;
use crate::cold::{Level, Window, decimal, numbers};
use crate::gaps::Run;

pub(super) fn unpack(bytes: &[u8], level: Level, from: i64) -> Option<Series> {
    let mut reader = Reader::new(bytes);
    let row = level.row(from);
    let mut covered: Vec<Window> = Vec::new();
    for _ in 0..reader.count(2)? {
        let begin = from.checked_add(reader.int()?)?;
        let end = begin.checked_add(reader.int()?)?;
        let after = covered.last().is_none_or(|last| last.to < begin);
        if !after || begin >= end || begin < row.from || end > row.to {
            return None;
        }
        covered.push(Window {
            from: begin,
            to: end,
        });
    }
    let valued = unpack_runs(&mut reader)?;
    let mut absent = Vec::new();
    for reason in REASONS {
        absent.extend(
            unpack_runs(&mut reader)?
                .into_iter()
                .map(|run| (reason, run)),
        );
    }
    let count: usize = reader.small()?;
    if count > usize::try_from(ROW_BUCKETS).ok()? {
        return None;
    }
    let indices = numbers::unpack(reader.block()?, count)?;
    let counts = numbers::unpack(reader.block()?, count)?;
    let flags = numbers::unpack(reader.block()?, count)?;
    let in_order = indices.iter().all(|index| (0..ROW_BUCKETS).contains(index))
        && indices.is_sorted_by(|before, after| before < after);
    if !in_order || counts.iter().any(|count| *count <= 0) {
        return None;
    }
    let places = reader.byte()?;
    let [sums, mins, maxs, firsts, lasts] = if places == FLOATS {
        let mut column = || numbers::unpack_floats(reader.block()?, count);
        [column()?, column()?, column()?, column()?, column()?]
    } else {
        let mut column = || numbers::unpack(reader.block()?, count);
        let columns = [column()?, column()?, column()?, column()?, column()?];
        Exact { places, columns }.fields(&counts)?
    };
    if !reader.is_empty() {
        return None;
    }
    let mut buckets = Vec::with_capacity(count);
    for (position, index) in indices.iter().enumerate() {
        buckets.push(Bucket {
            start: from + index * level.us(),
            count: counts.get(position)?.cast_unsigned(),
            sum: *sums.get(position)?,
            min: *mins.get(position)?,
            max: *maxs.get(position)?,
            first: *firsts.get(position)?,
            last: *lasts.get(position)?,
            flag: Flag::from_code(u8::try_from(*flags.get(position)?).ok()?)?,
        });
    }
    Some(Series {
        covered,
        buckets,
        valued,
        absent,
    })
}

/// Buckets as integers over one power of ten, relative to what is near.
struct Exact {
    places: u8,
    columns: [Vec<i64>; 5],
}

impl Exact {
    /// Sum, minimum, maximum, first and last of each bucket.
    fn fields(&self, counts: &[i64]) -> Option<[Vec<f64>; 5]> {
        let [firsts, changes, belows, aboves, sums] = &self.columns;
        let mut fields: [Vec<i64>; 5] = Default::default();
        let mut before = 0_i64;
        for (position, count) in counts.iter().enumerate() {
            let first = before.wrapping_add(*firsts.get(position)?);
            let last = first.wrapping_add(*changes.get(position)?);
            let min = first.min(last).wrapping_sub(*belows.get(position)?);
            let max = first.max(last).wrapping_add(*aboves.get(position)?);
            let doubled = i128::from(*sums.get(position)?) + expected(*count, first, last);
            let sum = i64::try_from(doubled / 2).ok()?;
            for (field, value) in fields.iter_mut().zip([sum, min, max, first, last]) {
                field.push(value);
            }
            before = last;
        }
        let [sums, mins, maxs, firsts, lasts] = fields;
        let values = |integers: Vec<i64>| decimal::values(&integers, self.places);
        Some([
            values(sums)?,
            values(mins)?,
            values(maxs)?,
            values(firsts)?,
            values(lasts)?,
        ])
    }
}

fn unpack_runs(reader: &mut Reader<'_>) -> Option<Vec<Run>> {
    let count: usize = reader.small()?;
    if count == 0 {
        return Some(Vec::new());
    }
    if count > super::RUNS {
        return None;
    }
    let mut column = || numbers::unpack(reader.block()?, count);
    let (froms, lengths, intervals) = (column()?, column()?, column()?);
    let mut runs = Vec::with_capacity(count);
    for ((from, length), interval) in froms.into_iter().zip(lengths).zip(intervals) {
        runs.push(Run {
            from,
            to: from.checked_add(length).filter(|to| *to >= from)?,
            interval_us: interval.cast_unsigned(),
        });
    }
    Some(runs)
}
