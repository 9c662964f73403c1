//! Appending: duplicates, forks, links, holds, quarantine, cancellation, backpressure.

use fieldkeep_protocol::batch::{self, Cell};
use fieldkeep_protocol::{ClockQuality, DecodeError, Epoch, Timestamp};

use super::*;
use crate::{AppendError, GapReason, Links, Outcome};

#[tokio::test]
async fn a_batch_is_there_once_however_often_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let bytes = simple(5, 0, [0; 32], &[1.0, 2.0]);
    let first = store.append(origin(1), &bytes, received()).await.unwrap();
    assert_eq!(first.outcome, Outcome::Stored);
    assert!(!first.readable && !first.held);
    let again = store.append(origin(1), &bytes, received()).await.unwrap();
    assert_eq!(again.outcome, Outcome::Duplicate);
    store.close().await;

    let store = open(folder.path()).await;
    let after = store.append(origin(1), &bytes, received()).await.unwrap();
    assert_eq!(after.outcome, Outcome::Duplicate);
    assert_eq!(store.totals(origin(1)).await.unwrap().batches, 1);
    assert_eq!(store.totals(origin(1)).await.unwrap().records, 2);
}

#[tokio::test]
async fn the_same_batch_many_times_at_once_is_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let bytes = simple(5, 0, [0; 32], &[1.0]);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (store, bytes) = (store.clone(), bytes.clone());
        tasks.spawn(async move {
            store
                .append(origin(1), &bytes, received())
                .await
                .unwrap()
                .outcome
        });
    }
    let outcomes = tasks.join_all().await;
    let stored = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Stored);
    assert_eq!(stored.count(), 1);
    assert_eq!(store.totals(origin(1)).await.unwrap().batches, 1);
}

#[tokio::test]
async fn a_device_cannot_begin_epochs_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let most = u64::try_from(crate::devices::EPOCHS).unwrap();
    for epoch in 1..=most {
        let bytes = simple(epoch, 0, [0; 32], &[1.0]);
        store.append(origin(1), &bytes, received()).await.unwrap();
    }
    let one_more = simple(most + 1, 0, [0; 32], &[1.0]);
    let refused = store.append(origin(1), &one_more, received()).await;
    assert!(matches!(refused, Err(AppendError::Full(_))), "{refused:?}");
    // The epochs that it has go on, and so do other devices.
    let next = simple(1, 1, [0; 32], &[2.0]);
    store.append(origin(1), &next, received()).await.unwrap();
    store
        .append(origin(2), &one_more, received())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_fork_is_kept_beside_the_first_and_follows_its_own_chain() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let common = simple(5, 0, [0; 32], &[1.0, 2.0]);
    let ours = simple(5, 2, batch::hash(&common), &[3.0, 4.0]);
    let theirs = simple(5, 2, batch::hash(&common), &[30.0]);
    let their_next = simple(5, 3, batch::hash(&theirs), &[40.0, 50.0]);
    let our_next = simple(5, 4, batch::hash(&ours), &[5.0]);
    let mut outcomes = Vec::new();
    for bytes in [&common, &ours, &theirs, &their_next, &our_next] {
        outcomes.push(
            store
                .append(origin(1), bytes, received())
                .await
                .unwrap()
                .outcome,
        );
    }
    let fork = Outcome::Fork { branch: 1 };
    assert_eq!(
        outcomes[..4],
        [Outcome::Stored, Outcome::Stored, fork, fork]
    );
    // Its number is taken by the clone, but it continues the first branch.
    assert_eq!(outcomes[4], Outcome::Fork { branch: 0 });

    let ledger = store.ledger(origin(1)).await.unwrap();
    assert_eq!(ledger[0].branches, 2);
    assert_eq!(ledger[0].ranges, [(0, 4)]);
    assert_eq!(
        ledger[0].links,
        Links {
            linked: 5,
            pending: 0,
            gap: 0
        }
    );
    store
        .append_channels(origin(1), &table(5, 1, &["level"], 1_000_000), received())
        .await
        .unwrap();
    let page = store
        .scan(project(1), &[source(1, "level")], FOREVER, None, 100)
        .await
        .unwrap();
    assert_eq!(page.points.len(), 8, "no point of either branch is hidden");
}

