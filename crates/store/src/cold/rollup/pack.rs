//! The bytes of one channel of a row of roll-ups, version 2.
//!
//! What the channels of a device mostly have in common, which times are covered, runs, which buckets there are and their
//! flags, is the ground: channels with the same one share it. A channel's own block holds counts and values. Where all
//! numbers are exact decimals they are kept as integers relative to what is near: a bucket's first value to the last one
//! before it, its extremes to its ends, its sum to what its ends would give. Otherwise they stand as floats.

use fieldkeep_protocol::Flag;

use super::{Bucket, ROW_BUCKETS, Series};
use crate::cold::bytes::{Reader, put_block, put_int, put_uint};
use crate::cold::{Level, Window, decimal, numbers};
use crate::gaps::{GapReason, Run};

/// Above every number of decimal places: the numbers stand as floats.
pub(super) const FLOATS: u8 = 255;
/// Added to the number of places where buckets are few, and their numbers stand one after the other.
const FEW: u8 = 128;
/// Reasons in the order of their codes; append only.
pub(super) const REASONS: [GapReason; 6] = [
    GapReason::NoRecords,
    GapReason::SensorError,
    GapReason::NotSampled,
    GapReason::Dropped,
    GapReason::Held,
    GapReason::Damaged,
];

/// The ground and the block of a channel.
pub(super) fn pack(series: &Series, level: Level, from: i64) -> (Vec<u8>, Vec<u8>) {
    (ground(series, level, from), block(&series.buckets))
}

fn ground(series: &Series, level: Level, from: i64) -> Vec<u8> {
    let unit = unit(series, from);
    let mut out = Vec::new();
    put_uint(&mut out, unit);
    put_uint(&mut out, series.covered.len() as u64);
    for window in &series.covered {
        put_int(
            &mut out,
            window.from.wrapping_sub(from) / unit.cast_signed(),
        );
        put_int(
            &mut out,
            window.to.wrapping_sub(window.from) / unit.cast_signed(),
        );
    }
    pack_runs(&mut out, series.valued.iter(), (from, unit));
    let of = |reason| {
        let runs = series
            .absent
            .iter()
            .filter(move |(known, _)| *known == reason);
        runs.map(|(_, run)| run)
    };
    let mut present = 0_u8;
    for (place, reason) in REASONS.into_iter().enumerate() {
        present |= u8::from(of(reason).next().is_some()) << place;
    }
    out.push(present);
    for reason in REASONS {
        if of(reason).next().is_some() {
            pack_runs(&mut out, of(reason), (from, unit));
        }
    }
    let buckets = &series.buckets;
    put_uint(&mut out, buckets.len() as u64);
    let column = |number: &dyn Fn(&Bucket) -> i64| {
        numbers::pack(&buckets.iter().map(number).collect::<Vec<_>>())
    };
    put_block(
        &mut out,
        &column(&|bucket| (bucket.start - from).div_euclid(level.us())),
    );
    put_block(&mut out, &column(&|bucket| bucket.flag.code().into()));
    out
}

/// The largest number of microseconds of which all times of the ground are multiples.
fn unit(series: &Series, from: i64) -> u64 {
    let windows = series
        .covered
        .iter()
        .flat_map(|window| [window.from.abs_diff(from), window.to.abs_diff(window.from)]);
    let absent = series.absent.iter().map(|(_, run)| run);
    let runs = series.valued.iter().chain(absent).flat_map(|run| {
        [
            run.from.abs_diff(from),
            run.to.abs_diff(run.from),
            run.interval_us,
        ]
    });
    let unit = windows.chain(runs).fold(0, divisor);
    // No time is longer than what can be told; intervals may be whatever a device says.
    if unit == 0 || i64::try_from(unit).is_err() {
        1
    } else {
        unit
    }
}

/// The greatest common divisor.
fn divisor(mut one: u64, mut other: u64) -> u64 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

fn block(buckets: &[Bucket]) -> Vec<u8> {
    let counts: Vec<i64> = buckets
        .iter()
        .map(|bucket| bucket.count.cast_signed())
        .collect();
    let Some(exact) = Exact::of(buckets) else {
        let mut out = vec![FLOATS];
        put_block(&mut out, &numbers::pack(&counts));
        let fields: [fn(&Bucket) -> f64; 5] = [
            |bucket| bucket.sum,
            |bucket| bucket.min,
            |bucket| bucket.max,
            |bucket| bucket.first,
            |bucket| bucket.last,
        ];
        for field in fields {
            let column: Vec<f64> = buckets.iter().map(field).collect();
            put_block(&mut out, &numbers::pack_floats(&column));
        }
        return out;
    };
    let mut few = vec![exact.places + FEW];
    for (position, count) in counts.iter().enumerate() {
        put_int(&mut few, *count);
        for column in &exact.columns {
            put_int(&mut few, column.get(position).copied().unwrap_or_default());
        }
    }
    let mut out = vec![exact.places];
    put_block(&mut out, &numbers::pack(&counts));
    for column in &exact.columns {
        put_block(&mut out, &numbers::pack(column));
    }
    if few.len() <= out.len() { few } else { out }
}

