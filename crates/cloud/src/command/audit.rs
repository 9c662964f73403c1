//! `fieldkeep audit …`: questions about the past that an auditor asks, on the machine that holds the data.

use anyhow::Context as _;
use clap::Subcommand;
use fieldkeep_protocol::Timestamp;
use serde_json::{Value, json};

use super::{Failure, Place, admin, print_line};
use crate::access::{self, Had, HadAccess, Locations, Task};
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::serve::Base;

/// Who could do what, at any time since the project was made
///
/// Example:
///   fieldkeep audit access --project "Tide gauges" --at 2026-03-01T12:00:00Z --data DIR
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List everybody who had access to a project at a time, keys included, and who gave it to them
    Access {
        /// The project, by id or name
        #[arg(long)]
        project: String,
        /// The time, such as 2026-03-01T12:00:00Z [default: now]
        #[arg(long, value_name = "TIME", value_parser = time)]
        at: Option<Timestamp>,
    },
}

fn time(text: &str) -> Result<Timestamp, String> {
    rfc3339::parse(text).map_err(|_| "a time such as 2026-03-01T12:00:00Z".to_owned())
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = Config::default();
    arguments.place.apply(&mut config);
    let base = Base::existing(&config, Clock::system()).await?;
    let Verb::Access { project, at } = arguments.verb;
    let project = admin::find(&base, &project).await?;
    let at = at.unwrap_or_else(|| base.clock.now());
    let session = access::system(Task::AdminCommand).project(project);
    let found = base
        .access
        .access_at(&session.grant(), at)
        .await
        .map_err(anyhow::Error::from)
        .context("who had access cannot be told")?;
    if arguments.json {
        let items: Vec<Value> = found.iter().map(json_of).collect();
        let answer = json!({
            "project": project.to_string(), "at": rfc3339::format(at), "items": items,
        });
        print_line(&answer.to_string());
        return Ok(());
    }
    print_line(&format!("{project} at {}", rfc3339::format(at)));
    for had in &found {
        print_line(&line_of(had));
    }
    if found.is_empty() {
        print_line("Nobody had access.");
    }
    Ok(())
}

fn places(locations: &Locations) -> Option<Vec<String>> {
    match locations {
        Locations::All => None,
        Locations::Only(locations) => Some(locations.iter().map(ToString::to_string).collect()),
    }
}

fn json_of(had: &HadAccess) -> Value {
    let mut value = json!({
        "role": had.role.name(),
        "locations": places(&had.locations),
        "since": rfc3339::format(had.since),
        "until": had.until.map(rfc3339::format),
        "granted_by": had.by.map(|person| person.to_string()),
    });
    let who = match &had.who {
        Had::Person {
            id,
            email,
            name,
            emergency,
        } => json!({
            "kind": "person", "id": id.to_string(), "email": email, "name": name, "emergency": emergency,
        }),
        Had::Key { id, name, prefix } => json!({
            "kind": "key", "id": id.to_string(), "name": name, "prefix": prefix,
        }),
    };
    if let (Value::Object(value), Value::Object(who)) = (&mut value, who) {
        value.extend(who);
    }
    value
}

fn line_of(had: &HadAccess) -> String {
    let who = match &had.who {
        Had::Person {
            id,
            email,
            emergency,
            ..
        } => {
            let how = if *emergency { ", in an emergency" } else { "" };
            format!("{email} ({id}{how})")
        }
        Had::Key { id, name, prefix } => format!("key {name:?} {prefix}… ({id})"),
    };
    let reach = places(&had.locations).map_or_else(
        || "the whole project".to_owned(),
        |locations| locations.join(", "),
    );
    let until = had.until.map_or_else(
        || "without an end".to_owned(),
        |until| format!("until {}", rfc3339::format(until)),
    );
    let by = had
        .by
        .map_or_else(|| "the program".to_owned(), |person| person.to_string());
    format!(
        "{:13}  {who}: {reach}, since {}, {until}, given by {by}",
        had.role.name(),
        rfc3339::format(had.since),
    )
}
