//! The read routes of Consibio Cloud's API, version 2, for clients that were written for it.
//!
//! Owns its envelope, its words for refusals and its ways of writing values; all of it is read-only, and off until an
//! administrator turns it on for a project. Its tokens open nothing else, and nothing else opens it. What its clients
//! count on is kept as it is, also where it is not how our own API says things: a thing that is not there is an answer with
//! status 200. Says nothing of the parts of that API that nobody has described.

mod datalog;
mod login;
mod shapes;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value, json};

use super::App;
use super::door::{Argument, Incoming, LegacySession, Raw, RawKind, Row, Sketch, foreign};
use super::fault::{pki, projects};
use super::problem::{Code, Problem};
use crate::access::{Actor, Nobody};
use crate::projects::LegacyObject;

macro_rules! v2 {
    ($path:literal) => {
        concat!("/compat/consibio/v2", $path)
    };
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;

/// Its rows of the route table.
pub(super) fn rows() -> Vec<Row> {
    vec![
        foreign(GET, v2!(""), root, "Compatibility: is it there?", refuse),
        foreign(GET, v2!("/"), root, "Compatibility: is it there?", refuse),
        foreign(GET, v2!("/test"), test, "Compatibility: the time", refuse),
        foreign(
            POST,
            v2!("/oauth/token"),
            login::token,
            "Compatibility: a token for a password",
            refuse,
        ),
        foreign(
            POST,
            v2!("/login"),
            login::login,
            "Compatibility: a token for a password",
            refuse,
        ),
        foreign(GET, v2!("/users/me"), me, "Compatibility: who I am", refuse),
        foreign(
            GET,
            v2!("/projects"),
            all_projects,
            "Compatibility: my project",
            refuse,
        ),
        foreign(
            GET,
            v2!("/projects/{legacy_project}"),
            all_projects,
            "Compatibility: a project",
            refuse,
        ),
        foreign(
            GET,
            v2!("/projects/{legacy_project}/devices"),
            devices,
            "Compatibility: devices",
            refuse,
        ),
        foreign(
            GET,
            v2!("/projects/{legacy_project}/devices/{legacy_thing}"),
            device,
            "Compatibility: a device",
            refuse,
        ),
        foreign(
            GET,
            v2!("/projects/{legacy_project}/elements"),
            elements,
            "Compatibility: elements",
            refuse,
        ),
        foreign(
            GET,
            v2!("/projects/{legacy_project}/elements/{legacy_thing}"),
            element,
            "Compatibility: an element",
            refuse,
        ),
        foreign(
            GET,
            v2!("/projects/{legacy_project}/datalog"),
            datalog::read,
            "Compatibility: points",
            refuse,
        ),
    ]
}

/// An answer in that API's envelope.
pub(super) struct Envelope;

impl RawKind for Envelope {
    const MEDIA_TYPE: &'static str = "application/json";
    const SAYS: &'static str = "An answer of another API.";
}

type Answered = Result<Raw<Envelope>, Problem>;

fn json_answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
}

fn payload(payload: &Value) -> Raw<Envelope> {
    let body = json!({ "status": "ok", "payload": payload });
    Raw::new(json_answer(StatusCode::OK, &body))
}

/// A refusal in the words of that API.
fn refuse(problem: &Problem) -> Response {
    let said = |text: &str| {
        let body = json!({ "status": "error", "payload": { "error": text } });
        json_answer(StatusCode::OK, &body)
    };
    let failed = |status| json_answer(status, &json!({ "error": problem.words() }));
    let mut response = match problem.code() {
        Code::Unauthenticated => {
            // Its clients look for exactly this text, and for this header before they sign in again.
            let mut response = Response::new(Body::from("Unauthenticated"));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain; charset=utf-8"),
            );
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer error=\"invalid_token\""),
            );
            response
        }
        Code::Forbidden => said("Unauthorized or no data found"),
        Code::NotFound => said("No data found"),
        Code::Malformed | Code::Invalid | Code::Gone | Code::TooSlow => said(problem.words()),
        Code::SignInFailed
        | Code::LinkInvalid
        | Code::SecondFactorRequired
        | Code::ReauthenticationRequired
        | Code::CrossSite
        | Code::MethodNotAllowed
        | Code::TooLarge
        | Code::UnsupportedMediaType
        | Code::Conflict
        | Code::Changed
        | Code::KeyReused
        | Code::RateLimited
        | Code::Unavailable
        | Code::Internal => failed(problem.code().status()),
    };
    if let Some(seconds) = problem.retry_after_s() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The id of a device or an element in the path, in either form.
