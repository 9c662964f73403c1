//! The journal against a model: whatever is cut, at whatever byte, nothing that was promised is missing or changed.

mod trouble;

use std::collections::BTreeMap;

use fieldkeep_protocol::{
    batch::Batch,
    record::{Reason, Span},
};
use proptest::prelude::*;

use super::{marks::MARKS_LOG, memory_disk::MemoryDisk, *};
use crate::sample::{self, Channel};

const ROOMY: Limits = Limits {
    max_bytes: 64 << 20,
    keep_us: i64::MAX,
};

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

fn channels(name: &str) -> Arc<Channels> {
    let channel = |name: String| Channel {
        name,
        unit: "m",
        digits: 3,
        label: None,
    };
    Arc::new(Channels {
        interval_us: 1_000_000,
        list: vec![
            channel(format!("{name}.level")),
            channel(format!("{name}.turbidity")),
        ],
    })
}

fn row(n: u64) -> Record {
    let second = if n.is_multiple_of(7) {
        sample::absent(Reason::SensorError)
    } else {
        sample::value(n as f64 * 1.5)
    };
    Record {
        time_us: 1_700_000_000_000_000 + n as i64 * 1_000_000,
        cells: vec![sample::value(n as f64 / 8.0), second],
    }
}

fn stamp(ticks_us: u64) -> Stamp {
    Stamp {
        now_us: 1_800_000_000_000_000 + ticks_us as i64,
        ticks_us,
        clock: ClockQuality::Synchronised,
        step_us: None,
    }
}

fn open(disk: &MemoryDisk, limits: Limits, epoch: u64) -> (Journal, Recovered) {
    Journal::open(Box::new(disk.clone()), device(1), limits, epoch).unwrap()
}

/// Everything unacknowledged, by epoch and first number, with what it decodes to.
fn deliverable(journal: &mut Journal) -> BTreeMap<(u64, u64), (Vec<u8>, Vec<i64>)> {
    let mut out = BTreeMap::new();
    let mut at = None;
    while let Some(key) = journal.next_unacknowledged(at) {
        at = Some(key);
        let closed = journal.batch(key).unwrap();
        let times: Vec<i64> = Batch::decode(&closed.bytes).unwrap().times().collect();
        assert_eq!(times.len(), closed.count as usize);
        out.insert((closed.epoch, closed.first), (closed.bytes, times));
    }
    out
}

fn times(journal: &mut Journal) -> Vec<i64> {
    deliverable(journal)
        .into_values()
        .flat_map(|(_, times)| times)
        .collect()
}

#[test]
fn batches_are_chained_and_come_back_byte_for_byte() {
    let disk = MemoryDisk::default();
    let table = channels("a");
    let (mut journal, found) = open(&disk, ROOMY, 5);
    assert_eq!(found.doubt, Some(Doubt::New));
    for n in 0..30 {
        assert_eq!(journal.record(&table, &row(n), stamp(n)).unwrap(), n);
        if n % 10 == 9 {
            journal.close().unwrap();
        }
    }
    let before = deliverable(&mut journal);
    assert_eq!(
        before.keys().copied().collect::<Vec<_>>(),
        [(5, 0), (5, 10), (5, 20)]
    );
    let mut prev = [0; 32];
    for (bytes, _) in before.values() {
        assert_eq!(Batch::decode(bytes).unwrap().header().prev, prev);
        prev = batch::hash(bytes);
    }
    drop(journal);
    let (mut journal, found) = open(&disk, ROOMY, 6);
    assert_eq!(found.doubt, None);
    assert_eq!(deliverable(&mut journal), before);
    assert_eq!(journal.facts().boot, 2);
    assert_eq!(journal.record(&table, &row(30), stamp(0)).unwrap(), 30);
}

