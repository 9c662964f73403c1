//! What a session does when all is well, and how it ends when something is not.

use std::time::Duration;

use fieldkeep_protocol::message::{Ledger, LogLine, Time};
use fieldkeep_protocol::topic::{Down, Topic, Up};
use fieldkeep_protocol::{batch::hash, limits, message::Level};
use tokio::time::timeout;

use super::client::Got;
use super::station::{EPOCH, Station, batch, sealed, state, table, up};
use crate::access::{Read, Task, system};
use crate::fleet::{Condition, LineSource};
use crate::pki::State;

#[tokio::test]
async fn a_measurement_is_kept_answered_and_accounted_for() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let river = station.bench.enrol("River").await;
    let mut client = station.session(&river).await;
    let topics = [Down::Ledger, Down::Time].map(|down| Topic::down(river.device, down));
    let subscribed = client.subscribe(&[&topics[0], &topics[1]]).await;
    assert_eq!(subscribed, Got::Suback(vec![0, 0]));
    let Got::Publish(topic, payload) = client.next().await else {
        panic!("no time")
    };
    assert_eq!(topic, topics[1].as_str());
    assert_eq!(Time::decode(&payload).unwrap().now, now);

    assert_eq!(client.deliver(&up(&river, Up::Channels), &table()).await, 0);
    let first = batch(now, 0, 10, [0; 32]);
    assert_eq!(client.deliver(&up(&river, Up::Batch), &first).await, 0);
    assert_eq!(client.deliver(&up(&river, Up::Batch), &first).await, 0);
    // Ten records are missing before this one.
    let third = batch(now, 20, 10, hash(&first));
    assert_eq!(client.deliver(&up(&river, Up::Batch), &third).await, 0);
    assert_eq!(
        client
            .deliver(&up(&river, Up::Seal), &sealed(now, &river, &river))
            .await,
        0
    );
    assert_eq!(
        client
            .deliver(&up(&river, Up::State), &state(Some(0), 35))
            .await,
        0
    );
    let Got::Publish(topic, payload) = client.next().await else {
        panic!("no ledger")
    };
    assert_eq!(topic, topics[0].as_str());
    let ledger = Ledger::decode(&payload).unwrap();
    assert_eq!((ledger.epoch, ledger.next), (EPOCH, 30));
    let holes: Vec<_> = ledger
        .holes
        .iter()
        .map(|hole| (hole.first, hole.last))
        .collect();
    assert_eq!(holes, [(10, 19)]);

    let totals = station.store.totals(station.origin(&river)).await.unwrap();
    assert_eq!((totals.batches, totals.records), (2, 20));
    let task = system(Task::AdminCommand).project(station.bench.project);
    let elements = station
        .projects
        .elements(&task.grant::<Read>())
        .await
        .unwrap();
    assert_eq!(elements.len(), 1);
    let status = station
        .fleet
        .status(&task.grant(), river.device)
        .await
        .unwrap();
    assert!(status.connected);
    assert_eq!(
        (status.version.as_deref(), status.report_every_us),
        (Some("0.1.0"), Some(1_000_000))
    );
}

#[tokio::test]
async fn answers_keep_the_order_of_messages() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let device = station.bench.enrol("a").await;
    let mut client = station.session(&device).await;
    let topic = up(&device, Up::Batch);
    let mut sent = Vec::new();
    for number in 0..16 {
        sent.push(
            client
                .publish(&topic, &batch(now, number * 10, 10, [0; 32]))
                .await,
        );
    }
    for packet in sent {
        assert_eq!(client.next().await, Got::Puback(packet, 0));
    }
    assert_eq!(
        station
            .store
            .totals(station.origin(&device))
            .await
            .unwrap()
            .batches,
        16
    );
}

