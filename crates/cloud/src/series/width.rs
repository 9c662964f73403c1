//! How wide the buckets of a chart are: steps that people count in.
//!
//! Owns the ladder of steps: from ten minutes up each is a multiple of ten minutes, an hour or a day, for which roll-ups
//! are stored. Promises that buckets are aligned to 1970, so that the same instant falls in the same
//! bucket however a chart is moved, and that there are at most as many as were asked for (two where one was asked for
//! and its edge lies inside the range).

const MILLISECOND: i64 = 1_000;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const STEPS: [i64; 38] = [
    MILLISECOND,
    2 * MILLISECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    20 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    200 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    20 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    5 * DAY,
    10 * DAY,
    15 * DAY,
    30 * DAY,
    60 * DAY,
    90 * DAY,
    180 * DAY,
    360 * DAY,
    720 * DAY,
    3_600 * DAY,
];

/// The narrowest step that cuts `[from_us, to_us)` into at most `wanted` buckets.
#[must_use]
pub(super) fn bucket_width_us(from_us: i64, to_us: i64, wanted: usize) -> i64 {
    let wanted = i128::try_from(wanted.max(2)).unwrap_or(i128::MAX);
    let count = |width: i64| {
        let width = i128::from(width);
        let first = i128::from(from_us).div_euclid(width);
        let last = (i128::from(to_us) - 1).div_euclid(width);
        last - first + 1
    };
    let mut widest = STEPS[STEPS.len() - 1];
    if let Some(step) = STEPS.into_iter().find(|step| count(*step) <= wanted) {
        return step;
    }
    while count(widest) > wanted && widest < i64::MAX {
        widest = widest.saturating_mul(2);
    }
    widest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_in_a_thousand_buckets_is_two_minutes_each() {
        assert_eq!(bucket_width_us(0, DAY, 1_000), 2 * MINUTE);
        assert_eq!(bucket_width_us(0, 365 * DAY, 1_000), 12 * HOUR);
        assert_eq!(bucket_width_us(0, HOUR, 60), MINUTE);
        assert_eq!(
            bucket_width_us(1, HOUR + 1, 60),
            2 * MINUTE,
            "61 edges would be touched"
        );
    }

    #[test]
    fn never_more_than_asked_for() {
        let mut seed = 1_u64;
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let from = (seed >> 20) as i64 - (1 << 42);
            let span = 1 + (seed >> 14) as i64 % (400 * 365 * DAY);
            let wanted = 1 + (seed >> 33) as usize % 4_000;
            let width = bucket_width_us(from, from + span, wanted);
            let count = (from + span - 1).div_euclid(width) - from.div_euclid(width) + 1;
            assert!(
                count <= wanted.max(2) as i64,
                "{from} {span} {wanted} {width}"
            );
        }
    }

    #[test]
    fn the_whole_of_time_has_a_width() {
        assert!(bucket_width_us(i64::MIN, i64::MAX, 1) > 0);
    }

    #[test]
    fn the_ladder_climbs() {
        assert!(STEPS.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
