//! Sign-in by password, and sessions: opaque cookies with an idle and an absolute end.
//!
//! A token has 256 random bits; only its keyed hash is stored. Each sign-in makes a new one, and an ended session is
//! gone from the table. When a session was last used is written at most once a minute.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fieldkeep_protocol::PersonId;

use super::grant::{Holder, SignedIn};
use super::people::normalized;
use super::{Access, AccessError, Credential, Denied, Failure, device_code, password};
use crate::db::Transaction;
use crate::keys::{Keys, random};
use crate::trail::{Act, Entry, Origin, Outcome, Who, WhoKind};
use serde_json::json;

const SECOND_US: i64 = 1_000_000;
const SEEN_EVERY_US: i64 = 60 * SECOND_US;
/// Longer than any token; more is not hashed.
const TOKEN_LONGEST: usize = 128;

/// A session that has just begun.
pub struct Started {
    /// The cookie's value.
    pub cookie: String,
    /// After how many seconds it ends at the latest.
    pub max_age_s: u64,
    /// Whose it is.
    pub who: SignedIn,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Started({:?})", self.who)
    }
}

/// How a session began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Link,
    Password,
}

impl Cause {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Password => "password",
        }
    }
}

/// A fresh token and the hash to store for it.
pub(super) fn token(keys: &Keys, column: &'static str) -> (String, [u8; 32]) {
    let bytes: [u8; 32] = random();
    let secret = URL_SAFE_NO_PAD.encode(bytes);
    let hash = keys.instance().lookup(column, secret.as_bytes());
    (secret, hash)
}

