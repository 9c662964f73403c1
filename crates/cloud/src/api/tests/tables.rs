//! Points in other formats, exports, changes, what was known at a time, and completeness: through the whole door.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use fieldkeep_protocol::ElementId;
use http::{Response, header};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::measurements::{at, points, send, value};
use super::world::{Who, World, request};
use crate::access::Role;

const VIEWER: Who = Who::Person(Role::Viewer);
const RANGE: &str = "from=2026-03-01T12:00:00Z&to=2026-03-01T15:00:00Z";

async fn open(world: &World, who: Who, what: &str, accept: Option<&str>) -> Response<Body> {
    let path = format!("/api/v1/projects/{}/{what}", world.ours.project);
    let mut request = request("GET", &path, None);
    if let Some(accept) = accept {
        request
            .headers_mut()
            .insert(header::ACCEPT, accept.parse().unwrap());
    }
    world.as_who(who, &mut request).await;
    world.send(request).await
}

async fn text(response: Response<Body>) -> String {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn ask(world: &World, what: &str) -> (u16, Value) {
    let path = format!("/api/v1/projects/{}/{what}", world.ours.project);
    world.ask(VIEWER, "GET", &path, None).await
}

/// Times and values of a CSV.
fn rows(csv: &str) -> Vec<(String, f64)> {
    let row = |line: &str| {
        let mut cells = line.split(',');
        let time = cells.next().unwrap().to_owned();
        (time, cells.nth(1).unwrap().parse().unwrap())
    };
    csv.lines().skip(1).map(row).collect()
}

#[tokio::test]
async fn pages_and_exports_give_every_point_exactly_in_every_format() {
    let world = World::new().await;
    let prev = send(&world, 0, 3_000, [0; 32]).await;
    send(&world, 3_000, 3_000, prev).await;
    let element = world.ours.element;
    let what = format!("points?element={element}&{RANGE}&limit=2500");
    let mut all = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        assert!(page < 5, "pages do not end");
        let response = open(&world, VIEWER, &format!("{what}{cursor}"), Some("text/csv")).await;
        assert!(response.headers().contains_key("fieldkeep-revision"));
        assert_eq!(response.headers()[header::VARY], "accept");
        let next = response.headers().get("fieldkeep-next-cursor").cloned();
        let csv = text(response).await;
        assert!(csv.starts_with("time_utc,time_local (UTC),level (m),level flag\r\n"));
        all.extend(rows(&csv));
        match next {
            Some(next) => cursor = format!("&cursor={}", next.to_str().unwrap()),
            None => break,
        }
    }
    let values: Vec<f64> = all.iter().map(|row| row.1).collect();
    assert_eq!(values, (0..6_000).map(value).collect::<Vec<_>>());
    assert_eq!(all[5_999].0, "2026-03-01T13:39:59Z");

    let response = open(
        &world,
        VIEWER,
        &format!("exports?element={element}&{RANGE}"),
        None,
    )
    .await;
    assert_eq!(
        response.headers()[header::CONTENT_DISPOSITION],
        format!("attachment; filename=\"{}.csv\"", world.ours.project)
    );
    assert_eq!(rows(&text(response).await), all);
    for (format, accept) in [
        ("parquet", "application/vnd.apache.parquet"),
        ("arrow", "application/vnd.apache.arrow.stream"),
        ("jsonl", "application/jsonl"),
    ] {
        let what = format!("exports?element={element}&{RANGE}&format={format}");
        let response = open(&world, VIEWER, &what, None).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], accept);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let page = open(
            &world,
            VIEWER,
            &format!("points?element={element}&{RANGE}&limit=6000"),
            Some(accept),
        )
        .await;
        assert_eq!(page.headers()[header::CONTENT_TYPE], accept);
        let page = page.into_body().collect().await.unwrap().to_bytes();
        for body in [body, page] {
            assert_eq!(read_back(format, body), values, "{format}");
        }
    }
    let what = format!("points?element={element}&{RANGE}&buckets=3&format=csv");
    let csv = text(open(&world, VIEWER, &what, None).await).await;
    let mut lines = csv.lines();
    assert_eq!(
        lines.next().unwrap(),
        "time_utc,time_local (UTC),level min (m),level mean (m),level max (m),level count,level flag"
    );
    assert_eq!(
        lines.next().unwrap(),
        "2026-03-01T12:00:00Z,2026-03-01T12:00:00+00:00,0,4.976694444444444,99.5,3600,2"
    );
}

