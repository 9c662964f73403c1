//! Reading: windows of deployments, pages, gaps, newest points, the live tail.

use fieldkeep_protocol::Reason;
use fieldkeep_protocol::batch::Cell;
use fieldkeep_protocol::record::{Span, Spans};
use fieldkeep_protocol::seal;

use super::*;
use crate::{Cursor, Gap, GapReason, StoreError};

fn times(page: &crate::Page) -> Vec<i64> {
    page.points
        .iter()
        .map(|point| (point.time.as_micros() - START) / SECOND)
        .collect()
}

#[tokio::test]
async fn deployments_cut_half_open_and_follow_the_element_over_devices() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for device in [1, 2] {
        store
            .append_channels(origin(device), &table(5, 1, &["a"], 1_000_000), received())
            .await
            .unwrap();
        let values: Vec<f64> = (0..20u8)
            .map(|value| f64::from(value + device * 100))
            .collect();
        store
            .append(origin(device), &simple(5, 0, [0; 32], &values), received())
            .await
            .unwrap();
    }
    let sources = [
        Source {
            to: Some(at(5)),
            from: at(2),
            ..source(1, "a")
        },
        Source {
            from: at(5),
            to: Some(at(8)),
            ..source(2, "a")
        },
    ];
    let page = store
        .scan(
            project(1),
            &sources,
            TimeRange {
                from: at(0),
                to: at(10),
            },
            None,
            100,
        )
        .await
        .unwrap();
    assert_eq!(times(&page), [2, 3, 4, 5, 6, 7]);
    let values: Vec<f64> = page.points.iter().map(|point| point.value).collect();
    assert_eq!(values, [102.0, 103.0, 104.0, 205.0, 206.0, 207.0]);
    assert_eq!(page.gaps, []);
    let latest = store.latest(project(1), &sources).await.unwrap().unwrap();
    assert_eq!((latest.time, latest.value), (at(7), 207.0));
    let latest = store
        .latest(project(1), &sources[..1])
        .await
        .unwrap()
        .unwrap();
    assert_eq!((latest.time, latest.value), (at(4), 104.0));
    assert_eq!(store.latest(project(2), &sources).await.unwrap(), None);
    let nothing = store
        .scan(project(2), &sources, FOREVER, None, 9)
        .await
        .unwrap();
    assert_eq!((nothing.points, nothing.next), (Vec::new(), None));
}

#[tokio::test]
async fn gaps_have_reasons_and_edges() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .append_channels(origin(1), &table(5, 1, &["a"], 1_000_000), received())
        .await
        .unwrap();
    let mut cells = vec![Cell::measured(1.0); 30];
    cells[10..20].fill(Cell::missing(Reason::SensorError));
    cells[25] = Cell::missing(Reason::NotSampled);
    let times: Vec<i64> = (0..30).map(|second| at(second).as_micros()).collect();
    let bytes = encode(header(5, 0, [0; 32]), &times, &[(0, cells)]);
    store.append(origin(1), &bytes, received()).await.unwrap();
    let range = TimeRange {
        from: at(-100),
        to: at(100),
    };
    let gap = |from, to, reason| Gap {
        from: at(from),
        to: at(to),
        reason,
    };
    let expected = [
        gap(-100, 0, GapReason::NoRecords),
        gap(9, 20, GapReason::SensorError),
        gap(29, 100, GapReason::NoRecords),
    ];
    let sources = [source(1, "a")];
    let page = store
        .scan(project(1), &sources, range, None, 100)
        .await
        .unwrap();
    assert_eq!(
        (page.points.len(), page.gaps.as_slice()),
        (19, &expected[..])
    );
    let buckets = store
        .buckets(project(1), &sources, range, SECOND)
        .await
        .unwrap();
    assert_eq!(
        (buckets.points, buckets.gaps.as_slice()),
        (19, &expected[..])
    );
    // Pages tell the same gaps, each once.
    let (mut gaps, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .scan(project(1), &sources, range, after, 4)
            .await
            .unwrap();
        gaps.extend(page.gaps);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(gaps, expected);
    let unseen = store
        .scan(
            project(1),
            &sources,
            TimeRange {
                from: at(500),
                to: at(600),
            },
            None,
            4,
        )
        .await
        .unwrap();
    assert_eq!(unseen.gaps, [gap(500, 600, GapReason::NoRecords)]);
}

