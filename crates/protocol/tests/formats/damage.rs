//! Random damage to good messages: no panic, no loop, and whatever is still accepted can be read to its end.
//!
//! Beyond that, acceptance is strict: bytes that decode have one framing, so cutting or appending never goes unnoticed, and
//! a batch with any change has another hash.

use fieldkeep_protocol::batch::{self, Batch, ColumnInput};
use fieldkeep_protocol::channels::{self, Channels};
use fieldkeep_protocol::exchange::{Answer, Request};
use fieldkeep_protocol::limits;
use fieldkeep_protocol::message::{Ledger, LogLine, State, Time};
use fieldkeep_protocol::seal::{self, Seal};
use fieldkeep_protocol::{DecodeError, Flag, Reason};
use proptest::prelude::*;

use crate::cbor::Parts;
use crate::corpus::decode;
use crate::samples::{self, encoded};

/// Reads all that an accepted batch holds and checks its promises.
fn read_to_end(bytes: &[u8]) -> Result<(), DecodeError> {
    let batch = Batch::decode(bytes)?;
    let count = batch.header().count as usize;
    assert_eq!(batch.times().count(), count);
    assert!(
        batch
            .times()
            .all(|time| (limits::TIME_MIN_US..=limits::TIME_MAX_US).contains(&time))
    );
    assert_eq!(batch.times().min(), Some(batch.min_time().as_micros()));
    assert_eq!(batch.times().max(), Some(batch.max_time().as_micros()));
    assert!(batch.steps().all(|step| (step.record as usize) < count));
    assert_eq!(batch.columns().count(), batch.column_count());
    for column in batch.columns() {
        assert_eq!(column.cells().count(), count);
        assert_eq!(
            column.cells().filter(|cell| cell.value.is_some()).count(),
            column.present()
        );
        for cell in column.cells() {
            assert!(cell.value.is_none_or(f64::is_finite));
            assert_eq!(cell.value.is_none(), cell.flag == Flag::Missing);
            assert_eq!(cell.value.is_none(), cell.reason != Reason::None);
        }
    }
    Ok(())
}

/// All samples, by the name that says how to decode them.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("batch", samples::batch_content().encode()),
        ("batch", Parts::plain().build()),
        ("channels", samples::channels_bytes()),
        ("seal", samples::seal_bytes()),
        ("state", encoded(|out| samples::STATE.encode(out))),
        ("log", encoded(|out| samples::LOG.encode(out))),
        ("ledger", encoded(|out| samples::LEDGER.encode(out))),
        ("time", encoded(|out| samples::TIME.encode(out))),
        ("exchange", samples::exchange_bytes()),
        ("exchanged", samples::exchanged_bytes()),
    ]
}

/// Reads everything of an accepted message. But for batches, whose codecs are a choice, it has exactly one encoding.
fn exhaust(kind: &str, bytes: &[u8]) {
    if decode(kind, bytes).is_err() {
        return;
    }
    let again = match kind {
        "batch" => return read_to_end(bytes).unwrap(),
        "channels" => {
            let table = Channels::decode(bytes).unwrap();
            assert_eq!(table.iter().count(), table.len());
            let channels: Vec<_> = table.iter().collect();
            encoded(|out| channels::encode(table.epoch(), table.revision(), &channels, out))
        }
        "seal" => {
            let seal = Seal::decode(bytes).unwrap();
            seal.signed_bytes(&mut [0; limits::SEAL_BYTES]).unwrap();
            let payload = encoded(|out| seal.payload().encode(out));
            encoded(|out| seal::assemble(seal.x5t(), &payload, seal.signature(), out))
        }
        "ledger" => encoded(|out| Ledger::decode(bytes).unwrap().encode(out)),
        "state" => encoded(|out| State::decode(bytes).unwrap().encode(out)),
        "log" => encoded(|out| LogLine::decode(bytes).unwrap().encode(out)),
        "time" => encoded(|out| Time::decode(bytes).unwrap().encode(out)),
        "exchange" => {
            let request = Request::decode(bytes).unwrap();
            let messages: Vec<_> = request.messages.iter().collect();
            assert_eq!(messages.len(), request.messages.len());
            encoded(|out| Request::encode(&messages, out))
        }
        "exchanged" => {
            let answer = Answer::decode(bytes).unwrap();
            let rows: Vec<_> = answer.acknowledged.iter().collect();
            let messages: Vec<_> = answer.messages.iter().collect();
            encoded(|out| Answer::encode(answer.outcomes, &rows, &messages, out))
        }
        _ => panic!("{kind} is no kind of message"),
    };
    assert_eq!(again, bytes, "{kind} has two encodings");
}

