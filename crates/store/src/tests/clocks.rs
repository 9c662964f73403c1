//! Clock trust: what is held becomes readable with right times, whatever the order of arrival, or by a person.

use fieldkeep_protocol::Flag;
use fieldkeep_protocol::batch::{Header, Step};

use super::*;
use crate::{
    ClockCorrection, ClockError, ClockNote, DeviceClock, HeldReason, Point, Restamp, StampCause,
};

const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
/// Records of a batch, one a second.
const RECORDS: u64 = 5;
pub(super) const FREE: ClockQuality = ClockQuality::FreeRunning { age_s: 60 };

/// A batch of minute `minute` of a boot that began at `booted_us`; its clock is wrong by `wrong_us`. Values are numbers
/// of records.
#[derive(Clone, Copy)]
pub(super) struct Made {
    pub(super) boot: u32,
    pub(super) booted_us: i64,
    pub(super) minute: i64,
    pub(super) first: u64,
    pub(super) clock: ClockQuality,
    pub(super) wrong_us: i64,
}

impl Made {
    fn times(&self) -> Vec<i64> {
        (0..i64::try_from(RECORDS).unwrap())
            .map(|record| self.booted_us + self.minute * MINUTE + record * SECOND)
            .collect()
    }

    fn bytes(&self) -> Vec<u8> {
        self.with_steps(&[])
    }

    pub(super) fn with_steps(&self, steps: &[Step]) -> Vec<u8> {
        let mut stepped = 0;
        let mut steps_left = steps.iter().peekable();
        let times: Vec<i64> = self
            .times()
            .iter()
            .zip(0..)
            .map(|(time, record)| {
                while let Some(step) = steps_left.next_if(|step| step.record <= record) {
                    stepped += step.by_us;
                }
                time + self.wrong_us + stepped
            })
            .collect();
        let cells: Vec<Cell> = (self.first..self.first + RECORDS)
            .map(|record| Cell::flagged(f64::from(u32::try_from(record).unwrap()), Flag::Pass))
            .collect();
        let header = Header {
            count: u32::try_from(RECORDS).unwrap(),
            boot: self.boot,
            ticks_us: (self.minute * MINUTE).cast_unsigned(),
            clock: self.clock,
            ..header(5, self.first, [0; 32])
        };
        let columns = [ColumnInput {
            channel: 0,
            values: &cells,
        }];
        let mut out = vec![0; 65_536];
        let length = batch::encode(&header, &times, steps, &columns, &mut out).unwrap();
        out.truncate(length);
        out
    }
}

/// The batches of one boot, minute by minute.
pub(super) fn boot(
    boot: u32,
    booted_us: i64,
    first: u64,
    clocks: &[(ClockQuality, i64)],
) -> Vec<Made> {
    clocks
        .iter()
        .zip(0..)
        .map(|((clock, wrong_us), minute)| Made {
            boot,
            booted_us,
            minute,
            first: first + minute.cast_unsigned() * RECORDS,
            clock: *clock,
            wrong_us: *wrong_us,
        })
        .collect()
}

pub(super) async fn scene(folder: &Path) -> Store {
    let store = open(folder).await;
    let table = table(5, 1, &["a"], 10_000_000);
    store
        .append_channels(origin(1), &table, received())
        .await
        .unwrap();
    store
}

pub(super) async fn send(store: &Store, made: &[Made]) {
    for one in made {
        store
            .append(origin(1), &one.bytes(), received())
            .await
            .unwrap();
    }
}

pub(super) async fn points(store: &Store) -> Vec<Point> {
    let page = store
        .scan(project(1), &[source(1, "a")], FOREVER, None, 100_000)
        .await
        .unwrap();
    page.points
}

/// What a device with a right clock would have given.
pub(super) fn expected(made: &[Made]) -> Vec<(i64, f64)> {
    let mut all: Vec<(i64, f64)> = made
        .iter()
        .flat_map(|one| one.times().into_iter().zip(one.first..))
        .map(|(time, record)| (time, f64::from(u32::try_from(record).unwrap())))
        .collect();
    all.sort_by_key(|point| point.0);
    all
}

pub(super) fn plain(points: &[Point]) -> Vec<(i64, f64)> {
    points
        .iter()
        .map(|point| (point.time.as_micros(), point.value))
        .collect()
}

pub(super) async fn clock(store: &Store) -> DeviceClock {
    store.device_clock(origin(1)).await.unwrap()
}

pub(super) fn note() -> ClockNote {
    ClockNote {
        actor: "per_1".to_owned(),
        reason: "the battery was changed".to_owned(),
    }
}

