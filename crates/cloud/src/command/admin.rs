//! `fieldkeep admin …`: what is done on the machine that holds the data, also beside a running server.
//!
//! Whoever can read the data folder and the master key is trusted with all of
//! it, so these commands act as the program itself ([`Task::AdminCommand`]) and
//! ask nobody. Each opens the catalogue, does one thing and ends.

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use fieldkeep_protocol::{ProjectId, Timestamp};
use serde_json::{Value, json};

use super::{Failure, Place, doctor, recovery_kit};
use crate::access::{self, Locations, NewApiKey, Role, Task};
use crate::clock::{Clock, rfc3339};
use crate::config::Config;
use crate::pki::NewClaim;
use crate::serve::{Base, Server};

/// Projects, claims, keys, sign-in links: on the machine that holds the data
///
/// Examples:
///   fieldkeep admin project create "Tide gauges" --data DIR
///   fieldkeep admin claim --project "Tide gauges" --data DIR
///   fieldkeep admin api-key --project "Tide gauges" --role viewer --data DIR
///   fieldkeep admin sign-in-link you@example.org --data DIR
///   fieldkeep admin recovery-kit --data DIR
///   fieldkeep admin doctor --data DIR
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
    /// Create or list projects
    #[command(subcommand)]
    Project(ProjectVerb),
    /// Print one line that enrols one logger, once, within 24 hours
    #[command(
        after_help = "Example: fieldkeep admin claim --project Demo --name \"Bridge\" --data DIR"
    )]
    Claim {
        /// The project, by id or name
        #[arg(long)]
        project: String,
        /// What to call the logger
        #[arg(long, default_value = "Logger")]
        name: String,
        /// Its data are made up: label them so
        #[arg(long)]
        simulated: bool,
    },
    /// Make a key for a script; it is shown once
    #[command(
        after_help = "Example: fieldkeep admin api-key --project Demo --role viewer --expires 30d --data DIR"
    )]
    ApiKey {
        /// The project, by id or name
        #[arg(long)]
        project: String,
        /// viewer, auditor, editor or administrator
        #[arg(long)]
        role: String,
        /// What the key is for, shown in the list of keys
        #[arg(long, default_value = "Command line")]
        name: String,
        /// How long it is good (7d, 12h), at most a year; or never, for a key that does not end
        #[arg(long, value_name = "TIME", default_value = "365d", value_parser = life)]
        expires: Life,
    },
    /// Let a person into a project, or change their role there
    #[command(
        after_help = "Example: fieldkeep admin member you@example.org --project Demo --role editor --data DIR"
    )]
    Member {
        /// The person's e-mail; somebody who has signed in before
        email: String,
        /// The project, by id or name
        #[arg(long)]
        project: String,
        /// viewer, auditor, editor or administrator
        #[arg(long)]
        role: String,
    },
    /// Print a link that signs an operator in, once, within 15 minutes
    #[command(
        after_help = "Example: fieldkeep admin sign-in-link you@example.org --data DIR --master-key FILE"
    )]
    SignInLink {
        /// The operator's e-mail; on an instance without people this makes the first operator
        email: String,
        /// For somebody who has lost it: take away their second factors, recovery codes and sessions
        #[arg(long)]
        reset_second_factor: bool,
    },
    /// Make somebody an operator, and print a link that signs them in, once, within 15 minutes
    #[command(
        after_help = "Example: fieldkeep admin operator second@example.org --data DIR --master-key FILE"
    )]
    Operator {
        /// Their e-mail; they need no account yet
        email: String,
    },
    /// Write the measurements' file anew without what is free in it; the server must be stopped
    #[command(
        after_help = "Needs room for a second copy of series.db. Example: fieldkeep admin rewrite --data DIR --master-key FILE"
    )]
    Rewrite,
    /// After an upgrade that must not be: put the copies from before it back; the server must be stopped
    #[command(
        after_help = "Run it with the older program. What came since stays beside as FILE.newer; loggers resend what \
                      their journals keep. Example: fieldkeep admin go-back --data DIR --master-key FILE"
    )]
    GoBack,
    /// Let people and loggers in to an instance that was restored from a backup
    #[command(
        after_help = "Two instances with the same loggers would each get a part of what they send: make sure that the old \
                      one runs no more. Example: fieldkeep admin open --data DIR --master-key FILE"
    )]
    Open,
    RecoveryKit(recovery_kit::Arguments),
    /// Look at everything that commonly goes wrong; each line is ok or says what to do
    #[command(after_help = "Example: fieldkeep admin doctor --data DIR --master-key FILE")]
    Doctor,
}

