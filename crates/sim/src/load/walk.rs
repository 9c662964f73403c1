//! Made-up sensors: random walks with a daily cycle, 0 to 3 decimals, outages, and one value in a thousand missing.
//!
//! Promises a pure function of seed, station and time step: everybody who is measured gets the same rows. Values are
//! whole numbers of the last decimal, so that each form of text and binary says exactly the same.

use std::f64::consts::TAU;

/// Channels of a station.
pub const CHANNELS: usize = 10;
/// A minute in microseconds.
pub const MINUTE_US: i64 = 60_000_000;
/// A day in microseconds.
pub const DAY_US: i64 = 1_440 * MINUTE_US;

const SEED: u64 = 0x5eed_f1e1_d4ee_b001;
/// One value in so many is missing.
const MISSING: u64 = 1_000;
/// One record in so many is the first of an outage.
const OUTAGE: u64 = 20_000;
/// The longest outage, in records.
const OUTAGE_LONGEST: u64 = 600;
/// No outage so near to the end: the latest value is then as old for everybody.
const TAIL: u32 = 60;

/// How many decimals a channel has.
#[must_use]
pub const fn decimals(channel: usize) -> u32 {
    (channel % 4) as u32
}

/// One station over one stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Station {
    /// Which one; another number is another walk.
    pub number: u32,
    /// The time of its first record.
    pub start_us: i64,
    /// From one record to the next.
    pub step_us: i64,
    /// Records, those lost in outages included.
    pub records: u32,
}

/// What a station stored at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// When.
    pub time_us: i64,
    /// By channel, in units of its last decimal; `None` where it is missing.
    pub units: [Option<i32>; CHANNELS],
}

impl Row {
    /// The value of a channel.
    #[must_use]
    pub fn value(&self, channel: usize) -> Option<f64> {
        let units = self.units.get(channel).copied().flatten()?;
        Some(f64::from(units) / f64::from(10_u32.pow(decimals(channel))))
    }
}

impl Station {
    /// Its rows, in the order of time.
    #[must_use]
    pub fn rows(&self) -> Rows {
        let mut chance =
            Chance(SEED ^ (u64::from(self.number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let walks = std::array::from_fn(|channel| Walk {
            units: i32::try_from(chance.below(2_000)).unwrap_or(0) + 1_000,
            swing: 100.0 + 20.0 * channel as f64,
            phase: chance.below(1_440) as f64 / 1_440.0 * TAU,
        });
        Rows {
            station: *self,
            chance,
            walks,
            record: 0,
            silent: 0,
        }
    }

    /// The end of its time, not included.
    #[must_use]
    pub const fn end_us(&self) -> i64 {
        self.start_us + self.records as i64 * self.step_us
    }
}

#[derive(Clone, Copy, Debug)]
struct Walk {
    units: i32,
    swing: f64,
    phase: f64,
}

/// The rows of a station.
#[derive(Clone, Debug)]
pub struct Rows {
    station: Station,
    chance: Chance,
    walks: [Walk; CHANNELS],
    record: u32,
    silent: u32,
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        while self.record < self.station.records {
            let record = self.record;
            self.record += 1;
            let row = self.row(record);
            let near_end = record + TAIL >= self.station.records;
            if self.silent == 0 && !near_end && self.chance.below(OUTAGE) == 0 {
                self.silent = u32::try_from(self.chance.below(OUTAGE_LONGEST)).unwrap_or(0) + 10;
            }
            if self.silent > 0 && !near_end {
                self.silent -= 1;
                continue;
            }
            return Some(row);
        }
        None
    }
}

impl Rows {
    fn row(&mut self, record: u32) -> Row {
        let minute = f64::from(record % 1_440);
        let turn = minute / 1_440.0 * TAU;
        let units = std::array::from_fn(|channel| {
            let walk = &mut self.walks[channel];
            // Two bits of chance twice: steps of -2 to 2, the small ones more often.
            let bits = self.chance.next();
            let step = (bits & 1) + (bits >> 1 & 1) + (bits >> 2 & 1) + (bits >> 3 & 1);
            walk.units += i32::try_from(step).unwrap_or(2) - 2;
            let missing = (bits >> 16).is_multiple_of(MISSING);
            let cycle = walk.swing * (turn + walk.phase).sin();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a swing of some hundred units"
            )]
            let cycle = cycle.round() as i32;
            (!missing).then_some(walk.units + cycle)
        });
        Row {
            time_us: self.station.start_us + i64::from(record) * self.station.step_us,
            units,
        }
    }
}

/// SplitMix64 (Steele et al. 2014).
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn station(number: u32) -> Station {
        Station {
            number,
            start_us: 0,
            step_us: MINUTE_US,
            records: 200_000,
        }
    }

    #[test]
    fn rows_repeat_and_stations_differ() {
        let first: Vec<Row> = station(1).rows().take(500).collect();
        assert_eq!(first, station(1).rows().take(500).collect::<Vec<_>>());
        assert_ne!(first, station(2).rows().take(500).collect::<Vec<_>>());
    }

    #[test]
    fn the_data_are_what_they_are_said_to_be() {
        let rows: Vec<Row> = station(3).rows().collect();
        let cells = rows.len() * CHANNELS;
        let missing = rows
            .iter()
            .flat_map(|row| row.units)
            .filter(Option::is_none)
            .count();
        let share = missing as f64 / cells as f64;
        assert!((0.0007..0.0013).contains(&share), "missing: {share}");
        assert!(rows.len() < 200_000, "there are outages");
        assert!(rows.len() > 190_000, "and they are rare");
        assert!(
            rows.windows(2)
                .all(|pair| pair[0].time_us < pair[1].time_us)
        );
        assert_eq!(
            rows.last().map(|row| row.time_us),
            Some(199_999 * MINUTE_US)
        );

        // The entropy of the steps from value to value, which bounds every codec that looks no further back.
        let mut steps: HashMap<i32, f64> = HashMap::new();
        let mut total = 0.0;
        for pair in rows.windows(2) {
            if let (Some(before), Some(after)) = (pair[0].units[2], pair[1].units[2]) {
                *steps.entry(after - before).or_default() += 1.0;
                total += 1.0;
            }
        }
        let entropy: f64 = steps
            .values()
            .map(|count| -count / total * (count / total).log2())
            .sum();
        assert!((2.0..2.6).contains(&entropy), "bits a step: {entropy}");
    }

    #[test]
    fn a_value_has_its_decimals() {
        let row = Row {
            time_us: 0,
            units: [Some(1_234); CHANNELS],
        };
        assert_eq!(row.value(0), Some(1_234.0));
        assert_eq!(row.value(3), Some(1.234));
    }
}
