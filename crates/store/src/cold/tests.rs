//! Tests of the cold formats: what goes in comes out, damaged bytes do no harm, version 1 stays readable for ever.

mod chunks;
mod damage;
mod golden;
mod rollups;
mod size;
mod stations;

use fieldkeep_protocol::batch::Cell;

use super::chunk::{ChunkBuilder, Origin, Place, Sorted};
use super::{Chunk, Rollup};

/// 2026-01-05T00:00:00Z, a Monday.
const MONDAY: i64 = 1_767_571_200_000_000;
const MINUTE: i64 = 60_000_000;

/// Consecutive records of one origin, as a batch has them.
#[derive(Clone, Debug)]
struct Rows {
    origin: Origin,
    first: u64,
    times: Vec<i64>,
    /// Name, index, interval, a cell for each record.
    columns: Vec<(String, u16, u64, Vec<Cell>)>,
}

fn build(batches: &[Rows]) -> Sorted {
    collect(batches).sort()
}

fn collect(batches: &[Rows]) -> ChunkBuilder {
    let mut builder = ChunkBuilder::new();
    for batch in batches {
        let origin = builder.origin(batch.origin);
        let rows: Vec<u32> = batch
            .times
            .iter()
            .zip(batch.first..)
            .map(|(time, record)| builder.row(origin, *time, record).unwrap())
            .collect();
        for (name, channel, interval_us, cells) in &batch.columns {
            let place = Place {
                channel: *channel,
                interval_us: *interval_us,
            };
            builder.place(origin, name, place);
            builder.add(name, rows.iter().copied().zip(cells.iter().copied()));
        }
    }
    builder
}

/// Ten channels once a minute, as sensors have them: a daily cycle and a random walk, 0 to 3 decimals.
fn sensors(from: i64, minutes: u64, seed: u64) -> Rows {
    let mut chance = crate::tests::Chance(seed);
    let mut walks = [0_i64; 10];
    let mut columns: Vec<Vec<Cell>> = vec![Vec::new(); 10];
    for minute in 0..minutes {
        let day = f64::from(u32::try_from(minute % 1_440).unwrap()) / 1_440.0;
        for (number, (walk, cells)) in walks.iter_mut().zip(&mut columns).enumerate() {
            *walk += chance.below(3).cast_signed() - 1;
            let cycle = (day * std::f64::consts::TAU).sin() * 40.0 * (1 + number % 3) as f64;
            let power = [1.0, 10.0, 100.0, 1_000.0][number % 4];
            let integer = (cycle + 1_500.0).round() as i64 + *walk;
            cells.push(Cell::measured(integer as f64 / power));
        }
    }
    Rows {
        origin: Origin {
            stream: 1,
            branch: 0,
            revision: 1,
        },
        first: 0,
        times: (0..minutes.cast_signed())
            .map(|minute| from + minute * MINUTE)
            .collect(),
        columns: columns
            .into_iter()
            .zip(0..)
            .map(|(cells, index)| {
                (
                    format!("sensor.{index}"),
                    index,
                    MINUTE.cast_unsigned(),
                    cells,
                )
            })
            .collect(),
    }
}

/// Reads everything that can be read of bytes that may be anything.
fn read_all(bytes: &[u8]) -> usize {
    super::fuzz::chunk(bytes) + super::fuzz::rollup(bytes)
}