#[test]
fn killing_the_process_loses_no_record_and_closes_what_was_open_with_its_own_boot() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk, ROOMY, 5);
    for n in 0..3 {
        journal
            .record(&channels("a"), &row(n), stamp(40 + n))
            .unwrap();
    }
    drop(journal);
    let (mut journal, found) = open(&disk, ROOMY, 6);
    assert_eq!((found.records, found.doubt), (3, None));
    let key = journal.next_unacknowledged(None).unwrap();
    let closed = journal.batch(key).unwrap();
    let header = *Batch::decode(&closed.bytes).unwrap().header();
    assert_eq!((header.boot, header.ticks_us, header.count), (1, 40, 3));
}

#[test]
fn a_new_table_or_another_class_of_clock_ends_a_batch() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk, ROOMY, 5);
    let (a, b) = (channels("a"), channels("b"));
    journal.record(&a, &row(0), stamp(0)).unwrap();
    journal.record(&b, &row(1), stamp(1)).unwrap();
    journal.record(&a, &row(2), stamp(2)).unwrap();
    let free = ClockQuality::FreeRunning { age_s: 3 };
    journal
        .record(
            &a,
            &row(3),
            Stamp {
                clock: free,
                ..stamp(3)
            },
        )
        .unwrap();
    let older = ClockQuality::FreeRunning { age_s: 4 };
    journal
        .record(
            &a,
            &row(4),
            Stamp {
                clock: older,
                step_us: Some(-7),
                ..stamp(4)
            },
        )
        .unwrap();
    journal.close().unwrap();
    let all = deliverable(&mut journal);
    let shape: Vec<(u32, u32)> = all
        .values()
        .map(|(bytes, _)| *Batch::decode(bytes).unwrap().header())
        .map(|h| (h.count, h.revision))
        .collect();
    assert_eq!(shape, [(1, 1), (1, 2), (1, 1), (2, 1)]);
    let last = Batch::decode(&all[&(5, 3)].0)
        .unwrap()
        .steps()
        .next()
        .unwrap();
    assert_eq!((last.record, last.by_us), (1, -7));
    assert!(journal.table_to_send(5, 1).is_some());
    journal.acknowledge_table(5, 1).unwrap();
    assert!(journal.table_to_send(5, 1).is_none() && journal.table_to_send(5, 2).is_some());
}

/// One scripted life: records, closings, acknowledgements of the oldest. Stops where the disk does; what was promised.
fn live(disk: &MemoryDisk, limits: Limits) -> (u64, Vec<(u64, Vec<u8>)>) {
    let (mut recorded, mut closed) = (0, Vec::new());
    let Ok((mut journal, _)) = Journal::open(Box::new(disk.clone()), device(1), limits, 5) else {
        return (recorded, closed);
    };
    let table = channels("a");
    for n in 0..24 {
        if journal.record(&table, &row(n), stamp(n)).is_err() {
            break;
        }
        recorded = n + 1;
        if n % 5 == 4 {
            let Ok(Some(key)) = journal.close() else {
                break;
            };
            let batch = journal.batch(key).unwrap();
            closed.push((batch.first, batch.bytes));
        }
    }
    (recorded, closed)
}

#[test]
fn a_cut_at_every_byte_leaves_everything_that_was_promised() {
    let whole = MemoryDisk::default();
    whole.cut_after(u64::MAX);
    let (recorded, closed) = live(&whole, ROOMY);
    assert_eq!((recorded, closed.len()), (24, 4));
    for budget in 0..whole.spent() {
        for power_lost in [None, Some(0), Some(50), Some(100)] {
            let disk = MemoryDisk::default();
            disk.cut_after(budget);
            let (recorded, closed) = live(&disk, ROOMY);
            disk.revive(power_lost);
            let (mut journal, found) = open(&disk, ROOMY, 6);
            let kept = deliverable(&mut journal);
            for (first, bytes) in &closed {
                let same = kept
                    .get(&(5, *first))
                    .is_some_and(|(kept, _)| kept == bytes);
                assert!(
                    same,
                    "cut at {budget}, power {power_lost:?}: batch {first} of what was closed is not there"
                );
            }
            let expected: Vec<i64> = (0..recorded).map(|n| row(n).time_us).collect();
            let times: Vec<i64> = kept
                .values()
                .flat_map(|(_, times)| times.iter().copied())
                .collect();
            let least = if power_lost.is_some() {
                closed.len() * 5
            } else {
                recorded as usize
            };
            assert!(
                times.len() >= least
                    && (times.starts_with(&expected) || expected.starts_with(&times)),
                "cut at {budget}, power {power_lost:?}: {} records of {recorded}, found {found:?}",
                times.len()
            );
            assert!(
                found
                    .doubt
                    .is_none_or(|d| d == Doubt::New || closed.is_empty()),
                "cut at {budget}: {found:?}"
            );
            // It goes on where it is, and a second opening changes nothing.
            let next = journal.record(&channels("a"), &row(100), stamp(0)).unwrap();
            journal.close().unwrap();
            let now = deliverable(&mut journal);
            drop(journal);
            let (mut journal, found) = open(&disk, ROOMY, 7);
            assert_eq!(
                (found.doubt, deliverable(&mut journal)),
                (None, now),
                "cut at {budget}, then {next}"
            );
        }
    }
}