pub(super) fn seal(last: u64, dropped: &[Span]) -> Vec<u8> {
    let payload = seal::Payload {
        epoch: fieldkeep_protocol::Epoch(5),
        last,
        hash: [1; 32],
        time: at(60),
        dropped: Spans::new(dropped),
    };
    let mut encoded = [0; 1_536];
    let length = payload.encode(&mut encoded).unwrap();
    let mut bytes = vec![0; 1_536];
    let length = seal::assemble(&[2; 32], &encoded[..length], &[3; 64], &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

#[tokio::test]
async fn a_full_seal_does_not_make_forgotten_what_earlier_ones_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let spans: Vec<Span> = (0..80)
        .map(|n| Span {
            first: n * 10,
            last: n * 10 + 4,
        })
        .collect();
    for named in [&spans[..3], &spans[..64], &spans[16..]] {
        let bytes = seal(named[named.len() - 1].last + 100, named);
        store
            .append_seal(origin(1), &bytes, received())
            .await
            .unwrap();
    }
    let expected: Vec<(u64, u64)> = spans.iter().map(|span| (span.first, span.last)).collect();
    assert_eq!(store.ledger(origin(1)).await.unwrap()[0].dropped, expected);
}

#[tokio::test]
async fn what_arrived_is_told_in_answers_of_bounded_size() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let names: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    store
        .append_channels(origin(1), &table(5, 1, &names, 1_000_000), received())
        .await
        .unwrap();
    // A constant costs next to nothing on the wire, and as much as anything once it is decoded.
    let columns: Vec<(u16, Vec<Cell>)> = (0..100)
        .map(|channel| (channel, vec![Cell::measured(1.0); 1_000]))
        .collect();
    for first in [0u64, 1_000, 2_000, 3_000] {
        let times: Vec<i64> = (0..1_000)
            .map(|n| at(i64::try_from(first).unwrap() + n).as_micros())
            .collect();
        let bytes = encode(header(5, first, [8; 32]), &times, &columns);
        store.append(origin(1), &bytes, received()).await.unwrap();
    }
    let mut sizes = Vec::new();
    let mut after = 0;
    loop {
        let arrived = store.arrived_since(project(1), after, 64).await.unwrap();
        let Some(last) = arrived.last() else { break };
        after = last.sequence;
        sizes.push(arrived.len());
    }
    assert_eq!(sizes, [3, 1]);
}

#[tokio::test]
async fn numbers_that_a_seal_names_as_lost_are_dropped_and_not_missing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .append_channels(origin(1), &table(5, 1, &["a"], 1_000_000), received())
        .await
        .unwrap();
    for first in [0, 50] {
        store
            .append(
                origin(1),
                &simple(5, first, [8; 32], &[1.0; 10]),
                received(),
            )
            .await
            .unwrap();
    }
    let bytes = seal(
        59,
        &[Span {
            first: 10,
            last: 49,
        }],
    );
    for _ in 0..2 {
        store
            .append_seal(origin(1), &bytes, received())
            .await
            .unwrap();
    }
    let range = TimeRange {
        from: at(0),
        to: at(60),
    };
    let page = store
        .scan(project(1), &[source(1, "a")], range, None, 100)
        .await
        .unwrap();
    assert_eq!(
        page.gaps,
        [Gap {
            from: at(9),
            to: at(50),
            reason: GapReason::Dropped
        }]
    );
    let ledger = store.ledger(origin(1)).await.unwrap();
    assert_eq!(ledger[0].dropped, [(10, 49)]);
    assert_eq!(ledger[0].links.gap, 2);
    assert!(
        store
            .append_seal(origin(1), &bytes[1..], received())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn newest_points_follow_arrivals_late_tables_and_late_data() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let sources = [source(1, "a")];
    let latest = async || {
        let point = store.latest(project(1), &sources).await.unwrap();
        point.map(|point| (point.time.as_micros() - START) / SECOND)
    };
    assert_eq!(latest().await, None);
    store
        .append(origin(1), &simple(5, 10, [0; 32], &[1.0; 5]), received())
        .await
        .unwrap();
    assert_eq!(latest().await, None);
    store
        .append_channels(origin(1), &table(5, 1, &["a"], 0), received())
        .await
        .unwrap();
    assert_eq!(latest().await, Some(14));
    store
        .append(origin(1), &simple(5, 0, [0; 32], &[1.0; 5]), received())
        .await
        .unwrap();
    assert_eq!(latest().await, Some(14));
    store
        .append(origin(1), &simple(5, 15, [0; 32], &[1.0]), received())
        .await
        .unwrap();
    assert_eq!(latest().await, Some(15));
    // A sensor that is dead since long: the last value it gave.
    for first in 16..200 {
        let cells = vec![Cell::missing(Reason::SensorError)];
        let bytes = encode(
            header(5, first, [0; 32]),
            &[at(first.cast_signed()).as_micros()],
            &[(0, cells)],
        );
        store.append(origin(1), &bytes, received()).await.unwrap();
    }
    assert_eq!(latest().await, Some(15));
    let fresh = open(folder.path()).await;
    assert_eq!(
        fresh
            .latest(project(1), &sources)
            .await
            .unwrap()
            .map(|point| point.time),
        Some(at(15))
    );
}

