//! The door itself: what is told to whom before anything is read, and what every answer carries.

use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::world::{Who, World, request};
use crate::access::Role;
use crate::api::problem::Wire;

const VIEWER: Who = Who::Key(Role::Viewer);
const ADMINISTRATOR: Who = Who::Person(Role::Administrator);

async fn problem(response: Response<Body>) -> Wire {
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/problem+json"
    );
    let id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let wire: Wire = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(wire.instance, id);
    wire
}

#[tokio::test]
async fn what_is_in_no_row_is_refused_before_it_is_told_apart() {
    let world = World::new().await;
    for (method, path) in [
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/v2/me"),
        ("GET", "/.git/config"),
        ("GET", "/APP/"),
        ("GET", "//app/"),
        ("POST", "/api/v1/projects/%ff"),
        ("GET", "/api/v1/projects/%ff"),
        ("POST", "/livez"),
        ("DELETE", "/api/v1/me"),
        ("PUT", "/api/v1/auth/sign-in"),
        ("TRACE", "/api/v1/me"),
        ("OPTIONS", "/api/v1/me"),
        ("BREW", "/api/v1/me"),
    ] {
        let mut answers = Vec::new();
        for who in [Who::None, Who::Garbage, Who::Expired, Who::Revoked] {
            let mut request = request(method, path, None);
            world.as_who(who, &mut request).await;
            let response = world.send(request).await;
            assert_eq!(response.status(), 401, "{method} {path} as {}", who.name());
            let mut headers = response.headers().clone();
            assert!(headers.remove("x-request-id").is_some());
            assert!(!headers.contains_key(header::ALLOW));
            let mut wire = problem(response).await;
            wire.instance.clear();
            headers.remove(header::CONTENT_LENGTH);
            answers.push((headers, serde_json::to_string(&wire).unwrap()));
        }
        answers.dedup();
        assert_eq!(
            answers.len(),
            1,
            "{method} {path} tells bad credentials apart"
        );
        let mut request = request(method, path, None);
        world.as_who(VIEWER, &mut request).await;
        let status = world.send(request).await.status();
        assert!(
            status == StatusCode::NOT_FOUND || status == StatusCode::METHOD_NOT_ALLOWED,
            "{method} {path}: {status}"
        );
    }
}

#[tokio::test]
async fn a_wrong_method_says_which_are_right_to_those_who_may_know() {
    let world = World::new().await;
    let mut request = request("DELETE", "/api/v1/projects", None);
    world.as_who(VIEWER, &mut request).await;
    let response = world.send(request).await;
    assert_eq!(response.status(), 405);
    let allow = response.headers()[header::ALLOW]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    assert_eq!(problem(response).await.code.word(), "method_not_allowed");
}

#[tokio::test]
async fn strangers_are_refused_before_their_body_is_read() {
    let world = World::new().await;
    let mut request = request("POST", "/api/v1/projects", None);
    *request.body_mut() = Body::from_stream(futures_util::stream::once(async {
        panic!("the body was read");
        #[expect(unreachable_code, reason = "gives the stream its type")]
        Ok::<Vec<u8>, std::io::Error>(Vec::new())
    }));
    assert_eq!(world.send(request).await.status(), 401);
}

#[tokio::test]
async fn a_write_with_a_cookie_proves_that_it_comes_from_our_page() {
    let world = World::new().await;
    let path = format!("/api/v1/projects/{}/locations", world.ours.project);
    let body = json!({ "name": "new" });
    for (headers, expected) in [
        (&[][..], 201),
        (&[("x-fieldkeep", "")], 403),
        (&[("x-fieldkeep", "0")], 403),
        (&[("sec-fetch-site", "cross-site")], 403),
        (&[("sec-fetch-site", "same-site")], 403),
        (
            &[
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://localhost:8443"),
            ],
            201,
        ),
        (&[("origin", "https://localhost:9999")], 403),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
    ] {
        let mut request = request("POST", &path, Some(body.clone()));
        world.as_who(ADMINISTRATOR, &mut request).await;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let status = world.send(request).await.status();
        assert_eq!(status, expected, "{headers:?}");
    }
    let mut by_key = request("POST", &path, Some(body));
    world.as_who(Who::Key(Role::Editor), &mut by_key).await;
    by_key
        .headers_mut()
        .insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(world.send(by_key).await.status(), 201, "a key is no cookie");
}

