//! Enrolment and renewal as a device sees them: JSON in, JSON or a problem out.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use rcgen::KeyPair;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::station::Station;
use crate::pki::tests::{chain, csr, peer};
use crate::pki::{Peer, State};

async fn post(
    station: &Station,
    peer: Peer,
    path: &str,
    body: impl Into<Body>,
) -> (StatusCode, Value) {
    let mut request = Request::post(path).body(body.into()).unwrap();
    request.extensions_mut().insert(peer);
    let response = station.ingest.routes().oneshot(request).await.unwrap();
    let status = response.status();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    if !status.is_success() {
        assert_eq!(kind, "application/problem+json");
        assert_eq!(body["status"], status.as_u16());
        assert!(body["title"].is_string() && body["detail"].is_string());
    }
    (status, body)
}

#[tokio::test]
async fn a_device_enrols_and_renews() {
    let station = Station::new().await;
    let code = station.bench.claim("a").await;
    let key = KeyPair::generate().unwrap();
    let body = json!({"code": code, "csr": csr(&key)}).to_string();
    let (status, enrolled) = post(&station, peer(Vec::new()), "/device/1/enroll", body).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(enrolled["project"], station.bench.project.to_string());
    assert_eq!(enrolled["mqtt"], "localhost:8883");
    assert_eq!(enrolled["https"], "localhost:8443");
    assert_eq!(
        chain(enrolled["ca"].as_str().unwrap()),
        [station.bench.server_root()]
    );
    let certificate = chain(enrolled["certificate"].as_str().unwrap());
    assert_eq!(certificate.len(), 2);

    station
        .bench
        .hands
        .advance(Duration::from_secs(200 * 86_400));
    let body = json!({"csr": csr(&KeyPair::generate().unwrap())}).to_string();
    let (status, renewed) = post(&station, peer(certificate), "/device/1/renew", body).await;
    assert_eq!(status, StatusCode::OK);
    let renewed = peer(chain(renewed["certificate"].as_str().unwrap()));
    let session = station.bench.pki.authenticate(&renewed).await.unwrap();
    assert_eq!(
        session.device().to_string(),
        enrolled["device"].as_str().unwrap()
    );
}

#[tokio::test]
async fn each_failure_has_its_code() {
    let station = Station::new().await;
    let used = station.bench.claim("used").await;
    let device = station
        .bench
        .enrol_with(&used, KeyPair::generate().unwrap())
        .await
        .unwrap();
    let open = station.bench.claim("open").await;
    let fresh = csr(&KeyPair::generate().unwrap());
    let enrol = |code: &str, csr: &str| json!({"code": code, "csr": csr}).to_string();
    for (body, status, code) in [
        (enrol(&"0".repeat(20), &fresh), 403, "claim_unknown"),
        (enrol("short", &fresh), 403, "claim_unknown"),
        (enrol(&used, &fresh), 409, "claim_used"),
        (enrol(&open, "no request"), 422, "csr_invalid"),
        (enrol(&open, &csr(&device.key)), 409, "key_reused"),
        ("{}".into(), 400, "invalid_request"),
        ("not json".into(), 400, "invalid_request"),
        (" ".repeat(20_000), 413, "invalid_request"),
    ] {
        let (found, problem) = post(&station, peer(Vec::new()), "/device/1/enroll", body).await;
        assert_eq!(
            (found.as_u16(), problem["code"].as_str().unwrap()),
            (status, code)
        );
        assert_eq!(problem["type"], format!("/problems/{code}"));
    }
    station.bench.hands.advance(Duration::from_secs(25 * 3_600));
    let (status, problem) = post(
        &station,
        peer(Vec::new()),
        "/device/1/enroll",
        enrol(&open, &fresh),
    )
    .await;
    assert_eq!(
        (status.as_u16(), problem["code"].as_str().unwrap()),
        (410, "claim_expired")
    );
    for _ in 0..10 {
        post(
            &station,
            peer(Vec::new()),
            "/device/1/enroll",
            enrol("x", &fresh),
        )
        .await;
    }
    let (status, problem) = post(
        &station,
        peer(Vec::new()),
        "/device/1/enroll",
        enrol(&open, &fresh),
    )
    .await;
    assert_eq!(
        (status.as_u16(), problem["code"].as_str().unwrap()),
        (429, "rate_limited")
    );
}

#[tokio::test]
async fn everything_but_enrolment_needs_a_certificate() {
    let station = Station::new().await;
    let device = station.bench.enrol("a").await;
    let body = || json!({"csr": csr(&KeyPair::generate().unwrap())}).to_string();
    for path in ["/device/1/renew", "/", "/device/1/exchange", "/api/v1/me"] {
        let (status, problem) = post(&station, peer(Vec::new()), path, body()).await;
        assert_eq!(
            (status.as_u16(), problem["code"].as_str().unwrap()),
            (401, "certificate_missing"),
            "{path}"
        );
    }
    let (status, problem) = post(&station, device.peer(), "/device/1/nothing", body()).await;
    assert_eq!(
        (status.as_u16(), problem["code"].as_str().unwrap()),
        (404, "not_found")
    );
    let (status, problem) = post(
        &station,
        device.peer(),
        "/device/1/renew",
        json!({"csr": csr(&device.key)}).to_string(),
    )
    .await;
    assert_eq!(
        (status.as_u16(), problem["code"].as_str().unwrap()),
        (409, "key_reused")
    );
    station
        .bench
        .set_state(device.device, State::Disabled)
        .await;
    for path in ["/device/1/renew", "/device/1/nothing"] {
        let (status, problem) = post(&station, device.peer(), path, body()).await;
        assert_eq!(
            (status.as_u16(), problem["code"].as_str().unwrap()),
            (403, "device_inactive"),
            "{path}"
        );
    }
    assert_eq!(station.log_codes(&device).await, ["device_inactive"; 2]);
}
