//! Clock trust through the whole door: what is held is seen, set right by those who may, and kept with who and why.

use std::sync::atomic::{AtomicU64, Ordering};

use fieldkeep_protocol::batch::{self, Cell, ColumnInput, Header};
use fieldkeep_protocol::{ClockQuality, Epoch};
use serde_json::{Value, json};

use super::world::{START, Who, World};
use crate::access::Role;

const EDITOR: Who = Who::Person(Role::Editor);
const VIEWER: Who = Who::Person(Role::Viewer);
const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const FREE: ClockQuality = ClockQuality::FreeRunning { age_s: 60 };

/// The batch of minute `minute` of a boot three hours before [`START`], five records.
async fn send(world: &World, epoch: u64, minute: u64, clock: ClockQuality, wrong_us: i64) {
    let from = START.as_micros() - 3 * HOUR + minute.cast_signed() * MINUTE + wrong_us;
    let times: Vec<i64> = (0..5).map(|record| from + record * 1_000_000).collect();
    let header = Header {
        epoch: Epoch(epoch),
        first: minute * 5,
        count: 5,
        prev: [0; 32],
        boot: 1,
        ticks_us: minute * MINUTE.unsigned_abs(),
        clock,
        revision: 1,
    };
    let cells = [Cell::measured(1.0); 5];
    let column = ColumnInput {
        channel: 0,
        values: &cells,
    };
    let mut out = vec![0; 4_096];
    let length = batch::encode(&header, &times, &[], &[column], &mut out).unwrap();
    world
        .series
        .append(&world.device, &out[..length])
        .await
        .unwrap();
}

impl World {
    /// Records 0 to 4 of epoch 9 are there, and were held.
    pub(super) async fn held_records(&self) {
        send(self, 9, 0, ClockQuality::Unset, 0).await;
    }

    /// An open proposal of our device.
    pub(super) async fn clock_proposal(&self) -> i64 {
        static NEXT: AtomicU64 = AtomicU64::new(1_000);
        let epoch = NEXT.fetch_add(1, Ordering::Relaxed);
        for (minute, wrong_us) in [(0, 0), (1, 0), (2, HOUR), (3, HOUR)] {
            send(self, epoch, minute, FREE, wrong_us).await;
        }
        self.series.settle_clocks().await.unwrap();
        let known = clock(self).await;
        let list = known["proposals"].as_array().unwrap();
        let hex = format!("{epoch:016x}");
        let ours = list.iter().find(|proposal| proposal["epoch"] == hex);
        ours.unwrap()["id"].as_i64().unwrap()
    }
}

fn path(world: &World, rest: &str) -> String {
    format!(
        "/api/v1/projects/{}/devices/{}/clock{rest}",
        world.ours.project, world.ours.device
    )
}

async fn clock(world: &World) -> Value {
    let (status, answer) = world.ask(VIEWER, "GET", &path(world, ""), None).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn held_records_are_listed_and_set_right_with_who_and_why() {
    let world = World::new().await;
    world.held_records().await;
    let known = clock(&world).await;
    let held = &known["held"][0];
    assert_eq!(held["reason"], "unset");
    assert_eq!((&held["first"], &held["last"]), (&json!(0), &json!(4)));
    assert_eq!(held["from"], "2026-03-01T09:00:00Z");
    // It arrived now: its last record is not later.
    assert_eq!(held["proposed"]["to"], held["received"]);

    let order = json!({
        "epoch": held["epoch"], "first": 0, "last": 4, "offset_us": HOUR, "error_us": 1_000,
        "reason": "  read from the site's book ",
    });
    let stamps = path(&world, "/stamps");
    let (status, _) = world
        .ask(VIEWER, "POST", &stamps, Some(order.clone()))
        .await;
    assert_eq!(status, 403);
    let (status, done) = world.ask(EDITOR, "POST", &stamps, Some(order)).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["from"], "2026-03-01T10:00:00Z");
    let known = clock(&world).await;
    assert_eq!(known["held"], json!([]));
    let stamp = &known["stamps"][0];
    assert_eq!(stamp["cause"], "person");
    assert_eq!(stamp["reason"], "read from the site's book");
    assert!(stamp["actor"].as_str().unwrap().starts_with("usr_"));

    let release =
        json!({ "epoch": held["epoch"], "first": 0, "last": 4, "reason": "it was right" });
    let (status, done) = world
        .ask(EDITOR, "POST", &path(&world, "/release"), Some(release))
        .await;
    assert_eq!(
        (status, &done["from"]),
        (200, &json!("2026-03-01T09:00:00Z"))
    );
    let known = clock(&world).await;
    assert_eq!(known["stamps"][0]["cause"], "released");
    assert_eq!(known["stamps"][1]["superseded"], true);
}

