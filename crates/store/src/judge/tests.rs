//! Tests of the judgement of clocks: plain boots, and what any order must not change.

use fieldkeep_protocol::ClockQuality::{self, FreeRunning, Synchronised, Unset};
use fieldkeep_protocol::batch::Step;
use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// When the boot began.
const BOOTED: i64 = 1_767_225_600 * SECOND;
const OVER: Ending = Ending {
    is_over: true,
    before_us: None,
};
const GOES_ON: Ending = Ending {
    is_over: false,
    before_us: None,
};

/// The batch of minute `minute`, ten records, its clock wrong by `wrong_us`.
fn seen(minute: i64, clock: ClockQuality, wrong_us: i64) -> Seen {
    let ticks = minute * MINUTE;
    let time_us = BOOTED + ticks + wrong_us;
    Seen {
        id: minute + 1,
        first: u64::try_from(minute).unwrap() * 10,
        last: u64::try_from(minute).unwrap() * 10 + 9,
        boot: 1,
        ticks_us: u64::try_from(ticks).unwrap(),
        clock,
        time_us,
        last_us: time_us + 54 * SECOND,
        steps: Vec::new(),
        received_us: BOOTED + ticks + 2 * MINUTE,
    }
}

fn boot(wrong: &[(ClockQuality, i64)]) -> Vec<Seen> {
    wrong
        .iter()
        .zip(0..)
        .map(|((clock, wrong), minute)| seen(minute, *clock, *wrong))
        .collect()
}

const FREE: ClockQuality = FreeRunning { age_s: 60 };

#[test]
fn an_unset_clock_is_corrected_by_the_nearest_synchronised_batch() {
    let boot = boot(&[
        (Unset, -HOUR),
        (Unset, -HOUR),
        (Synchronised, 7),
        (Synchronised, 9),
    ]);
    for end in [OVER, GOES_ON] {
        let correction = correct(&boot, &boot[0], end).unwrap();
        assert_eq!(correction.offset_us, HOUR + 7);
        assert_eq!(correction.error_us, Some(2_000_000 + 12_000));
        assert!(!correction.by_arrival);
    }
}

#[test]
fn steps_inside_an_unset_batch_do_not_move_its_last_ticks() {
    let mut one = seen(0, Unset, -HOUR);
    one.steps = vec![Step {
        record: 5,
        by_us: HOUR,
    }];
    one.last_us += HOUR;
    assert_eq!(one.last_ticks(), 54 * SECOND);
}

#[test]
fn without_a_synchronised_batch_it_waits_and_then_takes_the_next_best() {
    let free = boot(&[(Unset, -HOUR), (FREE, 3)]);
    assert_eq!(correct(&free, &free[0], GOES_ON), None);
    let correction = correct(&free, &free[0], OVER).unwrap();
    assert_eq!(correction.offset_us, HOUR + 3);
    assert_eq!(correction.error_us, Some(2_000_000 + 6_000 + 6_000));

    let unset = boot(&[(Unset, -HOUR), (Unset, -HOUR)]);
    assert_eq!(correct(&unset, &unset[0], GOES_ON), None);
    let correction = correct(&unset, &unset[1], OVER).unwrap();
    // Its last record was taken 66 seconds before it came, as was the other's.
    assert_eq!(correction.offset_us, HOUR + 66 * SECOND);
    assert_eq!((correction.error_us, correction.by_arrival), (None, true));
    let known = Ending {
        before_us: Some(BOOTED - MINUTE),
        ..OVER
    };
    assert_eq!(
        correct(&unset, &unset[0], known).unwrap().error_us,
        Some(66 * SECOND + MINUTE)
    );
}

