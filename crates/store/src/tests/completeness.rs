//! How complete a range is: exact counts by day, and every hole with its cause.

use fieldkeep_protocol::Reason;
use fieldkeep_protocol::record::Span;

use super::reads::seal;
use super::*;
use crate::{Completeness, DAY_US, MissingCause};

/// Ten seconds between records.
const STEP: i64 = 10;
const STEP_US: u64 = 10_000_000;

/// Records `first..` ten seconds apart, from `START` + `start` seconds on; `None` is a sensor that did not answer.
fn records(first: u64, start: i64, values: &[Option<f64>], clock: ClockQuality) -> Vec<u8> {
    let times: Vec<i64> = (0..)
        .take(values.len())
        .map(|number| at(start + number * STEP).as_micros())
        .collect();
    let cells = values
        .iter()
        .map(|value| value.map_or(Cell::missing(Reason::SensorError), Cell::measured));
    let header = Header {
        clock,
        ..header(5, first, [0; 32])
    };
    encode(header, &times, &[(0, cells.collect())])
}

async fn put(store: &Store, first: u64, start: i64, values: &[Option<f64>]) {
    let bytes = records(first, start, values, ClockQuality::Synchronised);
    store.append(origin(1), &bytes, received()).await.unwrap();
}

async fn ask(store: &Store, from: i64, to: i64) -> Completeness {
    let range = TimeRange {
        from: at(from),
        to: at(to),
    };
    let sources = [source(1, "a")];
    let found = store
        .completeness(project(1), &sources, range)
        .await
        .unwrap();
    // What is told by day and by hole is the same.
    let missing: u64 = found.days.iter().flat_map(|day| day.missing).sum();
    let holes: u64 = found.holes.iter().map(|hole| hole.count).sum();
    assert_eq!(missing, holes);
    found
}

fn holes(found: &Completeness) -> Vec<(i64, i64, MissingCause, u64)> {
    let second = |time: Timestamp| (time.as_micros() - START) / SECOND;
    let hole = |hole: &crate::Hole| {
        (
            second(hole.range.from),
            second(hole.range.to),
            hole.cause,
            hole.count,
        )
    };
    found.holes.iter().map(hole).collect()
}

async fn described(folder: &Path) -> Store {
    let store = open(folder).await;
    store
        .append_channels(origin(1), &table(5, 1, &["a"], STEP_US), received())
        .await
        .unwrap();
    store
}

#[tokio::test]
async fn every_hole_has_its_cause_and_every_value_is_counted() {
    use MissingCause::{Dropped, Held, NeverSampled, NotSent, SensorError};
    let folder = tempfile::tempdir().unwrap();
    let store = described(folder.path()).await;
    let ten = [Some(1.0); 10];
    put(&store, 0, 0, &ten).await;
    // Three records that the sensor did not answer to, in the middle.
    let broken: Vec<_> = (0..10)
        .map(|number| (!(3..6).contains(&number)).then_some(1.0))
        .collect();
    put(&store, 10, 100, &broken).await;
    // 20..25 are on their way; the device was off for a minute before 35, which the numbers show.
    put(&store, 25, 250, &ten).await;
    put(&store, 35, 410, &ten).await;
    // 45..49 were given up.
    put(&store, 50, 560, &ten).await;
    // 60..65 came with a clock that was not set, 65 on with one that was.
    let unset = records(60, 5_000, &ten[..5], ClockQuality::Unset);
    store.append(origin(1), &unset, received()).await.unwrap();
    put(&store, 65, 710, &ten).await;
    let dropped = Span {
        first: 45,
        last: 49,
    };
    store
        .append_seal(origin(1), &seal(75, &[dropped]), received())
        .await
        .unwrap();
    // One record is missing alone: 75.
    put(&store, 76, 820, &ten).await;

    let found = ask(&store, 0, 1_000).await;
    assert_eq!(
        holes(&found),
        [
            (120, 160, SensorError, 3),
            (190, 250, NotSent, 5),
            (340, 410, NeverSampled, 6),
            (500, 560, Dropped, 5),
            (650, 710, Held, 5),
            (800, 820, NotSent, 1),
            (910, 1_000, NotSent, 8),
        ]
    );
    assert_eq!(found.days.len(), 1);
    assert_eq!(found.days[0].stored, 67);
    assert_eq!(found.days[0].expected(), 100);
    assert_eq!(found.interval_us, STEP_US);

    // As records: the sensor's silence is none of the device's.
    let range = TimeRange {
        from: at(0),
        to: at(1_000),
    };
    let of_device = store.device_completeness(origin(1), range).await.unwrap();
    assert_eq!(of_device.days[0].stored, 70);
    assert_eq!(holes(&of_device), &holes(&found)[1..]);

    // What was on its way arrives: its hole is gone.
    put(&store, 20, 200, &ten[..5]).await;
    put(&store, 75, 810, &ten[..1]).await;
    let found = ask(&store, 0, 920).await;
    assert_eq!(found.days[0].stored, 73);
    assert!(found.holes.iter().all(|hole| hole.cause != NotSent));
}

#[tokio::test]
async fn days_are_those_of_utc_and_nothing_is_expected_before_the_first_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = described(folder.path()).await;
    let day = DAY_US / SECOND;
    // The last minute of the first day, then an hour of silence over midnight of numbers without a hole.
    put(&store, 0, day - 120, &[Some(1.0); 7]).await;
    put(&store, 7, day + 60, &[Some(1.0); 3]).await;
    let found = ask(&store, 0, 2 * day).await;
    let days: Vec<_> = found
        .days
        .iter()
        .map(|day| (day.start_us, day.stored, day.missing))
        .collect();
    let rest = u64::try_from(day / STEP).unwrap() - 6 - 3;
    assert_eq!(
        days,
        [
            (START, 7, [5, 0, 0, 0, 0, 0]),
            (START + DAY_US, 3, [6, 0, 0, rest, 0, 0])
        ]
    );
    assert_eq!(found.range.from, at(day - 120));
    // In the middle of the silence both edges are without a value.
    let found = ask(&store, day - 30, day + 30).await;
    assert_eq!(
        holes(&found),
        [(day - 30, day + 30, MissingCause::NeverSampled, 6)]
    );
    let nothing = ask(&store, 0, 10).await;
    assert_eq!((nothing.days.len(), nothing.holes.len()), (0, 0));
}

#[tokio::test]
async fn what_is_sampled_on_events_is_counted_and_nothing_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store
        .append_channels(origin(1), &table(5, 1, &["a"], 0), received())
        .await
        .unwrap();
    put(&store, 0, 0, &[Some(1.0); 7]).await;
    let found = ask(&store, 0, 1_000).await;
    assert_eq!((found.interval_us, found.days[0].stored), (0, 7));
    assert_eq!(found.holes, []);
}
