//! People, sessions, API keys, service accounts, memberships, roles and the grants that prove them.
//!
//! Every door asks here, and gets a key ([`Session`], [`SignedIn`], [`OperatorSession`]) or a [`Denied`]. A revoked key, an
//! ended session or a changed role counts at the next question: what is remembered of API keys is used only while the
//! catalogue says, at each question, that nothing was committed to it since. Secrets (passwords, tokens, keys) are stored
//! as hashes alone; e-mails and names are sealed.
//! Does not parse requests, and does not know what a project holds.

mod api_keys;
mod assertion;
mod audit;
mod compatibility;
mod credentials;
mod device_code;
mod grant;
mod history;
mod leaving;
mod members;
mod operators;
mod password;
mod people;
mod rates;
mod roles;
mod service;
mod sessions;
mod system;
mod throttle;
mod tokens;

#[cfg(test)]
mod support;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fieldkeep_protocol::{KeyId, ProjectId};

use crate::clock::Clock;
use crate::config;
use crate::db::{Db, Remembered, SqlError};
use crate::keys::{Keys, KeysError, Unsealable};
use crate::trail::{Origin, Trail, TrailError};

pub use api_keys::{ApiKey, NewApiKey};
pub use assertion::{Algorithm, Jwk, PublicKey};
pub use audit::{Had, HadAccess};
pub use credentials::{CredentialKind, NewCredential, ServiceCredential};
pub use device_code::{Asking, DeviceCode, DeviceRefusal, PersonToken};
pub use grant::{
    Actor, Admin, Audit, Grant, Implies, Level, Locations, Nobody, OperatorGrant, OperatorSession,
    Read, Session, SignedIn, Write,
};
pub use leaving::{Fate, Hanging};
pub use members::{Member, MemberChange, Membership};
pub use password::PasswordFault;
pub use people::{Person, sound_name};
pub use rates::Allowance;
pub use roles::{Action, Role, Scopes, UnknownRole};
pub use service::{NewServiceAccount, ServiceAccount, ServiceAccountChange};
pub use sessions::Started;
pub use system::{System, SystemSession, Task, system};
pub use tokens::{ClientProof, IssuedToken};

/// Why a door stays shut. What a stranger may learn of it is decided by whoever answers.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// No credential, or one that is not valid (any more).
    #[error("no valid credential")]
    Unauthenticated,
    /// Not a member: whether the project exists stays hidden.
    #[error("no such project for this caller")]
    NotFound,
    /// A member, whose role does not allow it.
    #[error("the caller's role does not allow this")]
    Forbidden,
    /// It could not be found out; so the door stays shut.
    #[error("access could not be checked")]
    Failed(#[from] Failure),
}