pub(super) fn unpack((ground, block): (&[u8], &[u8]), level: Level, from: i64) -> Option<Series> {
    let mut reader = Reader::new(ground);
    let unit: i64 = reader.small().filter(|unit| *unit > 0)?;
    let row = level.row(from);
    let mut covered: Vec<Window> = Vec::new();
    for _ in 0..reader.count(2)? {
        let begin = from.checked_add(reader.int()?.checked_mul(unit)?)?;
        let end = begin.checked_add(reader.int()?.checked_mul(unit)?)?;
        let after = covered.last().is_none_or(|last| last.to < begin);
        if !after || begin >= end || begin < row.from || end > row.to {
            return None;
        }
        covered.push(Window {
            from: begin,
            to: end,
        });
    }
    let valued = unpack_runs(&mut reader, (from, unit))?;
    let present = reader.byte()?;
    let mut absent = Vec::new();
    for (place, reason) in REASONS.into_iter().enumerate() {
        if present >> place & 1 == 1 {
            let runs = unpack_runs(&mut reader, (from, unit))?;
            absent.extend(runs.into_iter().map(|run| (reason, run)));
        }
    }
    let count: usize = reader.small()?;
    if count > usize::try_from(ROW_BUCKETS).ok()? {
        return None;
    }
    let indices = numbers::unpack(reader.block()?, count)?;
    let flags = numbers::unpack(reader.block()?, count)?;
    let in_order = indices.iter().all(|index| (0..ROW_BUCKETS).contains(index))
        && indices.is_sorted_by(|before, after| before < after);
    if !in_order || !reader.is_empty() {
        return None;
    }
    let (counts, [sums, mins, maxs, firsts, lasts]) = values(block, count)?;
    if counts.iter().any(|count| *count <= 0) {
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

/// Counts, and sums, minima, maxima, first and last values.
fn values(block: &[u8], count: usize) -> Option<(Vec<i64>, [Vec<f64>; 5])> {
    let mut reader = Reader::new(block);
    let form = reader.byte()?;
    let (counts, fields) = if form == FLOATS {
        let counts = numbers::unpack(reader.block()?, count)?;
        let mut column = || numbers::unpack_floats(reader.block()?, count);
        let fields = [column()?, column()?, column()?, column()?, column()?];
        (counts, fields)
    } else if form >= FEW {
        let mut counts = Vec::with_capacity(count);
        let mut columns: [Vec<i64>; 5] = Default::default();
        for _ in 0..count {
            counts.push(reader.int()?);
            for column in &mut columns {
                column.push(reader.int()?);
            }
        }
        let places = form - FEW;
        let fields = Exact { places, columns }.fields(&counts)?;
        (counts, fields)
    } else {
        let counts = numbers::unpack(reader.block()?, count)?;
        let mut column = || numbers::unpack(reader.block()?, count);
        let columns = [column()?, column()?, column()?, column()?, column()?];
        let places = form;
        let fields = Exact { places, columns }.fields(&counts)?;
        (counts, fields)
    };
    reader.is_empty().then_some((counts, fields))
}

/// Buckets as integers over one power of ten, relative to what is near.
struct Exact {
    places: u8,
    columns: [Vec<i64>; 5],
}

impl Exact {
    fn of(buckets: &[Bucket]) -> Option<Self> {
        let all: Vec<f64> = buckets
            .iter()
            .flat_map(|bucket| {
                [
                    bucket.sum,
                    bucket.min,
                    bucket.max,
                    bucket.first,
                    bucket.last,
                ]
            })
            .collect();
        let decimals = decimal::scaled(&all)?;
        let mut columns: [Vec<i64>; 5] = Default::default();
        let mut before = 0_i64;
        let (numbers, _) = decimals.integers.as_chunks::<5>();
        for (bucket, [sum, min, max, first, last]) in buckets.iter().zip(numbers) {
            let values = [
                first - before,
                last - first,
                first.min(last) - min,
                max - first.max(last),
                {
                    // Twice the sum is even: whether what is expected is says the rest.
                    let expected = expected(bucket.count.cast_signed(), *first, *last);
                    i64::try_from((2 * i128::from(*sum) - expected).div_euclid(2)).ok()?
                },
            ];
            for (column, value) in columns.iter_mut().zip(values) {
                column.push(value);
            }
            before = *last;
        }
        Some(Self {
            places: decimals.places,
            columns,
        })
    }

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
            let expected = expected(*count, first, last);
            let doubled = 2 * i128::from(*sums.get(position)?) + expected + (expected & 1);
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

/// Twice the sum of `count` points on a straight line from first to last.
pub(super) fn expected(count: i64, first: i64, last: i64) -> i128 {
    i128::from(count) * (i128::from(first) + i128::from(last))
}

fn pack_runs<'a>(out: &mut Vec<u8>, runs: impl Iterator<Item = &'a Run>, (from, unit): (i64, u64)) {
    let mut columns: [Vec<i64>; 3] = Default::default();
    for run in runs {
        let values = [
            run.from.wrapping_sub(from) / unit.cast_signed(),
            run.to.wrapping_sub(run.from) / unit.cast_signed(),
            (run.interval_us / unit).cast_signed(),
        ];
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
    }
    let [froms, _, _] = &columns;
    put_uint(out, froms.len() as u64);
    if !froms.is_empty() {
        for column in &columns {
            put_block(out, &numbers::pack(column));
        }
    }
}

fn unpack_runs(reader: &mut Reader<'_>, (from, unit): (i64, i64)) -> Option<Vec<Run>> {
    let count: usize = reader.small()?;
    if count > super::RUNS {
        return None;
    }
    if count == 0 {
        return Some(Vec::new());
    }
    let mut column = || numbers::unpack(reader.block()?, count);
    let (froms, lengths, intervals) = (column()?, column()?, column()?);
    let mut runs = Vec::with_capacity(count);
    for ((begin, length), interval) in froms.into_iter().zip(lengths).zip(intervals) {
        let begin = from.checked_add(begin.checked_mul(unit)?)?;
        let length = length.checked_mul(unit)?;
        runs.push(Run {
            from: begin,
            to: begin.checked_add(length).filter(|to| *to >= begin)?,
            interval_us: interval.cast_unsigned().wrapping_mul(unit.cast_unsigned()),
        });
    }
    Some(runs)
}
