//! Owns a made-up river station: level with tide and rain, temperature, turbidity, conductivity, battery; with outages,
//! spikes, a stuck sensor and sensor errors.
//! Promises a pure function of seed and time: any two runs tell the same river, and a restart goes on where it was.

use std::f64::consts::TAU;

use fieldkeep_protocol::{batch::Cell, record::Reason};

use crate::sample::{Channel, absent, rounded};

const HOUR_US: i64 = 3_600 * 1_000_000;
const DAY_US: i64 = 24 * HOUR_US;
/// Period of the principal lunar tide, in hours.
const M2_H: f64 = 12.420_601;

/// A station.
#[derive(Clone, Copy, Debug)]
pub struct Station {
    seed: u64,
}

impl Station {
    /// The station of a seed.
    pub fn new(seed: u64) -> Station {
        Station { seed }
    }

    /// Its channels, in the order of its cells.
    pub fn channels() -> Vec<Channel> {
        let channel = |name: &str, unit, digits, label: &str| Channel {
            name: format!("river.{name}"),
            unit,
            digits,
            label: Some(label.to_owned()),
        };
        vec![
            channel("level", "m", 3, "Water level"),
            channel("temperature", "Cel", 2, "Water temperature"),
            channel("turbidity", "{NTU}", 1, "Turbidity"),
            channel("conductivity", "uS/cm", 0, "Conductivity"),
            channel("battery", "V", 2, "Battery"),
        ]
    }

    /// What the station stored at a time; `None` while it was out of order.
    pub fn at(&self, time_us: i64) -> Option<Vec<Cell>> {
        if self.fault(10, "outage", time_us, 0.3, 1.0, 6.0).is_some() {
            return None;
        }
        let rain = self.rain(time_us);
        Some(vec![
            self.level(time_us, rain),
            self.temperature(time_us),
            self.turbidity(time_us, rain),
            self.conductivity(time_us, rain),
            self.battery(time_us),
        ])
    }

    fn level(&self, t: i64, rain: f64) -> Cell {
        let tide =
            0.42 * wave(t, M2_H, 0.0) + 0.11 * wave(t, 12.0, 1.1) + 0.05 * wave(t, 24.84, 0.4);
        let level = 1.35 + tide + 0.9 * rain + 0.004 * self.noise("level", t);
        let spiked = level
            + if self.chance("level spike", t) < 0.0008 {
                3.0
            } else {
                0.0
            };
        rounded(spiked, 3)
    }

    fn temperature(&self, t: i64) -> Cell {
        // A stuck sensor goes on telling what it told when it got stuck.
        let t = self.fault(30, "stuck", t, 0.6, 5.0, 14.0).unwrap_or(t);
        let season = 11.0 - 8.5 * wave(t, 365.2425 * 24.0, -0.35);
        let day = 1.1 * wave(t, 24.0, -2.2);
        let weather = 1.6 * self.smooth("weather", t, 2 * DAY_US);
        rounded(
            season + day + weather + 0.02 * self.noise("temperature", t),
            2,
        )
    }

    fn turbidity(&self, t: i64, rain: f64) -> Cell {
        if self.fault(20, "wiper", t, 0.5, 1.0, 3.0).is_some() {
            return absent(Reason::SensorError);
        }
        let clear = 6.0 + 2.0 * wave(t, M2_H / 2.0, 0.7) + 1.5 * self.smooth("silt", t, DAY_US);
        let stirred = clear + 140.0 * rain * rain + 0.6 * self.noise("turbidity", t);
        let spike = if self.chance("turbidity spike", t) < 0.002 {
            400.0 * self.chance("height", t)
        } else {
            0.0
        };
        rounded((stirred + spike).max(0.2), 1)
    }

    fn conductivity(&self, t: i64, rain: f64) -> Cell {
        if self.chance("conductivity error", t) < 0.003 {
            return absent(Reason::SensorError);
        }
        let salt = 620.0 + 180.0 * wave(t, M2_H, 0.3);
        rounded(
            salt * (1.0 - 0.45 * rain.min(1.5)) + 4.0 * self.noise("conductivity", t),
            0,
        )
    }

    fn battery(&self, t: i64) -> Cell {
        let hour = t.rem_euclid(DAY_US) as f64 / HOUR_US as f64;
        let sky = 0.35 + 0.65 * self.smooth("sky", t, DAY_US).abs().min(1.0);
        let sun = ((hour - 6.5) / 11.0 * TAU / 2.0).sin().max(0.0)
            * f64::from(u8::from((6.5..17.5).contains(&hour)));
        // Through the night the charge of the day goes.
        let since_dusk = (hour - 17.5).rem_euclid(24.0).min(13.0);
        let charge = if (6.5..17.5).contains(&hour) {
            (hour - 6.5) / 11.0
        } else {
            1.0 - since_dusk / 13.0
        };
        rounded(
            12.35 + 0.45 * charge * sky + 0.95 * sun * sky + 0.01 * self.noise("battery", t),
            2,
        )
    }

