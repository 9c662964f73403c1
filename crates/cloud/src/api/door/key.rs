//! Keys that open a row, and what each asks for.
//!
//! Owns the translation from `access`'s refusals to problems: 401 no or bad credential, 404 not a member (existence
//! stays hidden), 403 a member whose role is too low. Makes no key itself: `access` does.

use std::future::Future;

use fieldkeep_protocol::ProjectId;

use super::{Head, Sketch, credential};
use crate::access::{
    Actor, Admin, Arrived, Arriving, Audit, Denied, Fresh, Held, Level, Nobody, OperatorSession,
    Read, Session, SignedIn, Write,
};
use crate::api::App;
use crate::api::id::Named as _;
use crate::api::notice::Notice;
use crate::api::problem::{Code, Problem};

/// What a row asks of whoever knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Nothing: anybody on the network may.
    Nobody,
    /// A person on the way in, or a credential of any kind.
    Arriving,
    /// A person who may still have to set up a second factor, or a credential of any kind.
    Arrived,
    /// A credential of any kind.
    SignedIn,
    /// The instance's operator.
    Operator,
    /// A member of the project who may read.
    Read,
    /// A member of the project who may see who did what.
    Audit,
    /// A member of the project who may change.
    Write,
    /// A member of the project who may administer.
    Admin,
    /// A service account of a project that lets clients of another API in.
    Legacy,
}

impl Needs {
    /// As the golden text and the OpenAPI document say it.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Arriving => "signing in",
            Self::Arrived => "setting up",
            Self::SignedIn => "signed in",
            Self::Operator => "operator",
            Self::Read => "project: read",
            Self::Audit => "project: audit",
            Self::Write => "project: write",
            Self::Admin => "project: admin",
            Self::Legacy => "legacy token",
        }
    }
}

/// A handler's first argument: proof of who is there and of what they may do.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key: a handler's first argument is `Session<L>`, `SignedIn`, `OperatorSession` or `Nobody`"
)]
pub trait Key: Sized + Send + 'static {
    /// What the row needs.
    const NEEDS: Needs;

    /// Whether its holder must have proved within ten minutes who they are.
    const FRESH: bool = false;

    /// Asks `access` for the key, from the head of the request alone.
    fn take(app: &App, head: &Head) -> impl Future<Output = Result<Self, Problem>> + Send;

    /// Path parameters that the key reads.
    fn sketch(_sketch: &mut Sketch) {}
}

impl Key for Nobody {
    const NEEDS: Needs = Needs::Nobody;

    async fn take(_app: &App, head: &Head) -> Result<Self, Problem> {
        // A foreign page must not sign a visitor in as somebody else.
        credential::same_origin(&head.parts)?;
        Ok(Self::admit(credential::origin(&head.parts)))
    }
}

impl Key for Arriving {
    const NEEDS: Needs = Needs::Arriving;

    async fn take(app: &App, head: &Head) -> Result<Self, Problem> {
        let shown = credential::shown(app, &head.parts)?;
        let origin = credential::origin(&head.parts);
        let key = app.access.arriving(shown.credential(), &origin).await;
        let key = key.map_err(denied)?;
        shown.admit(&head.parts, key.who(), || {
            app.access.take_request_arriving(&key)
        })?;
        Ok(key)
    }
}

impl Key for Arrived {
    const NEEDS: Needs = Needs::Arrived;

    async fn take(app: &App, head: &Head) -> Result<Self, Problem> {
        let shown = credential::shown(app, &head.parts)?;
        let origin = credential::origin(&head.parts);
        let key = app.access.arrived(shown.credential(), &origin).await;
        let key = key.map_err(denied)?;
        let who = key.signed_in();
        shown.admit(&head.parts, who.who(), || app.access.take_request(who))?;
        Ok(key)
    }
}

impl<K: Key + Held> Key for Fresh<K> {
    const NEEDS: Needs = K::NEEDS;
    const FRESH: bool = true;

