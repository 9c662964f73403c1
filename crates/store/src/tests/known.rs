//! Values as they were known at a time: what a store would say that nothing had reached since.

use super::changes::{history, send};
use super::clocks::note;
use super::model::CHANNELS;
use super::*;
use crate::changes::record_evidence_gone;
use crate::{ClockCorrection, Point, Restamp, StoreError};

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
async fn stamps_count_from_when_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let unset = Header {
        clock: ClockQuality::Unset,
        ..header(5, 0, [0; 32])
    };
    let times = [at(50).as_micros(), at(51).as_micros()];
    let cells = vec![Cell::measured(1.0), Cell::measured(2.0)];
    let held = encode(unset, &times, &[(0, cells)]);
    let day = 86_400;
    let came = |days: i64| at(900_000 + days * day);
    store
        .append_channels(origin(1), &table(5, 1, &["a"], 1_000_000), came(0))
        .await
        .unwrap();
    store.append(origin(1), &held, came(0)).await.unwrap();
    // A batch that was readable from the beginning lies between what is stamped.
    let sound = simple(5, 200, [0; 32], &[7.0]);
    store.append(origin(1), &sound, came(0)).await.unwrap();
    for (days, offset) in [(1, 100), (2, 400)] {
        let correction = ClockCorrection {
            offset_us: offset * SECOND,
            drift: None,
            error_us: Some(0),
        };
        let wanted = Restamp {
            epoch: Epoch(5),
            first: 0,
            last: 1,
            correction: Some(correction),
        };
        store
            .restamp(origin(1), &wanted, &note(), came(days))
            .await
            .unwrap();
    }
    for (days, expected) in [
        (0, vec![200]),
        (1, vec![150, 151, 200]),
        (2, vec![200, 450, 451]),
    ] {
        for limit in [1, 9] {
            let points = known(&store, &[source(1, "a")], came(days), limit).await;
            let seconds = |point: &Point| (point.time.as_micros() - START) / SECOND;
            let found: Vec<i64> = points.iter().map(seconds).collect();
            assert_eq!(found, expected, "day {days}, {limit} a page");
        }
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
