//! A stranger's device that knows only the simple profile: plain columns, put together without our encoder.

use fieldkeep_protocol::batch::{Batch, Cell};
use fieldkeep_protocol::{ClockQuality, DecodeError, Flag, Reason};

use crate::cbor::{Parts, array, bytes, column, int, null, uint, words};

fn error(parts: &Parts) -> DecodeError {
    Batch::decode(&parts.build()).unwrap_err()
}

#[test]
fn plain_floats_presence_and_flags() {
    let mut parts = Parts::plain();
    let floats: Vec<u8> = [1.0f64 / 3.0, -0.0]
        .into_iter()
        .flat_map(f64::to_le_bytes)
        .collect();
    parts.columns = vec![column(
        9,
        bytes(&[0b101]),
        bytes(&[0x01, 1, 0x19, 1, 0x04, 1]),
        &[uint(1), bytes(&floats)],
    )];
    parts.clock = array(&[uint(2), uint(77)]);
    parts.steps = array(&[array(&[uint(0), int(-5)]), array(&[uint(2), int(5)])]);
    let built = parts.build();
    let batch = Batch::decode(&built).unwrap();
    assert_eq!(
        batch.header().clock,
        ClockQuality::FreeRunning { age_s: 77 }
    );
    assert_eq!(
        batch
            .steps()
            .map(|step| (step.record, step.by_us))
            .collect::<Vec<_>>(),
        [(0, -5), (2, 5)]
    );
    let column = batch.column(9).unwrap();
    assert_eq!(column.present(), 2);
    let cells: Vec<_> = column.cells().collect();
    assert_eq!(cells[0], Cell::flagged(1.0 / 3.0, Flag::Pass));
    assert_eq!(cells[1], Cell::missing(Reason::SensorError));
    assert_eq!(cells[2].flag, Flag::Fail);
    assert_eq!(cells[2].value.unwrap().to_bits(), (-0.0f64).to_bits());
}

#[test]
fn a_later_version_is_told_apart() {
    let mut parts = Parts::plain();
    parts.version = uint(2);
    assert_eq!(error(&parts), DecodeError::Version);
    assert_eq!(
        Batch::decode(&array(&[uint(2)])).unwrap_err(),
        DecodeError::Version
    );
    assert_eq!(
        Batch::decode(&array(&[uint(1)])).unwrap_err(),
        DecodeError::Length
    );
}

#[test]
fn columns_ascend() {
    let mut parts = Parts::plain();
    let data = [uint(0), uint(1), words([201, 202, 204])];
    parts.columns = vec![
        column(1, null(), null(), &data),
        column(0, null(), null(), &data),
    ];
    assert_eq!(error(&parts), DecodeError::Order);
    parts.columns = vec![
        column(1, null(), null(), &data),
        column(1, null(), null(), &data),
    ];
    assert_eq!(error(&parts), DecodeError::Order);
    parts.columns = vec![];
    assert_eq!(error(&parts), DecodeError::Length);
}

#[test]
fn packed_by_hand_as_the_manual_says() {
    // 20.1, 20.2, 20.4: first 201 as zigzag varint, then one block of two deltas 1 and 2 in Rice code 1.
    // Zigzag 2 → quotient 1, rest 0: bits 1 0 0. Zigzag 4 → quotient 2, rest 0: bits 1 1 0 0.
    let stream = [0x92, 0x03, 0x01, 0b0001_1001];
    let mut parts = Parts::plain();
    parts.columns = vec![column(
        0,
        null(),
        null(),
        &[uint(2), uint(1), bytes(&stream)],
    )];
    let built = parts.build();
    let batch = Batch::decode(&built).unwrap();
    let values: Vec<_> = batch
        .column(0)
        .unwrap()
        .cells()
        .map(|cell| cell.value.unwrap())
        .collect();
    assert_eq!(values, [20.1, 20.2, 20.4]);
    // The same with a width of three bits.
    let stream = [0x92, 0x03, 64 + 3, 0b0010_0010];
    parts.columns = vec![column(
        0,
        null(),
        null(),
        &[uint(2), uint(1), bytes(&stream)],
    )];
    assert!(Batch::decode(&parts.build()).is_ok());
    // A set padding bit, or another byte, is no part of it.
    for stream in [
        &[0x92, 0x03, 64 + 3, 0b1010_0010][..],
        &[0x92, 0x03, 64 + 3, 0b0010_0010, 0],
    ] {
        parts.columns = vec![column(
            0,
            null(),
            null(),
            &[uint(2), uint(1), bytes(stream)],
        )];
        assert_eq!(error(&parts), DecodeError::Stream);
    }
    // An escape of five bits for 16, which Rice code 0 needs and Rice code 3 does not.
    let escape = |form: u8| {
        let stream = [0x92, 0x03, form, 0xff, 0xff, 0b0000_0100, 0b0000_0100];
        let mut parts = Parts::plain();
        parts.columns = vec![column(
            0,
            null(),
            null(),
            &[uint(2), uint(0), bytes(&stream)],
        )];
        parts.build()
    };
    let built = escape(0);
    let batch = Batch::decode(&built).unwrap();
    let values: Vec<_> = batch
        .column(0)
        .unwrap()
        .cells()
        .map(|cell| cell.value.unwrap())
        .collect();
    assert_eq!(values, [201.0, 209.0, 209.0]);
    assert_eq!(Batch::decode(&escape(3)).unwrap_err(), DecodeError::Stream);
}
