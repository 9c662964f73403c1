//! Measurements: raw points, honest buckets, latest values.
//!
//! Owns the columnar form and the limits of one call. Does not decide what an element is read from: `series` does.

use axum::response::Response;
use fieldkeep_protocol::{ElementId, Timestamp};
use fieldkeep_store::{Bucket, Gap, GapReason, Page, Point, TimeRange};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Read, Session};
use crate::api::App;
use crate::api::door::{
    Either, Given, Headers, Holds, Json, Params, Query, QueryParam, json_parts,
};
use crate::api::fault::{in_time, series};
use crate::api::formats::Format;
use crate::api::id::{ElementRef, Id, Time};
use crate::api::parts::Parts;
use crate::api::problem::{Faults, Problem};
use crate::series::{Drawn, Position, SeriesError};

use super::tables;

mod wanted;

use wanted::{After, How, Reached};
pub(super) use wanted::{ELEMENTS_MAX, KNOWN_AT, SPAN_MAX_US, Wanted, range, rows_cursor};

/// Elements of one call for latest values.
pub(super) const LATEST_MAX: usize = 500;

/// Measurements of some elements over a range.
#[derive(Serialize, ToSchema)]
pub(super) struct Points {
    from: Time,
    to: Time,
    items: Vec<ElementPoints>,
    /// Raw points only: give it back as `cursor` for the rest. Null: these are all.
    next_cursor: Option<String>,
    /// What changes from here on is told by `changes?since=`.
    revision: String,
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
    Headers(headers): Headers,
) -> Result<Either<Points, tables::Tables>, Problem> {
    let format = wanted.format.or_else(|| Format::accepted(&headers));
    let format = format.unwrap_or(Format::Json);
    if format == Format::Json {
        let (elements, range) = (wanted.elements, wanted.range);
        return match wanted.how {
            How::Buckets(count) => {
                let drawn = buckets(&session, &app, &elements, range, count);
                in_time(Box::pin(drawn)).await.map(Either::raw)
            }
            How::Raw {
                limit,
                after,
                known_at,
            } => {
                let pages = Pages {
                    session: &session,
                    app: &app,
                    elements: &elements,
                    range,
                    known_at,
                };
                let points = in_time(Box::pin(pages.columns(limit, after))).await?;
                Ok(Either::json(&points))
            }
        };
    }
    let asked = tables::Asked {
        elements: wanted.elements,
        range: wanted.range,
        format,
    };
    let response = match wanted.how {
        How::Buckets(count) => {
            in_time(Box::pin(tables::buckets(&session, &app, asked, count))).await
        }
        How::Raw {
            limit,
            after,
            known_at,
        } => {
            let from = match after {
                None => None,
                Some(After::Rows(time)) => Some(time),
                Some(After::Columns(_)) => {
                    return Err(Problem::field("cursor", "is of another format"));
                }
            };
            let page = tables::page(session, &app, asked, (from, limit), known_at);
            in_time(Box::pin(page)).await
        }
    };
    response.map(Either::raw)
}

/// An answer without items. To be asked before the data: what changes meanwhile is told again.
async fn begin(session: &Session<Read>, app: &App, range: TimeRange) -> Result<Points, Problem> {
    let revision = app.series.revision(&session.grant()).await;
    Ok(Points {
        from: range.from.into(),
        to: range.to.into(),
        items: Vec::new(),
        next_cursor: None,
        revision: revision.map_err(series)?.to_string(),
    })
}

/// Buckets as JSON. Each group of elements is written by the task that read it.
async fn buckets(
    session: &Session<Read>,
    app: &App,
    elements: &[ElementId],
    range: TimeRange,
    count: usize,
) -> Result<Response, Problem> {
    let answer = begin(session, app, range).await?;
    let grant = session.grant();
    let groups = app
        .series
        .draw(&grant, elements, range, count, written)
        .await
        .map_err(series)?;
    let unwritten =
        |error: serde_json::Error| Problem::internal("an answer could not be written", &error);
    let groups = groups.into_iter().collect::<Result<Vec<_>, _>>();
    let parts = put_together(&answer, groups.map_err(unwritten)?).map_err(unwritten)?;
    Ok(json_parts(parts))
}

/// Some items of an answer, with commas between them.
fn written(elements: &[ElementId], drawn: Vec<Drawn>) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    for (element, drawn) in elements.iter().zip(drawn) {
        if !out.is_empty() {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, &show_drawn(*element, drawn))?;
    }
    Ok(out)
}

