//! Loggers whose clocks are wrong: every record arrives, and is read at the time at which it was taken. Both ends run in
//! this process, so that the logger's clock can be skewed; a person acts over the REST API.

use std::future::ready;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fieldkeep_cloud::access::{Locations, NewApiKey, Role, SystemSession, Task, system};
use fieldkeep_cloud::clock::Clock;
use fieldkeep_cloud::config::Config;
use fieldkeep_cloud::pki::NewClaim;
use fieldkeep_cloud::serve::Running;
use fieldkeep_logger::enroll::{self, Invitation};
use fieldkeep_logger::folder::Folder;
use fieldkeep_logger::logger::{Logger, Options};
use fieldkeep_logger::shell::clock::Clock as LoggerClock;
use fieldkeep_protocol::{DeviceId, Timestamp};
use fieldkeep_sim::client::Client;
use fieldkeep_sim::{folder, wait};
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// How far a record may be from its true time: the logger and the cloud agree within two seconds.
const NEAR: i64 = 3 * SECOND;

struct Scene {
    running: Running,
    config: Config,
    session: SystemSession,
    device: DeviceId,
    client: Client,
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
        let running = Running::start(config.clone(), Clock::system()).await?;
        // The same ports when it starts again.
        let ready = running.ready();
        let port = |name: &str| -> Result<u16> {
            let text = ready[name].as_str().unwrap_or_default();
            Ok(text.rsplit(':').next().unwrap_or_default().parse()?)
        };
        config.https.set_port(port("https")?);
        config.device.set_port(port("device")?);
        config.mqtt.set_port(port("mqtt")?);
        let folder = Folder::at(place.join("logger"));
        std::fs::create_dir_all(folder.path())?;
        std::fs::write(
            folder.config(),
            "[sampling]\ninterval = \"100ms\"\n[reporting]\nbatch_records = 5\n[[driver]]\nkind = \"host\"\n",
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
        let editor = NewApiKey {
            name: "sim".to_owned(),
            role: Role::Editor,
            locations: Locations::All,
            expires: None,
        };
        let (_, key) = base.access.create_api_key(&session.grant(), editor).await?;
        let ca = ready["ca"].as_str().context("the root")?;
        let client = Client::new(config.https, Path::new(ca), Some(key))?;
        Ok(Self {
            running,
            config,
            session,
            device,
            client,
            folder,
            clock: LoggerClock::system(),
            began,
        })
    }

    /// Runs the logger; its clock is set wrong by each of these, one after the other, for so many acknowledged records.
    /// Answers how many records it took.
    async fn run(&self, clocks: &[(i64, u64)]) -> Result<u64> {
        if let Some((first, _)) = clocks.first() {
            self.clock.skew(*first);
        }
        let logger = Logger::open(self.folder.clone(), options(&self.clock))?;
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

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let project = self
            .session
            .grant::<fieldkeep_cloud::access::Read>()
            .project();
        let path = format!("/api/v1/projects/{project}/{path}");
        let (status, answer) = self.client.send(method, &path, body).await?;
        ensure!(status == 200, "{method} {path}: {status} {answer}");
        Ok(answer)
    }

    async fn clocks(&self) -> Result<Value> {
        self.running.server.series.settle_clocks().await?;
        self.ask("GET", &format!("devices/{}/clock", self.device), None)
            .await
    }

    async fn tell(&self, what: &str, body: Value) -> Result<()> {
        let path = format!("devices/{}/clock/{what}", self.device);
        self.ask("POST", &path, Some(body)).await?;
        Ok(())
    }

    /// Confirms every open proposal; answers how many.
    async fn confirm(&self) -> Result<usize> {
        let known = self.clocks().await?;
        let all = list(&known["proposals"]);
        let open = || all.iter().filter(|proposal| proposal["state"] == "open");
        for proposal in open() {
            let what = format!("proposals/{}/confirm", proposal["id"]);
            self.tell(&what, json!({ "reason": "seen in the sim" }))
                .await?;
        }
        Ok(open().count())
    }

    /// Gives what is held the times that it could have.
    async fn take_proposed(&self) -> Result<()> {
        let known = self.clocks().await?;
        for range in list(&known["held"]) {
            let order = json!({
                "epoch": range["epoch"], "first": range["first"], "last": range["last"],
                "offset_us": range["proposed"]["offset_us"], "error_us": range["proposed"]["error_us"],
                "reason": "the same start of the logger tells",
            });
            self.tell("stamps", order).await?;
        }
        Ok(())
    }

