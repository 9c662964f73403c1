//! Passkeys of people: made, shown, named, removed.
//!
//! A passkey proves possession and, because its holder must be verified by the authenticator, stands for both factors.
//! Only its public key is kept.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fieldkeep_protocol::{PasskeyId, PersonId, Timestamp};
use serde_json::json;

use super::ceremony::Purpose;
use super::webauthn::{self, Site};
use crate::access::grant::{Arrived, Arriving, Fresh};
use crate::access::people::valid_name;
use crate::access::sessions::{Beginning, Cause, Started, a_person};
use crate::access::{Access, AccessError};
use crate::keys::new_id;
use crate::trail::{Act, Origin};

/// Passkeys of one person.
const MOST: usize = 20;

/// A passkey, as its owner sees it.
#[derive(Clone, Debug)]
pub struct Passkey {
    /// Which.
    pub id: PasskeyId,
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub made: Timestamp,
    /// When it was last used.
    pub used: Option<Timestamp>,
}

/// What a browser is asked to do.
#[derive(Clone, Debug)]
pub struct PasskeyChallenge {
    /// The challenge, base64url.
    pub challenge: String,
    /// The host name that the passkey is for.
    pub host: String,
    /// Passkeys that exist: to choose from when one is shown, to leave out when one is made. Base64url.
    pub known: Vec<String>,
    /// The handle that stands for the person in the authenticator, base64url; where one is made.
    pub handle: Option<String>,
}

/// What a browser answers when a passkey was shown.
#[derive(Clone, Debug)]
pub struct PasskeyAnswer {
    /// The credential's id.
    pub id: Vec<u8>,
    /// `clientDataJSON`.
    pub client_data: Vec<u8>,
    /// `authenticatorData`.
    pub authenticator_data: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Access {
    /// The host name that passkeys of this instance are for; None where it has none or its address is made of numbers.
    pub fn passkey_host(&self) -> Option<String> {
        let host = &self.0.site.get()?.host;
        let numbers = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
        (!numbers).then(|| host.clone())
    }

    fn passkey_site(&self) -> Result<Site, AccessError> {
        let host = self.passkey_host().ok_or(AccessError::NoPasskeysHere)?;
        let authority = self.0.site.get().map(|site| site.authority.as_str());
        let mut origins = vec![format!("https://{host}")];
        if let Some(authority) = authority {
            // A browser leaves out the port of https.
            let authority = authority.strip_suffix(":443").unwrap_or(authority);
            origins.push(format!("https://{authority}"));
        }
        Ok(Site { host, origins })
    }

    fn begin(&self, purpose: Purpose, known: Vec<String>) -> Result<PasskeyChallenge, AccessError> {
        let host = self.passkey_site()?.host;
        let now = self.0.clock.elapsed();
        let challenge = self.0.ceremonies.begin(purpose, now);
        Ok(PasskeyChallenge {
            challenge: URL_SAFE_NO_PAD.encode(challenge),
            host,
            known,
            handle: None,
        })
    }

    fn end(&self, client_data: &[u8]) -> Result<Purpose, AccessError> {
        webauthn::challenge(client_data)
            .and_then(|challenge| self.0.ceremonies.end(&challenge, self.0.clock.elapsed()))
            .ok_or(AccessError::PasskeyRefused)
    }

    /// A challenge for signing in with a passkey, for whoever it will be.
    ///
    /// # Errors
    /// [`AccessError::NoPasskeysHere`] where the address cannot carry passkeys.
    pub fn passkey_sign_in(&self) -> Result<PasskeyChallenge, AccessError> {
        self.begin(Purpose::SignIn, Vec::new())
    }

    /// A challenge for a known person to show a passkey.
    pub async fn passkey_challenge(&self, who: &Arriving) -> Result<PasskeyChallenge, AccessError> {
        let (person, _) = a_person(&who.0)?;
        let known = self.credentials(person).await?;
        self.begin(Purpose::Show(person), known)
    }

    /// Signs in with a passkey alone.
    ///
    /// # Errors
    /// [`AccessError::PasskeyRefused`] whatever is wrong.
    pub async fn sign_in_by_passkey(
        &self,
        answer: &PasskeyAnswer,
        origin: &Origin,
    ) -> Result<Started, AccessError> {
        let person = self.check_passkey(None, answer).await?;
        let mut transaction = self.0.db.begin().await?;
        let cookie = self
            .begin_session(
                &mut transaction,
                Beginning {
                    person,
                    cause: Cause::Passkey,
                    factor: true,
                },
                origin,
            )
            .await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "signed in by passkey");
        self.started(cookie, origin).await
    }

