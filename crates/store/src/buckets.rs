//! Points of a range put together in buckets of equal width, exactly: every point is in one, an excursion of a single
//! point is seen at any zoom.

use fieldkeep_protocol::{Flag, ProjectId, Timestamp};

use crate::error::StoreError;
use crate::gaps::{Gap, GapReason, Run, Sight};
use crate::scan::{Found, Source, TimeRange};
use crate::store::Store;
use crate::sweep::{Plan, Visitor};

/// Buckets of one query at most.
pub const MOST_BUCKETS: u64 = 10_000;

/// What the points from `start` on, for one width, have in common. There is no bucket without a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The first instant that belongs to it.
    pub start: Timestamp,
    /// The smallest value.
    pub min: f64,
    /// The mean of the values.
    pub mean: f64,
    /// The largest value.
    pub max: f64,
    /// How many points.
    pub count: u64,
    /// The worst flag.
    pub flag: Flag,
}

/// A range in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// The buckets that have points, by time.
    pub buckets: Vec<Bucket>,
    /// Where there are no values. Gaps shorter than a quarter of a bucket are not told apart at this zoom.
    pub gaps: Vec<Gap>,
    /// How many points there are in all.
    pub points: u64,
    /// Rows that could not be opened; the log names them, and each is a gap.
    pub damaged: u64,
}

impl Store {
    /// A range in buckets of `width_us`, the first of which begins at `range.from`.
    ///
    /// # Errors
    /// [`StoreError::TooManyBuckets`] where the width is too small for the range (over [`MOST_BUCKETS`]).
    pub async fn buckets(
        &self,
        project: ProjectId,
        sources: &[Source],
        range: TimeRange,
        width_us: i64,
    ) -> Result<Buckets, StoreError> {
        let origin = range.from.as_micros();
        let length = range.to.saturating_since(range.from).max(0).cast_unsigned();
        let width = width_us.max(1).cast_unsigned();
        let asked = length.div_ceil(width);
        if asked > MOST_BUCKETS {
            return Err(StoreError::TooManyBuckets {
                asked,
                most: MOST_BUCKETS,
            });
        }
        let plan = Plan::new(&self.inner, project, sources, range).await?;
        let mut adder = Adder {
            origin,
            width,
            sums: vec![Sum::default(); usize::try_from(asked).unwrap_or(0)],
            sight: Sight::new((width / 4).cast_signed()),
        };
        let damaged = plan.sweep(&self.inner, plan.from, &mut adder).await?;
        let Adder { sums, sight, .. } = adder;
        let starts = (0..)
            .map(|index: i64| origin.saturating_add(index.saturating_mul(width.cast_signed())));
        let buckets: Vec<Bucket> = sums
            .iter()
            .zip(starts)
            .filter_map(|(sum, start)| sum.bucket(start))
            .collect();
        Ok(Buckets {
            points: buckets.iter().map(|bucket| bucket.count).sum(),
            buckets,
            gaps: plan.gaps(&self.inner, sight, plan.from, plan.to).await?,
            damaged,
        })
    }
}

struct Adder {
    origin: i64,
    width: u64,
    sums: Vec<Sum>,
    sight: Sight,
}

impl Visitor for Adder {
    fn goes_on(&mut self, _from_us: i64) -> bool {
        true
    }

    fn value(&mut self, found: Found) {
        let time = found.key.time;
        let index = time.saturating_sub(self.origin).cast_unsigned() / self.width;
        let sum = usize::try_from(index)
            .ok()
            .and_then(|index| self.sums.get_mut(index));
        if let Some(sum) = sum {
            sum.add(found.value, found.flag);
        }
        self.sight.valued.add(Run {
            from: time,
            to: time,
            interval_us: found.interval_us,
        });
    }

    fn absent(&mut self, reason: GapReason, run: Run) {
        self.sight.add_absent(reason, run);
    }
}

/// A bucket that is being filled. The sum is compensated (Neumaier), so that the order of arrival does not show.
#[derive(Clone, Copy, Debug)]
struct Sum {
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
    fn add(&mut self, value: f64, flag: Flag) {
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.flag = self.flag.max(flag);
        let sum = self.sum + value;
        self.compensation += if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
    }

    fn bucket(&self, start: i64) -> Option<Bucket> {
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
