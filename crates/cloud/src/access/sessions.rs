//! Sign-in by password, and sessions: opaque cookies with an idle and an absolute end.
//!
//! A token has 256 random bits; only its keyed hash is stored. Each sign-in makes a new one, showing a second factor too,
//! and an ended session is gone from the table. When a session was last used is written at most once a minute. Whoever
//! has a second factor and has not shown it, or needs one and has none, holds a session with a step left: [`Step`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fieldkeep_protocol::{PersonId, SessionId, Timestamp};

use super::grant::{Holder, SignedIn, Step};
use super::people::normalized;
use super::{Access, AccessError, Arriving, Credential, Denied, Failure, device_code, password};
use crate::db::{SqlError, Transaction};
use crate::keys::{Keys, random};
use crate::trail::{Act, Entry, Origin, Outcome, Who, WhoKind};
use serde_json::json;

const SECOND_US: i64 = 1_000_000;
const SEEN_EVERY_US: i64 = 60 * SECOND_US;
/// Longer than any token; more is not hashed.
const TOKEN_LONGEST: usize = 128;

/// How long a session lives whose second factor is still to be shown.
const STEP_LIFE_US: i64 = 10 * 60 * SECOND_US;
/// How long ago somebody may have proved who they are, for what needs it to be recent.
const FRESH_US: i64 = 10 * 60 * SECOND_US;

/// A session as its owner sees it.
#[derive(Clone, Debug)]
pub struct OwnSession {
    /// Which.
    pub id: SessionId,
    /// Whether it is the one that asks.
    pub current: bool,
    /// How it began: `link`, `password`, `passkey`, `invitation`, or `device` for a program that was let in by a code.
    pub cause: String,
    /// From where it began, as far as that is known.
    pub origin: Option<String>,
    /// When it began.
    pub created: Timestamp,
    /// When it was last used, to the minute.
    pub seen: Timestamp,
    /// When it ends at the latest.
    pub expires: Timestamp,
}

/// A session that has just begun.
pub struct Started {
    /// The cookie's value.
    pub cookie: String,
    /// After how many seconds it ends at the latest.
    pub max_age_s: u64,
    /// Whose it is, and what is left to do.
    pub who: Arriving,
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
    Passkey,
    Invitation,
}

/// What a new session is.
pub(super) struct Beginning {
    pub(super) person: PersonId,
    pub(super) cause: Cause,
    /// Whether a second factor was shown.
    pub(super) factor: bool,
}

