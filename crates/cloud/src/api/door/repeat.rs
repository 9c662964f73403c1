//! Creation under an `Idempotency-Key`: the same request with the same key makes one thing, however often it is sent.
//!
//! Owns the table `repeat`: for a day, per project and actor, a hash of what was asked and the answer, sealed under the
//! project's key (what belongs to no project, under the instance's). Promises that a key stands for one request, that
//! who repeats it must still be let in, and that an answer with a secret is kept nowhere: a repeat of it is told that it
//! was made. Refusals are not kept: what failed may be sent again under the same key.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fieldkeep_protocol::ProjectId;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use tracing::Instrument as _;

use super::argument::collect;
use super::{Incoming, Row, credential};
use crate::api::App;
use crate::api::id::Named as _;
use crate::api::problem::{Code, Problem};
use crate::db::SqlError;
use crate::keys::{KeysError, SealingKey};

/// The header of a request that may be repeated.
pub(in crate::api) const REPEAT_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What a key looks like.
pub(in crate::api) const KEY_PATTERN: &str = "^[A-Za-z0-9._:-]{8,128}$";
/// Says that an answer is the one of before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// How long an answer is kept.
const KEPT_US: i64 = 24 * 3_600 * 1_000_000;
const COLUMN: &str = "repeat.answer";

/// Requests under a key that run in this process.
#[derive(Clone, Debug, Default)]
pub(in crate::api) struct Running(Arc<Mutex<HashSet<Vec<u8>>>>);

struct Turn {
    running: Running,
    place: Vec<u8>,
}

