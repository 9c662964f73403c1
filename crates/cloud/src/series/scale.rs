//! Values as their element's unit has them: what was rescaled is converted here, on its way to a reader.
//!
//! Owns the conversion of points and buckets. A bucket in which the conversion changes is read again part by part, so
//! that its minimum, mean and maximum are those of the converted values. Changes nothing that is stored.

use fieldkeep_protocol::{ElementId, ProjectId, Timestamp};
use fieldkeep_store::{Bucket, Point, Source, TimeRange};

use super::{Series, SeriesError};
use crate::access::{Grant, Read};
use crate::projects::Scaling;

impl Series {
    /// How the values of some elements are read, in their order.
    pub(super) async fn scalings(
        &self,
        grant: &Grant<'_, Read>,
        elements: &[ElementId],
    ) -> Result<Vec<Scaling>, SeriesError> {
        let scalings = self.projects.scalings(grant, elements).await;
        scalings.map_err(SeriesError::Projects)
    }

    /// Converts the buckets of an element in a range.
    pub(super) async fn rescale(
        &self,
        project: ProjectId,
        (sources, scaling): (&[Source], &Scaling),
        (range, width_us): (TimeRange, i64),
        buckets: &mut [Bucket],
    ) -> Result<(), SeriesError> {
        for bucket in buckets {
            let end = bucket.start.as_micros().saturating_add(width_us);
            let part = TimeRange {
                from: bucket.start.max(range.from),
                to: Timestamp::from_micros(end).min(range.to),
            };
            let edges = scaling.edges(part.from, part.to);
            if edges.is_empty() {
                *bucket = converted(*bucket, scaling, part.from);
                continue;
            }
            let mut whole: Option<Bucket> = None;
            let mut from = part.from;
            for to in edges.into_iter().chain([part.to]) {
                let piece = TimeRange { from, to };
                let read = self
                    .store
                    .buckets(project, sources, piece, width_us)
                    .await?;
                for found in read.buckets {
                    let found = converted(found, scaling, from);
                    whole = Some(whole.map_or(found, |whole| joined(whole, found)));
                }
                from = to;
            }
            if let Some(whole) = whole {
                *bucket = Bucket {
                    start: bucket.start,
                    ..whole
                };
            }
        }
        Ok(())
    }
}

/// Converts points in place.
pub(super) fn points(scaling: &Scaling, points: &mut [Point]) {
    if scaling.is_plain() {
        return;
    }
    for point in points {
        point.value = scaling.value(point.time, point.value);
    }
}

/// Every conversion is linear, so a bucket is converted by its three figures; a negative factor turns it over.
fn converted(bucket: Bucket, scaling: &Scaling, at: Timestamp) -> Bucket {
    let [one, other] = [bucket.min, bucket.max].map(|value| scaling.value(at, value));
    Bucket {
        min: one.min(other),
        mean: scaling.value(at, bucket.mean),
        max: one.max(other),
        ..bucket
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of points are far below 2^53"
)]
fn joined(one: Bucket, other: Bucket) -> Bucket {
    let count = one.count + other.count;
    let share = other.count as f64 / count.max(1) as f64;
    Bucket {
        min: one.min.min(other.min),
        mean: (other.mean - one.mean).mul_add(share, one.mean),
        max: one.max.max(other.max),
        count,
        flag: one.flag.max(other.flag),
        ..one
    }
}
