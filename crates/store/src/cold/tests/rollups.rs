//! Roll-ups say of each bucket what its points say, and one window is replaced without touching the rest.

use fieldkeep_protocol::{Flag, Reason};

use super::*;
use crate::cold::rollup::{Bucket, Series, fold};
use crate::cold::{Length, Level, Window};
use crate::gaps::{GapReason, Run};

fn week(seed: u64, week: i64) -> (Sorted, Window) {
    let window = Length::Week.around(MONDAY + week * Length::Week.us());
    (build(&[sensors(window.from, 10_080, seed)]), window)
}

fn folded(sorted: &Sorted, level: Level, window: Window) -> Vec<(String, Series)> {
    sorted
        .channels
        .iter()
        .filter_map(|channel| Some((channel.name.clone(), fold(sorted, channel, level, window)?)))
        .collect()
}

/// Each bucket the slow way.
fn plain(rows: &Rows, column: usize, width: i64) -> Vec<Bucket> {
    let cells = &rows.columns[column].3;
    let mut buckets: Vec<Bucket> = Vec::new();
    for (time, cell) in rows.times.iter().zip(cells) {
        let Some(value) = cell.value else { continue };
        let start = time - time.rem_euclid(width);
        match buckets.last_mut() {
            Some(bucket) if bucket.start == start => {
                bucket.count += 1;
                bucket.sum += value;
                bucket.min = bucket.min.min(value);
                bucket.max = bucket.max.max(value);
                bucket.last = value;
                bucket.flag = bucket.flag.max(cell.flag);
            }
            _ => buckets.push(Bucket {
                start,
                count: 1,
                sum: value,
                min: value,
                max: value,
                first: value,
                last: value,
                flag: cell.flag,
            }),
        }
    }
    buckets
}

#[test]
fn buckets_say_what_their_points_say() {
    let rows = sensors(MONDAY, 10_080, 11);
    let (sorted, window) = week(11, 0);
    for level in [Level::Hour, Level::Day] {
        let series = folded(&sorted, level, window);
        let from = level.row(MONDAY).from;
        let row = Rollup::decode(Rollup::replace(level, from, None, window, series)).unwrap();
        for column in 0..10 {
            let found = row.channel(&format!("sensor.{column}")).unwrap();
            let expected = plain(&rows, column, level.us());
            assert_eq!(found.buckets.len(), expected.len());
            for (found, expected) in found.buckets.iter().zip(&expected) {
                assert!((found.sum - expected.sum).abs() <= 1e-9 * expected.sum.abs());
                assert_eq!(
                    Bucket {
                        sum: expected.sum,
                        ..*found
                    },
                    *expected
                );
            }
            assert_eq!(found.covered, [window]);
            assert_eq!(found.valued.len(), 1);
        }
    }
}

#[test]
fn a_level_without_enough_points_is_not_made() {
    let (sorted, window) = week(3, 0);
    assert!(folded(&sorted, Level::TenMinutes, window).is_empty());
    let day = Length::Hour.around(MONDAY);
    assert!(folded(&sorted, Level::Day, day).is_empty());
}

#[test]
fn values_that_are_no_decimals_are_kept_bit_for_bit() {
    let mut rows = sensors(MONDAY, 10_080, 5);
    for cell in &mut rows.columns[0].3 {
        cell.value = cell.value.map(|value| value.sqrt() * 1e200);
    }
    let window = Length::Week.around(MONDAY);
    let series = folded(&build(std::slice::from_ref(&rows)), Level::Hour, window);
    let from = Level::Hour.row(MONDAY).from;
    let bytes = Rollup::replace(Level::Hour, from, None, window, series.clone());
    let row = Rollup::decode(bytes).unwrap();
    for (name, series) in series {
        assert_eq!(row.channel(&name), Some(series));
    }
}

#[test]
fn what_explains_gaps_is_kept_at_its_grain() {
    let mut rows = sensors(MONDAY, 10_080, 5);
    let cells = &mut rows.columns[2].3;
    for cell in &mut cells[600..900] {
        *cell = Cell::missing(Reason::SensorError);
    }
    cells[3_000] = Cell::flagged(1.5, Flag::Fail);
    let window = Length::Week.around(MONDAY);
    let series = folded(&build(&[rows]), Level::Hour, window);
    let series = &series[2].1;
    let run = |from: i64, to: i64| Run {
        from: MONDAY + from * MINUTE,
        to: MONDAY + to * MINUTE,
        interval_us: MINUTE.cast_unsigned(),
    };
    assert_eq!(series.valued, [run(0, 599), run(900, 10_079)]);
    assert_eq!(series.absent, [(GapReason::SensorError, run(600, 899))]);
    assert_eq!(
        series
            .buckets
            .iter()
            .filter(|bucket| bucket.flag == Flag::Fail)
            .count(),
        1
    );
    assert_eq!(series.buckets.len(), 163);
}

#[test]
fn one_window_is_replaced_alone_and_order_does_not_show() {
    let level = Level::Hour;
    let from = level.row(MONDAY).from;
    let weeks: Vec<(Sorted, Window)> = (0..3)
        .map(|number| week(20 + number, number.cast_signed()))
        .collect();
    let put = |order: &[usize]| {
        let mut bytes: Option<Vec<u8>> = None;
        for index in order {
            let (sorted, window) = &weeks[*index];
            let before = bytes.map(|bytes| Rollup::decode(bytes).unwrap());
            bytes = Some(Rollup::replace(
                level,
                from,
                before.as_ref(),
                *window,
                folded(sorted, level, *window),
            ));
        }
        bytes.unwrap()
    };
    assert_eq!(put(&[0, 1, 2]), put(&[2, 0, 1, 1, 0]));
    let all = Rollup::decode(put(&[0, 1, 2])).unwrap();
    let without = Rollup::decode(Rollup::replace(level, from, Some(&all), weeks[1].1, [])).unwrap();
    let series = without.channel("sensor.0").unwrap();
    assert_eq!(series.covered, [weeks[0].1, weeks[2].1]);
    assert_eq!(series.buckets.len(), 2 * 168);
    assert_eq!(series.valued.len(), 2);
}
