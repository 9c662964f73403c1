//! The command line of `fieldkeep`: what people and scripts type on the machine that holds the data.
//!
//! Owns arguments, exit codes and what is printed; decides nothing else. Exit
//! codes: 0 done, 1 failed, 2 usage or configuration; 3 (denied) and 4
//! (unreachable) belong to commands that call another machine.
//! Results go to standard output, logs to standard error.

mod admin;
mod audit;
mod backup;
mod demo;
mod doctor;
mod recovery_kit;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;

use crate::config::{Config, ConfigFaults};
use crate::serve::ServeError;
use crate::{api, telemetry};

/// The datalogger cloud that you run yourself and whose record can prove itself
///
/// First steps:
///   fieldkeep demo                         everything on this machine, with a live chart
///   fieldkeep serve --data DIR             the cloud alone
///   fieldkeep admin sign-in-link EMAIL     a link to sign in with
#[derive(Debug, clap::Parser)]
#[command(
    name = "fieldkeep",
    version,
    verbatim_doc_comment,
    arg_required_else_help = true
)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    Admin(admin::Arguments),
    Audit(audit::Arguments),
    Backup(backup::BackupArguments),
    Restore(backup::RestoreArguments),
    /// Print the OpenAPI 3.1 document of the REST API
    Openapi,
}

/// Where the three listeners listen, and the name that devices and people reach them by.
#[derive(Clone, Debug, clap::Args)]
struct Listen {
    /// Where the web app and the REST API listen, as IP:PORT [default port: 8443; 0: any free one]
    #[arg(long, value_name = "ADDRESS")]
    https: Option<SocketAddr>,
    /// Where devices enrol and renew, as IP:PORT [default port: 8444]
    #[arg(long, value_name = "ADDRESS")]
    device: Option<SocketAddr>,
    /// Where the devices' MQTT over TLS listens, as IP:PORT [default port: 8883]
    #[arg(long, value_name = "ADDRESS")]
    mqtt: Option<SocketAddr>,
    /// Name or IP address by which this machine is reached; goes into certificates and claims
    /// [default: localhost]. With another name, listeners that are not given listen on all interfaces
    #[arg(long, value_name = "HOST", value_parser = host)]
    name: Option<String>,
}

impl Listen {
    fn apply(&self, config: &mut Config) {
        if let Some(name) = &self.name {
            config.name.clone_from(name);
            if name != "localhost" {
                for address in [&mut config.https, &mut config.device, &mut config.mqtt] {
                    address.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
                }
            }
        }
        let given = [self.https, self.device, self.mqtt];
        let kept = [&mut config.https, &mut config.device, &mut config.mqtt];
        for (given, kept) in given.into_iter().zip(kept) {
            if let Some(address) = given {
                *kept = address;
            }
        }
    }
}

/// Which data folder a command works on.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// The cloud's data folder [default: /var/lib/fieldkeep]
    #[arg(long, value_name = "DIR", global = true, env = "FIELDKEEP_DATA")]
    data: Option<PathBuf>,
    /// The master key's file; never inside the data folder [default: /etc/fieldkeep/master.key]
    #[arg(long, value_name = "FILE", global = true, env = "FIELDKEEP_MASTER_KEY")]
    master_key: Option<PathBuf>,
}

impl Place {
    fn apply(&self, config: &mut Config) {
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        if self.master_key.is_some() {
            config.master_key.clone_from(&self.master_key);
        }
    }
}

/// How a command failed, as its exit code says it.
#[derive(Debug)]
enum Failure {
    Failed(anyhow::Error),
    Usage(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ConfigFaults> for Failure {
    fn from(error: ConfigFaults) -> Self {
        Self::Usage(error.into())
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        if error.is_configuration() {
            Self::Usage(error.into())
        } else {
            Self::Failed(error.into())
        }
    }
}

/// Runs the command line of this process to its end.
pub fn main() -> ExitCode {
    let line = Line::parse();
    // Servers tell what they do; a command's answer is its output.
    let quiet = !matches!(line.verb, Verb::Serve(_));
    let standard = if quiet { "warn" } else { "info" };
    if let Err(fault) = telemetry::start(standard) {
        return report(&Failure::Usage(anyhow::anyhow!(fault)));
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::Failed(error.into())),
    };
    match runtime.block_on(act(line.verb)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

async fn act(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Serve(arguments) => serve::run(arguments).await,
        Verb::Demo(arguments) => Box::pin(demo::run(arguments)).await,
        Verb::Admin(arguments) => admin::run(arguments).await,
        Verb::Audit(arguments) => audit::run(arguments).await,
        Verb::Backup(arguments) => Box::pin(backup::backup(arguments)).await,
        Verb::Restore(arguments) => Box::pin(backup::restore(arguments)).await,
        Verb::Openapi => {
            print_line(&api::openapi::document());
            Ok(())
        }
    }
}

fn report(failure: &Failure) -> ExitCode {
    let (code, error) = match failure {
        Failure::Failed(error) => (1, error),
        Failure::Usage(error) => (2, error),
    };
    eprintln!("fieldkeep: {error:#}");
    ExitCode::from(code)
}

/// Prints one plain line, or the same as a JSON object.
fn say(json: bool, event: &str, text: &str) {
    if json {
        print_line(&serde_json::json!({ "event": event, "text": text }).to_string());
    } else {
        print_line(text);
    }
}

/// Whoever reads our output may go away; the work goes on, and ends in order.
fn print_line(line: &str) {
    use std::io::Write as _;
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// Told to stop by Ctrl-C or SIGTERM, from the moment this exists.
struct Interrupt {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Interrupt {
    fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A DNS name or an IP address, without a port.
fn host(text: &str) -> Result<String, String> {
    let named = text.len() <= 253
        && text.split('.').all(|label| {
            let known = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
            (1..=63).contains(&label.len()) && label.chars().all(known)
        });
    if named || text.parse::<std::net::IpAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("a name such as cloud.example.org or an IP address, without port".to_owned())
    }
}

/// Parses `60s`, `5min`, `2h` or `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no time: write 60s, 5min, 2h"))?;
    let seconds = match unit {
        "" | "s" => 1,
        "min" | "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(format!("unknown unit {unit:?}: use s, min, h or d")),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory as _;
        Line::command().debug_assert();
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for good in ["localhost", "cloud.example.org", "10.0.0.1", "2001:db8::1"] {
            assert!(host(good).is_ok(), "{good}");
        }
        for bad in ["", "bad name", "cloud:8443", "https://cloud", "a..b"] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("5min"), Ok(Duration::from_secs(300)));
        assert!(duration("5 parsecs").is_err());
        assert!(duration("").is_err());
    }
}