impl Cause {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Password => "password",
            Self::Passkey => "passkey",
            Self::Invitation => "invitation",
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
            .begin_session(
                &mut transaction,
                Beginning {
                    person,
                    cause: Cause::Password,
                    factor: false,
                },
                origin,
            )
            .await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "signed in by password");
        self.started(cookie, origin).await
    }

    /// Ends the caller's session, on the server too. An API key has none to end.
    pub async fn sign_out(&self, who: &Arriving) -> Result<(), Failure> {
        if let Holder::Person { session, .. } = &who.0.holder {
            let mut transaction = self.0.db.begin().await?;
            transaction
                .execute("DELETE FROM session WHERE hash = $1", &[session.into()])
                .await?;
            let entry = who.0.entry(Act::SessionEnd);
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
        beginning: Beginning,
        origin: &Origin,
    ) -> Result<String, Failure> {
        let person = beginning.person;
        let now = self.0.clock.now().as_micros();
        let (secret, hash) = token(&self.0.keys, "session.hash");
        let waits = !beginning.factor && has_factor(transaction, person).await?;
        let life_us = if waits {
            STEP_LIFE_US
        } else {
            i64::from(self.0.rules.absolute_s) * SECOND_US
        };
        transaction
            .execute("DELETE FROM session WHERE expires_us <= $1", &[now.into()])
            .await?;
        let what = (person, beginning.cause.name());
        self.insert_session(transaction, &hash, what, beginning.factor, life_us, origin)
            .await?;
        let who = Who::new(WhoKind::Person, person, None);
        let entry = Entry::new(None, who, origin, Act::SessionStart)
            .on(person)
            .new_value(json!({ "by": beginning.cause.name(), "factor": beginning.factor }));
        self.trail().write(transaction, entry).await?;
        Ok(secret)
    }

    /// Writes the row of a session that begins now.
    pub(super) async fn insert_session(
        &self,
        transaction: &mut Transaction,
        hash: &[u8; 32],
        (person, cause): (PersonId, &str),
        factor: bool,
        life_us: i64,
        origin: &Origin,
    ) -> Result<(), Failure> {
        let now = self.0.clock.now().as_micros();
        let [id, _] = halves(*hash);
        let key = self.0.keys.instance();
        let from = origin
            .address()
            .map(|address| key.seal("session.origin", &id, address.to_string().as_bytes()));
        transaction
            .execute(
                "INSERT INTO session
                     (hash, id, person, cause, created_us, seen_us, expires_us, proved_us, factor, origin_sealed)
                 VALUES ($1, $2, $3, $4, $5, $5, $6, $5, $7, $8)",
                &[
                    hash.into(),
                    (&id).into(),
                    person.as_bytes().into(),
                    cause.into(),
                    now.into(),
                    now.saturating_add(life_us).into(),
                    factor.into(),
                    from.as_deref().into(),
                ],
            )
            .await?;
        Ok(())
    }

    pub(super) async fn started(
        &self,
        cookie: String,
        origin: &Origin,
    ) -> Result<Started, AccessError> {
        let who = match self.session_holder(&cookie, origin).await {
            Ok(who) => Arriving(who),
            Err(Denied::Failed(failure)) => return Err(failure.into()),
            Err(_) => return Err(AccessError::WrongCredentials),
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
                SESSION,
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
        let (operator, shown, has, administers) =
            (row.bool(1)?, row.bool(5)?, row.bool(6)?, row.bool(7)?);
        let must_have = (operator || administers) && !self.0.rules.second_factor_optional;
        let step = match (shown, has, must_have) {
            (true, ..) | (false, false, false) => Step::Done,
            (false, true, _) => Step::ShowFactor,
            (false, false, true) => Step::SetUpFactor,
        };
        let id: [u8; 16] = row.array(0)?;
        let holder = Holder::Person {
            person: PersonId::from_bytes(id),
            operator,
            must_set_password: row.bool(2)?,
            session: hash,
            step,
            proved: Timestamp::from_micros(row.i64(4)?),
        };
        let name = self
            .0
            .keys
            .instance()
            .open_text("person.name", &id, row.bytes(8)?)
            .map_err(Failure::from)?;
        Ok(SignedIn::new(holder, &name, origin))
    }

    /// Whether the caller proved within the last ten minutes who they are.
    pub(super) fn is_fresh(&self, who: &SignedIn) -> bool {
        match &who.holder {
            Holder::Person { proved, .. } => {
                let age_us = self.0.clock.now().as_micros() - proved.as_micros();
                age_us < FRESH_US
            }
            Holder::ApiKey { .. } | Holder::Service { .. } => true,
        }
    }

    /// The caller's sessions, the newest first.
    pub async fn own_sessions(&self, who: &SignedIn) -> Result<Vec<OwnSession>, AccessError> {
        let (person, session) = a_person(who)?;
        let now = self.0.clock.now().as_micros();
        let idle_us = i64::from(self.0.rules.idle_s) * SECOND_US;
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id, hash, cause, origin_sealed, created_us, seen_us, expires_us FROM session
                 WHERE person = $1 AND expires_us > $2
                     AND seen_us > CASE WHEN cause = $4 THEN $5 ELSE $3 END ORDER BY created_us DESC, id",
                &[
                    person.as_bytes().into(),
                    now.into(),
                    now.saturating_sub(idle_us).into(),
                    device_code::CAUSE.into(),
                    now.saturating_sub(device_code::IDLE_US).into(),
                ],
            )
            .await?;
        let key = self.0.keys.instance();
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: [u8; 16] = row.array(0)?;
            let origin = row
                .opt_bytes(3)?
                .map(|sealed| key.open_text("session.origin", &id, sealed))
                .transpose()?;
            found.push(OwnSession {
                id: SessionId::from_bytes(id),
                current: row.bytes(1)? == session,
                cause: row.text(2)?.to_owned(),
                origin,
                created: Timestamp::from_micros(row.i64(4)?),
                seen: Timestamp::from_micros(row.i64(5)?),
                expires: Timestamp::from_micros(row.i64(6)?),
            });
        }
        Ok(found)
    }

    /// Ends one of the caller's sessions, at once.
    ///
    /// # Errors
    /// [`AccessError::NotFound`] where they have no such session.
    pub async fn end_session(&self, who: &SignedIn, id: SessionId) -> Result<(), AccessError> {
        let (person, _) = a_person(who)?;
        let mut transaction = self.0.db.begin().await?;
        let ended = transaction
            .execute(
                "DELETE FROM session WHERE person = $1 AND id = $2",
                &[person.as_bytes().into(), id.as_bytes().into()],
            )
            .await?;
        if ended == 0 {
            return Err(AccessError::NotFound);
        }
        let entry = who.entry(Act::SessionRevoke).on(id);
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, session.id = %id, "session ended by its owner");
        Ok(())
    }

    /// Ends every session of the caller but the one that asks.
    pub async fn end_other_sessions(&self, who: &SignedIn) -> Result<(), AccessError> {
        let (person, session) = a_person(who)?;
        let mut transaction = self.0.db.begin().await?;
        let ended = transaction
            .execute(
                "DELETE FROM session WHERE person = $1 AND hash <> $2",
                &[person.as_bytes().into(), session.into()],
            )
            .await?;
        let entry = who.entry(Act::SessionRevoke).on(person);
        let entry = entry.new_value(json!({ "ended": ended }));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "other sessions ended by their owner");
        Ok(())
    }
}

