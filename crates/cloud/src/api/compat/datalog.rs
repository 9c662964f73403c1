//! Points by the other API's rules: at most 25 elements and 180 days, both ends included, times in seconds, no paging.
//!
//! Owns how its query is read: leniently where its clients are careless, never beyond the limits. The answer is a stream,
//! so a long one holds no memory; one that breaks off is no JSON.

use std::collections::{BTreeMap, VecDeque};

use axum::body::Body;
use bytes::Bytes;
use fieldkeep_protocol::{ElementId, Timestamp};
use fieldkeep_store::{Point, TimeRange};
use futures_util::stream;
use http::StatusCode;
use serde_json::json;
use tokio::sync::watch;

use super::{Answered, json_answer, shapes};
use crate::access::{Read, Session};
use crate::api::App;
use crate::api::door::{LegacySession, Pairs, Raw};
use crate::api::fault::projects;
use crate::api::problem::{Code, Problem};
use crate::api::streams::Place;
use crate::projects::LegacyObject;
use crate::series::{Position, SeriesError};

const ELEMENTS: usize = 25;
const SPAN_US: i64 = 180 * 24 * 3_600 * 1_000_000;
/// Points that are read at once.
const PAGE: usize = 5_000;

struct Asked {
    elements: Vec<String>,
    range: TimeRange,
}

impl Asked {
    fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let given = |name: &str| {
            let pair = pairs.iter().find(|(known, _)| known == name);
            pair.map(|(_, value)| value.as_str())
        };
        let wrong = |text: &str| Problem::new(Code::Invalid).detail(text);
        let mut elements: Vec<String> = Vec::new();
        for id in given("elements").unwrap_or_default().split(';') {
            let id = id.trim();
            if !id.is_empty() && !elements.iter().any(|known| known == id) {
                elements.push(id.to_owned());
            }
        }
        if elements.is_empty() {
            return Err(wrong("elements is missing: ids with ; between them"));
        }
        if elements.len() > ELEMENTS {
            return Err(wrong("at most 25 elements at once"));
        }
        let time = |name| given(name).and_then(instant);
        let (Some(from), Some(to)) = (time("from_time"), time("to_time")) else {
            return Err(wrong("from_time and to_time must be Unix seconds"));
        };
        if from > to {
            return Err(wrong("to_time must not be before from_time"));
        }
        if to.as_micros().saturating_sub(from.as_micros()) > SPAN_US {
            return Err(wrong("the period cannot be more than 180 days"));
        }
        // Both ends are included there.
        let to = Timestamp::from_micros(to.as_micros().saturating_add(1));
        Ok(Self {
            elements,
            range: TimeRange { from, to },
        })
    }
}

/// Unix seconds, whole, with decimals or with an exponent whose plus became a space on the way.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let text = text.replace("e ", "e+").replace("E ", "e+");
    let seconds: f64 = text.parse().ok()?;
    let us = (seconds * 1_000_000.0).round();
    // Some thousand years around 1970.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (us.abs() < 1e17).then(|| Timestamp::from_micros(us as i64))
}

/// Points of elements.
pub(super) async fn read(
    LegacySession(session): LegacySession,
    app: App,
    Pairs(pairs): Pairs,
) -> Answered {
    let asked = Asked::read(&pairs)?;
    let grant = session.grant();
    let ids = app.projects.legacy_ids(&grant).await.map_err(projects)?;
    let known = app.projects.elements(&grant).await.map_err(projects)?;
    let mut by_name: BTreeMap<String, ElementId> = BTreeMap::new();
    for element in &known {
        by_name.insert(element.id.to_string(), element.id);
        by_name.insert(ids.name(LegacyObject::Element(element.id)), element.id);
    }
    // What is not there is absent from the answer, as what has no points may be.
    let wanted: VecDeque<(String, ElementId)> = asked
        .elements
        .into_iter()
        .filter_map(|name| by_name.get(&name).map(|id| (name, *id)))
        .collect();
    if wanted.is_empty() {
        return Err(Problem::new(Code::NotFound));
    }
    let place = app.exports().enter(session.project()).ok_or_else(|| {
        Problem::new(Code::RateLimited)
            .detail("too many exports are running")
            .retry_after(30)
    })?;
    let reading = Reading {
        stopping: app.stopping.clone(),
        app,
        session,
        range: asked.range,
        wanted,
        at: At::Begin,
        _place: place,
    };
    let mut response = json_answer(StatusCode::OK, &json!({}));
    *response.body_mut() = Body::from_stream(stream::unfold(reading, |mut reading| async move {
        reading.next().await.map(|piece| (piece, reading))
    }));
    Ok(Raw::new(response))
}

/// Where the answer is.
enum At {
    Begin,
    /// Inside an element's points; whether some are written already.
    Inside(ElementId, Option<Position>, bool),
    /// Between two elements.
    Between,
    End,
}

