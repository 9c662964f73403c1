//! MQTT framing: bytes in, packets out; answers in, bytes out. No socket, no clock, no device.
//!
//! The one place that knows the library behind it, so that another can take its place. Narrows the protocol to
//! what an endpoint for loggers needs: QoS 1 upwards and QoS 0 downwards, no retained messages, no topic
//! aliases, no sessions that outlive their connection; a will is read and never published, as nobody could
//! receive it. What the library leaves open is refused here.
//!
//! The client's CONNECT chooses version 5 or 3.1.1. The older one has no reason codes: what is durable or in quarantine
//! is acknowledged, what is to come back is not and the connection ends.

use std::collections::VecDeque;
use std::time::Duration;

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{Connection, ConnectionOptions, Event};
use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, GenericPacketTrait, MaximumQos, Packet, Property, Qos, ReasonString,
    ReceiveMaximum, RetainAvailable, ServerKeepAlive, SessionExpiryInterval,
    SharedSubscriptionAvailable, SubEntry, SubscriptionIdentifierAvailable,
    WildcardSubscriptionAvailable, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReturnCode, MqttError, PubackReasonCode, SubackReturnCode, UnsubackReasonCode,
};
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
    #[error(
        "the client's version of MQTT has no way to be told that its message has to come later"
    )]
    Unanswerable,
    #[error("the protocol was broken: {0:?}")]
    Protocol(MqttError),
}

impl Broken {
    /// The word for it in logs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Qos => "mqtt_qos",
            Self::Retain => "mqtt_retain",
            Self::Unanswerable => "mqtt_unanswerable",
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
    /// The client speaks 3.1.1, known from its CONNECT.
    is_older: bool,
    output: Vec<u8>,
    silence: Option<Duration>,
}

impl Framer {
    pub(super) fn new() -> Self {
        let options = ConnectionOptions::new().maximum_packet_size_recv(LARGEST_PACKET);
        let mut connection = Connection::with_options(Version::Undetermined, options);
        connection.set_auto_ping_response(true);
        Self {
            connection,
            is_older: false,
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
        let granted_s = match keep_alive_s {
            0 => LONGEST_KEEP_ALIVE_S,
            asked => asked.min(LONGEST_KEEP_ALIVE_S),
        };
        self.silence = Some(Duration::from_secs(u64::from(granted_s)) * 3 / 2);
        if self.is_older {
            return self.send(
                v3_1_1::Connack::builder()
                    .session_present(false)
                    .return_code(ConnectReturnCode::Accepted)
                    .build()?,
            );
        }
        let mut properties: Vec<Property> = vec![
            // An older client is held to this by not being read while so many wait.
            ReceiveMaximum::new(IN_FLIGHT)?.into(),
            SessionExpiryInterval::new(0)?.into(),
            MaximumQos::new(1)?.into(),
            RetainAvailable::new(0)?.into(),
            WildcardSubscriptionAvailable::new(0)?.into(),
            SubscriptionIdentifierAvailable::new(0)?.into(),
            SharedSubscriptionAvailable::new(0)?.into(),
        ];
        if granted_s != keep_alive_s {
            properties.push(ServerKeepAlive::new(granted_s)?.into());
        }
        if let Some(assigned) = assigned {
            properties.push(AssignedClientIdentifier::new(assigned)?.into());
        }
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
        if self.is_older {
            let code = match code {
                ConnectReasonCode::ClientIdentifierNotValid => {
                    ConnectReturnCode::IdentifierRejected
                }
                ConnectReasonCode::ServerUnavailable => ConnectReturnCode::ServerUnavailable,
                _ => ConnectReturnCode::NotAuthorized,
            };
            return self.send(
                v3_1_1::Connack::builder()
                    .session_present(false)
                    .return_code(code)
                    .build()?,
            );
        }
        self.send(
            v5_0::Connack::builder()
                .session_present(false)
                .reason_code(code)
                .props(vec![ReasonString::new(why)?.into()])
                .build()?,
        )
    }

    /// Says what became of a message, or ends the session where the client's version has no word for it.
    pub(super) fn puback(&mut self, packet: u16, code: Code) -> Result<(), Broken> {
        if self.is_older {
            return match code {
                Code::Durable | Code::Undecodable => {
                    self.send(v3_1_1::Puback::builder().packet_id(packet).build()?)
                }
                Code::NotYourTopic | Code::Quota => Err(Broken::Unanswerable),
            };
        }
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
        if self.is_older {
            let codes = codes.into_iter().map(|code| match code {
                SubackReasonCode::GrantedQos0 => SubackReturnCode::SuccessMaximumQos0,
                _ => SubackReturnCode::Failure,
            });
            return self.send(
                v3_1_1::Suback::builder()
                    .packet_id(packet)
                    .return_codes(codes.collect())
                    .build()?,
            );
        }
        self.send(
            v5_0::Suback::builder()
                .packet_id(packet)
                .reason_codes(codes)
                .build()?,
        )
    }

    pub(super) fn unsuback(&mut self, packet: u16, filters: usize) -> Result<(), Broken> {
        if self.is_older {
            return self.send(v3_1_1::Unsuback::builder().packet_id(packet).build()?);
        }
        self.send(
            v5_0::Unsuback::builder()
                .packet_id(packet)
                .reason_codes(vec![UnsubackReasonCode::Success; filters])
                .build()?,
        )
    }

    /// Publishes at QoS 0: a lost connection makes the client ask anew.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<(), Broken> {
        if self.is_older {
            return self.send(
                v3_1_1::Publish::builder()
                    .topic_name(topic)?
                    .qos(Qos::AtMostOnce)
                    .payload(payload)
                    .build()?,
            );
        }
        self.send(
            v5_0::Publish::builder()
                .topic_name(topic)?
                .qos(Qos::AtMostOnce)
                .payload(payload)
                .build()?,
        )
    }

