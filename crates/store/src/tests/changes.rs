//! What changed: labels and pages of the feed, and that pulling by it ends at the truth.

use std::collections::BTreeSet;

use super::model::{CHANNELS, INTERVAL, journals};
use super::*;
use crate::changes::record_evidence_gone;
use crate::{Change, ChangeCause, Point, Revision, StoreError};

/// The changes after a revision, all pages of them.
async fn all(store: &Store, mut since: Revision, limit: usize) -> (Vec<Change>, Revision) {
    let mut items = Vec::new();
    loop {
        let page = store.changes(project(1), since, limit).await.unwrap();
        assert!(page.items.len() <= limit);
        items.extend(page.items);
        since = page.next;
        if !page.more {
            return (items, since);
        }
    }
}

fn seconds(change: &Change) -> (i64, i64, ChangeCause) {
    let second = |time: Timestamp| (time.as_micros() - START).div_euclid(SECOND);
    (
        second(change.range.from),
        second(change.range.to),
        change.cause,
    )
}

#[tokio::test]
async fn what_comes_after_newer_records_is_late_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let batch = |first, values: &[f64]| simple(5, first, [0; 32], values);
    for (first, values) in [(10, [1.0, 2.0]), (4, [3.0, 4.0]), (12, [5.0, 6.0])] {
        store
            .append(origin(1), &batch(first, &values), received())
            .await
            .unwrap();
    }
    // Another device's times say nothing about this one's.
    store
        .append(origin(2), &batch(0, &[1.0]), received())
        .await
        .unwrap();
    store.close().await;
    let store = open(folder.path()).await;
    store
        .append(origin(1), &batch(8, &[7.0]), received())
        .await
        .unwrap();
    let (items, end) = all(&store, Revision::default(), 2).await;
    let told: Vec<_> = items.iter().map(seconds).collect();
    use ChangeCause::{Late, New};
    assert_eq!(
        told,
        [
            (10, 11, New),
            (4, 5, Late),
            (12, 13, New),
            (0, 0, New),
            (8, 8, Late)
        ]
    );
    assert_eq!(end, store.revision().await.unwrap());
    assert_eq!(all(&store, end, 5).await, (Vec::new(), end));
    let other = store.changes(project(2), end, 5).await.unwrap();
    assert_eq!((other.items, other.next), (Vec::new(), end));
}

#[tokio::test]
async fn a_commit_that_failed_makes_nothing_late() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let first = simple(5, 0, [0; 32], &[1.0]);
    store.append(origin(1), &first, received()).await.unwrap();
    store.inner.database.limit(1).await;
    let newer: Vec<f64> = (0..2_000).map(f64::from).map(f64::sqrt).collect();
    let newer = simple(5, 100, [0; 32], &newer);
    store
        .append(origin(1), &newer, received())
        .await
        .unwrap_err();
    store.inner.database.limit(1_000_000).await;
    store
        .append(origin(1), &simple(5, 50, [0; 32], &[1.0]), received())
        .await
        .unwrap();
    let (items, _) = all(&store, Revision::default(), 9).await;
    let causes: Vec<_> = items.iter().map(|change| change.cause).collect();
    assert_eq!(causes, [ChangeCause::New, ChangeCause::New]);
}

#[tokio::test]
async fn held_batches_do_not_show_and_a_late_table_shows_what_it_explains() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let unset = Header {
        clock: ClockQuality::Unset,
        ..header(5, 50, [0; 32])
    };
    let held = encode(
        unset,
        &[at(50).as_micros()],
        &[(0, vec![Cell::measured(1.0)])],
    );
    store.append(origin(1), &held, received()).await.unwrap();
    assert_eq!(all(&store, Revision::default(), 9).await.0, []);
    for first in [0, 2] {
        store
            .append(
                origin(1),
                &simple(5, first, [0; 32], &[1.0, 2.0]),
                received(),
            )
            .await
            .unwrap();
    }
    let (_, before) = all(&store, Revision::default(), 9).await;
    store
        .append_channels(origin(1), &table(5, 2, &["b"], 1_000_000), received())
        .await
        .unwrap();
    assert_eq!(all(&store, before, 9).await.0, []);
    store
        .append_channels(origin(1), &table(5, 1, &["a"], 1_000_000), received())
        .await
        .unwrap();
    let (items, after) = all(&store, before, 9).await;
    let told: Vec<_> = items.iter().map(seconds).collect();
    assert_eq!(told, [(0, 3, ChangeCause::Late)]);
    // A change that is noted is cut to what the device has.
    for (range, cause) in [
        (FOREVER, ChangeCause::Corrected),
        (
            TimeRange {
                from: at(10),
                to: at(20),
            },
            ChangeCause::Deleted,
        ),
    ] {
        store
            .note_change(origin(1), range, cause, received())
            .await
            .unwrap();
    }
    let (items, _) = all(&store, after, 9).await;
    let told: Vec<_> = items.iter().map(seconds).collect();
    assert_eq!(told, [(0, 3, ChangeCause::Corrected)]);
}