fn restamp(first: u64, last: u64, offset_us: i64) -> Restamp {
    Restamp {
        epoch: Epoch(5),
        first,
        last,
        correction: Some(ClockCorrection {
            offset_us,
            drift: None,
            error_us: Some(0),
        }),
    }
}

pub(super) async fn count(store: &Store, sql: &'static str) -> i64 {
    let row = store.inner.database.fetch_optional(sql, &[]).await.unwrap();
    row.unwrap().i64(0).unwrap()
}

#[tokio::test]
async fn records_of_an_unset_clock_get_their_times_when_the_boot_synchronises() {
    let folder = tempfile::tempdir().unwrap();
    let store = scene(folder.path()).await;
    let booted = at(1_000).as_micros();
    let made = boot(
        1,
        booted,
        0,
        &[
            (ClockQuality::Unset, -booted),
            (ClockQuality::Unset, -booted),
            (ClockQuality::Synchronised, 0),
        ],
    );
    send(&store, &made[..2]).await;
    let waiting = store.settle_clocks(received()).await.unwrap();
    assert_eq!((waiting.stamped, waiting.waiting), (0, 1));
    assert!(points(&store).await.is_empty());
    let held = clock(&store).await.held;
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].first, held[0].last, held[0].batches), (0, 9, 2));
    assert_eq!(held[0].reason, HeldReason::Unset);
    assert!(held[0].proposed.is_some(), "its arrival tells something");
    // Watched, so that memory has to learn of it.
    let latest = || store.latest(project(1), std::slice::from_ref(&WATCHED));
    static WATCHED: std::sync::LazyLock<Source> = std::sync::LazyLock::new(|| source(1, "a"));
    assert_eq!(latest().await.unwrap(), None);

    send(&store, &made[2..]).await;
    let settled = store.settle_clocks(received()).await.unwrap();
    assert_eq!((settled.stamped, settled.waiting), (2, 0));
    let found = points(&store).await;
    assert_eq!(plain(&found), expected(&made));
    assert!(found.iter().all(|point| point.flag == Flag::Pass));
    assert_eq!(latest().await.unwrap(), found.last().copied());
    assert_eq!(store.ledger(origin(1)).await.unwrap()[0].held, 0);
    let known = clock(&store).await;
    assert!(known.held.is_empty());
    assert_eq!(known.stamps.len(), 1);
    assert_eq!(known.stamps[0].cause, StampCause::Ticks);
    assert_eq!((known.stamps[0].first, known.stamps[0].last), (0, 9));
    assert_eq!(known.stamps[0].offset_us, booted);
    assert_eq!(
        count(&store, "SELECT count(*) FROM dirty WHERE cause = 3").await,
        1
    );
    assert_eq!(count(&store, "SELECT count(*) FROM change").await, 1);
    // Again: nothing.
    let again = store.settle_clocks(received()).await.unwrap();
    assert_eq!(again, crate::Settled::default());
    store.close().await;
    let store = open(folder.path()).await;
    assert_eq!(plain(&points(&store).await), expected(&made));
    let arrived = store.arrived_since(project(1), 0, 100).await.unwrap();
    let arrived: Vec<Point> = arrived
        .into_iter()
        .flat_map(|one| one.channels)
        .flat_map(|channel| channel.points)
        .collect();
    assert_eq!(plain(&arrived), expected(&made));
}