#[test]
fn an_hour_a_day_and_a_year_are_seen_either_way() {
    for by in [HOUR, 24 * HOUR, 365 * 24 * HOUR] {
        for by in [by, -by] {
            let stepped = boot(&[(Synchronised, 0), (Synchronised, 1), (FREE, by), (FREE, by)]);
            let found = steps(&stepped, false);
            assert_eq!(found.len(), 1, "{by}");
            let one = found[0];
            assert_eq!((one.first, one.last, one.open_end), (20, 39, true));
            assert_eq!(one.offset_us, 1 - by);
            assert_eq!((one.since, one.at), (10, 20));
            assert_eq!((one.wall_us, one.ticks_us), (MINUTE + by - 1, MINUTE));
            assert!(!one.declared);
            assert!(!steps(&stepped, true)[0].open_end);
        }
    }
}

#[test]
fn a_clock_that_was_set_right_makes_what_was_before_suspect() {
    let stepped = boot(&[(FREE, HOUR), (FREE, HOUR), (FREE, 0), (Synchronised, 0)]);
    let found = steps(&stepped, false);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].first, found[0].last), (0, 19));
    assert_eq!((found[0].offset_us, found[0].open_end), (-HOUR, false));
}

#[test]
fn a_step_that_was_undone_leaves_only_what_was_between() {
    let stepped = boot(&[(FREE, 0), (FREE, 0), (FREE, HOUR), (FREE, 0), (FREE, 0)]);
    let found = steps(&stepped, false);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].first, found[0].last), (20, 29));
    assert_eq!(found[0].offset_us, -HOUR);
}

#[test]
fn a_declared_step_cuts_a_batch() {
    let mut stepped = boot(&[(FREE, 0), (FREE, HOUR)]);
    stepped[0].steps = vec![Step {
        record: 4,
        by_us: HOUR,
    }];
    stepped[0].last_us += HOUR;
    let found = steps(&stepped, false);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].first, found[0].last), (4, 19));
    assert!(found[0].declared);
    assert_eq!(found[0].offset_us, -HOUR);
}

#[test]
fn a_single_batch_proves_nothing_and_history_is_no_clock() {
    assert!(steps(&boot(&[(FREE, 0), (FREE, 0), (FREE, HOUR)]), false).is_empty());
    // Ten minutes of history each second, then live again.
    let mut history: Vec<Seen> = (0_i64..20)
        .map(|batch| Seen {
            ticks_us: batch.cast_unsigned() * 1_000_000,
            time_us: BOOTED + batch * 10 * MINUTE,
            last_us: BOOTED + batch * 10 * MINUTE + 9 * MINUTE,
            ..seen(batch, Synchronised, 0)
        })
        .collect();
    history.extend((30..34).map(|minute| seen(minute, Synchronised, 9 * HOUR)));
    assert!(steps(&history, false).is_empty());
    let mut unset = history;
    for batch in &mut unset[..20] {
        batch.clock = Unset;
    }
    assert_eq!(correct(&unset, &unset[3], OVER), None);
}

#[test]
fn slow_drift_and_slewing_are_no_steps() {
    let drifting: Vec<_> = (0..200).map(|minute| (FREE, minute * 6_000)).collect();
    assert!(steps(&boot(&drifting), false).is_empty());
}

proptest! {
    #[test]
    fn nothing_overflows(
        batches in prop::collection::vec((any::<i64>(), any::<i64>(), any::<u64>(), 0u8..3, any::<u32>(),
            prop::option::of((1u32..9, any::<i64>()))), 0..12),
        is_over in any::<bool>(),
        before_us in any::<Option<i64>>(),
    ) {
        let boot: Vec<Seen> = batches.into_iter().zip(0..).map(|((time_us, last_us, ticks_us, clock, age_s, step), at)| Seen {
            ticks_us,
            clock: [Synchronised, Unset, FreeRunning { age_s }][usize::from(clock)],
            time_us,
            last_us,
            steps: step.into_iter().map(|(record, by_us)| Step { record, by_us }).collect(),
            ..seen(at, Unset, 0)
        }).collect();
        for suspicion in steps(&boot, is_over) {
            prop_assert!(suspicion.first <= suspicion.last);
            prop_assert!(suspicion.offset_us.unsigned_abs() > 5_000_000);
        }
        for one in &boot {
            let _ = correct(&boot, one, Ending { is_over, before_us });
        }
    }
}
