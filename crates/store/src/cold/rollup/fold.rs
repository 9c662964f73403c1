//! Computes the roll-ups of one window from its points.
//!
//! Sums of exact decimals are sums of integers, so that the mean is exact and the order of points does not show.

use fieldkeep_protocol::{Flag, Reason};

use super::{Bucket, Series};
use crate::cold::chunk::{Channel, Sorted, State};
use crate::cold::{Level, Window, decimal};
use crate::gaps::{GapReason, Run, Runs};

/// Points a bucket below which a level is not worth its room.
const WORTH: usize = 30;

/// One channel's roll-up at one level; `None` where it is not worth it, or a bucket is wider than the window.
pub(crate) fn fold(
    sorted: &Sorted,
    channel: &Channel,
    level: Level,
    window: Window,
) -> Option<Series> {
    if window.to.saturating_sub(window.from) < level.us() {
        return None;
    }
    let grain_us = level.grain_us();
    let mut valued = Runs::new(grain_us);
    let mut absent: Vec<(GapReason, Runs)> = Vec::new();
    let mut explain =
        |reason: GapReason, run: Run| match absent.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, runs)) => runs.add(run),
            None => {
                let mut runs = Runs::new(grain_us);
                runs.add(run);
                absent.push((reason, runs));
            }
        };
    let mut buckets: Vec<Bucket> = Vec::new();
    let mut of_bucket: Vec<f64> = Vec::new();
    let mut points = 0_usize;
    for (time, state, value, interval_us) in sorted.cells(channel) {
        let run = Run {
            from: time,
            to: time,
            interval_us,
        };
        match (state, value) {
            (State::Valued(flag), Some(value)) => {
                valued.add(run);
                points += 1;
                let start = time - (time - window.from).rem_euclid(level.us());
                match buckets.last_mut() {
                    Some(bucket) if bucket.start == start => add(bucket, value, flag),
                    last => {
                        if let Some(bucket) = last {
                            bucket.sum = sum(&of_bucket);
                        }
                        of_bucket.clear();
                        buckets.push(Bucket {
                            start,
                            count: 1,
                            sum: 0.0,
                            min: value,
                            max: value,
                            first: value,
                            last: value,
                            flag,
                        });
                    }
                }
                of_bucket.push(value);
            }
            (State::Absent(reason), _) => explain(gap_reason(reason), run),
            (State::Valued(_) | State::Nothing, _) => {}
        }
    }
    if let Some(bucket) = buckets.last_mut() {
        bucket.sum = sum(&of_bucket);
    }
    if points < buckets.len().saturating_mul(WORTH) {
        return None;
    }
    for unread in sorted.unread_of(channel) {
        // Cut to the window, since runs are kept by window.
        explain(
            unread.reason,
            Run {
                from: unread.from_us.max(window.from),
                to: unread.to_us.min(window.to - 1),
                interval_us: UNKNOWN,
            },
        );
    }
    // Between the values of one run there is no gap to explain.
    let mut absent: Vec<(GapReason, Run)> = absent
        .iter()
        .flat_map(|(reason, runs)| runs.iter().map(|run| (*reason, *run)))
        .filter(|(_, run)| !valued.holds(run))
        .collect();
    absent.sort_by_key(|(reason, run)| (*reason, run.from, run.to));
    Some(Series {
        covered: vec![window],
        buckets,
        valued: valued.iter().copied().collect(),
        absent,
    })
}

/// Where a whole row explains a gap, its interval is that of the values around it.
const UNKNOWN: u64 = 1;

fn add(bucket: &mut Bucket, value: f64, flag: Flag) {
    bucket.count += 1;
    bucket.min = bucket.min.min(value);
    bucket.max = bucket.max.max(value);
    bucket.last = value;
    bucket.flag = bucket.flag.max(flag);
}

fn gap_reason(reason: Reason) -> GapReason {
    match reason {
        Reason::SensorError => GapReason::SensorError,
        Reason::Dropped => GapReason::Dropped,
        Reason::NotSampled | Reason::None => GapReason::NotSampled,
    }
}

fn sum(values: &[f64]) -> f64 {
    let exact = decimal::scaled(values).and_then(|decimals| {
        let sum: i128 = decimals.integers.iter().copied().map(i128::from).sum();
        let sum = i64::try_from(sum).ok()?;
        decimal::value(sum, decimals.places)
    });
    exact.unwrap_or_else(|| compensated(values))
}

/// Neumaier's sum.
fn compensated(values: &[f64]) -> f64 {
    let mut sum = 0.0_f64;
    let mut compensation = 0.0_f64;
    for value in values {
        let next = sum + value;
        compensation += if sum.abs() >= value.abs() {
            (sum - next) + value
        } else {
            (value - next) + sum
        };
        sum = next;
    }
    // Beyond what an f64 holds there is nothing left to compensate.
    if compensation.is_finite() {
        sum + compensation
    } else {
        sum
    }
}
