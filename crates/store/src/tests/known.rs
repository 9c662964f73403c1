//! Values as they were known at a time: what a store would say that nothing had reached since.

use super::changes::{history, send};
use super::model::CHANNELS;
use super::*;
use crate::changes::record_evidence_gone;
use crate::{Point, StoreError};

async fn known(store: &Store, sources: &[Source], at: Timestamp, limit: usize) -> Vec<Point> {
    let mut points = Vec::new();
    let mut after = None;
    loop {
        let page = store
            .scan_known(project(1), sources, FOREVER, at, (after, limit))
            .await
            .unwrap();
        assert!(page.points.len() <= limit);
        points.extend(page.points);
        after = page.next;
        if after.is_none() {
            return points;
        }
    }
}

fn sorted(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| {
        (a.time, a.flag)
            .cmp(&(b.time, b.flag))
            .then(a.value.total_cmp(&b.value))
    });
    points
}

#[tokio::test]
async fn what_was_known_is_what_had_arrived_by_then() {
    for seed in 1..=4 {
        println!("seed {seed}");
        let mut chance = Chance(seed);
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        let history = history(&mut chance);
        let came = |number: usize| at(900_000 + i64::try_from(number).unwrap());
        let cut = usize::try_from(chance.below(history.len() as u64)).unwrap();
        for (number, message) in history.iter().enumerate() {
            send(&store, message, came(number)).await;
        }
        let folder = tempfile::tempdir().unwrap();
        let then = open(folder.path()).await;
        for (number, message) in history.iter().enumerate().take(cut + 1) {
            send(&then, message, came(number)).await;
        }
        let mut found = 0;
        for name in CHANNELS {
            let sources = [source(1, name), source(2, name)];
            let expected = then
                .scan(project(1), &sources, FOREVER, None, 100_000)
                .await
                .unwrap()
                .points;
            found += expected.len();
            let limit = usize::try_from(1 + chance.below(30)).unwrap();
            let points = known(&store, &sources, came(cut), limit).await;
            assert!(points.is_sorted_by_key(|point| point.time));
            assert_eq!(sorted(points), sorted(expected));
            let now = store
                .scan(project(1), &sources, FOREVER, None, 100_000)
                .await
                .unwrap()
                .points;
            let points = known(&store, &sources, came(history.len()), limit).await;
            assert_eq!(
                points, now,
                "what is known now, in the order of the present"
            );
        }
        assert!(found > 0 || cut < 8, "the cut leaves something to compare");
    }
}

#[tokio::test]
async fn what_was_known_is_not_told_from_evidence_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .append(origin(1), &simple(5, 0, [0; 32], &[1.0, 2.0]), received())
        .await
        .unwrap();
    let device = store.inner.find_device(origin(1)).await.unwrap().unwrap();
    let mut transaction = store.inner.database.begin().await.unwrap();
    for (until, batch) in [(at(5), 1), (at(3), 2)] {
        record_evidence_gone(
            &mut transaction,
            device.project,
            device.id,
            until.as_micros(),
            batch,
        )
        .await
        .unwrap();
    }
    transaction.commit().await.unwrap();
    let ask = async |from| {
        let range = TimeRange { from, to: at(100) };
        store
            .scan_known(project(1), &[source(1, "a")], range, received(), (None, 9))
            .await
    };
    match ask(at(4)).await {
        Err(StoreError::EvidenceGone { until }) => assert_eq!(until, at(5)),
        other => panic!("{other:?}"),
    }
    ask(at(5)).await.unwrap();
}
