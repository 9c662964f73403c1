//! The recovery key of an instance: made once, its secret shown once, its public half a setting.

use zeroize::Zeroizing;

use super::seal::{RecoveryKey, RecoveryRecipient};
use super::{Backup, BackupError};
use crate::access::OperatorGrant;
use crate::clock::rfc3339;
use crate::db::SqlError;

const RECIPIENT: &str = "recovery.recipient";
const CONFIRMED: &str = "recovery.confirmed";

/// A recovery key that was made just now.
pub struct NewRecoveryKey {
    /// Its name, which is on every archive.
    pub id: String,
    /// The secret, which is stored nowhere.
    pub secret: Zeroizing<String>,
}

impl Backup {
    /// Makes the recovery key; its public half is durable when this returns, its secret is in the answer alone.
    ///
    /// # Errors
    /// [`BackupError::RecoveryKeyExists`] unless `replace` says that the one before may go: archives that were
    /// encrypted to it still need it.
    pub async fn make_recovery_key(
        &self,
        _: &OperatorGrant<'_>,
        replace: bool,
    ) -> Result<NewRecoveryKey, BackupError> {
        if let Some(known) = self.recipient().await?
            && !replace
        {
            return Err(BackupError::RecoveryKeyExists { id: known.id() });
        }
        let key = RecoveryKey::generate();
        let recipient = key.recipient().ok_or(BackupError::NotARecoveryKey)?;
        let text = recipient.to_string();
        self.db()
            .set(&[(RECIPIENT, &text), (CONFIRMED, "")])
            .await?;
        tracing::info!(recovery.key = %recipient.id(), "recovery key made");
        Ok(NewRecoveryKey {
            id: recipient.id(),
            secret: key.line(),
        })
    }

    /// Notes that somebody has the recovery key on paper; answers its id.
    ///
    /// # Errors
    /// [`BackupError::NoRecoveryKey`] when there is none to confirm.
    pub async fn confirm_recovery_key(&self, _: &OperatorGrant<'_>) -> Result<String, BackupError> {
        let recipient = self.recipient().await?.ok_or(BackupError::NoRecoveryKey)?;
        let now = rfc3339::format(self.clock().now());
        self.db().set(&[(CONFIRMED, &now)]).await?;
        Ok(recipient.id())
    }

    /// What backups are encrypted to, if there is a recovery key.
    pub(super) async fn recipient(&self) -> Result<Option<RecoveryRecipient>, SqlError> {
        let text = self.db().setting(RECIPIENT).await?;
        Ok(text.and_then(|text| RecoveryRecipient::parse(&text)))
    }

    pub(super) async fn is_confirmed(&self) -> Result<bool, SqlError> {
        let confirmed = self.db().setting(CONFIRMED).await?;
        Ok(confirmed.is_some_and(|when| !when.is_empty()))
    }
}
