//! Takes whole buckets of a device from its roll-ups, where they say the same as the points.
//!
//! A bucket is taken if all of it is wanted, cold, and covered by a stored roll-up. Late rows do not matter: they are
//! read beside, and add up. From the roll-ups' runs gaps come out as from points, but for one thing: where a run crosses
//! an edge of what is taken, the last point before the edge is not known. So the edge moves away from it, far enough that
//! a point of the run is read between the two; at the outer ends of an output nothing depends on it.

use crate::cipher::Kind;
use crate::cold::{Bucket, Level, Rollup, Series};
use crate::error::StoreError;
use crate::gaps::{Run, Runs};
use crate::spans::{Span, Spans};
use crate::store::Inner;
use crate::sweep::{Plan, Reader, Swept, Visitor};
use crate::tiers::{Entry, Read};

/// Gets what roll-ups say of one output.
pub(crate) trait Rolled: Visitor {
    /// Points together.
    fn bucket(&mut self, bucket: &Bucket);
    /// A run of values; it may be cut where the points go on.
    fn valued(&mut self, run: Run);
}

impl Reader<'_> {
    /// Gives what roll-ups say, from the coarsest level on, and notes for which times.
    pub(super) async fn roll<V: Rolled>(
        &mut self,
        inner: &Inner,
        plan: &Plan,
        visitors: &mut [V],
    ) -> Result<Swept, StoreError> {
        let mut longest = 0;
        for level in Level::ALL.into_iter().rev() {
            let rows: Vec<Entry> = self
                .tiers
                .rollups
                .iter()
                .filter(|row| row.kind == level as i64)
                .copied()
                .collect();
            for row in rows {
                let times = Spans::one(row.from, row.to).intersect(&self.tiers.cold);
                // What a coarser level left at its edges is not worth another row.
                let rest: Vec<Spans> = (0..self.wanted.targets.len())
                    .map(|target| {
                        let rest = self.unrolled(target, &times);
                        Spans::of(
                            rest.iter()
                                .filter(|(from, to)| to.saturating_sub(*from) >= longest),
                        )
                        .whole(0, level.us())
                    })
                    .collect();
                if rest.iter().all(Spans::is_empty) {
                    continue;
                }
                let rollup = match inner
                    .open_cold(&self.wanted.device, Kind::Rollup, &row)
                    .await?
                {
                    Read::Plain(plain) => Rollup::decode(plain),
                    Read::Damaged => None,
                    Read::Moved => return Ok(Swept::Moved),
                };
                // Without it the points are read.
                let Some(rollup) = rollup else { continue };
                for (place, rest) in rest.iter().enumerate().filter(|(_, rest)| !rest.is_empty()) {
                    let Some(target) = self.wanted.targets.get(place) else {
                        continue;
                    };
                    let series = rollup.channel(&target.channel);
                    let visitor = visitors.get_mut(target.output);
                    if let (Some(series), Some(visitor)) = (series, visitor) {
                        let taken = taken(&series, level, rest, plan.extent(target.output));
                        give(&series, &taken, visitor);
                        if let Some(rolled) = self.rolled.get_mut(place) {
                            *rolled = rolled.union(&taken);
                        }
                    }
                }
            }
            longest = level.us();
            if level as i64 == self.asked.1 && self.complete(inner).await? == Swept::Moved {
                return Ok(Swept::Moved);
            }
        }
        Ok(Swept::Done)
    }
}

/// The times of `rest`, in whole buckets, for which the series stands for the points.
fn taken(series: &Series, level: Level, rest: &Spans, extent: Span) -> Spans {
    let covered = series.covered.iter().map(|window| (window.from, window.to));
    let possible = rest.intersect(&Spans::of(covered)).whole(0, level.us());
    let runs = || {
        series
            .valued
            .iter()
            .chain(series.absent.iter().map(|(_, run)| run))
    };
    let taken = possible.iter().map(|(from, to)| {
        let margin = |edge| runs().filter_map(|run| crossing(run, edge, level)).max();
        let before = if from > extent.0 { margin(from) } else { None };
        let after = if to < extent.1 { margin(to) } else { None };
        (
            from.saturating_add(before.unwrap_or(0)),
            to.saturating_sub(after.unwrap_or(0)),
        )
    });
    Spans::of(taken)
}

/// How much is left to the points on this side of an edge that a run crosses: more than its points lie apart.
fn crossing(run: &Run, edge: i64, level: Level) -> Option<i64> {
    // Where sampling is on events silence means nothing, and no gap depends on where a run ends.
    if run.from >= edge || run.to < edge || run.interval_us == 0 {
        return None;
    }
    let buckets = Runs::new(level.grain_us()).reach(run) / level.us() + 1;
    Some(buckets.saturating_mul(level.us()))
}

fn give(series: &Series, taken: &Spans, visitor: &mut impl Rolled) {
    for (from, to) in taken.iter() {
        let first = series.buckets.partition_point(|bucket| bucket.start < from);
        let end = series.buckets.partition_point(|bucket| bucket.start < to);
        for bucket in series.buckets.get(first..end).unwrap_or_default() {
            visitor.bucket(bucket);
        }
        let cut = |run: &Run| {
            let (from, to) = (run.from.max(from), run.to.min(to.saturating_sub(1)));
            (from <= to).then_some(Run { from, to, ..*run })
        };
        series
            .valued
            .iter()
            .filter_map(cut)
            .for_each(|run| visitor.valued(run));
        for (reason, run) in &series.absent {
            if let Some(run) = cut(run) {
                visitor.absent(*reason, run);
            }
        }
    }
}
