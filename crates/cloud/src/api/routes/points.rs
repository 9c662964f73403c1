//! Measurements: raw points, honest buckets, latest values.
//!
//! Owns the columnar form and the limits of one call. Does not decide what an element is read from: `series` does.

use fieldkeep_protocol::ElementId;
use fieldkeep_store::{Bucket, Gap, GapReason, Point, TimeRange};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Read, Session};
use crate::api::App;
use crate::api::door::{Given, Holds, Json, Params, Query, QueryParam};
use crate::api::fault::series;
use crate::api::id::{ElementRef, Id, Time};
use crate::api::page;
use crate::api::problem::{Faults, Problem};
use crate::series::{Drawn, Position};

/// Elements of one call for points.
const ELEMENTS_MAX: usize = 32;
/// Elements of one call for latest values.
pub(super) const LATEST_MAX: usize = 500;
/// Buckets of one element.
const BUCKETS_MAX: usize = 4_000;
/// Raw points of one call, all elements together.
const POINTS_MAX: usize = 100_000;
/// The same where the client does not say.
const POINTS_DEFAULT: usize = 10_000;

/// What is asked for.
pub(super) struct Wanted {
    elements: Vec<ElementId>,
    range: TimeRange,
    how: How,
}

enum How {
    Buckets(usize),
    Raw {
        limit: usize,
        after: Option<Reached>,
    },
}

/// Where a page of raw points ended.
struct Reached {
    /// The element's place in the list.
    element: usize,
    /// Inside it; none at its beginning.
    position: Option<Position>,
}

impl Reached {
    fn cursor(&self) -> String {
        let position = self.position.map(|position| position.to_string());
        page::encode(&(self.element, position))
    }
}

impl Params for Wanted {
    const ALL: &'static [QueryParam] = &[
        QueryParam {
            name: "element",
            required: true,
            holds: Holds::Elements(ELEMENTS_MAX),
            says: "Elements, separated by commas.",
        },
        QueryParam {
            name: "from",
            required: true,
            holds: Holds::Time,
            says: "The first instant.",
        },
        QueryParam {
            name: "to",
            required: true,
            holds: Holds::Time,
            says: "The end, not included.",
        },
        QueryParam {
            name: "buckets",
            required: false,
            holds: Holds::Number(1, BUCKETS_MAX),
            says: "At most so many buckets an element; raw points where there are no more than that.",
        },
        QueryParam {
            name: "limit",
            required: false,
            holds: Holds::Number(1, POINTS_MAX),
            says: "At most so many raw points, all elements together.",
        },
        QueryParam {
            name: "cursor",
            required: false,
            holds: Holds::Text,
            says: "Where the page before ended.",
        },
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let elements = given.ids("element", ELEMENTS_MAX, faults);
        let from = given.time("from", faults);
        let to = given.time("to", faults);
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            faults.add("to", "is not after from");
        }
        let buckets = given.number("buckets", 1, BUCKETS_MAX, faults);
        let limit = given.number("limit", 1, POINTS_MAX, faults);
        let after =
            given
                .cursor::<(usize, Option<String>)>(faults)
                .and_then(|(element, position)| {
                    let position = position.map(|text| text.parse()).transpose();
                    let known = elements.as_ref().is_none_or(|all| element < all.len());
                    match position {
                        Ok(position) if known => Some(Reached { element, position }),
                        _ => {
                            faults.add("cursor", "is not a cursor of this list");
                            None
                        }
                    }
                });
        if buckets.is_some() {
            for name in ["limit", "cursor"] {
                if given.text(name).is_some() {
                    faults.add(name, "goes with raw points, not with buckets");
                }
            }
        }
        let how = match buckets {
            Some(buckets) => How::Buckets(buckets),
            None => How::Raw {
                limit: limit.unwrap_or(POINTS_DEFAULT),
                after,
            },
        };
        Some(Self {
            elements: elements?,
            range: TimeRange {
                from: from?,
                to: to?,
            },
            how,
        })
    }
}

/// Measurements of some elements over a range.
#[derive(Serialize, ToSchema)]
pub(super) struct Points {
    from: Time,
    to: Time,
    items: Vec<ElementPoints>,
    /// Raw points only: give it back as `cursor` for the rest.
    next_cursor: Option<String>,
}

