//! Whatever rows go into a chunk come out of it, bit for bit and in the order of reading.

use fieldkeep_protocol::batch::Cell;
use fieldkeep_protocol::{Flag, Reason};
use proptest::prelude::*;

use super::*;
use crate::cold::chunk::State;
use crate::cold::{Length, Unread};
use crate::gaps::GapReason;

type Point = (i64, i64, u32, u64, u16, u64, State, Option<u64>);

fn cells() -> impl Strategy<Value = Cell> {
    let flags = prop::sample::select(vec![
        Flag::NotEvaluated,
        Flag::NotEvaluated,
        Flag::Pass,
        Flag::Suspect,
        Flag::Fail,
    ]);
    let reasons = prop::sample::select(vec![
        Reason::NotSampled,
        Reason::SensorError,
        Reason::Dropped,
    ]);
    prop_oneof![
        6 => (-9_999_i32..9_999, flags.clone()).prop_map(|(value, flag)| Cell::flagged(f64::from(value) / 100.0, flag)),
        1 => (any::<u64>(), flags).prop_map(|(bits, flag)| Cell::flagged(f64::from_bits(bits), flag)),
        1 => Just(Cell::measured(-0.0)),
        2 => reasons.prop_map(Cell::missing),
    ]
}

fn batches() -> impl Strategy<Value = Vec<Rows>> {
    let batch = (
        1_i64..3,
        0_u32..2,
        1_u32..3,
        0_i64..2_000,
        1_usize..40,
        1_i64..90,
    )
        .prop_flat_map(|(stream, branch, revision, start, count, step)| {
            let columns = prop::collection::vec(
                prop::option::weighted(0.7, prop::collection::vec(cells(), count)),
                3,
            );
            columns.prop_map(move |columns| Rows {
                origin: Origin {
                    stream,
                    branch,
                    revision,
                },
                first: 0,
                times: (0..i64::try_from(count).unwrap())
                    .map(|index| MONDAY + (start + index * step) * 1_000_000)
                    .collect(),
                columns: columns
                    .into_iter()
                    .zip(0_u16..)
                    .filter_map(|(cells, index)| {
                        let shifted = index + u16::try_from(revision).unwrap();
                        Some((format!("channel.{index}"), shifted, 60, cells?))
                    })
                    .collect(),
            })
        });
    prop::collection::vec(batch, 0..8).prop_map(|mut batches| {
        // Numbers of one stream and branch are given once.
        let mut next = std::collections::HashMap::new();
        for batch in &mut batches {
            let origin = (batch.origin.stream, batch.origin.branch);
            let first: &mut u64 = next.entry(origin).or_insert(7);
            batch.first = *first;
            *first += batch.times.len() as u64 + 3;
        }
        batches
    })
}

/// What a reader of the rows themselves gets of one channel.
fn expected(batches: &[Rows], name: &str) -> Vec<Point> {
    let mut points = Vec::new();
    for batch in batches {
        for (channel, index, interval_us, cells) in &batch.columns {
            if channel != name {
                continue;
            }
            for ((time, record), cell) in batch.times.iter().zip(batch.first..).zip(cells) {
                let state = match cell.value {
                    Some(_) => State::Valued(cell.flag),
                    None => State::Absent(cell.reason),
                };
                let Origin { stream, branch, .. } = batch.origin;
                let bits = cell.value.map(f64::to_bits);
                points.push((
                    *time,
                    stream,
                    branch,
                    record,
                    *index,
                    *interval_us,
                    state,
                    bits,
                ));
            }
        }
    }
    points.sort_by_key(|point| (point.0, point.1, point.2, point.3));
    points
}

fn read(chunk: &Chunk, name: &str) -> Vec<Point> {
    let times = chunk.times().unwrap();
    let segments = chunk.segments().unwrap();
    let column = chunk.column(name).unwrap();
    let mut points = Vec::new();
    for piece in column.pieces(&times, &segments) {
        let Origin { stream, branch, .. } = piece.origin;
        for (offset, time) in piece.times.iter().enumerate() {
            points.push((
                *time,
                stream,
                branch,
                piece.first + offset as u64,
                piece.place.channel,
                piece.place.interval_us,
                piece.state,
                piece.values.get(offset).map(|value| value.to_bits()),
            ));
        }
    }
    points
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_whatever_the_order(batches in batches()) {
        let bytes = build(&batches).encode();
        let reversed: Vec<Rows> = batches.iter().rev().cloned().collect();
        prop_assert_eq!(&bytes, &build(&reversed).encode());
        let chunk = Chunk::decode(bytes).unwrap();
        prop_assert_eq!(chunk.times().unwrap().len(), batches.iter().map(|batch| batch.times.len()).sum::<usize>());
        for index in 0..3 {
            let name = format!("channel.{index}");
            let expected = expected(&batches, &name);
            if chunk.channels().any(|known| known == name) {
                prop_assert_eq!(read(&chunk, &name), expected);
            } else {
                prop_assert_eq!(expected, []);
            }
        }
    }

    #[test]
    fn windows_hold_their_instants_and_nest(time in -10_000_000_000_000_000_i64..10_000_000_000_000_000) {
        let mut inner = Length::Hour.around(time);
        for length in Length::ALL {
            let window = length.around(time);
            prop_assert!(window.contains(time));
            prop_assert_eq!(window.to - window.from, length.us());
            prop_assert!(window.from <= inner.from && inner.to <= window.to);
            inner = window;
        }
    }
}

#[test]
fn rows_that_could_not_be_read_are_named() {
    let origin = Origin {
        stream: 4,
        branch: 1,
        revision: 9,
    };
    let unread = Unread {
        origin,
        first: 100,
        count: 7,
        from_us: MONDAY,
        to_us: MONDAY + 6 * MINUTE,
        reason: GapReason::Damaged,
    };
    let mut builder = ChunkBuilder::new();
    builder.unread(unread);
    let chunk = Chunk::decode(builder.sort().encode()).unwrap();
    assert_eq!(chunk.unread(), [unread]);
    assert_eq!(chunk.times(), Some(vec![]));
}

#[test]
fn weeks_begin_on_monday() {
    assert_eq!(Length::Week.around(MONDAY).from, MONDAY);
    assert_eq!(Length::Week.around(MONDAY - 1).to, MONDAY);
    assert_eq!(Length::Day.around(MONDAY + 1).from, MONDAY);
}