#[test]
fn acknowledged_goes_before_unacknowledged_and_what_is_given_up_is_named() {
    let disk = MemoryDisk::default();
    let limits = Limits {
        max_bytes: 96 << 10,
        keep_us: i64::MAX,
    };
    let (mut journal, _) = open(&disk, limits, 5);
    let table = channels("a");
    let mut n = 0;
    let mut batch = |journal: &mut Journal| {
        for _ in 0..40 {
            journal.record(&table, &row(n), stamp(n)).unwrap();
            n += 1;
        }
        journal.close().unwrap().unwrap()
    };
    // The oldest one is never acknowledged; all others are, far beyond what fits.
    let first = batch(&mut journal);
    for _ in 0..2_000 {
        let key = batch(&mut journal);
        assert_eq!(journal.acknowledge(&[key]).unwrap(), 40);
    }
    assert!(journal.facts().bytes <= limits.max_bytes);
    assert_eq!(journal.facts().unacknowledged, 40);
    assert_eq!(journal.batch(first).unwrap().first, 0);
    assert_eq!(journal.facts().dropped, 0);
    // Then the line is down for longer than the journal is.
    for _ in 0..2_000 {
        batch(&mut journal);
    }
    let facts = journal.facts();
    assert!(facts.bytes <= limits.max_bytes);
    assert!(facts.dropped > 0);
    let named: u64 = journal.dropped().iter().map(|s| s.last - s.first + 1).sum();
    assert_eq!(named, facts.dropped);
    assert_eq!(journal.dropped()[0], Span { first: 0, last: 39 });
    assert_eq!(facts.unacknowledged + facts.dropped, 40 + 2_000 * 40);
    drop(journal);
    let (journal, _) = open(&disk, limits, 6);
    assert_eq!(
        Facts {
            boot: 1,
            ..journal.facts()
        },
        facts
    );
}

#[test]
fn a_full_disk_keeps_the_batch_open_and_recovers() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk, ROOMY, 5);
    for n in 0..4 {
        journal.record(&channels("a"), &row(n), stamp(n)).unwrap();
    }
    let held: usize = disk.files().values().map(Vec::len).sum();
    disk.limit(Some(held as u64 + 10));
    assert!(journal.close().is_err());
    assert!(journal.record(&channels("a"), &row(9), stamp(4)).is_err());
    disk.limit(None);
    journal.record(&channels("a"), &row(4), stamp(4)).unwrap();
    journal.close().unwrap();
    let expected: Vec<i64> = (0..5).map(|n| row(n).time_us).collect();
    assert_eq!(times(&mut journal), expected);
}