#[tokio::test]
async fn the_live_tail_is_told_after_durability_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut arrivals = store.arrivals();
    store
        .append_channels(origin(1), &table(5, 1, &["a"], 0), received())
        .await
        .unwrap();
    for first in 0..5u8 {
        store
            .append(
                origin(1),
                &simple(5, first.into(), [0; 32], &[f64::from(first)]),
                received(),
            )
            .await
            .unwrap();
        let other = Origin {
            project: project(2),
            ..origin(1)
        };
        store
            .append(other, &simple(5, first.into(), [0; 32], &[9.0]), received())
            .await
            .unwrap();
    }
    let first = arrivals.recv().await.unwrap();
    assert_eq!(
        (first.project, first.from, first.to),
        (project(1), at(0), at(0))
    );
    let resumed = store
        .arrived_since(project(1), first.sequence, 3)
        .await
        .unwrap();
    let values: Vec<f64> = resumed
        .iter()
        .map(|arrived| arrived.channels[0].points[0].value)
        .collect();
    assert_eq!(values, [1.0, 2.0, 3.0]);
    let last = store
        .arrived_since(project(1), resumed[2].sequence, 100)
        .await
        .unwrap();
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].channels[0].channel, "a");
    assert_eq!(
        store
            .arrived_since(project(1), last[0].sequence, 100)
            .await
            .unwrap(),
        []
    );
    // Without a channel table there is nothing to show.
    assert_eq!(store.arrived_since(project(2), 0, 100).await.unwrap(), []);
}

#[tokio::test]
async fn an_excursion_of_one_point_is_seen_at_any_zoom() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .append_channels(origin(1), &table(5, 1, &["a"], 1_000_000), received())
        .await
        .unwrap();
    for part in 0..25u64 {
        let mut values = vec![1.0; 4_000];
        if part == 17 {
            values[1_234] = -99.5;
        }
        store
            .append(
                origin(1),
                &simple(5, part * 4_000, [0; 32], &values),
                received(),
            )
            .await
            .unwrap();
    }
    let range = TimeRange {
        from: at(0),
        to: at(100_000),
    };
    for count in [1, 7, 1_000] {
        let width = 100_000 * SECOND / count + 1;
        let answer = store
            .buckets(project(1), &[source(1, "a")], range, width)
            .await
            .unwrap();
        assert_eq!((answer.points, answer.gaps.len()), (100_000, 0));
        let lowest = answer.buckets.iter().filter(|bucket| bucket.min == -99.5);
        assert_eq!(lowest.count(), 1);
    }
    let refused = store
        .buckets(project(1), &[source(1, "a")], range, SECOND)
        .await;
    assert!(matches!(
        refused,
        Err(StoreError::TooManyBuckets { asked: 100_000, .. })
    ));
    let page = store
        .scan(project(1), &[source(1, "a")], range, None, 10)
        .await
        .unwrap();
    let text = page.next.unwrap().to_string();
    let next = store
        .scan(
            project(1),
            &[source(1, "a")],
            range,
            Some(text.parse::<Cursor>().unwrap()),
            10,
        )
        .await
        .unwrap();
    assert_eq!(times(&next), (10..20).collect::<Vec<i64>>());
}
