//! Persons, the one-time links that let them in, and their passwords.

use fieldkeep_protocol::{PersonId, Timestamp};
use serde_json::json;

use super::Task;
use super::grant::{Holder, SignedIn};
use super::operators::remember_person;
use super::sessions::{Beginning, Cause, Started, has_factor, token};
use super::{Access, AccessError, Arrived, Arriving, Failure, PasswordFault, password};
use crate::db::{Row, Transaction};
use crate::keys::new_id;
use crate::mail::Letter;
use crate::trail::{Act, Entry, Origin, Who, WhoKind};

const LINK_US: i64 = 15 * 60 * 1_000_000;
const EMAIL_LONGEST: usize = 254;
const NAME_LONGEST: usize = 128;

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub id: PersonId,
    /// The e-mail address, in lower case.
    pub email: String,
    /// The name to show.
    pub name: String,
    /// Whether they look after the instance.
    pub operator: bool,
    /// Whether they may come in.
    pub enabled: bool,
}

impl Access {
    /// The signed-in person; None for an API key.
    pub async fn me(&self, who: &SignedIn) -> Result<Option<Person>, Failure> {
        let Holder::Person { person, .. } = &who.holder else {
            return Ok(None);
        };
        self.person(*person).await
    }

    /// The person on the way in; None for an API key.
    pub async fn me_arriving(&self, who: &Arriving) -> Result<Option<Person>, Failure> {
        self.me(&who.0).await
    }

