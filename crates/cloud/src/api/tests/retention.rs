//! Retention through the whole door: policies that make sense, holds with reasons, and what limited readers see.

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::world::{Who, World, request};
use crate::access::Role;

const ADMIN: Who = Who::Person(Role::Administrator);
const VIEWER: Who = Who::Person(Role::Viewer);

async fn ask(
    world: &World,
    who: Who,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let path = format!("/api/v1/projects/{}{path}", world.ours.project);
    let mut request = request(method, &path, body);
    world.as_who(who, &mut request).await;
    let answer = world.send(request).await;
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    )
}

fn days(hot: Option<u32>, cold: Option<u32>, rollups: Option<u32>) -> Option<Value> {
    Some(json!({ "hot_days": hot, "cold_days": cold, "rollup_days": rollups }))
}

#[tokio::test]
async fn everything_is_kept_for_ever_until_somebody_says_otherwise() {
    let world = World::new().await;
    let (status, found) = ask(&world, VIEWER, "GET", "/retention", None).await;
    assert_eq!(status, 200);
    let for_ever = json!({ "hot_days": null, "cold_days": null, "rollup_days": null });
    assert_eq!(found["policy"], for_ever);
    let (status, preview) = ask(&world, VIEWER, "GET", "/retention/preview", None).await;
    assert_eq!((status, &preview["bytes"]), (200, &json!(0)));

    let (status, set) = ask(
        &world,
        ADMIN,
        "PUT",
        "/retention",
        days(Some(90), None, None),
    )
    .await;
    assert_eq!((status, &set["policy"]["hot_days"]), (200, &json!(90)));
    let (_, found) = ask(&world, VIEWER, "GET", "/retention", None).await;
    assert_eq!(found, set);
}

#[tokio::test]
async fn a_finer_tier_never_outlives_a_coarser_one() {
    let world = World::new().await;
    let cases = [
        (days(Some(90), Some(30), None), "cold_days"),
        (days(None, Some(30), None), "cold_days"),
        (days(Some(30), Some(90), Some(60)), "rollup_days"),
        (days(Some(30), None, Some(60)), "rollup_days"),
        (days(Some(0), None, None), "hot_days"),
        (days(Some(40_000), None, None), "hot_days"),
    ];
    for (body, field) in cases {
        let (status, problem) = ask(&world, ADMIN, "PUT", "/retention", body).await;
        assert_eq!(status, 422);
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let wrong = "/retention/preview?hot_days=90&cold_days=30";
    let (status, problem) = ask(&world, VIEWER, "GET", wrong, None).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (422, &json!("cold_days"))
    );
}

#[tokio::test]
async fn a_hold_has_a_reason_and_is_there_once() {
    let world = World::new().await;
    let element = format!("/elements/{}/retention", world.ours.element);
    for place in ["/retention", &element] {
        let hold = format!("{place}/hold");
        let release = format!("{place}/release");
        let why = |reason: &str| Some(json!({ "reason": reason }));
        let (status, problem) = ask(&world, ADMIN, "POST", &hold, why("  ")).await;
        assert_eq!(
            (status, &problem["errors"][0]["field"]),
            (422, &json!("reason"))
        );
        assert_eq!(
            ask(&world, ADMIN, "POST", &release, why("none")).await.0,
            409
        );
        let (status, set) = ask(&world, ADMIN, "POST", &hold, why("case 7")).await;
        assert_eq!((status, &set["reason"]), (201, &json!("case 7")));
        assert!(set["by"].as_str().unwrap().starts_with("usr_"));
        assert_eq!(
            ask(&world, ADMIN, "POST", &hold, why("case 8")).await.0,
            409
        );
        let (_, found) = ask(&world, VIEWER, "GET", place, None).await;
        assert_eq!(found["hold"]["reason"], "case 7");
        assert_eq!(
            ask(&world, ADMIN, "POST", &release, why("closed")).await.0,
            204
        );
        let (_, found) = ask(&world, VIEWER, "GET", place, None).await;
        assert_eq!(found["hold"], Value::Null);
        // And again, later.
        world.hands.advance(std::time::Duration::from_secs(1));
        assert_eq!(
            ask(&world, ADMIN, "POST", &hold, why("case 9")).await.0,
            201
        );
    }
}

#[tokio::test]
async fn an_element_follows_its_project_until_it_has_its_own() {
    let world = World::new().await;
    let path = format!("/elements/{}/retention", world.ours.element);
    let (_, found) = ask(&world, VIEWER, "GET", &path, None).await;
    assert_eq!(found["policy"], Value::Null);
    let body = days(Some(10), Some(20), Some(30));
    assert_eq!(ask(&world, ADMIN, "PUT", &path, body.clone()).await.0, 200);
    let (_, all) = ask(&world, VIEWER, "GET", "/retention", None).await;
    assert_eq!(all["elements"][0]["policy"], body.unwrap());
    assert_eq!(ask(&world, ADMIN, "DELETE", &path, None).await.0, 200);
    let (_, all) = ask(&world, VIEWER, "GET", "/retention", None).await;
    assert_eq!(all["elements"], json!([]));
}