    async fn take(app: &App, head: &Head) -> Result<Self, Problem> {
        let key = K::take(app, head).await?;
        app.access.fresh(key).map_err(denied)
    }

    fn sketch(sketch: &mut Sketch) {
        K::sketch(sketch);
    }
}

impl Key for SignedIn {
    const NEEDS: Needs = Needs::SignedIn;

    async fn take(app: &App, head: &Head) -> Result<Self, Problem> {
        credential::signed_in(app, &head.parts).await
    }
}

impl Key for OperatorSession {
    const NEEDS: Needs = Needs::Operator;

    async fn take(app: &App, head: &Head) -> Result<Self, Problem> {
        let actor = credential::signed_in(app, &head.parts).await?;
        app.access.operator(actor).map_err(denied)
    }
}

/// A level of a project session as rows name it.
pub trait Named: Level {
    /// What a row with it needs.
    const NEEDS: Needs;
}

impl Named for Read {
    const NEEDS: Needs = Needs::Read;
}

impl Named for Audit {
    const NEEDS: Needs = Needs::Audit;
}

impl Named for Write {
    const NEEDS: Needs = Needs::Write;
}

impl Named for Admin {
    const NEEDS: Needs = Needs::Admin;
}

impl<L: Named> Key for Session<L> {
    const NEEDS: Needs = L::NEEDS;

    async fn take(app: &App, head: &Head) -> Result<Self, Problem> {
        let actor = credential::signed_in(app, &head.parts).await?;
        let project: ProjectId = head
            .parameter(ProjectId::PARAMETER)
            .and_then(|text| text.parse().ok())
            .ok_or(Problem::new(Code::NotFound))?;
        let taken = app.access.session::<L>(actor, project).await;
        if let Ok(_) | Err(Denied::Forbidden) = &taken {
            Notice::of(&head.parts.extensions).member_of(project);
        }
        taken.map_err(denied)
    }

    fn sketch(sketch: &mut Sketch) {
        super::argument::sketch_id::<ProjectId>(sketch);
    }
}

/// A token of the compatibility routes, and what it opens: the one project of its account.
pub struct LegacySession(pub Session<Read>);

impl Key for LegacySession {
    const NEEDS: Needs = Needs::Legacy;

    async fn take(app: &App, head: &Head) -> Result<Self, Problem> {
        let actor = credential::legacy(app, &head.parts).await?;
        let Actor::ServiceAccount(project, _) = actor.actor() else {
            return Err(Problem::new(Code::Unauthenticated));
        };
        let session = app.access.session::<Read>(actor, project).await;
        let session = session.map_err(denied)?;
        if let Some(asked) = head.parameter("legacy_project") {
            let found = app
                .projects
                .is_called(&session.grant(), asked)
                .await
                .map_err(crate::api::fault::projects)?;
            if !found {
                return Err(Problem::new(Code::Forbidden));
            }
        }
        Ok(Self(session))
    }
}

/// 401, 404 or 403, told apart in this one place.
pub(in crate::api) fn denied(denied: Denied) -> Problem {
    match denied {
        Denied::Unauthenticated => Problem::new(Code::Unauthenticated),
        Denied::NotFound => Problem::new(Code::NotFound),
        Denied::Forbidden => Problem::new(Code::Forbidden),
        Denied::ShowFactor => Problem::new(Code::SecondFactorRequired)
            .detail("show your second factor first: POST /api/v1/auth/second-factor"),
        Denied::SetUpFactor => Problem::new(Code::SecondFactorRequired).detail(
            "your role needs a second factor: set up a passkey (/api/v1/auth/passkeys) or an authenticator app \
             (/api/v1/auth/totp) first",
        ),
        Denied::Stale => Problem::new(Code::ReauthenticationRequired).detail(
            "prove once more who you are, by password, code or passkey: POST /api/v1/auth/prove; it is good for 10 minutes",
        ),
        Denied::Failed(failure) => Problem::unavailable("access could not be checked", &failure),
    }
}
