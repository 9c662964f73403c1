//! The authorities are the same for all who open the data; the server's certificate lasts and renews; changes are told.

use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{ServerName, UnixTime};
use std::sync::Arc;

use super::Bench;
use crate::access::{Task, system};
use crate::pki::{State, endpoint};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn everyone_who_opens_the_data_sees_the_same_authorities() {
    let bench = Bench::new().await;
    let beside = bench.beside().await;
    assert_eq!(bench.pki.fingerprint(), beside.fingerprint());
    assert_eq!(bench.pki.server_root_pem(), beside.server_root_pem());
    assert_ne!(bench.pki.0.devices.root, bench.pki.0.server.root);
    let identity = bench.enrol("a").await;
    beside.authenticate(&identity.peer()).await.unwrap();
}

#[tokio::test]
async fn the_server_certificate_is_good_for_its_names_and_no_device_root() {
    let bench = Bench::new().await;
    let chain = bench
        .pki
        .server_certificate("cloud.example")
        .await
        .unwrap()
        .chain();
    assert_eq!(chain.len(), 3);
    assert_eq!(chain[2], bench.server_root());
    let mut roots = RootCertStore::empty();
    roots.add(bench.server_root()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let now_s = u64::try_from(bench.clock.now().as_micros() / 1_000_000).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
    let judge = |name: &str| {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&chain[0], &chain[1..2], &name, &[], now)
    };
    for name in ["cloud.example", "localhost", "127.0.0.1", "::1"] {
        judge(name).unwrap();
    }
    judge("other.example").unwrap_err();
}

#[tokio::test]
async fn the_server_certificate_lasts_until_its_last_third_or_another_name() {
    let bench = Bench::new().await;
    let leaf = async |name: &str| {
        let served = bench.pki.server_certificate(name).await.unwrap();
        served.chain()[0].clone()
    };
    let first = leaf("192.0.2.1").await;
    bench.hands.advance(DAY * 59);
    assert_eq!(leaf("192.0.2.1").await, first);
    let named = leaf("cloud.example").await;
    assert_ne!(named, first);
    bench.hands.advance(DAY * 61);
    assert_ne!(leaf("cloud.example").await, named);
}

#[tokio::test]
async fn an_issuing_authority_is_replaced_before_it_could_end_first() {
    let bench = Bench::new().await;
    let old = bench.enrol("old").await;
    let before = bench.issuing();
    bench.hands.advance(DAY * 560);
    let later = bench.beside().await;
    assert_ne!(later.0.devices.issuing.certificate, before);
    assert_eq!(later.0.devices.root, bench.pki.0.devices.root);
    later.identify(&old.peer()).await.unwrap();
}

#[tokio::test]
async fn a_change_by_another_process_is_told() {
    let bench = Bench::new().await;
    let [one, other] = [bench.enrol("one").await, bench.enrol("other").await];
    let mut changes = bench.pki.watch();
    let mut since_us = None;
    bench.pki.poll(&mut since_us).await.unwrap();
    let task = system(Task::AdminCommand).project(bench.project);
    let beside = bench.beside().await;
    // The clock stands still, so both changes come at the same instant.
    for device in [one.device, other.device] {
        beside
            .set_state(&task.grant(), device, State::Disabled)
            .await
            .unwrap();
        bench.pki.poll(&mut since_us).await.unwrap();
        assert_eq!(changes.try_recv().unwrap(), device);
    }
    bench.pki.poll(&mut since_us).await.unwrap();
    assert!(changes.try_recv().is_err(), "each change is told once");
}

#[test]
fn endpoints_bracket_addresses() {
    assert_eq!(endpoint("cloud.example", 1), "cloud.example:1");
    assert_eq!(endpoint("192.0.2.1", 2), "192.0.2.1:2");
    assert_eq!(endpoint("2001:db8::1", 3), "[2001:db8::1]:3");
}