#[tokio::test]
async fn links_say_whether_the_predecessor_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut chain = vec![simple(5, 0, [0; 32], &[0.0])];
    for record in 1..6u8 {
        let prev = batch::hash(chain.last().unwrap());
        chain.push(simple(5, record.into(), prev, &[f64::from(record)]));
    }
    let links = async |store: &Store| store.ledger(origin(1)).await.unwrap()[0].links;
    for record in [0, 2, 4] {
        store
            .append(origin(1), &chain[record], received())
            .await
            .unwrap();
    }
    assert_eq!(
        links(&store).await,
        Links {
            linked: 1,
            pending: 2,
            gap: 0
        }
    );
    store
        .append(origin(1), &chain[1], received())
        .await
        .unwrap();
    assert_eq!(
        links(&store).await,
        Links {
            linked: 3,
            pending: 1,
            gap: 0
        }
    );
    let stranger = simple(5, 3, [9; 32], &[3.0]);
    store
        .append(origin(1), &stranger, received())
        .await
        .unwrap();
    assert_eq!(
        links(&store).await,
        Links {
            linked: 3,
            pending: 0,
            gap: 2
        }
    );
    assert_eq!(
        store.holes(origin(1), Epoch(5), 0, 8).await.unwrap(),
        [(5, 7)]
    );
    assert_eq!(
        store.holes(origin(1), Epoch(6), 3, 5).await.unwrap(),
        [(3, 4)]
    );
    assert_eq!(store.next_record(origin(1), Epoch(5)).await.unwrap(), 5);
}

#[tokio::test]
async fn a_clock_of_the_cloud_that_has_gone_back_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .append(origin(1), &simple(5, 0, [0; 32], &[1.0]), received())
        .await
        .unwrap();
    // Started again without a battery: the year is 2000 once more, for the cloud alone.
    let reset = Timestamp::from_micros(946_684_800 * SECOND);
    let after = |at_us: i64, first| {
        encode(
            header(5, first, [9; 32]),
            &[at_us],
            &[(0, vec![Cell::measured(1.0)])],
        )
    };
    let live = after(at(3_600).as_micros(), 1);
    assert!(!store.append(origin(1), &live, reset).await.unwrap().held);
    let ahead = after(at(400 * 86_400).as_micros(), 2);
    assert!(store.append(origin(1), &ahead, reset).await.unwrap().held);
    // A clock that is right draws the line by itself, whatever is stored.
    let now = at(3_600);
    let ahead = after(at(3_600 + 86_401).as_micros(), 3);
    assert!(store.append(origin(1), &ahead, now).await.unwrap().held);
}

#[tokio::test]
async fn times_that_cannot_be_believed_are_held_and_explain_the_gap() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .append_channels(origin(1), &table(5, 1, &["level"], 1_000_000), received())
        .await
        .unwrap();
    let cell = || vec![(0, vec![Cell::measured(1.0)])];
    let unset = Header {
        clock: ClockQuality::Unset,
        ..header(5, 100, [0; 32])
    };
    let unset = encode(unset, &[at(50).as_micros()], &cell());
    let early = encode(header(5, 101, [0; 32]), &[-5], &cell());
    let ahead = received().as_micros() + 86_400 * SECOND;
    let late = encode(header(5, 102, [0; 32]), &[ahead + 1], &cell());
    let fine = encode(header(5, 103, [0; 32]), &[ahead], &cell());
    for (bytes, held) in [
        (&unset, true),
        (&early, true),
        (&late, true),
        (&fine, false),
    ] {
        let receipt = store.append(origin(1), bytes, received()).await.unwrap();
        assert_eq!(receipt.held, held);
    }
    store
        .append(origin(1), &simple(5, 0, [0; 32], &[1.0; 100]), received())
        .await
        .unwrap();
    let range = TimeRange {
        from: at(0),
        to: Timestamp::from_micros(ahead + 2),
    };
    let page = store
        .scan(project(1), &[source(1, "level")], range, None, 1_000)
        .await
        .unwrap();
    assert_eq!(page.points.len(), 101);
    let gap = page.gaps.first().unwrap();
    assert_eq!(
        (page.gaps.len(), gap.reason, gap.from),
        (1, GapReason::Held, at(99))
    );
    assert_eq!(store.ledger(origin(1)).await.unwrap()[0].held, 3);
    assert_eq!(
        store.newest().await.unwrap(),
        Some(Timestamp::from_micros(ahead))
    );
    store.close().await;
    let store = open(folder.path()).await;
    assert_eq!(
        store.newest().await.unwrap(),
        Some(Timestamp::from_micros(ahead))
    );
}