#[tokio::test]
async fn a_foreign_page_can_sign_nobody_in_and_gets_no_grant_to_read() {
    let world = World::new().await;
    let token = world.link(ADMINISTRATOR).await;
    let mut request = request("POST", "/api/v1/auth/link", Some(json!({ "token": token })));
    request
        .headers_mut()
        .insert("origin", "https://evil.example".parse().unwrap());
    let response = world.send(request).await;
    assert_eq!(response.status(), 403);
    for name in response.headers().keys() {
        assert!(!name.as_str().starts_with("access-control-"), "{name}");
    }
}

#[tokio::test]
async fn a_bad_key_is_not_covered_by_a_good_cookie() {
    let world = World::new().await;
    let mut request = request("GET", "/api/v1/me", None);
    world.as_who(ADMINISTRATOR, &mut request).await;
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, "Bearer fk_bad".parse().unwrap());
    assert_eq!(world.send(request).await.status(), 401);
}

#[tokio::test]
async fn a_link_signs_in_once_with_a_cookie_that_scripts_cannot_see() {
    let world = World::new().await;
    let token = world.link(ADMINISTRATOR).await;
    let ask = || request("POST", "/api/v1/auth/link", Some(json!({ "token": token })));
    let response = world.send(ask()).await;
    assert_eq!(response.status(), 200);
    let cookie = response.headers()[header::SET_COOKIE]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(cookie.starts_with("__Host-fk-"), "{cookie}");
    for part in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let again = world.send(ask()).await;
    assert_eq!(again.status(), 401);
    assert_eq!(problem(again).await.code.word(), "link_invalid");

    let pair = cookie.split(';').next().unwrap();
    let mut me = request("GET", "/api/v1/me", None);
    me.headers_mut()
        .insert(header::COOKIE, pair.parse().unwrap());
    let response = world.send(me).await;
    assert_eq!(response.status(), 200);

    let mut out = request("POST", "/api/v1/auth/sign-out", None);
    out.headers_mut()
        .insert(header::COOKIE, pair.parse().unwrap());
    out.headers_mut()
        .insert("x-fieldkeep", "1".parse().unwrap());
    let response = world.send(out).await;
    assert_eq!(response.status(), 204);
    assert!(
        response.headers()[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );

    let mut me = request("GET", "/api/v1/me", None);
    me.headers_mut()
        .insert(header::COOKIE, pair.parse().unwrap());
    assert_eq!(
        world.send(me).await.status(),
        401,
        "the session is over on the server too"
    );
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_hold_a_browser_back() {
    let world = World::new().await;
    for (who, path) in [
        (Who::None, "/app/"),
        (Who::None, "/app/assets/none.js"),
        (Who::None, "/livez"),
        (Who::None, "/"),
        (Who::None, "/api/v1/me"),
        (VIEWER, "/api/v1/me"),
        (VIEWER, "/api/v1/nothing"),
    ] {
        let mut request = request("GET", path, None);
        world.as_who(who, &mut request).await;
        let response = world.send(request).await;
        let headers = response.headers();
        for (name, part) in [
            ("strict-transport-security", "max-age=31536000"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("permissions-policy", "camera=()"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("x-request-id", "req_"),
        ] {
            let value = headers.get(name).map(|value| value.to_str().unwrap());
            assert!(
                value.is_some_and(|value| value.contains(part)),
                "{path} {name}: {value:?}"
            );
        }
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            !policy.contains("script-src") && !policy.contains("unsafe-eval"),
            "{policy}"
        );
        if path.starts_with("/api") {
            assert_eq!(headers["cache-control"], "no-store");
        }
    }
}

#[tokio::test]
async fn a_mistake_is_told_by_field_and_reason() {
    let world = World::new().await;
    let project = format!("/api/v1/projects/{}", world.ours.project);
    let points = format!("{project}/points?element={}", world.ours.element);
    let range = "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z";
    for (method, path, body, fields) in [
        (
            "POST",
            format!("{project}/locations"),
            json!({}),
            &["name"][..],
        ),
        (
            "POST",
            format!("{project}/locations"),
            json!({"name": "a", "colour": 1}),
            &["colour"],
        ),
        (
            "POST",
            format!("{project}/locations"),
            json!({"name": 1}),
            &["name"],
        ),
        (
            "POST",
            format!("{project}/locations"),
            json!({"name": "a", "latitude": 1.0}),
            &["longitude"],
        ),
        (
            "POST",
            format!("{project}/elements"),
            json!({"name": "a", "digits": 900}),
            &["digits"],
        ),
        (
            "POST",
            format!("{project}/elements"),
            json!({"name": "a", "kind": "magic"}),
            &["kind"],
        ),
        (
            "POST",
            format!("{project}/claims"),
            json!({"name": " "}),
            &["name"],
        ),
        (
            "PATCH",
            project.clone(),
            json!({"zone": "Mars/Olympus"}),
            &["zone"],
        ),
        ("PATCH", project.clone(), json!({"id": "x"}), &["id"]),
        (
            "GET",
            format!("{points}&from=yesterday"),
            Value::Null,
            &["to", "from"],
        ),
        (
            "GET",
            format!("{points}&{range}&buckets=0"),
            Value::Null,
            &["buckets"],
        ),
        (
            "GET",
            format!("{points}&{range}&buckets=10&limit=5"),
            Value::Null,
            &["limit"],
        ),
        (
            "GET",
            format!("{points}&{range}&cursor=x"),
            Value::Null,
            &["cursor"],
        ),
        (
            "GET",
            format!("{points}&{range}&zoom=1"),
            Value::Null,
            &["zoom"],
        ),
        (
            "GET",
            format!("{points}&{range}&to=2026-03-03T00:00:00Z"),
            Value::Null,
            &["to"],
        ),
        (
            "GET",
            format!("{project}/elements?limit=100000"),
            Value::Null,
            &["limit"],
        ),
        (
            "GET",
            format!("{project}/devices?state=fine"),
            Value::Null,
            &["state"],
        ),
    ] {
        let body = (!body.is_null()).then_some(body);
        let (status, answer) = world.ask(ADMINISTRATOR, method, &path, body).await;
        assert_eq!(status, 422, "{method} {path}: {answer}");
        let told: Vec<&str> = answer["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].as_str().unwrap())
            .collect();
        assert_eq!(told, fields, "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn bodies_are_json_and_small() {
    let world = World::new().await;
    let path = format!("/api/v1/projects/{}/locations", world.ours.project);
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(70_000));
    for (media_type, body, status, code) in [
        (
            "text/plain",
            "{\"name\":\"a\"}",
            415,
            "unsupported_media_type",
        ),
        ("application/json", "name=a", 400, "malformed"),
        ("application/json", "{\"name\":\"a\"", 400, "malformed"),
        ("application/json", &large, 413, "too_large"),
    ] {
        let mut request = Request::post(&path)
            .header(header::CONTENT_TYPE, media_type)
            .body(Body::from(body.to_owned()))
            .unwrap();
        world.as_who(ADMINISTRATOR, &mut request).await;
        let response = world.send(request).await;
        assert_eq!(response.status(), status, "{code}");
        assert_eq!(problem(response).await.code.word(), code);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let world = World::new().await;
    let mut request = request("POST", "/api/v1/auth/link", Some(json!({})));
    *request.body_mut() = Body::from_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    let answer = tokio::time::timeout(std::time::Duration::from_secs(40), world.send(request));
    let answer = answer.await.expect("the door gives up by itself");
    assert_eq!(answer.status(), 400);
    let detail = problem(answer).await.detail;
    assert_eq!(detail.as_deref(), Some("the body took more than 15 s"));
}

#[tokio::test]
async fn the_addresses_of_one_ipv6_host_share_their_attempts() {
    let world = World::new().await;
    let mut last = StatusCode::OK;
    for host in 1..=200u16 {
        let entry = json!({"email": format!("{host}@example.org"), "password": "wrong"});
        let mut request = request("POST", "/api/v1/auth/sign-in", Some(entry));
        let address = format!("[2001:db8::{host:x}]:4000").parse().unwrap();
        request.extensions_mut().insert(crate::pki::Peer {
            address,
            chain: std::sync::Arc::default(),
        });
        last = world.send(request).await.status();
        if last == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}