fn read_back(format: &str, body: bytes::Bytes) -> Vec<f64> {
    use arrow_array::cast::AsArray as _;
    use arrow_array::types::Float64Type;
    if format == "jsonl" {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let mut lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.pop().unwrap()["complete"], true);
        let element = lines[0]["columns"][0]["element"]
            .as_str()
            .unwrap()
            .to_owned();
        let value = |line: &Value| line["elements"][&element]["value"].as_f64().unwrap();
        return lines[1..].iter().map(value).collect();
    }
    let batches: Vec<arrow_array::RecordBatch> = if format == "arrow" {
        let reader = arrow_ipc::reader::StreamReader::try_new(body.as_ref(), None).unwrap();
        reader.map(Result::unwrap).collect()
    } else {
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(body).unwrap();
        reader.build().unwrap().map(Result::unwrap).collect()
    };
    let values = batches.iter().flat_map(|batch| {
        batch
            .column(1)
            .as_primitive::<Float64Type>()
            .values()
            .to_vec()
    });
    values.collect()
}

#[tokio::test]
async fn elements_stand_side_by_side() {
    let world = World::new().await;
    send(&world, 0, 10, [0; 32]).await;
    let empty = world.spare_element().await;
    let element = world.ours.element;
    let what = format!("exports?element={empty},{element}&{RANGE}");
    let csv = text(open(&world, VIEWER, &what, None).await).await;
    let head =
        format!("level {empty} (m),level {empty} flag,level {element} (m),level {element} flag");
    assert!(csv.lines().next().unwrap().ends_with(&head), "{csv}");
    assert!(
        csv.lines().nth(2).unwrap().ends_with("+00:00,,,0.1,2"),
        "{csv}"
    );
    // Another location's elements are not there for whoever does not reach them.
    let response = open(&world, Who::Limited, &what, None).await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn an_export_whose_access_ends_breaks_off_visibly() {
    let world = World::new().await;
    let prev = send(&world, 0, 4_000, [0; 32]).await;
    let prev = send(&world, 4_000, 4_000, prev).await;
    send(&world, 8_000, 2_000, prev).await;
    let what = format!("exports?element={}&{RANGE}", world.ours.element);
    let mut response = open(&world, VIEWER, &what, None).await;
    let mut read = Vec::new();
    let first = response.body_mut().frame().await.unwrap().unwrap();
    read.extend_from_slice(first.data_ref().unwrap());
    let person = world.person(VIEWER).await;
    world
        .access
        .drop_member(person, world.ours.project)
        .await
        .unwrap();
    world.hands.advance(Duration::from_secs(2));
    let broken = loop {
        match response.body_mut().frame().await {
            Some(Ok(frame)) => read.extend_from_slice(frame.data_ref().unwrap()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken, "the body has no end");
    let csv = String::from_utf8(read).unwrap();
    assert!(csv.lines().count() < 9_000);
    let last = csv.lines().last().unwrap();
    assert!(
        last.contains("the access that it was begun with has ended"),
        "{last}"
    );
}

#[tokio::test]
async fn whoever_pulls_changes_and_reads_again_has_the_truth() {
    let world = World::new().await;
    let element = world.ours.element.to_string();
    let mut copy: BTreeMap<i64, f64> = BTreeMap::new();
    let answer = points(&world, "").await;
    assert_eq!(answer["items"][0]["count"], 0);
    let mut since = answer["revision"].as_str().unwrap().to_owned();
    let mut causes = Vec::new();
    // Out of order, and in between somebody pulls.
    let all = [
        (0, 100),
        (300, 100),
        (100, 50),
        (400, 200),
        (150, 150),
        (600, 10),
    ];
    for (number, (first, count)) in all.into_iter().enumerate() {
        send(&world, first, count, [0; 32]).await;
        if number % 2 == 0 {
            continue;
        }
        loop {
            let (status, page) = ask(&world, &format!("changes?since={since}&limit=1")).await;
            assert_eq!(status, 200, "{page}");
            for change in page["items"].as_array().unwrap() {
                assert_eq!(change["element"], element);
                causes.push(change["cause"].as_str().unwrap().to_owned());
                let (from, to) = (
                    change["from"].as_str().unwrap(),
                    change["to"].as_str().unwrap(),
                );
                let what = format!("points?element={element}&from={from}&to={to}");
                let (_, answer) = ask(&world, &what).await;
                let columns = &answer["items"][0]["points"];
                let times = columns["time_us"].as_array().unwrap();
                let values = columns["value"].as_array().unwrap();
                for (time, value) in times.iter().zip(values) {
                    copy.insert(time.as_i64().unwrap(), value.as_f64().unwrap());
                }
            }
            since = page["next_cursor"].as_str().unwrap().to_owned();
            if page["more"] == false {
                break;
            }
        }
    }
    let truth: BTreeMap<i64, f64> = (0..610).map(|number| (at(number), value(number))).collect();
    assert_eq!(copy, truth);
    assert_eq!(causes, ["new", "new", "late", "new", "late", "new"]);
    // Who starts from the very beginning is told the same; the stranger and who reaches elsewhere nothing of it.
    let (_, page) = ask(&world, "changes").await;
    assert_eq!(page["more"], false);
    assert!(!page["items"].as_array().unwrap().is_empty());
    let path = format!("/api/v1/projects/{}/changes", world.ours.project);
    let (_, page) = world.ask(Who::Limited, "GET", &path, None).await;
    assert_eq!(page["items"], serde_json::json!([]));
    let (status, problem) = ask(&world, "changes?since=ffffff.0").await;
    assert_eq!((status, problem["code"].as_str()), (410, Some("gone")));
    assert_eq!(problem["errors"][0]["field"], "since");
}

#[tokio::test]
async fn a_deployment_that_is_made_or_ended_is_a_change() {
    let world = World::new().await;
    send(&world, 0, 100, [0; 32]).await;
    let project = format!("/api/v1/projects/{}", world.ours.project);
    let editor = Who::Person(Role::Editor);
    let (_, page) = ask(&world, "changes").await;
    let since = page["next_cursor"].as_str().unwrap().to_owned();
    let other: ElementId = world.spare_element().await;
    let body = serde_json::json!({
        "element": other.to_string(),
        "device": world.ours.device.to_string(),
        "channel": "level",
        "from": "2026-03-01T12:00:50Z",
    });
    let (status, made) = world
        .ask(
            editor,
            "POST",
            &format!("{project}/deployments"),
            Some(body),
        )
        .await;
    assert_eq!(status, 201, "{made}");
    let changed = |page: &Value, element: ElementId| {
        let items = page["items"].as_array().unwrap();
        let of = |item: &&Value| item["element"] == element.to_string();
        items.iter().filter(of).cloned().collect::<Vec<_>>()
    };
    let (_, page) = ask(&world, &format!("changes?since={since}")).await;
    let items = changed(&page, other);
    assert_eq!(items[0]["from"], "2026-03-01T12:00:50Z");
    assert_eq!(items[0]["cause"], "corrected");
    let since = page["next_cursor"].as_str().unwrap().to_owned();
    let path = format!("{project}/deployments/{}", made["id"].as_str().unwrap());
    let body = serde_json::json!({ "to": "2026-03-01T12:01:00Z" });
    let (status, _) = world.ask(editor, "PATCH", &path, Some(body)).await;
    assert_eq!(status, 200);
    let (_, page) = ask(&world, &format!("changes?since={since}")).await;
    assert_eq!(changed(&page, other)[0]["from"], "2026-03-01T12:01:00Z");
}

#[tokio::test]
async fn what_was_known_then_can_be_asked() {
    let world = World::new().await;
    let prev = send(&world, 10, 10, [0; 32]).await;
    let then = at(0) / 1_000_000 + 15 * 24 * 3_600;
    let then = jiff::Timestamp::from_second(then).unwrap();
    world.hands.advance(Duration::from_secs(60));
    send(&world, 0, 10, [0; 32]).await;
    send(&world, 20, 5, prev).await;
    let count = async |query: &str| points(&world, query).await["items"][0]["count"].clone();
    assert_eq!(count("").await, 25);
    assert_eq!(count(&format!("&known_at={then}")).await, 10);
    assert_eq!(count("&known_at=2026-03-01T12:00:00Z").await, 0);
    let what = format!(
        "points?element={}&{RANGE}&known_at={then}",
        world.ours.element
    );
    let csv = text(open(&world, VIEWER, &what, Some("text/csv")).await).await;
    assert_eq!(rows(&csv).len(), 10);
    let (status, problem) = ask(&world, &format!("{what}&buckets=10")).await;
    assert_eq!(
        (status, problem["errors"][0]["field"].as_str()),
        (422, Some("known_at"))
    );
}

#[tokio::test]
async fn completeness_is_told_by_day_and_hole_by_hole() {
    let world = World::new().await;
    let prev = send(&world, 0, 100, [0; 32]).await;
    send(&world, 110, 90, prev).await;
    let range = "from=2026-02-27T00:00:00Z&to=2026-03-01T12:03:20Z";
    let what = format!("elements/{}/completeness?{range}", world.ours.element);
    let (status, answer) = ask(&world, &what).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["from"], "2026-03-01T12:00:00Z");
    assert_eq!(answer["expected"], 200);
    assert_eq!(answer["stored"], 190);
    assert_eq!(answer["percent"], 95.0);
    assert_eq!(answer["missing"]["not_sent"], 10);
    assert_eq!(answer["days"].as_array().unwrap().len(), 1);
    assert_eq!(answer["days"][0]["day"], "2026-03-01T00:00:00Z");
    let hole = serde_json::json!({
        "from": "2026-03-01T12:01:39Z", "to": "2026-03-01T12:01:50Z", "cause": "not_sent", "count": 10
    });
    assert_eq!(answer["holes"], serde_json::json!([hole]));
    let what = format!("devices/{}/completeness?{range}", world.ours.device);
    let (_, of_device) = ask(&world, &what).await;
    assert_eq!(of_device["holes"], answer["holes"]);
    let (status, problem) = ask(
        &world,
        &format!(
            "elements/{}/completeness?from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
            world.ours.element
        ),
    )
    .await;
    assert_eq!(status, 422);
    assert_eq!(
        problem["errors"][0]["reason"],
        "is more than 400 days after from"
    );
}

#[tokio::test]
async fn limits_are_refusals_that_name_the_field() {
    let world = World::new().await;
    let element = world.ours.element;
    for (what, field) in [
        (
            format!("points?element={element}&from=1800-01-01T00:00:00Z&to=2026-01-01T00:00:00Z"),
            "to",
        ),
        (
            format!("exports?element={element}&from=1800-01-01T00:00:00Z&to=2026-01-01T00:00:00Z"),
            "to",
        ),
        (
            format!("points?element={element}&{RANGE}&limit=100001"),
            "limit",
        ),
        (
            format!("points?element={element}&{RANGE}&format=xml"),
            "format",
        ),
        (
            format!("exports?element={element}&{RANGE}&format=json"),
            "format",
        ),
        ("changes?since=yesterday".to_owned(), "since"),
        ("changes?limit=0".to_owned(), "limit"),
    ] {
        let (status, problem) = ask(&world, &what).await;
        assert_eq!(
            (status, problem["errors"][0]["field"].as_str()),
            (422, Some(field)),
            "{what}"
        );
    }
    // A cursor of one format is none of another.
    let prev = send(&world, 0, 20, [0; 32]).await;
    send(&world, 20, 20, prev).await;
    let what = format!("points?element={element}&{RANGE}&limit=5");
    let (_, page) = ask(&world, &what).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let response = open(
        &world,
        VIEWER,
        &format!("{what}&cursor={cursor}&format=csv"),
        None,
    )
    .await;
    assert_eq!(response.status(), 422);
}
