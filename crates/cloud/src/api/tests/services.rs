//! Service accounts, their tokens, device codes and quotas, through the whole door.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::body::Body;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as URL};
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::world::{Who, World, request};
use crate::access::Role;

const ADMIN: Who = Who::Person(Role::Administrator);
const MINUTE: Duration = Duration::from_secs(60);

/// Posts a form, with a client's id and secret as Basic where there are any.
pub(super) async fn form(
    world: &World,
    path: &str,
    fields: &str,
    basic: Option<(&str, &str)>,
) -> (u16, Value) {
    let mut builder = Request::builder()
        .method("POST")
        .uri(path)
        .header(header::HOST, "localhost:8443")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some((client, secret)) = basic {
        let pair = BASE64_STANDARD.encode(format!("{client}:{secret}"));
        builder = builder.header(header::AUTHORIZATION, format!("Basic {pair}"));
    }
    let sent = builder.body(Body::from(fields.to_owned())).unwrap();
    let response = world.send(sent).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Asks with a bearer token; the status and the answer.
pub(super) async fn bearer(
    world: &World,
    token: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let mut sent = request(method, path, body);
    let value = format!("Bearer {token}").parse().unwrap();
    sent.headers_mut().insert(header::AUTHORIZATION, value);
    let response = world.send(sent).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

pub(super) fn ours(world: &World, rest: &str) -> String {
    format!("/api/v1/projects/{}{rest}", world.ours.project)
}

/// Makes an account through the API; its id and a secret.
async fn account(world: &World, scopes: Value) -> (String, String) {
    let order = json!({ "name": "pump", "scopes": scopes });
    let path = ours(world, "/service-accounts");
    let (status, made) = world.ask(ADMIN, "POST", &path, Some(order)).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    (id.clone(), secret(world, &id, json!({})).await)
}

async fn secret(world: &World, account: &str, order: Value) -> String {
    let path = ours(world, &format!("/service-accounts/{account}/credentials"));
    let (status, made) = world.ask(ADMIN, "POST", &path, Some(order)).await;
    assert_eq!(status, 201, "{made}");
    made["secret"].as_str().unwrap().to_owned()
}

const GRANT: &str = "grant_type=client_credentials";

#[tokio::test]
async fn a_secret_is_exchanged_for_a_token_of_a_quarter_of_an_hour() {
    let world = World::new().await;
    let (id, secret) = account(&world, json!(["write"])).await;
    assert!(secret.starts_with("fks_") && secret.len() == 68);
    let (status, token) = form(&world, "/oauth/token", GRANT, Some((&id, &secret))).await;
    assert_eq!(status, 200, "{token}");
    assert_eq!(
        (&token["token_type"], &token["expires_in"], &token["scope"]),
        (&json!("Bearer"), &json!(900), &json!("read write"))
    );
    let token = token["access_token"].as_str().unwrap();
    assert!(token.starts_with("fkt_"));
    let (status, me) = bearer(&world, token, "GET", "/api/v1/me", None).await;
    assert_eq!((status, &me["kind"]), (200, &json!("service_account")));
    assert_eq!((&me["id"], &me["name"]), (&json!(id), &json!("pump")));
    assert_eq!(me["projects"][0]["role"], "editor");
    // Neither the secret itself opens anything, nor the token another project.
    assert_eq!(
        bearer(&world, &secret, "GET", "/api/v1/me", None).await.0,
        401
    );
    let theirs = format!("/api/v1/projects/{}", world.theirs.project);
    assert_eq!(bearer(&world, token, "GET", &theirs, None).await.0, 404);
    world.hands.advance(14 * MINUTE);
    assert_eq!(
        bearer(&world, token, "GET", "/api/v1/me", None).await.0,
        200
    );
    world.hands.advance(MINUTE);
    assert_eq!(
        bearer(&world, token, "GET", "/api/v1/me", None).await.0,
        401
    );
}

#[tokio::test]
async fn a_token_is_narrowed_by_its_scope_and_by_what_the_account_may_now() {
    let world = World::new().await;
    let (id, secret) = account(&world, json!(["write"])).await;
    let fields = format!("{GRANT}&scope=read&client_id={id}&client_secret={secret}");
    let (_, narrow) = form(&world, "/oauth/token", &fields, None).await;
    assert_eq!(narrow["scope"], "read");
    let (_, whole) = form(&world, "/oauth/token", GRANT, Some((&id, &secret))).await;
    let change = async |token: &Value| {
        let path = ours(&world, &format!("/elements/{}", world.ours.element));
        let token = token["access_token"].as_str().unwrap();
        bearer(&world, token, "PATCH", &path, Some(json!({ "digits": 2 })))
            .await
            .0
    };
    assert_eq!((change(&narrow).await, change(&whole).await), (403, 200));
    for scope in ["administer", "write+audit", "everything"] {
        let fields = format!("{GRANT}&scope={scope}");
        let (status, refused) = form(&world, "/oauth/token", &fields, Some((&id, &secret))).await;
        assert_eq!(
            (status, &refused["error"]),
            (400, &json!("invalid_scope")),
            "{scope}"
        );
    }
    let path = ours(&world, &format!("/service-accounts/{id}"));
    let less = json!({ "scopes": ["read"] });
    assert_eq!(world.ask(ADMIN, "PATCH", &path, Some(less)).await.0, 200);
    assert_eq!(change(&whole).await, 403, "narrowed at once");
    let here = json!({ "scopes": ["write"], "locations": [world.here.to_string()] });
    assert_eq!(world.ask(ADMIN, "PATCH", &path, Some(here)).await.0, 200);
    assert_eq!(change(&whole).await, 404, "out of reach at once");
    let off = json!({ "enabled": false });
    assert_eq!(world.ask(ADMIN, "PATCH", &path, Some(off)).await.0, 200);
    assert_eq!(change(&whole).await, 401, "disabled at once");
    let (status, refused) = form(&world, "/oauth/token", GRANT, Some((&id, &secret))).await;
    assert_eq!((status, &refused["error"]), (401, &json!("invalid_client")));
}

#[tokio::test]
async fn secrets_are_exchanged_without_a_gap_and_end_with_their_tokens() {
    let world = World::new().await;
    let (id, first) = account(&world, json!(["read"])).await;
    let get = async |secret: &str| {
        let (status, token) = form(&world, "/oauth/token", GRANT, Some((&id, secret))).await;
        (
            status,
            token["access_token"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let (_, old) = get(&first).await;
    // World's clock stands at 2026-03-16T12:00:00Z.
    let second = secret(&world, &id, json!({ "others_end": "2026-03-16T12:10:00Z" })).await;
    let path = ours(&world, &format!("/service-accounts/{id}/credentials"));
    let (status, third) = world.ask(ADMIN, "POST", &path, Some(json!({}))).await;
    assert_eq!((status, &third["code"]), (409, &json!("conflict")));
    assert_eq!((get(&first).await.0, get(&second).await.0), (200, 200));
    world.hands.advance(11 * MINUTE);
    assert_eq!((get(&first).await.0, get(&second).await.0), (401, 200));
    assert_eq!(bearer(&world, &old, "GET", "/api/v1/me", None).await.0, 401);

    let (_, token) = get(&second).await;
    let path = ours(&world, &format!("/service-accounts/{id}"));
    let (_, shown) = world.ask(ADMIN, "GET", &path, None).await;
    assert_eq!(shown["last_used"], "2026-03-16T00:00:00Z", "a day, no more");
    let text = shown.to_string();
    assert!(!text.contains(&first) && !text.contains(&second));
    let credentials = shown["credentials"].as_array().unwrap();
    let mut hints = credentials.iter().map(|one| one["hint"].as_str().unwrap());
    let at = hints.position(|hint| second.starts_with(hint)).unwrap();
    let credential = credentials[at]["id"].as_str().unwrap();
    let path = format!("{path}/credentials/{credential}");
    assert_eq!(world.ask(ADMIN, "DELETE", &path, None).await.0, 204);
    assert_eq!(
        bearer(&world, &token, "GET", "/api/v1/me", None).await.0,
        401
    );
    assert_eq!(get(&second).await.0, 401);
    for (field, order) in [
        ("expires", json!({ "expires": "2026-03-01T00:00:00Z" })),
        ("expires", json!({ "expires": "2028-03-01T00:00:00Z" })),
        (
            "public_key",
            json!({ "public_key": { "kty": "RSA", "crv": "", "x": "" } }),
        ),
    ] {
        let path = ours(&world, &format!("/service-accounts/{id}/credentials"));
        let (status, refused) = world.ask(ADMIN, "POST", &path, Some(order)).await;
        assert_eq!(
            (status, &refused["errors"][0]["field"]),
            (422, &json!(field))
        );
    }
}

#[tokio::test]
async fn a_token_is_revoked_by_its_own_account_alone() {
    let world = World::new().await;
    let (id, secret) = account(&world, json!(["read"])).await;
    let (other, others) = account(&world, json!(["read"])).await;
    let (_, token) = form(&world, "/oauth/token", GRANT, Some((&id, &secret))).await;
    let token = token["access_token"].as_str().unwrap();
    let fields = format!("token={token}&token_type_hint=access_token");
    let (status, _) = form(&world, "/oauth/revoke", &fields, Some((&other, &others))).await;
    assert_eq!(status, 200, "it does not learn whose it was");
    assert_eq!(
        bearer(&world, token, "GET", "/api/v1/me", None).await.0,
        200
    );
    assert_eq!(form(&world, "/oauth/revoke", &fields, None).await.0, 401);
    let (status, _) = form(&world, "/oauth/revoke", &fields, Some((&id, &secret))).await;
    assert_eq!(status, 200);
    assert_eq!(
        bearer(&world, token, "GET", "/api/v1/me", None).await.0,
        401
    );
}

#[tokio::test]
async fn whatever_is_wrong_is_refused_in_the_words_of_the_standard() {
    let world = World::new().await;
    let (id, secret) = account(&world, json!(["read"])).await;
    let (_, foreign) = account(&world, json!(["read"])).await;
    let good = Some((id.as_str(), secret.as_str()));
    let none = format!("{GRANT}&client_id={id}");
    let both = format!("{GRANT}&client_secret={secret}");
    let kind = format!("{GRANT}&client_assertion=a.b.c");
    for (fields, basic, status, word) in [
        ("", good, 400, "invalid_request"),
        (
            "grant_type=password&username=a&password=b",
            good,
            400,
            "unsupported_grant_type",
        ),
        (&format!("{GRANT}&{GRANT}"), good, 400, "invalid_request"),
        (&none, None, 401, "invalid_client"),
        (&both, good, 400, "invalid_request"),
        (&kind, None, 400, "invalid_request"),
        (GRANT, Some((id.as_str(), "fks_0")), 401, "invalid_client"),
        (
            GRANT,
            Some((id.as_str(), foreign.as_str())),
            401,
            "invalid_client",
        ),
        (
            GRANT,
            Some(("svc_", secret.as_str())),
            401,
            "invalid_client",
        ),
        (GRANT, Some(("", "")), 401, "invalid_client"),
    ] {
        let (found, refused) = form(&world, "/oauth/token", fields, basic).await;
        assert_eq!(
            (found, &refused["error"]),
            (status, &json!(word)),
            "{fields}"
        );
        assert!(refused["error_description"].is_string());
    }
    let body = Some(json!({ "grant_type": "client_credentials" }));
    let response = world.send(request("POST", "/oauth/token", body)).await;
    assert_eq!(response.status(), 400, "JSON is no form");
}

#[tokio::test]
async fn guesses_are_limited_by_client_and_the_owner_elsewhere_is_not() {
    let world = World::new().await;
    let (id, secret) = account(&world, json!(["read"])).await;
    let (other, others) = account(&world, json!(["read"])).await;
    let mut refused = 0;
    for _ in 0..40 {
        let (status, _) = form(&world, "/oauth/token", GRANT, Some((&id, "fks_wrong"))).await;
        refused += u32::from(status == 429);
    }
    assert_eq!(refused, 20);
    let (status, said) = form(&world, "/oauth/token", GRANT, Some((&id, &secret))).await;
    assert_eq!((status, &said["error"]), (429, &json!("slow_down")));
    for _ in 0..30 {
        let (status, _) = form(&world, "/oauth/token", GRANT, Some((&other, &others))).await;
        assert_eq!(status, 200, "right proofs do not count");
    }
    world.hands.advance(MINUTE);
    let (status, _) = form(&world, "/oauth/token", GRANT, Some((&id, &secret))).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_signed_assertion_is_good_once() {
    let world = World::new().await;
    let (id, _) = account(&world, json!(["read"])).await;
    let pair = Ed25519KeyPair::generate().unwrap();
    let key =
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL.encode(pair.public_key().as_ref()) });
    let path = ours(&world, &format!("/service-accounts/{id}/credentials"));
    let (status, made) = world
        .ask(ADMIN, "POST", &path, Some(json!({ "public_key": key })))
        .await;
    assert_eq!((status, &made["secret"]), (201, &Value::Null), "{made}");
    assert_eq!(made["credential"]["kind"], "EdDSA");
    let now = world.access.now().as_micros() / 1_000_000;
    let assertion = |aud: &str, jti: &str, exp: i64| {
        let claims = json!({
            "iss": id, "sub": id, "aud": aud, "iat": now, "exp": exp, "jti": jti,
        });
        let signed = format!(
            "{}.{}",
            URL.encode(r#"{"alg":"EdDSA"}"#),
            URL.encode(claims.to_string())
        );
        let signature = URL.encode(pair.sign(signed.as_bytes()).as_ref());
        format!(
            "{GRANT}&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer\
             &client_assertion={signed}.{signature}"
        )
    };
    let us = "https://localhost:8443/oauth/token";
    let first = assertion(us, "one", now + 60);
    assert_eq!(form(&world, "/oauth/token", &first, None).await.0, 200);
    let (status, again) = form(&world, "/oauth/token", &first, None).await;
    assert_eq!(
        (status, &again["error"]),
        (401, &json!("invalid_client")),
        "replayed"
    );
    for wrong in [
        assertion("https://evil.example/oauth/token", "two", now + 60),
        assertion(us, "two", now - 120),
        assertion(us, "two", now + 86_400),
    ] {
        assert_eq!(form(&world, "/oauth/token", &wrong, None).await.0, 401);
    }
    let second = assertion("https://localhost:8443", "two", now + 60);
    assert_eq!(form(&world, "/oauth/token", &second, None).await.0, 200);
}

#[tokio::test]
async fn a_key_is_limited_to_scopes_ends_and_has_a_quota() {
    let world = World::new().await;
    let path = ours(&world, "/keys");
    for (field, order) in [
        ("expires", json!({ "name": "k", "role": "viewer" })),
        (
            "expires",
            json!({ "name": "k", "role": "viewer", "expires": "soon" }),
        ),
        (
            "expires",
            json!({ "name": "k", "role": "viewer", "expires": null }),
        ),
        (
            "expires",
            json!({ "name": "k", "role": "viewer", "expires": "2030-01-01T00:00:00Z" }),
        ),
        (
            "scopes",
            json!({ "name": "k", "role": "viewer", "expires": "never", "scopes": [] }),
        ),
        (
            "scopes",
            json!({ "name": "k", "role": "viewer", "expires": "never", "scopes": ["write"] }),
        ),
    ] {
        let (status, refused) = world.ask(ADMIN, "POST", &path, Some(order.clone())).await;
        assert_eq!(
            (status, &refused["errors"][0]["field"]),
            (422, &json!(field)),
            "{order}"
        );
    }
    let order = json!({
        "name": "k", "role": "administrator", "expires": "2026-06-01T00:00:00Z", "scopes": ["audit"],
    });
    let (status, made) = world.ask(ADMIN, "POST", &path, Some(order)).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["key"]["scopes"], json!(["read", "audit"]));
    let secret = made["secret"].as_str().unwrap();
    let read = async |rest: &str| {
        bearer(&world, secret, "GET", &ours(&world, rest), None)
            .await
            .0
    };
    assert_eq!(read("/members").await, 200);
    assert_eq!(read("/keys").await, 403);
    let rename = Some(json!({ "name": "x" }));
    assert_eq!(
        bearer(&world, secret, "PATCH", &ours(&world, ""), rename)
            .await
            .0,
        403
    );

    let mut sent = request("GET", "/api/v1/me", None);
    let value = format!("Bearer {secret}").parse().unwrap();
    sent.headers_mut().insert(header::AUTHORIZATION, value);
    let headers = world.send(sent).await.into_parts().0.headers;
    assert_eq!(headers["ratelimit-policy"], "\"key\";q=600;w=60");
    assert_eq!(headers["ratelimit"], "\"key\";r=596;t=1");
    for _ in 0..596 {
        assert_eq!(read("/none").await, 404);
    }
    let mut sent = request("GET", "/api/v1/me", None);
    let value = format!("Bearer {secret}").parse().unwrap();
    sent.headers_mut().insert(header::AUTHORIZATION, value);
    let response = world.send(sent).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    world.hands.advance(MINUTE);
    assert_eq!(read("/members").await, 200);
}

#[tokio::test]
async fn an_account_of_the_other_project_is_neither_seen_nor_changed() {
    let world = World::new().await;
    let (id, _) = account(&world, json!(["read"])).await;
    for project in [world.theirs.project, world.ours.project] {
        let path = format!("/api/v1/projects/{project}/service-accounts/{id}");
        assert_eq!(world.ask(Who::Stranger, "GET", &path, None).await.0, 404);
        let off = Some(json!({ "enabled": false }));
        assert_eq!(world.ask(Who::Stranger, "PATCH", &path, off).await.0, 404);
        let path = format!("{path}/credentials");
        assert_eq!(
            world
                .ask(Who::Stranger, "POST", &path, Some(json!({})))
                .await
                .0,
            404
        );
    }
    let path = ours(&world, "/service-accounts");
    for order in [
        json!({ "name": "x", "scopes": ["read"], "locations": [world.theirs.location.to_string()] }),
        json!({ "name": "x", "scopes": [] }),
        json!({ "name": "", "scopes": ["read"] }),
        json!({ "name": "x", "scopes": ["read"], "enabled": true }),
    ] {
        assert_eq!(world.ask(ADMIN, "POST", &path, Some(order)).await.0, 422);
    }
}