struct Reading {
    app: App,
    session: Session<Read>,
    range: TimeRange,
    wanted: VecDeque<(String, ElementId)>,
    at: At,
    stopping: watch::Receiver<bool>,
    _place: Place,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, SeriesError>> {
        let mut text = String::new();
        match std::mem::replace(&mut self.at, At::End) {
            At::End => return None,
            At::Begin => {
                text.push_str("{\"status\":\"ok\",\"payload\":{");
                self.begin(&mut text);
            }
            At::Between => self.begin(&mut text),
            At::Inside(element, position, some) => {
                if *self.stopping.borrow() {
                    return Some(Err(ended()));
                }
                // Access may end while a long answer is read.
                if let Err(denied) = self.app.access.still_valid(&self.session).await {
                    return Some(Err(SeriesError::Ended(denied)));
                }
                let grant = self.session.grant();
                let series = &self.app.series;
                let page = series.scan(&grant, element, self.range, position, PAGE);
                let page = match Box::pin(page).await {
                    Ok(page) => page,
                    Err(error) => return Some(Err(error)),
                };
                let some = write(&mut text, &page.points, some);
                match page.next {
                    Some(next) => self.at = At::Inside(element, Some(next), some),
                    None => {
                        text.push(']');
                        self.at = At::Between;
                    }
                }
            }
        }
        Some(Ok(Bytes::from(text)))
    }

    fn begin(&mut self, text: &mut String) {
        let Some((name, element)) = self.wanted.pop_front() else {
            text.push_str("}}");
            return;
        };
        if !text.ends_with('{') {
            text.push(',');
        }
        // An id has no letter that JSON would write otherwise.
        text.push_str(&format!("\"{name}\":["));
        self.at = At::Inside(element, None, false);
    }
}

fn ended() -> SeriesError {
    SeriesError::Ended(crate::access::Denied::Unauthenticated)
}

/// Appends points; whether there are some by now.
fn write(text: &mut String, points: &[Point], mut some: bool) -> bool {
    for point in points.iter().filter(|point| point.value.is_finite()) {
        if some {
            text.push(',');
        }
        some = true;
        let shown = json!({ "t": shapes::seconds(point.time), "v": point.value });
        text.push_str(&shown.to_string());
    }
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Asked, Problem> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Asked::read(&pairs)
    }

    #[test]
    fn times_as_clients_write_them() {
        let us = |text: &str| instant(text).map(Timestamp::as_micros);
        assert_eq!(us("1720961617"), Some(1_720_961_617_000_000));
        assert_eq!(us("1720961617.4103"), Some(1_720_961_617_410_300));
        for exponent in ["1.721e+09", "1.721e 09", "1.721e9", "1.721E+09"] {
            assert_eq!(us(exponent), Some(1_721_000_000_000_000), "{exponent}");
        }
        for bad in ["", "soon", "NaN", "inf", "1e300", "1720961617s"] {
            assert_eq!(us(bad), None, "{bad}");
        }
    }

    #[test]
    fn limits_are_told_in_words() {
        let times = [("from_time", "1000"), ("to_time", "2000")];
        let with = |elements: &str| asked(&[("elements", elements), times[0], times[1]]);
        let good = with("a;b;;a").unwrap();
        assert_eq!(good.elements, ["a", "b"]);
        assert_eq!(
            good.range.to.as_micros(),
            2_000_000_001,
            "the end is included"
        );
        let many: Vec<String> = (0..26).map(|n| n.to_string()).collect();
        for (refused, word) in [
            (with(""), "missing"),
            (with(&many.join(";")), "25"),
            (asked(&[("elements", "a"), times[0]]), "Unix seconds"),
            (
                asked(&[("elements", "a"), ("from_time", "2"), ("to_time", "1")]),
                "before",
            ),
            (
                asked(&[
                    ("elements", "a"),
                    ("from_time", "0"),
                    ("to_time", "15552001"),
                ]),
                "180 days",
            ),
        ] {
            let problem = refused.err().unwrap();
            assert!(
                problem.words().contains(word),
                "{word}: {}",
                problem.words()
            );
        }
    }

    #[test]
    fn points_are_never_null() {
        use fieldkeep_protocol::Flag;
        let point = |us, value| Point {
            time: Timestamp::from_micros(us),
            value,
            flag: Flag::Pass,
        };
        let mut text = String::new();
        let points = [
            point(100_000, 3.21),
            point(200_000, f64::NAN),
            point(300_000, 1.0),
        ];
        assert!(write(&mut text, &points, false));
        assert_eq!(text, "{\"t\":0.1,\"v\":3.21},{\"t\":0.3,\"v\":1.0}");
        assert!(!write(&mut text, &points[1..2], false));
    }
}