/// An answer without items around items that were written already.
fn put_together(answer: &Points, groups: Vec<Vec<u8>>) -> Result<Parts, serde_json::Error> {
    const ITEMS: &str = "\"items\":[";
    let whole = serde_json::to_string(answer)?;
    // None of what stands before is a text that could hold it.
    let at = whole.find(ITEMS).map_or(0, |at| at + ITEMS.len());
    let (head, tail) = whole.split_at(at);
    let mut parts = Parts::default();
    parts.push(head.to_owned());
    for (place, group) in groups.into_iter().enumerate() {
        if place > 0 {
            parts.push(",");
        }
        parts.push(group);
    }
    parts.push(tail.to_owned());
    Ok(parts)
}

/// Raw points, element after element.
struct Pages<'a> {
    session: &'a Session<Read>,
    app: &'a App,
    elements: &'a [ElementId],
    range: TimeRange,
    known_at: Option<Timestamp>,
}

impl Pages<'_> {
    async fn columns(&self, limit: usize, after: Option<After>) -> Result<Points, Problem> {
        let mut answer = begin(self.session, self.app, self.range).await?;
        let from = match after {
            None => Reached {
                element: 0,
                position: None,
            },
            Some(After::Columns(reached)) => reached,
            Some(After::Rows(_)) => {
                return Err(Problem::field("cursor", "is of another format"));
            }
        };
        self.read(limit, from, &mut answer).await?;
        Ok(answer)
    }

    async fn read(&self, limit: usize, from: Reached, answer: &mut Points) -> Result<(), Problem> {
        let mut left = limit;
        let mut position = from.position;
        for (at, element) in self.elements.iter().enumerate().skip(from.element) {
            if left == 0 {
                let reached = Reached {
                    element: at,
                    position: None,
                };
                answer.next_cursor = Some(reached.cursor());
                return Ok(());
            }
            let page = self
                .one(*element, position.take(), left)
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

    async fn one(
        &self,
        element: ElementId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, SeriesError> {
        let (series, grant) = (&self.app.series, self.session.grant());
        match self.known_at {
            None => series.scan(&grant, element, self.range, after, limit).await,
            Some(time) => {
                let place = (after, limit);
                series
                    .scan_known(&grant, element, self.range, time, place)
                    .await
            }
        }
    }
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
    /// What changes from here on is told by `changes?since=`.
    revision: String,
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
    // Before the data: what changes meanwhile is told again.
    let revision = app.series.revision(&grant).await.map_err(series)?;
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
    let newest = app.series.latest_of(&grant, &elements).await;
    for (element, newest) in elements.into_iter().zip(newest.map_err(series)?) {
        items.extend(newest.map(|point| LatestValue {
            element: Id(element),
            time: point.time.into(),
            value: point.value,
            flag: point.flag.code(),
        }));
    }
    Ok(Json(Latest {
        items,
        revision: revision.to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::Flag;

    use super::*;

    #[tokio::test]
    async fn items_that_were_written_apart_are_those_of_the_answer() {
        use http_body_util::BodyExt as _;

        let time = Timestamp::from_micros;
        let bucket = |start: i64, mean: f64| Bucket {
            start: time(start),
            min: -0.1,
            mean,
            max: 1e300,
            count: 7,
            flag: Flag::Suspect,
        };
        let gap = Gap {
            from: time(5),
            to: time(9),
            reason: GapReason::Held,
        };
        let drawn = || {
            vec![
                Drawn::Buckets {
                    width_us: 10,
                    buckets: vec![bucket(-10, 0.1 + 0.2), bucket(0, f64::NAN)],
                    gaps: vec![gap],
                },
                Drawn::Points {
                    points: Vec::new(),
                    gaps: Vec::new(),
                },
            ]
        };
        let ids = [1, 2, 3, 4].map(|byte| ElementId::from_bytes([byte; 16]));
        let answer = |items| Points {
            from: time(0).into(),
            to: time(1).into(),
            items,
            next_cursor: None,
            revision: "1-2".to_owned(),
        };
        let groups: Vec<&[ElementId]> = vec![&ids[..2], &ids[2..]];
        for count in 0..=2 {
            let groups = groups.get(..count).unwrap();
            let shown = groups.iter().flat_map(|ids| ids.iter().zip(drawn()));
            let items = shown.map(|(id, drawn)| show_drawn(*id, drawn)).collect();
            let apart = groups.iter().map(|ids| written(ids, drawn()).unwrap());
            let parts = put_together(&answer(Vec::new()), apart.collect()).unwrap();
            let body = parts.collect().await.unwrap().to_bytes();
            assert_eq!(body, serde_json::to_vec(&answer(items)).unwrap());
        }
    }

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
