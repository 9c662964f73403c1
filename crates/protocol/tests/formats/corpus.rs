//! The corpus of damaged inputs in `tests/corpus`, replayed: each file is refused for the reason that its list gives.
//!
//! `cargo test … -- --ignored write_corpus` adds the files of cases that have none yet; existing ones are never touched.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use fieldkeep_protocol::DecodeError;
use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::channels::Channels;
use fieldkeep_protocol::exchange::{Answer, Request};
use fieldkeep_protocol::message::{Ledger, LogLine, State, Time};
use fieldkeep_protocol::seal::Seal;

use crate::cbor::{Parts, array, bytes, column, head, int, null, text, uint, words};
use crate::golden::{read_hex, write_hex};
use crate::samples::{self, encoded};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// Decodes as what the first word of a name says.
pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<(), DecodeError> {
    match name.split('-').next() {
        Some("batch") => Batch::decode(bytes).map(drop),
        Some("channels") => Channels::decode(bytes).map(drop),
        Some("seal") => Seal::decode(bytes).map(drop),
        Some("state") => State::decode(bytes).map(drop),
        Some("log") => LogLine::decode(bytes).map(drop),
        Some("ledger") => Ledger::decode(bytes).map(drop),
        Some("time") => Time::decode(bytes).map(drop),
        Some("exchange") => Request::decode(bytes).map(drop),
        Some("exchanged") => Answer::decode(bytes).map(drop),
        _ => panic!("{name}: begins with no kind of message"),
    }
}

#[test]
fn each_is_refused_for_its_reason() {
    let list = fs::read_to_string(folder().join("expected.txt")).unwrap();
    let expected: BTreeMap<_, _> = list
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let mut files = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "hex") {
            continue;
        }
        files += 1;
        let name = path.file_stem().unwrap().to_str().unwrap();
        let error = decode(name, &read_hex(&path)).expect_err(name);
        assert_eq!(Some(&&*format!("{error:?}")), expected.get(name), "{name}");
    }
    assert_eq!(
        files,
        expected.len(),
        "the list names files that are not there"
    );
}

#[test]
#[ignore = "adds files to the source tree"]
fn write_corpus() {
    let path = folder().join("expected.txt");
    let mut list = fs::read_to_string(&path).unwrap_or_default();
    for (name, bytes) in cases() {
        let file = folder().join(format!("{name}.hex"));
        if !file.exists() {
            let error = decode(name, &bytes).expect_err(name);
            write_hex(&file, &bytes);
            list += &format!("{name} {error:?}\n");
        }
    }
    fs::write(path, list).unwrap();
}

/// A plain batch with some parts replaced.
fn with(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::plain();
    change(&mut parts);
    parts.build()
}

/// A plain batch whose column has these items.
fn with_column(presence: Vec<u8>, flags: Vec<u8>, data: &[Vec<u8>]) -> Vec<u8> {
    with(|parts| parts.columns = vec![column(0, presence, flags, data)])
}

/// A plain batch with this packed column.
fn packed(stream: &[u8]) -> Vec<u8> {
    with_column(null(), null(), &[uint(2), uint(1), bytes(stream)])
}

fn flags(runs: &[u8]) -> Vec<u8> {
    with_column(null(), bytes(runs), &plain_data())
}

fn plain_data() -> [Vec<u8>; 3] {
    [uint(0), uint(1), words([201, 202, 204])]
}

fn packed_times(stream: &[u8]) -> Vec<u8> {
    with(|parts| parts.times = array(&[uint(3), uint(6), bytes(stream)]))
}

fn floats(values: [f64; 3]) -> Vec<u8> {
    let words: Vec<u8> = values.into_iter().flat_map(f64::to_le_bytes).collect();
    with_column(null(), null(), &[uint(1), bytes(&words)])
}

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    [
        batch_frames(),
        batch_columns(),
        other_messages(),
        exchanges(),
    ]
    .concat()
}