    /// Says why the session ends. In the older version the end of the connection has to do.
    pub(super) fn disconnect(&mut self, code: DisconnectReasonCode) -> Result<(), Broken> {
        if self.is_older {
            return Ok(());
        }
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
            Packet::V3_1_1Connect(connect) => {
                self.is_older = true;
                Input::Connect {
                    client_id: connect.client_id().to_owned(),
                    keep_alive_s: connect.keep_alive(),
                }
            }
            Packet::V5_0Publish(publish) => self.published(
                (publish.qos(), publish.retain(), publish.packet_id()),
                publish.topic_name(),
                publish.payload(),
            )?,
            Packet::V3_1_1Publish(publish) => self.published(
                (publish.qos(), publish.retain(), publish.packet_id()),
                publish.topic_name(),
                publish.payload(),
            )?,
            Packet::V3_1_1Subscribe(subscribe) => Input::Subscribe {
                packet: subscribe.packet_id(),
                filters: filters(subscribe.entries()),
            },
            Packet::V3_1_1Unsubscribe(unsubscribe) => Input::Unsubscribe {
                packet: unsubscribe.packet_id(),
                filters: unsubscribe.entries().len(),
            },
            Packet::V5_0Subscribe(subscribe) => Input::Subscribe {
                packet: subscribe.packet_id(),
                filters: filters(subscribe.entries()),
            },
            Packet::V5_0Unsubscribe(unsubscribe) => Input::Unsubscribe {
                packet: unsubscribe.packet_id(),
                filters: unsubscribe.entries().len(),
            },
            Packet::V5_0Disconnect(_) | Packet::V3_1_1Disconnect(_) => Input::Disconnect,
            Packet::V5_0Pingreq(_) | Packet::V3_1_1Pingreq(_) => return Ok(()),
            _ => {
                let why = Broken::Protocol(MqttError::ProtocolError);
                return Err(self.broken(DisconnectReasonCode::ProtocolError, why));
            }
        };
        inputs.push_back(input);
        Ok(())
    }

    fn published(
        &mut self,
        (qos, retain, packet): (Qos, bool, Option<u16>),
        topic: &str,
        payload: &ArcPayload,
    ) -> Result<Input, Broken> {
        if retain {
            return Err(self.broken(DisconnectReasonCode::RetainNotSupported, Broken::Retain));
        }
        let (Qos::AtLeastOnce, Some(packet)) = (qos, packet) else {
            return Err(self.broken(DisconnectReasonCode::QosNotSupported, Broken::Qos));
        };
        Ok(Input::Publish {
            packet,
            topic: topic.to_owned(),
            payload: Payload(payload.clone()),
        })
    }

    /// Says why to the client, if the session is open, and hands on the reason.
    fn broken(&mut self, code: DisconnectReasonCode, why: Broken) -> Broken {
        // Before the session is open the protocol has no way to say it: the connection just ends.
        let _ = self.disconnect(code);
        why
    }
}

fn filters(entries: &[SubEntry]) -> Vec<String> {
    entries
        .iter()
        .map(|entry| entry.topic_filter().to_owned())
        .collect()
}

#[cfg(test)]
mod tests;