/// Whatever batch decodes can be encoded, and holds the same afterwards.
fn encode_again(bytes: &[u8]) {
    let Ok(batch) = Batch::decode(bytes) else {
        return;
    };
    let times: Vec<_> = batch.times().collect();
    let steps: Vec<_> = batch.steps().collect();
    let columns: Vec<_> = batch
        .columns()
        .map(|column| (column.channel(), column.cells().collect::<Vec<_>>()))
        .collect();
    let inputs: Vec<_> = columns
        .iter()
        .map(|(channel, values)| ColumnInput {
            channel: *channel,
            values,
        })
        .collect();
    let again = encoded(|out| batch::encode(batch.header(), &times, &steps, &inputs, out));
    let again = Batch::decode(&again).unwrap();
    assert_eq!(again.header(), batch.header());
    assert!(again.times().eq(times) && again.steps().eq(steps));
    assert!(
        again
            .columns()
            .map(|column| (column.channel(), column.cells().collect::<Vec<_>>()))
            .eq(columns)
    );
}

#[test]
fn every_prefix_is_refused() {
    for (kind, bytes) in good() {
        assert_eq!(decode(kind, &bytes), Ok(()), "{kind}");
        for length in 0..bytes.len() {
            assert!(
                decode(kind, &bytes[..length]).is_err(),
                "{kind} cut at {length}"
            );
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_read_to_its_end() {
    for (kind, bytes) in good() {
        for position in 0..bytes.len() {
            // Of a long message one bit a byte: its bytes are alike, and each costs a whole decoding.
            let bits = if bytes.len() > 512 {
                position % 8..position % 8 + 1
            } else {
                0..8
            };
            for bit in bits {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                exhaust(kind, &damaged);
                if kind == "batch" && position % 16 == 0 {
                    assert_ne!(batch::hash(&damaged), batch::hash(&bytes));
                }
            }
        }
    }
}

#[test]
fn too_long_is_refused_before_anything_else() {
    let limits = [
        ("batch", limits::BATCH_BYTES),
        ("channels", limits::CHANNELS_BYTES),
        ("seal", limits::SEAL_BYTES),
        ("state", limits::STATE_BYTES),
        ("log", limits::LOG_BYTES),
        ("ledger", limits::LEDGER_BYTES),
        ("time", limits::TIME_BYTES),
        ("exchange", limits::EXCHANGE_BYTES),
        ("exchanged", limits::EXCHANGE_ANSWER_BYTES),
    ];
    for (kind, limit) in limits {
        assert_eq!(
            decode(kind, &vec![0x80; limit + 1]),
            Err(DecodeError::TooLong),
            "{kind}"
        );
        assert_ne!(
            decode(kind, &vec![0x80; limit]),
            Err(DecodeError::TooLong),
            "{kind}"
        );
    }
}

fn damaged() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let edit = (
        any::<prop::sample::Index>(),
        0u8..5,
        any::<u8>(),
        any::<prop::sample::Index>(),
    );
    (
        prop::sample::select(good()),
        prop::collection::vec(edit, 1..8),
    )
        .prop_map(|((kind, mut bytes), edits)| {
            for (place, action, byte, other) in edits {
                if bytes.is_empty() {
                    break;
                }
                let place = place.index(bytes.len());
                match action {
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    2 => drop(bytes.remove(place)),
                    3 => bytes.truncate(place),
                    _ => {
                        // A run of the message's own bytes, which keeps CBOR heads alive more often than noise does.
                        let from = other.index(bytes.len());
                        let run =
                            bytes[from..(from + usize::from(byte) % 16).min(bytes.len())].to_vec();
                        bytes.splice(place..place, run);
                    }
                }
            }
            (kind, bytes)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_messages((kind, bytes) in damaged()) {
        exhaust(kind, &bytes);
        if kind == "batch" {
            encode_again(&bytes);
        }
    }

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (kind, _) in good() {
            exhaust(kind, &bytes);
        }
    }

    #[test]
    fn noise_in_a_packed_column(stream in prop::collection::vec(any::<u8>(), 0..64), codec in 2u64..=3, count in 1u64..=300, step: u64) {
        let mut parts = Parts::plain();
        parts.count = crate::cbor::uint(count);
        let power = step % 10;
        parts.times = crate::cbor::array(&[crate::cbor::uint(3), crate::cbor::uint(power), crate::cbor::bytes(&stream)]);
        encode_again(&parts.build());
        parts.times = crate::cbor::array(&[crate::cbor::uint(0), crate::cbor::words(0..count as i64)]);
        let data = [crate::cbor::uint(codec), crate::cbor::uint(2), crate::cbor::uint(step), crate::cbor::bytes(&stream)];
        parts.columns = vec![crate::cbor::column(0, crate::cbor::null(), crate::cbor::null(), &data)];
        exhaust("batch", &parts.build());
    }
}

#[test]
fn what_a_batch_announces_is_what_it_holds_and_never_more_than_a_batch_may() {
    let content = samples::batch_content();
    let cells = content.times.len() * (content.columns.len() + 1);
    let bytes = content.encode();
    assert_eq!(Batch::announced(&bytes), cells as u64);
    let most = limits::BATCH_RECORDS * (limits::CHANNELS + 1);
    for position in 0..bytes.len().min(200) {
        for mask in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[position] ^= mask;
            assert!(Batch::announced(&damaged) <= most as u64);
        }
        assert!(Batch::announced(&bytes[..position]) <= most as u64);
    }
}
