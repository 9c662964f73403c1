//! Points of a range put together in buckets of equal width, exactly: every point is in one, an excursion of a single
//! point is seen at any zoom.
//!
//! Buckets begin at multiples of their width since 1970, so the same instant falls in the same bucket however a chart is
//! moved, and stored roll-ups can stand for whole buckets. Where there are none, or rows changed since, and at the
//! edges of range and deployments, the points themselves are read: the answer is the same.

mod sum;

use fieldkeep_protocol::{Flag, ProjectId, Timestamp};

use crate::cold::{self, Level};
use crate::error::StoreError;
use crate::explain::Unread;
use crate::gaps::{Gap, GapReason, Run, Sight};
use crate::scan::{Found, Point, Source, TimeRange};
use crate::store::Store;
use crate::sweep::{Plan, Rolled, Stretch, Sweep, Swept, Visitor};
use sum::Sum;

/// Buckets of one output at most.
pub const MOST_BUCKETS: u64 = 10_000;
/// Buckets of one query at most, all outputs together: 56 bytes each while they are filled.
pub const MOST_BUCKETS_TOGETHER: u64 = 1_000_000;

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

/// A range in buckets, and the points themselves where there are few.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outline {
    /// The range in buckets.
    pub buckets: Buckets,
    /// All points of the range, where there are no more than were asked for.
    pub points: Option<Vec<Point>>,
}

impl Store {
    /// A range in buckets of `width_us` that begin at multiples of it: the first one may begin before `range.from`, and
    /// yet no point outside of the range is in it.
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
        let outlines = self
            .outlines(project, &[sources], range, width_us, 0)
            .await?;
        let first = outlines.into_iter().next();
        Ok(first.map(|outline| outline.buckets).unwrap_or_default())
    }

    /// The outlines of several outputs over one range, in their order: what they have in common is read once. Points are
    /// given where an output has no more than `few`.
    ///
    /// # Errors
    /// As [`Store::buckets`], also where all outputs together have more than [`MOST_BUCKETS_TOGETHER`].
    pub async fn outlines(
        &self,
        project: ProjectId,
        outputs: &[&[Source]],
        range: TimeRange,
        width_us: i64,
        few: usize,
    ) -> Result<Vec<Outline>, StoreError> {
        let grid = Grid::new(range, width_us, outputs.len())?;
        let plan = Plan::new(&self.inner, project, outputs, range).await?;
        let from = plan.extents.iter().map(|extent| extent.0).min();
        let mut adders = loop {
            let mut adders: Vec<Adder> = outputs.iter().map(|_| Adder::new(grid, few)).collect();
            let from = from.unwrap_or(i64::MAX);
            let mut sweep = Sweep::open(&self.inner, &plan, from, grid.level()).await?;
            if sweep.roll(&plan, &mut adders).await? == Swept::Done
                && sweep.run(&mut adders).await? == Swept::Done
            {
                break adders.into_iter();
            }
        };
        let mut unread = Unread::default();
        let mut outlines = Vec::with_capacity(outputs.len());
        for (output, sources) in outputs.iter().enumerate() {
            let Some(adder) = adders.next() else { break };
            let (buckets, found) = (adder.buckets(), adder.points);
            let points: u64 = buckets.iter().map(|bucket| bucket.count).sum();
            let is_few = few > 0 && points <= few as u64;
            let found = match found {
                Some(mut found) if is_few => {
                    found.sort_by_key(|found| found.key);
                    Some(found.iter().map(Found::point).collect())
                }
                None if is_few => Some(self.all(project, sources, range).await?),
                _ => None,
            };
            let extent = plan.extent(output);
            let gaps = plan
                .gaps(&self.inner, output, adder.sight, extent, &mut unread)
                .await?;
            outlines.push(Outline {
                points: found,
                buckets: Buckets {
                    buckets,
                    gaps,
                    points,
                    damaged: adder.damaged,
                },
            });
        }
        Ok(outlines)
    }

    /// All points of a range that is known to have few.
    async fn all(
        &self,
        project: ProjectId,
        sources: &[Source],
        range: TimeRange,
    ) -> Result<Vec<Point>, StoreError> {
        let mut points = Vec::new();
        let mut after = None;
        loop {
            let page = self.scan(project, sources, range, after, MOST_FEW).await?;
            points.extend(page.points);
            after = page.next;
            if after.is_none() {
                return Ok(points);
            }
        }
    }
}

/// Points of one page where a whole range is gathered.
const MOST_FEW: usize = 10_000;

/// Where the buckets of a query lie.
#[derive(Clone, Copy)]
struct Grid {
    origin: i64,
    width_us: i64,
    count: usize,
}

