//! Recovery codes of a person: made ten at a time, spent one by one.

use fieldkeep_protocol::PersonId;

use super::codes;
use crate::access::grant::{Arrived, Fresh, SignedIn};
use crate::access::sessions::a_person;
use crate::access::{Access, AccessError, Failure};
use crate::db::Transaction;
use crate::trail::Act;

impl Access {
    /// Ten new recovery codes in the place of all that were; shown this once.
    pub async fn new_recovery_codes(
        &self,
        who: &Fresh<Arrived>,
    ) -> Result<Vec<String>, AccessError> {
        let (person, _) = a_person(&who.0)?;
        let mut transaction = self.0.db.begin().await?;
        let codes = self.write_codes(&mut transaction, person).await?;
        let entry = who.0.entry(Act::RecoveryCreate).on(person);
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "recovery codes made anew");
        Ok(codes)
    }

    /// Notes that the caller has printed their recovery codes.
    pub async fn codes_are_kept(&self, who: &Arrived) -> Result<(), AccessError> {
        let (person, _) = a_person(&who.0)?;
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "UPDATE person SET codes_kept_us = $2 WHERE id = $1",
                &[
                    person.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        let entry = who.0.entry(Act::RecoveryKeep).on(person);
        self.trail().write(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    pub(super) async fn spend_code(
        &self,
        transaction: &mut Transaction,
        who: &SignedIn,
        person: PersonId,
        plain: &str,
    ) -> Result<bool, Failure> {
        let spent = transaction
            .execute(
                "UPDATE recovery_code SET used_us = $3
                 WHERE person = $1 AND hash = $2 AND used_us IS NULL",
                &[
                    person.as_bytes().into(),
                    (&self.code_hash(plain)).into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        if spent == 1 {
            let entry = who.entry(Act::RecoveryUse).on(person);
            self.trail().write(transaction, entry).await?;
            tracing::warn!(person.id = %person, "recovery code used");
        }
        Ok(spent == 1)
    }

    fn code_hash(&self, plain: &str) -> [u8; 32] {
        self.0
            .keys
            .instance()
            .lookup("recovery_code.hash", plain.as_bytes())
    }

    pub(super) async fn write_codes(
        &self,
        transaction: &mut Transaction,
        person: PersonId,
    ) -> Result<Vec<String>, Failure> {
        transaction
            .execute(
                "DELETE FROM recovery_code WHERE person = $1",
                &[person.as_bytes().into()],
            )
            .await?;
        transaction
            .execute(
                "UPDATE person SET codes_kept_us = NULL WHERE id = $1",
                &[person.as_bytes().into()],
            )
            .await?;
        let mut shown = Vec::with_capacity(codes::COUNT);
        for _ in 0..codes::COUNT {
            let plain = codes::fresh();
            transaction
                .execute(
                    "INSERT INTO recovery_code (person, hash) VALUES ($1, $2)",
                    &[person.as_bytes().into(), (&self.code_hash(&plain)).into()],
                )
                .await?;
            shown.push(codes::shown(&plain));
        }
        Ok(shown)
    }
}
