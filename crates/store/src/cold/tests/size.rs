//! What a point costs cold, and how fast it is read.

use std::hint::black_box;

use super::*;
use crate::cold::rollup::fold;
use crate::cold::{Length, Level};

#[test]
fn a_week_of_sensors_costs_what_was_promised() {
    let mut rollups = [None, None];
    let mut chunks = 0;
    let mut points = 0;
    let levels = [Level::Hour, Level::Day];
    // As many weeks as one row of hours holds.
    let begin = Level::Hour.row(MONDAY).from;
    for week in 0..24 {
        let window = Length::Week.around(begin + week * Length::Week.us());
        let sorted = build(&[sensors(window.from, 10_080, 100 + week.cast_unsigned())]);
        chunks += sorted.encode().len();
        points += sorted.points();
        for (level, row) in levels.into_iter().zip(&mut rollups) {
            let from = level.row(window.from).from;
            let series = sorted.channels.iter().filter_map(|channel| {
                Some((channel.name.clone(), fold(&sorted, channel, level, window)?))
            });
            let before = row.take().and_then(Rollup::decode);
            *row = Some(Rollup::replace(
                level,
                from,
                before.as_ref(),
                window,
                series,
            ));
        }
    }
    let rolled: usize = rollups.iter().flatten().map(Vec::len).sum();
    let each = |bytes: usize| bytes as f64 / points as f64;
    println!(
        "{points} points: chunks {:.3} B a point, roll-ups {:.3}",
        each(chunks),
        each(rolled)
    );
    assert!(each(chunks) <= 0.31, "{}", each(chunks));
    assert!(each(chunks + rolled) <= 0.37, "{}", each(chunks + rolled));
}

#[test]
#[ignore = "a measurement: cargo test --release -p fieldkeep-store speed -- --ignored --nocapture"]
#[expect(clippy::disallowed_methods, reason = "it is what is measured")]
fn speed() {
    let rows = sensors(MONDAY, 1_000_000, 1);
    let begin = std::time::Instant::now();
    let bytes = build(&[rows]).encode();
    println!(
        "10 M points built and encoded in {:?}, {} bytes",
        begin.elapsed(),
        bytes.len()
    );
    for _ in 0..5 {
        let begin = std::time::Instant::now();
        let chunk = Chunk::decode(bytes.clone()).unwrap();
        let (times, segments) = (chunk.times().unwrap(), chunk.segments().unwrap());
        let decoded = begin.elapsed();
        let column = chunk.column("sensor.3").unwrap();
        let columned = begin.elapsed();
        let mut sums = vec![(0_u64, f64::INFINITY, 0.0_f64, f64::NEG_INFINITY); 1_200];
        let width = 1_000_000 * MINUTE / 1_200;
        for piece in column.pieces(&times, &segments) {
            let (mut times, mut values) = (piece.times, piece.values);
            while let Some(time) = times.first() {
                let index = usize::try_from((time - MONDAY) / width).unwrap().min(1_199);
                let end = MONDAY + (index as i64 + 1) * width;
                let count = times.partition_point(|time| *time < end).max(1);
                let sum = &mut sums[index];
                sum.0 += count as u64;
                for value in &values[..count] {
                    sum.1 = sum.1.min(*value);
                    sum.2 += value;
                    sum.3 = sum.3.max(*value);
                }
                (times, values) = (&times[count..], &values[count..]);
            }
        }
        black_box(&sums);
        println!(
            "1 M points: times {decoded:?}, column {columned:?}, folded {:?}",
            begin.elapsed()
        );
    }
}

/// Prints what stands in the cold bytes of the benchmark's data.
#[test]
#[ignore = "a measurement: cargo test -p fieldkeep-store where_the_bytes_are -- --ignored --nocapture"]
fn where_the_bytes_are() {
    for (name, minutes, stations) in [("two days", 2_880, 30), ("a week", 10_080, 10)] {
        let (mut chunks, mut points) = (0, 0);
        let mut rollups = [0; 3];
        let mut buckets = [0; 3];
        for number in 0..stations {
            let window = Length::Week.around(MONDAY);
            let sorted = build(&[super::stations::station(number, MONDAY, minutes)]);
            chunks += sorted.encode().len();
            points += sorted.points();
            for (place, level) in Level::ALL.into_iter().enumerate() {
                let from = level.row(window.from).from;
                let series: Vec<_> = sorted
                    .channels
                    .iter()
                    .filter_map(|channel| {
                        Some((channel.name.clone(), fold(&sorted, channel, level, window)?))
                    })
                    .collect();
                if series.is_empty() {
                    continue;
                }
                buckets[place] += series
                    .iter()
                    .map(|(_, series)| series.buckets.len())
                    .sum::<usize>();
                rollups[place] += Rollup::replace(level, from, None, window, series).len();
            }
        }
        println!("{name}: {:.4} chunks", chunks as f64 / points as f64);
        for place in 0..3 {
            println!(
                "  level {place}: {} buckets, {:.2} B a bucket, {:.4} B a point",
                buckets[place],
                rollups[place] as f64 / buckets[place].max(1) as f64,
                rollups[place] as f64 / points as f64
            );
        }
    }
}
