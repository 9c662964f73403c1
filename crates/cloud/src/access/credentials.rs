//! What service accounts prove themselves with: secrets and public keys.
//!
//! A secret is `fks_` and 64 hexadecimal digits, shown once, stored as a keyed hash; two may live at once, so that one can
//! be exchanged without a gap. Neither opens the API: they are exchanged for tokens (`tokens.rs`), which end with them.

use fieldkeep_protocol::{CredentialId, ProjectId, ServiceId, Timestamp};
use serde_json::json;

use super::api_keys::{LONGEST_US, day, marked, sound_expiry};
use super::assertion::{Algorithm, PublicKey};
use super::grant::{Admin, Grant};
use super::{Access, AccessError, Failure};
use crate::clock::rfc3339;
use crate::db::{Row, Transaction};
use crate::keys::new_id;
use crate::trail::Act;

const SECRET_MARK: &str = "fks_";
const SECRET_PREFIX: usize = 4 + 8;
/// Live secrets of one account.
const SECRETS: usize = 2;
/// Live public keys of one account.
const KEYS: usize = 5;

/// What an account proves itself with, without the secret.
#[derive(Clone, Debug)]
pub struct ServiceCredential {
    /// Which.
    pub id: CredentialId,
    /// What it is.
    pub kind: CredentialKind,
    /// What to recognise it by: the first characters of a secret, the beginning of a public key's hash.
    pub hint: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// The day on which it was last used, in UTC.
    pub used: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// What kind of proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A secret that both sides know.
    Secret,
    /// A key whose private half only the service has.
    Key(Algorithm),
}

impl CredentialKind {
    /// As stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Key(algorithm) => algorithm.name(),
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "secret" => Some(Self::Secret),
            other => Algorithm::from_name(other).map(Self::Key),
        }
    }
}

/// What a new credential shall be.
pub enum NewCredential {
    /// A secret; the account's other secrets end at this instant, unless they end earlier.
    Secret {
        /// None leaves them.
        others_end: Option<Timestamp>,
    },
    /// A public key.
    Key(PublicKey),
}

impl Access {
    /// Gives an account a credential; a secret is answered, and not seen again. Without an end it ends in a year.
    ///
    /// # Errors
    /// [`AccessError::TooMany`] with two live secrets or five live keys: revoke one first.
    pub async fn add_credential(
        &self,
        grant: &Grant<'_, Admin>,
        account: ServiceId,
        new: NewCredential,
        expires: Option<Timestamp>,
    ) -> Result<(ServiceCredential, Option<String>), AccessError> {
        let project = grant.project();
        let account = self.service_account(grant, account).await?;
        let now = self.0.clock.now();
        let last = Timestamp::from_micros(now.as_micros().saturating_add(LONGEST_US));
        let expires = expires.unwrap_or(last);
        sound_expiry(now, expires)?;
        let (kind, most, word) = match &new {
            NewCredential::Secret { .. } => (CredentialKind::Secret, SECRETS, "secrets"),
            NewCredential::Key(key) => (CredentialKind::Key(key.algorithm), KEYS, "public keys"),
        };
        let live = account.credentials.iter().filter(|one| {
            let alike = (one.kind == CredentialKind::Secret) == (kind == CredentialKind::Secret);
            alike && one.revoked.is_none() && one.expires > now
        });
        if live.count() >= most {
            return Err(AccessError::TooMany(word));
        }
        let (secret, public, others_end) = match new {
            NewCredential::Secret { others_end } => (Some(marked(SECRET_MARK)), None, others_end),
            NewCredential::Key(key) => (None, Some(key), None),
        };
        let hint = match (&secret, &public) {
            (Some(secret), _) => secret[..SECRET_PREFIX].to_owned(),
            (None, Some(key)) => key.hint(),
            (None, None) => String::new(),
        };
        let hash = secret.as_deref().map(|secret| self.secret_hash(secret));
        let id = new_id(&self.0.clock, CredentialId::from_parts);
        let mut transaction = self.0.db.begin().await?;
        if let Some(end) = others_end {
            transaction
                .execute(
                    "UPDATE service_credential SET expires_us = $3
                     WHERE project = $1 AND account = $2 AND kind = 'secret' AND expires_us > $3",
                    &[
                        project.as_bytes().into(),
                        account.id.as_bytes().into(),
                        end.max(now).as_micros().into(),
                    ],
                )
                .await?;
        }
        transaction
            .execute(
                "INSERT INTO service_credential
                     (project, account, id, kind, hash, public_key, hint, created_us, expires_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                &[
                    project.as_bytes().into(),
                    account.id.as_bytes().into(),
                    id.as_bytes().into(),
                    kind.name().into(),
                    hash.as_ref().into(),
                    public.as_ref().map(|key| key.bytes.as_slice()).into(),
                    hint.as_str().into(),
                    now.as_micros().into(),
                    expires.as_micros().into(),
                ],
            )
            .await?;
        let entry = grant.entry(Act::ServiceChange).on(account.id);
        let entry = entry.new_value(json!({
            "credential": id.to_string(), "kind": kind.name(), "hint": hint,
            "expires": rfc3339::format(expires), "others_end": others_end.map(rfc3339::format),
        }));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, account.id = %account.id, credential.id = %id, by = %grant.actor(),
            kind = kind.name(), "credential made");
        let made = ServiceCredential {
            id,
            kind,
            hint,
            created: now,
            expires,
            used: None,
            revoked: None,
        };
        Ok((made, secret))
    }

