//! People, their factors and sessions, invitations, API keys, service accounts, memberships, roles, and grants that prove
//! them.
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
mod factor;
mod grant;
mod history;
mod invitations;
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
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fieldkeep_protocol::{KeyId, ProjectId};

use crate::clock::Clock;
use crate::config;
use crate::db::{Db, Remembered, SqlError};
use crate::keys::{Keys, KeysError, Unsealable};
use crate::mail::Mail;
use crate::trail::{Origin, Trail, TrailError};

pub use api_keys::{ApiKey, NewApiKey};
pub use assertion::{Algorithm, Jwk, PublicKey};
pub use audit::{Had, HadAccess};
pub use credentials::{CredentialKind, NewCredential, ServiceCredential};
pub use device_code::{Asking, DeviceCode, DeviceRefusal, PersonToken};
pub use factor::{Enrolment, Factors, Passkey, PasskeyAnswer, PasskeyChallenge, Proof};
pub use grant::{
    Actor, Admin, Arrived, Arriving, Audit, Fresh, Grant, Held, Implies, Level, Locations, Nobody,
    OperatorGrant, OperatorSession, Read, Session, SignedIn, Step, Write,
};
pub use invitations::{Invitation, NewInvitation, Offer};
pub use leaving::{Fate, Hanging};
pub use members::{Member, MemberChange, Membership};
pub use password::PasswordFault;
pub use people::{Person, sound_name};
pub use rates::Allowance;
pub use roles::{Action, Role, Scopes, UnknownRole};
pub use service::{NewServiceAccount, ServiceAccount, ServiceAccountChange};
pub use sessions::{OwnSession, Started};
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
    /// A second factor is still to be shown.
    #[error("the second factor is still to be shown")]
    ShowFactor,
    /// A second factor is still to be set up.
    #[error("a second factor is still to be set up")]
    SetUpFactor,
    /// It is too long ago that they proved who they are.
    #[error("who it is was proved too long ago")]
    Stale,
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
    /// Mail failed.
    #[error("a letter could not be queued")]
    Mail(#[from] crate::mail::MailError),
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
    /// The code is wrong, used, or of another time.
    #[error("this code is not right (any more)")]
    WrongCode,
    /// The passkey is unknown, or its answer does not count.
    #[error("this passkey is not accepted")]
    PasskeyRefused,
    /// The address of this instance cannot carry passkeys.
    #[error("passkeys need a host name, not an address of numbers: use an authenticator app")]
    NoPasskeysHere,
    /// There is no such factor, session or invitation.
    #[error("there is no such thing")]
    NotFound,
    /// The last factor of somebody who must have one.
    #[error("your role needs a second factor: set up another one first")]
    LastFactor,
    /// The last factor beside a short password.
    #[error("your password is shorter than 15 characters: choose a longer one first")]
    PasswordTooShortAlone,
    /// There is an authenticator app already.
    #[error("there is an authenticator app already: remove it first")]
    TotpExists,
    /// The invitation is for another e-mail address.
    #[error("this invitation is for another e-mail address: sign in with that one")]
    OtherPerson,
    /// Somebody has this e-mail already.
    #[error("this e-mail address has an account: sign in, then open the invitation again")]
    HasAccount,
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
    ceremonies: factor::Ceremonies,
    site: OnceLock<Site>,
    mail: Mail,
    api_keys: Remembered<[u8; 32], Arc<api_keys::Known>>,
    api_keys_by_id: Remembered<(ProjectId, KeyId), Arc<api_keys::Known>>,
    /// Requests of keys and service accounts.
    requests: rates::Rates,
    /// Proofs that failed, by client and by where they came from.
    attempts_client: rates::Rates,
    attempts_source: rates::Rates,
}

/// Where people find this instance.
#[derive(Clone, Debug)]
struct Site {
    host: String,
    authority: String,
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
        let mail = Mail::new(db.clone(), keys.clone(), clock.clone());
        let trail = Trail::new(db.clone(), keys.clone(), clock.clone());
        Ok(Self(Arc::new(Inner {
            db,
            keys,
            clock,
            rules: rules.clone(),
            trail,
            passwords: password::Hasher::start().await?,
            throttle,
            ceremonies: factor::Ceremonies::default(),
            site: OnceLock::new(),
            mail,
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

    /// Tells under which host name, and at which `host:port`, people reach this instance. Only the first counts.
    pub fn announce(&self, host: &str, authority: &str) {
        let site = Site {
            host: host.to_lowercase(),
            authority: authority.to_lowercase(),
        };
        if self.0.site.set(site).is_err() {
            tracing::debug!("the address of this instance is known already");
        }
    }

    /// An address inside the web app with a token behind it; None while nobody has told where that is.
    pub fn app_link(&self, page: &str, token: &str) -> Option<String> {
        let site = self.0.site.get()?;
        Some(format!("https://{}/app/{page}#{token}", site.authority))
    }

    /// The mail of this instance.
    pub fn mail(&self) -> &Mail {
        &self.0.mail
    }

    /// The session cookie's name, which differs between installations on one host.
    pub fn cookie_name(&self) -> String {
        format!("__Host-fk-{}", self.0.keys.instance_id().short())
    }

    /// Who shows this credential, in the request from `origin`, once nothing is left to show.
    ///
    /// # Errors
    /// [`Denied::Unauthenticated`] alike for unknown, expired, revoked and malformed ones; [`Denied::ShowFactor`] and
    /// [`Denied::SetUpFactor`] while a step is left.
    pub async fn actor(
        &self,
        credential: &Credential,
        origin: &Origin,
    ) -> Result<SignedIn, Denied> {
        self.holder(credential, origin).await.and_then(finished)
    }

    /// Who shows this credential, whatever is left to show.
    ///
    /// # Errors
    /// As [`actor`](Self::actor), but for the steps.
    pub async fn arriving(
        &self,
        credential: &Credential,
        origin: &Origin,
    ) -> Result<Arriving, Denied> {
        self.holder(credential, origin).await.map(Arriving)
    }

    /// Who shows this credential, once they have shown every factor that they have.
    ///
    /// # Errors
    /// As [`actor`](Self::actor), but for [`Denied::SetUpFactor`].
    pub async fn arrived(
        &self,
        credential: &Credential,
        origin: &Origin,
    ) -> Result<Arrived, Denied> {
        let who = self.holder(credential, origin).await?;
        match who.step() {
            Step::ShowFactor => Err(Denied::ShowFactor),
            Step::SetUpFactor | Step::Done => Ok(Arrived(who)),
        }
    }

    async fn holder(&self, credential: &Credential, origin: &Origin) -> Result<SignedIn, Denied> {
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

    /// The same key, for what needs its holder to have proved within ten minutes who they are.
    ///
    /// # Errors
    /// [`Denied::Stale`] when that is longer ago.
    pub fn fresh<K: Held>(&self, key: K) -> Result<Fresh<K>, Denied> {
        if self.is_fresh(key.signed_in()) {
            Ok(Fresh::new(key))
        } else {
            Err(Denied::Stale)
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
        let who = finished(self.refreshed(session.signed_in()).await?)?;
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

fn finished(who: SignedIn) -> Result<SignedIn, Denied> {
    match who.step() {
        Step::Done => Ok(who),
        Step::ShowFactor => Err(Denied::ShowFactor),
        Step::SetUpFactor => Err(Denied::SetUpFactor),
    }
}
