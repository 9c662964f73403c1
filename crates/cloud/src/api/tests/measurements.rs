//! Measurements from a device's batch to a reader's answer, through the whole door.

use std::time::Duration;

use axum::body::Body;
use fieldkeep_protocol::batch::{self, Cell, ColumnInput, Header};
use fieldkeep_protocol::channels::{self, Channel, Kind};
use fieldkeep_protocol::{ClockQuality, Epoch};
use http::Response;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::timeout;

use super::world::{START, Who, World, request};
use crate::access::Role;

const VIEWER: Who = Who::Person(Role::Viewer);
const EPOCH: Epoch = Epoch(7);

/// Describes the channels, and sends `count` records a second apart from `START` + `first` seconds on.
pub(super) async fn send(world: &World, first: u64, count: u32, prev: [u8; 32]) -> [u8; 32] {
    let mut out = vec![0; 65_536];
    let table = [Channel {
        index: 0,
        name: "level",
        unit: "m",
        kind: Kind::Number,
        digits: 3,
        interval_us: 1_000_000,
        label: None,
    }];
    let length = channels::encode(EPOCH, 1, &table, &mut out).unwrap();
    world
        .series
        .append_channels(&world.device, &out[..length])
        .await
        .unwrap();
    let times: Vec<i64> = (first..first + u64::from(count)).map(at).collect();
    let cells: Vec<Cell> = (first..first + u64::from(count))
        .map(|number| Cell::measured(value(number)))
        .collect();
    let header = Header {
        epoch: EPOCH,
        first,
        count,
        prev,
        boot: 1,
        ticks_us: first * 1_000_000,
        clock: ClockQuality::Synchronised,
        revision: 1,
    };
    let column = ColumnInput {
        channel: 0,
        values: &cells,
    };
    let length = batch::encode(&header, &times, &[], &[column], &mut out).unwrap();
    let receipt = world
        .series
        .append(&world.device, &out[..length])
        .await
        .unwrap();
    assert!(!receipt.held && receipt.readable);
    batch::hash(&out[..length])
}

pub(super) fn at(number: u64) -> i64 {
    START.as_micros() + i64::try_from(number).unwrap() * 1_000_000
}

/// A slow wave with one spike.
pub(super) fn value(number: u64) -> f64 {
    match number {
        1_234 => 99.5,
        number => (number % 100) as f64 / 10.0,
    }
}

pub(super) async fn points(world: &World, query: &str) -> Value {
    let path = format!(
        "/api/v1/projects/{}/points?element={}&from=2026-03-01T12:00:00Z&to=2026-03-01T13:00:00Z{query}",
        world.ours.project, world.ours.element
    );
    let (status, answer) = world.ask(VIEWER, "GET", &path, None).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn points_come_back_as_they_were_measured_page_by_page() {
    let world = World::new().await;
    let prev = send(&world, 0, 2_000, [0; 32]).await;
    send(&world, 2_000, 500, prev).await;
    let mut times = Vec::new();
    let mut values = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        assert!(page < 10, "pages do not end");
        let answer = points(&world, &format!("&limit=700{cursor}")).await;
        let item = &answer["items"][0];
        assert_eq!(item["raw"], true);
        let columns = &item["points"];
        assert!(
            columns["flag"]
                .as_array()
                .unwrap()
                .iter()
                .all(|flag| flag == 2)
        );
        times.extend(
            columns["time_us"]
                .as_array()
                .unwrap()
                .iter()
                .map(|t| t.as_i64().unwrap()),
        );
        values.extend(
            columns["value"]
                .as_array()
                .unwrap()
                .iter()
                .map(|v| v.as_f64().unwrap()),
        );
        match answer["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(times, (0..2_500).map(at).collect::<Vec<_>>());
    assert_eq!(values, (0..2_500).map(value).collect::<Vec<_>>());
}

#[tokio::test]
async fn answers_stay_when_times_become_cold() {
    let world = World::new().await;
    let prev = send(&world, 0, 1_500, [0; 32]).await;
    let ask = async || {
        (
            points(&world, "&limit=5000").await,
            points(&world, "&buckets=120").await,
        )
    };
    let before = ask().await;
    assert!(world.series.make_cold().await.unwrap().moved > 0);
    assert_eq!(ask().await, before);
    // Late, and there at once; its window is made anew.
    send(&world, 1_500, 100, prev).await;
    let late = ask().await;
    assert_eq!(late.1["items"][0]["count"], 1_600);
    assert_eq!(world.series.make_cold().await.unwrap().renewed, 1);
    assert_eq!(ask().await, late);
}

#[tokio::test]
async fn buckets_lose_no_spike_and_few_points_stay_points() {
    let world = World::new().await;
    send(&world, 0, 2_500, [0; 32]).await;
    let drawn = points(&world, "&buckets=120").await;
    let item = &drawn["items"][0];
    assert_eq!(item["raw"], false);
    assert_eq!(item["width_us"], 30_000_000);
    assert_eq!(item["count"], 2_500);
    let buckets = &item["buckets"];
    assert!(buckets["time_us"].as_array().unwrap().len() <= 120);
    let highest = buckets["max"]
        .as_array()
        .unwrap()
        .iter()
        .map(|max| max.as_f64().unwrap());
    assert_eq!(highest.fold(0.0, f64::max), 99.5);
    let gaps = item["gaps"].as_array().unwrap();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0]["reason"], "no_records");

    let few = points(&world, "&buckets=4000").await;
    assert_eq!(few["items"][0]["raw"], true);
    assert_eq!(
        few["items"][0]["points"]["time_us"]
            .as_array()
            .unwrap()
            .len(),
        2_500
    );
}

