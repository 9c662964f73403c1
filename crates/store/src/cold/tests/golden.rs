//! Golden bytes: what each version of chunks and roll-ups looks like, for ever.
//!
//! Each file decodes to this content in every later release. The present encoder may write other bytes for it: how small
//! they get is the packing library's choice.
//! `FIELDKEEP_GOLDEN=write` makes files that do not exist yet; none is ever overwritten.

use std::fs;
use std::path::PathBuf;

use fieldkeep_protocol::{Flag, Reason};

use super::*;
use crate::cold::rollup::fold;
use crate::cold::{Length, Level, Unread};
use crate::gaps::GapReason;

/// The bytes of a hex file.
pub(super) fn read_hex(path: &PathBuf) -> Vec<u8> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn golden(name: &str, written: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/cold/tests/golden")
        .join(name);
    if !path.exists() && std::env::var("FIELDKEEP_GOLDEN").is_ok_and(|value| value == "write") {
        let line = |chunk: &[u8]| {
            chunk
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
                + "\n"
        };
        fs::write(&path, written.chunks(32).map(line).collect::<String>()).unwrap();
    }
    read_hex(&path)
}

/// Some of everything: two revisions, a fork, absent cells, flags, floats, constants, a row that could not be read.
fn content() -> Sorted {
    let origin = |branch, revision| Origin {
        stream: 12,
        branch,
        revision,
    };
    let mut main = sensors(MONDAY, 240, 77);
    main.columns.truncate(3);
    main.origin = origin(0, 1);
    main.columns[0].3[7] = Cell::missing(Reason::SensorError);
    main.columns[1].3[100] = Cell::flagged(-0.0, Flag::Suspect);
    for (index, cell) in main.columns[2].3.iter_mut().enumerate() {
        if index % 10 > 0 {
            *cell = Cell::missing(Reason::NotSampled);
        }
    }
    let fork = Rows {
        origin: origin(1, 2),
        first: 200,
        times: (0..5)
            .map(|index| MONDAY + (200 + index) * MINUTE)
            .collect(),
        columns: vec![("voltage".to_owned(), 9, 0, vec![Cell::measured(3.3); 5])],
    };
    let mut builder = collect(&[main, fork]);
    builder.unread(Unread {
        origin: origin(0, 3),
        first: 1_000,
        count: 10,
        from_us: MONDAY + 300 * MINUTE,
        to_us: MONDAY + 309 * MINUTE,
        reason: GapReason::Held,
    });
    builder.sort()
}

#[test]
fn every_version_of_a_chunk_is_read() {
    let written = content().encode();
    let present = Chunk::decode(written.clone()).unwrap();
    for file in ["chunk-v1.hex", "chunk-v2.hex"] {
        let chunk = Chunk::decode(golden(file, &written)).unwrap();
        assert_eq!(chunk.times().unwrap().len(), 245);
        assert_eq!(chunk.times(), present.times());
        assert_eq!(chunk.segments(), present.segments());
        assert_eq!(chunk.unread(), present.unread());
        assert_eq!(chunk.unread()[0].first, 1_000);
        let names: Vec<&str> = chunk.channels().collect();
        assert_eq!(names, ["sensor.0", "sensor.1", "sensor.2", "voltage"]);
        for name in names {
            assert_eq!(chunk.column(name), present.column(name));
            assert!(chunk.column(name).is_some());
        }
    }
}

#[test]
fn every_version_of_a_rollup_is_read() {
    let window = Length::Day.around(MONDAY);
    let sorted = content();
    let series: Vec<_> = sorted
        .channels
        .iter()
        .filter_map(|channel| {
            Some((
                channel.name.clone(),
                fold(&sorted, channel, Level::Hour, window)?,
            ))
        })
        .collect();
    assert_eq!(series.len(), 2);
    let from = Level::Hour.row(MONDAY).from;
    let written = Rollup::replace(Level::Hour, from, None, window, series.clone());
    for file in ["rollup-v1.hex", "rollup-v2.hex"] {
        let rollup = Rollup::decode(golden(file, &written)).unwrap();
        for (name, series) in &series {
            let mut found = rollup.channel(name).unwrap();
            if file == "rollup-v1.hex" && name == "sensor.0" {
                // It told of what lies between values as well.
                let error = found.absent.remove(0);
                assert_eq!(error.1.from, MONDAY + 7 * MINUTE);
            }
            assert_eq!(found, *series, "{name} of {file}");
        }
    }
}
