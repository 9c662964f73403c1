//! A small MQTT client that sends what it is told and tells what it gets, right or wrong.

use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::{Qos, SubEntry, SubOpts, v5_0};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// What came from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Connack(u8),
    Puback(u16, u8),
    Suback(Vec<u8>),
    Publish(String, Vec<u8>),
    Disconnect(u8),
    Pingresp,
    /// The connection ended, properly or not.
    End,
}

pub(crate) struct Client<S> {
    stream: S,
    buffer: Vec<u8>,
    last_packet: u16,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            last_packet: 0,
        }
    }

    /// Sends bytes; that the server has gone shows when something is read.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    pub(crate) async fn connect(&mut self, client_id: &str) -> Got {
        let connect = v5_0::Connect::builder()
            .client_id(client_id)
            .unwrap()
            .clean_start(true)
            .keep_alive(60)
            .build()
            .unwrap();
        self.send(&connect.to_continuous_buffer()).await;
        self.next().await
    }

    pub(crate) async fn subscribe(&mut self, topics: &[&str]) -> Got {
        let entries: Vec<SubEntry> = topics
            .iter()
            .map(|topic| SubEntry::new(*topic, SubOpts::new().set_qos(Qos::AtLeastOnce)).unwrap())
            .collect();
        let packet = self.packet();
        let subscribe = v5_0::Subscribe::builder()
            .packet_id(packet)
            .entries(entries)
            .build()
            .unwrap();
        self.send(&subscribe.to_continuous_buffer()).await;
        self.next().await
    }

    /// Publishes without waiting; answers the packet's number.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) -> u16 {
        let packet = self.packet();
        let publish = v5_0::Publish::builder()
            .topic_name(topic)
            .unwrap()
            .qos(Qos::AtLeastOnce)
            .packet_id(packet)
            .payload(payload)
            .build()
            .unwrap();
        self.send(&publish.to_continuous_buffer()).await;
        packet
    }

    /// Publishes and waits for the answer's reason code.
    pub(crate) async fn deliver(&mut self, topic: &str, payload: &[u8]) -> u8 {
        let packet = self.publish(topic, payload).await;
        match self.next().await {
            Got::Puback(answered, code) if answered == packet => code,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn next(&mut self) -> Got {
        timeout(PATIENCE, self.read())
            .await
            .expect("the server says something in time")
    }

    async fn read(&mut self) -> Got {
        loop {
            if let Some((kind, body)) = self.frame() {
                return parse(kind, &body);
            }
            let mut bytes = [0; 4_096];
            match self.stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return Got::End,
                Ok(length) => self.buffer.extend_from_slice(&bytes[..length]),
            }
        }
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (length, header) = variable(self.buffer.get(1..)?)?;
        let end = 1 + header + length;
        if self.buffer.len() < end {
            return None;
        }
        let frame: Vec<u8> = self.buffer.drain(..end).collect();
        Some((frame[0], frame[1 + header..].to_vec()))
    }

    fn packet(&mut self) -> u16 {
        self.last_packet = self.last_packet.wrapping_add(1).max(1);
        self.last_packet
    }
}

fn variable(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (position, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((value, position + 1));
        }
    }
    None
}

fn parse(kind: u8, body: &[u8]) -> Got {
    let code = |at: usize| body.get(at).copied().unwrap_or(0);
    match kind >> 4 {
        2 => Got::Connack(code(1)),
        3 => {
            let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
            let (properties, header) = variable(&body[2 + length..]).unwrap();
            Got::Publish(topic, body[2 + length + header + properties..].to_vec())
        }
        4 => Got::Puback(u16::from_be_bytes([body[0], body[1]]), code(2)),
        9 => {
            let (properties, header) = variable(&body[2..]).unwrap();
            Got::Suback(body[2 + header + properties..].to_vec())
        }
        13 => Got::Pingresp,
        14 => Got::Disconnect(code(0)),
        other => panic!("packet type {other}"),
    }
}
