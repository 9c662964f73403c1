//! A logger that slept past its certificate's end: it renews with a new key, then delivers what it kept.
//! Both ends run in this process, on clocks that jump together by a season.

use std::future::ready;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use fieldkeep_cloud::access::{Task, system};
use fieldkeep_cloud::clock::{Clock, Hands};
use fieldkeep_cloud::config::Config;
use fieldkeep_cloud::pki::NewClaim;
use fieldkeep_cloud::serve::Running;
use fieldkeep_logger::enroll::{self, Invitation};
use fieldkeep_logger::folder::Folder;
use fieldkeep_logger::logger::{Logger, Options, Summary};
use fieldkeep_logger::shell::clock::Clock as LoggerClock;
use fieldkeep_protocol::ProjectId;
use fieldkeep_sim::{folder, wait};

const DAY: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_millis(50);

/// A cloud whose clock can be moved, and goes on by itself.
struct Cloud {
    running: Running,
    ticking: tokio::task::JoinHandle<()>,
}

impl Cloud {
    async fn start(folder: &Path, offset: Duration, ports: [u16; 3]) -> Result<Self> {
        let mut start = Clock::system().now();
        start = start
            .checked_add_micros(i64::try_from(offset.as_micros())?)
            .unwrap_or(start);
        let (clock, hands) = Clock::manual(start);
        let mut config = Config {
            data: folder.join("cloud"),
            master_key: Some(folder.join("master.key")),
            ..Config::default()
        };
        let addresses = [&mut config.https, &mut config.device, &mut config.mqtt];
        for (address, port) in addresses.into_iter().zip(ports) {
            *address = ([127, 0, 0, 1], port).into();
        }
        let running = Running::start(config, clock).await?;
        Ok(Self {
            running,
            ticking: tokio::spawn(tick(hands)),
        })
    }

    async fn stop(self) {
        self.ticking.abort();
        self.running.stop().await;
    }

    fn ports(&self) -> Result<[u16; 3]> {
        let ready = self.running.ready();
        let port = |name: &str| -> Result<u16> {
            let text = ready[name].as_str().unwrap_or_default();
            Ok(text.rsplit(':').next().unwrap_or_default().parse()?)
        };
        Ok([port("https")?, port("device")?, port("mqtt")?])
    }
}

async fn tick(hands: Hands) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        hands.advance(TICK);
    }
}

async fn enrol(cloud: &Cloud, folder: &Folder) -> Result<ProjectId> {
    let base = &cloud.running.server.base;
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
    let invitation = Invitation::Line(claim.line.parse()?);
    let options = enroll::Options {
        driver: None,
        force: false,
    };
    let now_s = Clock::system().now().as_micros() / 1_000_000;
    enroll::enroll(folder, &invitation, options, u64::try_from(now_s)?).await?;
    Ok(project)
}

/// Runs the logger until everything it sampled (and at least `records`) is acknowledged.
async fn run(folder: &Folder, clock: &LoggerClock, records: u64) -> Result<Summary> {
    let options = Options {
        backoff_most: Duration::from_secs(2),
        clock: clock.clone(),
        ..Options::default()
    };
    let logger = Logger::open(folder.clone(), options)?;
    let watch = logger.watch();
    let delivered = async {
        wait::until("everything acknowledged", || {
            let sums = watch.summary();
            ready((sums.sampled >= records && sums.acknowledged >= sums.sampled).then_some(()))
        })
        .await;
    };
    Ok(Box::pin(logger.run(delivered)).await)
}

#[tokio::test]
async fn an_expired_certificate_is_renewed_and_what_waited_is_delivered() -> Result<()> {
    let place = folder();
    let cloud = Cloud::start(place.path(), Duration::ZERO, [0; 3]).await?;
    let ports = cloud.ports()?;
    let logger = Folder::at(place.path().join("logger"));
    std::fs::create_dir_all(logger.path())?;
    std::fs::write(
        logger.config(),
        "[sampling]\ninterval = \"100ms\"\n[reporting]\nbatch_records = 5\n[[driver]]\nkind = \"simulated\"\nseed = 3\n",
    )?;
    let project = enrol(&cloud, &logger).await?;
    let clock = LoggerClock::system();
    run(&logger, &clock, 10).await?;
    let before = std::fs::read(logger.certificate())?;
    let key_before = std::fs::read(logger.key())?;
    cloud.stop().await;

    // 120 days: the 90 of the certificate are over, for the server's own as well.
    clock.skew(i64::try_from((DAY * 120).as_micros())?);
    let cloud = Cloud::start(place.path(), DAY * 120, ports).await?;
    let sums = run(&logger, &clock, 10).await?;
    assert_eq!(
        (sums.waiting, sums.dropped, sums.lost),
        (0, 0, 0),
        "{sums:?}"
    );
    assert_ne!(
        std::fs::read(logger.certificate())?,
        before,
        "the certificate was renewed"
    );
    assert_ne!(std::fs::read(logger.key())?, key_before, "with a new key");

    let session = system(Task::AdminCommand).project(project);
    let base = &cloud.running.server.base;
    let devices = base.pki.devices(&session.grant()).await?;
    let device = devices.first().map(|device| device.id).expect("the buoy");
    let totals = cloud
        .running
        .server
        .series
        .totals(&session.grant(), device)
        .await?;
    assert!(totals.records >= 20, "both seasons are stored: {totals:?}");
    cloud.stop().await;
    Ok(())
}
