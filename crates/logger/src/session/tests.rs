//! A session against a scripted cloud, without sockets and without time.

use fieldkeep_protocol::{Epoch, Spans, Timestamp};
use mqtt_protocol_core::mqtt::{
    Connection, Version,
    common::Cursor,
    connection::{Event as MqttEvent, role},
    packet::{
        Packet, Property, Qos, ReceiveMaximum,
        v5_0::{Connack, Puback, Publish, Suback},
    },
    prelude::*,
    result_code::{ConnectReasonCode, PubackReasonCode, SubackReasonCode},
};

use super::{Event, *};

/// A cloud that answers as it is told.
struct Peer {
    connection: Connection<role::Server>,
    received: Vec<Packet>,
    output: Vec<u8>,
}

impl Peer {
    fn new() -> Peer {
        let connection = Connection::<role::Server>::new(Version::V5_0);
        Peer {
            connection,
            received: Vec::new(),
            output: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        while (cursor.position() as usize) < bytes.len() {
            let events = self.connection.recv(&mut cursor);
            self.handle(events);
        }
    }

    fn send(&mut self, packet: impl Into<Packet>) {
        let events = self.connection.send(packet.into());
        self.handle(events);
    }

    fn handle(&mut self, events: Vec<MqttEvent>) {
        for event in events {
            match event {
                MqttEvent::RequestSendPacket { packet, .. } => {
                    self.output.extend(packet.to_continuous_buffer())
                }
                MqttEvent::NotifyPacketReceived(packet) => self.received.push(packet),
                MqttEvent::NotifyError(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    fn accept(&mut self, window: u16) {
        let limit = Property::ReceiveMaximum(ReceiveMaximum::new(window).unwrap());
        self.send(
            Connack::builder()
                .session_present(false)
                .reason_code(ConnectReasonCode::Success)
                .props(vec![limit])
                .build()
                .unwrap(),
        );
    }

    fn grant(&mut self) {
        let Some(Packet::V5_0Subscribe(subscribe)) = self.received.pop() else {
            panic!()
        };
        let codes = vec![SubackReasonCode::GrantedQos1; subscribe.entries().len()];
        self.send(
            Suback::builder()
                .packet_id(subscribe.packet_id())
                .reason_codes(codes)
                .build()
                .unwrap(),
        );
    }

    fn tell(&mut self, topic: &str, payload: &[u8]) {
        let packet = Publish::builder()
            .topic_name(topic)
            .unwrap()
            .qos(Qos::AtMostOnce)
            .payload(payload);
        self.send(packet.build().unwrap());
    }

    fn published(&mut self) -> Vec<(u16, String, Vec<u8>)> {
        self.received
            .drain(..)
            .filter_map(|packet| match packet {
                Packet::V5_0Publish(p) => Some((
                    p.packet_id()?,
                    p.topic_name().to_owned(),
                    p.payload().as_slice().to_vec(),
                )),
                _ => None,
            })
            .collect()
    }

    fn answer(&mut self, packet: u16, code: PubackReasonCode) {
        self.send(
            Puback::builder()
                .packet_id(packet)
                .reason_code(code)
                .build()
                .unwrap(),
        );
    }
}

fn device() -> DeviceId {
    DeviceId::from_parts(1_700_000_000_000, [1; 10])
}

fn exchange(session: &mut Session, peer: &mut Peer, now_us: u64) {
    peer.take(&session.take_output());
    let bytes = std::mem::take(&mut peer.output);
    session.handle_bytes(&bytes, now_us);
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

fn ledger(epoch: u64, next: u64) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    let message = Ledger {
        epoch: Epoch(epoch),
        next,
        holes: Spans::EMPTY,
    };
    let length = message.encode(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// A session that is ready to deliver.
fn ready(window: u16) -> (Session, Peer) {
    let (mut session, mut peer) = (Session::begin(Way::Mqtt, device(), false, 0), Peer::new());
    exchange(&mut session, &mut peer, 0);
    assert!(
        matches!(peer.received.pop(), Some(Packet::V5_0Connect(c)) if c.client_id() == device().to_string())
    );
    peer.accept(window);
    exchange(&mut session, &mut peer, 0);
    exchange(&mut session, &mut peer, 0);
    peer.grant();
    exchange(&mut session, &mut peer, 0);
    assert_eq!(events(&mut session), [Event::WantsState]);
    session.tell_state(&[vec![1]], 9, 0);
    exchange(&mut session, &mut peer, 0);
    let states = peer.published();
    assert_eq!(states[0].1, format!("fk/1/{}/state", device()));
    peer.answer(states[0].0, PubackReasonCode::Success);
    assert_eq!(session.vacancy(), 0, "nothing goes before the ledger");
    peer.tell(&format!("fk/1/{}/ledger", device()), &ledger(9, 7));
    exchange(&mut session, &mut peer, 0);
    let expected = Event::Ledger {
        epoch: 9,
        next: 7,
        holes: vec![],
    };
    assert_eq!(
        events(&mut session),
        [Event::Durable(Item::State), expected, Event::Ready]
    );
    (session, peer)
}

#[test]
fn the_window_is_the_clouds_and_only_zero_is_durable() {
    let (mut session, mut peer) = ready(2);
    let item = |n| Item::Table {
        epoch: 9,
        revision: n,
    };
    assert!(session.publish(item(1), b"a", 0) && session.publish(item(2), b"b", 0));
    assert!(!session.publish(item(3), b"c", 0), "two are open");
    exchange(&mut session, &mut peer, 0);
    let sent = peer.published();
    assert_eq!(sent.len(), 2);
    peer.answer(sent[0].0, PubackReasonCode::Success);
    peer.answer(sent[1].0, PubackReasonCode::NoMatchingSubscribers);
    exchange(&mut session, &mut peer, 0);
    assert_eq!(
        events(&mut session),
        [Event::Durable(item(1)), Event::Later(item(2))]
    );
    assert_eq!(session.vacancy(), 0, "it waits before it offers again");
    session.handle_timeout(PAUSE_US.0);
    assert_eq!(session.vacancy(), 2);
    session.publish(item(2), b"b", 0);
    exchange(&mut session, &mut peer, 0);
    let sent = peer.published();
    peer.answer(sent[0].0, PubackReasonCode::PayloadFormatInvalid);
    exchange(&mut session, &mut peer, 0);
    assert_eq!(events(&mut session), [Event::Undecodable(item(2))]);
    assert!(!session.is_ended());
}

#[test]
fn not_your_topic_ends_the_session_as_refused() {
    let (mut session, mut peer) = ready(16);
    session.publish(Item::Log, b"x", 0);
    exchange(&mut session, &mut peer, 0);
    let sent = peer.published();
    peer.answer(sent[0].0, PubackReasonCode::NotAuthorized);
    exchange(&mut session, &mut peer, 0);
    assert!(matches!(
        events(&mut session)[..],
        [Event::Ended { refused: true, .. }]
    ));
}

#[test]
fn an_unset_clock_sends_nothing_until_the_time_is_known_and_the_server_checked() {
    let (mut session, mut peer) = (Session::begin(Way::Mqtt, device(), true, 0), Peer::new());
    exchange(&mut session, &mut peer, 0);
    peer.received.clear();
    peer.accept(16);
    exchange(&mut session, &mut peer, 0);
    exchange(&mut session, &mut peer, 0);
    peer.grant();
    exchange(&mut session, &mut peer, 0);
    assert_eq!(events(&mut session), []);
    let mut time = vec![0; 16];
    let length = Time {
        now: Timestamp::from_micros(5_000_000),
    }
    .encode(&mut time)
    .unwrap();
    peer.tell(&format!("fk/1/{}/time", device()), &time[..length]);
    exchange(&mut session, &mut peer, 0);
    assert_eq!(events(&mut session), [Event::Time { unix_us: 5_000_000 }]);
    session.trust();
    assert_eq!(events(&mut session), [Event::WantsState]);
}

#[test]
fn silence_ends_what_waits() {
    let mut session = Session::begin(Way::Mqtt, device(), false, 0);
    assert_eq!(session.poll_timeout(), Some(ACCEPT_US));
    session.handle_timeout(ACCEPT_US);
    assert!(matches!(
        events(&mut session)[..],
        [Event::Ended { refused: false, .. }]
    ));

    let (mut session, mut peer) = ready(16);
    session.publish(Item::Log, b"x", 0);
    exchange(&mut session, &mut peer, 0);
    session.handle_timeout(ANSWER_US);
    assert!(
        events(&mut session)
            .iter()
            .any(|e| matches!(e, Event::Ended { .. }))
    );
}

#[test]
fn a_quiet_session_is_kept_alive_and_a_dead_one_noticed() {
    let (mut session, _peer) = ready(16);
    session.take_output();
    let ping_at = session.poll_timeout().unwrap();
    assert!(ping_at <= 60 * SECOND_US);
    session.handle_timeout(ping_at);
    assert_eq!(session.take_output(), [0xc0, 0]);
    session.handle_timeout(session.poll_timeout().unwrap());
    assert!(matches!(
        events(&mut session)[..],
        [Event::Ended { refused: false, .. }]
    ));
}

#[test]
fn nonsense_ends_the_session_and_panics_nowhere() {
    for byte in 0..=255u8 {
        let mut session = Session::begin(Way::Mqtt, device(), false, 0);
        session.take_output();
        session.handle_bytes(
            &[byte, 3, 0, 0, 0, byte, byte, byte, 255, 255, 255, 255, 255],
            0,
        );
        let (mut session, _) = ready(16);
        session.handle_bytes(&[byte, 4, 0, byte, 0, 0, 1, 2, 3], 0);
    }
}

/// The messages of the request that a visit wants to post.
fn request(session: &mut Session) -> Vec<Up> {
    let bytes = session.take_output();
    let request = fieldkeep_protocol::exchange::Request::decode(&bytes).unwrap();
    request
        .messages
        .iter()
        .map(|message| message.kind)
        .collect()
}

fn answer(outcomes: &[u8], messages: &[(Down, &[u8])]) -> Vec<u8> {
    use fieldkeep_protocol::exchange::{Answer, Message};
    let messages: Vec<_> = messages
        .iter()
        .map(|(kind, bytes)| Message { kind: *kind, bytes })
        .collect();
    let mut bytes = vec![0; 1_024];
    let length = Answer::encode(outcomes, &[], &messages, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

#[test]
fn a_visit_takes_the_same_course_by_exchanges() {
    let mut session = Session::begin(Way::Exchange, device(), true, 0);
    assert!(events(&mut session).is_empty());
    assert_eq!(
        request(&mut session),
        [],
        "an unset clock asks for the time alone"
    );
    assert!(session.take_output().is_empty(), "one request at a time");
    let mut time = [0; 16];
    let now = fieldkeep_protocol::Timestamp::from_micros(1_800_000_000_000_000);
    let length = Time { now }.encode(&mut time).unwrap();
    session.handle_bytes(&answer(&[], &[(Down::Time, &time[..length])]), 1);
    let unix_us = now.as_micros();
    assert_eq!(events(&mut session), [Event::Time { unix_us }]);
    session.trust();
    assert_eq!(events(&mut session), [Event::WantsState]);
    session.tell_state(&[vec![1], vec![2]], 9, 1);
    assert_eq!(session.vacancy(), 0, "nothing goes before the ledger");
    assert_eq!(request(&mut session), [Up::State, Up::State]);
    let known = ledger(9, 7);
    session.handle_bytes(&answer(&[0, 0], &[(Down::Ledger, &known)]), 2);
    let ledger = Event::Ledger {
        epoch: 9,
        next: 7,
        holes: vec![],
    };
    let told = [Event::Durable(Item::State), Event::Durable(Item::State)];
    let expected = [&told[..], &[ledger, Event::Ready]].concat();
    assert_eq!(events(&mut session), expected);

    assert_eq!(session.vacancy(), 64);
    let table = |revision| Item::Table { epoch: 9, revision };
    for number in 0..3 {
        assert!(session.publish(table(number), b"bytes", 3));
    }
    assert_eq!(request(&mut session), [Up::Channels; 3]);
    session.handle_bytes(&answer(&[0, 0x99, 0x97], &[]), 4);
    let expected = [
        Event::Durable(table(0)),
        Event::Undecodable(table(1)),
        Event::Later(table(2)),
    ];
    assert_eq!(events(&mut session), expected);
    assert!(session.is_paused() && session.in_flight() == 0);
    session.end(5);
    assert!(session.take_output().is_empty());
}
