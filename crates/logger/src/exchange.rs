//! Owns the exchange as far as a logger speaks it, without I/O: what a session publishes is gathered into requests, what
//! an answer says becomes what a session hears.
//! Promises that one request at most is under way, that a message is answered only by its own outcome, and that whatever
//! bytes arrive become events or the end of the session, never a panic.

use fieldkeep_protocol::{
    DeviceId,
    exchange::{Answer, Message, Request},
    limits,
    topic::{Topic, Up},
};

use crate::mqtt::Incoming;

/// What a message costs in a request beside its bytes: the heads of its array, its kind and its bytes.
const FRAME_BYTES: usize = 20;
/// And the request itself.
const HEAD_BYTES: usize = 8;

struct Queued {
    packet: u16,
    kind: Up,
    bytes: Vec<u8>,
}

/// One visit to the cloud: requests and answers in turn.
pub struct Client {
    device: DeviceId,
    queued: Vec<Queued>,
    /// The numbers of what is under way, in the order of the request.
    sent: Option<Vec<u16>>,
    /// The cloud is asked even if there is nothing to send: for the time.
    asks: bool,
    last_packet: u16,
    incoming: Vec<Incoming>,
    ended: bool,
}

impl Client {
    /// A visit that has not said anything yet.
    pub fn new(device: DeviceId) -> Client {
        Client {
            device,
            queued: Vec::new(),
            sent: None,
            asks: false,
            last_packet: 0,
            incoming: vec![Incoming::Connected {
                window: u16::try_from(limits::EXCHANGE_MESSAGES).unwrap_or(u16::MAX),
            }],
            ended: false,
        }
    }

    /// Every answer brings what a session subscribes to.
    pub fn subscribe(&mut self) {
        self.asks = true;
        self.incoming.push(Incoming::Subscribed { granted: true });
    }

    /// Puts a message into the next request and returns its number; `None` if that has no room for it.
    pub fn publish(&mut self, kind: Up, bytes: &[u8]) -> Option<u16> {
        let size = |bytes: usize| bytes + FRAME_BYTES;
        let taken: usize = self.queued.iter().map(|one| size(one.bytes.len())).sum();
        let has_room = self.queued.len() < limits::EXCHANGE_MESSAGES
            && HEAD_BYTES + taken + size(bytes.len()) <= limits::EXCHANGE_BYTES;
        if self.ended || !has_room {
            return None;
        }
        self.last_packet = self.last_packet.wrapping_add(1);
        self.queued.push(Queued {
            packet: self.last_packet,
            kind,
            bytes: bytes.to_vec(),
        });
        Some(self.last_packet)
    }

    /// The next request, if there is something to ask and nothing under way.
    pub fn take_output(&mut self) -> Vec<u8> {
        let has_nothing = self.queued.is_empty() && !self.asks;
        if self.sent.is_some() || self.ended || has_nothing {
            return Vec::new();
        }
        self.asks = false;
        let queued = std::mem::take(&mut self.queued);
        let messages: Vec<Message<'_, Up>> = queued
            .iter()
            .map(|one| Message {
                kind: one.kind,
                bytes: &one.bytes,
            })
            .collect();
        let mut bytes = vec![0; limits::EXCHANGE_BYTES];
        match Request::encode(&messages, &mut bytes) {
            Ok(length) => {
                bytes.truncate(length);
                self.sent = Some(queued.iter().map(|one| one.packet).collect());
                bytes
            }
            Err(error) => {
                self.break_off(format!("an exchange cannot be written: {error}"));
                Vec::new()
            }
        }
    }

    /// Takes the answer to the request under way.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        let Some(sent) = self.sent.take() else {
            return self.break_off("the cloud answers what it was not asked".to_owned());
        };
        let answer = match Answer::decode(bytes) {
            Ok(answer) if answer.outcomes.len() == sent.len() => answer,
            Ok(_) => {
                return self
                    .break_off("the cloud's answer has other outcomes than asked".to_owned());
            }
            Err(error) => return self.break_off(format!("the cloud's answer {error}")),
        };
        // What became of messages first: a ledger may ask again for what they said.
        for (packet, code) in sent.iter().zip(answer.outcomes) {
            self.incoming.push(Incoming::Answered {
                packet: *packet,
                code: *code,
            });
        }
        for message in answer.messages.iter() {
            self.incoming.push(Incoming::Message {
                topic: Topic::down(self.device, message.kind).to_string(),
                payload: message.bytes.to_vec(),
            });
        }
    }

    /// Nothing more is asked.
    pub fn disconnect(&mut self) {
        self.ended = true;
    }

    /// What was heard since the last call, in order.
    pub fn take_incoming(&mut self) -> Vec<Incoming> {
        std::mem::take(&mut self.incoming)
    }

    /// Whether nothing more will come or go.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    fn break_off(&mut self, reason: String) {
        self.ended = true;
        self.incoming.push(Incoming::Broken { reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let mut client = Client::new(DeviceId::from_bytes([1; 16]));
        client.take_incoming();
        client
    }

    fn answer(outcomes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        let length = Answer::encode(outcomes, &[], &[], &mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn one_request_at_a_time_and_each_message_by_its_own_outcome() {
        let mut client = client();
        assert!(client.take_output().is_empty());
        let first = client.publish(Up::Log, b"a").unwrap();
        let second = client.publish(Up::Batch, b"b").unwrap();
        let request = client.take_output();
        let kinds: Vec<Up> = Request::decode(&request)
            .unwrap()
            .messages
            .iter()
            .map(|message| message.kind)
            .collect();
        assert_eq!(kinds, [Up::Log, Up::Batch]);
        let third = client.publish(Up::Seal, b"c").unwrap();
        assert!(client.take_output().is_empty(), "one is under way");
        client.handle_bytes(&answer(&[0x99, 0]));
        let answered = |packet, code| Incoming::Answered { packet, code };
        assert_eq!(
            client.take_incoming(),
            [answered(first, 0x99), answered(second, 0)]
        );
        assert!(!client.take_output().is_empty());
        client.handle_bytes(&answer(&[0x97]));
        assert_eq!(client.take_incoming(), [answered(third, 0x97)]);
    }

    #[test]
    fn a_full_request_takes_no_more() {
        let mut client = client();
        let large = vec![0; 60_000];
        let taken = (0..9).filter(|_| client.publish(Up::Batch, &large).is_some());
        assert_eq!(taken.count(), 4);
        assert!(!client.take_output().is_empty(), "it fits the limit");
        let small = (0..99).filter(|_| client.publish(Up::Log, b"x").is_some());
        assert_eq!(small.count(), limits::EXCHANGE_MESSAGES);
    }

    #[test]
    fn answers_that_do_not_fit_end_the_visit() {
        for bytes in [answer(&[0, 0]), answer(&[]), b"nonsense".to_vec()] {
            let mut client = client();
            client.publish(Up::Log, b"a").unwrap();
            client.take_output();
            client.handle_bytes(&bytes);
            assert!(client.is_ended());
            assert!(matches!(
                client.take_incoming()[..],
                [Incoming::Broken { .. }]
            ));
        }
    }
}
