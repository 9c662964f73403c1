//! Owns what each command prints and which exit code it ends with. The work is the library's.

use std::{fs, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use fieldkeep_logger::{
    clock::{Judge, build_time_us},
    config::{DriverKind, parse_duration},
    enroll::{self, EnrollError, Invitation},
    folder::{Endpoint, Folder},
    logger::{Logger, LoggerError, Options, Summary},
    shell::clock::Clock,
    status::Status,
};

#[derive(Parser)]
#[command(
    name = "fieldkeep-logger",
    version,
    about = "The datalogger of Fieldkeep",
    after_help = "First steps:\n  fieldkeep-logger enroll 'CLAIM LINE'   once, with the line that the cloud shows\n  \
                  fieldkeep-logger run                   measure and deliver, until Ctrl-C\n  \
                  fieldkeep-logger status                how it goes",
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make this machine a device of a project, with the claim line from the cloud.
    #[command(
        after_help = "Examples:\n  fieldkeep-logger enroll 'fk1:cloud.example.org:8444:CODE:FINGERPRINT'\n  \
                      fieldkeep-logger enroll --server https://cloud.example.org:8444 --ca ca.pem --code CODE --dir DIR"
    )]
    Enroll(EnrollArguments),
    /// Measure, keep and deliver, until told to stop.
    #[command(after_help = "Example: fieldkeep-logger run --dir DIR --exit-after 60s")]
    Run(RunArguments),
    /// Tell how the logger in a folder is; ends with 0 when it runs, 1 when not, 2 when the folder is not enrolled.
    #[command(after_help = "Example: fieldkeep-logger status --dir DIR")]
    Status(StatusArguments),
}

#[derive(Args)]
struct EnrollArguments {
    /// The claim line, fk1:HOST:PORT:CODE:FINGERPRINT, between single quotes.
    #[arg(required_unless_present = "server", conflicts_with_all = ["server", "ca", "code"])]
    claim: Option<String>,
    /// The cloud's device port, https://HOST:PORT, instead of a claim line.
    #[arg(long, value_name = "URL", requires = "ca", requires = "code")]
    server: Option<String>,
    /// The cloud's root certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "server")]
    ca: Option<PathBuf>,
    /// The code of the claim.
    #[arg(long, requires = "server")]
    code: Option<String>,
    /// The logger's folder [default: /var/lib/fieldkeep-logger; not as root: ~/.local/state/fieldkeep-logger].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the measurements come from, in a new settings file [default: host].
    #[arg(long)]
    driver: Option<DriverName>,
    /// Enrol anew; key, certificate and journal of before are kept under a dated name.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum DriverName {
    /// This machine's own sensors.
    Host,
    /// A made-up river station with a year of history.
    Simulated,
    /// The rows of a CSV file.
    Replay,
}

