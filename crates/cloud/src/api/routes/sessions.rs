//! My sessions: which there are, and ending them.

use fieldkeep_protocol::SessionId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{OwnSession, SignedIn};
use crate::api::App;
use crate::api::door::{At, Empty, Json};
use crate::api::fault::access;
use crate::api::id::{Id, SessionRef, Time};
use crate::api::problem::Problem;

/// A session of mine.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionView {
    id: SessionRef,
    /// Is it the one that asks?
    current: bool,
    /// How it began: `link`, `password`, `passkey`, `invitation`, or `device` for a program that was let in.
    cause: String,
    /// From where it began: the network address.
    origin: Option<String>,
    created: Time,
    /// To the minute.
    last_seen: Time,
    /// At the latest.
    expires: Time,
}

/// My sessions, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Sessions {
    items: Vec<SessionView>,
}

/// My sessions.
pub(super) async fn list(me: SignedIn, app: App) -> Result<Json<Sessions>, Problem> {
    let view = |session: OwnSession| SessionView {
        id: Id(session.id),
        current: session.current,
        cause: session.cause,
        origin: session.origin,
        created: session.created.into(),
        last_seen: session.seen.into(),
        expires: session.expires.into(),
    };
    let sessions = app.access.own_sessions(&me).await.map_err(access)?;
    Ok(Json(Sessions {
        items: sessions.into_iter().map(view).collect(),
    }))
}

/// Ends one of my sessions, at once.
pub(super) async fn end(
    me: SignedIn,
    app: App,
    At(session): At<SessionId>,
) -> Result<Empty, Problem> {
    app.access.end_session(&me, session).await.map_err(access)?;
    Ok(Empty)
}

/// Ends every session of mine but this one.
pub(super) async fn end_others(me: SignedIn, app: App) -> Result<Empty, Problem> {
    app.access.end_other_sessions(&me).await.map_err(access)?;
    Ok(Empty)
}