/// The holder of a session, and what is left to show: the last two only matter while no factor was shown.
const SESSION: &str = "
    SELECT p.id, p.operator, p.password IS NULL, s.seen_us, s.proved_us, s.factor,
        NOT s.factor AND (EXISTS (SELECT 1 FROM totp t WHERE t.person = p.id AND t.confirmed_us IS NOT NULL)
            OR EXISTS (SELECT 1 FROM passkey k WHERE k.person = p.id)),
        NOT s.factor AND EXISTS (SELECT 1 FROM membership m WHERE m.person = p.id AND m.role = 'administrator'
            AND (m.until_us IS NULL OR m.until_us > $2)),
        p.name_sealed
    FROM session s JOIN person p ON p.id = s.person
    WHERE s.hash = $1 AND s.expires_us > $2 AND p.enabled
        AND s.seen_us > CASE WHEN s.cause = $4 THEN $5 ELSE $3 END";

/// The person behind a session, and the session.
pub(super) fn a_person(who: &SignedIn) -> Result<(PersonId, &[u8; 32]), AccessError> {
    match &who.holder {
        Holder::Person {
            person, session, ..
        } => Ok((*person, session)),
        Holder::ApiKey { .. } | Holder::Service { .. } => Err(AccessError::NotAPerson),
    }
}

/// Whether a person has a second factor.
pub(super) async fn has_factor(
    transaction: &mut Transaction,
    person: PersonId,
) -> Result<bool, SqlError> {
    let row = transaction
        .fetch_optional(
            "SELECT 1 FROM totp WHERE person = $1 AND confirmed_us IS NOT NULL
             UNION ALL SELECT 1 FROM passkey WHERE person = $1 LIMIT 1",
            &[person.as_bytes().into()],
        )
        .await?;
    Ok(row.is_some())
}

fn halves(hash: [u8; 32]) -> [[u8; 16]; 2] {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&hash[..16]);
    second.copy_from_slice(&hash[16..]);
    [first, second]
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
