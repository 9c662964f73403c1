//! Batches read back bit for bit.

use std::vec;
use std::vec::Vec;

use super::*;

#[test]
fn a_small_batch_reads_back() {
    let cells: Vec<Cell> = (0..60)
        .map(|i| Cell::measured(20.0 + f64::from(i % 7) / 100.0))
        .collect();
    let times: Vec<i64> = (0..60)
        .map(|i| 1_700_000_000_000_000 + i * 1_000_000)
        .collect();
    let header = Header {
        epoch: Epoch(7),
        first: 0,
        count: 60,
        prev: [0; 32],
        boot: 1,
        ticks_us: 5,
        clock: ClockQuality::Synchronised,
        revision: 1,
    };
    let mut out = vec![0; 2_000];
    let length = encode(
        &header,
        &times,
        &[],
        &[ColumnInput {
            channel: 3,
            values: &cells,
        }],
        &mut out,
    )
    .unwrap();
    let batch = Batch::decode(&out[..length]).unwrap();
    assert_eq!(batch.header(), &header);
    assert!(batch.times().eq(times.iter().copied()));
    let column = batch.columns().next().unwrap();
    assert_eq!(column.channel(), 3);
    assert!(column.cells().eq(cells.iter().copied()));
}
