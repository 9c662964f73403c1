//! Letting a command line in by a code that a person confirms in the browser (RFC 8628).
//!
//! The program shows a short code and asks with a long one; the person types the short one where they are signed in, sees
//! who asks from where, and says yes or no. Yes gives the program a session of that person, no more than they are: a
//! token `fkp_…` that ends after 30 days without use, is listed among their sessions and ends like any of them. Codes live
//! ten minutes, answer once, and are stored as keyed hashes; guessing short ones is limited per person.

use std::fmt;

use fieldkeep_protocol::{PersonId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api_keys::{DAY_US, marked};
use super::grant::{Holder, SignedIn};
use super::people::valid_name;
use super::sessions::has_factor;
use super::{Access, AccessError, Denied, Failure};
use crate::db::Row;
use crate::keys::random;
use crate::trail::{Act, Entry, Origin, Who, WhoKind};

pub(super) const PERSON_MARK: &str = "fkp_";
const PERSON_LENGTH: usize = 4 + 64;
const DEVICE_MARK: &str = "fkd_";
const DEVICE_LENGTH: usize = 4 + 64;
/// The cause of sessions that began so.
pub(super) const CAUSE: &str = "device";
/// How long such a session lives without use, and at most.
pub(super) const IDLE_US: i64 = 30 * DAY_US;
const ABSOLUTE_US: i64 = 366 * DAY_US;
const LIFE_S: u64 = 600;
const INTERVAL_S: i64 = 5;
const SECOND_US: i64 = 1_000_000;
/// Codes that wait at once, on the whole instance.
const WAITING: i64 = 10_000;
/// No vowels, so that no words come out, and nothing that looks like something else. 20 letters, 8 of them: 34 bits.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const USER_LENGTH: usize = 8;

/// What a program gets to go on with. Never printed.
pub struct DeviceCode {
    /// What it asks with.
    pub device_code: String,
    /// What it shows: `BCDF-GHJK`.
    pub user_code: String,
    /// How long both are good.
    pub expires_in_s: u64,
    /// How long to wait between two questions.
    pub interval_s: i64,
}

impl fmt::Debug for DeviceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceCode")
    }
}

/// What asks to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// What it calls itself. Nobody has checked that.
    pub name: String,
    /// The network address that it asks from.
    pub from: String,
    /// Since when.
    pub asked: Timestamp,
    /// Until when.
    pub expires: Timestamp,
}

/// A person's token that was just made. Never printed.
pub struct PersonToken {
    /// The token.
    pub token: String,
    /// How long it lives at most.
    pub expires_in_s: u64,
}

impl fmt::Debug for PersonToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonToken")
    }
}