fn batch_frames() -> Vec<(&'static str, Vec<u8>)> {
    let whole = samples::batch_content().encode();
    let flipped = |position: usize, mask: u8| {
        let mut bytes = whole.clone();
        bytes[position] ^= mask;
        bytes
    };
    vec![
        ("batch-empty", vec![]),
        ("batch-cut-in-header", whole[..20].to_vec()),
        ("batch-cut-in-times", whole[..90].to_vec()),
        ("batch-cut-by-one-byte", whole[..whole.len() - 1].to_vec()),
        ("batch-byte-after-end", [&whole[..], &[0]].concat()),
        ("batch-flip-in-count", flipped(16, 0x80)),
        ("batch-flip-in-times", flipped(82, 0x80)),
        (
            "batch-indefinite-array",
            [&[0x9f], &whole[1..], &[0xff]].concat(),
        ),
        ("batch-nested-arrays", vec![0x81; 2_000]),
        ("batch-long-array-head", [&[0x98, 12], &whole[1..]].concat()),
        ("batch-version-2", with(|parts| parts.version = uint(2))),
        (
            "batch-long-integer",
            with(|parts| parts.epoch = vec![0x18, 0x01]),
        ),
        ("batch-negative-epoch", with(|parts| parts.epoch = int(-1))),
        (
            "batch-bignum-epoch",
            with(|parts| parts.epoch = [vec![0xc2], bytes(&[1; 9])].concat()),
        ),
        ("batch-count-0", with(|parts| parts.count = uint(0))),
        ("batch-count-4097", with(|parts| parts.count = uint(4_097))),
        (
            "batch-count-huge",
            with(|parts| parts.count = uint(u64::MAX)),
        ),
        (
            "batch-first-too-high",
            with(|parts| parts.first = uint((1 << 62) - 2)),
        ),
        (
            "batch-prev-31-bytes",
            with(|parts| parts.prev = bytes(&[0; 31])),
        ),
        (
            "batch-prev-huge-length",
            with(|parts| parts.prev = head(2, u64::MAX)),
        ),
        ("batch-clock-3", with(|parts| parts.clock = uint(3))),
        (
            "batch-step-of-zero",
            with(|parts| parts.steps = array(&[array(&[uint(1), int(0)])])),
        ),
        (
            "batch-step-after-end",
            with(|parts| parts.steps = array(&[array(&[uint(3), int(1)])])),
        ),
        ("batch-steps-empty", with(|parts| parts.steps = array(&[]))),
        (
            "batch-times-codec-2",
            with(|parts| parts.times = array(&[uint(2), uint(6), bytes(&[0; 4])])),
        ),
        (
            "batch-times-power-10",
            with(|parts| parts.times = array(&[uint(3), uint(10), bytes(&[0; 4])])),
        ),
        (
            "batch-times-too-few",
            with(|parts| parts.times = array(&[uint(0), words([0, 1])])),
        ),
        (
            "batch-times-year-10000",
            with(|parts| parts.times = array(&[uint(0), words([0, 1, 253_402_300_800_000_000])])),
        ),
        (
            "batch-times-overflow",
            packed_times(&[
                0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 64,
            ]),
        ),
        (
            "batch-times-longer-varint",
            packed_times(&[0x80, 0x00, 0x02, 64]),
        ),
        (
            "batch-columns-257",
            with(|parts| {
                parts.columns = (0..257)
                    .map(|i| column(i, null(), null(), &plain_data()))
                    .collect()
            }),
        ),
    ]
}