#[tokio::test]
async fn what_is_wrong_with_an_order_is_said_by_field() {
    let world = World::new().await;
    world.held_records().await;
    let stamps = path(&world, "/stamps");
    let good = json!({
        "epoch": "0000000000000009", "first": 0, "last": 4, "offset_us": 0, "reason": "new battery",
    });
    for (change, field) in [
        (json!({ "epoch": "9" }), "epoch"),
        (json!({ "first": 5, "last": 4 }), "last"),
        (json!({ "first": 100, "last": 200 }), "first"),
        (json!({ "last": 2 }), "first"),
        (json!({ "offset_us": null }), "offset_us"),
        (json!({ "offset_us": 100 * 24 * HOUR }), "offset_us"),
        (json!({ "error_us": -1 }), "error_us"),
        (json!({ "reason": "" }), "reason"),
        (json!({ "reason": "a\nb" }), "reason"),
        (
            json!({ "drift": { "anchor": "2026-03-01T00:00:00Z", "ppb": 100_000_001 } }),
            "drift.ppb",
        ),
    ] {
        let mut order = good.clone();
        let wrong = change.as_object().unwrap().clone();
        order.as_object_mut().unwrap().extend(wrong);
        let (status, problem) = world.ask(EDITOR, "POST", &stamps, Some(order)).await;
        assert_eq!(status, 422, "{change}");
        assert_eq!(problem["errors"][0]["field"], field, "{change}");
    }
    assert_eq!(clock(&world).await["stamps"], json!([]));
}

#[tokio::test]
async fn a_proposal_is_decided_once() {
    let world = World::new().await;
    let id = world.clock_proposal().await;
    let known = clock(&world).await;
    let proposal = &known["proposals"][0];
    assert_eq!(
        (&proposal["first"], &proposal["last"]),
        (&json!(10), &json!(19))
    );
    assert_eq!(proposal["offset_us"], -HOUR);
    assert_eq!(proposal["evidence"]["wall_us"], HOUR + MINUTE);
    assert_eq!(proposal["evidence"]["ticks_us"], MINUTE);
    assert_eq!(proposal["state"], "open");

    let reason = || Some(json!({ "reason": "somebody set it to summer time" }));
    let confirm = path(&world, &format!("/proposals/{id}/confirm"));
    let (status, done) = world.ask(EDITOR, "POST", &confirm, reason()).await;
    assert_eq!((status, &done["batches"]), (200, &json!(2)), "{done}");
    assert_eq!(done["from"], "2026-03-01T09:02:00Z");
    let dismiss = path(&world, &format!("/proposals/{id}/dismiss"));
    let (status, problem) = world.ask(EDITOR, "POST", &dismiss, reason()).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")));
    let nowhere = path(&world, "/proposals/999999/confirm");
    assert_eq!(world.ask(EDITOR, "POST", &nowhere, reason()).await.0, 404);
    assert_eq!(clock(&world).await["proposals"][0]["state"], "confirmed");
}

#[tokio::test]
async fn a_cloud_in_doubt_of_its_own_clock_calls_nothing_ahead() {
    let world = World::new().await;
    world.hands.synchronise(false);
    assert!(world.series.judge_own_clock().await.unwrap().is_some());
    send(&world, 30, 0, FREE, 300 * 24 * HOUR).await;
    assert_eq!(clock(&world).await["held"], json!([]));
    world.hands.synchronise(true);
    // Now the record itself says that the clock is behind.
    assert!(world.series.judge_own_clock().await.unwrap().is_some());
    let order = json!({
        "epoch": "000000000000001e", "first": 0, "last": 4, "offset_us": -300 * 24 * HOUR, "reason": "wrong year",
    });
    let (status, _) = world
        .ask(EDITOR, "POST", &path(&world, "/stamps"), Some(order))
        .await;
    assert_eq!(status, 200);
    assert_eq!(world.series.judge_own_clock().await.unwrap(), None);
    send(&world, 31, 0, FREE, 300 * 24 * HOUR).await;
    assert_eq!(clock(&world).await["held"][0]["reason"], "ahead");
}
