//! Batches read back bit for bit, whatever the values; what cannot be written is named.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::error::EncodeError;
use crate::limits;

const HEADER: Header = Header {
    epoch: Epoch(7),
    first: 0,
    count: 0,
    prev: [0; 32],
    boot: 1,
    ticks_us: 5,
    clock: ClockQuality::Synchronised,
    revision: 1,
};

fn header(count: usize) -> Header {
    Header {
        count: count as u32,
        ..HEADER
    }
}

fn inputs(columns: &[(u16, Vec<Cell>)]) -> Vec<ColumnInput<'_>> {
    columns
        .iter()
        .map(|(channel, values)| ColumnInput {
            channel: *channel,
            values,
        })
        .collect()
}

/// Encodes, decodes, compares bit for bit; returns the length.
fn round_trip(
    header: &Header,
    times: &[i64],
    steps: &[Step],
    columns: &[(u16, Vec<Cell>)],
) -> usize {
    let mut out = vec![0; limits::BATCH_BYTES];
    let length = encode(header, times, steps, &inputs(columns), &mut out).unwrap();
    let batch = Batch::decode(&out[..length]).unwrap();
    assert_eq!(batch.header(), header);
    assert!(batch.times().eq(times.iter().copied()));
    assert!(batch.steps().eq(steps.iter().copied()));
    assert_eq!(batch.column_count(), columns.len());
    for (column, (channel, cells)) in batch.columns().zip(columns) {
        assert_eq!(column.channel(), *channel);
        assert_eq!(column.cells().len(), cells.len());
        for (read, written) in column.cells().zip(cells) {
            assert_eq!(
                read.value.map(f64::to_bits),
                written.value.map(f64::to_bits)
            );
            assert_eq!((read.flag, read.reason), (written.flag, written.reason));
        }
    }
    // A buffer of just the right size is enough, one byte less is not.
    assert_eq!(
        encode(header, times, steps, &inputs(columns), &mut vec![0; length]),
        Ok(length)
    );
    let short = encode(
        header,
        times,
        steps,
        &inputs(columns),
        &mut vec![0; length - 1],
    );
    assert_eq!(short, Err(EncodeError::NoSpace));
    length
}

fn one_column(values: &[f64]) -> usize {
    let times: Vec<i64> = (0..values.len() as i64).collect();
    let cells = values.iter().copied().map(Cell::measured).collect();
    round_trip(&header(values.len()), &times, &[], &[(0, cells)])
}

/// Values as sensors deliver them, and some as none should.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-100_000i32..100_000, 0i32..4).prop_map(|(integer, places)| f64::from(integer) / 10f64.powi(places)),
        2 => (-1_000i32..1_000).prop_map(|integer| f64::from(integer) / 16.0),
        1 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
        1 => prop::sample::select(vec![0.0, -0.0, 9_007_199_254_740_992.0, -9_007_199_254_740_993.0, 1e22, f64::MAX, 5e-324]),
    ]
}

/// Columns of one kind of value, so that not each ends as plain floats.
fn column(count: usize) -> impl Strategy<Value = Vec<Cell>> {
    let flag = prop::sample::select(vec![
        Flag::Pass,
        Flag::NotEvaluated,
        Flag::Suspect,
        Flag::Fail,
    ]);
    let reason = prop::sample::select(vec![
        Reason::SensorError,
        Reason::NotSampled,
        Reason::Dropped,
    ]);
    let cell = |value: BoxedStrategy<f64>| {
        prop_oneof![
            12 => value.clone().prop_map(Cell::measured),
            2 => (value, flag.clone()).prop_map(|(value, flag)| Cell::flagged(value, flag)),
            1 => reason.clone().prop_map(Cell::missing),
        ]
    };
    let walk =
        (0i64..1_000_000, 0u32..6, 1i64..50).prop_flat_map(move |(start, places, spread)| {
            prop::collection::vec(-spread..=spread, count).prop_map(move |deltas| {
                let levels = deltas.into_iter().scan(start, |level, delta| {
                    *level += delta;
                    Some(*level)
                });
                levels
                    .map(|level| Cell::measured(level as f64 / 10f64.powi(places as i32)))
                    .collect()
            })
        });
    prop_oneof![
        prop::collection::vec(cell(value().boxed()), count),
        prop::collection::vec(
            cell((-500i32..500).prop_map(|i| f64::from(i) / 10.0).boxed()),
            count
        ),
        walk,
        cell(value().boxed()).prop_map(move |same| vec![same; count]),
    ]
}

