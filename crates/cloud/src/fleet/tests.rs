//! Contact and log over a real catalogue.

use fieldkeep_protocol::message::{Level, State as Reported};
use fieldkeep_protocol::{ClockQuality, Epoch, Timestamp};

use super::*;
use crate::access::{SystemSession, Task, system};
use crate::pki::tests::{Bench, Identity};

fn fleet(bench: &Bench) -> Fleet {
    Fleet::new(
        bench.db.clone(),
        bench.keys.clone(),
        bench.clock.clone(),
        bench.pki.clone(),
    )
}

fn reader(bench: &Bench) -> SystemSession {
    system(Task::AdminCommand).project(bench.project)
}

async fn status(bench: &Bench, fleet: &Fleet, device: &Identity) -> Status {
    fleet
        .status(&reader(bench).grant(), device.device)
        .await
        .unwrap()
}

fn ago(bench: &Bench, seconds: i64) -> Timestamp {
    Timestamp::from_micros(bench.clock.now().as_micros() - seconds * 1_000_000)
}

#[tokio::test]
async fn contact_is_known_at_once_and_elsewhere_once_written() {
    let bench = Bench::new().await;
    let device = bench.enrol("a").await;
    let (here, elsewhere) = (fleet(&bench), fleet(&bench));
    let session = bench.pki.authenticate(&device.peer()).await.unwrap();
    assert_eq!(
        status(&bench, &here, &device).await.state,
        Condition::NeverReported
    );

    here.connected(&session).await.unwrap();
    here.expects(&session, 10_000_000);
    here.stored(&session, ago(&bench, 1), ClockQuality::Synchronised);
    here.stored(&session, ago(&bench, 500), ClockQuality::Unset);
    here.reported(
        &session,
        &Reported {
            epoch: Epoch(5),
            oldest: Some(1),
            next: 9,
            dropped_total: 2,
            journal_bytes: 77,
            uptime_s: 3,
            clock: ClockQuality::FreeRunning { age_s: 8 },
            version: "1.2.3",
        },
    );
    let known = status(&bench, &here, &device).await;
    assert_eq!((known.state, known.connected), (Condition::Reporting, true));
    assert_eq!(known.sentence, "Last record 1 s ago.");
    assert_eq!(known.last_record, Some(ago(&bench, 1)));
    assert_eq!(known.clock, Some(ClockQuality::FreeRunning { age_s: 8 }));
    // Late records say nothing of the clock as it is; newer ones do.
    here.stored(&session, ago(&bench, 500), ClockQuality::Unset);
    here.stored(&session, bench.clock.now(), ClockQuality::Synchronised);
    let newer = status(&bench, &here, &device).await;
    assert_eq!(newer.clock, Some(ClockQuality::Synchronised));
    let journal = known.journal.unwrap();
    assert_eq!(
        (journal.epoch, journal.oldest, journal.next),
        (5, Some(1), 9)
    );
    assert_eq!((journal.dropped_total, journal.bytes), (2, 77));
    assert!(!status(&bench, &elsewhere, &device).await.connected);

    here.write().await.unwrap();
    let written = status(&bench, &elsewhere, &device).await;
    assert_eq!(
        (written.state, written.connected),
        (Condition::Reporting, true)
    );
    assert_eq!(
        (written.journal, written.version),
        (Some(journal), Some("1.2.3".into()))
    );

    here.disconnected(&session);
    here.write().await.unwrap();
    assert!(
        here.contacts().is_empty(),
        "who is gone and written is not kept in memory"
    );
    assert!(!status(&bench, &here, &device).await.connected);
    bench.hands.advance(Duration::from_secs(180));
    let late = status(&bench, &here, &device).await;
    assert_eq!(late.state, Condition::Late);
    assert_eq!(late.sentence, "Last record 3 min ago; expected every 10 s.");
}

