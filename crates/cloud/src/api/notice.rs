//! What the trail learns of each answer that the door gives.
//!
//! Promises that no refusal and no change leaves this door without an entry: a change that a room wrote down itself is
//! told by that; one that no room told gets the plain entry `api.change`, so a forgotten entry is seen and not silent.
//! Reading is not written down. Knows no handler.

use std::sync::{Arc, OnceLock};

use fieldkeep_protocol::ProjectId;
use http::{Extensions, Method, StatusCode};
use serde_json::json;

use super::problem::Code;
use crate::trail::{Act, Entry, Object, Origin, Outcome, Trail, Who};

/// The longest id out of an address that is written down.
const ID_LONGEST: usize = 64;

/// What is found out about a request on its way in.
#[derive(Clone, Debug, Default)]
pub(super) struct Notice(Arc<Found>);

#[derive(Debug, Default)]
struct Found {
    origin: Origin,
    who: OnceLock<Who>,
    project: OnceLock<ProjectId>,
    route: OnceLock<String>,
    thing: OnceLock<String>,
    reads: OnceLock<()>,
}

impl Notice {
    pub(super) fn new(origin: Origin) -> Self {
        Self(Arc::new(Found {
            origin,
            ..Found::default()
        }))
    }

    /// The notice of a request, as the outermost layer put it there.
    pub(super) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Where the request comes from.
    pub(super) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// The row that it is for, and what its address names last.
    pub(super) fn route(&self, name: String, path: &[(String, String)]) {
        let _ = self.0.route.set(name);
        if let Some((_, id)) = path.last()
            && id.len() <= ID_LONGEST
            && id.bytes().all(|byte| byte.is_ascii_graphic())
        {
            let _ = self.0.thing.set(id.clone());
        }
    }

    /// The row changes nothing, whatever its method.
    pub(super) fn reading(&self) {
        let _ = self.0.reads.set(());
    }

    /// Who showed a good credential.
    pub(super) fn known(&self, who: Who) {
        let _ = self.0.who.set(who);
    }

    /// A project that the caller is a member of. Strangers' attempts are the instance's affair: they must not be able to
    /// fill a project's trail, nor learn that it exists.
    pub(super) fn member_of(&self, project: ProjectId) {
        let _ = self.0.project.set(project);
    }

    /// Notes how the request ended.
    pub(super) fn ended(
        &self,
        trail: &Trail,
        method: &Method,
        status: StatusCode,
        code: Option<Code>,
    ) {
        let found = &self.0;
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
            || found.reads.get().is_some();
        if found.origin.is_told() {
            return;
        }
        let (act, outcome) = match code {
            Some(code) if status.is_server_error() => {
                if reads {
                    return;
                }
                tracing::debug!(code = code.word(), "a change failed");
                (Act::ApiChange, Outcome::Failed)
            }
            Some(code) if is_decision(code) || !reads => {
                (Act::DoorRefuse, Outcome::Refused(code.word()))
            }
            Some(_) => return,
            None if reads || !status.is_success() => return,
            None => (Act::ApiChange, Outcome::Done),
        };
        let who = found.who.get().cloned().unwrap_or_else(Who::nobody);
        let route = found.route.get().map_or("none", String::as_str);
        let mut entry = Entry::new(found.project.get().copied(), who, &found.origin, act)
            .on(Object::new("route", route))
            .ended(outcome);
        if let Some(thing) = found.thing.get() {
            entry = entry.new_value(json!({ "named": thing }));
        }
        trail.note(entry);
    }
}

/// Refusals of who asks, not of what a request holds.
fn is_decision(code: Code) -> bool {
    match code {
        Code::Unauthenticated
        | Code::SignInFailed
        | Code::LinkInvalid
        | Code::Forbidden
        | Code::SecondFactorRequired
        | Code::ReauthenticationRequired
        | Code::CrossSite
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::RateLimited => true,
        Code::Malformed
        | Code::Invalid
        | Code::TooLarge
        | Code::UnsupportedMediaType
        | Code::Conflict
        | Code::Changed
        | Code::KeyReused
        | Code::Gone
        | Code::TooSlow
        | Code::Unavailable
        | Code::Internal => false,
    }
}
