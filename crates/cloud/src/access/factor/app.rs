//! The authenticator app of a person: begun, confirmed by a code of it, spent code by code, removed.

use fieldkeep_protocol::PersonId;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Enrolment, totp};
use crate::access::grant::{Arrived, Fresh};
use crate::access::sessions::a_person;
use crate::access::{Access, AccessError, Failure};
use crate::db::Transaction;
use crate::keys::random;
use crate::trail::{Act, Object};

/// The authenticator app of a person, as the trail names it.
fn app_of(person: PersonId) -> Object {
    Object::new("authenticator_app", person)
}

impl Access {
    /// Begins an authenticator app; it counts once a code of it was [confirmed](Self::confirm_totp).
    ///
    /// # Errors
    /// [`AccessError::TotpExists`] where there is one that counts.
    pub async fn begin_totp(&self, who: &Fresh<Arrived>) -> Result<Enrolment, AccessError> {
        let (person, _) = a_person(&who.0)?;
        let email = self
            .person(person)
            .await?
            .ok_or(AccessError::PersonUnknown)?
            .email;
        let secret: Zeroizing<[u8; totp::SECRET]> = Zeroizing::new(random());
        let sealed = self
            .0
            .keys
            .instance()
            .seal("totp.secret", person.as_bytes(), &secret[..]);
        let mut transaction = self.0.db.begin().await?;
        let begun = transaction
            .execute(
                "INSERT INTO totp (person, secret_sealed, made_us, last_step) VALUES ($1, $2, $3, 0)
                 ON CONFLICT (person) DO UPDATE SET secret_sealed = excluded.secret_sealed,
                     made_us = excluded.made_us, last_step = 0
                 WHERE totp.confirmed_us IS NULL",
                &[
                    person.as_bytes().into(),
                    (&sealed).into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        if begun == 0 {
            return Err(AccessError::TotpExists);
        }
        let entry = who.0.entry(Act::FactorBegin).on(app_of(person));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        let issuer = match self.0.site.get() {
            Some(site) => format!("Fieldkeep {}", site.host),
            None => "Fieldkeep".to_owned(),
        };
        let (secret, address) = totp::address(&secret[..], &email, &issuer);
        Ok(Enrolment { secret, address })
    }

    /// Makes the app count, by a code of it. The first factor brings recovery codes, which are shown this once.
    ///
    /// # Errors
    /// [`AccessError::WrongCode`] for every code that does not fit.
    pub async fn confirm_totp(
        &self,
        who: &Fresh<Arrived>,
        code: &str,
        source: &str,
    ) -> Result<Option<Vec<String>>, AccessError> {
        let (person, _) = a_person(&who.0)?;
        self.limit_factor(person, source)?;
        let mut transaction = self.0.db.begin().await?;
        if !self
            .spend_totp(&mut transaction, person, code, false)
            .await?
        {
            return Err(AccessError::WrongCode);
        }
        transaction
            .execute(
                "UPDATE totp SET confirmed_us = $2 WHERE person = $1 AND confirmed_us IS NULL",
                &[
                    person.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        let codes = self
            .factor_added(
                &mut transaction,
                who,
                (app_of(person), json!({ "factor": "app" })),
            )
            .await?;
        transaction.commit().await?;
        self.0.throttle.forgive(self.factor_key(person));
        tracing::info!(person.id = %person, "authenticator app added");
        Ok(codes)
    }

    /// Takes the authenticator app away.
    ///
    /// # Errors
    /// [`AccessError::LastFactor`] and [`AccessError::PasswordTooShortAlone`] where it must stay.
    pub async fn remove_totp(&self, who: &Fresh<Arrived>) -> Result<(), AccessError> {
        let (person, _) = a_person(&who.0)?;
        let mut transaction = self.0.db.begin().await?;
        let removed = transaction
            .execute(
                "DELETE FROM totp WHERE person = $1",
                &[person.as_bytes().into()],
            )
            .await?;
        if removed == 0 {
            return Err(AccessError::NotFound);
        }
        self.factor_removed(&mut transaction, who, app_of(person))
            .await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "authenticator app removed");
        Ok(())
    }

    /// Spends a code of the app: its step and all before it are used up.
    pub(super) async fn spend_totp(
        &self,
        transaction: &mut Transaction,
        person: PersonId,
        code: &str,
        confirmed: bool,
    ) -> Result<bool, Failure> {
        let row = transaction
            .fetch_optional(
                "SELECT secret_sealed, last_step FROM totp
                 WHERE person = $1 AND (confirmed_us IS NOT NULL) = $2",
                &[person.as_bytes().into(), confirmed.into()],
            )
            .await?;
        let Some(row) = row else {
            return Ok(false);
        };
        let secret =
            self.0
                .keys
                .instance()
                .open("totp.secret", person.as_bytes(), row.bytes(0)?)?;
        let code: String = code
            .chars()
            .filter(|c| !c.is_whitespace())
            .take(16)
            .collect();
        let now_us = self.0.clock.now().as_micros();
        let Some(step) = totp::matching(&secret, &code, now_us, row.i64(1)?) else {
            return Ok(false);
        };
        let spent = transaction
            .execute(
                "UPDATE totp SET last_step = $2 WHERE person = $1 AND last_step < $2",
                &[person.as_bytes().into(), step.into()],
            )
            .await?;
        Ok(spent == 1)
    }
}