#[test]
fn the_cloud_may_ask_again_for_what_it_lost_and_never_acknowledges_by_number() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk, ROOMY, 5);
    for n in 0..30 {
        journal.record(&channels("a"), &row(n), stamp(n)).unwrap();
        if n % 10 == 9 {
            let key = journal.close().unwrap().unwrap();
            journal.acknowledge(&[key]).unwrap();
        }
    }
    journal.acknowledge_table(5, 1).unwrap();
    assert_eq!(journal.apply_ledger(5, 30, &[]).unwrap(), 0);
    assert_eq!(
        journal
            .apply_ledger(5, 20, &[Span { first: 3, last: 3 }])
            .unwrap(),
        2
    );
    assert_eq!(
        deliverable(&mut journal)
            .into_keys()
            .map(|k| k.1)
            .collect::<Vec<_>>(),
        [0, 20]
    );
    assert!(journal.table_to_send(5, 1).is_some(), "its tables as well");
    assert_eq!(journal.apply_ledger(5, 30, &[]).unwrap(), 0);
    assert_eq!(journal.facts().unacknowledged, 20);
    drop(journal);
    let (mut journal, _) = open(&disk, ROOMY, 6);
    assert_eq!(deliverable(&mut journal).len(), 2);
    let key = journal.next_unacknowledged(None).unwrap();
    journal.reject(key).unwrap();
    assert_eq!(
        journal.apply_ledger(5, 0, &[]).unwrap(),
        1,
        "the rejected one is not asked for"
    );
}

#[test]
fn doubt_begins_a_new_epoch_and_keeps_what_is_readable() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk, ROOMY, 5);
    for n in 0..10 {
        journal.record(&channels("a"), &row(n), stamp(n)).unwrap();
    }
    journal.close().unwrap();
    journal.record(&channels("a"), &row(10), stamp(10)).unwrap();
    drop(journal);

    let lost_marks = disk.copy();
    lost_marks.clone().remove(MARKS_LOG).unwrap();
    let (mut journal, found) = open(&lost_marks, ROOMY, 6);
    assert_eq!(found.doubt, Some(Doubt::MarksLost));
    assert_eq!(
        deliverable(&mut journal).into_keys().collect::<Vec<_>>(),
        [(5, 0), (6, 0)]
    );
    assert_eq!(journal.older_epochs(), [(5, 0, 10)]);

    let (other, found) = Journal::open(Box::new(disk.copy()), device(2), ROOMY, 7).unwrap();
    assert_eq!(found.doubt, Some(Doubt::OtherDevice));
    assert_eq!(other.facts().unacknowledged, 0);

    let damaged = disk.copy();
    damaged.put(&segment::name(1), b"nonsense".to_vec());
    let (journal, found) = open(&damaged, ROOMY, 8);
    assert_eq!(
        (found.doubt, journal.facts().epoch),
        (Some(Doubt::Damaged), 8)
    );

    let tail_lost = disk.copy();
    let mut file = tail_lost.files()[&segment::name(1)].clone();
    file.truncate(file.len() - 1);
    tail_lost.put(&segment::name(1), file);
    let (mut journal, found) = open(&tail_lost, ROOMY, 9);
    assert_eq!(found.doubt, Some(Doubt::TailLost));
    assert_eq!(
        deliverable(&mut journal).into_keys().collect::<Vec<_>>(),
        [(9, 0)]
    );
}

#[test]
fn an_older_copy_notices_and_leaves_the_epoch_with_its_open_records() {
    let disk = MemoryDisk::default();
    let (mut journal, _) = open(&disk, ROOMY, 5);
    journal.record(&channels("a"), &row(0), stamp(0)).unwrap();
    assert!(!journal.is_behind(5, 0) && journal.is_behind(5, 1) && !journal.is_behind(4, 9));
    journal.begin_epoch(6).unwrap();
    assert_eq!(
        journal.record(&channels("a"), &row(1), stamp(1)).unwrap(),
        1
    );
    drop(journal);
    let (mut journal, found) = open(&disk, ROOMY, 7);
    assert_eq!((found.doubt, found.records), (None, 2));
    assert_eq!(
        deliverable(&mut journal).into_keys().collect::<Vec<_>>(),
        [(6, 0)]
    );
}