/// Why there is no token (yet).
#[derive(Debug, thiserror::Error)]
pub enum DeviceRefusal {
    /// Nobody has answered.
    #[error("nobody has answered yet")]
    Pending,
    /// Asked too soon; from now on 5 seconds more between two questions.
    #[error("asked too soon")]
    SlowDown,
    /// The person said no.
    #[error("the person said no")]
    Denied,
    /// The code is too old, unknown, or was used.
    #[error("the code is not valid (any more)")]
    Expired,
    /// The access data failed.
    #[error("the access data failed")]
    Failed(#[from] Failure),
}

impl From<crate::db::SqlError> for DeviceRefusal {
    fn from(error: crate::db::SqlError) -> Self {
        Self::Failed(error.into())
    }
}

#[derive(Deserialize, Serialize)]
struct Asks {
    name: String,
    from: String,
}

impl Access {
    /// Begins to ask. `name` is what the program calls itself, `source` the network that it asks from.
    ///
    /// # Errors
    /// [`AccessError::Throttled`], [`AccessError::InvalidName`].
    pub async fn ask_by_device(
        &self,
        name: &str,
        source: &str,
        origin: &Origin,
    ) -> Result<DeviceCode, AccessError> {
        let asks = Asks {
            name: valid_name(name)?.to_owned(),
            from: source.to_owned(),
        };
        let shown = json!({ "device": asks.name });
        let key = self.0.keys.instance();
        let from = key.lookup("throttle.source", source.as_bytes());
        self.0
            .attempts_source
            .take(from, self.0.clock.elapsed())
            .map_err(|retry_after_s| AccessError::Throttled { retry_after_s })?;
        let device_code = marked(DEVICE_MARK);
        let user_code = user_code();
        let hash = key.lookup("device_code.hash", device_code.as_bytes());
        let asks = serde_json::to_vec(&asks).map_err(|_| Failure::Unknown("device_code.asks"))?;
        let now = self.0.clock.now().as_micros();
        let life_us = i64::try_from(LIFE_S).unwrap_or(0) * SECOND_US;
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "DELETE FROM device_code WHERE expires_us <= $1",
                &[now.into()],
            )
            .await?;
        let waiting = transaction
            .fetch_optional("SELECT count(*) FROM device_code", &[])
            .await?;
        if waiting.map_or(Ok(0), |row| row.i64(0))? >= WAITING {
            return Err(AccessError::Throttled { retry_after_s: 60 });
        }
        transaction
            .execute(
                "INSERT INTO device_code
                     (hash, user_hash, asks_sealed, created_us, expires_us, interval_s, denied)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &[
                    (&hash).into(),
                    (&self.user_hash(&user_code)).into(),
                    (&key.seal("device_code.asks", &hash, &asks)).into(),
                    now.into(),
                    now.saturating_add(life_us).into(),
                    INTERVAL_S.into(),
                    false.into(),
                ],
            )
            .await?;
        transaction.commit().await?;
        let told = Entry::new(None, Who::nobody(), origin, Act::CodeAsk);
        self.trail().note(told.new_value(shown));
        let (first, second) = user_code.split_at(USER_LENGTH / 2);
        Ok(DeviceCode {
            device_code,
            user_code: format!("{first}-{second}"),
            expires_in_s: LIFE_S,
            interval_s: INTERVAL_S,
        })
    }

    /// What asks with this short code.
    ///
    /// # Errors
    /// [`AccessError::CodeUnknown`]; [`AccessError::NotAPerson`] for everybody but a person in a browser.
    pub async fn device_asks(&self, who: &SignedIn, code: &str) -> Result<Asking, AccessError> {
        self.browser(who).await?;
        let (hash, row) = self.asking(who, code).await?;
        let asking = self.shown(&hash, &row)?;
        let entry = who.entry(Act::CodeLook).new_value(json!({
            "device": asking.name, "from": asking.from,
        }));
        self.trail().note(entry);
        Ok(asking)
    }