#[tokio::test]
async fn a_server_begins_with_nobody_connected() {
    let bench = Bench::new().await;
    let device = bench.enrol("a").await;
    let killed = fleet(&bench);
    let session = bench.pki.authenticate(&device.peer()).await.unwrap();
    killed.connected(&session).await.unwrap();
    killed.write().await.unwrap();
    let fresh = fleet(&bench);
    assert!(status(&bench, &fresh, &device).await.connected);
    fresh.forget_connections().await.unwrap();
    assert!(!status(&bench, &fresh, &device).await.connected);
}

#[tokio::test]
async fn every_device_has_its_own_status() {
    let bench = Bench::new().await;
    let one = bench.enrol("one").await;
    bench.hands.advance(Duration::from_secs(1));
    let other = bench.enrol("other").await;
    let fleet = fleet(&bench);
    let session = bench.pki.authenticate(&one.peer()).await.unwrap();
    fleet.connected(&session).await.unwrap();
    fleet.stored(&session, bench.clock.now(), ClockQuality::Synchronised);
    let all = fleet.statuses(&reader(&bench).grant()).await.unwrap();
    let found: Vec<_> = all
        .iter()
        .map(|(device, status)| (device.id, status.state))
        .collect();
    let expected = [
        (one.device, Condition::Reporting),
        (other.device, Condition::NeverReported),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_log_is_read_newest_first_in_pages() {
    let bench = Bench::new().await;
    let device = bench.enrol("a").await;
    let fleet = fleet(&bench);
    for number in 0..5 {
        let text = format!("line {number}");
        fleet
            .log(bench.project, device.device, Level::Info, "test", &text)
            .await
            .unwrap();
    }
    let task = reader(&bench);
    let page = fleet
        .device_log(&task.grant(), device.device, 2, None)
        .await
        .unwrap();
    let texts: Vec<_> = page.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["line 4", "line 3"]);
    let last = page.last().map(|line| line.id);
    let page = fleet
        .device_log(&task.grant(), device.device, 9, last)
        .await
        .unwrap();
    assert_eq!(page.len(), 3);
    assert_eq!(
        (page[0].source, page[0].level),
        (LineSource::Cloud, Level::Info)
    );
}

#[tokio::test]
async fn the_log_keeps_its_newest_ten_thousand_lines() {
    let bench = Bench::new().await;
    let [device, other] = [bench.enrol("a").await, bench.enrol("b").await];
    let fleet = fleet(&bench);
    fleet
        .log(bench.project, other.device, Level::Info, "other", "stays")
        .await
        .unwrap();
    let mut transaction = bench.db.begin().await.unwrap();
    for _ in 0..10_100 {
        transaction
            .execute(
                "INSERT INTO device_log (project, device, at_us, level, source, code, text_sealed)
                 VALUES ($1, $2, 0, 1, 'cloud', 'old', $1)",
                &[
                    bench.project.as_bytes().into(),
                    device.device.as_bytes().into(),
                ],
            )
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    fleet
        .log(bench.project, device.device, Level::Info, "new", "newest")
        .await
        .unwrap();
    let rows = bench
        .db
        .fetch_all(
            "SELECT count(*) FROM device_log GROUP BY device ORDER BY 1",
            &[],
        )
        .await
        .unwrap();
    let counts: Vec<_> = rows.iter().map(|row| row.i64(0).unwrap()).collect();
    assert_eq!(counts, [1, 10_000]);
}

#[tokio::test]
async fn another_projects_device_is_not_found() {
    let bench = Bench::new().await;
    let device = bench.enrol("a").await;
    let fleet = fleet(&bench);
    let stranger = bench.add_project().await;
    let task = system(Task::AdminCommand).project(stranger);
    let refused = fleet
        .status(&task.grant(), device.device)
        .await
        .unwrap_err();
    assert!(matches!(refused, FleetError::NotFound));
    let refused = fleet
        .device_log(&task.grant(), device.device, 9, None)
        .await
        .unwrap_err();
    assert!(matches!(refused, FleetError::NotFound));
    assert!(fleet.statuses(&task.grant()).await.unwrap().is_empty());
}
