//! Messages of a session read back; what one side refuses to write the other refuses to read.

use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::record::Span;

fn state(version: &str) -> State<'_> {
    State {
        epoch: Epoch(1),
        oldest: None,
        next: 0,
        dropped_total: 0,
        journal_bytes: 0,
        uptime_s: 0,
        clock: ClockQuality::Unset,
        version,
    }
}

fn line<'a>(code: &'a str, text: &'a str) -> LogLine<'a> {
    LogLine {
        time: Timestamp::from_micros(0),
        level: Level::Debug,
        code,
        text,
    }
}

fn clock() -> impl Strategy<Value = ClockQuality> {
    prop_oneof![
        Just(ClockQuality::Unset),
        Just(ClockQuality::Synchronised),
        any::<u32>().prop_map(|age_s| ClockQuality::FreeRunning { age_s }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn states_read_back(
        epoch in any::<u64>(),
        (next, oldest) in (0..limits::RECORD_NUMBER).prop_flat_map(|next| (Just(next), prop::option::of(0..next.max(1)))),
        counters in prop::array::uniform3(0..=i64::MAX as u64),
        clock in clock(),
        version in "[!-~]{1,64}",
    ) {
        let [dropped_total, journal_bytes, uptime_s] = counters;
        let oldest = oldest.filter(|oldest| *oldest < next);
        let epoch = Epoch(epoch);
        let state = State { epoch, oldest, next, dropped_total, journal_bytes, uptime_s, clock, version: &version };
        let mut out = [0; limits::STATE_BYTES];
        let length = state.encode(&mut out).unwrap();
        prop_assert_eq!(State::decode(&out[..length]), Ok(state));
    }

    #[test]
    fn log_lines_read_back(
        micros in limits::TIME_MIN_US..=limits::TIME_MAX_US,
        level in 0u8..5,
        code in "[a-z0-9._-]{1,64}",
        text in "[^\\p{Cc}]{1,200}",
    ) {
        let level = Level::from_code(level).unwrap();
        let line = LogLine { time: Timestamp::from_micros(micros), level, code: &code, text: &text };
        let mut out = [0; limits::LOG_BYTES];
        let length = line.encode(&mut out).unwrap();
        prop_assert_eq!(LogLine::decode(&out[..length]), Ok(line));
    }

    #[test]
    fn ledgers_read_back(epoch in any::<u64>(), lengths in prop::collection::vec((1u64..1_000_000, 1u64..1_000_000), 0..=256)) {
        let mut free = 0;
        let holes: Vec<Span> = lengths
            .into_iter()
            .map(|(gap, length)| {
                let first = free + gap;
                free = first + length;
                Span { first, last: free - 1 }
            })
            .collect();
        let ledger = Ledger { epoch: Epoch(epoch), next: free + 1, holes: Spans::new(&holes) };
        let mut out = [0; limits::LEDGER_BYTES];
        let length = ledger.encode(&mut out).unwrap();
        let read = Ledger::decode(&out[..length]).unwrap();
        prop_assert_eq!(read, ledger);
        prop_assert_eq!(read.holes.iter().collect::<Vec<_>>(), holes);
    }
}

#[test]
fn limits_are_large_enough_for_the_largest_message() {
    let version = String::from_utf8(vec![b'v'; limits::VERSION_BYTES]).unwrap();
    let largest = State {
        epoch: Epoch(u64::MAX),
        oldest: Some(limits::RECORD_NUMBER - 2),
        next: limits::RECORD_NUMBER - 1,
        dropped_total: i64::MAX as u64,
        journal_bytes: i64::MAX as u64,
        uptime_s: i64::MAX as u64,
        clock: ClockQuality::FreeRunning { age_s: u32::MAX },
        version: &version,
    };
    assert!(largest.encode(&mut [0; limits::STATE_BYTES]).is_ok());
    let code = String::from_utf8(vec![b'c'; limits::LOG_CODE_BYTES]).unwrap();
    let text = String::from_utf8(vec![b't'; limits::LOG_TEXT_BYTES]).unwrap();
    let largest = LogLine {
        time: Timestamp::MIN,
        ..line(&code, &text)
    };
    assert!(largest.encode(&mut [0; limits::LOG_BYTES]).is_ok());
    let holes: Vec<Span> = (0..limits::HOLES as u64)
        .map(|i| limits::RECORD_NUMBER - 2_000 + i * 2)
        .map(|first| Span { first, last: first })
        .collect();
    let next = limits::RECORD_NUMBER - 1;
    let largest = Ledger {
        epoch: Epoch(u64::MAX),
        next,
        holes: Spans::new(&holes),
    };
    assert!(largest.encode(&mut [0; limits::LEDGER_BYTES]).is_ok());
    assert!(
        Time {
            now: Timestamp::MIN
        }
        .encode(&mut [0; limits::TIME_BYTES])
        .is_ok()
    );
}

#[test]
fn what_cannot_be_written_is_named() {
    let mut out = [0; limits::LEDGER_BYTES];
    for version in ["", "a b", "é", "v\n"] {
        assert_eq!(
            state(version).encode(&mut out),
            Err(EncodeError::Text),
            "{version}"
        );
    }
    assert_eq!(
        State {
            oldest: Some(0),
            ..state("1")
        }
        .encode(&mut out),
        Err(EncodeError::Range)
    );
    assert_eq!(
        State {
            uptime_s: u64::MAX,
            ..state("1")
        }
        .encode(&mut out),
        Err(EncodeError::Range)
    );
    assert_eq!(
        State {
            next: limits::RECORD_NUMBER,
            ..state("1")
        }
        .encode(&mut out),
        Err(EncodeError::Range)
    );
    for (code, text) in [
        ("", "a"),
        ("A", "a"),
        ("a", ""),
        ("a", "a\nb"),
        ("a", "\u{85}"),
    ] {
        assert_eq!(
            line(code, text).encode(&mut out),
            Err(EncodeError::Text),
            "{code} {text}"
        );
    }
    let beyond = Timestamp::from_micros(i64::MAX);
    assert_eq!(
        LogLine {
            time: beyond,
            ..line("a", "a")
        }
        .encode(&mut out),
        Err(EncodeError::Time)
    );
    assert_eq!(
        Time { now: beyond }.encode(&mut out),
        Err(EncodeError::Time)
    );
    let hole = [Span { first: 5, last: 5 }];
    let ledger = Ledger {
        epoch: Epoch(1),
        next: 5,
        holes: Spans::new(&hole),
    };
    assert_eq!(ledger.encode(&mut out), Err(EncodeError::Range));
    assert_eq!(state("1").encode(&mut out[..5]), Err(EncodeError::NoSpace));
}
