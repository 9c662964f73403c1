//! Golden bytes: what version 1 looks like, for ever.
//!
//! Two promises for each file in `tests/golden`: it decodes to this content in every later release, and the present encoder
//! still writes it. If an encoder learns to write smaller bytes, its old file stays, decoded only.
//! `FIELDKEEP_GOLDEN=write` makes files that do not exist yet; none is ever overwritten.

use std::fs;
use std::path::PathBuf;

use fieldkeep_protocol::batch::{self, Batch};
use fieldkeep_protocol::channels::Channels;
use fieldkeep_protocol::exchange::{Answer, Request};
use fieldkeep_protocol::message::{Ledger, LogLine, State, Time};
use fieldkeep_protocol::seal::Seal;
use fieldkeep_protocol::topic::{Down, Up};

use crate::cbor::Parts;
use crate::samples::{self, Content, encoded};

/// The bytes of a hex file: any white space, comments from `#`.
pub(crate) fn read_hex(path: &PathBuf) -> Vec<u8> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    let digits: Vec<u8> = lines
        .flat_map(|line| line.bytes().filter(u8::is_ascii_hexdigit))
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// Writes a hex file of 32 bytes a line.
pub(crate) fn write_hex(path: &PathBuf, bytes: &[u8]) {
    let line = |chunk: &[u8]| {
        chunk
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            + "\n"
    };
    fs::write(path, bytes.chunks(32).map(line).collect::<String>()).unwrap();
}

/// The golden bytes of a name, compared with what the encoder writes.
fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if !path.exists() && std::env::var("FIELDKEEP_GOLDEN").is_ok_and(|value| value == "write") {
        write_hex(&path, written);
    }
    let bytes = read_hex(&path);
    assert_eq!(bytes, written, "{name}: the encoder writes other bytes");
    bytes
}

fn assert_holds(batch: &Batch<'_>, content: &Content) {
    assert_eq!(batch.header(), &content.header);
    assert!(batch.times().eq(content.times.iter().copied()));
    assert!(batch.steps().eq(content.steps.iter().copied()));
    assert_eq!(batch.column_count(), content.columns.len());
    for (column, (channel, cells)) in batch.columns().zip(&content.columns) {
        assert_eq!(column.channel(), *channel);
        assert!(
            column.cells().eq(cells.iter().copied()),
            "channel {channel}"
        );
    }
}

#[test]
fn batch_v1() {
    let content = samples::batch_content();
    let bytes = golden("batch-v1.hex", &content.encode());
    let batch = Batch::decode(&bytes).unwrap();
    assert_holds(&batch, &content);
    assert_eq!(batch.min_time().as_micros(), content.times[0]);
    assert_eq!(batch.first_time().as_micros(), content.times[0]);
    assert_eq!(batch.last_time().as_micros(), content.times[199]);
    assert_eq!(batch.max_time(), batch.last_time());
    let hash: String = batch::hash(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        hash,
        "94ee9c75b7393ea3c2b27d2b70547b18ac3a5296501b562d022131a7e9c279d3"
    );
}

#[test]
fn batch_v1_of_the_simple_profile() {
    let bytes = golden("batch-plain-v1.hex", &Parts::plain().build());
    let batch = Batch::decode(&bytes).unwrap();
    assert_eq!(batch.header().first, 100);
    assert_eq!(batch.times().last(), Some(1_700_000_002_000_000));
    let column = batch.column(0).unwrap();
    let values: Vec<_> = column.cells().map(|cell| cell.value.unwrap()).collect();
    assert_eq!(values, [20.1, 20.2, 20.4]);
}

#[test]
fn channels_v1() {
    let bytes = golden("channels-v1.hex", &samples::channels_bytes());
    let table = Channels::decode(&bytes).unwrap();
    assert_eq!(
        (table.epoch(), table.revision(), table.len()),
        (samples::EPOCH, 3, 3)
    );
    assert!(table.iter().eq(samples::CHANNELS));
}

#[test]
fn seal_v1() {
    let bytes = golden("seal-v1.hex", &samples::seal_bytes());
    let seal = Seal::decode(&bytes).unwrap();
    assert_eq!(seal.payload(), &samples::PAYLOAD);
    assert_eq!((seal.x5t(), seal.signature()), (&samples::X5T, &[0x99; 64]));
    golden(
        "seal-to-be-signed-v1.hex",
        &encoded(|out| seal.signed_bytes(out)),
    );
}

#[test]
fn messages_v1() {
    let bytes = golden("state-v1.hex", &encoded(|out| samples::STATE.encode(out)));
    assert_eq!(State::decode(&bytes), Ok(samples::STATE));
    let bytes = golden("log-v1.hex", &encoded(|out| samples::LOG.encode(out)));
    assert_eq!(LogLine::decode(&bytes), Ok(samples::LOG));
    let bytes = golden("ledger-v1.hex", &encoded(|out| samples::LEDGER.encode(out)));
    assert_eq!(Ledger::decode(&bytes), Ok(samples::LEDGER));
    let bytes = golden("time-v1.hex", &encoded(|out| samples::TIME.encode(out)));
    assert_eq!(Time::decode(&bytes), Ok(samples::TIME));
}

#[test]
fn exchange_v1() {
    let bytes = golden("exchange-v1.hex", &samples::exchange_bytes());
    let request = Request::decode(&bytes).unwrap();
    let messages: Vec<_> = request.messages.iter().collect();
    let kinds: Vec<_> = messages.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [Up::State, Up::Channels, Up::Batch, Up::Log]);
    assert_eq!(State::decode(messages[0].bytes), Ok(samples::STATE));
    assert_eq!(messages[1].bytes, samples::channels_bytes());
    assert_eq!(messages[2].bytes, Parts::plain().build());
    assert_eq!(messages[3].bytes, b"?");

    let bytes = golden("exchanged-v1.hex", &samples::exchanged_bytes());
    let answer = Answer::decode(&bytes).unwrap();
    assert_eq!(answer.outcomes, [0, 0, 0x97, 0x99]);
    assert!(answer.acknowledged.iter().eq(samples::ACKNOWLEDGED));
    let messages: Vec<_> = answer.messages.iter().collect();
    assert_eq!(messages[0].kind, Down::Time);
    assert_eq!(Time::decode(messages[0].bytes), Ok(samples::TIME));
    assert_eq!(messages[1].kind, Down::Ledger);
    assert_eq!(Ledger::decode(messages[1].bytes), Ok(samples::LEDGER));
}