#[derive(Args)]
struct RunArguments {
    /// The logger's folder [default: /var/lib/fieldkeep-logger; not as root: ~/.local/state/fieldkeep-logger].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// End by itself after this long, such as 60s.
    #[arg(long, value_name = "DURATION")]
    exit_after: Option<String>,
    /// Also end when standard input is closed, for whoever started this as a child.
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
    /// Print start and summary as lines of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct StatusArguments {
    /// The logger's folder [default: /var/lib/fieldkeep-logger; not as root: ~/.local/state/fieldkeep-logger].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print the status as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a command and returns its exit code.
pub(crate) async fn execute(arguments: Arguments) -> u8 {
    match arguments.command {
        Command::Enroll(arguments) => enroll(arguments).await,
        Command::Run(arguments) => run(arguments).await,
        Command::Status(arguments) => status(&arguments),
    }
}

fn folder(dir: Option<PathBuf>) -> Folder {
    Folder::at(dir.unwrap_or_else(Folder::default_root))
}

async fn enroll(arguments: EnrollArguments) -> u8 {
    let folder = folder(arguments.dir.clone());
    let invitation = match invitation(&arguments) {
        Ok(invitation) => invitation,
        Err(InvitationError::Usage(message)) => {
            return fail(&message, "See `fieldkeep-logger enroll --help`.", 2);
        }
        Err(InvitationError::Enroll(error)) => {
            return fail(&error.to_string(), &error.advice(), error.exit_code());
        }
    };
    let options = enroll::Options {
        driver: arguments.driver.map(|name| match name {
            DriverName::Host => DriverKind::Host,
            DriverName::Simulated => DriverKind::Simulated,
            DriverName::Replay => DriverKind::Replay,
        }),
        force: arguments.force,
    };
    let now_s = Judge::new(build_time_us()).certificate_time_s(Clock::system().read());
    match Box::pin(enroll::enroll(&folder, &invitation, options, now_s)).await {
        Ok(enrolled) => {
            let enrolment = &enrolled.enrolment;
            let dir = folder.path().display();
            if arguments.json {
                println!(
                    "{}",
                    serde_json::json!({
                        "event": "enrolled",
                        "device": enrolment.device.to_string(),
                        "project": enrolment.project.to_string(),
                        "dir": folder.path(),
                        "mqtt": enrolment.mqtt.to_string(),
                    })
                );
                return 0;
            }
            println!(
                "enrolled as {} in project {}",
                enrolment.device, enrolment.project
            );
            println!("key, certificate and settings are in {dir}");
            if let Some(kept) = enrolled.kept {
                println!("those of before are kept in {}", kept.display());
            }
            if enrolled.settings_kept && arguments.driver.is_some() {
                println!(
                    "{} was there already and is left as it is; --driver has no effect",
                    folder.config().display()
                );
            }
            println!("next: fieldkeep-logger run --dir {dir}");
            0
        }
        Err(error) => {
            let source =
                std::error::Error::source(&error).map_or(String::new(), |s| format!(": {s}"));
            fail(
                &format!("{error}{source}"),
                &error.advice(),
                error.exit_code(),
            )
        }
    }
}

enum InvitationError {
    Usage(String),
    Enroll(EnrollError),
}

fn invitation(arguments: &EnrollArguments) -> Result<Invitation, InvitationError> {
    if let Some(line) = &arguments.claim {
        let claim = line
            .parse()
            .map_err(|e: enroll::BadClaim| InvitationError::Enroll(e.into()))?;
        return Ok(Invitation::Line(claim));
    }
    let usage = |message: String| InvitationError::Usage(message);
    let server = arguments.server.as_deref().unwrap_or_default();
    let endpoint: Endpoint = server
        .strip_prefix("https://")
        .map(|rest| rest.trim_end_matches('/'))
        .and_then(|rest| rest.parse().ok())
        .ok_or_else(|| {
            usage(format!(
                "--server must be https://HOST:PORT, not \"{server}\""
            ))
        })?;
    let path = arguments.ca.as_deref().unwrap_or(std::path::Path::new(""));
    let ca_pem =
        fs::read(path).map_err(|e| usage(format!("cannot read {}: {e}", path.display())))?;
    let code = arguments.code.clone().unwrap_or_default();
    Ok(Invitation::Given {
        endpoint,
        ca_pem,
        code,
    })
}

async fn run(arguments: RunArguments) -> u8 {
    let exit_after = match arguments
        .exit_after
        .as_deref()
        .map(|text| (text, parse_duration(text)))
    {
        None => None,
        Some((_, Some(duration))) => Some(duration),
        Some((text, None)) => {
            let message = format!("--exit-after must be a duration such as 60s, not \"{text}\"");
            return fail(&message, "See `fieldkeep-logger run --help`.", 2);
        }
    };
    let folder = folder(arguments.dir);
    let logger = match Logger::open(folder, Options::default()) {
        Ok(logger) => logger,
        Err(error) => {
            let source =
                std::error::Error::source(&error).map_or(String::new(), |s| format!(": {s}"));
            let advice = match &error {
                LoggerError::NotEnrolled(_) => {
                    "Enrol it first: fieldkeep-logger enroll 'CLAIM LINE' --dir DIR"
                }
                LoggerError::Running(_) => "Stop it first, or use another --dir.",
                LoggerError::Config(_) | LoggerError::Driver(_) => {
                    "Mend the settings in logger.toml."
                }
                _ => {
                    "Check owner and permissions of the folder; if the files are damaged, enrol anew with --force."
                }
            };
            return fail(&format!("{error}{source}"), advice, error.exit_code());
        }
    };
    if arguments.json {
        let device = logger.device().to_string();
        println!(
            "{}",
            serde_json::json!({"event": "started", "device": device, "pid": std::process::id()})
        );
    }
    let summary = Box::pin(logger.run(until_told(exit_after, arguments.stop_with_stdin))).await;
    print_summary(&summary, arguments.json);
    0
}

fn print_summary(summary: &Summary, json: bool) {
    if json {
        let mut value = serde_json::json!(summary);
        value["event"] = "summary".into();
        println!("{value}");
    } else {
        println!(
            "records sampled: {}, acknowledged: {}, waiting: {}, dropped: {}",
            summary.sampled,
            summary.acknowledged,
            summary.waiting,
            summary.dropped + summary.lost
        );
    }
}

/// Ready on SIGTERM, SIGINT, when the time is up, or (where asked for) when standard input is closed.
async fn until_told(exit_after: Option<Duration>, stop_with_stdin: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "a signal cannot be waited for");
                std::future::pending::<()>().await;
            }
        }
    };
    let time_up = async move {
        match exit_after {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    let parent_gone = async move {
        if stop_with_stdin {
            stdin_closed().await;
        } else {
            std::future::pending().await
        }
    };
    tokio::select! {
        () = parent_gone => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
        () = time_up => {}
    }
}

/// On a thread of its own: the runtime would wait for a read of standard input before it ends.
async fn stdin_closed() {
    let (closed, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = closed.send(());
    });
    let _ = end.await;
}

fn status(arguments: &StatusArguments) -> u8 {
    let folder = folder(arguments.dir.clone());
    let dir = folder.path().display();
    if !folder.enrolment().exists() {
        return fail(
            &format!("{dir} is not enrolled"),
            "Enrol it first: fieldkeep-logger enroll 'CLAIM LINE' --dir DIR",
            2,
        );
    }
    let is_running = fs::File::open(folder.lock()).is_ok_and(|lock| lock.try_lock().is_err());
    let Some(status) = Status::read(&folder.status()) else {
        let advice = format!("Start it: fieldkeep-logger run --dir {dir}");
        return fail(&format!("no logger has run in {dir} yet"), &advice, 1);
    };
    if arguments.json {
        let mut value = serde_json::json!(status);
        value["running"] = is_running.into();
        println!("{value}");
    } else {
        let now_us = Clock::system().read().wall_us;
        status
            .lines(is_running, now_us)
            .iter()
            .for_each(|line| println!("{line}"));
        if !is_running {
            println!("next: fieldkeep-logger run --dir {dir}");
        }
    }
    u8::from(!is_running)
}

fn fail(message: &str, advice: &str, code: u8) -> u8 {
    eprintln!("error: {message}");
    if !advice.is_empty() {
        eprintln!("  {advice}");
    }
    code
}