impl Grid {
    fn new(range: TimeRange, width_us: i64, outputs: usize) -> Result<Self, StoreError> {
        let width = i128::from(width_us.max(1));
        let (from, to) = (range.from.as_micros(), range.to.as_micros());
        let first = i128::from(from).div_euclid(width);
        let end = (i128::from(to) + width - 1).div_euclid(width);
        let asked = u64::try_from(if from < to { end - first } else { 0 }).unwrap_or(u64::MAX);
        let together = asked.saturating_mul(outputs.max(1) as u64);
        for (asked, most) in [(asked, MOST_BUCKETS), (together, MOST_BUCKETS_TOGETHER)] {
            if asked > most {
                return Err(StoreError::TooManyBuckets { asked, most });
            }
        }
        // Before the first instant that can be written, the first bucket begins with it.
        let origin = i64::try_from(first * width).unwrap_or(i64::MIN);
        Ok(Self {
            origin,
            width_us: width_us.max(1),
            count: usize::try_from(asked).unwrap_or(0),
        })
    }

    /// The coarsest level of roll-ups that buckets can be put together from.
    fn level(&self) -> Option<Level> {
        let mut levels = Level::ALL.into_iter().rev();
        levels.find(|level| self.width_us % level.us() == 0 && self.origin % level.us() == 0)
    }

    /// The number of the bucket of an instant, and the end of that bucket.
    fn place(&self, time: i64) -> (usize, i64) {
        let since = i128::from(time) - i128::from(self.origin);
        let index = since.div_euclid(self.width_us.into());
        let end = (index + 1) * i128::from(self.width_us) + i128::from(self.origin);
        (
            usize::try_from(index).unwrap_or(usize::MAX),
            i64::try_from(end).unwrap_or(i64::MAX),
        )
    }
}

struct Adder {
    grid: Grid,
    sums: Vec<Sum>,
    sight: Sight,
    damaged: u64,
    /// Everything that was found, as long as it is no more than this many.
    points: Option<Vec<Found>>,
    few: usize,
    /// The last bucket that was added to: its number, and its first instant and end.
    last: (usize, i64, i64),
}

impl Adder {
    fn new(grid: Grid, few: usize) -> Self {
        Self {
            grid,
            sums: vec![Sum::default(); grid.count],
            sight: Sight::new(grid.width_us / 4),
            damaged: 0,
            points: (few > 0).then(Vec::new),
            few,
            last: (0, i64::MAX, i64::MAX),
        }
    }

    fn bucket_of(&mut self, time: i64) -> (usize, i64, i64) {
        if time < self.last.1 || time >= self.last.2 {
            let (index, end) = self.grid.place(time);
            self.last = (index, end.saturating_sub(self.grid.width_us), end);
        }
        self.last
    }

    fn sum(&mut self, time: i64) -> Option<&mut Sum> {
        let (index, ..) = self.bucket_of(time);
        self.sums.get_mut(index)
    }

    fn buckets(&self) -> Vec<Bucket> {
        let starts = (0..).map(|index: i64| {
            let offset = index.saturating_mul(self.grid.width_us);
            self.grid.origin.saturating_add(offset)
        });
        let sums = self.sums.iter().zip(starts);
        sums.filter_map(|(sum, start)| sum.bucket(start)).collect()
    }

    fn keep(&mut self, count: usize, found: impl Iterator<Item = Found>) {
        if let Some(points) = &mut self.points {
            if points.len() + count > self.few {
                self.points = None;
            } else {
                points.extend(found);
            }
        }
    }
}

impl Visitor for Adder {
    fn goes_on(&mut self, _from_us: i64) -> bool {
        true
    }

    fn value(&mut self, found: Found) {
        let time = found.key.time;
        if let Some(sum) = self.sum(time) {
            sum.add(&[found.value], found.flag);
        }
        self.sight.valued.add(Run {
            from: time,
            to: time,
            interval_us: found.interval_us,
        });
        self.keep(1, std::iter::once(found));
    }

    fn values(&mut self, stretch: &Stretch<'_>) {
        let (mut times, mut values) = (stretch.times, stretch.values);
        while let Some(first) = times.first() {
            let end = self.bucket_of(*first).2;
            let inside = match times.last() {
                Some(last) if *last < end => times.len(),
                _ => times.partition_point(|time| *time < end).max(1),
            };
            let (now, later) = values.split_at_checked(inside).unwrap_or((values, &[]));
            if let Some(sum) = self.sum(*first) {
                sum.add(now, stretch.flag);
            }
            times = times.get(inside..).unwrap_or_default();
            values = later;
        }
        self.sight
            .valued
            .add_times(stretch.times, stretch.interval_us);
        self.keep(stretch.values.len(), stretch.each());
    }

    fn absent(&mut self, reason: GapReason, run: Run) {
        self.damaged += u64::from(reason == GapReason::Damaged);
        self.sight.add_absent(reason, run);
    }
}

impl Rolled for Adder {
    fn bucket(&mut self, bucket: &cold::Bucket) {
        if let Some(sum) = self.sum(bucket.start) {
            sum.merge(bucket);
        }
        // What stands for its points is not the points.
        self.points = None;
    }

    fn valued(&mut self, run: Run) {
        self.sight.valued.add(run);
    }
}