fn times(count: usize) -> impl Strategy<Value = Vec<i64>> {
    prop_oneof![
        (
            limits::TIME_MIN_US / 2..limits::TIME_MAX_US / 2,
            0i64..10_000_000_000
        )
            .prop_map(move |(start, interval)| (0..count as i64)
                .map(|i| start + i * interval)
                .collect()),
        prop::collection::vec(limits::TIME_MIN_US..=limits::TIME_MAX_US, count),
        prop::collection::vec(1_000_000_000i64..1_000_100_000, count),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_batch_reads_back(
        (times, columns) in (1usize..300).prop_flat_map(|count| (
            times(count),
            prop::collection::btree_map(any::<u16>(), column(count), 1..4),
        )),
        first in 0..limits::RECORD_NUMBER - 300,
        (epoch, boot, ticks_us, revision) in any::<(u64, u32, u64, u32)>(),
        prev in any::<[u8; 32]>(),
        clock in prop_oneof![
            Just(ClockQuality::Unset),
            Just(ClockQuality::Synchronised),
            any::<u32>().prop_map(|age_s| ClockQuality::FreeRunning { age_s }),
        ],
        steps in prop::collection::vec((any::<prop::sample::Index>(), any::<i64>()), 0..3),
    ) {
        let (epoch, ticks_us) = (Epoch(epoch), ticks_us >> 1);
        let header = Header { epoch, first, count: times.len() as u32, prev, boot, ticks_us, clock, revision };
        let mut steps: Vec<Step> = steps
            .into_iter()
            .map(|(at, by_us)| Step { record: at.index(times.len()) as u32, by_us: if by_us == 0 { 1 } else { by_us } })
            .collect();
        steps.sort_by_key(|step| step.record);
        steps.dedup_by_key(|step| step.record);
        round_trip(&header, &times, &steps, &columns.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn the_largest_counts_read_back() {
    let times: Vec<i64> = (0..limits::BATCH_RECORDS as i64)
        .map(|i| i * 1_000)
        .collect();
    let cells: Vec<Cell> = (0..limits::BATCH_RECORDS)
        .map(|i| Cell::measured((i % 3) as f64))
        .collect();
    round_trip(&header(times.len()), &times, &[], &[(0, cells)]);
    let columns: Vec<_> = (0..limits::CHANNELS as u16)
        .map(|channel| (channel, vec![Cell::measured(1.5); 2]))
        .collect();
    round_trip(&header(2), &[0, 1], &[], &columns);
    let steps: Vec<_> = (0..limits::STEPS as u32)
        .map(|record| Step { record, by_us: -1 })
        .collect();
    round_trip(
        &header(64),
        &[0; 64],
        &steps,
        &[(0, vec![Cell::missing(Reason::Dropped); 64])],
    );
    assert!(
        Header {
            first: limits::RECORD_NUMBER - 2,
            ..header(2)
        }
        .range()
        .end()
            == limits::RECORD_NUMBER
    );
    round_trip(
        &Header {
            first: limits::RECORD_NUMBER - 2,
            ..header(2)
        },
        &[0, 1],
        &[],
        &[(0, vec![Cell::measured(0.0); 2])],
    );
}

#[test]
fn columns_take_the_room_they_should() {
    let empty = one_column(&[0.0; 128]);
    assert_eq!(
        one_column(&[21.5; 128]),
        empty + 1,
        "a constant is free but for its first value"
    );
    let ramp: Vec<f64> = (0..128).map(|i| f64::from(i) * 37.0).collect();
    assert!(
        one_column(&ramp) <= empty + 3,
        "a ramp is free but for its slope"
    );
    let sixteenths: Vec<f64> = (0..128).map(|i| f64::from(i * 7 % 5) / 16.0).collect();
    assert!(
        one_column(&sixteenths) <= empty + 3 * 128 / 8 + 8,
        "steps of a sixteenth cost as whole steps do"
    );
    let noise: Vec<f64> = (0..128).map(|i| f64::from(i).sqrt() + 0.1).collect();
    assert!(
        one_column(&noise) <= empty + 8 * 128,
        "never more than plain floats"
    );
    let mut spike = vec![7.0; 128];
    spike[60] = 1e12;
    assert!(
        one_column(&spike) <= empty + 32,
        "a spike costs bytes of its own only"
    );
}

#[test]
fn what_cannot_be_written_is_named() {
    let good = vec![Cell::measured(1.0); 2];
    let mut out = [0; 512];
    let mut attempt =
        |header: Header, times: &[i64], steps: &[Step], columns: &[(u16, Vec<Cell>)]| {
            encode(&header, times, steps, &inputs(columns), &mut out).unwrap_err()
        };
    let columns = [(0, good.clone())];
    assert_eq!(attempt(header(0), &[], &[], &columns), EncodeError::Count);
    assert_eq!(attempt(header(2), &[0, 1], &[], &[]), EncodeError::Count);
    assert_eq!(
        attempt(header(2), &[0], &[], &columns),
        EncodeError::Mismatch
    );
    assert_eq!(
        attempt(header(1), &[0], &[], &columns),
        EncodeError::Mismatch
    );
    assert_eq!(
        attempt(
            header(2),
            &[0, 1],
            &[],
            &[(1, good.clone()), (1, good.clone())]
        ),
        EncodeError::Order
    );
    assert_eq!(
        attempt(header(2), &[0, limits::TIME_MAX_US + 1], &[], &columns),
        EncodeError::Time
    );
    let late = Header {
        first: limits::RECORD_NUMBER - 1,
        ..header(2)
    };
    assert_eq!(attempt(late, &[0, 1], &[], &columns), EncodeError::Range);
    for step in [
        Step {
            record: 2,
            by_us: 1,
        },
        Step {
            record: 0,
            by_us: 0,
        },
    ] {
        assert_eq!(
            attempt(header(2), &[0, 1], &[step], &columns),
            EncodeError::Range
        );
    }
    let twice = [Step {
        record: 1,
        by_us: 1,
    }; 2];
    assert_eq!(
        attempt(header(2), &[0, 1], &twice, &columns),
        EncodeError::Order
    );
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let columns = [
            (0, good.clone()),
            (9, vec![Cell::measured(0.0), Cell::measured(value)]),
        ];
        assert_eq!(
            attempt(header(2), &[0, 1], &[], &columns),
            EncodeError::NotFinite { channel: 9 }
        );
    }
    for cell in [
        Cell {
            value: None,
            flag: Flag::Fail,
            reason: Reason::SensorError,
        },
        Cell {
            value: None,
            flag: Flag::Missing,
            reason: Reason::None,
        },
        Cell {
            value: Some(0.0),
            flag: Flag::Missing,
            reason: Reason::None,
        },
        Cell {
            value: Some(0.0),
            flag: Flag::Pass,
            reason: Reason::Dropped,
        },
    ] {
        let columns = [(5, vec![cell; 2])];
        assert_eq!(
            attempt(header(2), &[0, 1], &[], &columns),
            EncodeError::Inconsistent { channel: 5 }
        );
    }
}

#[test]
fn a_batch_over_the_limit_has_no_space_even_in_a_larger_buffer() {
    let values: Vec<Cell> = (0..4_096)
        .map(|i| Cell::measured(f64::from(i).sqrt() * 1.1))
        .collect();
    let times: Vec<i64> = (0..4_096).collect();
    let columns = [(0, values.clone()), (1, values.clone()), (2, values)];
    let result = encode(
        &header(4_096),
        &times,
        &[],
        &inputs(&columns),
        &mut vec![0; 1 << 20],
    );
    assert_eq!(result, Err(EncodeError::NoSpace));
}
