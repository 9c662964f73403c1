//! MQTT 5 framing: bytes in, packets out; answers in, bytes out. No socket, no clock, no device.
//!
//! The one place that knows the library behind it, so that another can take its place. Narrows the protocol to
//! what an endpoint for loggers needs: version 5, QoS 1 upwards and QoS 0 downwards, no retained messages, no topic
//! aliases, no sessions that outlive their connection; a will is read and never published, as nobody could
//! receive it. What the library leaves open is refused here.

use std::collections::VecDeque;
use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Connection, ConnectionOptions, Event};
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, GenericPacketTrait, MaximumQos, Packet, Property, Qos, ReasonString,
    RetainAvailable, ServerKeepAlive, SessionExpiryInterval, SharedSubscriptionAvailable,
    SubscriptionIdentifierAvailable, WildcardSubscriptionAvailable, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{MqttError, PubackReasonCode, UnsubackReasonCode};
use mqtt_protocol_core::mqtt::{ArcPayload, Version, role};

use fieldkeep_protocol::puback::Code;

pub(super) use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, SubackReasonCode,
};

/// Publishes of one connection that may wait for their answer.
pub(super) const IN_FLIGHT: u16 = 16;
/// Larger packets end the connection before their body is read.
pub(super) const LARGEST_PACKET: u32 = 70_000;
/// The longest silence that a client may ask for; also for clients that ask for no limit.
const LONGEST_KEEP_ALIVE_S: u16 = 1_200;

/// A packet of a client, as far as an endpoint cares.
#[derive(Debug)]
pub(super) enum Input {
    Connect {
        client_id: String,
        keep_alive_s: u16,
    },
    Publish {
        packet: u16,
        topic: String,
        payload: Payload,
    },
    Subscribe {
        packet: u16,
        filters: Vec<String>,
    },
    Unsubscribe {
        packet: u16,
        filters: usize,
    },
    /// The client says goodbye.
    Disconnect,
}

/// The bytes of a published message, shared with the packet they came in.
#[derive(Clone, Debug)]
pub(super) struct Payload(ArcPayload);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// The connection must end; what is still to be sent waits in [`Framer::output`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error(
        "a message was published with another quality of service than 1, the only one with a durable answer"
    )]
    Qos,
    #[error("a message asked to be retained")]
    Retain,
    #[error("the protocol was broken: {0:?}")]
    Protocol(MqttError),
}

impl Broken {
    /// The word for it in logs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Qos => "mqtt_qos",
            Self::Retain => "mqtt_retain",
            Self::Protocol(MqttError::PacketTooLarge) => "mqtt_packet_too_large",
            Self::Protocol(MqttError::UnsupportedProtocolVersion) => "mqtt_version",
            Self::Protocol(MqttError::ReceiveMaximumExceeded) => "mqtt_receive_maximum",
            Self::Protocol(_) => "mqtt_protocol",
        }
    }
}

impl From<MqttError> for Broken {
    fn from(error: MqttError) -> Self {
        Self::Protocol(error)
    }
}

/// One connection's protocol state.
pub(super) struct Framer {
    connection: Connection<role::Server>,
    output: Vec<u8>,
    silence: Option<Duration>,
}

impl Framer {
    pub(super) fn new() -> Self {
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(LARGEST_PACKET)
            .receive_maximum(IN_FLIGHT);
        let mut connection = Connection::with_options(Version::V5_0, options);
        connection.set_auto_ping_response(true);
        Self {
            connection,
            output: Vec::new(),
            silence: None,
        }
    }

