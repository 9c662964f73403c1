//! The trail at the front door: every row that changes something leaves an entry, every refusal does, and only who may
//! read it does.

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::samples::sample;
use super::world::{Who, World, request};
use crate::access::Role;
use crate::api::door::Needs;
use crate::api::table;

const US: Who = Who::Person(Role::Administrator);
const NEWEST: &str = "?limit=20";

/// The entries of the instance, and of both projects, that a request left.
async fn entries_of(world: &World, request_id: &str) -> Vec<Value> {
    world.access.trail().flush(true).await;
    let mut found = Vec::new();
    for (who, path) in [
        (Who::Operator, format!("/api/v1/instance/trail{NEWEST}")),
        (
            US,
            format!("/api/v1/projects/{}/trail{NEWEST}", world.ours.project),
        ),
        (
            Who::Stranger,
            format!("/api/v1/projects/{}/trail{NEWEST}", world.theirs.project),
        ),
    ] {
        let (status, answer) = world.ask(who, "GET", &path, None).await;
        assert_eq!(status, 200, "{path}: {answer}");
        let items = answer["items"].as_array().unwrap();
        found.extend(
            items
                .iter()
                .filter(|entry| entry["request_id"] == request_id)
                .cloned(),
        );
    }
    found
}

/// Sends as somebody; answers the status and the request's id.
async fn send(
    world: &World,
    who: Who,
    mut request: http::Request<axum::body::Body>,
) -> (u16, String) {
    world.as_who(who, &mut request).await;
    let response = world.send(request).await;
    let id = response.headers()["x-request-id"].to_str().unwrap();
    (response.status().as_u16(), id.to_owned())
}

#[tokio::test]
async fn every_row_that_changes_something_leaves_an_entry() {
    let world = World::new().await;
    let mut forgotten = Vec::new();
    for row in table() {
        let name = row.name();
        if name.starts_with("GET ") || row.reads {
            continue;
        }
        let who = match row.needs() {
            Needs::Nobody => Who::None,
            Needs::Operator => Who::Operator,
            _ => US,
        };
        let request = sample(&world, &name).await.unwrap();
        let (status, id) = send(&world, who, request).await;
        assert!(status < 500, "{name}: {status}");
        let entries = entries_of(&world, &id).await;
        // A refusal is told by the door; what is done must be told by the room that does it.
        let told = entries.iter().any(|entry| match status {
            200..300 => entry["act"] != "api.change" && entry["result"] == "done",
            _ => entry["result"] == "refused",
        });
        if !told {
            forgotten.push(format!("{name}: {status} {entries:?}"));
        }
    }
    assert!(forgotten.is_empty(), "no entry: {forgotten:#?}");
}

#[tokio::test]
async fn every_refusal_leaves_an_entry_in_the_right_trail() {
    let world = World::new().await;
    let project = format!("/api/v1/projects/{}", world.ours.project);
    let mut refused = Vec::new();
    for (who, method, path, code, in_project) in [
        (
            Who::None,
            "GET",
            "/api/v1/me".to_owned(),
            "unauthenticated",
            false,
        ),
        (
            Who::Garbage,
            "GET",
            project.clone(),
            "unauthenticated",
            false,
        ),
        (
            Who::Revoked,
            "GET",
            format!("{project}/devices"),
            "unauthenticated",
            false,
        ),
        (
            Who::Expired,
            "GET",
            format!("{project}/elements"),
            "unauthenticated",
            false,
        ),
        (Who::Stranger, "GET", project.clone(), "not_found", false),
        (
            Who::None,
            "GET",
            "/api/v1/nothing".to_owned(),
            "unauthenticated",
            false,
        ),
        (US, "GET", "/api/v1/nothing".to_owned(), "not_found", false),
        (
            US,
            "DELETE",
            format!("{project}/members"),
            "method_not_allowed",
            false,
        ),
        (
            Who::Person(Role::Viewer),
            "GET",
            format!("{project}/trail"),
            "forbidden",
            true,
        ),
        (
            Who::Key(Role::Editor),
            "GET",
            format!("{project}/keys"),
            "forbidden",
            true,
        ),
        (
            US,
            "GET",
            format!("{project}/devices/{}", world.theirs.device),
            "not_found",
            true,
        ),
    ] {
        let (_, id) = send(&world, who, request(method, &path, None)).await;
        let entries = entries_of(&world, &id).await;
        let [entry] = entries.as_slice() else {
            panic!("{method} {path} as {}: {entries:?}", who.name());
        };
        assert_eq!(entry["act"], "door.refuse", "{path}");
        assert_eq!(entry["result"], "refused", "{path}");
        assert_eq!(entry["code"], code, "{path}");
        let known = !matches!(who, Who::None | Who::Garbage | Who::Revoked | Who::Expired);
        assert_eq!(entry["who"]["kind"] != "nobody", known, "{path}");
        refused.push((in_project, id));
    }
    let (_, trail) = world
        .ask(
            US,
            "GET",
            &format!("{project}/trail?act=door&limit=1000"),
            None,
        )
        .await;
    for (in_project, id) in refused {
        let found = trail["items"].as_array().unwrap().iter();
        let found = found
            .filter(|entry| entry["request_id"] == id.as_str())
            .count();
        assert_eq!(
            found == 1,
            in_project,
            "strangers leave nothing in a project's trail"
        );
    }
}