/// How long a key is good.
#[derive(Clone, Copy, Debug)]
enum Life {
    Never,
    For(std::time::Duration),
}

fn life(text: &str) -> Result<Life, String> {
    match text {
        "never" => Ok(Life::Never),
        other => super::duration(other).map(Life::For),
    }
}

#[derive(Debug, Subcommand)]
enum ProjectVerb {
    /// Make a project
    #[command(
        after_help = "Example: fieldkeep admin project create \"Tide gauges\" --zone Europe/Copenhagen --data DIR"
    )]
    Create {
        /// Its name
        name: String,
        /// The time zone of its days, an IANA name
        #[arg(long, default_value = "UTC")]
        zone: String,
    },
    /// List all projects
    List,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = Config::default();
    arguments.place.apply(&mut config);
    if matches!(arguments.verb, Verb::Doctor) {
        return doctor::run(&config, arguments.json).await;
    }
    if matches!(arguments.verb, Verb::Rewrite) {
        let bytes = Server::rewrite(&config, Clock::system()).await?;
        if arguments.json {
            println!("{}", json!({ "freed_bytes": bytes }));
        } else {
            println!(
                "series.db is {:.1} MiB smaller",
                bytes as f64 / f64::from(1 << 20)
            );
        }
        return Ok(());
    }
    if matches!(arguments.verb, Verb::GoBack) {
        let files = Server::go_back(&config, Clock::system()).await?;
        if arguments.json {
            println!("{}", json!({ "changed": files }));
        } else if files.is_empty() {
            println!("nothing is newer than this program: nothing to do");
        }
        for file in files.iter().filter(|_| !arguments.json) {
            println!("{} is as before the upgrade", file.display());
        }
        return Ok(());
    }
    if matches!(arguments.verb, Verb::Open) {
        let was_closed = Server::admit(&config, Clock::system()).await?;
        if arguments.json {
            println!("{}", json!({ "was_closed": was_closed }));
        } else if was_closed {
            println!("open: the next `fieldkeep serve` lets people and loggers in");
        } else {
            println!("it is open already: nothing to do");
        }
        return Ok(());
    }
    let base = Base::existing(&config, Clock::system()).await?;
    let answer = act(&base, arguments.verb).await?;
    if arguments.json {
        println!("{}", answer.json);
    } else {
        println!("{}", answer.text);
    }
    Ok(())
}

pub(super) struct Answer {
    pub(super) text: String,
    pub(super) json: Value,
}

async fn act(base: &Base, verb: Verb) -> Result<Answer, Failure> {
    match verb {
        Verb::Project(ProjectVerb::Create { name, zone }) => {
            create_project(base, &name, &zone).await
        }
        Verb::Project(ProjectVerb::List) => list_projects(base).await,
        Verb::Claim {
            project,
            name,
            simulated,
        } => {
            claim(
                base,
                &project,
                NewClaim {
                    name,
                    simulated,
                    location: None,
                },
            )
            .await
        }
        Verb::ApiKey {
            project,
            role,
            name,
            expires,
        } => {
            let expires = match expires {
                Life::Never => None,
                Life::For(life) => Some(later(base, life)?),
            };
            api_key(base, &project, &role, name, expires).await
        }
        Verb::Member {
            email,
            project,
            role,
        } => member(base, &project, &role, &email).await,
        Verb::SignInLink {
            email,
            reset_second_factor: true,
        } => {
            let token = base.access.sign_in_link_without_factor(&email).await;
            let link = link(base, &token.map_err(anyhow::Error::from)?).await?;
            Ok(Answer {
                json: json!({ "link": link, "second_factor": "reset" }),
                text: link,
            })
        }
        Verb::Operator { email } => {
            let token = base.access.make_operator(&email).await;
            let link = link(base, &token.map_err(anyhow::Error::from)?).await?;
            Ok(Answer {
                json: json!({ "link": link }),
                text: link,
            })
        }
        Verb::SignInLink { email, .. } => {
            let link = sign_in_link(base, &email).await?;
            Ok(Answer {
                json: json!({ "link": link }),
                text: link,
            })
        }
        Verb::Doctor | Verb::Rewrite | Verb::GoBack | Verb::Open => {
            Err(Failure::Failed(anyhow!("opens the data itself")))
        }
        Verb::RecoveryKit(arguments) => recovery_kit::run(base, arguments).await,
    }
}

