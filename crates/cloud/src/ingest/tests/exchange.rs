//! Exchanges as a device that sleeps makes them: messages up, outcomes, ledger and time back.

use axum::body::Body;
use fieldkeep_protocol::exchange::{Acknowledged, Answer, Message, Request};
use fieldkeep_protocol::message::{Ledger, Time};
use fieldkeep_protocol::topic::{Down, Up};
use fieldkeep_protocol::{Epoch, Span, batch as format, limits};
use http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::station::{EPOCH, Station, batch, sealed, state, table};
use crate::access::{Task, system};
use crate::pki::tests::{Identity, peer};
use crate::pki::{Peer, State};

async fn post(station: &Station, peer: Peer, body: impl Into<Body>) -> (StatusCode, Vec<u8>) {
    let mut request = http::Request::post("/device/1/exchange")
        .body(body.into())
        .unwrap();
    request.extensions_mut().insert(peer);
    let response = station.ingest.routes().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, bytes.to_vec())
}

fn request(messages: &[(Up, &[u8])]) -> Vec<u8> {
    let messages: Vec<_> = messages
        .iter()
        .map(|(kind, bytes)| Message { kind: *kind, bytes })
        .collect();
    let mut bytes = vec![0; limits::EXCHANGE_BYTES];
    let length = Request::encode(&messages, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// Exchanges; the answer must be one.
async fn exchange(station: &Station, device: &Identity, messages: &[(Up, &[u8])]) -> Vec<u8> {
    let (status, bytes) = post(station, device.peer(), request(messages)).await;
    assert_eq!(
        status,
        StatusCode::OK,
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    bytes
}

fn told(answer: &Answer<'_>, kind: Down) -> Vec<Vec<u8>> {
    let messages = answer.messages.iter();
    messages
        .filter(|message| message.kind == kind)
        .map(|message| message.bytes.to_vec())
        .collect()
}

#[tokio::test]
async fn one_exchange_brings_a_whole_visit() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let device = station.bench.enrol("a").await;
    let first = batch(now, 0, 10, [0; 32]);
    let second = batch(now, 10, 10, format::hash(&first));
    let fourth = batch(now, 30, 5, [7; 32]);
    let seal = sealed(now, &device, &device);
    let visit: [(Up, &[u8]); 8] = [
        (Up::State, &state(Some(0), 40)),
        (Up::Batch, &fourth),
        (Up::Channels, &table()),
        (Up::Batch, &second),
        (Up::Batch, b"not a batch"),
        (Up::Batch, &first),
        (Up::Seal, &seal),
        (Up::Batch, &first),
    ];
    for round in 0..2 {
        let bytes = exchange(&station, &device, &visit).await;
        let answer = Answer::decode(&bytes).unwrap();
        assert_eq!(answer.outcomes, [0, 0, 0, 0, 0x99, 0, 0, 0], "{round}");
        let row = |first, last| Acknowledged {
            epoch: EPOCH,
            first,
            last,
        };
        assert!(answer.acknowledged.iter().eq([row(0, 19), row(30, 34)]));
        let ledgers = told(&answer, Down::Ledger);
        let ledger = Ledger::decode(&ledgers[0]).unwrap();
        assert_eq!((ledgers.len(), ledger.epoch, ledger.next), (1, EPOCH, 35));
        let hole = Span {
            first: 20,
            last: 29,
        };
        assert!(
            ledger.holes.iter().eq([hole]),
            "what came with the state counts"
        );
        let time = told(&answer, Down::Time);
        assert_eq!(Time::decode(&time[0]).unwrap().now, now);
    }
    let totals = station.store.totals(station.origin(&device)).await.unwrap();
    assert_eq!((totals.batches, totals.records), (3, 25), "again is once");
}

#[tokio::test]
async fn a_visit_is_contact_and_its_rhythm_the_plan() {
    let station = Station::new().await;
    let device = station.bench.enrol("a").await;
    let grant_of = system(Task::AdminCommand).project(station.bench.project);
    for visit in 0..3 {
        let now = station.bench.clock.now();
        let batches: Vec<_> = (0..20)
            .map(|n| batch(now, 3_600 + visit * 20 + n, 1, [0; 32]))
            .collect();
        let messages: Vec<(Up, &[u8])> = batches.iter().map(|b| (Up::Batch, &b[..])).collect();
        exchange(&station, &device, &messages).await;
        let hour = std::time::Duration::from_secs(3_600);
        station.bench.hands.advance(hour);
    }
    // An hour after the last visit it is neither late nor offline: it comes every hour.
    let status = station
        .fleet
        .status(&grant_of.grant(), device.device)
        .await
        .unwrap();
    assert!(!status.connected);
    assert_eq!(status.state.word(), "reporting", "{}", status.sentence);
}

#[tokio::test]
async fn without_messages_it_asks_for_the_time() {
    let station = Station::new().await;
    let device = station.bench.enrol("a").await;
    let bytes = exchange(&station, &device, &[]).await;
    let answer = Answer::decode(&bytes).unwrap();
    assert!(answer.outcomes.is_empty() && answer.acknowledged.iter().next().is_none());
    assert_eq!(answer.messages.len(), 1);
    assert_eq!(told(&answer, Down::Time).len(), 1);
}

#[tokio::test]
async fn strangers_and_the_disabled_are_turned_away() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let device = station.bench.enrol("a").await;
    let body = request(&[(Up::Batch, &batch(now, 0, 1, [0; 32]))]);
    let (status, problem) = post(&station, peer(Vec::new()), body.clone()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(String::from_utf8_lossy(&problem).contains("certificate_missing"));
    let task = system(Task::AdminCommand).project(station.bench.project);
    station
        .bench
        .pki
        .set_state(&task.grant(), device.device, State::Disabled)
        .await
        .unwrap();
    let (status, _) = post(&station, device.peer(), body).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let totals = station.store.totals(station.origin(&device)).await.unwrap();
    assert_eq!(totals.batches, 0);
}

#[tokio::test]
async fn a_frame_that_is_none_is_refused_whole() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let device = station.bench.enrol("a").await;
    let good = request(&[(Up::Batch, &batch(now, 0, 1, [0; 32]))]);
    let cut = good[..good.len() - 1].to_vec();
    let (status, problem) = post(&station, device.peer(), cut).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(String::from_utf8_lossy(&problem).contains("exchange_invalid"));
    assert_eq!(station.log_codes(&device).await, ["exchange_invalid"]);
    let (status, _) = post(&station, device.peer(), vec![0; limits::EXCHANGE_BYTES + 1]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let totals = station.store.totals(station.origin(&device)).await.unwrap();
    assert_eq!(totals.batches, 0);
    let holes = station
        .store
        .holes(station.origin(&device), Epoch(EPOCH.0), 0, 1)
        .await
        .unwrap();
    assert_eq!(holes, [(0, 0)], "nothing of it was kept");
}

#[tokio::test]
async fn a_device_that_unfolds_too_much_is_asked_to_come_back() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let [device, other] = [
        station.bench.enrol("a").await,
        station.bench.enrol("b").await,
    ];
    // Announces a million cells; nothing of it decodes, and nothing has to.
    let mut bomb = vec![0x8c, 0x01, 0x00, 0x00, 0x19, 0x10, 0x00, 0x58, 0x20];
    bomb.extend([0; 32]);
    bomb.extend([
        0x00, 0x00, 0x01, 0x00, 0xf6, 0x82, 0x00, 0x40, 0x99, 0x01, 0x00,
    ]);
    let messages = [(Up::Batch, &bomb[..]); 64];
    let bytes = exchange(&station, &device, &messages).await;
    let codes = Answer::decode(&bytes).unwrap().outcomes.to_vec();
    let decoded = codes.iter().filter(|code| **code == 0x99).count();
    assert!((36..=38).contains(&decoded), "{codes:x?}");
    let later = codes.iter().filter(|code| **code == 0x97).count();
    assert_eq!(decoded + later, 64);
    let good = batch(now, 0, 1, [0; 32]);
    let bytes = exchange(&station, &other, &[(Up::Batch, &good)]).await;
    assert_eq!(Answer::decode(&bytes).unwrap().outcomes, [0]);
    let second = std::time::Duration::from_secs(1);
    station.bench.hands.advance(second);
    let bytes = exchange(&station, &device, &[(Up::Batch, &good)]).await;
    assert_eq!(Answer::decode(&bytes).unwrap().outcomes, [0]);
}
