//! The bytes of one channel of a row of roll-ups.
//!
//! Where all numbers are exact decimals they are kept as integers relative to what is near: a bucket's first value to
//! the last one before it, its extremes to its ends, its sum to what its ends would give. Otherwise they stand as floats.

use fieldkeep_protocol::Flag;

use super::{Bucket, ROW_BUCKETS, Series};
use crate::cold::bytes::{Reader, put_block, put_int, put_uint};
use crate::cold::{Level, Window, decimal, numbers};
use crate::gaps::{GapReason, Run};

/// Above every number of decimal places: the numbers stand as floats.
const FLOATS: u8 = 255;
/// Reasons in the order of their codes; append only.
const REASONS: [GapReason; 6] = [
    GapReason::NoRecords,
    GapReason::SensorError,
    GapReason::NotSampled,
    GapReason::Dropped,
    GapReason::Held,
    GapReason::Damaged,
];

pub(super) fn pack(series: &Series, level: Level, from: i64) -> Vec<u8> {
    let mut out = Vec::new();
    put_uint(&mut out, series.covered.len() as u64);
    for window in &series.covered {
        put_int(&mut out, window.from.wrapping_sub(from));
        put_int(&mut out, window.to.wrapping_sub(window.from));
    }
    pack_runs(&mut out, series.valued.iter());
    for reason in REASONS {
        let of_reason = series.absent.iter().filter(|(known, _)| *known == reason);
        pack_runs(&mut out, of_reason.map(|(_, run)| run));
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
    put_block(&mut out, &column(&|bucket| bucket.count.cast_signed()));
    put_block(&mut out, &column(&|bucket| bucket.flag.code().into()));
    match Exact::of(buckets) {
        Some(exact) => {
            out.push(exact.places);
            for column in &exact.columns {
                put_block(&mut out, &numbers::pack(column));
            }
        }
        None => {
            out.push(FLOATS);
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
        }
    }
    out
}

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
                i64::try_from(
                    2 * i128::from(*sum) - expected(bucket.count.cast_signed(), *first, *last),
                )
                .ok()?,
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

/// Twice the sum of `count` points on a straight line from first to last.
fn expected(count: i64, first: i64, last: i64) -> i128 {
    i128::from(count) * (i128::from(first) + i128::from(last))
}

fn pack_runs<'a>(out: &mut Vec<u8>, runs: impl Iterator<Item = &'a Run>) {
    let mut columns: [Vec<i64>; 3] = Default::default();
    for run in runs {
        let values = [
            run.from,
            run.to.wrapping_sub(run.from),
            run.interval_us.cast_signed(),
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