    /// Says yes or no, once.
    ///
    /// # Errors
    /// As [`device_asks`](Self::device_asks).
    pub async fn answer_device(
        &self,
        who: &SignedIn,
        code: &str,
        approve: bool,
    ) -> Result<Asking, AccessError> {
        let person = self.browser(who).await?;
        let (hash, row) = self.asking(who, code).await?;
        let asking = self.shown(&hash, &row)?;
        let mut transaction = self.0.db.begin().await?;
        let answered = transaction
            .execute(
                "UPDATE device_code SET person = $2, denied = $3
                 WHERE hash = $1 AND person IS NULL AND NOT denied",
                &[
                    (&hash).into(),
                    approve.then_some(person.as_bytes()).into(),
                    (!approve).into(),
                ],
            )
            .await?;
        if answered == 0 {
            return Err(AccessError::CodeUnknown);
        }
        let entry = who.entry(Act::CodeAnswer).on(person).new_value(json!({
            "device": asking.name, "from": asking.from, "approved": approve,
        }));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, approve, "device code answered");
        Ok(asking)
    }

    /// Asks whether somebody has said yes; then the code is spent.
    pub async fn poll_device(
        &self,
        code: &str,
        origin: &Origin,
    ) -> Result<PersonToken, DeviceRefusal> {
        if code.len() != DEVICE_LENGTH || !code.starts_with(DEVICE_MARK) {
            return Err(DeviceRefusal::Expired);
        }
        let key = self.0.keys.instance();
        let hash = key.lookup("device_code.hash", code.as_bytes());
        let now = self.0.clock.now().as_micros();
        // Looked up before the write lock is taken: guessing must not hold up everyone else.
        let known = self
            .0
            .db
            .fetch_optional(
                "SELECT 1 FROM device_code WHERE hash = $1 AND expires_us > $2",
                &[(&hash).into(), now.into()],
            )
            .await?;
        if known.is_none() {
            return Err(DeviceRefusal::Expired);
        }
        let mut transaction = self.0.db.begin().await?;
        let row = transaction
            .fetch_optional(
                "SELECT interval_s, polled_us, person, denied, asks_sealed FROM device_code
                 WHERE hash = $1 AND expires_us > $2",
                &[(&hash).into(), now.into()],
            )
            .await?
            .ok_or(DeviceRefusal::Expired)?;
        let interval_s = row.i64(0)?;
        let soon = row
            .opt_i64(1)?
            .is_some_and(|polled| now < polled.saturating_add(interval_s * SECOND_US));
        if soon {
            transaction
                .execute(
                    "UPDATE device_code SET interval_s = $2, polled_us = $3 WHERE hash = $1",
                    &[
                        (&hash).into(),
                        interval_s.saturating_add(5).into(),
                        now.into(),
                    ],
                )
                .await?;
            transaction.commit().await?;
            return Err(DeviceRefusal::SlowDown);
        }
        let person = row.opt_array(2)?.map(PersonId::from_bytes);
        let denied = row.bool(3)?;
        let Some(person) = person else {
            let sql = if denied {
                "DELETE FROM device_code WHERE hash = $1"
            } else {
                "UPDATE device_code SET polled_us = $2 WHERE hash = $1"
            };
            let values = [(&hash).into(), now.into()];
            let values = if denied { &values[..1] } else { &values[..] };
            transaction.execute(sql, values).await?;
            transaction.commit().await?;
            return Err(if denied {
                DeviceRefusal::Denied
            } else {
                DeviceRefusal::Pending
            });
        };
        let token = marked(PERSON_MARK);
        transaction
            .execute("DELETE FROM device_code WHERE hash = $1", &[(&hash).into()])
            .await?;
        // Whoever said yes had shown every factor that they have, and just proved who they are.
        let factor = has_factor(&mut transaction, person).await?;
        let life_us = ABSOLUTE_US;
        let hash = self.person_token_hash(&token);
        self.insert_session(
            &mut transaction,
            &hash,
            (person, CAUSE),
            factor,
            life_us,
            origin,
        )
        .await?;
        let who = Who::new(WhoKind::Person, person, None);
        let entry = Entry::new(None, who, origin, Act::SessionStart)
            .on(person)
            .new_value(json!({ "cause": CAUSE }));
        let written = self.trail().write(&mut transaction, entry).await;
        written.map_err(Failure::from)?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "signed in by device code");
        Ok(PersonToken {
            token,
            expires_in_s: u64::try_from(ABSOLUTE_US / SECOND_US).unwrap_or(0),
        })
    }

    /// Ends the session behind a person's token; whoever holds it may. An unknown one changes nothing.
    pub async fn revoke_person_token(&self, token: &str) -> Result<(), Failure> {
        if is_person_token(token) {
            self.0
                .db
                .execute(
                    "DELETE FROM session WHERE hash = $1",
                    &[(&self.person_token_hash(token)).into()],
                )
                .await?;
        }
        Ok(())
    }

    pub(super) async fn person_token_holder(
        &self,
        token: &str,
        origin: &Origin,
    ) -> Result<SignedIn, Denied> {
        if !is_person_token(token) {
            return Err(Denied::Unauthenticated);
        }
        self.session_by_hash(self.person_token_hash(token), origin)
            .await
    }

    /// The person, if they came by a browser: a program does not let another one in.
    async fn browser(&self, who: &SignedIn) -> Result<PersonId, AccessError> {
        let Holder::Person {
            person, session, ..
        } = &who.holder
        else {
            return Err(AccessError::NotAPerson);
        };
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT 1 FROM session WHERE hash = $1 AND cause <> $2",
                &[session.into(), CAUSE.into()],
            )
            .await?;
        row.map(|_| *person).ok_or(AccessError::NotAPerson)
    }

    /// The waiting row of a short code. Wrong ones count against the person who tries.
    async fn asking(&self, who: &SignedIn, code: &str) -> Result<([u8; 32], Row), AccessError> {
        let person = who.actor().person().ok_or(AccessError::NotAPerson)?;
        let key = self.0.keys.instance();
        let name = key.lookup("throttle.code", person.as_bytes());
        self.0
            .attempts_client
            .take(name, self.0.clock.elapsed())
            .map_err(|retry_after_s| AccessError::Throttled { retry_after_s })?;
        let code = plain(code).ok_or(AccessError::CodeUnknown)?;
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT hash, asks_sealed, created_us, expires_us FROM device_code
                 WHERE user_hash = $1 AND expires_us > $2 AND person IS NULL AND NOT denied",
                &[
                    (&self.user_hash(&code)).into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?
            .ok_or(AccessError::CodeUnknown)?;
        self.0.attempts_client.give_back(name);
        Ok((row.array(0)?, row))
    }

    fn shown(&self, hash: &[u8; 32], row: &Row) -> Result<Asking, AccessError> {
        let key = self.0.keys.instance();
        let asks = key.open("device_code.asks", hash, row.bytes(1)?)?;
        let asks: Asks =
            serde_json::from_slice(&asks).map_err(|_| Failure::Unknown("device_code.asks"))?;
        Ok(Asking {
            name: asks.name,
            from: asks.from,
            asked: Timestamp::from_micros(row.i64(2)?),
            expires: Timestamp::from_micros(row.i64(3)?),
        })
    }

    fn user_hash(&self, code: &str) -> [u8; 32] {
        let key = self.0.keys.instance();
        key.lookup("device_code.user", code.as_bytes())
    }

    /// Not the hash of a cookie: what is one cannot be shown as the other.
    fn person_token_hash(&self, token: &str) -> [u8; 32] {
        let key = self.0.keys.instance();
        key.lookup("session.bearer", token.as_bytes())
    }
}