    /// How much recent rain is in the river, about 0 to 2.
    fn rain(&self, t: i64) -> f64 {
        let window = 3 * DAY_US;
        let this = t.div_euclid(window);
        (this - 4..=this)
            .filter(|k| self.random("rain", *k) < 0.4)
            .map(|k| {
                let start = k * window + (self.random("rain start", k) * window as f64) as i64;
                let hours = (t - start) as f64 / HOUR_US as f64;
                if hours <= 0.0 {
                    return 0.0;
                }
                let size = 0.25 + 1.1 * self.random("rain size", k).powi(2);
                size * (1.0 - (-hours / 4.0).exp()) * (-hours / 22.0).exp()
            })
            .sum()
    }

    /// The begin of a fault that holds at a time: at most one in each window of days, with a probability, and of some hours.
    fn fault(
        &self,
        days: i64,
        name: &str,
        t: i64,
        probability: f64,
        least_h: f64,
        most_h: f64,
    ) -> Option<i64> {
        let window = days * DAY_US;
        let k = t.div_euclid(window);
        if self.random(name, k) >= probability {
            return None;
        }
        let hours = least_h + (most_h - least_h) * self.random(name, k ^ 0x5a5a_5a5a);
        let length = (hours * HOUR_US as f64) as i64;
        let start =
            k * window + (self.random(name, k ^ 0x0f0f_0f0f) * (window - length) as f64) as i64;
        (start..start + length).contains(&t).then_some(start)
    }

    /// Between −1 and 1, changing slowly.
    fn smooth(&self, name: &str, t: i64, period_us: i64) -> f64 {
        let k = t.div_euclid(period_us);
        let x = t.rem_euclid(period_us) as f64 / period_us as f64;
        let ease = x * x * (3.0 - 2.0 * x);
        let (a, b) = (self.random(name, k), self.random(name, k + 1));
        2.0 * (a + (b - a) * ease) - 1.0
    }

    /// About normal with a deviation of one.
    fn noise(&self, name: &str, t: i64) -> f64 {
        let sum: f64 = (0..4)
            .map(|n| self.random(name, t.wrapping_mul(4).wrapping_add(n)))
            .sum();
        (sum - 2.0) * 3f64.sqrt()
    }

    fn chance(&self, name: &str, t: i64) -> f64 {
        self.random(name, t)
    }

    /// From 0 to 1, the same for the same seed, name and number.
    fn random(&self, name: &str, number: i64) -> f64 {
        let mut x = self.seed ^ 0x9e37_79b9_7f4a_7c15;
        for byte in name.bytes() {
            x = mix(x ^ u64::from(byte));
        }
        (mix(x ^ number.cast_unsigned()) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn wave(t: i64, period_h: f64, phase: f64) -> f64 {
    (TAU * (t as f64 / HOUR_US as f64) / period_h + phase).sin()
}

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_has_every_fault_and_believable_values() {
        let station = Station::new(1);
        let start = 1_750_000_000 * 1_000_000;
        let year: Vec<Option<Vec<Cell>>> = (0..52_560)
            .map(|n| station.at(start + n * 600_000_000))
            .collect();
        let outages = year.iter().filter(|r| r.is_none()).count();
        assert!((20..2_000).contains(&outages), "{outages} records missing");
        let column = |n: usize| year.iter().flatten().map(move |r| r[n]);
        let bounds = [
            (0.3, 8.0),
            (-3.0, 32.0),
            (0.1, 1_200.0),
            (50.0, 900.0),
            (11.5, 14.6),
        ];
        for (n, (low, high)) in bounds.into_iter().enumerate() {
            let values: Vec<f64> = column(n).filter_map(|c| c.value).collect();
            let (least, most) = values
                .iter()
                .fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
            assert!(
                low <= least && most <= high,
                "channel {n}: {least} to {most}"
            );
        }
        assert!(column(2).any(|c| c.value.is_none()) && column(3).any(|c| c.value.is_none()));
        assert!(
            column(0).filter_map(|c| c.value).any(|v| v > 3.9),
            "a spike"
        );
        let temperatures: Vec<Option<f64>> = column(1).map(|c| c.value).collect();
        let longest = temperatures.chunk_by(|a, b| a == b).map(<[_]>::len).max();
        assert!(longest >= Some(20), "stuck for {longest:?} records");
    }

    #[test]
    fn the_same_seed_is_the_same_river() {
        let at = 1_760_000_000 * 1_000_000;
        assert_eq!(Station::new(4).at(at), Station::new(4).at(at));
        assert_ne!(Station::new(4).at(at), Station::new(5).at(at));
    }
}