fn batch_columns() -> Vec<(&'static str, Vec<u8>)> {
    let data = |items: &[Vec<u8>]| with_column(null(), null(), items);
    vec![
        ("batch-codec-4", data(&[uint(4), uint(1), words([1, 2, 3])])),
        (
            "batch-scale-23",
            data(&[uint(0), uint(23), words([1, 2, 3])]),
        ),
        (
            "batch-step-1",
            data(&[uint(2), uint(0), uint(1), bytes(&[0, 64])]),
        ),
        (
            "batch-step-0",
            data(&[uint(2), uint(0), uint(0), bytes(&[0, 64])]),
        ),
        (
            "batch-integer-over-2-53",
            data(&[uint(0), uint(0), words([1, 2, (1 << 53) + 1])]),
        ),
        ("batch-float-nan", floats([1.0, f64::NAN, 2.0])),
        (
            "batch-float-infinite",
            floats([1.0, 2.0, f64::NEG_INFINITY]),
        ),
        (
            "batch-presence-too-long",
            with_column(bytes(&[1, 0]), null(), &plain_data()),
        ),
        (
            "batch-presence-bit-after-end",
            with_column(bytes(&[0b1001]), null(), &plain_data()),
        ),
        (
            "batch-presence-of-all",
            with_column(bytes(&[0b111]), null(), &plain_data()),
        ),
        (
            "batch-values-of-absent",
            with_column(bytes(&[0b011]), null(), &plain_data()),
        ),
        (
            "batch-flags-huge-run",
            flags(&[
                0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ]),
        ),
        ("batch-flags-empty-run", flags(&[0x01, 0, 0x02, 3])),
        ("batch-flags-split-run", flags(&[0x01, 1, 0x01, 2])),
        ("batch-flags-as-default", flags(&[0x02, 3])),
        ("batch-flags-missing-value", flags(&[0x19, 3])),
        ("batch-flag-5", flags(&[0x05, 3])),
        ("batch-form-129", packed(&[0x92, 0x03, 129, 0, 0])),
        (
            "batch-rice-quotient-overflows",
            packed(&[0x92, 0x03, 63, 0b0011, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
        (
            "batch-escape-not-needed",
            packed(&[0x92, 0x03, 3, 0xff, 0xff, 0b0000_0100, 0b0000_0100]),
        ),
        (
            "batch-escape-without-top-bit",
            packed(&[0x92, 0x03, 0, 0xff, 0xff, 0b0000_0110, 0]),
        ),
    ]
}

fn other_messages() -> Vec<(&'static str, Vec<u8>)> {
    let channel = |name: &str, digits: u64| {
        array(&[
            uint(0),
            text(name),
            text("m"),
            uint(0),
            uint(digits),
            uint(0),
        ])
    };
    let table = |channels: &[Vec<u8>]| array(&[uint(1), uint(7), uint(1), array(channels)]);
    let ledger = |spans: &[(u64, u64)]| {
        let spans: Vec<_> = spans
            .iter()
            .map(|&(first, last)| array(&[uint(first), uint(last)]))
            .collect();
        array(&[uint(1), uint(7), uint(1_000), array(&spans)])
    };
    let seal = samples::seal_bytes();
    let mut other_algorithm = seal.clone();
    other_algorithm[6] = 0x22;
    let log =
        |level: u64, line: &str| array(&[uint(1), int(0), uint(level), text("a"), text(line)]);
    vec![
        ("channels-none", table(&[])),
        ("channels-name-with-space", table(&[channel("a b", 0)])),
        ("channels-digits-16", table(&[channel("a", 16)])),
        (
            "channels-same-index",
            table(&[channel("a", 0), channel("b", 0)]),
        ),
        ("seal-untagged", seal[1..].to_vec()),
        ("seal-other-algorithm", other_algorithm),
        ("seal-cut", seal[..seal.len() - 1].to_vec()),
        ("ledger-hole-above-next", ledger(&[(999, 1_000)])),
        ("ledger-holes-touch", ledger(&[(1, 2), (3, 4)])),
        ("log-control-character", log(1, "a\nb")),
        (
            "time-byte-after-end",
            [encoded(|out| samples::TIME.encode(out)), vec![0]].concat(),
        ),
    ]
}

fn exchanges() -> Vec<(&'static str, Vec<u8>)> {
    let message = |kind: &str, content: &[u8]| array(&[text(kind), bytes(content)]);
    let request = |messages: &[Vec<u8>]| array(&[uint(1), array(messages)]);
    let answer = |codes: usize, rows: &[[u64; 3]], messages: &[Vec<u8>]| {
        let rows: Vec<_> = rows.iter().map(|row| array(&row.map(uint))).collect();
        array(&[
            uint(1),
            bytes(&vec![0; codes]),
            array(&rows),
            array(messages),
        ])
    };
    let logs = vec![message("log", b""); 65];
    let states = vec![message("state", b""); 17];
    vec![
        ("exchange-version-2", array(&[uint(2), array(&[])])),
        ("exchange-messages-65", request(&logs)),
        ("exchange-states-17", request(&states)),
        ("exchange-kind-down", request(&[message("time", b"")])),
        (
            "exchange-kind-of-number",
            request(&[array(&[uint(0), bytes(b"")])]),
        ),
        (
            "exchange-message-too-long",
            request(&[message("batch", &[0; 65_537])]),
        ),
        (
            "exchange-message-as-text",
            request(&[array(&[text("log"), text("")])]),
        ),
        ("exchange-byte-after-end", [request(&[]), vec![0]].concat()),
        ("exchanged-codes-65", answer(65, &[], &[])),
        (
            "exchanged-rows-touch",
            answer(2, &[[7, 0, 9], [7, 10, 10]], &[]),
        ),
        ("exchanged-row-ends-first", answer(1, &[[7, 9, 8]], &[])),
        (
            "exchanged-epochs-descend",
            answer(2, &[[7, 0, 9], [6, 20, 30]], &[]),
        ),
        (
            "exchanged-kind-up",
            answer(1, &[], &[message("batch", b"")]),
        ),
        (
            "exchanged-messages-18",
            answer(1, &[], &vec![message("time", b""); 18]),
        ),
    ]
}
