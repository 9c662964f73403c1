//! Loggers whose clocks are wrong: every record arrives, and is read at the time at which it was taken. Both ends run in
//! this process; the logger's clock is skewed by hand.

use std::future::ready;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fieldkeep_cloud::access::{SystemSession, Task, system};
use fieldkeep_cloud::clock::Clock;
use fieldkeep_cloud::config::Config;
use fieldkeep_cloud::pki::NewClaim;
use fieldkeep_cloud::serve::Running;
use fieldkeep_logger::enroll::{self, Invitation};
use fieldkeep_logger::folder::Folder;
use fieldkeep_logger::logger::{Logger, Options};
use fieldkeep_logger::shell::clock::Clock as LoggerClock;
use fieldkeep_protocol::{DeviceId, Timestamp};
use fieldkeep_sim::{folder, wait};
use fieldkeep_store::{DeviceClock, Point, ProposalState, Restamp, TimeRange};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// How far a record may be from its true time: the logger and the cloud agree within two seconds.
const NEAR: i64 = 3 * SECOND;

struct Scene {
    running: Running,
    session: SystemSession,
    device: DeviceId,
    folder: Folder,
    clock: LoggerClock,
    began: Timestamp,
}

impl Scene {
    async fn open(place: &Path) -> Result<Self> {
        let mut config = Config {
            data: place.join("cloud"),
            master_key: Some(place.join("master.key")),
            ..Config::default()
        };
        for address in [&mut config.https, &mut config.device, &mut config.mqtt] {
            *address = ([127, 0, 0, 1], 0).into();
        }
        let began = Clock::system().now();
        let running = Running::start(config, Clock::system()).await?;
        let folder = Folder::at(place.join("logger"));
        std::fs::create_dir_all(folder.path())?;
        std::fs::write(
            folder.config(),
            "[sampling]\ninterval = \"100ms\"\n[reporting]\nbatch_records = 5\n[[driver]]\nkind = \"simulated\"\nseed = 3\n",
        )?;
        let base = &running.server.base;
        let project = base
            .projects
            .create(&system(Task::AdminCommand).operator(), "Reef", "UTC")
            .await?
            .id;
        let session = system(Task::AdminCommand).project(project);
        let new = NewClaim {
            name: "Buoy".to_owned(),
            simulated: true,
            location: None,
        };
        let claim = base.pki.create_claim(&session.grant(), new).await?;
        let options = enroll::Options {
            driver: None,
            force: false,
        };
        let now_s = u64::try_from(began.as_micros() / SECOND)?;
        let invitation = Invitation::Line(claim.line.parse()?);
        enroll::enroll(&folder, &invitation, options, now_s).await?;
        let devices = base.pki.devices(&session.grant()).await?;
        let device = devices.first().context("the buoy")?.id;
        Ok(Self {
            running,
            session,
            device,
            folder,
            clock: LoggerClock::system(),
            began,
        })
    }

    fn logger(&self) -> Result<Logger> {
        let options = Options {
            backoff_most: Duration::from_secs(1),
            clock: self.clock.clone(),
            ..Options::default()
        };
        Ok(Logger::open(self.folder.clone(), options)?)
    }

    /// Runs the logger; its clock is set wrong by each of these, one after the other, for so many acknowledged records.
    /// Answers how many records it took.
    async fn run(&self, clocks: &[(i64, u64)]) -> Result<u64> {
        if let Some((first, _)) = clocks.first() {
            self.clock.skew(*first);
        }
        let logger = self.logger()?;
        let watch = logger.watch();
        let through = async {
            for (skew_us, records) in clocks {
                self.clock.skew(*skew_us);
                let until = watch.summary().acknowledged + records;
                wait::until("records acknowledged", || {
                    ready((watch.summary().acknowledged >= until).then_some(()))
                })
                .await;
            }
            let taken = watch.summary().sampled;
            wait::until("everything acknowledged", || {
                ready((watch.summary().acknowledged >= taken).then_some(()))
            })
            .await;
        };
        let sums = Box::pin(logger.run(through)).await;
        assert_eq!(
            (sums.waiting, sums.dropped, sums.lost),
            (0, 0, 0),
            "{sums:?}"
        );
        Ok(sums.sampled)
    }

    async fn clocks(&self) -> Result<DeviceClock> {
        let series = &self.running.server.series;
        series.settle_clocks().await?;
        let grant = self.session.grant();
        Ok(series.device_clock(&grant, self.device).await?)
    }

    async fn decide(&self, confirmed: bool) -> Result<usize> {
        let open: Vec<_> = self
            .clocks()
            .await?
            .proposals
            .into_iter()
            .filter(|proposal| proposal.state == ProposalState::Open)
            .collect();
        for proposal in &open {
            let grant = self.session.grant();
            let series = &self.running.server.series;
            series
                .decide_clock_proposal(
                    &grant,
                    self.device,
                    proposal.id,
                    confirmed,
                    "seen in the sim",
                )
                .await?;
        }
        Ok(open.len())
    }