fn is_person_token(token: &str) -> bool {
    token.len() == PERSON_LENGTH && token.starts_with(PERSON_MARK)
}

/// A short code as stored: letters alone, upper case. None for what none can be.
fn plain(typed: &str) -> Option<String> {
    if typed.len() > 64 {
        return None;
    }
    let code: String = typed
        .chars()
        .filter(|letter| !letter.is_whitespace() && *letter != '-')
        .map(|letter| letter.to_ascii_uppercase())
        .collect();
    let sound = code.len() == USER_LENGTH && code.bytes().all(|letter| LETTERS.contains(&letter));
    sound.then_some(code)
}

/// Eight letters, each of them as likely as the others.
fn user_code() -> String {
    let mut code = String::with_capacity(USER_LENGTH);
    while code.len() < USER_LENGTH {
        let bytes: [u8; 32] = random();
        // 240 is a multiple of 20: what is above would favour the first letters.
        let fair = bytes.into_iter().filter(|byte| *byte < 240);
        let letters = fair.filter_map(|byte| LETTERS.get(usize::from(byte) % LETTERS.len()));
        let missing = USER_LENGTH - code.len();
        code.extend(letters.map(|letter| char::from(*letter)).take(missing));
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_typed_as_people_type() {
        assert_eq!(plain("bcdf-ghjk").as_deref(), Some("BCDFGHJK"));
        assert_eq!(plain(" BCDF GHJK ").as_deref(), Some("BCDFGHJK"));
        for typed in ["", "BCDF-GHJ", "BCDF-GHJKL", "BCDF-GHJA", "æææææææ"] {
            assert_eq!(plain(typed), None, "{typed}");
        }
        for _ in 0..100 {
            let code = user_code();
            assert_eq!(plain(&code), Some(code));
        }
    }
}