/// Two boots, of which the first one never synchronises, and the second one does with drift, in any order.
async fn any_order(seed: u64) {
    let mut chance = Chance(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut store = scene(folder.path()).await;
    let booted = at(10_000).as_micros();
    let unset = (ClockQuality::Unset, -booted - i64::from(u32::MAX));
    let mut clocks = vec![unset; 1 + usize::try_from(chance.below(4)).unwrap()];
    let mut drift = 0;
    for _ in 0..2 + chance.below(4) {
        clocks.push((ClockQuality::Synchronised, drift));
        drift += 150_000;
    }
    if chance.one_in(2) {
        // The clock went back to nothing, and was set again.
        clocks.push(unset);
        clocks.push((ClockQuality::Synchronised, drift));
    }
    let made = boot(2, booted, 0, &clocks);
    let mut arrivals = made.clone();
    chance.shuffle(&mut arrivals);
    for one in arrivals {
        send(&store, &[one]).await;
        if chance.one_in(3) {
            store.settle_clocks(received()).await.unwrap();
        }
        if chance.one_in(6) {
            store.close().await;
            store = open(folder.path()).await;
        }
    }
    store.settle_clocks(received()).await.unwrap();
    let found: Vec<(i64, f64)> = plain(&points(&store).await);

    let sorted_folder = tempfile::tempdir().unwrap();
    let sorted = scene(sorted_folder.path()).await;
    send(&sorted, &made).await;
    sorted.settle_clocks(received()).await.unwrap();
    assert_eq!(found, plain(&points(&sorted).await), "seed {seed}");
    assert_eq!(found.len() as u64, made.len() as u64 * RECORDS);
    for ((time, _), (right, _)) in found.iter().zip(expected(&made)) {
        assert!(time.abs_diff(right) <= drift.unsigned_abs(), "seed {seed}");
    }
    for store in [&store, &sorted] {
        let known = clock(store).await;
        assert!(known.held.is_empty() && known.proposals.is_empty());
        assert_eq!(count(store, "SELECT count(*) FROM clock_mark").await, 0);
    }
}

#[tokio::test]
async fn any_order_of_arrival_gives_the_same_times() {
    let most = std::env::var("FIELDKEEP_STORE_SEEDS").map_or(16, |most| most.parse().unwrap());
    for seed in 1..=most {
        println!("seed {seed}");
        Box::pin(any_order(seed)).await;
    }
}

#[tokio::test]
async fn a_boot_that_never_synchronised_is_stamped_by_its_arrival_and_suspect() {
    let folder = tempfile::tempdir().unwrap();
    let store = scene(folder.path()).await;
    let before = boot(1, at(0).as_micros(), 0, &[(ClockQuality::Synchronised, 0)]);
    let booted = at(1_000).as_micros();
    let lost = boot(2, booted, RECORDS, &[(ClockQuality::Unset, -booted)]);
    send(&store, &before).await;
    let arrived = at(1_200);
    store
        .append(origin(1), &lost[0].bytes(), arrived)
        .await
        .unwrap();
    let hour = Timestamp::from_micros(arrived.as_micros() + HOUR);
    assert_eq!(store.settle_clocks(hour).await.unwrap().waiting, 1);
    let day = Timestamp::from_micros(arrived.as_micros() + DAY);
    assert_eq!(store.settle_clocks(day).await.unwrap().stamped, 1);
    let found = points(&store).await;
    // Its last record was taken when it came at the latest.
    assert_eq!(found.last().unwrap().time, arrived);
    assert!(found[5..].iter().all(|point| point.flag == Flag::Suspect));
    assert!(found[..5].iter().all(|point| point.flag == Flag::Pass));
    let stamp = clock(&store).await.stamps[0].clone();
    assert_eq!(stamp.cause, StampCause::Arrival);
    assert_eq!(stamp.error_us, Some((1_200 - 4 - 4) * SECOND));

    // It was only late: the batch that tells comes after all, and takes its place.
    let told = boot(
        2,
        booted,
        RECORDS,
        &[
            (ClockQuality::Unset, -booted),
            (ClockQuality::Synchronised, 0),
        ],
    );
    send(&store, &told[1..]).await;
    assert_eq!(store.settle_clocks(day).await.unwrap().stamped, 1);
    assert_eq!(
        plain(&points(&store).await),
        expected(&[before, told].concat())
    );
    let stamps = clock(&store).await.stamps;
    assert_eq!(stamps.len(), 2, "what was believed before stays known");
    assert!(stamps[1].superseded && !stamps[0].superseded);
    assert_eq!(
        count(&store, "SELECT previous FROM stamp WHERE id = 2").await,
        1
    );
}

#[tokio::test]
async fn a_later_boot_ends_the_wait() {
    let folder = tempfile::tempdir().unwrap();
    let store = scene(folder.path()).await;
    let booted = at(1_000).as_micros();
    let lost = boot(1, booted, 0, &[(ClockQuality::Unset, -booted)]);
    send(&store, &lost).await;
    assert_eq!(store.settle_clocks(received()).await.unwrap().waiting, 1);
    let next = boot(
        2,
        at(5_000).as_micros(),
        RECORDS,
        &[(ClockQuality::Synchronised, 0)],
    );
    send(&store, &next).await;
    assert_eq!(store.settle_clocks(received()).await.unwrap().stamped, 1);
    let stamp = clock(&store).await.stamps[0].clone();
    assert_eq!((stamp.cause, stamp.error_us), (StampCause::Arrival, None));
}

#[tokio::test]
async fn impossible_times_wait_for_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let store = scene(folder.path()).await;
    let (early, late) = (-40 * 365 * DAY, 365 * DAY);
    let made = [
        boot(1, at(0).as_micros(), 0, &[(FREE, early), (FREE, early)]),
        boot(2, at(5_000).as_micros(), 10, &[(FREE, late)]),
    ]
    .concat();
    send(&store, &made).await;
    store.settle_clocks(received()).await.unwrap();
    assert!(points(&store).await.is_empty());
    let held = clock(&store).await.held;
    let listed: Vec<_> = held
        .iter()
        .map(|one| (one.first, one.last, one.reason, one.boot))
        .collect();
    assert_eq!(
        listed,
        [
            (0, 9, HeldReason::Before2000, 1),
            (10, 14, HeldReason::Ahead, 2)
        ]
    );
    assert_eq!(store.clocks_to_look_at().await.unwrap(), (3, 0));

    let asked = |first, last, offset| {
        let store = store.clone();
        async move {
            store
                .restamp(
                    origin(1),
                    &restamp(first, last, offset),
                    &note(),
                    received(),
                )
                .await
        }
    };
    assert!(matches!(
        asked(100, 120, 0).await,
        Err(ClockError::NoRecords)
    ));
    assert!(matches!(
        asked(0, 14, 0).await,
        Err(ClockError::Impossible { record: 0 })
    ));
    assert!(matches!(
        asked(3, 4, -early).await,
        Err(ClockError::Impossible { record: 0 })
    ));
    assert_eq!(
        store.clocks_to_look_at().await.unwrap().0,
        3,
        "all or nothing"
    );
    let released = Restamp {
        correction: None,
        ..restamp(10, 14, 0)
    };
    let refused = store
        .restamp(origin(1), &released, &note(), received())
        .await;
    assert!(matches!(
        refused,
        Err(ClockError::Impossible { record: 10 })
    ));

    assert_eq!(asked(0, 9, -early).await.unwrap().batches, 2);
    assert_eq!(asked(10, 14, -late).await.unwrap().batches, 1);
    assert_eq!(plain(&points(&store).await), expected(&made));
    let stamps = clock(&store).await.stamps;
    assert_eq!(stamps[0].cause, StampCause::Person);
    assert_eq!(stamps[1].note, Some(note()));
    assert_eq!(stamps[1].batches, 2);
    // A year later the last one was a mistake: what is sent stays, so it can be taken back.
    let released = store
        .restamp(origin(1), &released, &note(), at(400 * 86_400))
        .await
        .unwrap();
    assert_eq!(
        released.from,
        Some(Timestamp::from_micros(made[2].times()[0] + late))
    );
}