    /// The points of one element at any time.
    async fn points(&self) -> Result<Vec<Point>> {
        let grant = self.session.grant();
        let server = &self.running.server;
        let elements = server.base.projects.elements(&grant).await?;
        let element = elements.first().context("an element")?.id;
        let range = TimeRange {
            from: Timestamp::from_micros(0),
            to: Timestamp::from_micros(self.began.as_micros() + 10 * 366 * DAY),
        };
        let page = server
            .series
            .scan(&grant, element, range, None, 100_000)
            .await?;
        Ok(page.points)
    }

    /// Every one of so many records is read, at a time at which this test ran.
    async fn all_are_right(&self, records: u64) -> Result<()> {
        let points = self.points().await?;
        assert_eq!(points.len() as u64, records, "each record is read once");
        let (from, to) = (
            self.began.as_micros() - NEAR,
            Clock::system().now().as_micros() + NEAR,
        );
        for point in &points {
            let time = point.time.as_micros();
            assert!((from..to).contains(&time), "{time} is not in {from}..{to}");
        }
        Ok(())
    }
}

#[tokio::test]
async fn records_of_an_unset_clock_are_read_at_their_times() -> Result<()> {
    let place = folder();
    let scene = Scene::open(place.path()).await?;
    // A machine without a battery: 1970. The cloud is not there for a while, then says the time.
    let taken = scene.run(&[(-scene.began.as_micros(), 30)]).await?;
    let known = scene.clocks().await?;
    assert!(known.held.is_empty(), "{:?}", known.held);
    assert!(
        !known.stamps.is_empty(),
        "some came before the time was known"
    );
    scene.all_are_right(taken).await?;
    scene.running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_step_is_proposed_and_when_confirmed_every_record_is_right() -> Result<()> {
    for step in [HOUR, -HOUR, 20 * HOUR] {
        let place = folder();
        let scene = Scene::open(place.path()).await?;
        let taken = scene.run(&[(0, 20), (step, 20), (0, 20)]).await?;
        let readable = scene.points().await?.len() as u64;
        assert_eq!(readable, taken, "a proposal hides nothing");
        assert!(scene.decide(true).await? > 0, "step {step}");
        scene.all_are_right(taken).await?;
        scene.running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_step_by_more_than_a_day_is_held_and_proposed() -> Result<()> {
    for step in [2 * DAY, 365 * DAY] {
        let place = folder();
        let scene = Scene::open(place.path()).await?;
        let taken = scene.run(&[(0, 20), (step, 20), (0, 20)]).await?;
        let held: u64 = scene
            .clocks()
            .await?
            .held
            .iter()
            .map(|range| range.records)
            .sum();
        assert!(held > 0, "step {step}");
        assert_eq!(
            scene.points().await?.len() as u64 + held,
            taken,
            "nothing is dropped"
        );
        assert!(scene.decide(true).await? > 0, "step {step}");
        assert!(scene.clocks().await?.held.is_empty());
        scene.all_are_right(taken).await?;
        scene.running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_clock_that_falls_back_by_a_year_is_unset_and_heals() -> Result<()> {
    let place = folder();
    let scene = Scene::open(place.path()).await?;
    let taken = scene.run(&[(0, 20), (-365 * DAY, 20)]).await?;
    // In this start the cloud has said the time before: a synchronised batch of the same boot tells.
    let known = scene.clocks().await?;
    assert!(known.held.is_empty(), "{:?}", known.held);
    scene.all_are_right(taken).await?;
    scene.running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_logger_that_starts_a_year_ahead_connects_and_is_set_right() -> Result<()> {
    let place = folder();
    let scene = Scene::open(place.path()).await?;
    // By its clock the cloud's certificate and its own have run out long ago.
    let taken = scene.run(&[(365 * DAY, 30)]).await?;
    let known = scene.clocks().await?;
    scene.decide(true).await?;
    // What it took before it met the cloud may be one batch alone: held, with the times that it could have.
    for range in scene.clocks().await?.held {
        let (offset_us, _) = range.proposed.context("the same boot tells the time")?;
        let wanted = Restamp {
            epoch: range.epoch,
            first: range.first,
            last: range.last,
            correction: Some(fieldkeep_store::ClockCorrection {
                offset_us,
                drift: None,
                error_us: Some(NEAR),
            }),
        };
        let grant = scene.session.grant();
        let series = &scene.running.server.series;
        series
            .restamp(&grant, scene.device, &wanted, "a year ahead")
            .await?;
    }
    assert!(!known.held.is_empty() || !known.stamps.is_empty());
    scene.all_are_right(taken).await?;
    scene.running.stop().await;
    Ok(())
}