#[tokio::test]
async fn latest_is_the_newest_and_is_part_of_the_element() {
    let world = World::new().await;
    send(&world, 0, 10, [0; 32]).await;
    let project = format!("/api/v1/projects/{}", world.ours.project);
    let (_, latest) = world
        .ask(VIEWER, "GET", &format!("{project}/latest"), None)
        .await;
    assert_eq!(latest["items"].as_array().unwrap().len(), 1);
    assert_eq!(latest["items"][0]["value"], 0.9);
    assert_eq!(latest["items"][0]["time"], "2026-03-01T12:00:09Z");
    let path = format!("{project}/elements/{}", world.ours.element);
    let (_, element) = world.ask(VIEWER, "GET", &path, None).await;
    assert_eq!(element["latest"]["value"], 0.9);
    assert_eq!(element["channel"], "level");
    let path = format!("{project}/devices/{}/ledger", world.ours.device);
    let (_, ledger) = world.ask(VIEWER, "GET", &path, None).await;
    assert_eq!(ledger["items"][0]["durable"], serde_json::json!([[0, 9]]));
}

async fn open(world: &World, who: Who, last_event: Option<&str>) -> Response<Body> {
    let path = format!("/api/v1/projects/{}/live", world.ours.project);
    let mut request = request("GET", &path, None);
    world.as_who(who, &mut request).await;
    if let Some(id) = last_event {
        request
            .headers_mut()
            .insert("last-event-id", id.parse().unwrap());
    }
    let response = world.send(request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// The next piece of a stream; `None` at its end.
async fn next(response: &mut Response<Body>) -> Option<String> {
    let frame = timeout(Duration::from_secs(20), response.body_mut().frame());
    let frame = frame.await.expect("nothing came in 20 s")?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn new_points_stream_to_those_who_may_see_them_and_resume() {
    let world = World::new().await;
    let mut seeing = open(&world, VIEWER, None).await;
    let prev = send(&world, 0, 3, [0; 32]).await;
    let text = next(&mut seeing).await.unwrap();
    assert!(text.contains("event: points"), "{text}");
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    let data = text
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["element"], world.ours.element.to_string());
    assert_eq!(data["value"], serde_json::json!([0.0, 0.1, 0.2]));
    assert_eq!(data["time_us"][2], at(2));
    drop(seeing);
    // What comes while nobody listens is there for whoever resumes.
    send(&world, 3, 2, prev).await;
    let mut resumed = open(&world, VIEWER, Some(id)).await;
    let text = next(&mut resumed).await.unwrap();
    assert!(text.contains("[0.3,0.4]"), "{text}");
    // Whoever sees another location only sees nothing of it.
    let mut limited = open(&world, Who::Limited, Some("0")).await;
    let silent = timeout(Duration::from_millis(300), limited.body_mut().frame()).await;
    assert!(silent.is_err());
}

#[tokio::test]
async fn a_stream_ends_with_the_membership_behind_it() {
    let world = World::new().await;
    let mut stream = open(&world, VIEWER, None).await;
    let person = world.person(VIEWER).await;
    world
        .access
        .drop_member(person, world.ours.project)
        .await
        .unwrap();
    world.hands.advance(Duration::from_secs(2));
    send(&world, 0, 3, [0; 32]).await;
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let world = World::new().await;
    let mut stream = open(&world, VIEWER, None).await;
    world.stop.send(true).unwrap();
    assert_eq!(next(&mut stream).await, None);
}