#[tokio::test]
async fn what_can_no_longer_be_told_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for first in [0, 2, 4] {
        store
            .append(
                origin(1),
                &simple(5, first, [0; 32], &[1.0, 2.0]),
                received(),
            )
            .await
            .unwrap();
    }
    let (_, seen) = all(&store, Revision::default(), 9).await;
    let device = store.inner.find_device(origin(1)).await.unwrap().unwrap();
    let mut transaction = store.inner.database.begin().await.unwrap();
    transaction
        .execute("DELETE FROM batch WHERE id > 1", &[])
        .await
        .unwrap();
    record_evidence_gone(
        &mut transaction,
        device.project,
        device.id,
        at(6).as_micros(),
        3,
    )
    .await
    .unwrap();
    transaction.commit().await.unwrap();
    let error = store.changes(project(1), Revision::default(), 9).await;
    assert!(matches!(error, Err(StoreError::RevisionGone)));
    assert_eq!(all(&store, seen, 9).await.0, []);
    store.close().await;
    // The ids of what was removed are not given again: nobody's revision points at something else.
    let store = open(folder.path()).await;
    assert_eq!(store.revision().await.unwrap(), seen);
    store
        .append(origin(1), &simple(5, 9, [0; 32], &[1.0]), received())
        .await
        .unwrap();
    assert_eq!(all(&store, seen, 9).await.0.len(), 1);
    let ahead = store.revision().await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let error = open(other.path()).await.changes(project(1), ahead, 9).await;
    assert!(matches!(error, Err(StoreError::RevisionGone)));
}

/// Somebody else's copy of a project, kept by its changes alone.
struct Copy {
    seen: Revision,
    points: Vec<(u8, usize, Point)>,
}

impl Copy {
    /// One page of changes, and the named ranges read again.
    async fn pull(&mut self, store: &Store, limit: usize) -> bool {
        let page = store.changes(project(1), self.seen, limit).await.unwrap();
        for change in page.items {
            let device = change.device.as_bytes()[0];
            for (channel, name) in CHANNELS.iter().enumerate() {
                self.points.retain(|(of, fed, point)| {
                    let is_in = change.range.from <= point.time && point.time < change.range.to;
                    !(*of == device && *fed == channel && is_in)
                });
                let read = read(store, device, name, change.range).await;
                self.points
                    .extend(read.into_iter().map(|point| (device, channel, point)));
            }
        }
        self.seen = page.next;
        page.more
    }

    async fn assert_truth(mut self, store: &Store) {
        while self.pull(store, 7).await {}
        let mut truth = Vec::new();
        for device in [1, 2] {
            for (channel, name) in CHANNELS.iter().enumerate() {
                let points = read(store, device, name, FOREVER).await;
                truth.extend(points.into_iter().map(|point| (device, channel, point)));
            }
        }
        let sorted = |mut points: Vec<(u8, usize, Point)>| {
            points.sort_by(|a, b| {
                let key = |of: &(u8, usize, Point)| (of.0, of.1, of.2.time, of.2.flag);
                key(a).cmp(&key(b)).then(a.2.value.total_cmp(&b.2.value))
            });
            points
        };
        assert!(!truth.is_empty());
        assert_eq!(sorted(self.points), sorted(truth));
    }
}

async fn read(store: &Store, device: u8, channel: &str, range: TimeRange) -> Vec<Point> {
    let page = store
        .scan(project(1), &[source(device, channel)], range, None, 100_000)
        .await
        .unwrap();
    assert_eq!(page.next, None);
    page.points
}

/// A device's batch, or the channel table of one of its epochs.
pub(super) type Message = (u8, Option<u64>, Vec<u8>);

/// Batches out of order, and channel tables somewhere among them.
pub(super) fn history(chance: &mut Chance) -> Vec<Message> {
    let mut all: Vec<_> = journals(chance, 6, super::model::INTERVAL)
        .into_iter()
        .map(|(device, bytes)| (device, None, bytes))
        .collect();
    chance.shuffle(&mut all);
    for (device, epoch) in [(1, 5), (1, 6), (2, 5), (2, 6)] {
        let at = usize::try_from(chance.below(all.len() as u64 + 1)).unwrap();
        let interval = u64::try_from(INTERVAL).unwrap();
        all.insert(
            at,
            (device, Some(epoch), table(epoch, 1, &CHANNELS, interval)),
        );
    }
    all
}

pub(super) async fn send(store: &Store, (device, table, bytes): &Message, received: Timestamp) {
    let origin = origin(*device);
    if table.is_some() {
        store
            .append_channels(origin, bytes, received)
            .await
            .unwrap();
    } else {
        store.append(origin, bytes, received).await.unwrap();
    }
}

#[tokio::test]
async fn pulling_by_changes_ends_at_the_truth_whatever_the_order_of_arrival() {
    for seed in 1..=8 {
        println!("seed {seed}");
        let mut chance = Chance(seed);
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let mut copy = Copy {
            seen: Revision::default(),
            points: Vec::new(),
        };
        for message in history(&mut chance) {
            send(&store, &message, received()).await;
            if chance.one_in(3) {
                let limit = usize::try_from(1 + chance.below(9)).unwrap();
                copy.pull(&store, limit).await;
            }
        }
        copy.assert_truth(&store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulling_while_everything_arrives_misses_nothing() {
    for seed in 1..=4 {
        println!("seed {seed}");
        let mut chance = Chance(seed);
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let history = history(&mut chance);
        let devices: BTreeSet<u8> = history.iter().map(|message| message.0).collect();
        let senders: Vec<_> = devices
            .into_iter()
            .map(|device| {
                let (store, history) = (store.clone(), history.clone());
                tokio::spawn(async move {
                    for message in history.iter().filter(|message| message.0 == device) {
                        send(&store, message, received()).await;
                    }
                })
            })
            .collect();
        let mut copy = Copy {
            seen: Revision::default(),
            points: Vec::new(),
        };
        while !senders.iter().all(tokio::task::JoinHandle::is_finished) {
            copy.pull(&store, 3).await;
            tokio::task::yield_now().await;
        }
        for sender in senders {
            sender.await.unwrap();
        }
        copy.assert_truth(&store).await;
    }
}