/// Measurements of one element.
#[derive(Serialize, ToSchema)]
pub(super) struct ElementPoints {
    element: ElementRef,
    /// Are these the points themselves, or buckets of them?
    raw: bool,
    /// The width of a bucket.
    width_us: Option<i64>,
    /// How many points are in this answer, or in its buckets.
    count: u64,
    points: Option<PointColumns>,
    buckets: Option<BucketColumns>,
    /// Stretches without a value, with the reason.
    gaps: Vec<GapRange>,
}

/// Points as columns of one length.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct PointColumns {
    pub(super) time_us: Vec<i64>,
    pub(super) value: Vec<f64>,
    /// QARTOD: 1 pass, 2 not evaluated, 3 suspect, 4 fail.
    pub(super) flag: Vec<u8>,
}

/// Buckets as columns of one length. Empty buckets are left out.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct BucketColumns {
    /// The beginning of each bucket.
    time_us: Vec<i64>,
    min: Vec<f64>,
    mean: Vec<f64>,
    max: Vec<f64>,
    count: Vec<u64>,
    /// The worst flag inside.
    flag: Vec<u8>,
}

/// A stretch without a value.
#[derive(Serialize, ToSchema)]
pub(super) struct GapRange {
    from: Time,
    to: Time,
    reason: GapWord,
}

/// Why there is no value.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum GapWord {
    /// Nothing arrived; it may still come.
    NoRecords,
    /// The sensor gave none.
    SensorError,
    /// The device did not sample.
    NotSampled,
    /// The device lost it.
    Dropped,
    /// It arrived, but cannot be read yet: its time is not trusted, or its channel table is missing.
    Held,
    /// It is stored, but its bytes do not authenticate.
    Damaged,
}

impl From<Gap> for GapRange {
    fn from(gap: Gap) -> Self {
        Self {
            from: gap.from.into(),
            to: gap.to.into(),
            reason: match gap.reason {
                GapReason::NoRecords => GapWord::NoRecords,
                GapReason::SensorError => GapWord::SensorError,
                GapReason::NotSampled => GapWord::NotSampled,
                GapReason::Dropped => GapWord::Dropped,
                GapReason::Held => GapWord::Held,
                GapReason::Damaged => GapWord::Damaged,
            },
        }
    }
}

impl FromIterator<Point> for PointColumns {
    fn from_iter<I: IntoIterator<Item = Point>>(points: I) -> Self {
        let mut columns = Self::default();
        for point in points {
            columns.time_us.push(point.time.as_micros());
            columns.value.push(point.value);
            columns.flag.push(point.flag.code());
        }
        columns
    }
}

impl FromIterator<Bucket> for BucketColumns {
    fn from_iter<I: IntoIterator<Item = Bucket>>(buckets: I) -> Self {
        let mut columns = Self::default();
        for bucket in buckets {
            columns.time_us.push(bucket.start.as_micros());
            columns.min.push(bucket.min);
            columns.mean.push(bucket.mean);
            columns.max.push(bucket.max);
            columns.count.push(bucket.count);
            columns.flag.push(bucket.flag.code());
        }
        columns
    }
}

