//! Damaged bytes never panic, and never make a reader believe in more than they could hold.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::cold::rollup::fold;
use crate::cold::{CHUNK_ROWS, Length, Level};

fn samples() -> [Vec<u8>; 4] {
    let sorted = build(&[sensors(MONDAY, 700, 1)]);
    let window = Length::Week.around(MONDAY);
    let series = sorted.channels.iter().filter_map(|channel| {
        Some((
            channel.name.clone(),
            fold(&sorted, channel, Level::Hour, window)?,
        ))
    });
    let from = Level::Hour.row(MONDAY).from;
    let rollup = Rollup::replace(Level::Hour, from, None, window, series);
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cold/tests/golden");
    let old = |name| super::golden::read_hex(&golden.join(name));
    [
        sorted.encode(),
        rollup,
        old("chunk-v1.hex"),
        old("rollup-v1.hex"),
    ]
}

#[test]
fn cut_anywhere_it_is_refused() {
    for bytes in samples() {
        assert!(read_all(&bytes) > 0);
        for length in 0..bytes.len() {
            assert_eq!(read_all(&bytes[..length]), 0, "cut at {length}");
        }
    }
}

#[test]
fn no_flipped_bit_does_harm() {
    for bytes in samples() {
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[index] ^= 1 << bit;
                read_all(&damaged);
            }
        }
    }
}

#[test]
fn more_rows_than_a_chunk_may_have_are_refused() {
    let mut bytes = b"FKC\x01".to_vec();
    crate::cold::bytes::put_uint(&mut bytes, CHUNK_ROWS as u64 + 1);
    bytes.extend_from_slice(&[0; 64]);
    assert!(Chunk::decode(bytes).is_none());
}

proptest! {
    #[test]
    fn nothing_that_follows_a_good_beginning_does_harm(
        which in 0_usize..4,
        keep in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut bytes = samples()[which].clone();
        bytes.truncate(keep.index(bytes.len()));
        bytes.extend(tail);
        read_all(&bytes);
    }

    #[test]
    fn nothing_between_does_harm(
        which in 0_usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
    ) {
        let mut bytes = samples()[which].clone();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        read_all(&bytes);
    }
}

/// The committed inputs: each was made to go wrong at another place. None may be read as if nothing were.
#[test]
fn the_corpus_does_no_harm() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cold/tests/corpus");
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(
            read_all(&super::golden::read_hex(&path)),
            0,
            "{}",
            path.display()
        );
        files += 1;
    }
    assert!(files >= 12, "{files} files");
}
