//! Framing alone: what comes of bytes, right and wrong, in both versions.

use proptest::prelude::*;

use super::*;

fn connect() -> Vec<u8> {
    v5_0::Connect::builder()
        .client_id("c")
        .unwrap()
        .clean_start(true)
        .keep_alive(10)
        .build()
        .unwrap()
        .to_continuous_buffer()
}

fn publish(qos: Qos, retain: bool) -> Vec<u8> {
    let mut builder = v5_0::Publish::builder()
        .topic_name("a/b")
        .unwrap()
        .qos(qos)
        .retain(retain)
        .payload(&b"hello"[..]);
    if qos != Qos::AtMostOnce {
        builder = builder.packet_id(7u16);
    }
    builder.build().unwrap().to_continuous_buffer()
}

fn open() -> Framer {
    let mut framer = Framer::new();
    let mut inputs = VecDeque::new();
    framer.feed(&connect(), &mut inputs).unwrap();
    assert!(matches!(
        inputs.pop_front(),
        Some(Input::Connect {
            keep_alive_s: 10,
            ..
        })
    ));
    framer.accept(10, None).unwrap();
    assert_eq!(framer.silence(), Some(Duration::from_secs(15)));
    framer.output().clear();
    framer
}

#[test]
fn packets_arrive_whole_from_single_bytes() {
    let mut framer = open();
    let mut inputs = VecDeque::new();
    for byte in publish(Qos::AtLeastOnce, false) {
        assert!(inputs.is_empty());
        framer.feed(&[byte], &mut inputs).unwrap();
    }
    let Some(Input::Publish {
        packet: 7,
        topic,
        payload,
    }) = inputs.pop_front()
    else {
        panic!("no publish");
    };
    assert_eq!((topic.as_str(), payload.as_ref()), ("a/b", &b"hello"[..]));
    framer.puback(7, Code::Durable).unwrap();
    assert_eq!(framer.output().as_slice(), &[0x40, 3, 0, 7, 0]);
}

#[test]
fn only_quality_1_without_retain_is_taken() {
    for (qos, retain, why) in [
        (Qos::AtMostOnce, false, Broken::Qos),
        (Qos::ExactlyOnce, false, Broken::Qos),
        (Qos::AtLeastOnce, true, Broken::Retain),
    ] {
        let mut framer = open();
        let mut inputs = VecDeque::new();
        assert_eq!(framer.feed(&publish(qos, retain), &mut inputs), Err(why));
        assert!(inputs.is_empty());
        assert_eq!(framer.output()[0], 0xe0, "a DISCONNECT says why");
    }
}

#[test]
fn a_large_packet_ends_the_session_before_its_body() {
    let mut framer = open();
    // PUBLISH announcing 128 KiB.
    let error = framer.feed(&[0x32, 0x80, 0x80, 0x08], &mut VecDeque::new());
    assert_eq!(error, Err(Broken::Protocol(MqttError::PacketTooLarge)));
    assert_eq!(framer.output().as_slice(), &[0xe0, 1, 0x95]);
}

#[test]
fn more_than_the_window_is_refused() {
    let mut framer = open();
    let mut inputs = VecDeque::new();
    for packet in 1..=IN_FLIGHT {
        let bytes = numbered(packet);
        framer.feed(&bytes, &mut inputs).unwrap();
    }
    let error = framer.feed(&numbered(IN_FLIGHT + 1), &mut inputs);
    assert_eq!(
        error,
        Err(Broken::Protocol(MqttError::ReceiveMaximumExceeded))
    );
}

fn numbered(packet: u16) -> Vec<u8> {
    v5_0::Publish::builder()
        .topic_name("a")
        .unwrap()
        .qos(Qos::AtLeastOnce)
        .packet_id(packet)
        .payload(&b""[..])
        .build()
        .unwrap()
        .to_continuous_buffer()
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), opened: bool) {
        let mut framer = if opened { open() } else { Framer::new() };
        let _ = framer.feed(&bytes, &mut VecDeque::new());
    }

    #[test]
    fn no_damaged_packet_makes_it_panic(at in 0usize..64, byte: u8, cut in 0usize..64, kind in 0u8..4) {
        let mut bytes = match kind {
            0 => connect(),
            3 => older::connect(),
            1 => publish(Qos::AtLeastOnce, false),
            _ => v5_0::Subscribe::builder()
                .packet_id(3u16)
                .entries(vec![mqtt_protocol_core::mqtt::packet::SubEntry::new(
                    "a/b",
                    mqtt_protocol_core::mqtt::packet::SubOpts::new(),
                ).unwrap()])
                .build()
                .unwrap()
                .to_continuous_buffer(),
        };
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let mut framer = if matches!(kind, 0 | 3) { Framer::new() } else { open() };
        let _ = framer.feed(&bytes, &mut VecDeque::new());
    }
}

