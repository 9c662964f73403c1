//! Signing in and out, and who I am.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{
    AccessError, Actor, Arrived, Arriving, Held as _, Nobody, Role, Started, Step,
};
use crate::api::App;
use crate::api::door::{Body, Empty, Json, SetCookie, Source, clear_cookie, session_cookie};
use crate::api::fault::{access, failure, projects};
use crate::api::id::{Id, ProjectRef};
use crate::api::problem::{Code, Problem};

/// Who I am, and what I am where.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    /// A person's id (`usr_…`), an API key's (`key_…`) or a service account's (`svc_…`).
    id: String,
    kind: Kind,
    /// People only.
    email: Option<String>,
    name: String,
    /// May I look after the instance?
    operator: bool,
    /// Have I come in by a link and still no password?
    must_set_password: bool,
    /// What is left to do before anything else is answered.
    step: StepWord,
    projects: Vec<MyProject>,
}

/// What is left to do on the way in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Step)]
pub(super) enum StepWord {
    /// Nothing.
    Done,
    /// Show the second factor.
    ShowFactor,
    /// Set up a second factor: your role needs one.
    SetUpFactor,
}

impl From<Step> for StepWord {
    fn from(step: Step) -> Self {
        match step {
            Step::Done => Self::Done,
            Step::ShowFactor => Self::ShowFactor,
            Step::SetUpFactor => Self::SetUpFactor,
        }
    }
}

/// What kind of caller.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A person with a session.
    Person,
    /// An API key of one project.
    ApiKey,
    /// A service account of one project.
    ServiceAccount,
}

/// A project that I am a member of.
#[derive(Serialize, ToSchema)]
pub(super) struct MyProject {
    id: ProjectRef,
    name: String,
    role: RoleWord,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Role)]
pub(super) enum RoleWord {
    /// Looks on.
    Viewer,
    /// Looks on, and sees who did what.
    Auditor,
    /// Looks after devices and elements.
    Editor,
    /// Decides over the project and its members.
    Administrator,
}

impl From<Role> for RoleWord {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Auditor => Self::Auditor,
            Role::Editor => Self::Editor,
            Role::Administrator => Self::Administrator,
        }
    }
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Viewer => Self::Viewer,
            RoleWord::Auditor => Self::Auditor,
            RoleWord::Editor => Self::Editor,
            RoleWord::Administrator => Self::Administrator,
        }
    }
}

/// The token of a sign-in link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkToken {
    token: String,
}

/// E-mail and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    email: String,
    #[schema(format = Password)]
    password: String,
}

/// A new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// At least 15 characters, or 8 beside a second factor; at most 256.
    #[schema(format = Password)]
    password: String,
    /// The old one, unless there is none or I came in by a link just now.
    #[schema(format = Password)]
    current: Option<String>,
}

/// Spends a sign-in link.
pub(super) async fn link(
    anybody: Nobody,
    app: App,
    Body(body): Body<LinkToken>,
) -> Result<SetCookie<Json<Me>>, Problem> {
    let started = app
        .access
        .redeem_link(&body.token, anybody.origin())
        .await
        .map_err(access)?;
    begun(&app, started).await
}

/// Signs in with a password.
pub(super) async fn sign_in(
    anybody: Nobody,
    app: App,
    Source(source): Source,
    Body(body): Body<Entry>,
) -> Result<SetCookie<Json<Me>>, Problem> {
    let started = app
        .access
        .sign_in(&body.email, &body.password, &source, anybody.origin())
        .await
        .map_err(access)?;
    begun(&app, started).await
}

pub(super) async fn begun(app: &App, started: Started) -> Result<SetCookie<Json<Me>>, Problem> {
    Ok(SetCookie {
        cookie: session_cookie(app, &started.cookie, started.max_age_s),
        answer: Json(describe(app, &started.who).await?),
    })
}

/// Sets my password.
pub(super) async fn password(
    me: Arrived,
    app: App,
    Body(body): Body<NewPassword>,
) -> Result<Empty, Problem> {
    let mine = app.projects.list(me.signed_in()).await.map_err(projects)?;
    let names: Vec<String> = mine.into_iter().map(|(project, _)| project.name).collect();
    app.access
        .set_password(&me, body.current.as_deref(), &body.password, &names)
        .await
        .map_err(|error| match error {
            // Signed in already: it is a field that is wrong.
            AccessError::WrongCredentials => Problem::field("current", "is not your password"),
            other => access(other),
        })?;
    Ok(Empty)
}

/// Ends my session, on the server too.
pub(super) async fn sign_out(me: Arriving, app: App) -> Result<SetCookie<Empty>, Problem> {
    app.access.sign_out(&me).await.map_err(|e| failure(&e))?;
    Ok(SetCookie {
        cookie: clear_cookie(&app),
        answer: Empty,
    })
}

/// Who I am.
pub(super) async fn me(me: Arriving, app: App) -> Result<Json<Me>, Problem> {
    describe(&app, &me).await.map(Json)
}

async fn describe(app: &App, who: &Arriving) -> Result<Me, Problem> {
    // Nothing of projects is told before every step is done.
    let mine = match who.finished() {
        Some(who) => app.projects.list(who).await.map_err(projects)?,
        None => Vec::new(),
    };
    let mine = mine
        .into_iter()
        .map(|(project, role)| MyProject {
            id: Id(project.id),
            name: project.name,
            role: role.into(),
        })
        .collect();
    let person = app.access.me_arriving(who).await.map_err(|e| failure(&e))?;
    match (who.actor(), person) {
        (Actor::Person(id), Some(person)) => Ok(Me {
            id: id.to_string(),
            kind: Kind::Person,
            email: Some(person.email),
            name: person.name,
            operator: person.operator,
            must_set_password: who.must_set_password(),
            step: who.step().into(),
            projects: mine,
        }),
        (Actor::ApiKey(_, key), _) => Ok(Me {
            id: key.to_string(),
            kind: Kind::ApiKey,
            email: None,
            name: "API key".to_owned(),
            operator: false,
            must_set_password: false,
            step: StepWord::Done,
            projects: mine,
        }),
        (Actor::ServiceAccount(_, account), _) => Ok(Me {
            id: account.to_string(),
            kind: Kind::ServiceAccount,
            email: None,
            name: match who.finished() {
                Some(who) => app
                    .access
                    .my_service_account(who)
                    .await
                    .map_err(|e| failure(&e))?,
                None => None,
            }
            .ok_or(Problem::new(Code::Unauthenticated))?,
            operator: false,
            must_set_password: false,
            step: StepWord::Done,
            projects: mine,
        }),
        // A person who was removed between the question who it is and this one.
        (Actor::Person(_), None) | (Actor::System(_), _) => {
            Err(Problem::new(Code::Unauthenticated))
        }
    }
}
