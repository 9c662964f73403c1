//! Many callers at once, some of which go away, on a disk that fills up now and then: what was acknowledged is there
//! once, and what is in memory is what the rows say.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use fieldkeep_protocol::batch;

use super::*;
use crate::kept::{Print, print};
use crate::{AppendError, EpochLedger};

#[derive(Default)]
struct Heard {
    acknowledged: Mutex<BTreeSet<(u8, u64, Print)>>,
    full: AtomicUsize,
}

/// Batches of two clones of one journal, cut differently, so that they overlap in every way.
fn batches(chance: &mut Chance) -> Vec<(u8, u64, Vec<u8>)> {
    let mut batches = Vec::new();
    for device in [1, 2] {
        for clone in [1.0, 2.0] {
            let (mut first, mut prev) = (0, [0; 32]);
            for _ in 0..30 {
                let count = 1 + chance.below(5);
                let values = vec![clone; usize::try_from(count).unwrap()];
                let bytes = simple(5, first, prev, &values);
                prev = batch::hash(&bytes);
                batches.push((device, first, bytes));
                first += count;
            }
        }
    }
    batches
}

async fn caller(store: Store, batches: Arc<Vec<(u8, u64, Vec<u8>)>>, seed: u64, heard: Arc<Heard>) {
    let mut chance = Chance(seed);
    let mut order: Vec<usize> = (0..batches.len()).collect();
    chance.shuffle(&mut order);
    for index in order {
        let (device, first, bytes) = &batches[index];
        let mut append = Box::pin(store.append(origin(*device), bytes, received()));
        let patience = if chance.one_in(3) {
            chance.below(8)
        } else {
            u64::MAX
        };
        let mut polls = 0;
        let answer = std::future::poll_fn(|context: &mut Context<'_>| {
            polls += 1;
            let answer = append.as_mut().poll(context);
            match answer {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if polls > patience => Poll::Ready(None),
                Poll::Pending => {
                    if patience != u64::MAX {
                        context.waker().wake_by_ref();
                    }
                    Poll::Pending
                }
            }
        })
        .await;
        match answer {
            Some(Ok(_)) => {
                heard.acknowledged.lock().unwrap().insert((
                    *device,
                    *first,
                    print(&batch::hash(bytes)),
                ));
            }
            None => {}
            Some(Err(AppendError::Full(_))) => {
                heard.full.fetch_add(1, Ordering::Relaxed);
            }
            Some(Err(error)) => panic!("{error:?}"),
        }
    }
}

async fn ledgers(store: &Store) -> Vec<EpochLedger> {
    let mut all = store.ledger(origin(1)).await.unwrap();
    all.extend(store.ledger(origin(2)).await.unwrap());
    all
}

async fn round(seed: u64) -> usize {
    let mut chance = Chance(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.commit_batches = 8;
    let store = Store::open(options).await.unwrap();
    let batches = Arc::new(batches(&mut chance));
    let heard = Arc::new(Heard::default());
    let database = store.inner.database.clone();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        tasks.spawn(caller(
            store.clone(),
            Arc::clone(&batches),
            chance.next(),
            Arc::clone(&heard),
        ));
    }
    while !tasks.is_empty() {
        database
            .limit(if chance.one_in(2) { 1 } else { 1_000_000 })
            .await;
        for _ in 0..chance.below(40) {
            tokio::task::yield_now().await;
        }
        while let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
    }
    database.limit(1_000_000).await;
    // The queue is served in order: after this nothing is left of the callers that went away.
    let last = simple(5, 1_000, [0; 32], &[0.0]);
    for device in [1, 2] {
        store
            .append(origin(device), &last, received())
            .await
            .unwrap();
    }

    let rows = database
        .fetch_all(
            "SELECT device, first, hash FROM batch JOIN stream ON stream.id = batch.stream",
            &[],
        )
        .await
        .unwrap();
    let stored: Vec<(u8, u64, Print)> = rows
        .iter()
        .map(|row| {
            (
                row.bytes(0).unwrap()[0],
                row.i64(1).unwrap().cast_unsigned(),
                print(row.bytes(2).unwrap()),
            )
        })
        .collect();
    let distinct: BTreeSet<_> = stored.iter().copied().collect();
    assert_eq!(distinct.len(), stored.len(), "stored twice");
    assert!(
        heard.acknowledged.lock().unwrap().is_subset(&distinct),
        "acknowledged and lost"
    );
    let overlaps = database
        .fetch_all(
            "SELECT 1 FROM batch AS a JOIN batch AS b ON a.stream = b.stream AND a.branch = b.branch \
             AND a.id <> b.id AND a.first <= b.first AND a.first + a.count > b.first",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(overlaps.len(), 0, "a number twice in one branch");
    let in_memory = ledgers(&store).await;
    store.close().await;
    assert_eq!(in_memory, ledgers(&open(folder.path()).await).await);
    heard.full.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_on_a_failing_disk_loses_and_doubles_nothing() {
    let mut full = 0;
    for seed in 1..=8 {
        println!("seed {seed}");
        full += Box::pin(round(seed)).await;
    }
    assert!(full > 0, "the disk was never full");
}
