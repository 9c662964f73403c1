//! The arithmetic of one bucket. The sum is compensated (Neumaier), so that the order of arrival does not show.

use fieldkeep_protocol::{Flag, Timestamp};

use super::Bucket;

/// A bucket that is being filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    count: u64,
    min: f64,
    max: f64,
    sum: f64,
    compensation: f64,
    flag: Flag,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            compensation: 0.0,
            flag: Flag::Pass,
        }
    }
}

impl Sum {
    /// Adds values with one flag.
    pub(super) fn add(&mut self, values: &[f64], flag: Flag) {
        let Some(first) = values.first() else { return };
        // In registers: a loop over the fields would go through memory for every value.
        let (mut min, mut max) = (self.min.min(*first), self.max.max(*first));
        let (mut total, mut compensation) = (self.sum, self.compensation);
        for value in values {
            min = if *value < min { *value } else { min };
            max = if *value > max { *value } else { max };
            (total, compensation) = compensated(total, compensation, *value);
        }
        (self.min, self.max) = (min, max);
        (self.sum, self.compensation) = (total, compensation);
        self.count += values.len() as u64;
        self.flag = self.flag.max(flag);
    }

    /// Adds what is known of some points together.
    pub(super) fn merge(&mut self, bucket: &crate::cold::Bucket) {
        self.count += bucket.count;
        self.min = self.min.min(bucket.min);
        self.max = self.max.max(bucket.max);
        (self.sum, self.compensation) = compensated(self.sum, self.compensation, bucket.sum);
        self.flag = self.flag.max(bucket.flag);
    }

    /// The bucket, if there is a point in it.
    pub(super) fn bucket(&self, start: i64) -> Option<Bucket> {
        #[expect(clippy::cast_precision_loss, reason = "no bucket holds 2^53 points")]
        let mean = (self.sum + self.compensation) / self.count as f64;
        (self.count > 0).then(|| Bucket {
            start: Timestamp::from_micros(start),
            min: self.min,
            // Rounding, or a sum beyond what an f64 holds, must not put the mean outside its values.
            mean: if mean.is_finite() {
                mean.clamp(self.min, self.max)
            } else {
                self.min / 2.0 + self.max / 2.0
            },
            max: self.max,
            count: self.count,
            flag: self.flag,
        })
    }
}

fn compensated(total: f64, compensation: f64, value: f64) -> (f64, f64) {
    let sum = total + value;
    let lost = if total.abs() >= value.abs() {
        (total - sum) + value
    } else {
        (value - sum) + total
    };
    (sum, compensation + lost)
}
