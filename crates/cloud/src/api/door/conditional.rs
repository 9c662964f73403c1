//! Conditional requests: `ETag`, `If-None-Match` on reads, `If-Match` on changes.
//!
//! Owns the tags of JSON answers. The tag of something that can be changed has two parts, `"STEADY.WHOLE"`: the first
//! stands for what people set, the second for the whole answer with the newest value, the state and the like. Reads
//! compare the whole, changes only the steady part, so that a device that reports does not spoil an edit. Promises that
//! of two changes with the same tag one is refused: those with `If-Match` run one after the other.

use aws_lc_rs::digest::{SHA256, digest};
use axum::body::{Body, HttpBody as _};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt as _;

use super::argument::collect;
use super::{Head, Incoming, Row};
use crate::api::App;
use crate::api::problem::{Code, Problem};

/// What the document says of `If-Match`.
pub(in crate::api) const IF_MATCH_SAYS: &str =
    "The ETag of what is to be changed: refused with 412 where somebody has changed it since.";

/// Bytes of a hash that a tag shows: enough that two states never look alike by chance.
const SHOWN: usize = 12;

/// Runs a reading row and answers 304 where the client has what it would get.
pub(super) async fn read(app: App, row: &Row, incoming: Incoming) -> Response {
    let known = texts(&incoming.head.parts.headers, &header::IF_NONE_MATCH);
    let response = (row.serve)(app, incoming).await;
    let (mut response, tag) = tagged(response, row.moving).await;
    let is_known = |tag: &str| {
        known
            .iter()
            .flat_map(|text| entries(text))
            .any(|entry| entry == "*" || entry == tag)
    };
    if tag.is_some_and(|tag| is_known(&tag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    response
}

/// Runs a changing row, with `If-Match` only where nobody has changed the thing since it was read.
pub(super) async fn change(app: App, rows: &[Row], row: &Row, incoming: Incoming) -> Response {
    let wanted = texts(&incoming.head.parts.headers, &header::IF_MATCH);
    let reader = rows.iter().find(|row| row.method == Method::GET);
    let response = if wanted.is_empty() || row.method == Method::POST {
        (row.serve)(app, incoming).await
    } else {
        match matched(app, reader, row, incoming, &wanted).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        }
    };
    match reader {
        Some(reader) if row.method != Method::POST => tagged(response, reader.moving).await.0,
        _ => response,
    }
}

async fn matched(
    app: App,
    reader: Option<&Row>,
    row: &Row,
    incoming: Incoming,
    wanted: &[String],
) -> Result<Response, Problem> {
    let Incoming { head, body } = incoming;
    (row.admit)(&app, &head).await?;
    let reader = reader.ok_or_else(|| {
        Problem::field(
            "If-Match",
            "this address cannot be read, so there is nothing to compare with",
        )
    })?;
    // Read before the lock: a slow sender holds nobody up.
    let body = collect(body).await?;
    let changes = app.clone();
    let _alone = changes.changes().lock().await;
    let asked = Incoming {
        head: asking(&head),
        body: Body::empty(),
    };
    let (current, tag) = tagged((reader.serve)(app.clone(), asked).await, reader.moving).await;
    if current.status() != StatusCode::OK {
        return Ok(current);
    }
    let steady = tag.as_deref().map(steady_part);
    let same = wanted
        .iter()
        .flat_map(|text| entries(text))
        .any(|entry| entry == "*" || Some(steady_part(entry)) == steady);
    if !same {
        return Err(Problem::new(Code::Changed)
            .detail("read it again, and make your change to what is there now"));
    }
    let incoming = Incoming {
        head,
        body: Body::from(body),
    };
    Ok((row.serve)(app, incoming).await)
}

/// The head of a request that reads what another one changes, by the same caller.
fn asking(head: &Head) -> Head {
    let mut parts = head.parts.clone();
    parts.method = Method::GET;
    let path = parts.uri.path().parse();
    // The path of an address is an address.
    if let Ok(uri) = path {
        parts.uri = uri;
    }
    Head {
        parts,
        path: head.path.clone(),
    }
}

/// The answer with its tag, where it is whole JSON; streams, files and refusals have none.
async fn tagged(response: Response, moving: &[&str]) -> (Response, Option<String>) {
    let json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json");
    let whole = response.body().size_hint().exact().is_some();
    if response.status() != StatusCode::OK || !json || !whole {
        return (response, None);
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let problem = Problem::internal("an answer in memory could not be read", &error);
            return (problem.into_response(), None);
        }
    };
    let tag = tag(&bytes, moving);
    if let Ok(value) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        parts.headers.insert(header::ETAG, value);
    }
    (Response::from_parts(parts, Body::from(bytes)), Some(tag))
}

fn tag(bytes: &[u8], moving: &[&str]) -> String {
    if moving.is_empty() {
        return short(bytes);
    }
    let steady = match serde_json::from_slice(bytes) {
        Ok(serde_json::Value::Object(mut fields)) => {
            for field in moving {
                fields.remove(*field);
            }
            serde_json::to_vec(&fields).unwrap_or_default()
        }
        _ => bytes.to_vec(),
    };
    format!("{}.{}", short(&steady), short(bytes))
}

fn short(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    BASE64_URL_SAFE_NO_PAD.encode(&hash.as_ref()[..SHOWN])
}

fn steady_part(tag: &str) -> &str {
    tag.split('.').next().unwrap_or_default()
}

fn texts(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter();
    values
        .map(|value| value.to_str().unwrap_or_default().to_owned())
        .collect()
}

/// The tags of a list, without quotes and without the mark of a weak one: compression makes tags weak on the way out.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(|entry| {
        let entry = entry.trim();
        let entry = entry.strip_prefix("W/").unwrap_or(entry);
        entry.trim_matches('"')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_by_itself_leaves_the_steady_part_alone() {
        let before = tag(br#"{"name":"a","latest":1}"#, &["latest"]);
        let later = tag(br#"{"name":"a","latest":2}"#, &["latest"]);
        let renamed = tag(br#"{"name":"b","latest":1}"#, &["latest"]);
        assert_ne!(before, later);
        assert_eq!(steady_part(&before), steady_part(&later));
        assert_ne!(steady_part(&before), steady_part(&renamed));
    }

    #[test]
    fn lists_of_tags_are_read() {
        let found: Vec<_> = entries("\"a\", W/\"b.c\" ,*").collect();
        assert_eq!(found, ["a", "b.c", "*"]);
    }
}
