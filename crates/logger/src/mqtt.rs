//! Owns MQTT 5 as far as a logger speaks it, over a library that does no I/O: connect, subscribe to two topics, publish
//! with QoS 1, keep alive, disconnect. The only file that knows the library.
//! Promises that whatever bytes arrive become events or the end of the session, never a panic of ours.

use mqtt_protocol_core::mqtt::{
    Connection, Version,
    common::Cursor,
    connection::{ConnectionOptions, Event, event::TimerKind, role},
    packet::{
        Packet, Property, Qos, ReceiveMaximum, SessionExpiryInterval, SubEntry, SubOpts,
        v5_0::{Connect, Disconnect, Publish, Subscribe},
    },
    prelude::*,
    result_code::{ConnectReasonCode, DisconnectReasonCode, MqttError, SubackReasonCode},
};

/// The longest packet that the cloud sends: a ledger with its topic.
const PACKET_BYTES: u32 = 16 * 1024;
/// How many publishes the cloud may have unanswered with us.
const RECEIVE_MAXIMUM: u16 = 16;
/// Sent when nothing else is.
const KEEP_ALIVE_S: u16 = 60;
/// How long the cloud may take to answer a ping.
const PING_PATIENCE_MS: u64 = 20_000;

/// What came from the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The session is up; this many publishes may be unanswered.
    Connected {
        /// The cloud's receive maximum.
        window: u16,
    },
    /// The cloud refuses the session.
    Refused {
        /// Its reason.
        reason: String,
    },
    /// A subscription was answered.
    Subscribed {
        /// Whether all of it was granted.
        granted: bool,
    },
    /// A message on one of our topics.
    Message {
        /// The topic.
        topic: String,
        /// The payload.
        payload: Vec<u8>,
    },
    /// A publish was answered with this reason code.
    Answered {
        /// The packet's number.
        packet: u16,
        /// The reason code; 0 is success.
        code: u8,
    },
    /// The cloud ends the session.
    Disconnected {
        /// Its reason.
        reason: String,
    },
    /// The session cannot go on.
    Broken {
        /// What was wrong.
        reason: String,
    },
}

/// A timer that the protocol wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timer {
    kind: TimerKind,
    at_us: u64,
}

/// One MQTT session, without I/O and without a clock.
pub struct Client {
    connection: Connection<role::Client>,
    output: Vec<u8>,
    incoming: Vec<Incoming>,
    timers: Vec<Timer>,
    ended: bool,
}

impl Client {
    /// A session that begins with a CONNECT under this id.
    pub fn connect(client_id: &str, now_us: u64) -> Client {
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(PACKET_BYTES)
            .receive_maximum(RECEIVE_MAXIMUM);
        let mut connection = Connection::<role::Client>::with_options(Version::V5_0, options);
        connection.set_auto_pub_response(true);
        connection.set_pingresp_recv_timeout(PING_PATIENCE_MS);
        let mut client = Client {
            connection,
            output: Vec::new(),
            incoming: Vec::new(),
            timers: Vec::new(),
            ended: false,
        };
        match connect_packet(client_id) {
            Ok(packet) => {
                let events = client.connection.checked_send(packet);
                client.handle(events, now_us);
            }
            Err(error) => client.break_off(error),
        }
        client
    }

    /// Subscribes to topics.
    pub fn subscribe(&mut self, topics: &[&str], now_us: u64) {
        let entries: Result<Vec<SubEntry>, MqttError> = topics
            .iter()
            .map(|topic| SubEntry::new(*topic, SubOpts::new().set_qos(Qos::AtLeastOnce)))
            .collect();
        let packet = self
            .connection
            .acquire_packet_id()
            .and_then(|id| Subscribe::builder().packet_id(id).entries(entries?).build());
        match packet {
            Ok(packet) => {
                let events = self.connection.checked_send(packet);
                self.handle(events, now_us);
            }
            Err(error) => self.break_off(error),
        }
    }

    /// Publishes with QoS 1 and returns the packet's number; `None` if the session cannot take it.
    pub fn publish(&mut self, topic: &str, payload: &[u8], now_us: u64) -> Option<u16> {
        let id = self.connection.acquire_packet_id().ok()?;
        let packet = Publish::builder().topic_name(topic).and_then(|builder| {
            builder
                .qos(Qos::AtLeastOnce)
                .packet_id(id)
                .payload(payload)
                .build()
        });
        match packet {
            Ok(packet) => {
                let before = self.output.len();
                let events = self.connection.checked_send(packet);
                self.handle(events, now_us);
                (self.output.len() > before).then_some(id)
            }
            Err(error) => {
                self.break_off(error);
                None
            }
        }
    }

    /// Ends the session in order.
    pub fn disconnect(&mut self, now_us: u64) {
        let packet = Disconnect::builder()
            .reason_code(DisconnectReasonCode::NormalDisconnection)
            .build();
        if let Ok(packet) = packet {
            let events = self.connection.checked_send(packet);
            self.handle(events, now_us);
        }
        self.ended = true;
    }

