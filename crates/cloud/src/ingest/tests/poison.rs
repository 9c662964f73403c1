//! Bytes that are not what they should be, by the hundred: no panic, no lost neighbour, no loop.

use std::cell::Cell;

use fieldkeep_protocol::topic::Up;
use fieldkeep_protocol::{Timestamp, limits};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::client::Got;
use super::station::{Station, batch, sealed, state, table, up};
use crate::pki::tests::Identity;

/// What is done to a good message.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Append(Vec<u8>),
    Replace(Vec<u8>),
    Oversize,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        (any::<prop::sample::Index>(), 1u8..=255).prop_map(|(at, with)| Damage::Flip(at, with)),
        prop::collection::vec(any::<u8>(), 1..40).prop_map(Damage::Append),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Damage::Replace),
        Just(Damage::Oversize),
    ]
}

fn kind() -> impl Strategy<Value = Up> {
    prop::sample::select(Up::ALL.to_vec())
}

fn apply(damage: &Damage, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    match damage {
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Flip(at, with) => {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        Damage::Append(more) => bytes.extend_from_slice(more),
        Damage::Replace(other) => bytes.clone_from(other),
        Damage::Oversize => bytes.resize(limits::BATCH_BYTES + 1, 0),
    }
    bytes
}

fn good(kind: Up, now: Timestamp, device: &Identity) -> Vec<u8> {
    match kind {
        Up::Batch => batch(now, 1_000, 10, [0; 32]),
        Up::Channels => table(),
        Up::Seal => sealed(now, device, device),
        Up::State => state(Some(0), 10),
        Up::Log => b"\x85\x01\x00\x01\x61a\x61b".to_vec(),
    }
}

#[test]
fn damaged_messages_hold_up_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (station, device) = runtime.block_on(async {
        let station = Station::new().await;
        let device = station.bench.enrol("a").await;
        (station, device)
    });
    let next = Cell::new(1_000_000);
    let mut runner = TestRunner::new(Config {
        cases: 60,
        ..Config::default()
    });
    let messages = prop::collection::vec((kind(), damage()), 1..8);
    runner
        .run(&messages, |messages| {
            next.set(next.get() + 10);
            runtime.block_on(exchange(&station, &device, next.get(), &messages));
            Ok(())
        })
        .unwrap();
}

/// Sends damaged messages between two good batches, all in flight together.
async fn exchange(station: &Station, device: &Identity, first: u64, messages: &[(Up, Damage)]) {
    let now = station.bench.clock.now();
    let origin = station.origin(device);
    let before = station.store.totals(origin).await.unwrap();
    let mut client = station.session(device).await;
    let topic = up(device, Up::Batch);
    let mut sent = vec![(
        client.publish(&topic, &batch(now, first, 5, [0; 32])).await,
        true,
    )];
    for (kind, damage) in messages {
        let bytes = apply(damage, &good(*kind, now, device));
        sent.push((client.publish(&up(device, *kind), &bytes).await, false));
    }
    sent.push((
        client
            .publish(&topic, &batch(now, first + 5, 5, [0; 32]))
            .await,
        true,
    ));
    for (packet, is_good) in sent {
        let code = loop {
            match client.next().await {
                Got::Puback(answered, code) if answered == packet => break code,
                // The ledger that follows a state which survived its damage.
                Got::Publish(..) => {}
                other => panic!("{other:?}"),
            }
        };
        // A flipped bit may leave a message readable; whatever is not, is quarantined and never asked for again.
        assert!(
            code == 0 || (!is_good && code == 0x99),
            "{code:#x} for good: {is_good}"
        );
    }
    let after = station.store.totals(origin).await.unwrap();
    assert!(
        after.batches >= before.batches + 2,
        "both neighbours are stored"
    );
}

#[tokio::test]
async fn a_forged_seal_is_quarantined() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let [device, other] = [
        station.bench.enrol("a").await,
        station.bench.enrol("b").await,
    ];
    let mut client = station.session(&device).await;
    let topic = up(&device, Up::Seal);
    for (named, signer) in [(&device, &other), (&other, &other), (&other, &device)] {
        let bytes = sealed(now, named, signer);
        assert_eq!(client.deliver(&topic, &bytes).await, 0x99);
    }
    assert_eq!(
        client.deliver(&topic, &sealed(now, &device, &device)).await,
        0
    );
    assert_eq!(station.log_codes(&device).await, ["seal_forged"; 3]);
    let kept = station
        .store
        .quarantined(station.origin(&device))
        .await
        .unwrap();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|kept| kept.reason == "seal_forged"));
}

#[tokio::test]
async fn undecodable_bytes_are_kept_as_they_came() {
    let station = Station::new().await;
    let device = station.bench.enrol("a").await;
    let mut client = station.session(&device).await;
    assert_eq!(
        client
            .deliver(&up(&device, Up::Batch), b"not a batch")
            .await,
        0x99
    );
    let kept = station
        .store
        .quarantined(station.origin(&device))
        .await
        .unwrap();
    assert_eq!(kept[0].bytes, b"not a batch");
    let log = station.log(&device).await;
    assert_eq!(log[0].code, "undecodable");
    assert!(
        log[0]
            .text
            .starts_with("A batch message of 11 bytes was put into quarantine:"),
        "{}",
        log[0].text
    );
}