mod older {
    use super::*;

    pub(super) fn connect() -> Vec<u8> {
        v3_1_1::Connect::builder()
            .client_id("c")
            .unwrap()
            .clean_session(true)
            .keep_alive(10)
            .build()
            .unwrap()
            .to_continuous_buffer()
    }

    fn open() -> Framer {
        let mut framer = Framer::new();
        let mut inputs = VecDeque::new();
        framer.feed(&connect(), &mut inputs).unwrap();
        assert_eq!(inputs.len(), 1);
        framer.accept(10, None).unwrap();
        assert_eq!(framer.output().as_slice(), &[0x20, 2, 0, 0]);
        framer.output().clear();
        framer
    }

    fn publish(packet: u16, qos: Qos, retain: bool) -> Vec<u8> {
        let mut builder = v3_1_1::Publish::builder()
            .topic_name("a/b")
            .unwrap()
            .qos(qos)
            .retain(retain)
            .payload(&b"hello"[..]);
        if qos != Qos::AtMostOnce {
            builder = builder.packet_id(packet);
        }
        builder.build().unwrap().to_continuous_buffer()
    }

    #[test]
    fn only_what_is_settled_is_acknowledged() {
        for (code, answered) in [
            (Code::Durable, true),
            (Code::Undecodable, true),
            (Code::Quota, false),
            (Code::NotYourTopic, false),
        ] {
            let mut framer = open();
            let mut inputs = VecDeque::new();
            framer
                .feed(&publish(7, Qos::AtLeastOnce, false), &mut inputs)
                .unwrap();
            let said = framer.puback(7, code);
            if answered {
                assert_eq!(said, Ok(()));
                assert_eq!(framer.output().as_slice(), &[0x40, 2, 0, 7], "{code:?}");
            } else {
                assert_eq!(said, Err(Broken::Unanswerable));
                assert!(framer.output().is_empty(), "{code:?}");
            }
        }
    }

    #[test]
    fn only_quality_1_without_retain_is_taken_and_nothing_is_said() {
        for (qos, retain, why) in [
            (Qos::AtMostOnce, false, Broken::Qos),
            (Qos::ExactlyOnce, false, Broken::Qos),
            (Qos::AtLeastOnce, true, Broken::Retain),
        ] {
            let mut framer = open();
            let mut inputs = VecDeque::new();
            assert_eq!(framer.feed(&publish(7, qos, retain), &mut inputs), Err(why));
            assert!(inputs.is_empty() && framer.output().is_empty());
        }
    }

    #[test]
    fn a_client_that_knows_no_window_may_send_more_than_it() {
        let mut framer = open();
        let mut inputs = VecDeque::new();
        for packet in 1..=3 * IN_FLIGHT {
            let bytes = publish(packet, Qos::AtLeastOnce, false);
            framer.feed(&bytes, &mut inputs).unwrap();
        }
        assert_eq!(inputs.len(), usize::from(3 * IN_FLIGHT));
    }

    #[test]
    fn refusals_and_subscriptions_have_the_older_codes() {
        for (code, byte) in [
            (ConnectReasonCode::ClientIdentifierNotValid, 2),
            (ConnectReasonCode::ServerUnavailable, 3),
            (ConnectReasonCode::Banned, 5),
            (ConnectReasonCode::NotAuthorized, 5),
        ] {
            let mut framer = Framer::new();
            framer.feed(&connect(), &mut VecDeque::new()).unwrap();
            framer.refuse(code, "no").unwrap();
            assert_eq!(framer.output().as_slice(), &[0x20, 2, 0, byte]);
        }
        let mut framer = open();
        let subscribe = [0x82, 8, 0, 3, 0, 3, b'a', b'/', b'b', 1];
        framer.feed(&subscribe, &mut VecDeque::new()).unwrap();
        let codes = vec![SubackReasonCode::NotAuthorized];
        framer.suback(3, codes).unwrap();
        assert_eq!(framer.output().as_slice(), &[0x90, 3, 0, 3, 0x80]);
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = connect();
        bytes[8] = 3;
        let error = Framer::new()
            .feed(&bytes, &mut VecDeque::new())
            .unwrap_err();
        assert_eq!(error.code(), "mqtt_version");
    }
}