/// Why the access data cannot be read or written. For the log alone.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The catalogue failed.
    #[error("the catalogue failed")]
    Sql(#[from] SqlError),
    /// A key is missing.
    #[error("a key is missing")]
    Keys(#[from] KeysError),
    /// A sealed column does not open.
    #[error("a sealed column does not open")]
    Sealed(#[from] Unsealable),
    /// A password could not be hashed.
    #[error("a password could not be hashed: {0}")]
    Hashing(&'static str),
    /// A stored value is none that this program writes.
    #[error("column {0} holds a value that this program does not know")]
    Unknown(&'static str),
}

/// Why something about people or keys was refused.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// E-mail and password do not fit together; which of them is wrong is not told.
    #[error("wrong e-mail or password")]
    WrongCredentials,
    /// Too many attempts.
    #[error("too many attempts: wait {retry_after_s} s")]
    Throttled {
        /// When to try again.
        retry_after_s: u64,
    },
    /// The link is unknown, used or too old.
    #[error("this link is not valid (any more): ask for a new one")]
    LinkRefused,
    /// The password does not satisfy the rules.
    #[error("the password is refused: {0}")]
    Password(#[from] PasswordFault),
    /// No person has this e-mail.
    #[error("nobody has this e-mail")]
    PersonUnknown,
    /// The text is no e-mail address.
    #[error("not an e-mail address")]
    InvalidEmail,
    /// A name is empty, longer than 128 characters, or has control characters.
    #[error("a name has 1 to 128 characters and no control characters")]
    InvalidName,
    /// The role to be given allows more than the giver's.
    #[error("the role {0} allows more than your own")]
    RoleAbove(Role),
    /// The project would be left without an administrator, or the instance without an operator.
    #[error("{0}")]
    Last(&'static str),
    /// The project has no such member, or the grant does not reach all of them.
    #[error("the project has no such member")]
    MemberUnknown,
    /// Something hangs on a person who is to be removed, and it is not said what becomes of it.
    #[error("keys or service accounts hang on this person: revoke them, or hand them over")]
    Hanging,
    /// Whoever is to take over may not have what they are to get.
    #[error("whoever takes over must be an administrator here whose reach covers the keys")]
    CannotTakeOver,
    /// The person is a member already.
    #[error("you are a member of this project already")]
    AlreadyMember,
    /// No project has this id.
    #[error("no such project")]
    ProjectUnknown,
    /// An emergency is to last less than an hour or more than a day.
    #[error("between 1 and 24 hours")]
    TooLong,
    /// Whoever let themself in in an emergency would stay.
    #[error("you let yourself in for a time: another administrator decides whether you stay")]
    Emergency,
    /// A reason is empty or too long.
    #[error("a reason has 1 to 500 characters")]
    NoReason,
    /// The locations to be given reach further than the giver's.
    #[error("these locations reach further than your own")]
    LocationsBeyond,
    /// The actions to be given are more than the giver's, or than the role's.
    #[error("these scopes allow more than may be given")]
    ScopesBeyond,
    /// An end date that is past already.
    #[error("the end date is past")]
    PastDate,
    /// An end date more than a year away.
    #[error("the end date is more than a year away")]
    TooLongLived,
    /// The project has no such service account.
    #[error("the project has no such service account")]
    AccountUnknown,
    /// The account has no such credential.
    #[error("the account has no such credential")]
    CredentialUnknown,
    /// As many of these as there may be.
    #[error("there are as many {0} as there may be: remove one first")]
    TooMany(&'static str),
    /// The short code is wrong, too old, or was answered.
    #[error("this code is not valid (any more): look at it again, or ask for a new one")]
    CodeUnknown,
    /// The project has no such key.
    #[error("the project has no such key")]
    KeyUnknown,
    /// Only a person can do this.
    #[error("only a signed-in person can do this")]
    NotAPerson,
    /// The access data failed.
    #[error("the access data failed")]
    Failed(#[from] Failure),
}

impl From<TrailError> for Failure {
    fn from(error: TrailError) -> Self {
        match error {
            TrailError::Sql(error) => Self::Sql(error),
            TrailError::Keys(error) => Self::Keys(error),
        }
    }
}

impl From<TrailError> for AccessError {
    fn from(error: TrailError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SqlError> for AccessError {
    fn from(error: SqlError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Unsealable> for AccessError {
    fn from(error: Unsealable) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SqlError> for Denied {
    fn from(error: SqlError) -> Self {
        Self::Failed(error.into())
    }
}

/// What a request shows to prove who sends it. Never printed.
pub enum Credential {
    /// The value of the session cookie.
    Cookie(String),
    /// What follows `Bearer ` in the Authorization header.
    Bearer(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cookie(_) => "Cookie",
            Self::Bearer(_) => "Bearer",
        })
    }
}

/// The one answer to who may do what. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    keys: Keys,
    clock: Clock,
    rules: config::Sessions,
    trail: Trail,
    passwords: password::Hasher,
    throttle: throttle::Throttle,
    api_keys: Remembered<[u8; 32], Arc<api_keys::Known>>,
    api_keys_by_id: Remembered<(ProjectId, KeyId), Arc<api_keys::Known>>,
    /// Requests of keys and service accounts.
    requests: rates::Rates,
    /// Proofs that failed, by client and by where they came from.
    attempts_client: rates::Rates,
    attempts_source: rates::Rates,
}

/// API keys remembered at most, one or two hundred bytes each.
const REMEMBERED: usize = 4_096;
const TEN_MINUTES: Duration = Duration::from_secs(600);

impl Access {
    /// Access over an open catalogue.
    ///
    /// # Errors
    /// [`Failure::Hashing`] when this machine cannot hash a password (too little memory).
    pub async fn open(
        db: Db,
        keys: Keys,
        clock: Clock,
        rules: &config::Sessions,
    ) -> Result<Self, Failure> {
        let throttle = throttle::Throttle::new(clock.clone(), rules);
        let trail = Trail::new(db.clone(), keys.clone(), clock.clone());
        Ok(Self(Arc::new(Inner {
            db,
            keys,
            clock,
            rules: rules.clone(),
            trail,
            passwords: password::Hasher::start().await?,
            throttle,
            api_keys: Remembered::new(REMEMBERED),
            api_keys_by_id: Remembered::new(REMEMBERED),
            requests: rates::Rates::new(rules.key_requests_per_minute, Duration::from_secs(60)),
            attempts_client: rates::Rates::new(20, TEN_MINUTES),
            attempts_source: rates::Rates::new(200, TEN_MINUTES),
        })))
    }

    /// The instance's one trail. Rooms that change something write into it, and doors note what they refuse.
    pub fn trail(&self) -> &Trail {
        &self.0.trail
    }

    /// The session cookie's name, which differs between installations on one host.
    pub fn cookie_name(&self) -> String {
        format!("__Host-fk-{}", self.0.keys.instance_id().short())
    }

    /// Who shows this credential, in the request from `origin`.
    ///
    /// # Errors
    /// [`Denied::Unauthenticated`] alike for unknown, expired, revoked and malformed ones.
    pub async fn actor(
        &self,
        credential: &Credential,
        origin: &Origin,
    ) -> Result<SignedIn, Denied> {
        match credential {
            Credential::Cookie(token) => self.session_holder(token, origin).await,
            Credential::Bearer(secret) if secret.starts_with(tokens::TOKEN_MARK) => {
                self.token_by_secret(secret, tokens::Audience::Api, origin)
                    .await
            }
            Credential::Bearer(secret) if secret.starts_with(device_code::PERSON_MARK) => {
                self.person_token_holder(secret, origin).await
            }
            Credential::Bearer(secret) => self.api_key_holder(secret, origin).await,
        }
    }

    /// The key to one project at level `L`.
    ///
    /// # Errors
    /// [`Denied::NotFound`] for strangers, [`Denied::Forbidden`] for members whose role does not allow `L`.
    pub async fn session<L: Level>(
        &self,
        who: SignedIn,
        project: ProjectId,
    ) -> Result<Session<L>, Denied> {
        if who.actor().person().is_some() {
            // What others remember of the catalogue is as of a question like this one; a key's holder was found by one.
            self.0.db.state().await?;
        }
        let standing = self
            .standing(&who, project)
            .await?
            .ok_or(Denied::NotFound)?;
        if !standing.scopes.allow(L::ACTION) {
            return Err(Denied::Forbidden);
        }
        Ok(Session::new(who, standing))
    }

    /// The key to the instance.
    ///
    /// # Errors
    /// [`Denied::Forbidden`] for everyone but operators.
    pub fn operator(&self, who: SignedIn) -> Result<OperatorSession, Denied> {
        if who.is_operator() {
            Ok(OperatorSession::new(who))
        } else {
            Err(Denied::Forbidden)
        }
    }

    /// Whether the session would be given out again as it is: same credential, role and locations. Long streams ask
    /// at least every 5 seconds and end when the answer is no.
    ///
    /// # Errors
    /// [`Denied`] tells what changed.
    pub async fn still_valid<L: Level>(&self, session: &Session<L>) -> Result<(), Denied> {
        // What others remember of the catalogue is as of a question like this one.
        self.0.db.state().await?;
        let who = self.refreshed(session.signed_in()).await?;
        let standing = self
            .standing(&who, session.project())
            .await?
            .ok_or(Denied::NotFound)?;
        if standing.scopes.allow(L::ACTION) && standing.locations == session.standing().locations {
            Ok(())
        } else {
            Err(Denied::Forbidden)
        }
    }
}
