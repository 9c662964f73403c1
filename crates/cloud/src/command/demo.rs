//! `fieldkeep demo`: a whole system on this machine, from nothing to a live chart.
//!
//! Starts the cloud in this process and two real loggers as processes of their
//! own, enrolled through the same door as any other device. Owns the demo's
//! folder: `cloud/` (what `serve --data` gets), `loggers/NAME/`, and, apart from
//! both, the master key. Adds nothing to the product that `serve` and
//! `fieldkeep-logger` do not do.

mod loggers;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fieldkeep_protocol::ProjectId;

use super::{Failure, Listen, admin, print_line, say};
use crate::access::{self, Role, Task};
use crate::clock::Clock;
use crate::config::Config;
use crate::serve::{Base, Running, Server};
use loggers::{Logger, Sums};

const PROJECT: &str = "Demo";
const OPERATOR: &str = "operator@localhost";
/// How long the ends wait for each other before the demo gives up on a clean stop.
const STOP: Duration = Duration::from_secs(20);

/// A whole system on this machine: cloud, this machine's sensors, a simulated river station
///
/// Everything is kept in one folder; a second start goes on with the same data.
///
/// Examples:
///   fieldkeep demo
///   fieldkeep demo --exit-after 60s
///   fieldkeep demo --name gauges.example.org --https 0.0.0.0:8443
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Where everything of the demo is kept
    #[arg(long, default_value = "demo")]
    dir: PathBuf,
    /// End by itself after this long (60s, 5min, 1h), with a summary
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    exit_after: Option<Duration>,
    #[command(flatten)]
    listen: Listen,
    /// Print one JSON object a line instead of plain lines
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut interrupt = super::Interrupt::listen()?;
    let demo = Demo::start(&arguments).await?;
    let ended = tokio::select! {
        () = interrupt.told() => Ok(()),
        () = sleep_for(arguments.exit_after) => Ok(()),
        failure = demo.watch() => Err(failure),
    };
    let stopped = demo.stop(arguments.json).await;
    ended?;
    stopped
}

async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

struct Demo {
    running: Running,
    project: ProjectId,
    loggers: tokio::sync::Mutex<Vec<Logger>>,
}

impl Demo {
    async fn start(arguments: &Arguments) -> Result<Self, Failure> {
        let step = |line: &str| say(arguments.json, "step", line);
        let config = configuration(arguments).await?;
        step(&format!("Cloud: data in {}", config.data.display()));
        let running = Running::start(config, Clock::system()).await?;
        step(&format!("Cloud: ready at https://{}", running.authority()));
        let project = demo_project(&running.server.base).await?;
        step(&format!("Project {PROJECT}: {project}"));
        let mut loggers = Vec::new();
        for plan in loggers::plans() {
            let folder = arguments.dir.join("loggers").join(plan.folder);
            let mut logger = Logger::new(plan, folder);
            let known = logger.enrol(&running.server.base, project).await?;
            step(&format!("Logger {}: {known}", logger.name()));
            logger.start().await?;
            step(&format!("Logger {}: running", logger.name()));
            loggers.push(logger);
        }
        announce(&running, project, arguments).await?;
        Ok(Self {
            running,
            project,
            loggers: loggers.into(),
        })
    }

    /// Comes back only when a logger ended by itself.
    async fn watch(&self) -> anyhow::Error {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            for logger in self.loggers.lock().await.iter_mut() {
                if let Some(failure) = logger.ended() {
                    return failure;
                }
            }
        }
    }

    /// Loggers first, so that what they sampled is delivered; then the cloud, whatever failed before.
    async fn stop(self, json: bool) -> Result<(), Failure> {
        say(json, "step", "Stopping …");
        let mut loggers = self.loggers.into_inner();
        let sums = stop_loggers(&mut loggers).await;
        let stored = stored(&self.running.server, self.project, &loggers).await;
        self.running.stop().await;
        let (sums, stored) = (sums?, stored?);
        let line = format!(
            "Records sampled {}, acknowledged {}, stored in all {stored}",
            sums.sampled, sums.acknowledged
        );
        say(json, "summary", &line);
        Ok(())
    }
}

async fn stop_loggers(loggers: &mut [Logger]) -> Result<Sums> {
    let mut sums = Sums::default();
    let mut failed = None;
    for logger in loggers {
        match logger.stop(STOP).await {
            Ok(one) => {
                sums.sampled += one.sampled;
                sums.acknowledged += one.acknowledged;
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(sums), Err)
}

/// Ports that a first user remembers, on this machine alone unless it has a name; others where those are taken.
async fn configuration(arguments: &Arguments) -> Result<Config, Failure> {
    let cloud = arguments.dir.join("cloud");
    tokio::fs::create_dir_all(&cloud)
        .await
        .with_context(|| format!("cannot make {}", cloud.display()))?;
    let mut config = Config {
        data: cloud,
        master_key: Some(arguments.dir.join("master.key")),
        ..Config::default()
    };
    // One click and in: what the demo shows is made up, and its pages say so.
    config.sessions.second_factor_optional = true;
    for address in [&mut config.https, &mut config.device, &mut config.mqtt] {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    arguments.listen.apply(&mut config);
    for address in [&mut config.https, &mut config.device, &mut config.mqtt] {
        if address.port() != 0 && std::net::TcpListener::bind(*address).is_err() {
            let taken = format!("Port {} is taken: using another", address.port());
            say(arguments.json, "step", &taken);
            *address = SocketAddr::new(address.ip(), 0);
        }
    }
    Ok(config)
}

/// The demo's project and its operator, found again at a second start.
async fn demo_project(base: &Base) -> Result<ProjectId> {
    let task = access::system(Task::Demo);
    let known = base.projects.all(task).await?;
    let project = match known.into_iter().find(|project| project.name == PROJECT) {
        Some(project) => project.id,
        None => {
            base.projects
                .create(&task.operator(), PROJECT, "UTC")
                .await?
                .id
        }
    };
    Ok(project)
}

async fn announce(running: &Running, project: ProjectId, arguments: &Arguments) -> Result<()> {
    let base = &running.server.base;
    let link = admin::sign_in_link(base, OPERATOR).await?;
    let session = access::system(Task::Demo).project(project);
    base.access
        .set_member(&session.grant(), OPERATOR, Role::Administrator)
        .await?;
    let fingerprint = running.certificate_fingerprint();
    if arguments.json {
        let mut ready = running.ready();
        ready["link"] = link.into();
        ready["fingerprint"] = fingerprint.into();
        print_line(&ready.to_string());
        return Ok(());
    }
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "fieldkeep".to_owned());
    let dir = arguments.dir.display();
    print_line(&format!(
        "\nSign in, once, within 15 minutes:\n  {link}\nAnother link at any time:\n  {program} admin sign-in-link \
         {OPERATOR} --data {dir}/cloud --master-key {dir}/master.key\n\
         Your browser will warn that it does not know this server. Its certificate's SHA-256 fingerprint:\n  \
         {fingerprint}\nCtrl-C stops everything; the next start goes on with the same data."
    ));
    Ok(())
}

async fn stored(server: &Server, project: ProjectId, loggers: &[Logger]) -> Result<u64> {
    let session = access::system(Task::Demo).project(project);
    let mut records = 0;
    for logger in loggers {
        let device = logger.device()?;
        records += server
            .series
            .totals(&session.grant(), device)
            .await?
            .records;
    }
    Ok(records)
}
