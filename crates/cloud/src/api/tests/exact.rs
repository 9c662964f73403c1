//! Conditional requests, requests that may be repeated, answers in fewer bytes, and changes of a unit.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::measurements::{at, send, value};
use super::world::{Who, World, request};
use crate::access::Role;

const EDITOR: Who = Who::Person(Role::Editor);
const ADMINISTRATOR: Who = Who::Person(Role::Administrator);

async fn with(
    world: &World,
    who: Who,
    what: (&str, &str, Option<Value>),
    headers: &[(&'static str, &str)],
) -> (StatusCode, HeaderMap, Value) {
    let mut request = request(what.0, what.1, what.2);
    world.as_who(who, &mut request).await;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    read(world.send(request).await).await
}

async fn read(response: Response<Body>) -> (StatusCode, HeaderMap, Value) {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes).unwrap_or_default();
    (parts.status, parts.headers, json)
}

fn tag(headers: &HeaderMap) -> String {
    headers[header::ETAG].to_str().unwrap().to_owned()
}

fn below(world: &World, rest: &str) -> String {
    format!("/api/v1/projects/{}{rest}", world.ours.project)
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let world = World::new().await;
    let element = below(&world, &format!("/elements/{}", world.ours.element));
    let get = || ("GET", element.as_str(), None);
    let (status, headers, _) = with(&world, EDITOR, get(), &[]).await;
    assert_eq!(status, 200);
    let had = tag(&headers);
    let (status, headers, body) = with(&world, EDITOR, get(), &[("if-none-match", &had)]).await;
    assert_eq!((status.as_u16(), body), (304, Value::Null));
    assert_eq!(tag(&headers), had);
    assert!(!headers.contains_key(header::CONTENT_TYPE));
    // A new value is news, although nobody changed the element.
    send(&world, 0, 5, [0; 32]).await;
    let (status, headers, _) = with(&world, EDITOR, get(), &[("if-none-match", &had)]).await;
    assert_eq!(status, 200);
    assert_ne!(tag(&headers), had);
    // A stranger learns nothing from a tag.
    let (status, _, _) = with(&world, Who::Stranger, get(), &[("if-none-match", &had)]).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn of_two_changes_to_the_same_thing_one_is_told() {
    let world = World::new().await;
    let element = below(&world, &format!("/elements/{}", world.ours.element));
    let (_, headers, _) = with(&world, EDITOR, ("GET", &element, None), &[]).await;
    let had = tag(&headers);
    // What arrives meanwhile does not spoil the edit.
    send(&world, 0, 5, [0; 32]).await;
    let patch = |digits| ("PATCH", element.as_str(), Some(json!({ "digits": digits })));
    let condition = [("if-match", had.as_str())];
    let (one, other) = tokio::join!(
        with(&world, EDITOR, patch(1), &condition),
        with(&world, EDITOR, patch(2), &condition),
    );
    let mut statuses = [one.0.as_u16(), other.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let (won, lost) = if one.0 == 200 {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(lost.2["code"], "changed");
    // The answer to a change carries the tag for the next one.
    let next = tag(&won.1);
    let (status, _, _) = with(&world, EDITOR, patch(3), &[("if-match", &next)]).await;
    assert_eq!(status, 200);
    let (status, _, _) = with(&world, EDITOR, patch(4), &[("if-match", "*")]).await;
    assert_eq!(status, 200);
    let (_, _, now) = with(&world, EDITOR, ("GET", &element, None), &[]).await;
    assert_eq!(now["digits"], 4);
    // Who may not change is told so, whatever the tag.
    let viewer = Who::Person(Role::Viewer);
    let (status, _, _) = with(&world, viewer, patch(5), &condition).await;
    assert_eq!(status, 403);
    // Where there is nothing to read, a condition cannot be kept, and is not ignored.
    let claim = below(&world, &format!("/claims/{}", world.spare_claim().await));
    let (status, _, body) = with(&world, ADMINISTRATOR, ("DELETE", &claim, None), &condition).await;
    assert_eq!(
        (status.as_u16(), &body["errors"][0]["field"]),
        (422, &json!("If-Match"))
    );
}

#[tokio::test]
async fn a_repeated_request_makes_one_thing() {
    let world = World::new().await;
    let elements = below(&world, "/elements");
    let make = |name: &str| ("POST", elements.as_str(), Some(json!({ "name": name })));
    let key = [("idempotency-key", "import-0001")];
    let (one, other) = tokio::join!(
        with(&world, EDITOR, make("pump"), &key),
        with(&world, EDITOR, make("pump"), &key),
    );
    let made = if one.0 == 201 { &one } else { &other };
    assert_eq!(made.0, 201);
    assert!([201, 409].contains(&one.0.as_u16()) && [201, 409].contains(&other.0.as_u16()));
    let (status, headers, again) = with(&world, EDITOR, make("pump"), &key).await;
    assert_eq!((status.as_u16(), &again), (201, &made.2));
    assert_eq!(headers["idempotency-replayed"], "true");
    let count = async || {
        let (_, _, list) = with(&world, EDITOR, ("GET", &elements, None), &[]).await;
        let items = list["items"].as_array().unwrap().clone();
        items.iter().filter(|item| item["name"] == "pump").count()
    };
    assert_eq!(count().await, 1);
    // The key stands for that request, and for that caller.
    let (status, _, body) = with(&world, EDITOR, make("other"), &key).await;
    assert_eq!(
        (status.as_u16(), &body["code"]),
        (422, &json!("key_reused"))
    );
    let (status, headers, _) = with(&world, ADMINISTRATOR, make("pump"), &key).await;
    assert_eq!(status, 201);
    assert!(!headers.contains_key("idempotency-replayed"));
    // What was refused may be sent again, right.
    let key = [("idempotency-key", "import-0002")];
    let (status, _, _) = with(&world, EDITOR, make(""), &key).await;
    assert_eq!(status, 422);
    let (status, _, _) = with(&world, EDITOR, make("valve"), &key).await;
    assert_eq!(status, 201);
    // Who is let in no longer gets no old answer either.
    let viewer = Who::Person(Role::Viewer);
    let (status, _, _) = with(&world, viewer, make("pump"), &key).await;
    assert_eq!(status, 403);
    let (status, _, body) = with(&world, EDITOR, make("pump"), &[("idempotency-key", "a b")]).await;
    assert_eq!(
        (status.as_u16(), &body["errors"][0]["field"]),
        (422, &json!("Idempotency-Key"))
    );
    // A day later it is forgotten.
    world.hands.advance(Duration::from_secs(25 * 3_600));
    let key = [("idempotency-key", "import-0001")];
    let (_, headers, _) = with(&world, EDITOR, make("pump"), &key).await;
    assert!(!headers.contains_key("idempotency-replayed"));
    assert_eq!(count().await, 3);
}

#[tokio::test]
async fn a_secret_is_told_once_even_under_a_key() {
    let world = World::new().await;
    let keys = below(&world, "/keys");
    let make = || {
        (
            "POST",
            keys.as_str(),
            Some(json!({ "name": "pump", "role": "viewer", "expires": "never" })),
        )
    };
    let key = [("idempotency-key", "import-0001")];
    let (status, _, body) = with(&world, ADMINISTRATOR, make(), &key).await;
    assert_eq!(status, 201, "{body}");
    let (status, _, again) = with(&world, ADMINISTRATOR, make(), &key).await;
    assert_eq!((status.as_u16(), &again["code"]), (409, &json!("conflict")));
    assert!(!again.to_string().contains("fk_"));
}

#[tokio::test]
async fn large_answers_come_in_fewer_bytes_and_secrets_never() {
    let world = World::new().await;
    let document = || ("GET", "/api/v1/openapi.json", None);
    let likes = [("accept-encoding", "gzip, zstd")];
    let (status, headers, _) = with(&world, EDITOR, document(), &likes).await;
    assert_eq!(status, 200);
    assert_eq!(headers[header::CONTENT_ENCODING], "zstd");
    assert_eq!(headers[header::VARY], "accept-encoding");
    let weak = tag(&headers);
    assert!(weak.starts_with("W/"));
    let condition = [
        ("accept-encoding", "gzip"),
        ("if-none-match", weak.as_str()),
    ];
    let (status, _, _) = with(&world, EDITOR, document(), &condition).await;
    assert_eq!(status, 304);
    let (_, headers, _) = with(&world, EDITOR, document(), &[]).await;
    assert!(!headers.contains_key(header::CONTENT_ENCODING));
    let keys = below(&world, "/keys");
    let name = "x".repeat(128);
    let make = (
        "POST",
        keys.as_str(),
        Some(json!({ "name": name, "role": "viewer", "expires": "never" })),
    );
    let (status, headers, _) = with(&world, ADMINISTRATOR, make, &likes).await;
    assert_eq!(status, 201);
    assert!(!headers.contains_key(header::CONTENT_ENCODING));
}

fn moment(number: u64) -> String {
    crate::api::id::Time(fieldkeep_protocol::Timestamp::from_micros(at(number))).to_string()
}

#[tokio::test]
async fn a_rescaled_range_reads_in_the_new_unit_everywhere() {
    let world = World::new().await;
    send(&world, 0, 2_000, [0; 32]).await;
    let unit = below(&world, &format!("/elements/{}/unit", world.ours.element));
    let (from, to) = (moment(500), moment(1_500));
    let order = json!({
        "unit": "cm", "mode": "rescale", "factor": -100.0, "offset": 7.0, "from": from, "to": to, "reason": "new probe",
    });
    let (status, _, history) = with(&world, EDITOR, ("POST", &unit, Some(order)), &[]).await;
    assert_eq!(status, 200, "{history}");
    let change = &history["items"][0];
    assert_eq!(
        (&change["before"], &change["after"]),
        (&json!("m"), &json!("cm"))
    );
    assert_eq!(
        (&change["reason"], &change["number"]),
        (&json!("new probe"), &json!(1))
    );
    let shown = |number: u64| match number {
        500..1_500 => value(number) * -100.0 + 7.0,
        _ => value(number),
    };
    let range = format!(
        "element={}&from={}&to={}",
        world.ours.element,
        moment(0),
        moment(2_000)
    );
    let ask = async |path: String| with(&world, EDITOR, ("GET", &path, None), &[]).await.2;
    // Point by point.
    let answer = ask(below(&world, &format!("/points?{range}"))).await;
    let item = &answer["items"][0];
    let values = item["points"]["value"].as_array().unwrap();
    assert_eq!(values.len(), 2_000);
    for (number, found) in (0..).zip(values) {
        assert!(
            (found.as_f64().unwrap() - shown(number)).abs() < 1e-9,
            "{number}: {found}"
        );
    }
    // In buckets, also in those in which the range begins and ends.
    let answer = ask(below(&world, &format!("/points?{range}&buckets=9"))).await;
    let item = &answer["items"][0];
    assert_eq!(item["raw"], false, "{answer}");
    let width = u64::try_from(item["width_us"].as_i64().unwrap()).unwrap() / 1_000_000;
    assert!(
        500 % width != 0 || 1_500 % width != 0,
        "no bucket lies across: {width} s"
    );
    let columns = &item["buckets"];
    let starts = columns["time_us"].as_array().unwrap();
    assert!(starts.len() > 2);
    for (place, start) in starts.iter().enumerate() {
        let first = u64::try_from((start.as_i64().unwrap() - at(0)) / 1_000_000).unwrap();
        let inside: Vec<f64> = (first..(first + width).min(2_000)).map(shown).collect();
        let number = |name: &str| columns[name][place].as_f64().unwrap();
        let least = inside.iter().copied().fold(f64::INFINITY, f64::min);
        let most = inside.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = inside.iter().sum::<f64>() / inside.len() as f64;
        assert!((number("min") - least).abs() < 1e-9, "{first}");
        assert!((number("max") - most).abs() < 1e-9, "{first}");
        assert!((number("mean") - mean).abs() < 1e-9, "{first}");
        assert!(
            (number("count") - inside.len() as f64).abs() < 0.5,
            "{first}"
        );
    }
    // As a table, as of then, and as a change to whoever pulls.
    let mut request = request("GET", &below(&world, &format!("/exports?{range}")), None);
    world.as_who(EDITOR, &mut request).await;
    let body = world
        .send(request)
        .await
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let csv = String::from_utf8(body.to_vec()).unwrap();
    assert!(csv.lines().next().unwrap().contains("(cm)"));
    let cell = csv.lines().nth(1_001).unwrap().split(',').nth(2).unwrap();
    assert!(
        (cell.parse::<f64>().unwrap() - shown(1_000)).abs() < 1e-9,
        "{cell}"
    );
    let known = "2026-03-20T00:00:00Z";
    let answer = ask(below(&world, &format!("/points?{range}&known_at={known}"))).await;
    let found = answer["items"][0]["points"]["value"][1_000]
        .as_f64()
        .unwrap();
    assert!((found - shown(1_000)).abs() < 1e-9);
    let changes = ask(below(&world, "/changes")).await;
    let corrected = changes["items"].as_array().unwrap().iter().any(|change| {
        change["cause"] == "corrected" && change["from"] == json!(from) && change["to"] == json!(to)
    });
    assert!(corrected, "{changes}");
    // A second change adds to the first: back to metres, all of it.
    let order = json!({
        "unit": "m", "mode": "rescale", "factor": 0.01, "from": null, "to": null, "reason": "metres",
    });
    let (status, _, history) = with(&world, EDITOR, ("POST", &unit, Some(order)), &[]).await;
    assert_eq!(
        (status.as_u16(), history["items"].as_array().unwrap().len()),
        (200, 2)
    );
    let latest = ask(below(&world, &format!("/elements/{}", world.ours.element))).await;
    assert_eq!(latest["unit"], "m");
    let found = latest["latest"]["value"].as_f64().unwrap();
    assert!((found - value(1_999) * 0.01).abs() < 1e-9, "{latest}");
}

#[tokio::test]
async fn a_unit_changes_only_with_all_that_is_needed() {
    let world = World::new().await;
    let element = below(&world, &format!("/elements/{}", world.ours.element));
    let unit = format!("{element}/unit");
    let patch = ("PATCH", element.as_str(), Some(json!({ "unit": "cm" })));
    let (status, _, body) = with(&world, EDITOR, patch, &[]).await;
    assert_eq!(
        (status.as_u16(), &body["errors"][0]["field"]),
        (422, &json!("unit"))
    );
    for (order, field) in [
        (json!({ "unit": "cm", "reason": "x" }), "mode"),
        (json!({ "unit": "cm", "mode": "relabel" }), "reason"),
        (
            json!({ "unit": "cm", "mode": "relabel", "reason": " " }),
            "reason",
        ),
        (
            json!({ "unit": "cm", "mode": "relabel", "factor": 2.0, "reason": "x" }),
            "factor",
        ),
        (
            json!({ "unit": "cm", "mode": "relabel", "from": moment(1), "reason": "x" }),
            "from",
        ),
        (
            json!({ "unit": "cm", "mode": "rescale", "from": null, "to": null, "reason": "x" }),
            "factor",
        ),
        (
            json!({ "unit": "cm", "mode": "rescale", "factor": 2.0, "to": null, "reason": "x" }),
            "from",
        ),
        (
            json!({ "unit": "cm", "mode": "rescale", "factor": 0.0, "from": null, "to": null, "reason": "x" }),
            "factor",
        ),
        (
            json!({ "unit": "cm", "mode": "rescale", "factor": 2.0, "from": moment(2), "to": moment(1), "reason": "x" }),
            "to",
        ),
    ] {
        let (status, _, body) =
            with(&world, EDITOR, ("POST", &unit, Some(order.clone())), &[]).await;
        assert_eq!(status, 422, "{order}");
        assert_eq!(body["errors"][0]["field"], field, "{order}: {body}");
    }
    let (_, _, history) = with(&world, EDITOR, ("GET", &unit, None), &[]).await;
    assert_eq!(history["items"], json!([]));
    let (_, _, unchanged) = with(&world, EDITOR, ("GET", &element, None), &[]).await;
    assert_eq!(unchanged["unit"], "m");
}
