//! Every row at once: headers of every answer, methods that do not exist, fields that nobody may set.
//!
//! `UPDATE_GOLDEN=1 cargo test -p fieldkeep-cloud surface` writes `tests/golden/headers.txt` anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::samples::sample;
use super::world::{Who, World, request};
use crate::access::Role;
use crate::api::door::Needs;
use crate::api::table;

const ADMINISTRATOR: Who = Who::Person(Role::Administrator);

fn golden() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/headers.txt")
}

/// Headers whose value differs from answer to answer.
const MOVING: &[&str] = &[
    "x-request-id",
    "etag",
    "set-cookie",
    "content-length",
    "fieldkeep-revision",
];

#[tokio::test]
async fn the_headers_of_every_route_are_the_golden_text() {
    let world = World::new().await;
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in table() {
        let name = row.name();
        let mut request = sample(&world, &name).await.unwrap();
        let caller = if name.contains("/auth/") {
            Who::None
        } else {
            ADMINISTRATOR
        };
        world.as_who(caller, &mut request).await;
        request
            .headers_mut()
            .insert(header::ORIGIN, "https://localhost:8443".parse().unwrap());
        let response = world.send(request).await;
        let mut text = String::new();
        let mut headers: Vec<_> = response.headers().iter().collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        for (header, value) in headers {
            assert!(
                !header.as_str().starts_with("access-control"),
                "{name} answers other origins"
            );
            assert_ne!(header, header::SERVER, "{name}");
            let value = if MOVING.contains(&header.as_str()) {
                "…"
            } else {
                value.to_str().unwrap()
            };
            let value = value.replace(&world.ours.project.to_string(), "{project}");
            writeln!(text, "  {header}: {value}").unwrap();
        }
        for needed in [
            "x-request-id",
            "content-security-policy",
            "x-content-type-options",
            "cache-control",
        ] {
            assert!(
                response.headers().contains_key(needed),
                "{name} lacks {needed}"
            );
        }
        sets.entry(text)
            .or_default()
            .push(format!("{name} {}", response.status().as_u16()));
    }
    let mut text = String::from(
        "The headers of every route's sample, asked by an administrator; routes with the same headers together.\n",
    );
    let mut groups: Vec<_> = sets
        .into_iter()
        .map(|(headers, names)| (names, headers))
        .collect();
    groups.sort();
    for (names, headers) in groups {
        write!(text, "\n{}\n{headers}", names.join("\n")).unwrap();
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden(), &text).unwrap();
    }
    let committed = std::fs::read_to_string(golden()).unwrap_or_default();
    for (line, (found, expected)) in text.lines().zip(committed.lines()).enumerate() {
        assert_eq!(
            found,
            expected,
            "tests/golden/headers.txt, line {}",
            line + 1
        );
    }
    assert_eq!(
        text.lines().count(),
        committed.lines().count(),
        "routes came or went"
    );
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_does_nothing() {
    let world = World::new().await;
    let mut paths: BTreeMap<String, BTreeSet<Method>> = BTreeMap::new();
    let mut addresses: BTreeMap<String, String> = BTreeMap::new();
    for row in table() {
        let name = row.name();
        let (method, path) = name.split_once(' ').unwrap();
        let address = sample(&world, &name).await.unwrap().uri().path().to_owned();
        addresses.insert(path.to_owned(), address);
        paths
            .entry(path.to_owned())
            .or_default()
            .insert(method.parse().unwrap());
    }
    let all = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get",
        "POSTX",
    ];
    for (path, known) in &paths {
        for method in all {
            let method: Method = method.parse().unwrap();
            let reads = method == Method::HEAD && known.contains(&Method::GET);
            if reads || known.contains(&method) {
                continue;
            }
            for (who, expected) in [(Who::None, 401), (ADMINISTRATOR, 405)] {
                let mut request = request(method.as_str(), &addresses[path], None);
                world.as_who(who, &mut request).await;
                let response = world.send(request).await;
                assert_eq!(
                    response.status().as_u16(),
                    expected,
                    "{method} {path} as {}",
                    who.name()
                );
                if expected == 405 {
                    let allow = response.headers()[header::ALLOW].to_str().unwrap();
                    let allowed: BTreeSet<Method> = allow
                        .split(", ")
                        .map(|word| word.parse().unwrap())
                        .collect();
                    assert_eq!(&allowed, known, "{method} {path}");
                }
            }
        }
    }
}

#[tokio::test]
async fn another_method_in_a_header_or_the_query_is_not_taken() {
    let world = World::new().await;
    let location = world.spare_location().await;
    let path = format!(
        "/api/v1/projects/{}/locations/{location}",
        world.ours.project
    );
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ] {
        let mut request = request("GET", &path, None);
        request
            .headers_mut()
            .insert(name, "DELETE".parse().unwrap());
        world.as_who(ADMINISTRATOR, &mut request).await;
        assert_eq!(world.send(request).await.status(), 200, "{name}");
    }
    let (status, _) = world
        .ask(
            ADMINISTRATOR,
            "GET",
            &format!("{path}?_method=DELETE"),
            None,
        )
        .await;
    // Reading takes no query: whatever it does with it, it removes nothing.
    assert!(status == 200 || status == 422, "{status}");
    let (status, _) = world.ask(ADMINISTRATOR, "GET", &path, None).await;
    assert_eq!(status, 200);
}

/// Fields that no body has: who made it, whose it is, what only the server decides.
const NOBODY_SETS: &[&str] = &[
    "id",
    "project",
    "created",
    "created_by",
    "operator",
    "owner",
    "is_admin",
    "__proto__",
];

async fn body_of(request: Request<Body>) -> (http::request::Parts, Value) {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn a_field_that_nobody_may_set_is_refused_by_name() {
    let world = World::new().await;
    let mut tried = 0;
    for row in table() {
        let name = row.name();
        for field in NOBODY_SETS {
            let (parts, body) = body_of(sample(&world, &name).await.unwrap()).await;
            let Value::Object(mut fields) = body else {
                break;
            };
            fields.insert((*field).to_owned(), json!(true));
            let mut request =
                Request::from_parts(parts, Body::from(Value::Object(fields).to_string()));
            world.as_who(ADMINISTRATOR, &mut request).await;
            let response = world.send(request).await;
            let status = response.status().as_u16();
            if status == 403 && matches!(row.needs(), Needs::Operator) {
                continue;
            }
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            let problem: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(status, 422, "{name} with {field}: {problem}");
            assert_eq!(problem["errors"][0]["field"], *field, "{name}: {problem}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}