/// Points or buckets of several elements.
pub(super) async fn read(
    session: Session<Read>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Points>, Problem> {
    let mut answer = Points {
        from: wanted.range.from.into(),
        to: wanted.range.to.into(),
        items: Vec::with_capacity(wanted.elements.len()),
        next_cursor: None,
    };
    match wanted.how {
        How::Buckets(count) => {
            for element in wanted.elements {
                let drawn = app
                    .series
                    .draw(&session.grant(), element, wanted.range, count)
                    .await
                    .map_err(series)?;
                answer.items.push(show_drawn(element, drawn));
            }
        }
        How::Raw { limit, after } => {
            let from = after.unwrap_or(Reached {
                element: 0,
                position: None,
            });
            raw_page(
                &session,
                &app,
                &wanted.elements,
                wanted.range,
                limit,
                from,
                &mut answer,
            )
            .await?;
        }
    }
    Ok(Json(answer))
}

async fn raw_page(
    session: &Session<Read>,
    app: &App,
    elements: &[ElementId],
    range: TimeRange,
    limit: usize,
    from: Reached,
    answer: &mut Points,
) -> Result<(), Problem> {
    let mut left = limit;
    let mut position = from.position;
    for (at, element) in elements.iter().enumerate().skip(from.element) {
        if left == 0 {
            let reached = Reached {
                element: at,
                position: None,
            };
            answer.next_cursor = Some(reached.cursor());
            return Ok(());
        }
        let page = app
            .series
            .scan(&session.grant(), *element, range, position.take(), left)
            .await
            .map_err(series)?;
        left = left.saturating_sub(page.points.len());
        answer
            .items
            .push(show_points(*element, page.points, page.gaps));
        if let Some(next) = page.next {
            let reached = Reached {
                element: at,
                position: Some(next),
            };
            answer.next_cursor = Some(reached.cursor());
            return Ok(());
        }
    }
    Ok(())
}

fn show_drawn(element: ElementId, drawn: Drawn) -> ElementPoints {
    match drawn {
        Drawn::Points { points, gaps } => show_points(element, points, gaps),
        Drawn::Buckets {
            width_us,
            buckets,
            gaps,
        } => ElementPoints {
            element: Id(element),
            raw: false,
            width_us: Some(width_us),
            count: buckets.iter().map(|bucket| bucket.count).sum(),
            points: None,
            buckets: Some(buckets.into_iter().collect()),
            gaps: gaps.into_iter().map(GapRange::from).collect(),
        },
    }
}

fn show_points(element: ElementId, points: Vec<Point>, gaps: Vec<Gap>) -> ElementPoints {
    ElementPoints {
        element: Id(element),
        raw: true,
        width_us: None,
        count: points.len() as u64,
        points: Some(points.into_iter().collect()),
        buckets: None,
        gaps: gaps.into_iter().map(GapRange::from).collect(),
    }
}

/// Of which elements the latest value is asked.
pub(super) struct Newest(Option<Vec<ElementId>>);

impl Params for Newest {
    const ALL: &'static [QueryParam] = &[QueryParam {
        name: "element",
        required: false,
        holds: Holds::Elements(LATEST_MAX),
        says: "Elements, separated by commas; all of the project where it is left out.",
    }];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        Some(Self(given.ids("element", LATEST_MAX, faults)))
    }
}

/// Latest values.
#[derive(Serialize, ToSchema)]
pub(super) struct Latest {
    items: Vec<LatestValue>,
}

/// The newest value of an element. Elements without any are left out.
#[derive(Serialize, ToSchema)]
pub(super) struct LatestValue {
    element: ElementRef,
    time: Time,
    value: f64,
    /// QARTOD: 1 pass, 2 not evaluated, 3 suspect, 4 fail.
    flag: u8,
}

/// The newest value, as part of an element.
#[derive(Serialize, ToSchema)]
pub(super) struct NewestValue {
    time: Time,
    value: f64,
    /// QARTOD: 1 pass, 2 not evaluated, 3 suspect, 4 fail.
    flag: u8,
}

impl From<Point> for NewestValue {
    fn from(point: Point) -> Self {
        Self {
            time: point.time.into(),
            value: point.value,
            flag: point.flag.code(),
        }
    }
}

/// The newest value of some elements, or of all.
pub(super) async fn latest(
    session: Session<Read>,
    app: App,
    Query(Newest(elements)): Query<Newest>,
) -> Result<Json<Latest>, Problem> {
    let grant = session.grant();
    let elements = match elements {
        Some(elements) => elements,
        None => super::elements::all(&app, &grant).await?,
    };
    if elements.len() > LATEST_MAX {
        return Err(Problem::field(
            "element",
            format!("the project has more than {LATEST_MAX} elements: name those you want"),
        ));
    }
    let mut items = Vec::with_capacity(elements.len());
    for element in elements {
        let newest = app.series.latest(&grant, element).await.map_err(series)?;
        items.extend(newest.map(|point| LatestValue {
            element: Id(element),
            time: point.time.into(),
            value: point.value,
            flag: point.flag.code(),
        }));
    }
    Ok(Json(Latest { items }))
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::{Flag, Timestamp};

    use super::*;

    #[test]
    fn columns_keep_their_length() {
        let columns: PointColumns = [(1, 2.0), (2, 3.0)]
            .into_iter()
            .map(|(time, value)| Point {
                time: Timestamp::from_micros(time),
                value,
                flag: Flag::Pass,
            })
            .collect();
        assert_eq!(columns.time_us, [1, 2]);
        assert_eq!(columns.value, [2.0, 3.0]);
        assert_eq!(columns.flag, [1, 1]);
    }
}