impl Access {
    /// Begins a session for the right e-mail and password. `source` is where the attempt comes from, such as an
    /// address; attempts are limited per account and per source.
    ///
    /// # Errors
    /// [`AccessError::WrongCredentials`] alike, and after the same work, for unknown people, people without a
    /// password, disabled people and wrong passwords.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &str,
        source: &str,
        origin: &Origin,
    ) -> Result<Started, AccessError> {
        let email = normalized(email).unwrap_or_default();
        self.limit(&email, source)?;
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT id, password FROM person WHERE email_hash = $1 AND enabled",
                &[(&self.email_hash(&email)).into()],
            )
            .await?;
        let stored = match &row {
            Some(row) => row.opt_text(1)?,
            None => None,
        };
        let right = self.0.passwords.verify(password, stored).await?;
        let (Some(row), Some(stored), true) = (&row, stored, right) else {
            tracing::info!("sign-in refused");
            if let Some(row) = &row {
                let entry = Entry::new(None, Who::nobody(), origin, Act::SessionStart)
                    .on(PersonId::from_bytes(row.array(0)?))
                    .ended(Outcome::Refused("sign_in_failed"));
                self.trail().note(entry);
            }
            return Err(AccessError::WrongCredentials);
        };
        self.0.throttle.forgive(self.email_hash(&email));
        let person = PersonId::from_bytes(row.array(0)?);
        let renewed = if password::is_outdated(stored) {
            Some(self.0.passwords.hash(password).await?)
        } else {
            None
        };
        let mut transaction = self.0.db.begin().await?;
        if let Some(hash) = renewed {
            transaction
                .execute(
                    "UPDATE person SET password = $2 WHERE id = $1 AND password = $3",
                    &[
                        person.as_bytes().into(),
                        hash.as_str().into(),
                        stored.into(),
                    ],
                )
                .await?;
        }
        let cookie = self
            .begin_session(&mut transaction, person, Cause::Password, origin)
            .await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "signed in by password");
        self.started(cookie, origin).await
    }

    /// Ends the caller's session, on the server too. An API key has none to end.
    pub async fn sign_out(&self, who: SignedIn) -> Result<(), Failure> {
        if let Holder::Person { session, .. } = &who.holder {
            let mut transaction = self.0.db.begin().await?;
            transaction
                .execute("DELETE FROM session WHERE hash = $1", &[session.into()])
                .await?;
            let entry = who.entry(Act::SessionEnd);
            self.trail().write(&mut transaction, entry).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    pub(super) fn limit(&self, email: &str, source: &str) -> Result<(), AccessError> {
        let source = self
            .0
            .keys
            .instance()
            .lookup("throttle.source", source.as_bytes());
        self.0
            .throttle
            .attempt(self.email_hash(email), source)
            .map_err(|retry_after_s| AccessError::Throttled { retry_after_s })
    }

    pub(super) async fn begin_session(
        &self,
        transaction: &mut Transaction,
        person: PersonId,
        cause: Cause,
        origin: &Origin,
    ) -> Result<String, Failure> {
        let now = self.0.clock.now().as_micros();
        let (secret, hash) = token(&self.0.keys, "session.hash");
        transaction
            .execute("DELETE FROM session WHERE expires_us <= $1", &[now.into()])
            .await?;
        transaction
            .execute(
                "INSERT INTO session (hash, person, cause, created_us, seen_us, expires_us)
                 VALUES ($1, $2, $3, $4, $4, $5)",
                &[
                    (&hash).into(),
                    person.as_bytes().into(),
                    cause.name().into(),
                    now.into(),
                    now.saturating_add(i64::from(self.0.rules.absolute_s) * SECOND_US)
                        .into(),
                ],
            )
            .await?;
        let who = Who::new(WhoKind::Person, person, None);
        let entry = Entry::new(None, who, origin, Act::SessionStart)
            .on(person)
            .new_value(json!({ "by": cause.name() }));
        self.trail().write(transaction, entry).await?;
        Ok(secret)
    }

    pub(super) async fn started(
        &self,
        cookie: String,
        origin: &Origin,
    ) -> Result<Started, AccessError> {
        let who = match self.session_holder(&cookie, origin).await {
            Ok(who) => who,
            Err(Denied::Failed(failure)) => return Err(failure.into()),
            Err(Denied::Unauthenticated | Denied::NotFound | Denied::Forbidden) => {
                return Err(AccessError::WrongCredentials);
            }
        };
        Ok(Started {
            cookie,
            max_age_s: self.0.rules.absolute_s.into(),
            who,
        })
    }

    pub(super) async fn session_holder(
        &self,
        secret: &str,
        origin: &Origin,
    ) -> Result<SignedIn, Denied> {
        if secret.len() > TOKEN_LONGEST {
            return Err(Denied::Unauthenticated);
        }
        let hash = self
            .0
            .keys
            .instance()
            .lookup("session.hash", secret.as_bytes());
        self.session_by_hash(hash, origin).await
    }

    /// The holder as it stands now.
    pub(super) async fn refreshed(&self, who: &SignedIn) -> Result<SignedIn, Denied> {
        match &who.holder {
            Holder::Person { session, .. } => self.session_by_hash(*session, who.origin()).await,
            Holder::ApiKey { project, key } => self.api_key_alive(who, *project, *key).await,
            Holder::Service {
                token, audience, ..
            } => self.token_holder(*token, *audience, who.origin()).await,
        }
    }

    pub(super) async fn session_by_hash(
        &self,
        hash: [u8; 32],
        origin: &Origin,
    ) -> Result<SignedIn, Denied> {
        let now = self.0.clock.now().as_micros();
        let idle_us = i64::from(self.0.rules.idle_s) * SECOND_US;
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT p.id, p.operator, p.password IS NULL, s.seen_us, p.name_sealed
                 FROM session s JOIN person p ON p.id = s.person
                 WHERE s.hash = $1 AND s.expires_us > $2 AND p.enabled
                   AND s.seen_us > CASE WHEN s.cause = $4 THEN $5 ELSE $3 END",
                &[
                    (&hash).into(),
                    now.into(),
                    now.saturating_sub(idle_us).into(),
                    device_code::CAUSE.into(),
                    now.saturating_sub(device_code::IDLE_US).into(),
                ],
            )
            .await?
            .ok_or(Denied::Unauthenticated)?;
        if now.saturating_sub(row.i64(3)?) > SEEN_EVERY_US {
            self.0
                .db
                .execute(
                    "UPDATE session SET seen_us = $2 WHERE hash = $1 AND seen_us < $2",
                    &[(&hash).into(), now.into()],
                )
                .await?;
        }
        let id: [u8; 16] = row.array(0)?;
        let holder = Holder::Person {
            person: PersonId::from_bytes(id),
            operator: row.bool(1)?,
            must_set_password: row.bool(2)?,
            session: hash,
        };
        let name = self
            .0
            .keys
            .instance()
            .open_text("person.name", &id, row.bytes(4)?)
            .map_err(Failure::from)?;
        Ok(SignedIn::new(holder, &name, origin))
    }
}

impl Credential {
    /// The credential of a request, from its cookie's value or its Authorization header.
    pub fn bearer(header: &str) -> Option<Self> {
        let (scheme, secret) = header.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| Self::Bearer(secret.trim().to_owned()))
    }
}
