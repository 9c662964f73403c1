//! The journal when the medium, the clock or the power fails at a bad moment.

use super::*;

#[test]
fn on_a_full_medium_acknowledged_records_make_room_for_new_ones() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk, ROOMY, 5);
    let table = channels("a");
    for n in 0..400 {
        journal.record(&table, &row(n), stamp(n)).unwrap();
        if n % 100 == 99 {
            let key = journal.close().unwrap().unwrap();
            if n < 300 {
                journal.acknowledge(&[key]).unwrap();
            }
            journal.roll().unwrap();
        }
    }
    // Something else fills the medium.
    let held: usize = disk.files().values().map(Vec::len).sum();
    disk.limit(Some(held as u64));
    for n in 400..420 {
        journal.record(&table, &row(n), stamp(n)).unwrap();
    }
    journal.close().unwrap();
    assert_eq!(
        (journal.facts().unacknowledged, journal.facts().dropped),
        (120, 0)
    );
    // Nor does a start on a full medium fail, or take what the cloud does not have.
    drop(journal);
    disk.limit(Some(0));
    let (mut journal, found) = open(&disk, ROOMY, 6);
    assert_eq!(found.doubt, None);
    let expected: Vec<i64> = (300..420).map(|n| row(n).time_us).collect();
    assert_eq!(times(&mut journal), expected);
}

#[test]
fn leaving_an_epoch_loses_nothing_wherever_it_is_cut() {
    for closed in [0, 3] {
        for killed in [true, false] {
            for budget in 0.. {
                let disk = MemoryDisk::default();
                let (mut journal, _) = open(&disk, ROOMY, 5);
                for n in 0..closed + 2 {
                    if n == closed {
                        journal.close().unwrap();
                    }
                    journal.record(&channels("a"), &row(n), stamp(n)).unwrap();
                }
                disk.cut_after(budget);
                let left = journal.begin_epoch(6);
                disk.revive(None);
                let done = left.is_ok();
                if !killed {
                    // The medium works again: what was open is still there, under whichever epoch.
                    journal
                        .record(&channels("a"), &row(closed + 2), stamp(9))
                        .unwrap();
                    journal.close().unwrap();
                }
                drop(journal);
                let (mut journal, _) = open(&disk, ROOMY, 7);
                let rows = closed + if killed { 2 } else { 3 };
                let expected: Vec<i64> = (0..rows).map(|n| row(n).time_us).collect();
                assert_eq!(times(&mut journal), expected, "{closed} {killed} {budget}");
                let mut next = BTreeMap::new();
                for ((epoch, first), (_, times)) in deliverable(&mut journal) {
                    let expected = next.insert(epoch, first + times.len() as u64);
                    assert_eq!(expected.unwrap_or(0), first, "numbers without a hole");
                }
                if done {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_jump_of_the_clock_ends_a_batch_and_a_small_step_does_not() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk, ROOMY, 5);
    let year = 366 * 86_400_000_000;
    for (n, step_us) in [(0, None), (1, Some(1_500_000)), (2, Some(year)), (3, None)] {
        let stamp = Stamp {
            step_us,
            ..stamp(n)
        };
        journal.record(&channels("a"), &row(n), stamp).unwrap();
    }
    journal.close().unwrap();
    let firsts: Vec<u64> = deliverable(&mut journal).into_keys().map(|k| k.1).collect();
    assert_eq!(firsts, [0, 2]);
}

#[test]
fn rows_with_times_to_come_prove_nothing() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk, ROOMY, 5);
    let future = Record {
        time_us: stamp(0).now_us + 1,
        ..row(0)
    };
    journal.record(&channels("a"), &row(0), stamp(0)).unwrap();
    let past = journal.close().unwrap().unwrap();
    journal.record(&channels("a"), &future, stamp(0)).unwrap();
    let ahead = journal.close().unwrap().unwrap();
    journal.acknowledge(&[past, ahead]).unwrap();
    assert_eq!(journal.proven_us(), row(0).time_us);
    journal.record(&channels("a"), &future, stamp(0)).unwrap();
    drop(journal);
    let (mut journal, found) = open(&disk, ROOMY, 6);
    assert_eq!(found.records, 1);
    let key = journal.next_unacknowledged(None).unwrap();
    journal.acknowledge(&[key]).unwrap();
    assert_eq!(journal.proven_us(), row(0).time_us);
}