impl Running {
    fn begin(&self, place: &[u8]) -> Option<Turn> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(place.to_owned()).then(|| Turn {
            running: self.clone(),
            place: place.to_owned(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut places = (self.running.0.lock()).unwrap_or_else(PoisonError::into_inner);
        places.remove(&self.place);
    }
}

/// One request: whose, under which key, asking for what.
struct Asked {
    project: Vec<u8>,
    actor: String,
    key_hash: [u8; 32],
    asked_hash: [u8; 32],
    sealing: SealingKey,
}

impl Asked {
    /// Its place in the table, for sealing.
    fn place(&self) -> Vec<u8> {
        let mut place = self.project.clone();
        place.extend_from_slice(&self.key_hash);
        place.extend_from_slice(self.actor.as_bytes());
        place
    }
}

enum Found {
    /// Nobody has asked so before.
    New,
    /// This was answered.
    Answer(Bytes),
    /// It was made; the answer held a secret.
    Made,
    /// It began and its end is not known.
    Open,
    /// The key stands for another request.
    Other,
}

/// Runs a making row at most once under the key of the request.
pub(super) async fn once(app: App, row: &Row, incoming: Incoming) -> Response {
    match attempt(app, row, incoming).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn attempt(app: App, row: &Row, incoming: Incoming) -> Result<Response, Problem> {
    let Incoming { head, body } = incoming;
    (row.admit)(&app, &head).await?;
    let key = repeat_key(&head.parts)?;
    let actor = credential::signed_in(&app, &head.parts).await?.actor();
    let project: Option<ProjectId> = head
        .parameter(ProjectId::PARAMETER)
        .and_then(|text| text.parse().ok());
    let body = collect(body).await?;
    let sealing = match project {
        Some(project) => app
            .keys
            .project(project)
            .await
            .map_err(|error| keys(&error))?,
        None => app.keys.instance().clone(),
    };
    let asked = Asked {
        project: project.map_or_else(Vec::new, |project| project.as_bytes().to_vec()),
        actor: actor.to_string(),
        key_hash: sealing.lookup("repeat.key", key.as_bytes()),
        asked_hash: hash(&[
            head.parts.method.as_str().as_bytes(),
            head.parts.uri.to_string().as_bytes(),
            &body,
        ]),
        sealing,
    };
    let place = asked.place();
    let Some(turn) = app.repeats().begin(&place) else {
        return Err(still_running());
    };
    match claim(&app, &asked).await? {
        Found::New => {}
        Found::Answer(answer) => return Ok(replayed(answer)),
        Found::Made => {
            return Err(Problem::new(Code::Conflict).detail(
                "this was made by the earlier request with this Idempotency-Key; its secret is told once: remove it and \
                 make another with a new key",
            ));
        }
        Found::Open => return Err(still_running()),
        Found::Other => return Err(Problem::new(Code::KeyReused)),
    }
    let serve = Arc::clone(&row.serve);
    let secret = row.secret;
    // Of its own: a client that hangs up leaves no request half known.
    let work = async move {
        let incoming = Incoming {
            head,
            body: Body::from(body),
        };
        let response = serve(app.clone(), incoming).await;
        let kept = keep(&app, &asked, response, secret).await;
        drop(turn);
        kept
    };
    let work = tokio::spawn(work.instrument(tracing::Span::current()));
    work.await
        .map_err(|error| Problem::internal("a request under a key broke off", &error))?
}

fn repeat_key(parts: &http::request::Parts) -> Result<String, Problem> {
    let mut values = parts.headers.get_all(REPEAT_KEY).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    let sound = |text: &&str| {
        (8..=128).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
    };
    match (value.filter(sound), values.next()) {
        (Some(key), None) => Ok(key.to_owned()),
        _ => Err(Problem::field(
            "Idempotency-Key",
            "is not one key of 8 to 128 letters, digits and . _ : -",
        )),
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn still_running() -> Problem {
    Problem::new(Code::Conflict)
        .detail(
            "an earlier request with this Idempotency-Key has not ended, or its end is not known: repeat it in a moment, \
             and if this stays, look whether the thing was made",
        )
        .retry_after(1)
}

fn replayed(answer: Bytes) -> Response {
    let mut response = Response::new(Body::from(answer));
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn sql(error: &SqlError) -> Problem {
    Problem::internal("what was asked before could not be looked up", error)
}

fn keys(error: &KeysError) -> Problem {
    Problem::internal("what was asked before could not be sealed", error)
}

async fn claim(app: &App, asked: &Asked) -> Result<Found, Problem> {
    let now = app.clock.now().as_micros();
    let values = [
        (&asked.project).into(),
        asked.actor.as_str().into(),
        (&asked.key_hash).into(),
    ];
    let db = &app.db;
    db.execute(
        "DELETE FROM repeat WHERE created_us < $1",
        &[(now - KEPT_US).into()],
    )
    .await
    .map_err(|error| sql(&error))?;
    let new = db
        .execute(
            "INSERT INTO repeat (project, actor, key_hash, asked_hash, done, created_us)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            &[
                (&asked.project).into(),
                asked.actor.as_str().into(),
                (&asked.key_hash).into(),
                (&asked.asked_hash).into(),
                false.into(),
                now.into(),
            ],
        )
        .await
        .map_err(|error| sql(&error))?;
    if new == 1 {
        return Ok(Found::New);
    }
    let row = db
        .fetch_optional(
            "SELECT asked_hash, done, answer_sealed FROM repeat
             WHERE project = $1 AND actor = $2 AND key_hash = $3",
            &values,
        )
        .await
        .map_err(|error| sql(&error))?;
    let Some(row) = row else {
        return Ok(Found::Open);
    };
    let read = || -> Result<Found, SqlError> {
        if row.array::<32>(0)? != asked.asked_hash {
            return Ok(Found::Other);
        }
        Ok(match (row.bool(1)?, row.opt_bytes(2)?) {
            (false, _) => Found::Open,
            (true, None) => Found::Made,
            (true, Some(sealed)) => match asked.sealing.open(COLUMN, &asked.place(), sealed) {
                Ok(answer) => Found::Answer(Bytes::copy_from_slice(&answer)),
                Err(error) => {
                    tracing::error!(%error, "an answer that was kept does not open");
                    Found::Made
                }
            },
        })
    };
    read().map_err(|error| sql(&error))
}

async fn keep(
    app: &App,
    asked: &Asked,
    response: Response,
    secret: bool,
) -> Result<Response, Problem> {
    if response.status() != StatusCode::CREATED {
        app.db
            .execute(
                "DELETE FROM repeat WHERE project = $1 AND actor = $2 AND key_hash = $3",
                &[
                    (&asked.project).into(),
                    asked.actor.as_str().into(),
                    (&asked.key_hash).into(),
                ],
            )
            .await
            .map_err(|error| sql(&error))?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = body
        .collect()
        .await
        .map_err(|error| Problem::internal("an answer in memory could not be read", &error))?
        .to_bytes();
    let sealed = (!secret).then(|| asked.sealing.seal(COLUMN, &asked.place(), &bytes));
    app.db
        .execute(
            "UPDATE repeat SET done = $4, answer_sealed = $5
             WHERE project = $1 AND actor = $2 AND key_hash = $3",
            &[
                (&asked.project).into(),
                asked.actor.as_str().into(),
                (&asked.key_hash).into(),
                true.into(),
                sealed.as_ref().into(),
            ],
        )
        .await
        .map_err(|error| sql(&error))?;
    Ok(Response::from_parts(parts, Body::from(bytes)))
}
