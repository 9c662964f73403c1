//! Two projects side by side: nothing of the other one is reached, whichever id is swapped.

use serde_json::json;

use super::world::{Who, World, request};
use crate::access::{Locations, NewApiKey, Role, Task, system};
use crate::pki::NewClaim;

const US: Who = Who::Person(Role::Administrator);

/// Every address of a thing inside a project.
fn things(ids: &super::world::Ids) -> Vec<String> {
    vec![
        format!("locations/{}", ids.location),
        format!("devices/{}", ids.device),
        format!("devices/{}/log", ids.device),
        format!("devices/{}/ledger", ids.device),
        format!("devices/{}/quarantine", ids.device),
        format!("elements/{}", ids.element),
        format!(
            "points?element={}&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z",
            ids.element
        ),
        format!("latest?element={}", ids.element),
    ]
}

#[tokio::test]
async fn a_foreign_id_is_not_found_wherever_it_stands() {
    let world = World::new().await;
    let (ours, theirs) = (&world.ours, &world.theirs);
    for thing in things(theirs) {
        for project in [ours.project, theirs.project] {
            let path = format!("/api/v1/projects/{project}/{thing}");
            let (status, answer) = world.ask(US, "GET", &path, None).await;
            assert_eq!(status, 404, "{path}: {answer}");
        }
    }
    for thing in things(ours) {
        let path = format!("/api/v1/projects/{}/{thing}", ours.project);
        assert_eq!(world.ask(US, "GET", &path, None).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn a_foreign_id_cannot_be_changed_or_pointed_at() {
    let world = World::new().await;
    let (ours, theirs) = (&world.ours, &world.theirs);
    let project = format!("/api/v1/projects/{}", ours.project);
    for (method, path, body) in [
        (
            "PATCH",
            format!("locations/{}", theirs.location),
            Some(json!({"name": "x"})),
        ),
        ("DELETE", format!("locations/{}", theirs.location), None),
        (
            "PATCH",
            format!("devices/{}", theirs.device),
            Some(json!({"name": "x"})),
        ),
        (
            "PATCH",
            format!("devices/{}", theirs.device),
            Some(json!({"enabled": false})),
        ),
        (
            "PATCH",
            format!("elements/{}", theirs.element),
            Some(json!({"name": "x"})),
        ),
        (
            "PATCH",
            format!("deployments/{}", theirs.deployment),
            Some(json!({"to": "2026-03-02T00:00:00Z"})),
        ),
    ] {
        let (status, answer) = world
            .ask(US, method, &format!("{project}/{path}"), body)
            .await;
        assert_eq!(status, 404, "{method} {path}: {answer}");
    }
    let spare = world.spare_element().await;
    for (path, body, field) in [
        (
            "elements",
            json!({"name": "x", "location": theirs.location.to_string()}),
            "location",
        ),
        (
            "claims",
            json!({"name": "x", "location": theirs.location.to_string()}),
            "location",
        ),
        (
            "deployments",
            json!({
                "element": spare.to_string(), "device": theirs.device.to_string(),
                "channel": "level", "from": "2026-03-01T00:00:00Z",
            }),
            "device",
        ),
        (
            "deployments",
            json!({
                "element": theirs.element.to_string(), "device": ours.device.to_string(),
                "channel": "level", "from": "2026-03-01T00:00:00Z",
            }),
            "element",
        ),
    ] {
        let (status, answer) = world
            .ask(US, "POST", &format!("{project}/{path}"), Some(body))
            .await;
        assert_eq!(status, 422, "{path}: {answer}");
        assert_eq!(answer["errors"][0]["field"], field);
    }
}

#[tokio::test]
async fn members_and_the_trail_of_the_other_project_are_out_of_reach() {
    let world = World::new().await;
    let (ours, theirs) = (world.ours.project, world.theirs.project);
    let stranger = world.person(Who::Stranger).await;
    let ask = |method: &'static str, project, rest: String, body| {
        let path = format!("/api/v1/projects/{project}/{rest}");
        let world = &world;
        async move { world.ask(US, method, &path, body).await }
    };
    for project in [ours, theirs] {
        for (method, rest, body) in [
            (
                "PATCH",
                format!("members/{stranger}"),
                Some(json!({ "role": "viewer" })),
            ),
            ("GET", format!("members/{stranger}/hanging"), None),
            (
                "POST",
                format!("members/{stranger}/remove"),
                Some(json!({ "keys": "revoke" })),
            ),
        ] {
            let (status, answer) = ask(method, project, rest, body).await;
            assert_eq!(status, 404, "{method}: {answer}");
        }
    }
    for rest in [
        "trail",
        "trail/export",
        "access?at=2026-03-02T00:00:00Z",
        "members",
    ] {
        assert_eq!(
            ask("GET", theirs, rest.to_owned(), None).await.0,
            404,
            "{rest}"
        );
        let (status, answer) = ask("GET", ours, rest.to_owned(), None).await;
        assert_eq!(status, 200, "{rest}");
        let text = answer.to_string();
        assert!(
            !text.contains("theirs") && !text.contains("stranger"),
            "{rest}: {text}"
        );
    }
    let mine = json!({ "locations": [world.theirs.location.to_string()] });
    let member = world.spare_member().await;
    let (status, answer) = ask("PATCH", ours, format!("members/{member}"), Some(mine)).await;
    assert_eq!(
        (status, &answer["errors"][0]["field"]),
        (422, &json!("locations"))
    );
}

#[tokio::test]
async fn lists_hold_nothing_of_the_other_project_or_beyond_the_location() {
    let world = World::new().await;
    let project = format!("/api/v1/projects/{}", world.ours.project);
    for list in [
        "locations",
        "devices",
        "claims",
        "elements",
        "deployments",
        "members",
    ] {
        let (status, answer) = world
            .ask(US, "GET", &format!("{project}/{list}"), None)
            .await;
        assert_eq!(status, 200);
        let text = answer.to_string();
        assert!(
            !text.contains("theirs") && !text.contains("stranger"),
            "{list}: {text}"
        );
        if list == "members" {
            continue;
        }
        let (status, answer) = world
            .ask(Who::Limited, "GET", &format!("{project}/{list}"), None)
            .await;
        assert_eq!(status, 200);
        let text = answer.to_string();
        assert!(
            !text.contains("there") && !text.contains("level"),
            "{list}: {text}"
        );
    }
    let (_, me) = world.ask(US, "GET", "/api/v1/me", None).await;
    assert_eq!(me["projects"].as_array().unwrap().len(), 1);
    assert_eq!(me["projects"][0]["role"], "administrator");
}

#[tokio::test]
async fn an_editor_may_rename_a_device_but_not_switch_it_off() {
    let world = World::new().await;
    let path = format!(
        "/api/v1/projects/{}/devices/{}",
        world.ours.project, world.ours.device
    );
    let editor = Who::Person(Role::Editor);
    let both = json!({ "name": "renamed", "enabled": false });
    assert_eq!(
        world
            .ask(editor, "PATCH", &path, Some(both.clone()))
            .await
            .0,
        403
    );
    let (_, before) = world.ask(editor, "GET", &path, None).await;
    assert_eq!(before["name"], "logger", "nothing was changed");
    let (status, after) = world.ask(US, "PATCH", &path, Some(both)).await;
    assert_eq!(status, 200, "{after}");
    assert_eq!(after["name"], "renamed");
    assert_eq!(after["state"], "disabled");
    assert_eq!(after["enabled"], false);
}

#[tokio::test]
async fn a_foreign_claim_or_key_can_be_neither_withdrawn_nor_used() {
    let world = World::new().await;
    let (ours, theirs) = (&world.ours, &world.theirs);
    let task = system(Task::AdminCommand).project(theirs.project);
    let claim = NewClaim {
        name: "theirs".to_owned(),
        simulated: false,
        location: None,
    };
    let claim = world.pki.create_claim(&task.grant(), claim).await.unwrap();
    let key = NewApiKey {
        name: "theirs".to_owned(),
        role: Role::Administrator,
        locations: Locations::All,
        expires: None,
    };
    let key = world.access.create_api_key(&task.grant(), key).await;
    let (key, secret) = key.unwrap();
    for (project, thing) in [
        (ours.project, format!("claims/{}", claim.claim.id)),
        (theirs.project, format!("claims/{}", claim.claim.id)),
        (ours.project, format!("keys/{}", key.id)),
        (theirs.project, format!("keys/{}", key.id)),
    ] {
        let path = format!("/api/v1/projects/{project}/{thing}");
        assert_eq!(world.ask(US, "DELETE", &path, None).await.0, 404, "{path}");
    }
    for (project, status) in [(ours.project, 404), (theirs.project, 200)] {
        let path = format!("/api/v1/projects/{project}/devices");
        let mut request = request("GET", &path, None);
        let value = format!("Bearer {secret}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        assert_eq!(world.send(request).await.status(), status, "{path}");
    }
}