#[tokio::test]
async fn a_device_reaches_its_own_topics_only() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let [one, other] = [
        station.bench.enrol("one").await,
        station.bench.enrol("other").await,
    ];
    let mut client = station.session(&one).await;
    let bytes = batch(now, 0, 10, [0; 32]);
    for topic in [
        up(&other, Up::Batch).to_string(),
        format!("fk/1/{}/ledger", one.device),
        format!("fk/2/{}/batch", one.device),
        "$SYS/broker".into(),
        "fk/1/x/batch".into(),
    ] {
        assert_eq!(client.deliver(&topic, &bytes).await, 0x87, "{topic}");
    }
    let foreign = [
        Topic::down(other.device, Down::Ledger).to_string(),
        "fk/1/+/time".into(),
        "#".into(),
        format!("fk/1/{}/#", one.device),
        format!("$share/g/fk/1/{}/time", one.device),
        up(&one, Up::Batch).to_string(),
    ];
    let foreign: Vec<&str> = foreign.iter().map(String::as_str).collect();
    assert_eq!(
        client.subscribe(&foreign).await,
        Got::Suback(vec![0x87; foreign.len()])
    );
    // It goes on, and nothing was filed under the other device.
    assert_eq!(client.deliver(&up(&one, Up::Batch), &bytes).await, 0);
    assert_eq!(
        station
            .store
            .totals(station.origin(&other))
            .await
            .unwrap()
            .batches,
        0
    );
    let codes = station.log_codes(&one).await;
    assert!(
        codes.iter().any(|code| code == "topic_refused"),
        "{codes:?}"
    );
    assert!(
        codes.iter().any(|code| code == "subscription_refused"),
        "{codes:?}"
    );
}

#[tokio::test]
async fn a_client_id_is_the_device_or_empty() {
    let station = Station::new().await;
    let [one, other] = [
        station.bench.enrol("one").await,
        station.bench.enrol("other").await,
    ];
    let (mut client, _stop) = station.dial(one.peer());
    assert_eq!(
        client.connect(&other.device.to_string()).await,
        Got::Connack(0x85)
    );
    assert_eq!(client.next().await, Got::End);
    assert_eq!(station.log_codes(&one).await, ["client_id"]);
    let (mut client, _stop) = station.dial(one.peer());
    assert_eq!(client.connect("").await, Got::Connack(0));
}

#[tokio::test]
async fn the_newer_session_wins() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let device = station.bench.enrol("a").await;
    let mut older = station.session(&device).await;
    let mut newer = station.session(&device).await;
    assert_eq!(older.next().await, Got::Disconnect(0x8e));
    assert_eq!(older.next().await, Got::End);
    assert_eq!(
        newer
            .deliver(&up(&device, Up::Batch), &batch(now, 0, 1, [0; 32]))
            .await,
        0
    );
    let task = system(Task::AdminCommand).project(station.bench.project);
    assert!(
        station
            .fleet
            .status(&task.grant(), device.device)
            .await
            .unwrap()
            .connected
    );
}

#[tokio::test]
async fn disabling_cuts_the_live_session_also_from_another_process() {
    let station = Station::new().await;
    let device = station.bench.enrol("a").await;
    let served = station
        .bench
        .pki
        .server_certificate("localhost")
        .await
        .unwrap();
    let (pki, ingest) = (station.bench.pki.clone(), station.ingest.clone());
    let polling = tokio::spawn(async move { pki.run(&served, "localhost").await });
    let cutting = tokio::spawn(async move { ingest.run().await });
    for beside in [false, true] {
        let mut client = station.session(&device).await;
        let pki = match beside {
            true => station.bench.beside().await,
            false => station.bench.pki.clone(),
        };
        let task = system(Task::AdminCommand).project(station.bench.project);
        pki.set_state(&task.grant(), device.device, State::Disabled)
            .await
            .unwrap();
        let told = timeout(Duration::from_secs(5), client.next()).await;
        assert_eq!(
            told.expect("cut within five seconds"),
            Got::Disconnect(0x98)
        );
        assert_eq!(client.next().await, Got::End);
        let (mut client, _stop) = station.dial(device.peer());
        assert_eq!(client.connect("").await, Got::Connack(0x8a));
        assert_eq!(client.next().await, Got::End);
        pki.set_state(&task.grant(), device.device, State::Active)
            .await
            .unwrap();
    }
    let task = system(Task::AdminCommand).project(station.bench.project);
    let status = station
        .fleet
        .status(&task.grant(), device.device)
        .await
        .unwrap();
    assert_eq!(status.state, Condition::NeverReported);
    assert!(
        status.sentence.contains("the device is disabled"),
        "{}",
        status.sentence
    );
    polling.abort();
    cutting.abort();
}

