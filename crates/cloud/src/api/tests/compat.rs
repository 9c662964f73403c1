//! The rules that clients of the other API count on, each by itself, through the whole door.

use axum::body::Body;
use fieldkeep_protocol::ElementId;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::measurements::{at, send, value};
use super::world::{Who, World, request};
use crate::access::{Locations, Role, Scopes, ServiceAccountChange, Task, system};
use crate::trail::Origin;

const ADMIN: Who = Who::Person(Role::Administrator);
const V2: &str = "/compat/consibio/v2";
const PROJECT: &str = "Pr3jectPr3jectPr3jec";
const DEVICE: &str = "Zy8xWv5uTs2rQp9oNm6l";
const ELEMENT: &str = "Ab3dEf6hIj9kLm2nOp5q";

/// A world whose things had ids elsewhere.
async fn world() -> World {
    let world = World::new().await;
    let ours = &world.ours;
    let items = json!({ "items": [
        { "object": ours.project.to_string(), "legacy_id": PROJECT },
        { "object": ours.device.to_string(), "legacy_id": DEVICE },
        { "object": ours.element.to_string(), "legacy_id": ELEMENT },
    ] });
    let path = format!("/api/v1/projects/{}/legacy-ids", ours.project);
    let (status, answer) = world.ask(ADMIN, "PATCH", &path, Some(items)).await;
    assert_eq!(status, 200, "{answer}");
    world
}

async fn get(world: &World, token: &str, path: &str) -> (u16, HeaderMap, String) {
    let mut sent = request("GET", &format!("{V2}{path}"), None);
    let value = format!("Bearer {token}").parse().unwrap();
    sent.headers_mut().insert(header::AUTHORIZATION, value);
    read(world, sent).await
}

async fn read(world: &World, sent: Request<Body>) -> (u16, HeaderMap, String) {
    let (parts, body) = world.send(sent).await.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (parts.status.as_u16(), parts.headers, text)
}

/// The payload of a good answer.
async fn payload(world: &World, token: &str, path: &str) -> Value {
    let (status, headers, text) = get(world, token, path).await;
    assert_eq!(status, 200, "{path}: {text}");
    assert_eq!(
        headers[header::CONTENT_TYPE],
        "application/json; charset=utf-8"
    );
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["status"], "ok", "{path}: {text}");
    answer["payload"].clone()
}

