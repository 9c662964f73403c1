//! The exchange of a device that sleeps: one request carries messages up, one answer says what became of each and brings
//! messages down.
//!
//! The messages inside are those of a session, byte for byte, each in its own deterministic CBOR. This file checks the
//! frame only: one message that cannot be read spoils neither its neighbours nor the request.

use core::marker::PhantomData;

use crate::cbor::{Reader, Writer};
use crate::error::{DecodeError, EncodeError};
use crate::limits;
use crate::message::open;
use crate::record::Epoch;
use crate::topic::{Down, Up};

/// One message inside an exchange: what it is, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a, K> {
    /// What it is: the last level of the topic that it would have in a session.
    pub kind: K,
    /// Its bytes, not judged yet.
    pub bytes: &'a [u8],
}

/// Messages in their order, borrowed from the bytes of an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a, K> {
    reader: Reader<'a>,
    count: usize,
    kind: PhantomData<K>,
}

/// What a message can be called.
trait Kind: Copy {
    fn named(name: &str) -> Option<Self>;
    fn name(self) -> &'static str;
}

impl Kind for Up {
    fn named(name: &str) -> Option<Self> {
        Self::named(name)
    }
    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl Kind for Down {
    fn named(name: &str) -> Option<Self> {
        Self::named(name)
    }
    fn name(self) -> &'static str {
        self.as_str()
    }
}

impl<'a> Messages<'a, Up> {
    /// The messages, in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = Message<'a, Up>> + use<'a> {
        self.walk()
    }
}

impl<'a> Messages<'a, Down> {
    /// The messages, in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = Message<'a, Down>> + use<'a> {
        self.walk()
    }
}

impl<'a, K> Messages<'a, K> {
    /// How many.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[expect(private_bounds, reason = "the kinds are the two of this protocol")]
impl<'a, K: Kind> Messages<'a, K> {
    fn walk(&self) -> impl Iterator<Item = Message<'a, K>> + use<'a, K> {
        let mut reader = self.reader;
        (0..self.count).map_while(move |_| read_message(&mut reader).ok())
    }

    fn read(
        most: usize,
        reader: &mut Reader<'a>,
        mut judge: impl FnMut(K) -> Result<(), DecodeError>,
    ) -> Result<Self, DecodeError> {
        let count = reader.array()?;
        if count > most {
            return Err(DecodeError::Length);
        }
        let start = *reader;
        for _ in 0..count {
            judge(read_message::<K>(reader)?.kind)?;
        }
        Ok(Self {
            reader: start,
            count,
            kind: PhantomData,
        })
    }
}

fn read_message<'a, K: Kind>(reader: &mut Reader<'a>) -> Result<Message<'a, K>, DecodeError> {
    reader.array_of(2)?;
    let kind = K::named(reader.text()?).ok_or(DecodeError::Range)?;
    let bytes = reader.bytes()?;
    if bytes.len() > limits::EXCHANGED_BYTES {
        return Err(DecodeError::TooLong);
    }
    Ok(Message { kind, bytes })
}

fn write_messages<K: Kind>(
    most: usize,
    messages: &[Message<'_, K>],
    writer: &mut Writer<'_>,
) -> Result<(), EncodeError> {
    if messages.len() > most {
        return Err(EncodeError::Count);
    }
    writer.array(messages.len())?;
    for message in messages {
        if message.bytes.len() > limits::EXCHANGED_BYTES {
            return Err(EncodeError::Range);
        }
        writer.array(2)?;
        writer.text(message.kind.name())?;
        writer.bytes(message.bytes)?;
    }
    Ok(())
}

/// What a device sends. Without messages it asks for the time alone.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The messages.
    pub messages: Messages<'a, Up>,
}

impl<'a> Request<'a> {
    /// Writes a request and returns its length.
    pub fn encode(messages: &[Message<'_, Up>], out: &mut [u8]) -> Result<usize, EncodeError> {
        let states = messages.iter().filter(|message| message.kind == Up::State);
        if states.count() > limits::EXCHANGE_STATES {
            return Err(EncodeError::Count);
        }
        let mut writer = Writer::limited(out, limits::EXCHANGE_BYTES);
        writer.array(2)?;
        writer.version()?;
        write_messages(limits::EXCHANGE_MESSAGES, messages, &mut writer)?;
        Ok(writer.position())
    }

    /// Reads and checks the frame; the messages in it are not judged.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, limits::EXCHANGE_BYTES, 2)?;
        let mut states = 0;
        let messages = Messages::read(limits::EXCHANGE_MESSAGES, &mut reader, |kind| {
            states += usize::from(kind == Up::State);
            if states > limits::EXCHANGE_STATES {
                return Err(DecodeError::Length);
            }
            Ok(())
        })?;
        reader.end()?;
        Ok(Self { messages })
    }
}

/// Records of an epoch, both ends included, that a request made durable or found durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acknowledged {
    /// Their epoch.
    pub epoch: Epoch,
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// What the cloud answers.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// One reason code (see [`crate::puback::Code`]) for each message of the request, in its order.
    pub outcomes: &'a [u8],
    /// The records of all batches of the request that are durable now, ascending, and not touching within an epoch.
    pub acknowledged: AcknowledgedRows<'a>,
    /// The ledger of each state, and the time if the cloud trusts its clock.
    pub messages: Messages<'a, Down>,
}

/// The rows of [`Answer::acknowledged`].
#[derive(Clone, Copy, Debug)]
pub struct AcknowledgedRows<'a> {
    reader: Reader<'a>,
    count: usize,
}