    /// Takes bytes as they came; packets that they complete are appended to `inputs`.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        inputs: &mut VecDeque<Input>,
    ) -> Result<(), Broken> {
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 {
            for event in self.connection.recv(&mut cursor) {
                match event {
                    Event::NotifyPacketReceived(packet) => self.received(packet, inputs)?,
                    event => self.apply(event)?,
                }
            }
        }
        Ok(())
    }

    /// What must be written to the client. The caller empties it.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The longest silence after which the client counts as gone; known once it is accepted.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.silence
    }

    /// Opens the session. `assigned` tells a client that sent no id which one it has.
    pub(super) fn accept(
        &mut self,
        keep_alive_s: u16,
        assigned: Option<&str>,
    ) -> Result<(), Broken> {
        let mut properties: Vec<Property> = vec![
            SessionExpiryInterval::new(0)?.into(),
            MaximumQos::new(1)?.into(),
            RetainAvailable::new(0)?.into(),
            WildcardSubscriptionAvailable::new(0)?.into(),
            SubscriptionIdentifierAvailable::new(0)?.into(),
            SharedSubscriptionAvailable::new(0)?.into(),
        ];
        let granted_s = match keep_alive_s {
            0 => LONGEST_KEEP_ALIVE_S,
            asked => asked.min(LONGEST_KEEP_ALIVE_S),
        };
        if granted_s != keep_alive_s {
            properties.push(ServerKeepAlive::new(granted_s)?.into());
        }
        if let Some(assigned) = assigned {
            properties.push(AssignedClientIdentifier::new(assigned)?.into());
        }
        self.silence = Some(Duration::from_secs(u64::from(granted_s)) * 3 / 2);
        self.send(
            v5_0::Connack::builder()
                .session_present(false)
                .reason_code(ConnectReasonCode::Success)
                .props(properties)
                .build()?,
        )
    }

    /// Refuses the session with a sentence for whoever reads the client's log.
    pub(super) fn refuse(&mut self, code: ConnectReasonCode, why: &str) -> Result<(), Broken> {
        self.send(
            v5_0::Connack::builder()
                .session_present(false)
                .reason_code(code)
                .props(vec![ReasonString::new(why)?.into()])
                .build()?,
        )
    }

    pub(super) fn puback(&mut self, packet: u16, code: Code) -> Result<(), Broken> {
        let reason = match code {
            Code::Durable => PubackReasonCode::Success,
            Code::NotYourTopic => PubackReasonCode::NotAuthorized,
            Code::Quota => PubackReasonCode::QuotaExceeded,
            Code::Undecodable => PubackReasonCode::PayloadFormatInvalid,
        };
        self.send(
            v5_0::Puback::builder()
                .packet_id(packet)
                .reason_code(reason)
                .build()?,
        )
    }

    pub(super) fn suback(
        &mut self,
        packet: u16,
        codes: Vec<SubackReasonCode>,
    ) -> Result<(), Broken> {
        self.send(
            v5_0::Suback::builder()
                .packet_id(packet)
                .reason_codes(codes)
                .build()?,
        )
    }

    pub(super) fn unsuback(&mut self, packet: u16, filters: usize) -> Result<(), Broken> {
        self.send(
            v5_0::Unsuback::builder()
                .packet_id(packet)
                .reason_codes(vec![UnsubackReasonCode::Success; filters])
                .build()?,
        )
    }

    /// Publishes at QoS 0: a lost connection makes the client ask anew.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<(), Broken> {
        self.send(
            v5_0::Publish::builder()
                .topic_name(topic)?
                .qos(Qos::AtMostOnce)
                .payload(payload)
                .build()?,
        )
    }

    pub(super) fn disconnect(&mut self, code: DisconnectReasonCode) -> Result<(), Broken> {
        self.send(v5_0::Disconnect::builder().reason_code(code).build()?)
    }

    fn send(&mut self, packet: impl Into<Packet>) -> Result<(), Broken> {
        for event in self.connection.send(packet.into()) {
            self.apply(event)?;
        }
        Ok(())
    }

    /// Timers are not taken from the library: silence is measured by whoever holds the socket.
    fn apply(&mut self, event: Event) -> Result<(), Broken> {
        match event {
            Event::RequestSendPacket { packet, .. } => {
                self.output
                    .extend_from_slice(&packet.to_continuous_buffer());
                Ok(())
            }
            Event::NotifyError(error) => Err(Broken::Protocol(error)),
            Event::RequestTimerReset { .. }
            | Event::RequestTimerCancel(_)
            | Event::NotifyPacketIdReleased(_)
            | Event::RequestClose
            | Event::NotifyPacketReceived(_) => Ok(()),
        }
    }

    fn received(&mut self, packet: Packet, inputs: &mut VecDeque<Input>) -> Result<(), Broken> {
        let input = match packet {
            Packet::V5_0Connect(connect) => Input::Connect {
                client_id: connect.client_id().to_owned(),
                keep_alive_s: connect.keep_alive(),
            },
            Packet::V5_0Publish(publish) => {
                if publish.retain() {
                    return Err(
                        self.broken(DisconnectReasonCode::RetainNotSupported, Broken::Retain)
                    );
                }
                let (Qos::AtLeastOnce, Some(packet)) = (publish.qos(), publish.packet_id()) else {
                    return Err(self.broken(DisconnectReasonCode::QosNotSupported, Broken::Qos));
                };
                Input::Publish {
                    packet,
                    topic: publish.topic_name().to_owned(),
                    payload: Payload(publish.payload().clone()),
                }
            }
            Packet::V5_0Subscribe(subscribe) => Input::Subscribe {
                packet: subscribe.packet_id(),
                filters: subscribe
                    .entries()
                    .iter()
                    .map(|entry| entry.topic_filter().to_owned())
                    .collect(),
            },
            Packet::V5_0Unsubscribe(unsubscribe) => Input::Unsubscribe {
                packet: unsubscribe.packet_id(),
                filters: unsubscribe.entries().len(),
            },
            Packet::V5_0Disconnect(_) => Input::Disconnect,
            Packet::V5_0Pingreq(_) => return Ok(()),
            _ => {
                let why = Broken::Protocol(MqttError::ProtocolError);
                return Err(self.broken(DisconnectReasonCode::ProtocolError, why));
            }
        };
        inputs.push_back(input);
        Ok(())
    }

    /// Says why to the client, if the session is open, and hands on the reason.
    fn broken(&mut self, code: DisconnectReasonCode, why: Broken) -> Broken {
        // Before the session is open the protocol has no way to say it: the connection just ends.
        let _ = self.disconnect(code);
        why
    }
}

#[cfg(test)]
mod tests {
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
        fn no_damaged_packet_makes_it_panic(at in 0usize..64, byte: u8, cut in 0usize..64, kind in 0u8..3) {
            let mut bytes = match kind {
                0 => connect(),
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
            let mut framer = if kind == 0 { Framer::new() } else { open() };
            let _ = framer.feed(&bytes, &mut VecDeque::new());
        }
    }
}