    /// Whose passkey answered; it must be `expected`'s where that is given.
    pub(super) async fn check_passkey(
        &self,
        expected: Option<PersonId>,
        answer: &PasskeyAnswer,
    ) -> Result<PersonId, AccessError> {
        let site = self.passkey_site()?;
        let wanted = expected.map_or(Purpose::SignIn, Purpose::Show);
        if self.end(&answer.client_data)? != wanted {
            return Err(AccessError::PasskeyRefused);
        }
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT k.person, k.public_key, k.counter FROM passkey k JOIN person p ON p.id = k.person
                 WHERE k.credential_hash = $1 AND p.enabled",
                &[(&self.credential_hash(&answer.id)).into()],
            )
            .await?
            .ok_or(AccessError::PasskeyRefused)?;
        let person = PersonId::from_bytes(row.array(0)?);
        if expected.is_some_and(|expected| expected != person) {
            return Err(AccessError::PasskeyRefused);
        }
        let stored = u32::try_from(row.i64(2)?).unwrap_or(u32::MAX);
        let counter = webauthn::shown(
            &site,
            (row.bytes(1)?, stored),
            &answer.client_data,
            &answer.authenticator_data,
            &answer.signature,
        )
        .map_err(|fault| {
            tracing::warn!(person.id = %person, %fault, "passkey refused");
            AccessError::PasskeyRefused
        })?;
        let noted = self
            .0
            .db
            .execute(
                "UPDATE passkey SET counter = $2, used_us = $3 WHERE credential_hash = $1 AND counter = $4",
                &[
                    (&self.credential_hash(&answer.id)).into(),
                    i64::from(counter).into(),
                    self.0.clock.now().as_micros().into(),
                    i64::from(stored).into(),
                ],
            )
            .await?;
        // Removed, or used by somebody else in the same instant.
        if noted == 0 {
            return Err(AccessError::PasskeyRefused);
        }
        Ok(person)
    }

    /// A challenge for making a passkey.
    pub async fn begin_passkey(
        &self,
        who: &Fresh<Arrived>,
    ) -> Result<PasskeyChallenge, AccessError> {
        let (person, _) = a_person(&who.0)?;
        let known = self.credentials(person).await?;
        if known.len() >= MOST {
            return Err(AccessError::TooMany("passkeys"));
        }
        Ok(PasskeyChallenge {
            handle: Some(URL_SAFE_NO_PAD.encode(person.as_bytes())),
            ..self.begin(Purpose::Register(person), known)?
        })
    }

    /// Keeps a passkey that was made. The first factor brings recovery codes, which are shown this once.
    pub async fn add_passkey(
        &self,
        who: &Fresh<Arrived>,
        name: &str,
        client_data: &[u8],
        attestation: &[u8],
    ) -> Result<Option<Vec<String>>, AccessError> {
        let (person, _) = a_person(&who.0)?;
        let name = valid_name(name)?;
        let site = self.passkey_site()?;
        if self.end(client_data)? != Purpose::Register(person) {
            return Err(AccessError::PasskeyRefused);
        }
        let made = webauthn::made(&site, client_data, attestation).map_err(|fault| {
            tracing::warn!(person.id = %person, %fault, "new passkey refused");
            AccessError::PasskeyRefused
        })?;
        let id = new_id(&self.0.clock, PasskeyId::from_parts);
        let sealed = self
            .0
            .keys
            .instance()
            .seal("passkey.name", id.as_bytes(), name.as_bytes());
        let mut transaction = self.0.db.begin().await?;
        let added = transaction
            .execute(
                "INSERT INTO passkey
                     (person, id, credential_hash, credential, public_key, counter, name_sealed, made_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (credential_hash) DO NOTHING",
                &[
                    person.as_bytes().into(),
                    id.as_bytes().into(),
                    (&self.credential_hash(&made.credential)).into(),
                    (&made.credential).into(),
                    (&made.public_key).into(),
                    i64::from(made.counter).into(),
                    (&sealed).into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        if added == 0 {
            return Err(AccessError::PasskeyRefused);
        }
        let codes = self
            .factor_added(
                &mut transaction,
                who,
                (id.into(), json!({ "factor": "passkey", "name": name })),
            )
            .await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, passkey.id = %id, "passkey added");
        Ok(codes)
    }

    /// Gives a passkey another name.
    pub async fn rename_passkey(
        &self,
        who: &Fresh<Arrived>,
        id: PasskeyId,
        name: &str,
    ) -> Result<(), AccessError> {
        let (person, _) = a_person(&who.0)?;
        let name = valid_name(name)?;
        let sealed = self
            .0
            .keys
            .instance()
            .seal("passkey.name", id.as_bytes(), name.as_bytes());
        let mut transaction = self.0.db.begin().await?;
        let renamed = transaction
            .execute(
                "UPDATE passkey SET name_sealed = $3 WHERE person = $1 AND id = $2",
                &[
                    person.as_bytes().into(),
                    id.as_bytes().into(),
                    (&sealed).into(),
                ],
            )
            .await?;
        if renamed == 0 {
            return Err(AccessError::NotFound);
        }
        let entry = who.0.entry(Act::FactorChange).on(id);
        let entry = entry.new_value(json!({ "name": name }));
        self.trail().write(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    /// Takes a passkey away.
    ///
    /// # Errors
    /// As [`remove_totp`](Self::remove_totp).
    pub async fn remove_passkey(
        &self,
        who: &Fresh<Arrived>,
        id: PasskeyId,
    ) -> Result<(), AccessError> {
        let (person, _) = a_person(&who.0)?;
        let mut transaction = self.0.db.begin().await?;
        let removed = transaction
            .execute(
                "DELETE FROM passkey WHERE person = $1 AND id = $2",
                &[person.as_bytes().into(), id.as_bytes().into()],
            )
            .await?;
        if removed == 0 {
            return Err(AccessError::NotFound);
        }
        self.factor_removed(&mut transaction, who, id.into())
            .await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, passkey.id = %id, "passkey removed");
        Ok(())
    }

    pub(super) async fn passkeys(&self, person: PersonId) -> Result<Vec<Passkey>, AccessError> {
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id, name_sealed, made_us, used_us FROM passkey WHERE person = $1 ORDER BY made_us, id",
                &[person.as_bytes().into()],
            )
            .await?;
        let key = self.0.keys.instance();
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let id: [u8; 16] = row.array(0)?;
            found.push(Passkey {
                id: PasskeyId::from_bytes(id),
                name: key.open_text("passkey.name", &id, row.bytes(1)?)?,
                made: Timestamp::from_micros(row.i64(2)?),
                used: row.opt_i64(3)?.map(Timestamp::from_micros),
            });
        }
        Ok(found)
    }

    async fn credentials(&self, person: PersonId) -> Result<Vec<String>, AccessError> {
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT credential FROM passkey WHERE person = $1 ORDER BY made_us, id",
                &[person.as_bytes().into()],
            )
            .await?;
        let encoded: Result<_, _> = rows
            .iter()
            .map(|row| row.bytes(0).map(|bytes| URL_SAFE_NO_PAD.encode(bytes)))
            .collect();
        Ok(encoded?)
    }

    fn credential_hash(&self, credential: &[u8]) -> [u8; 32] {
        self.0
            .keys
            .instance()
            .lookup("passkey.credential", credential)
    }
}