    /// A one-time token that lets the person with this e-mail in within 15 minutes. On an instance without people it
    /// makes that person its operator. Works beside a running server, and whatever state passwords and limits are in.
    ///
    /// Whoever can call this holds the data folder and the master key.
    pub async fn sign_in_link(&self, email: &str) -> Result<String, AccessError> {
        let email = normalized(email)?;
        let now = self.0.clock.now();
        let mut transaction = self.0.db.begin().await?;
        let person = match self.find(&mut transaction, &email).await? {
            Some(person) => person,
            None => {
                let anyone = transaction
                    .fetch_optional("SELECT 1 FROM person LIMIT 1", &[])
                    .await?;
                if anyone.is_some() {
                    return Err(AccessError::PersonUnknown);
                }
                let name = email.split('@').next().unwrap_or_default().to_owned();
                self.insert_person(&mut transaction, &email, &name, true)
                    .await?
            }
        };
        let (secret, hash) = token(&self.0.keys, "sign_in_link.hash");
        transaction
            .execute(
                "DELETE FROM sign_in_link WHERE expires_us <= $1",
                &[now.as_micros().into()],
            )
            .await?;
        transaction
            .execute(
                "INSERT INTO sign_in_link (hash, person, expires_us) VALUES ($1, $2, $3)",
                &[
                    (&hash).into(),
                    person.as_bytes().into(),
                    now.as_micros().saturating_add(LINK_US).into(),
                ],
            )
            .await?;
        let task = Who::new(WhoKind::System, Task::AdminCommand.name(), None);
        let entry = Entry::new(None, task, &Origin::here(), Act::LinkCreate).on(person);
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "sign-in link made");
        Ok(secret)
    }

    /// As [`sign_in_link`](Self::sign_in_link), for somebody who has lost their second factor: their factors, recovery
    /// codes and sessions go, and a password that is too short to stand alone. All operators are told by mail.
    ///
    /// Whoever can call this holds the data folder and the master key.
    pub async fn sign_in_link_without_factor(&self, email: &str) -> Result<String, AccessError> {
        let email = normalized(email)?;
        let mut transaction = self.0.db.begin().await?;
        let person = self
            .find(&mut transaction, &email)
            .await?
            .ok_or(AccessError::PersonUnknown)?;
        self.reset_factors(&mut transaction, person).await?;
        transaction.commit().await?;
        self.tell_operators(
            "A second factor was reset",
            &format!(
                "On the machine that runs Fieldkeep somebody has taken away every second factor of {email}, and a link \
                 that signs them in was made.\n\nIf you do not know of this, look at that machine now.\n"
            ),
        )
        .await?;
        self.sign_in_link(&email).await
    }

    /// Makes somebody an operator, who may be new, and answers a link that signs them in.
    ///
    /// Whoever can call this holds the data folder and the master key.
    pub async fn make_operator(&self, email: &str) -> Result<String, AccessError> {
        let email = normalized(email)?;
        let mut transaction = self.0.db.begin().await?;
        let (person, act) = match self.find(&mut transaction, &email).await? {
            Some(person) => {
                transaction
                    .execute(
                        "UPDATE person SET operator = true WHERE id = $1",
                        &[person.as_bytes().into()],
                    )
                    .await?;
                (person, Act::PersonChange)
            }
            None => {
                let name = email.split('@').next().unwrap_or_default();
                let person = self.insert_person(&mut transaction, &email, name, true);
                (person.await?, Act::PersonCreate)
            }
        };
        let now = self.0.clock.now();
        remember_person(&mut transaction, person, None, now).await?;
        let task = Who::new(WhoKind::System, Task::AdminCommand.name(), None);
        let entry = Entry::new(None, task, &Origin::here(), act).on(person);
        let entry = entry.new_value(json!({ "operator": true }));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "made an operator");
        self.tell_operators(
            "There is another operator",
            &format!("{email} was made an operator, on the machine that runs Fieldkeep.\n"),
        )
        .await?;
        self.sign_in_link(&email).await
    }

    /// How many operators there are.
    pub async fn operators(&self) -> Result<u64, Failure> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT count(*) FROM person WHERE operator AND enabled",
                &[],
            )
            .await?;
        Ok(u64::try_from(row.map_or(Ok(0), |row| row.i64(0))?).unwrap_or_default())
    }

    /// Writes to every operator, where there is a mail server.
    async fn tell_operators(&self, subject: &str, text: &str) -> Result<(), Failure> {
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id, email_sealed, name_sealed, operator, enabled FROM person WHERE operator AND enabled",
                &[],
            )
            .await?;
        for row in &rows {
            let letter = Letter {
                to: self.person_from(row, 0)?.email,
                subject: format!("Fieldkeep: {subject}"),
                text: text.to_owned(),
            };
            // A full queue must not keep anybody from getting in again.
            if let Err(error) = self.0.mail.post(&letter).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an operator could not be told"
                );
            }
        }
        Ok(())
    }

    /// Spends a link's token and begins a session.
    ///
    /// # Errors
    /// [`AccessError::LinkRefused`] alike for unknown, used and expired ones.
    pub async fn redeem_link(&self, secret: &str, origin: &Origin) -> Result<Started, AccessError> {
        let hash = self
            .0
            .keys
            .instance()
            .lookup("sign_in_link.hash", secret.as_bytes());
        let now = self.0.clock.now().as_micros();
        // Looked up before the write lock is taken: guessing must not hold up everyone else.
        let known = self
            .0
            .db
            .fetch_optional(
                "SELECT 1 FROM sign_in_link WHERE hash = $1 AND used_us IS NULL",
                &[(&hash).into()],
            )
            .await?;
        if known.is_none() {
            return Err(AccessError::LinkRefused);
        }
        let mut transaction = self.0.db.begin().await?;
        let spent = transaction
            .fetch_optional(
                "UPDATE sign_in_link SET used_us = $2
                 WHERE hash = $1 AND used_us IS NULL AND expires_us > $2 RETURNING person",
                &[(&hash).into(), now.into()],
            )
            .await?
            .ok_or(AccessError::LinkRefused)?;
        let person = PersonId::from_bytes(spent.array(0)?);
        let enabled = transaction
            .fetch_optional(
                "SELECT 1 FROM person WHERE id = $1 AND enabled",
                &[person.as_bytes().into()],
            )
            .await?;
        if enabled.is_none() {
            return Err(AccessError::LinkRefused);
        }
        let cookie = self
            .begin_session(
                &mut transaction,
                Beginning {
                    person,
                    cause: Cause::Link,
                    factor: false,
                },
                origin,
            )
            .await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "signed in by link");
        self.started(cookie, origin).await
    }

    /// Sets the caller's password and ends their other sessions. The current password is asked for, unless there is
    /// none so far or the caller came in by a link within the last 15 minutes. `surroundings` are words that must not
    /// make up most of it, beside the person's own.
    pub async fn set_password(
        &self,
        who: &Arrived,
        current: Option<&str>,
        new: &str,
        surroundings: &[String],
    ) -> Result<(), AccessError> {
        let Holder::Person {
            person, session, ..
        } = &who.0.holder
        else {
            return Err(AccessError::NotAPerson);
        };
        let Person { email, name, .. } = self
            .person(*person)
            .await?
            .ok_or(AccessError::PersonUnknown)?;
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT p.password, s.cause, s.created_us FROM person p
                 JOIN session s ON s.person = p.id WHERE p.id = $1 AND s.hash = $2",
                &[person.as_bytes().into(), session.into()],
            )
            .await?
            .ok_or(AccessError::NotAPerson)?;
        let young = self
            .0
            .clock
            .now()
            .saturating_since(Timestamp::from_micros(row.i64(2)?))
            < LINK_US;
        let by_link = row.text(1)? == Cause::Link.name() && young;
        if let (Some(stored), false) = (row.opt_text(0)?, by_link) {
            self.limit(&email, &person.to_string())?;
            let right = self
                .0
                .passwords
                .verify(current.unwrap_or_default(), Some(stored))
                .await?;
            if !right {
                return Err(PasswordFault::CurrentWrong.into());
            }
        }
        let words: Vec<&str> = [email.as_str(), name.as_str()]
            .into_iter()
            .chain(surroundings.iter().map(String::as_str))
            .collect();
        // Refused before it is hashed where it cannot be accepted; a factor that goes meanwhile is seen below.
        password::check(new, &words, true).map_err(|fault| match fault {
            PasswordFault::TooShortBesideFactor => PasswordFault::TooShort,
            other => other,
        })?;
        let hash = self.0.passwords.hash(new).await?;
        let mut transaction = self.0.db.begin().await?;
        let beside_factor = has_factor(&mut transaction, *person).await?;
        password::check(new, &words, beside_factor)?;
        transaction
            .execute(
                "UPDATE person SET password = $2, password_short = $3 WHERE id = $1",
                &[
                    person.as_bytes().into(),
                    hash.as_str().into(),
                    password::is_short(new).into(),
                ],
            )
            .await?;
        transaction
            .execute(
                "DELETE FROM session WHERE person = $1 AND hash <> $2",
                &[person.as_bytes().into(), session.into()],
            )
            .await?;
        let entry = who.0.entry(Act::PasswordSet).on(*person);
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "password set");
        Ok(())
    }

    pub(super) async fn person(&self, id: PersonId) -> Result<Option<Person>, Failure> {
        self.0
            .db
            .fetch_optional(
                "SELECT id, email_sealed, name_sealed, operator, enabled FROM person WHERE id = $1",
                &[id.as_bytes().into()],
            )
            .await?
            .map(|row| self.person_from(&row, 0))
            .transpose()
    }

    /// A person from the columns id, email_sealed, name_sealed, operator, enabled beginning at `first`.
    pub(super) fn person_from(&self, row: &Row, first: usize) -> Result<Person, Failure> {
        let id: [u8; 16] = row.array(first)?;
        let key = self.0.keys.instance();
        Ok(Person {
            id: PersonId::from_bytes(id),
            email: key.open_text("person.email", &id, row.bytes(first + 1)?)?,
            name: key.open_text("person.name", &id, row.bytes(first + 2)?)?,
            operator: row.bool(first + 3)?,
            enabled: row.bool(first + 4)?,
        })
    }

    pub(super) fn email_hash(&self, email: &str) -> [u8; 32] {
        self.0
            .keys
            .instance()
            .lookup("person.email", email.as_bytes())
    }

    pub(super) async fn find(
        &self,
        transaction: &mut Transaction,
        email: &str,
    ) -> Result<Option<PersonId>, Failure> {
        let row = transaction
            .fetch_optional(
                "SELECT id FROM person WHERE email_hash = $1",
                &[(&self.email_hash(email)).into()],
            )
            .await?;
        Ok(row
            .map(|row| row.array(0).map(PersonId::from_bytes))
            .transpose()?)
    }

    pub(super) async fn insert_person(
        &self,
        transaction: &mut Transaction,
        email: &str,
        name: &str,
        operator: bool,
    ) -> Result<PersonId, AccessError> {
        let name = valid_name(name)?;
        let id = new_id(&self.0.clock, PersonId::from_parts);
        let key = self.0.keys.instance();
        transaction
            .execute(
                "INSERT INTO person
                     (id, email_hash, email_sealed, name_sealed, operator, enabled, created_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                &[
                    id.as_bytes().into(),
                    (&self.email_hash(email)).into(),
                    (&key.seal("person.email", id.as_bytes(), email.as_bytes())).into(),
                    (&key.seal("person.name", id.as_bytes(), name.as_bytes())).into(),
                    operator.into(),
                    true.into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        Ok(id)
    }
}

/// An e-mail address in the one form that is stored and hashed: trimmed, lower case.
pub(super) fn normalized(email: &str) -> Result<String, AccessError> {
    let email = email.trim().to_lowercase();
    let (local, domain) = email.split_once('@').ok_or(AccessError::InvalidEmail)?;
    let sound = !local.is_empty()
        && !domain.is_empty()
        && !domain.contains('@')
        && email.len() <= EMAIL_LONGEST
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    sound
        .then_some(email.clone())
        .ok_or(AccessError::InvalidEmail)
}

pub(super) fn valid_name(name: &str) -> Result<&str, AccessError> {
    sound_name(name).ok_or(AccessError::InvalidName)
}

/// The rule for all names that people give, to themselves and to things: 1 to 128 characters after trimming, none of
/// them a control character. None when the text is no name.
pub fn sound_name(text: &str) -> Option<&str> {
    let name = text.trim();
    let sound =
        (1..=NAME_LONGEST).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    sound.then_some(name)
}