    /// Takes bytes from the cloud.
    pub fn handle_bytes(&mut self, bytes: &[u8], now_us: u64) {
        let mut cursor = Cursor::new(bytes);
        let length = bytes.len() as u64;
        while cursor.position() < length && !self.ended {
            let before = cursor.position();
            let events = self.connection.recv(&mut cursor);
            self.handle(events, now_us);
            if cursor.position() == before {
                break;
            }
        }
    }

    /// When `handle_timeout` is to be called.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.timers.iter().map(|timer| timer.at_us).min()
    }

    /// Lets timers fire.
    pub fn handle_timeout(&mut self, now_us: u64) {
        let (due, rest) = self.timers.iter().partition(|timer| timer.at_us <= now_us);
        self.timers = rest;
        let due: Vec<Timer> = due;
        for timer in due {
            if timer.kind == TimerKind::PingrespRecv {
                self.incoming.push(Incoming::Broken {
                    reason: "the cloud does not answer any more".to_owned(),
                });
            }
            let events = self.connection.notify_timer_fired(timer.kind);
            self.handle(events, now_us);
        }
    }

    /// Bytes for the cloud.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// What came from the cloud since the last call, in order.
    pub fn take_incoming(&mut self) -> Vec<Incoming> {
        std::mem::take(&mut self.incoming)
    }

    /// Whether nothing more will come or go.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn break_off(&mut self, error: MqttError) {
        self.ended = true;
        self.incoming.push(Incoming::Broken {
            reason: format!("MQTT: {error}"),
        });
    }

    fn handle(&mut self, events: Vec<Event>, now_us: u64) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.output
                        .extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::RequestTimerReset { kind, duration_ms } => {
                    self.timers.retain(|timer| timer.kind != kind);
                    let at_us = now_us.saturating_add(duration_ms.saturating_mul(1_000));
                    self.timers.push(Timer { kind, at_us });
                }
                Event::RequestTimerCancel(kind) => self.timers.retain(|timer| timer.kind != kind),
                Event::NotifyPacketReceived(packet) => self.receive(packet),
                Event::NotifyError(error) => self.break_off(error),
                Event::RequestClose => self.ended = true,
                Event::NotifyPacketIdReleased(_) => {}
            }
        }
    }

    fn receive(&mut self, packet: Packet) {
        let incoming = match packet {
            Packet::V5_0Connack(connack) => {
                if connack.reason_code() == ConnectReasonCode::Success {
                    Incoming::Connected {
                        window: window(connack.props()),
                    }
                } else {
                    self.ended = true;
                    Incoming::Refused {
                        reason: reason(&connack.reason_code(), connack.props()),
                    }
                }
            }
            Packet::V5_0Suback(suback) => {
                let granted = |code: &SubackReasonCode| *code as u8 <= 2;
                Incoming::Subscribed {
                    granted: suback.reason_codes().iter().all(granted),
                }
            }
            Packet::V5_0Publish(publish) => Incoming::Message {
                topic: publish.topic_name().to_owned(),
                payload: publish.payload().as_slice().to_vec(),
            },
            Packet::V5_0Puback(puback) => Incoming::Answered {
                packet: puback.packet_id(),
                code: puback.reason_code().map_or(0, |code| code as u8),
            },
            Packet::V5_0Disconnect(disconnect) => {
                self.ended = true;
                let code = disconnect
                    .reason_code()
                    .unwrap_or(DisconnectReasonCode::NormalDisconnection);
                let props = disconnect.props();
                Incoming::Disconnected {
                    reason: reason(&code, props.as_deref().unwrap_or_default()),
                }
            }
            _ => return,
        };
        self.incoming.push(incoming);
    }
}

fn connect_packet(client_id: &str) -> Result<Connect, MqttError> {
    Connect::builder()
        .client_id(client_id)?
        .clean_start(true)
        .keep_alive(KEEP_ALIVE_S)
        .props(vec![
            Property::SessionExpiryInterval(SessionExpiryInterval::new(0)?),
            Property::ReceiveMaximum(ReceiveMaximum::new(RECEIVE_MAXIMUM)?),
        ])
        .build()
}

fn window(props: &[Property]) -> u16 {
    let limit = props.iter().find_map(|property| match property {
        Property::ReceiveMaximum(value) => Some(value.val()),
        _ => None,
    });
    limit.unwrap_or(u16::MAX)
}

fn reason(code: &impl std::fmt::Display, props: &[Property]) -> String {
    let text = props.iter().find_map(|property| match property {
        Property::ReasonString(text) => Some(crate::http::printable(text.val())),
        _ => None,
    });
    text.map_or_else(|| code.to_string(), |text| format!("{code}: {text}"))
}