pub(super) struct AtThing(String);

impl Argument for AtThing {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        let thing = incoming.segment("legacy_thing");
        thing
            .map(|thing| Self(thing.to_owned()))
            .ok_or(Problem::new(Code::NotFound))
    }

    fn sketch(_sketch: &mut Sketch) {}
}

async fn root(_: Nobody) -> Answered {
    Ok(payload(&json!({})))
}

async fn test(_: Nobody, app: App) -> Answered {
    let time = shapes::seconds(app.access.now());
    let body = json!({ "status": "ok", "time": time });
    Ok(Raw::new(json_answer(StatusCode::OK, &body)))
}

async fn me(LegacySession(session): LegacySession, app: App) -> Answered {
    let who = session.signed_in();
    let Actor::ServiceAccount(_, account) = who.actor() else {
        return Err(Problem::new(Code::Unauthenticated));
    };
    let name = app
        .access
        .my_service_account(who)
        .await
        .map_err(|error| super::fault::failure(&error))?
        .ok_or(Problem::new(Code::Unauthenticated))?;
    let login = app.access.service_login(account);
    let user = shapes::user(&name, &login, app.access.now());
    Ok(payload(&one(account.to_string(), user)))
}

/// The one project of the account: the list and the single one look alike.
async fn all_projects(LegacySession(session): LegacySession, app: App) -> Answered {
    let grant = session.grant();
    let project = app.projects.one(&grant).await.map_err(projects)?;
    let ids = app.projects.legacy_ids(&grant).await.map_err(projects)?;
    let shown = shapes::project(&project.name, &grant.actor().to_string());
    let id = ids.name(LegacyObject::Project(project.id));
    Ok(payload(&one(id, shown)))
}

async fn devices(LegacySession(session): LegacySession, app: App) -> Answered {
    let all = shapes::devices(&session.grant(), &app).await?;
    Ok(payload(&Value::Object(all)))
}

async fn device(
    LegacySession(session): LegacySession,
    app: App,
    AtThing(asked): AtThing,
) -> Answered {
    let grant = session.grant();
    let ids = app.projects.legacy_ids(&grant).await.map_err(projects)?;
    let all = shapes::devices(&grant, &app).await?;
    let found = app.pki.devices(&grant).await.map_err(pki)?;
    let found = found
        .into_iter()
        .map(|device| LegacyObject::Device(device.id));
    pick(all, found, &ids, &asked)
}

async fn elements(LegacySession(session): LegacySession, app: App) -> Answered {
    let all = shapes::elements(&session.grant(), &app).await?;
    Ok(payload(&Value::Object(all)))
}

async fn element(
    LegacySession(session): LegacySession,
    app: App,
    AtThing(asked): AtThing,
) -> Answered {
    let grant = session.grant();
    let ids = app.projects.legacy_ids(&grant).await.map_err(projects)?;
    let all = shapes::elements(&grant, &app).await?;
    let found = app.projects.elements(&grant).await.map_err(projects)?;
    let found = found
        .into_iter()
        .map(|element| LegacyObject::Element(element.id));
    pick(all, found, &ids, &asked)
}

/// The one of `all` that is asked for by its own id or by the one from elsewhere, under the latter.
fn pick(
    mut all: Map<String, Value>,
    mut things: impl Iterator<Item = LegacyObject>,
    ids: &crate::projects::LegacyIds,
    asked: &str,
) -> Answered {
    let meant = things.find(|thing| thing.to_string() == asked || ids.name(*thing) == asked);
    let name = meant.map(|thing| ids.name(thing));
    let found = name.and_then(|name| all.remove(&name).map(|shown| (name, shown)));
    let (name, shown) = found.ok_or(Problem::new(Code::NotFound))?;
    Ok(payload(&one(name, shown)))
}

/// A map with one entry.
fn one(id: String, shown: Value) -> Value {
    Value::Object(Map::from_iter([(id, shown)]))
}