#[test]
fn expiry_takes_only_what_is_acknowledged_and_old() {
    let disk = MemoryDisk::default();
    let limits = Limits {
        max_bytes: 64 << 20,
        keep_us: 1_000_000,
    };
    let (mut journal, _) = open(&disk, limits, 5);
    journal.record(&channels("a"), &row(0), stamp(0)).unwrap();
    let key = journal.close().unwrap().unwrap();
    journal.acknowledge(&[key]).unwrap();
    journal.roll().unwrap();
    journal.record(&channels("a"), &row(1), stamp(0)).unwrap();
    journal.close().unwrap();
    journal.roll().unwrap();
    journal.expire(stamp(0).now_us + 500_000).unwrap();
    assert_eq!(journal.entries.len(), 2);
    journal.expire(stamp(0).now_us + 9_000_000).unwrap();
    assert_eq!(journal.entries.len(), 1);
    assert_eq!(journal.facts().oldest, Some(1));
}

/// Files of version 1 stay readable for ever: eight records, three to a batch, the first batch, its table and a seal
/// acknowledged, two records in the batch that was open.
#[test]
fn a_journal_of_version_1_is_read() {
    let disk = MemoryDisk::default();
    let put = |name: &str, bytes: &[u8]| disk.put(name, bytes.to_vec());
    put(
        &segment::name(1),
        include_bytes!("golden/v1/0000000000000001.seg"),
    );
    put(MARKS_LOG, include_bytes!("golden/v1/marks.log"));
    put(OPEN_LOG, include_bytes!("golden/v1/open.log"));
    let (mut journal, found) = open(&disk, ROOMY, 6);
    assert_eq!((found.doubt, found.records, found.torn_bytes), (None, 2, 0));
    let kept = deliverable(&mut journal);
    assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [(5, 3), (5, 6)]);
    let expected: Vec<i64> = (3..8).map(|n| row(n).time_us).collect();
    assert_eq!(times(&mut journal), expected);
    assert_eq!(journal.sealed(), Some((5, 2, 77)));
    assert_eq!(journal.sealable().map(|(last, _)| last), Some(2));
    assert!(journal.table_to_send(5, 1).is_none());
    assert_eq!((journal.facts().boot, journal.facts().next), (2, 8));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random lives on a small disk with random deaths: each closed batch is acknowledged, waiting unchanged, or named.
    #[test]
    fn nothing_is_lost_without_being_named(
        steps in proptest::collection::vec((0u8..10, 0u64..4_000), 1..120),
    ) {
        let disk = MemoryDisk::default();
        let limits = Limits { max_bytes: 64 << 10, keep_us: i64::MAX };
        let table = channels("a");
        let mut closed: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
        let mut acknowledged = BTreeSet::new();
        let (mut journal, _) = open(&disk, limits, 1);
        let mut n = 0;
        for (step, number) in steps {
            match step {
                0 => {
                    if let Some(key) = journal.next_unacknowledged(None) {
                        let batch = journal.batch(key).unwrap();
                        // A cut may fall into an acknowledgement: then either answer is right.
                        let _ = journal.acknowledge(&[key]);
                        acknowledged.insert((batch.epoch, batch.first));
                    }
                }
                1 => {
                    disk.cut_after(number);
                }
                2 => {
                    drop(journal);
                    disk.revive(Some(number % 101));
                    (journal, _) = open(&disk, limits, n + 2);
                }
                _ => {
                    for _ in 0..(number % 200) {
                        let _ = journal.record(&table, &row(n), stamp(n));
                        n += 1;
                    }
                    if let Ok(Some(key)) = journal.close() {
                        let batch = journal.batch(key).unwrap();
                        closed.insert((batch.epoch, batch.first), batch.bytes);
                    }
                }
            }
        }
        drop(journal);
        disk.revive(Some(0));
        let (mut journal, _) = open(&disk, limits, u64::MAX);
        let kept = deliverable(&mut journal);
        for (key, bytes) in &closed {
            let last = key.1 + u64::from(Batch::decode(bytes).unwrap().header().count) - 1;
            let named = journal.marks.dropped.get(&key.0).is_some_and(|r| r.contains(key.1, last));
            let waiting = kept.get(key).is_some_and(|(kept, _)| kept == bytes);
            prop_assert!(acknowledged.contains(key) || waiting || named, "batch {key:?} is gone");
        }
        prop_assert!(journal.facts().bytes <= limits.max_bytes + (64 << 10));
    }
}