impl<'a> AcknowledgedRows<'a> {
    /// The rows.
    pub fn iter(&self) -> impl Iterator<Item = Acknowledged> + use<'a> {
        let mut reader = self.reader;
        (0..self.count).map_while(move |_| read_acknowledged(&mut reader).ok())
    }
}

impl<'a> Answer<'a> {
    /// Writes an answer and returns its length.
    pub fn encode(
        outcomes: &[u8],
        acknowledged: &[Acknowledged],
        messages: &[Message<'_, Down>],
        out: &mut [u8],
    ) -> Result<usize, EncodeError> {
        let most = limits::EXCHANGE_MESSAGES;
        if outcomes.len() > most || acknowledged.len() > most {
            return Err(EncodeError::Count);
        }
        let mut writer = Writer::limited(out, limits::EXCHANGE_ANSWER_BYTES);
        writer.array(4)?;
        writer.version()?;
        writer.bytes(outcomes)?;
        writer.array(acknowledged.len())?;
        let mut before = None;
        for row in acknowledged {
            if !follows(before, row) {
                return Err(EncodeError::Order);
            }
            if row.last >= limits::RECORD_NUMBER {
                return Err(EncodeError::Range);
            }
            before = Some(*row);
            writer.array(3)?;
            writer.uint(row.epoch.0)?;
            writer.record_number(row.first)?;
            writer.record_number(row.last)?;
        }
        write_messages(limits::EXCHANGE_DOWN, messages, &mut writer)?;
        Ok(writer.position())
    }

    /// Reads and checks the answer; the messages in it are not judged.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, limits::EXCHANGE_ANSWER_BYTES, 4)?;
        let outcomes = reader.bytes()?;
        let count = reader.array()?;
        let most = limits::EXCHANGE_MESSAGES;
        if outcomes.len() > most || count > most {
            return Err(DecodeError::Length);
        }
        let acknowledged = AcknowledgedRows { reader, count };
        let mut before = None;
        for _ in 0..count {
            let row = read_acknowledged(&mut reader)?;
            if !follows(before, &row) {
                return Err(DecodeError::Order);
            }
            before = Some(row);
        }
        let messages = Messages::read(limits::EXCHANGE_DOWN, &mut reader, |_| Ok(()))?;
        reader.end()?;
        Ok(Self {
            outcomes,
            acknowledged,
            messages,
        })
    }
}

fn read_acknowledged(reader: &mut Reader<'_>) -> Result<Acknowledged, DecodeError> {
    reader.array_of(3)?;
    Ok(Acknowledged {
        epoch: Epoch(reader.uint()?),
        first: reader.record_number()?,
        last: reader.record_number()?,
    })
}

/// Whether a row may stand behind another: a later epoch, or the same one behind a number that neither has.
fn follows(before: Option<Acknowledged>, row: &Acknowledged) -> bool {
    let apart = before.is_none_or(|before| {
        before.epoch.0 < row.epoch.0
            || (before.epoch == row.epoch && before.last.saturating_add(1) < row.first)
    });
    apart && row.first <= row.last
}

#[cfg(test)]
mod tests {
    use super::*;

    static LONG: [u8; limits::EXCHANGED_BYTES + 1] = [0; limits::EXCHANGED_BYTES + 1];

    fn message(kind: Up, bytes: &[u8]) -> Message<'_, Up> {
        Message { kind, bytes }
    }

    #[test]
    fn an_empty_request_asks_for_the_time() {
        let mut out = [0; 8];
        assert_eq!(Request::encode(&[], &mut out), Ok(3));
        assert_eq!(out[..3], [0x82, 1, 0x80]);
        assert!(Request::decode(&out[..3]).unwrap().messages.is_empty());
    }

    #[test]
    fn limits_hold_both_ways() {
        let mut out = [0; 4_096];
        let many = [message(Up::Log, b"x"); limits::EXCHANGE_MESSAGES + 1];
        assert_eq!(Request::encode(&many, &mut out), Err(EncodeError::Count));
        let length = Request::encode(&many[1..], &mut out).unwrap();
        let request = Request::decode(&out[..length]).unwrap();
        assert_eq!(request.messages.len(), limits::EXCHANGE_MESSAGES);
        assert!(request.messages.iter().eq(many[1..].iter().copied()));

        let states = [message(Up::State, b""); limits::EXCHANGE_STATES + 1];
        assert_eq!(Request::encode(&states, &mut out), Err(EncodeError::Count));
        assert_eq!(
            Request::encode(&[message(Up::Batch, &LONG)], &mut out),
            Err(EncodeError::Range)
        );
    }

    #[test]
    fn acknowledged_rows_ascend_and_do_not_touch() {
        let row = |epoch, first, last| Acknowledged {
            epoch: Epoch(epoch),
            first,
            last,
        };
        let mut out = [0; 256];
        for (rows, good) in [
            ([row(1, 0, 9), row(1, 11, 11)], true),
            ([row(1, 0, 9), row(2, 0, 0)], true),
            ([row(1, 0, 9), row(1, 10, 11)], false),
            ([row(1, 0, 9), row(1, 5, 11)], false),
            ([row(2, 0, 9), row(1, 50, 60)], false),
            ([row(1, 0, 9), row(1, 21, 20)], false),
        ] {
            let written = Answer::encode(&[0, 0], &rows, &[], &mut out);
            match written {
                Ok(length) => {
                    assert!(good, "{rows:?}");
                    let answer = Answer::decode(&out[..length]).unwrap();
                    assert!(answer.acknowledged.iter().eq(rows));
                }
                Err(error) => assert!(!good && error == EncodeError::Order, "{rows:?} {error}"),
            }
        }
    }
}
