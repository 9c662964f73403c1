//! Made-up stations, as the benchmark has them: random walks with a daily cycle, outages, one value in a thousand missing.

use fieldkeep_protocol::Reason;
use fieldkeep_protocol::batch::Cell;

use super::{MINUTE, Origin, Rows};
use crate::tests::Chance;

const CHANNELS: usize = 10;

/// Ten channels of a station, once a minute.
pub(super) fn station(number: u64, from: i64, minutes: u32) -> Rows {
    let mut chance =
        Chance(0x5eed_f1e1_d4ee_b001 ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut walks: [(i64, f64); CHANNELS] = std::array::from_fn(|_| {
        let units = chance.below(2_000).cast_signed() + 1_000;
        (units, chance.below(1_440) as f64 / 1_440.0)
    });
    let mut times = Vec::new();
    let mut columns: Vec<Vec<Cell>> = vec![Vec::new(); CHANNELS];
    let mut silent = 0;
    for minute in 0..minutes {
        let turn = f64::from(minute % 1_440) / 1_440.0;
        let row: [Cell; CHANNELS] = std::array::from_fn(|channel| {
            let (walk, phase) = &mut walks[channel];
            let bits = chance.next();
            *walk += i64::from((bits & 15).count_ones()) - 2;
            let swing = 100.0 + 20.0 * channel as f64;
            let cycle = swing * ((turn + *phase) * std::f64::consts::TAU).sin();
            let power = [1.0, 10.0, 100.0, 1_000.0][channel % 4];
            if (bits >> 16).is_multiple_of(1_000) {
                Cell::missing(Reason::NotSampled)
            } else {
                Cell::measured((*walk + cycle.round() as i64) as f64 / power)
            }
        });
        let near_end = minute + 60 >= minutes;
        if silent == 0 && !near_end && chance.below(20_000) == 0 {
            silent = chance.below(600) + 10;
        }
        if silent > 0 && !near_end {
            silent -= 1;
            continue;
        }
        times.push(from + i64::from(minute) * MINUTE);
        for (column, cell) in columns.iter_mut().zip(row) {
            column.push(cell);
        }
    }
    let columns = columns.into_iter().zip(0..).map(|(cells, index)| {
        (
            format!("sensor.{index}"),
            index,
            MINUTE.cast_unsigned(),
            cells,
        )
    });
    Rows {
        origin: Origin {
            stream: 1,
            branch: 0,
            revision: 1,
        },
        first: 0,
        times,
        columns: columns.collect(),
    }
}
