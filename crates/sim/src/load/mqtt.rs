//! A load client for MQTT 5: QoS 1 with a window, over TLS with a client certificate.
//!
//! Does just enough of the protocol to send fast and to time answers, and nothing of a device's session: what the
//! server says besides CONNACK and PUBACK is skipped. Promises that every message was acknowledged as kept, else an error.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::process::now;

const PATIENCE: Duration = Duration::from_secs(60);
/// The silence that a server must allow before it counts us as gone.
const KEEP_ALIVE_S: u16 = 600;
/// Kept, and kept though nobody subscribed: brokers tell the difference.
const KEPT: [u8; 2] = [0x00, 0x10];

/// A full TLS handshake on loopback.
pub async fn handshake(address: SocketAddr, tls: &TlsConnector) -> Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tls.connect(ServerName::try_from("localhost")?, tcp).await?)
}

/// An open session.
pub struct Session {
    stream: TlsStream<TcpStream>,
    incoming: Vec<u8>,
    output: Vec<u8>,
    packet: u16,
}

impl Session {
    /// Connects; the server must accept.
    pub async fn open(address: SocketAddr, tls: &TlsConnector, client_id: &str) -> Result<Self> {
        let stream = timeout(PATIENCE, handshake(address, tls)).await??;
        let mut session = Self {
            stream,
            incoming: Vec::new(),
            output: Vec::new(),
            packet: 0,
        };
        session.output.extend(connect(client_id)?);
        session.flush().await?;
        let (kind, body) = timeout(PATIENCE, session.next()).await??;
        let code = body.get(1).copied();
        ensure!(
            kind == 0x20 && code == Some(0),
            "CONNECT was answered by {kind:#x}, code {code:?}"
        );
        Ok(session)
    }

    /// Publishes all messages, `window` of them unanswered at most, and waits for every answer.
    pub async fn deliver(
        &mut self,
        topic: &str,
        messages: &[Vec<u8>],
        window: usize,
    ) -> Result<()> {
        let (mut sent, mut answered) = (0, 0);
        while answered < messages.len() {
            while sent - answered < window
                && let Some(message) = messages.get(sent)
            {
                self.publish(topic, message)?;
                sent += 1;
            }
            self.flush().await?;
            timeout(PATIENCE, self.answers(|_| answered += 1))
                .await
                .context("no answer in a minute")??;
        }
        Ok(())
    }

    /// Publishes one message every `every`, the first at `begin`, whatever is unanswered below `window`, and tells how
    /// long each answer took. A message that the window held up counts from when it was due.
    pub async fn pace(
        &mut self,
        topic: &str,
        messages: &[Vec<u8>],
        begin: Instant,
        every: Duration,
        window: usize,
    ) -> Result<Vec<Duration>> {
        let mut due = begin;
        let mut waiting: VecDeque<(u16, Instant)> = VecDeque::new();
        let mut took = Vec::with_capacity(messages.len());
        let mut messages = messages.iter().peekable();
        let mut held_up = false;
        while messages.peek().is_some() || !waiting.is_empty() {
            let may_send = messages.peek().is_some() && waiting.len() < window;
            held_up |= messages.peek().is_some() && waiting.len() >= window;
            tokio::select! {
                () = sleep_until(due.into()), if may_send => {
                    let from = if held_up { due } else { now() };
                    held_up = false;
                    due += every;
                    if let Some(message) = messages.next() {
                        let packet = self.publish(topic, message)?;
                        waiting.push_back((packet, from));
                        self.flush().await?;
                    }
                }
                answers = timeout(PATIENCE, read(&mut self.stream, &mut self.incoming)), if !waiting.is_empty() => {
                    answers.context("no answer in a minute")??;
                    let at = now();
                    while let Some((kind, body)) = frame(&mut self.incoming)? {
                        let Some(packet) = kept(kind, &body)? else { continue };
                        let place = waiting.iter().position(|(known, _)| *known == packet);
                        if let Some((_, from)) = place.and_then(|place| waiting.remove(place)) {
                            took.push(at.saturating_duration_since(from));
                        }
                    }
                }
            }
        }
        Ok(took)
    }

    /// Says goodbye.
    pub async fn close(mut self) -> Result<()> {
        self.output.extend([0xe0, 0]);
        self.flush().await?;
        // A server may close first.
        let _ = self.stream.shutdown().await;
        Ok(())
    }

    fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<u16> {
        self.packet = self.packet.wrapping_add(1).max(1);
        let length = 2 + topic.len() + 2 + 1 + payload.len();
        self.output.push(0x32);
        variable(&mut self.output, length);
        self.output
            .extend(u16::try_from(topic.len())?.to_be_bytes());
        self.output.extend(topic.as_bytes());
        self.output.extend(self.packet.to_be_bytes());
        self.output.push(0);
        self.output.extend(payload);
        Ok(self.packet)
    }

    async fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.output).await?;
        self.stream.flush().await?;
        self.output.clear();
        Ok(())
    }

    /// Reads once and tells the number of every message that was kept.
    async fn answers(&mut self, mut each: impl FnMut(u16)) -> Result<()> {
        read(&mut self.stream, &mut self.incoming).await?;
        while let Some((kind, body)) = frame(&mut self.incoming)? {
            if let Some(packet) = kept(kind, &body)? {
                each(packet);
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = frame(&mut self.incoming)? {
                return Ok(frame);
            }
            read(&mut self.stream, &mut self.incoming).await?;
        }
    }
}

/// Takes what is there; may be cancelled, as bytes are taken whole or not at all.
async fn read(stream: &mut TlsStream<TcpStream>, incoming: &mut Vec<u8>) -> Result<()> {
    incoming.reserve(4_096);
    let length = stream.read_buf(incoming).await?;
    ensure!(length > 0, "the server closed the connection");
    Ok(())
}

/// The number of the message that a PUBACK answers, if the packet is one.
fn kept(kind: u8, body: &[u8]) -> Result<Option<u16>> {
    match (kind >> 4, body) {
        (4, [high, low, rest @ ..]) => {
            let code = rest.first().copied().unwrap_or(0);
            ensure!(KEPT.contains(&code), "a message was answered {code:#04x}");
            Ok(Some(u16::from_be_bytes([*high, *low])))
        }
        (14, body) => bail!(
            "the server disconnected with {:#04x}",
            body.first().copied().unwrap_or(0)
        ),
        _ => Ok(None),
    }
}

/// Takes one whole packet out of the bytes, if there is one.
fn frame(bytes: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>> {
    let mut length = 0;
    for position in 1..=4 {
        let Some(byte) = bytes.get(position) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7f) << (7 * (position - 1));
        if byte & 0x80 == 0 {
            let end = position + 1 + length;
            if bytes.len() < end {
                return Ok(None);
            }
            let kind = bytes.first().copied().unwrap_or(0);
            let body = bytes.get(position + 1..end).unwrap_or_default().to_vec();
            bytes.drain(..end);
            return Ok(Some((kind, body)));
        }
    }
    bail!("a packet's length has more than four bytes")
}

fn variable(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

fn connect(client_id: &str) -> Result<Vec<u8>> {
    let mut body = vec![0, 4];
    body.extend(b"MQTT");
    // Version 5, clean start.
    body.extend([5, 2]);
    body.extend(KEEP_ALIVE_S.to_be_bytes());
    body.push(0);
    body.extend(u16::try_from(client_id.len())?.to_be_bytes());
    body.extend(client_id.as_bytes());
    let mut packet = vec![0x10];
    variable(&mut packet, body.len());
    packet.extend(body);
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_whole_however_they_came_in() {
        let mut bytes = vec![0x40, 2, 0, 7, 0x32];
        variable(&mut bytes, 200);
        bytes.extend([9; 199]);
        assert_eq!(frame(&mut bytes).unwrap(), Some((0x40, vec![0, 7])));
        assert_eq!(frame(&mut bytes).unwrap(), None);
        bytes.push(9);
        assert_eq!(frame(&mut bytes).unwrap(), Some((0x32, vec![9; 200])));
        assert!(bytes.is_empty());
        assert!(frame(&mut vec![0x30, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }

    #[test]
    fn only_kept_messages_count() {
        assert_eq!(kept(0x40, &[0, 7]).unwrap(), Some(7));
        assert_eq!(kept(0x40, &[1, 0, 0x10, 0]).unwrap(), Some(256));
        assert_eq!(kept(0xd0, &[]).unwrap(), None);
        assert!(kept(0x40, &[0, 7, 0x97]).is_err());
        assert!(kept(0xe0, &[0x8d]).is_err());
    }
}
