//! Second factors: authenticator apps, passkeys, recovery codes; showing them, and proving again who one is.
//!
//! Owns the tables `totp`, `passkey` and `recovery_code`. A code counts once, a challenge once; guesses are limited per
//! person and per source, apart from those of passwords, so that a stranger cannot use up the owner's. Secrets of apps are
//! sealed, recovery codes hashed. Times are this server's alone.

mod app;
mod ceremony;
mod codes;
mod passkeys;
mod recovery;
#[cfg(test)]
pub(crate) mod soft;
mod totp;
mod webauthn;

use fieldkeep_protocol::{PersonId, Timestamp};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Task;
use super::grant::{Arrived, Arriving, SignedIn};
use super::sessions::{Beginning, Cause, Started, a_person};
use super::{Access, AccessError, Failure};
use crate::db::Transaction;
use crate::trail::{Act, Entry, Object, Origin, Outcome, Who, WhoKind};

pub(super) use ceremony::Ceremonies;
pub use passkeys::{Passkey, PasskeyAnswer, PasskeyChallenge};

/// What proves who somebody is.
pub enum Proof<'a> {
    /// The password; no second factor.
    Password(&'a str),
    /// A code of the authenticator app, or a recovery code.
    Code(&'a str),
    /// A passkey's answer to a challenge.
    Passkey(&'a PasskeyAnswer),
}

/// The factors of a person.
#[derive(Clone, Debug)]
pub struct Factors {
    /// Since when there is an authenticator app.
    pub totp: Option<Timestamp>,
    /// The passkeys, the oldest first.
    pub passkeys: Vec<Passkey>,
    /// How many recovery codes are left.
    pub recovery_codes: u64,
    /// When the person said that the codes are printed.
    pub codes_kept: Option<Timestamp>,
    /// The host name that passkeys are for; None where the address cannot carry them.
    pub passkey_host: Option<String>,
    /// Whether the person must have a factor.
    pub required: bool,
    /// Whether they had to, were this not a demo.
    pub waived: bool,
    /// Whether they are the only operator.
    pub only_operator: bool,
    /// Whether the password is too short to stand alone.
    pub password_short: bool,
}

/// What an authenticator app is told, once.
pub struct Enrolment {
    /// The secret, to be typed.
    pub secret: Zeroizing<String>,
    /// The `otpauth:` address, to be shown as a QR code.
    pub address: Zeroizing<String>,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrolment")
    }
}

impl Access {
    /// The caller's factors.
    pub async fn factors(&self, who: &Arrived) -> Result<Factors, AccessError> {
        let (person, _) = a_person(&who.0)?;
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT (SELECT confirmed_us FROM totp t WHERE t.person = p.id),
                        (SELECT count(*) FROM recovery_code c WHERE c.person = p.id AND c.used_us IS NULL),
                        p.codes_kept_us, p.password_short, p.operator
                            OR EXISTS (SELECT 1 FROM membership m WHERE m.person = p.id AND m.role = 'administrator'),
                        p.operator
                 FROM person p WHERE p.id = $1",
                &[person.as_bytes().into()],
            )
            .await?
            .ok_or(AccessError::PersonUnknown)?;
        let (privileged, operator) = (row.bool(4)?, row.bool(5)?);
        let optional = self.0.rules.second_factor_optional;
        Ok(Factors {
            totp: row.opt_i64(0)?.map(Timestamp::from_micros),
            passkeys: self.passkeys(person).await?,
            recovery_codes: u64::try_from(row.i64(1)?).unwrap_or_default(),
            codes_kept: row.opt_i64(2)?.map(Timestamp::from_micros),
            passkey_host: self.passkey_host(),
            required: privileged && !optional,
            waived: privileged && optional,
            only_operator: operator && self.operators().await? == 1,
            password_short: row.bool(3)?,
        })
    }

    /// Shows the second factor: the session on the way ends and one that is in begins.
    ///
    /// # Errors
    /// [`AccessError::WrongCode`], [`AccessError::PasskeyRefused`] or [`AccessError::Throttled`]; a password is no second
    /// factor.
    pub async fn show_factor(
        &self,
        who: &Arriving,
        proof: Proof<'_>,
        source: &str,
    ) -> Result<Started, AccessError> {
        let (person, session) = a_person(&who.0)?;
        if matches!(proof, Proof::Password(_)) {
            return Err(AccessError::WrongCode);
        }
        self.check_proof(&who.0, person, proof, (source, Act::SessionStart))
            .await?;
        let mut transaction = self.0.db.begin().await?;
        let old = transaction
            .fetch_optional(
                "DELETE FROM session WHERE hash = $1 RETURNING cause",
                &[session.into()],
            )
            .await?
            .ok_or(AccessError::WrongCode)?;
        let cause = match old.text(0)? {
            "link" => Cause::Link,
            "passkey" => Cause::Passkey,
            "invitation" => Cause::Invitation,
            _ => Cause::Password,
        };
        let cookie = self
            .begin_session(
                &mut transaction,
                Beginning {
                    person,
                    cause,
                    factor: true,
                },
                who.0.origin(),
            )
            .await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "second factor shown");
        self.started(cookie, who.0.origin()).await
    }

    /// Proves again who the caller is; good for ten minutes.
    ///
    /// # Errors
    /// As [`show_factor`](Self::show_factor); [`AccessError::WrongCredentials`] for a wrong password.
    pub async fn prove(
        &self,
        who: &Arrived,
        proof: Proof<'_>,
        source: &str,
    ) -> Result<(), AccessError> {
        let (person, session) = a_person(&who.0)?;
        self.check_proof(&who.0, person, proof, (source, Act::SessionConfirm))
            .await?;
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "UPDATE session SET proved_us = $2 WHERE hash = $1",
                &[session.into(), self.0.clock.now().as_micros().into()],
            )
            .await?;
        let entry = who.0.entry(Act::SessionConfirm).on(person);
        self.trail().write(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    /// Checks a proof from `source` for `act`, whose refusal is noted.
    async fn check_proof(
        &self,
        who: &SignedIn,
        person: PersonId,
        proof: Proof<'_>,
        (source, act): (&str, Act),
    ) -> Result<(), AccessError> {
        let checked = self.try_proof(who, person, proof, source).await;
        if let Err(
            AccessError::WrongCredentials | AccessError::WrongCode | AccessError::PasskeyRefused,
        ) = checked
        {
            let entry = who.entry(act).on(person);
            self.trail()
                .note(entry.ended(Outcome::Refused("sign_in_failed")));
        }
        checked
    }

    async fn try_proof(
        &self,
        who: &SignedIn,
        person: PersonId,
        proof: Proof<'_>,
        source: &str,
    ) -> Result<(), AccessError> {
        match proof {
            Proof::Password(password) => {
                self.limit_factor(person, source)?;
                let row = self
                    .0
                    .db
                    .fetch_optional(
                        "SELECT password FROM person WHERE id = $1",
                        &[person.as_bytes().into()],
                    )
                    .await?;
                let stored = match &row {
                    Some(row) => row.opt_text(0)?,
                    None => None,
                };
                if !self.0.passwords.verify(password, stored).await? {
                    return Err(AccessError::WrongCredentials);
                }
            }
            Proof::Code(code) => {
                self.limit_factor(person, source)?;
                let mut transaction = self.0.db.begin().await?;
                let right = match codes::read(code) {
                    Some(plain) => {
                        self.spend_code(&mut transaction, who, person, &plain)
                            .await?
                    }
                    None => {
                        self.spend_totp(&mut transaction, person, code, true)
                            .await?
                    }
                };
                if !right {
                    tracing::info!(person.id = %person, "second factor refused");
                    return Err(AccessError::WrongCode);
                }
                transaction.commit().await?;
            }
            Proof::Passkey(answer) => self.check_passkey(Some(person), answer).await.map(drop)?,
        }
        self.0.throttle.forgive(self.factor_key(person));
        Ok(())
    }

    /// What follows from a new factor: its session is in, others have to show it, and the first one brings codes.
    async fn factor_added(
        &self,
        transaction: &mut Transaction,
        who: &Arrived,
        factor: (Object, Value),
    ) -> Result<Option<Vec<String>>, AccessError> {
        let (person, session) = a_person(&who.0)?;
        transaction
            .execute(
                "UPDATE session SET factor = true WHERE hash = $1",
                &[session.into()],
            )
            .await?;
        let have = transaction
            .fetch_optional(
                "SELECT 1 FROM recovery_code WHERE person = $1 LIMIT 1",
                &[person.as_bytes().into()],
            )
            .await?;
        let codes = match have {
            Some(_) => None,
            None => Some(self.write_codes(transaction, person).await?),
        };
        let (object, value) = factor;
        let entry = who.0.entry(Act::FactorAdd).on(object).new_value(value);
        self.trail().write(transaction, entry).await?;
        Ok(codes)
    }

    /// Refuses, by leaving the transaction, to take a factor that must stay.
    async fn factor_removed(
        &self,
        transaction: &mut Transaction,
        who: &Arrived,
        factor: Object,
    ) -> Result<(), AccessError> {
        let (person, _) = a_person(&who.0)?;
        let entry = who.0.entry(Act::FactorRemove).on(factor);
        if super::sessions::has_factor(transaction, person).await? {
            return Ok(self.trail().write(transaction, entry).await?);
        }
        let row = transaction
            .fetch_optional(
                "SELECT p.password_short, p.operator
                     OR EXISTS (SELECT 1 FROM membership m WHERE m.person = p.id AND m.role = 'administrator')
                 FROM person p WHERE p.id = $1",
                &[person.as_bytes().into()],
            )
            .await?
            .ok_or(AccessError::PersonUnknown)?;
        if row.bool(1)? && !self.0.rules.second_factor_optional {
            return Err(AccessError::LastFactor);
        }
        if row.bool(0)? {
            return Err(AccessError::PasswordTooShortAlone);
        }
        for statement in [
            "DELETE FROM recovery_code WHERE person = $1",
            "UPDATE session SET factor = false WHERE person = $1",
        ] {
            transaction
                .execute(statement, &[person.as_bytes().into()])
                .await?;
        }
        Ok(self.trail().write(transaction, entry).await?)
    }

    /// Takes every second factor of a person away, and their sessions and a password that cannot stand alone with them.
    pub(super) async fn reset_factors(
        &self,
        transaction: &mut Transaction,
        person: PersonId,
    ) -> Result<(), Failure> {
        for statement in [
            "DELETE FROM totp WHERE person = $1",
            "DELETE FROM passkey WHERE person = $1",
            "DELETE FROM recovery_code WHERE person = $1",
            "DELETE FROM session WHERE person = $1",
            "UPDATE person SET password = NULL, password_short = false WHERE id = $1 AND password_short",
            "UPDATE person SET codes_kept_us = NULL WHERE id = $1",
        ] {
            transaction
                .execute(statement, &[person.as_bytes().into()])
                .await?;
        }
        let task = Who::new(WhoKind::System, Task::AdminCommand.name(), None);
        let entry = Entry::new(None, task, &Origin::here(), Act::FactorReset).on(person);
        self.trail().write(transaction, entry).await?;
        tracing::warn!(person.id = %person, "second factors reset from the machine");
        Ok(())
    }

    fn factor_key(&self, person: PersonId) -> [u8; 32] {
        self.0
            .keys
            .instance()
            .lookup("throttle.factor", person.as_bytes())
    }

    fn limit_factor(&self, person: PersonId, source: &str) -> Result<(), AccessError> {
        let source = self
            .0
            .keys
            .instance()
            .lookup("throttle.source", source.as_bytes());
        self.0
            .throttle
            .attempt(self.factor_key(person), source)
            .map_err(|retry_after_s| AccessError::Throttled { retry_after_s })
    }
}

/// For tests: the code of a step.
#[cfg(test)]
pub(super) fn code_at(secret: &[u8], step: i64) -> String {
    totp::code(secret, step)
}