    /// Ends a credential and the tokens that were given out for it, at once. Revoking twice changes nothing.
    pub async fn revoke_credential(
        &self,
        grant: &Grant<'_, Admin>,
        account: ServiceId,
        id: CredentialId,
    ) -> Result<(), AccessError> {
        let project = grant.project();
        let account = self.service_account(grant, account).await?;
        if !account.credentials.iter().any(|known| known.id == id) {
            return Err(AccessError::CredentialUnknown);
        }
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "UPDATE service_credential SET revoked_us = $4
                 WHERE project = $1 AND account = $2 AND id = $3 AND revoked_us IS NULL",
                &[
                    project.as_bytes().into(),
                    account.id.as_bytes().into(),
                    id.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        transaction
            .execute(
                "DELETE FROM access_token WHERE project = $1 AND account = $2 AND credential = $3",
                &[
                    project.as_bytes().into(),
                    account.id.as_bytes().into(),
                    id.as_bytes().into(),
                ],
            )
            .await?;
        let entry = grant.entry(Act::ServiceChange).on(account.id);
        let entry = entry.new_value(json!({ "credential": id.to_string(), "revoked": true }));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, account.id = %account.id, credential.id = %id, by = %grant.actor(),
            "credential revoked");
        Ok(())
    }

    pub(super) fn secret_hash(&self, secret: &str) -> [u8; 32] {
        self.0
            .keys
            .instance()
            .lookup("service_credential.hash", secret.as_bytes())
    }
}

/// Notes that an account proved itself with a credential today.
pub(super) async fn note_use(
    transaction: &mut Transaction,
    project: ProjectId,
    account: ServiceId,
    credential: CredentialId,
    now: Timestamp,
) -> Result<(), Failure> {
    let today = day(now.as_micros());
    transaction
        .execute(
            "UPDATE service_account SET used_us = $3
             WHERE project = $1 AND id = $2 AND (used_us IS NULL OR used_us < $3)",
            &[
                project.as_bytes().into(),
                account.as_bytes().into(),
                today.into(),
            ],
        )
        .await?;
    transaction
        .execute(
            "UPDATE service_credential SET used_us = $4
             WHERE project = $1 AND account = $2 AND id = $3 AND (used_us IS NULL OR used_us < $4)",
            &[
                project.as_bytes().into(),
                account.as_bytes().into(),
                credential.as_bytes().into(),
                today.into(),
            ],
        )
        .await?;
    Ok(())
}

pub(super) fn credential_from(row: &Row) -> Result<ServiceCredential, Failure> {
    Ok(ServiceCredential {
        id: CredentialId::from_bytes(row.array(0)?),
        kind: CredentialKind::from_name(row.text(1)?)
            .ok_or(Failure::Unknown("service_credential.kind"))?,
        hint: row.text(2)?.to_owned(),
        created: Timestamp::from_micros(row.i64(3)?),
        expires: Timestamp::from_micros(row.i64(4)?),
        used: row.opt_i64(5)?.map(Timestamp::from_micros),
        revoked: row.opt_i64(6)?.map(Timestamp::from_micros),
    })
}