/// What a refusal says.
async fn error(world: &World, token: &str, path: &str) -> String {
    let (status, _, text) = get(world, token, path).await;
    assert_eq!(status, 200, "{path}: {text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["status"], "error", "{path}: {text}");
    answer["payload"]["error"].as_str().unwrap().to_owned()
}

fn keys(map: &Value) -> Vec<String> {
    map.as_object().unwrap().keys().cloned().collect()
}

async fn post(world: &World, path: &str, kind: &str, body: String) -> (u16, Value) {
    let sent = Request::builder()
        .method("POST")
        .uri(format!("{V2}{path}"))
        .header(header::HOST, "localhost:8443")
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(body))
        .unwrap();
    let (status, _, text) = read(world, sent).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn signing_in_looks_as_its_clients_expect() {
    let world = world().await;
    let (account, _, secret) = world.service(Scopes::ALL).await;
    let login = world.access.service_login(account);
    let form = |login: &str, secret: &str| {
        let login = login.replace('@', "%40");
        format!(
            "grant_type=password&username={login}&password={secret}&client_id=R_PACKAGE_CLIENT&x=y"
        )
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    let refused = (
        403,
        json!({ "error": "unauthorized", "error_description": "Invalid credentials." }),
    );
    let off = post(&world, "/oauth/token", FORM, form(&login, &secret)).await;
    assert_eq!(off, refused, "off until it is turned on");
    world.legacy_token().await;
    let (status, token) = post(&world, "/oauth/token", FORM, form(&login, &secret)).await;
    assert_eq!(status, 200);
    assert_eq!(
        keys(&token),
        ["access_token", "email", "expires_in", "user_id"]
    );
    assert_eq!(
        (&token["expires_in"], &token["email"]),
        (&json!(3600), &json!(login))
    );
    let upper = login.to_uppercase();
    assert_eq!(
        post(&world, "/oauth/token", FORM, form(&upper, &secret))
            .await
            .0,
        200
    );
    for (login, secret) in [(login.as_str(), "wrong"), ("a@b.c", &secret), ("", "")] {
        let found = post(&world, "/oauth/token", FORM, form(login, secret)).await;
        assert_eq!(found, refused, "{login}");
        let body = json!({ "username": login, "password": secret }).to_string();
        assert_eq!(
            post(&world, "/login", "application/json", body).await,
            refused
        );
    }
    let body = json!({ "username": login, "password": secret }).to_string();
    for kind in ["application/json", "text/plain"] {
        let (status, answer) = post(&world, "/login", kind, body.clone()).await;
        assert_eq!((status, &answer["status"]), (200, &json!("ok")));
        let token = answer["payload"]["token"].as_str().unwrap();
        let me = payload(&world, token, "/users/me").await;
        assert_eq!(keys(&me), [account.to_string()], "exactly one entry");
        assert_eq!(me[account.to_string()]["email"], login);
    }
}

#[tokio::test]
async fn its_tokens_open_nothing_else_and_nothing_else_opens_it() {
    let world = world().await;
    let token = world.legacy_token().await;
    let mut sent = request("GET", "/api/v1/me", None);
    let value = format!("Bearer {token}").parse().unwrap();
    sent.headers_mut().insert(header::AUTHORIZATION, value);
    assert_eq!(read(&world, sent).await.0, 401);
    let api = world.token(Scopes::ALL).await;
    for (credential, path) in [
        (api.as_str(), "/projects"),
        ("", "/users/me"),
        ("fkt_x", "/projects/x"),
    ] {
        let (status, headers, text) = get(&world, credential, path).await;
        assert_eq!((status, text.as_str()), (401, "Unauthenticated"));
        assert_eq!(
            headers[header::WWW_AUTHENTICATE],
            "Bearer error=\"invalid_token\""
        );
    }
    // Turned off, it is over at once.
    assert_eq!(get(&world, &token, "/projects").await.0, 200);
    let path = format!("/api/v1/projects/{}/compatibility", world.ours.project);
    let off = Some(json!({ "consibio_v2": false }));
    assert_eq!(
        world
            .ask(Who::Person(Role::Editor), "PUT", &path, off.clone())
            .await
            .0,
        403
    );
    assert_eq!(world.ask(ADMIN, "PUT", &path, off).await.0, 200);
    assert_eq!(get(&world, &token, "/projects").await.0, 401);
}

#[tokio::test]
async fn things_are_maps_by_the_ids_that_they_had() {
    let world = world().await;
    let token = world.legacy_token().await;
    let projects = payload(&world, &token, "/projects").await;
    assert_eq!(keys(&projects), [PROJECT]);
    let me = payload(&world, &token, "/users/me").await;
    let roles = &projects[PROJECT]["roles"];
    assert_eq!(keys(roles), keys(&me), "the caller is among the roles");
    for path in [
        "/projects/Pr3jectPr3jectPr3jec".to_owned(),
        format!("/projects/{}", world.ours.project),
    ] {
        assert_eq!(
            payload(&world, &token, &path).await,
            projects,
            "by either id"
        );
    }
    let project = format!("/projects/{PROJECT}");
    let elements = payload(&world, &token, &format!("{project}/elements")).await;
    let element = &elements[ELEMENT];
    assert_eq!(
        (&element["name"], &element["unit"]),
        (&json!("level"), &json!("m"))
    );
    assert!(element["color"].as_str().unwrap().starts_with('#'));
    assert_eq!(element["source"], format!("devices/{DEVICE}/level/value"));
    assert_eq!(
        element["telemetry"]["cur_val"],
        json!({ "val": 0, "time": 0 })
    );
    for asked in [ELEMENT.to_owned(), world.ours.element.to_string()] {
        let one = payload(&world, &token, &format!("{project}/elements/{asked}")).await;
        assert_eq!(
            (keys(&one), &one[ELEMENT]),
            (vec![ELEMENT.to_owned()], element)
        );
    }
    let devices = payload(&world, &token, &format!("{project}/devices")).await;
    let device = &devices[DEVICE];
    assert_eq!(device["project_id"], PROJECT);
    assert_eq!(
        device["channels"]["level"]["sub_channels"]["value"]["element_id"],
        ELEMENT
    );
    assert_eq!(
        (&device["controllers"], &device["alarms"]),
        (&json!({}), &json!({}))
    );
    let one = payload(&world, &token, &format!("{project}/devices/{DEVICE}")).await;
    assert_eq!(one, devices);
}

#[tokio::test]
async fn what_is_not_there_is_an_answer() {
    let world = world().await;
    let token = world.legacy_token().await;
    let unauthorized = "Unauthorized or no data found";
    for project in [
        world.theirs.project.to_string(),
        "nothing".to_owned(),
        "%2e%2e".to_owned(),
    ] {
        for rest in [
            "",
            "/devices",
            "/elements",
            "/datalog?elements=a&from_time=0&to_time=1",
        ] {
            let path = format!("/projects/{project}{rest}");
            assert_eq!(error(&world, &token, &path).await, unauthorized, "{path}");
        }
    }
    for thing in [
        format!("devices/{}", world.theirs.device),
        format!("elements/{}", world.theirs.element),
        "elements/nothing".to_owned(),
        format!("elements/{DEVICE}"),
        format!(
            "datalog?elements={}&from_time=0&to_time=1",
            world.theirs.element
        ),
    ] {
        let path = format!("/projects/{PROJECT}/{thing}");
        assert_eq!(
            error(&world, &token, &path).await,
            "No data found",
            "{path}"
        );
    }
    let path = format!("/projects/{PROJECT}/datalog?elements={ELEMENT}&from_time=0");
    assert!(error(&world, &token, &path).await.contains("Unix seconds"));
    let public = request("GET", &format!("{V2}/test"), None);
    let (status, _, text) = read(&world, public).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, keys(&answer)),
        (200, vec!["status".to_owned(), "time".to_owned()])
    );
    assert!(answer["time"].is_f64());
}

