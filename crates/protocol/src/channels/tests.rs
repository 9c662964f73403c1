//! Channel tables read back, and refuse what would make two channels one.

use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn channel(index: u16, name: &str) -> Channel<'_> {
    Channel {
        index,
        name,
        unit: "Cel",
        kind: Kind::Number,
        digits: 2,
        interval_us: 1_000_000,
        label: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_read_back(
        epoch in any::<u64>(),
        revision in any::<u32>(),
        rows in prop::collection::btree_map(
            any::<u16>(),
            ("[A-Za-z0-9_.-]{1,120}", "[!-~]{1,32}", 0u8..3, 0u8..=15, 0..=limits::INTERVAL_US, prop::option::of("[^\\p{Cc}]{1,32}")),
            1..20,
        ),
    ) {
        // The index makes names unique.
        let rows: Vec<_> = rows.into_iter().map(|(index, row)| (index, std::format!("{index}.{}", row.0), row)).collect();
        let channels: Vec<_> = rows
            .iter()
            .map(|(index, name, (_, unit, kind, digits, interval_us, label))| Channel {
                index: *index,
                name,
                unit,
                kind: Kind::from_code(*kind).unwrap(),
                digits: *digits,
                interval_us: *interval_us,
                label: label.as_deref(),
            })
            .collect();
        let mut out = vec![0; limits::CHANNELS_BYTES];
        let length = encode(Epoch(epoch), revision, &channels, &mut out).unwrap();
        let table = Channels::decode(&out[..length]).unwrap();
        prop_assert_eq!((table.epoch(), table.revision(), table.len()), (Epoch(epoch), revision, channels.len()));
        prop_assert_eq!(table.iter().collect::<Vec<_>>(), channels);
    }
}

#[test]
fn a_full_table_of_long_names_fits() {
    let rows: Vec<_> = (0..limits::CHANNELS)
        .map(|i| std::format!("{i:0>width$}", width = 128))
        .collect();
    let label = String::from_utf8(vec![b'l'; 64]).unwrap();
    let channels: Vec<_> = (0u16..)
        .zip(&rows)
        .map(|(index, name)| Channel {
            label: Some(&label),
            ..channel(index, name)
        })
        .collect();
    let mut out = vec![0; limits::CHANNELS_BYTES];
    let length = encode(Epoch(1), 1, &channels, &mut out).unwrap();
    assert_eq!(
        Channels::decode(&out[..length]).unwrap().iter().count(),
        limits::CHANNELS
    );
}

#[test]
fn what_cannot_be_written_is_named() {
    let mut out = [0; 512];
    let mut attempt =
        |channels: &[Channel<'_>]| encode(Epoch(1), 1, channels, &mut out).unwrap_err();
    assert_eq!(attempt(&[]), EncodeError::Count);
    assert_eq!(
        attempt(&[channel(1, "a"), channel(1, "b")]),
        EncodeError::Order
    );
    assert_eq!(
        attempt(&[channel(2, "a"), channel(1, "b")]),
        EncodeError::Order
    );
    assert_eq!(
        attempt(&[channel(1, "a"), channel(2, "a")]),
        EncodeError::Order
    );
    for name in ["", "a/b", "é", "a b"] {
        assert_eq!(attempt(&[channel(1, name)]), EncodeError::Text, "{name}");
    }
    assert_eq!(
        attempt(&[Channel {
            unit: "",
            ..channel(1, "a")
        }]),
        EncodeError::Text
    );
    assert_eq!(
        attempt(&[Channel {
            label: Some(""),
            ..channel(1, "a")
        }]),
        EncodeError::Text
    );
    assert_eq!(
        attempt(&[Channel {
            digits: 16,
            ..channel(1, "a")
        }]),
        EncodeError::Range
    );
    assert_eq!(
        attempt(&[Channel {
            interval_us: u64::MAX,
            ..channel(1, "a")
        }]),
        EncodeError::Range
    );
}
