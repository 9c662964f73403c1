//! When the disk will be full: from how much was used on each of the last days.
//!
//! Real history only: with less than two days of it, or without growth, nothing is forecast.

use serde::{Deserialize, Serialize};

/// Days that are remembered, and those of them that the pace is taken from.
const REMEMBERED: usize = 90;
const PACE_DAYS: i64 = 30;
const DAY_US: u64 = 86_400_000_000;

/// How much was used on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Day {
    /// Days since 1970.
    pub(super) day: i64,
    /// Bytes in use in the data folder.
    pub(super) data: u64,
    /// Bytes in use on the disk.
    pub(super) disk: u64,
}

/// The last days, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Forecast(Vec<Day>);

impl Forecast {
    /// Enters a day, or what is known of it by now. Days after it are a clock that was wrong: they go.
    pub(super) fn enter(&mut self, day: Day) {
        self.0.retain(|known| known.day < day.day);
        self.0.push(day);
        let surplus = self.0.len().saturating_sub(REMEMBERED);
        self.0.drain(..surplus);
    }

    /// Bytes a day: the faster of the data's own growth and the disk's, whoever fills it.
    pub(super) fn growth(&self) -> Option<u64> {
        let last = self.0.last()?;
        let days: Vec<&Day> = self
            .0
            .iter()
            .filter(|day| day.day > last.day - PACE_DAYS)
            .collect();
        let data = slope(days.iter().map(|day| (day.day, day.data)));
        let disk = slope(days.iter().map(|day| (day.day, day.disk)));
        let growth = data?.max(disk?);
        // Less than a byte a day is none.
        (growth >= 1.0).then_some(growth as u64)
    }
}

/// The line of least squares through some days; None with fewer than two.
fn slope(days: impl Iterator<Item = (i64, u64)> + Clone) -> Option<f64> {
    let count = days.clone().count();
    if count < 2 {
        return None;
    }
    let first = days.clone().next()?.0;
    let at = |day: i64| (day - first) as f64;
    let count = count as f64;
    let mean_day = days.clone().map(|(day, _)| at(day)).sum::<f64>() / count;
    let mean_used = days.clone().map(|(_, used)| used as f64).sum::<f64>() / count;
    let (mut above, mut below) = (0.0, 0.0);
    for (day, used) in days {
        above += (at(day) - mean_day) * (used as f64 - mean_used);
        below += (at(day) - mean_day).powi(2);
    }
    (below > 0.0).then(|| above / below)
}

/// When so many bytes are used up at that pace.
pub(super) fn full_us(now_us: i64, left: u64, growth: u64) -> Option<i64> {
    let wait_us = u128::from(left) * u128::from(DAY_US) / u128::from(growth.max(1));
    now_us.checked_add(i64::try_from(wait_us).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(days: impl Iterator<Item = (i64, u64)>) -> Forecast {
        let mut forecast = Forecast::default();
        for (day, data) in days {
            forecast.enter(Day {
                day,
                data,
                disk: 1_000,
            });
        }
        forecast
    }

    #[test]
    fn a_steady_growth_is_found() {
        let forecast = grown((0..40i64).map(|day| (day, 5_000 + 70 * day.unsigned_abs())));
        assert_eq!(forecast.growth(), Some(70));
        let full = full_us(0, 700, 70).unwrap();
        assert_eq!(full, 10 * 86_400_000_000);
    }

    #[test]
    fn only_the_last_thirty_days_count() {
        let pace = |day: i64| {
            if day < 60 {
                0
            } else {
                (day - 60).unsigned_abs() * 10
            }
        };
        assert_eq!(
            grown((0..90).map(|day| (day, pace(day)))).growth(),
            Some(10)
        );
    }

    #[test]
    fn without_history_or_growth_nothing_is_forecast() {
        assert_eq!(Forecast::default().growth(), None);
        assert_eq!(grown([(7, 5)].into_iter()).growth(), None);
        assert_eq!(grown((0..9).map(|day| (day, 500))).growth(), None);
        let less = (0..9i64).map(|day| (day, 900 - day.unsigned_abs()));
        assert_eq!(grown(less).growth(), None);
    }

    #[test]
    fn a_day_is_entered_once_and_the_past_is_bounded() {
        let mut forecast = grown((0..200).map(|day| (day, 10)));
        assert_eq!(forecast.0.len(), REMEMBERED);
        forecast.enter(Day {
            day: 199,
            data: 77,
            disk: 0,
        });
        assert_eq!((forecast.0.len(), forecast.0[89].data), (90, 77));
        // A clock that ran ahead leaves no trace.
        forecast.enter(Day {
            day: 150,
            data: 1,
            disk: 0,
        });
        assert_eq!(forecast.0.last().map(|day| day.day), Some(150));
    }

    #[test]
    fn no_pace_overflows() {
        assert_eq!(full_us(i64::MAX - 5, u64::MAX, 1), None);
        assert_eq!(full_us(5, 0, 0), Some(5));
    }
}