#[tokio::test]
async fn a_person_is_not_overruled_and_an_unset_batch_is_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let store = scene(folder.path()).await;
    let booted = at(1_000).as_micros();
    let made = boot(
        1,
        booted,
        0,
        &[
            (ClockQuality::Unset, -booted),
            (ClockQuality::Synchronised, 0),
        ],
    );
    send(&store, &made[..1]).await;
    let partly = store
        .restamp(origin(1), &restamp(1, 4, booted), &note(), received())
        .await;
    assert!(matches!(
        partly,
        Err(ClockError::Partly { first: 0, last: 4 })
    ));
    store
        .restamp(
            origin(1),
            &restamp(0, 4, booted + HOUR),
            &note(),
            received(),
        )
        .await
        .unwrap();
    send(&store, &made[1..]).await;
    assert_eq!(store.settle_clocks(received()).await.unwrap().stamped, 0);
    let last = points(&store).await.last().copied().unwrap();
    assert_eq!(last.time.as_micros(), made[0].times()[4] + HOUR);
}

#[tokio::test]
async fn a_cloud_that_does_not_know_the_time_calls_nothing_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let store = scene(folder.path()).await;
    let made = boot(1, at(0).as_micros(), 0, &[(FREE, 0), (FREE, 0), (FREE, 0)]);
    // The machine began in 1970.
    let unset = Timestamp::from_micros(HOUR);
    store.trust_clock(false);
    let receipt = store.append(origin(1), &made[0].bytes(), unset).await;
    assert!(!receipt.unwrap().held);
    let nothing = Made {
        clock: ClockQuality::Unset,
        ..made[1]
    };
    let receipt = store.append(origin(1), &nothing.bytes(), unset).await;
    assert!(
        receipt.unwrap().held,
        "the device itself does not believe its clock"
    );
    store.trust_clock(true);
    let far = Made {
        wrong_us: 365 * DAY,
        ..made[2]
    };
    let receipt = store.append(origin(1), &far.bytes(), unset).await.unwrap();
    assert!(receipt.held);
    assert_eq!(
        store.newest().await.unwrap(),
        made[0]
            .times()
            .last()
            .map(|time| Timestamp::from_micros(*time))
    );
    // What turns out wrong later is set right, and the newest time with it.
    store
        .restamp(origin(1), &restamp(0, 4, -DAY), &note(), received())
        .await
        .unwrap();
    assert_eq!(
        store.newest().await.unwrap(),
        Some(Timestamp::from_micros(made[0].times()[4] - DAY))
    );
}