#[tokio::test]
async fn undecodable_bytes_are_refused_and_quarantined_within_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let refused = store.append(origin(1), b"nonsense", received()).await;
    assert!(matches!(refused, Err(AppendError::Undecodable(_))));
    assert!(matches!(
        store.append(origin(1), &[], received()).await,
        Err(AppendError::Undecodable(DecodeError::Truncated))
    ));
    for number in 0..1_003u32 {
        store
            .quarantine(origin(1), "undecodable", &number.to_be_bytes(), received())
            .await
            .unwrap();
    }
    let state = store.quarantine_state(origin(1)).await.unwrap();
    assert_eq!((state.kept, state.bytes, state.dropped), (1_000, 4_000, 3));
    let kept = store.quarantined(origin(1)).await.unwrap();
    assert_eq!(kept.first().unwrap().bytes, 3u32.to_be_bytes());
    assert_eq!(kept.last().unwrap().number, 1_002);
    for _ in 0..20 {
        store
            .quarantine(origin(2), "undecodable", &vec![1; 1 << 20], received())
            .await
            .unwrap();
    }
    let state = store.quarantine_state(origin(2)).await.unwrap();
    assert_eq!((state.kept, state.dropped), (16, 4));
}

#[tokio::test]
async fn a_second_table_for_a_revision_is_kept_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let ours = table(5, 1, &["level"], 0);
    let theirs = table(5, 1, &["depth"], 0);
    let receipt = store
        .append_channels(origin(1), &ours, received())
        .await
        .unwrap();
    assert!(receipt.new && !receipt.conflict);
    let receipt = store
        .append_channels(origin(1), &theirs, received())
        .await
        .unwrap();
    assert!(!receipt.new && receipt.conflict);
    assert_eq!(receipt.table.channels[0].name, "level");
    for bytes in [&ours, &theirs] {
        assert!(
            !store
                .append_channels(origin(1), bytes, received())
                .await
                .unwrap()
                .new
        );
    }
    let tables = store.channels(origin(1)).await.unwrap();
    let kept: Vec<_> = tables
        .iter()
        .map(|table| (table.branch, &*table.channels[0].name))
        .collect();
    assert_eq!(kept, [(0, "level"), (1, "depth")]);
}

#[tokio::test]
async fn a_caller_that_goes_away_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut chance = Chance(11);
    for round in 0..60u64 {
        let bytes = simple(5, round, [0; 32], &[1.0]);
        let append = store.append(origin(1), &bytes, received());
        let polls = chance.below(12);
        let mut append = Box::pin(append);
        for _ in 0..polls {
            let waker = std::task::Waker::noop();
            if append
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker))
                .is_ready()
            {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(append);
        // Whatever became of it, it is taken now, and only once.
        store.append(origin(1), &bytes, received()).await.unwrap();
    }
    let totals = store.totals(origin(1)).await.unwrap();
    assert_eq!((totals.batches, totals.records), (60, 60));
    assert_eq!(store.holes(origin(1), Epoch(5), 0, 60).await.unwrap(), []);
}

#[tokio::test]
async fn more_callers_than_the_queue_holds_wait_and_are_all_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.commit_batches = 2;
    let store = Store::open(options).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for device in 0..100 {
        let store = store.clone();
        tasks.spawn(async move {
            let bytes = simple(5, 0, [0; 32], &[1.0]);
            store
                .append(origin(device), &bytes, received())
                .await
                .unwrap()
                .outcome
        });
    }
    assert_eq!(tasks.join_all().await, vec![Outcome::Stored; 100]);
    store.close().await;
    let bytes = simple(5, 1, [0; 32], &[1.0]);
    assert!(matches!(
        store.append(origin(1), &bytes, received()).await,
        Err(AppendError::Unavailable(_))
    ));
}
