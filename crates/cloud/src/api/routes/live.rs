//! New points as they arrive, as server-sent events.
//!
//! Owns the framing: the last event of each arrival carries its id, so that a client that resumes loses nothing.
//! Which points are seen, and when the stream ends, is up to `series`.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::IntoResponse as _;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use super::points::PointColumns;
use crate::access::{Read, Session};
use crate::api::App;
use crate::api::door::{Headers, Raw, RawKind};
use crate::api::id::{ElementRef, Id};
use crate::api::problem::{Code, Problem};
use crate::series::Fresh;

/// How often a silent stream says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The stream in the document.
pub(super) struct Events;

impl RawKind for Events {
    const MEDIA_TYPE: &'static str = "text/event-stream";
    const SAYS: &'static str = "Events `points` with data {element, time_us: [], value: [], flag: []}; `id` is a \
         position for Last-Event-ID; a comment every 15 s.";
}

#[derive(Serialize)]
struct Data {
    element: ElementRef,
    #[serde(flatten)]
    points: PointColumns,
}

/// New points of everything that I may read.
pub(super) async fn stream(
    session: Session<Read>,
    app: App,
    Headers(headers): Headers,
) -> Result<Raw<Events>, Problem> {
    let after = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Problem::field("Last-Event-ID", "is not an id of this stream"))?,
        ),
    };
    let place = app.streams().enter(session.project()).ok_or_else(|| {
        Problem::new(Code::RateLimited)
            .detail("too many streams are open")
            .retry_after(30)
    })?;
    let mut stopping = app.stopping.clone();
    let stopped = async move {
        // An error means that the server is gone already.
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let live = app
        .series
        .live(session, after)
        .take_until(Box::pin(stopped));
    let events = live.flat_map(move |fresh| {
        // The place is given back when the stream ends, whoever ends it.
        let _held = &place;
        futures_util::stream::iter(frames(fresh).into_iter().map(Ok::<_, Infallible>))
    });
    let mut response = Sse::new(events)
        .keep_alive(KeepAlive::new().interval(HEARTBEAT).text("heartbeat"))
        .into_response();
    // A proxy that collects the answer would hold back what is new.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    Ok(Raw::new(response))
}

/// One arrival as events.
fn frames(fresh: Fresh) -> Vec<Event> {
    let last = fresh.elements.len().saturating_sub(1);
    let sequence = fresh.sequence;
    fresh
        .elements
        .into_iter()
        .enumerate()
        .filter_map(|(at, (element, points))| {
            let data = Data {
                element: Id(element),
                points: points.into_iter().collect(),
            };
            let mut event = Event::default().event("points");
            if at == last {
                event = event.id(sequence.to_string());
            }
            event.json_data(data).ok()
        })
        .collect()
}