#[tokio::test]
async fn an_account_limited_to_locations_sees_only_these() {
    let world = world().await;
    let (account, _, secret) = world.service(Scopes::READ).await;
    world.legacy_token().await;
    let session = system(Task::AdminCommand).project(world.ours.project);
    let change = ServiceAccountChange {
        locations: Some(Locations::only([world.here])),
        ..ServiceAccountChange::default()
    };
    let grant = session.grant();
    world
        .access
        .change_service_account(&grant, account, change)
        .await
        .unwrap();
    let login = world.access.service_login(account);
    let issued = world
        .access
        .issue_legacy_token(&login, &secret, "test", &Origin::here())
        .await
        .unwrap();
    for rest in ["devices", "elements"] {
        let path = format!("/projects/{PROJECT}/{rest}");
        assert_eq!(
            payload(&world, &issued.token, &path).await,
            json!({}),
            "a map, not a list"
        );
    }
    let path = format!("/projects/{PROJECT}/datalog?elements={ELEMENT}&from_time=0&to_time=1");
    assert_eq!(error(&world, &issued.token, &path).await, "No data found");
}

#[tokio::test]
async fn points_come_by_its_rules() {
    let world = world().await;
    send(&world, 0, 200, [0; 32]).await;
    let stored: Vec<(i64, f64)> = (0..200).map(|number| (at(number), value(number))).collect();
    let token = world.legacy_token().await;
    let first = stored.first().unwrap();
    let last = stored.last().unwrap();
    let spare: ElementId = world.spare_element().await;
    let log = async |elements: &str, from: &str, to: &str| {
        let path = format!(
            "/projects/{PROJECT}/datalog?elements={elements}&from_time={from}&to_time={to}&interval=60"
        );
        payload(&world, &token, &path).await
    };
    let expected: Vec<Value> = stored
        .iter()
        .map(|(us, value)| json!({ "t": *us as f64 / 1e6, "v": value }))
        .collect();
    let seconds = |us: i64| format!("{}", us as f64 / 1e6);
    let (from, to) = (seconds(first.0), seconds(last.0));
    let whole = log(ELEMENT, &from, &to).await;
    assert_eq!(
        whole,
        json!({ ELEMENT: expected }),
        "both ends are included"
    );
    assert_eq!(
        log(ELEMENT, "1.7723e+09", "1.7724e%2B09").await[ELEMENT],
        json!(expected)
    );
    for separator in [";", "%3B"] {
        let both = log(
            &format!("{ELEMENT}{separator}{spare}{separator}none"),
            &from,
            &to,
        )
        .await;
        let mut found = keys(&both);
        found.sort();
        let mut wanted = vec![ELEMENT.to_owned(), spare.to_string()];
        wanted.sort();
        assert_eq!(found, wanted, "what is not there is left out");
        assert_eq!(both[spare.to_string()], json!([]));
    }
    let path = format!("/projects/{PROJECT}/elements/{ELEMENT}");
    let one = payload(&world, &token, &path).await;
    let now = &one[ELEMENT]["telemetry"]["cur_val"];
    assert_eq!(now, &json!({ "val": last.1, "time": last.0 as f64 / 1e6 }));
    for (elements, from, to, word) in [
        ("", "0", "1", "missing"),
        (ELEMENT, "2", "1", "before"),
        (ELEMENT, "0", "20000000", "180 days"),
    ] {
        let path = format!(
            "/projects/{PROJECT}/datalog?elements={elements}&from_time={from}&to_time={to}"
        );
        assert!(error(&world, &token, &path).await.contains(word), "{word}");
    }
}

#[tokio::test]
async fn ids_from_elsewhere_are_unique_and_the_administrators() {
    let world = world().await;
    let path = format!("/api/v1/projects/{}/legacy-ids", world.ours.project);
    let spare = world.spare_element().await;
    let set = async |object: String, id: Value| {
        let items = json!({ "items": [{ "object": object, "legacy_id": id }] });
        world.ask(ADMIN, "PATCH", &path, Some(items)).await.0
    };
    assert_eq!(set(spare.to_string(), json!(ELEMENT)).await, 422, "taken");
    assert_eq!(
        set(spare.to_string(), json!(DEVICE)).await,
        200,
        "of another kind"
    );
    assert_eq!(set(spare.to_string(), json!("a;b")).await, 422);
    assert_eq!(
        set(spare.to_string(), json!(world.ours.element.to_string())).await,
        422
    );
    assert_eq!(set(world.theirs.element.to_string(), json!("e")).await, 404);
    assert_eq!(set(world.theirs.project.to_string(), json!("p")).await, 404);
    assert_eq!(set("usr_x".to_owned(), json!("u")).await, 422);
    // Two things change places in one request.
    let swap = json!({ "items": [
        { "object": spare.to_string(), "legacy_id": ELEMENT },
        { "object": world.ours.element.to_string(), "legacy_id": null },
    ] });
    let (status, listed) = world.ask(ADMIN, "PATCH", &path, Some(swap)).await;
    assert_eq!(
        (status, listed["items"].as_array().unwrap().len()),
        (200, 3)
    );
}