async fn create_project(base: &Base, name: &str, zone: &str) -> Result<Answer, Failure> {
    let task = access::system(Task::AdminCommand);
    let project = base
        .projects
        .create(&task.operator(), name, zone)
        .await
        .map_err(anyhow::Error::from)?;
    let json = json!({ "id": project.id.to_string(), "name": project.name, "zone": project.zone });
    Ok(Answer {
        text: format!("{}  {}", project.id, project.name),
        json,
    })
}

async fn list_projects(base: &Base) -> Result<Answer, Failure> {
    let all = base
        .projects
        .all(access::system(Task::AdminCommand))
        .await
        .map_err(anyhow::Error::from)?;
    let text: Vec<String> = all
        .iter()
        .map(|one| format!("{}  {}", one.id, one.name))
        .collect();
    let json: Vec<Value> = all
        .iter()
        .map(|one| json!({ "id": one.id.to_string(), "name": one.name, "zone": one.zone }))
        .collect();
    let text = if text.is_empty() {
        "No project yet.".to_owned()
    } else {
        text.join("\n")
    };
    Ok(Answer {
        text,
        json: json.into(),
    })
}

async fn claim(base: &Base, project: &str, new: NewClaim) -> Result<Answer, Failure> {
    let session = access::system(Task::AdminCommand).project(find(base, project).await?);
    let made = base
        .pki
        .create_claim(&session.grant(), new)
        .await
        .map_err(anyhow::Error::from)
        .context("no claim was made")?;
    let expires = rfc3339::format(made.claim.expires);
    Ok(Answer {
        text: format!("fieldkeep-logger enroll '{}'", made.line.as_str()),
        json: json!({ "id": made.claim.id.to_string(), "line": made.line.as_str(), "expires": expires }),
    })
}

async fn api_key(
    base: &Base,
    project: &str,
    role: &str,
    name: String,
    expires: Option<Timestamp>,
) -> Result<Answer, Failure> {
    let role = parse_role(role)?;
    let session = access::system(Task::AdminCommand).project(find(base, project).await?);
    let new = NewApiKey {
        name,
        role,
        locations: Locations::All,
        expires,
    };
    let (key, secret) = base
        .access
        .create_api_key(&session.grant(), new)
        .await
        .map_err(anyhow::Error::from)?;
    let json = json!({ "id": key.id.to_string(), "key": secret, "role": role.name() });
    Ok(Answer { text: secret, json })
}

async fn member(base: &Base, project: &str, role: &str, email: &str) -> Result<Answer, Failure> {
    let role = parse_role(role)?;
    let session = access::system(Task::AdminCommand).project(find(base, project).await?);
    base.access
        .set_member(&session.grant(), email, role)
        .await
        .map_err(anyhow::Error::from)?;
    let json = json!({ "email": email, "role": role.name() });
    Ok(Answer {
        text: format!("{email} is {} of {project}", role.name()),
        json,
    })
}

fn parse_role(text: &str) -> Result<Role, Failure> {
    text.parse().map_err(|_| {
        Failure::Usage(anyhow!(
            "role {text:?}: use viewer, auditor, editor or administrator"
        ))
    })
}

/// A link that signs in the person with this e-mail.
pub(super) async fn sign_in_link(base: &Base, email: &str) -> anyhow::Result<String> {
    let token = base.access.sign_in_link(email).await?;
    link(base, &token).await
}

async fn link(base: &Base, token: &str) -> anyhow::Result<String> {
    let host = base.people_endpoint().await?.context(
        "no server has run on this data yet, so there is no address: start `fieldkeep serve` first",
    )?;
    Ok(format!("https://{host}/app/sign-in#{token}"))
}

/// The project with this id, else the only one with this name.
pub(super) async fn find(base: &Base, wanted: &str) -> Result<ProjectId, Failure> {
    let all = base
        .projects
        .all(access::system(Task::AdminCommand))
        .await
        .map_err(anyhow::Error::from)?;
    let found: Vec<_> = all
        .iter()
        .filter(|project| project.id.to_string() == wanted || project.name == wanted)
        .collect();
    match found.as_slice() {
        [project] => Ok(project.id),
        [] => Err(Failure::Failed(anyhow!(
            "no project {wanted:?}: `fieldkeep admin project list` shows them"
        ))),
        _ => Err(Failure::Usage(anyhow!(
            "several projects are called {wanted:?}: use the id"
        ))),
    }
}

fn later(base: &Base, life: std::time::Duration) -> Result<Timestamp, Failure> {
    let micros = i64::try_from(life.as_micros()).unwrap_or(i64::MAX);
    base.clock
        .now()
        .as_micros()
        .checked_add(micros)
        .map(Timestamp::from_micros)
        .ok_or_else(|| Failure::Usage(anyhow!("this time is too long")))
}