#[tokio::test]
async fn an_expired_certificate_is_told_why_and_so_are_its_people() {
    let station = Station::new().await;
    let device = station.bench.enrol("a").await;
    station
        .bench
        .hands
        .advance(Duration::from_secs(102 * 86_400));
    let (mut client, _stop) = station.dial(device.peer());
    assert_eq!(client.connect("").await, Got::Connack(0x87));
    assert_eq!(client.next().await, Got::End);
    let log = station.log(&device).await;
    assert_eq!(log[0].text, "Certificate refused: expired 12 days ago");
    let task = system(Task::AdminCommand).project(station.bench.project);
    let status = station
        .fleet
        .status(&task.grant(), device.device)
        .await
        .unwrap();
    assert!(
        status
            .sentence
            .starts_with("Certificate refused: expired 12 days ago"),
        "{}",
        status.sentence
    );
}

#[tokio::test]
async fn a_stopping_server_answers_what_it_has_and_says_so() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let device = station.bench.enrol("a").await;
    let (mut client, stop) = station.dial(device.peer());
    assert_eq!(client.connect("").await, Got::Connack(0));
    let packet = client
        .publish(&up(&device, Up::Batch), &batch(now, 0, 10, [0; 32]))
        .await;
    assert_eq!(client.next().await, Got::Puback(packet, 0));
    stop.send(()).unwrap();
    assert_eq!(client.next().await, Got::Disconnect(0x8b));
    assert_eq!(client.next().await, Got::End);
}

#[tokio::test]
async fn a_devices_own_log_line_is_kept_as_its_own() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let device = station.bench.enrol("a").await;
    let mut client = station.session(&device).await;
    let line = LogLine {
        time: now,
        level: Level::Error,
        code: "sensor.gone",
        text: "Turbidity does not answer",
    };
    let mut bytes = [0; limits::LOG_BYTES];
    let length = line.encode(&mut bytes).unwrap();
    assert_eq!(
        client
            .deliver(&up(&device, Up::Log), &bytes[..length])
            .await,
        0
    );
    let log = station.log(&device).await;
    assert_eq!(
        (log[0].source, log[0].level, log[0].time),
        (LineSource::Device, Level::Error, now)
    );
    assert_eq!(
        (log[0].code.as_str(), log[0].text.as_str()),
        (line.code, line.text)
    );
}

#[tokio::test]
async fn a_fork_is_kept_and_shown() {
    let station = Station::new().await;
    let now = station.bench.clock.now();
    let device = station.bench.enrol("a").await;
    let mut client = station.session(&device).await;
    let topic = up(&device, Up::Batch);
    assert_eq!(client.deliver(&topic, &batch(now, 0, 10, [0; 32])).await, 0);
    assert_eq!(client.deliver(&topic, &batch(now, 5, 10, [9; 32])).await, 0);
    assert_eq!(
        station
            .store
            .totals(station.origin(&device))
            .await
            .unwrap()
            .batches,
        2
    );
    assert_eq!(station.log_codes(&device).await, ["fork"]);
}

#[tokio::test]
async fn subscriptions_cost_a_device_as_much_as_messages_do() {
    let station = Station::new().await;
    let device = station.bench.enrol("a").await;
    let mut client = station.session(&device).await;
    let sixteen = ["fk/1/#"; 16];
    assert_eq!(
        client.subscribe(&sixteen).await,
        Got::Suback(vec![0x87; 16])
    );
    let codes = station.log_codes(&device).await;
    assert_eq!(codes, ["subscription_refused"], "one line a packet");
    assert_eq!(client.subscribe(&["#"; 17]).await, Got::Disconnect(0x97));
    assert_eq!(client.next().await, Got::End);
}