    /// The times of one element that is in every record, whatever they are.
    async fn times(&self) -> Result<Vec<i64>> {
        let elements = self.ask("GET", "elements?limit=1000", None).await?;
        let elements = list(&elements["items"]);
        let load = elements
            .iter()
            .find(|element| element["channel"] == "host.load.1min");
        let element = load.context("the load")?["id"]
            .as_str()
            .context("its id")?
            .to_owned();
        let mut times = Vec::new();
        // Two ranges: one query spans a bounded time.
        for (from, to) in [("1990-01-01", "2026-01-01"), ("2026-01-01", "2030-01-01")] {
            let path = format!(
                "points?element={element}&from={from}T00:00:00Z&to={to}T00:00:00Z&limit=10000"
            );
            let answer = self.ask("GET", &path, None).await?;
            ensure!(answer["next_cursor"].is_null(), "one page");
            let column = list(&answer["items"][0]["points"]["time_us"]);
            times.extend(column.iter().filter_map(Value::as_i64));
        }
        Ok(times)
    }

    /// Every one of so many records is read, at a time at which this test ran.
    async fn all_are_right(&self, records: u64) -> Result<()> {
        let times = self.times().await?;
        assert_eq!(times.len() as u64, records, "each record is read once");
        let (from, to) = (
            self.began.as_micros() - NEAR,
            Clock::system().now().as_micros() + NEAR,
        );
        for time in times {
            assert!((from..to).contains(&time), "{time} is not in {from}..{to}");
        }
        Ok(())
    }
}

fn options(clock: &LoggerClock) -> Options {
    Options {
        backoff_most: Duration::from_secs(1),
        clock: clock.clone(),
        ..Options::default()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn held_records(known: &Value) -> u64 {
    let held = list(&known["held"]).iter();
    held.filter_map(|range| range["records"].as_u64()).sum()
}

#[tokio::test]
async fn records_of_an_unset_clock_are_read_at_their_times() -> Result<()> {
    let place = folder();
    let mut scene = Scene::open(place.path()).await?;
    // A machine without a battery begins in 1970, and the cloud is away for a while.
    scene.clock.skew(-scene.began.as_micros());
    let config = scene.config.clone();
    scene.running.stop().await;
    let logger = scene.folder.clone();
    let logger = Logger::open(logger, options(&scene.clock))?;
    let watch = logger.watch();
    let through = async {
        wait::until("records taken", || {
            ready((watch.summary().sampled >= 20).then_some(()))
        })
        .await;
        let running = Running::start(config, Clock::system()).await;
        let acknowledged = async |records: u64| {
            wait::until("everything acknowledged", || {
                ready((watch.summary().acknowledged >= records).then_some(()))
            })
            .await;
        };
        // Only what is taken after the first answer is sure to be taken with a clock that is set.
        acknowledged(watch.summary().sampled).await;
        acknowledged(watch.summary().sampled + 20).await;
        running
    };
    let mut running = None;
    let sums = Box::pin(logger.run(async { running = Some(through.await) })).await;
    scene.running = running.context("the cloud is back")??;
    let taken = sums.sampled;
    assert_eq!(
        (sums.waiting, sums.dropped, sums.lost),
        (0, 0, 0),
        "{sums:?}"
    );
    let known = scene.clocks().await?;
    assert_eq!(held_records(&known), 0, "{known}");
    assert!(
        !list(&known["stamps"]).is_empty(),
        "some were taken before the time was known"
    );
    scene.all_are_right(taken).await?;
    scene.running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_step_is_proposed_and_confirmed_every_record_is_right() -> Result<()> {
    for step in [HOUR, 20 * HOUR] {
        let place = folder();
        let scene = Scene::open(place.path()).await?;
        let taken = scene.run(&[(0, 20), (step, 20), (0, 20)]).await?;
        assert_eq!(
            scene.times().await?.len() as u64,
            taken,
            "a proposal hides nothing"
        );
        assert!(scene.confirm().await? > 0, "step {step}");
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
        let held = held_records(&scene.clocks().await?);
        assert!(held > 0, "step {step}");
        let readable = scene.times().await?.len() as u64;
        assert_eq!(readable + held, taken, "nothing is dropped");
        assert!(scene.confirm().await? > 0, "step {step}");
        scene.take_proposed().await?;
        scene.all_are_right(taken).await?;
        scene.running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_clock_that_falls_back_is_set_right_by_its_ticks() -> Result<()> {
    for step in [-HOUR, -DAY, -365 * DAY] {
        let place = folder();
        let scene = Scene::open(place.path()).await?;
        let taken = scene.run(&[(0, 20), (step, 20)]).await?;
        let known = scene.clocks().await?;
        assert_eq!(held_records(&known), 0, "{known}");
        assert!(!list(&known["stamps"]).is_empty(), "step {step}");
        scene.all_are_right(taken).await?;
        scene.running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_logger_that_starts_a_year_ahead_connects_and_is_set_right() -> Result<()> {
    let place = folder();
    let scene = Scene::open(place.path()).await?;
    // By its clock the cloud's certificate and its own have run out long ago.
    let taken = scene.run(&[(365 * DAY, 30)]).await?;
    let held = held_records(&scene.clocks().await?);
    assert_eq!(
        scene.times().await?.len() as u64 + held,
        taken,
        "nothing is dropped"
    );
    scene.confirm().await?;
    scene.take_proposed().await?;
    scene.all_are_right(taken).await?;
    scene.running.stop().await;
    Ok(())
}