#[tokio::test]
async fn an_entry_tells_who_what_before_after_and_why() {
    let world = World::new().await;
    let person = world.spare_member().await;
    let path = format!("/api/v1/projects/{}/members/{person}", world.ours.project);
    let change = json!({ "role": "editor", "locations": null, "until": "2030-01-01T00:00:00Z", "reason": "new job" });
    let (status, answer) = world.ask(US, "PATCH", &path, Some(change)).await;
    assert_eq!(status, 200, "{answer}");
    let path = format!(
        "/api/v1/projects/{}/trail?object={person}&act=member.change",
        world.ours.project
    );
    let (_, trail) = world.ask(US, "GET", &path, None).await;
    let entry = &trail["items"][0];
    assert_eq!(entry["who"]["id"], world.person(US).await.to_string());
    assert_eq!(entry["who"]["name"], "administrator");
    assert_eq!(
        entry["object"],
        json!({ "kind": "person", "id": person.to_string() })
    );
    assert_eq!(entry["old"]["role"], "viewer");
    assert_eq!(
        entry["old"]["locations"],
        json!([world.ours.location.to_string()])
    );
    assert_eq!(
        entry["new"],
        json!({ "role": "editor", "locations": null, "until": "2030-01-01T00:00:00Z" })
    );
    assert_eq!(entry["reason"], "new job");
    assert_eq!(entry["damaged"], false);
}

#[tokio::test]
async fn a_file_holds_what_the_filter_says_and_taking_it_is_told() {
    let world = World::new().await;
    let path = format!("/api/v1/projects/{}/trail/export", world.ours.project);
    for (query, lines) in [
        ("?act=device.enrol", 2),
        ("?act=device.enrol&format=jsonl", 1),
    ] {
        let mut request = request("GET", &format!("{path}{query}"), None);
        world.as_who(Who::Person(Role::Auditor), &mut request).await;
        let response = world.send(request).await;
        assert_eq!(response.status(), 200);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text.lines().count(), lines, "{text}");
        assert!(text.contains("device.enrol"), "{text}");
    }
    let path = format!(
        "/api/v1/projects/{}/trail?act=trail.export",
        world.ours.project
    );
    let (_, trail) = world.ask(US, "GET", &path, None).await;
    assert_eq!(trail["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn secrets_are_in_no_entry() {
    let world = World::new().await;
    let project = format!("/api/v1/projects/{}", world.ours.project);
    let new = json!({ "name": "new", "role": "viewer", "expires": "never" });
    let (_, made) = world
        .ask(US, "POST", &format!("{project}/keys"), Some(new))
        .await;
    let secret = made["secret"].as_str().unwrap();
    let new = json!({ "name": "new" });
    let (_, claim) = world
        .ask(US, "POST", &format!("{project}/claims"), Some(new))
        .await;
    let code = claim["line"].as_str().unwrap().split(':').nth(3).unwrap();
    let link = world.link(US).await;
    world.access.trail().flush(true).await;
    for (who, path) in [
        (US, format!("{project}/trail?limit=1000")),
        (
            Who::Operator,
            "/api/v1/instance/trail?limit=1000".to_owned(),
        ),
    ] {
        let (_, trail) = world.ask(who, "GET", &path, None).await;
        let text = trail.to_string();
        assert!(text.len() > 1_000);
        for canary in [secret, code, &link] {
            assert!(!text.contains(canary), "{path}");
        }
    }
}
