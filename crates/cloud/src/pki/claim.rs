//! Claims: one-time permissions to enrol one device into one project.
//!
//! A code has 100 random bits in Crockford's base 32; the table keeps a keyed hash of it. The claim line
//! `fk1:HOST:PORT:CODE:FINGERPRINT` is all that a device needs: where, with what, and whom to trust.

use std::fmt;
use std::time::Duration;

use fieldkeep_protocol::{ClaimId, LocationId, PersonId, Timestamp};
use zeroize::Zeroizing;

use super::{Pki, PkiError, sha256};
use crate::access::{Grant, Read, Write, sound_name};
use crate::keys::{hex, new_id, random};
use crate::trail::Act;
use serde_json::json;

/// How long a claim can be used.
const LIFE: Duration = Duration::from_secs(24 * 3_600);
pub(super) const NAME: &str = "claim.name_sealed";
pub(super) const CODE: &str = "claim.code_hash";
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 20;

/// What a claim is to be.
#[derive(Clone, Debug)]
pub struct NewClaim {
    /// The name that the device gets.
    pub name: String,
    /// Whether its data are made up and must be labelled so.
    pub simulated: bool,
    /// Where the device will be.
    pub location: Option<LocationId>,
}

/// A claim without its code, which is shown once and not kept.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its id.
    pub id: ClaimId,
    /// The name that the device gets.
    pub name: String,
    /// Whether the device's data will be labelled as simulated.
    pub simulated: bool,
    /// Where the device will be.
    pub location: Option<LocationId>,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is refused.
    pub expires: Timestamp,
    /// When a device used it.
    pub used: Option<Timestamp>,
}

/// A new claim with the line that enrols a device. Its debug form leaves the line out: it holds the code.
pub struct ClaimLine {
    /// The claim.
    pub claim: Claim,
    /// Where to enrol, with what code, and whom to trust.
    pub line: Zeroizing<String>,
}

impl fmt::Debug for ClaimLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimLine({})", self.claim.id)
    }
}

impl Pki {
    /// Makes a claim; its code is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`PkiError::NoEndpoint`] until a server has said where devices reach it, [`PkiError::InvalidName`] for a bad name.
    pub async fn create_claim(
        &self,
        grant: &Grant<'_, Write>,
        new: NewClaim,
    ) -> Result<ClaimLine, PkiError> {
        let project = grant.project();
        if !grant.locations().allow(new.location) {
            return Err(PkiError::NotFound);
        }
        let name = sound_name(&new.name).ok_or(PkiError::InvalidName)?;
        let endpoints = self.endpoints().await?.ok_or(PkiError::NoEndpoint)?;
        let code = Code::random();
        let claim = Claim {
            id: new_id(&self.0.clock, ClaimId::from_parts),
            name: name.to_owned(),
            simulated: new.simulated,
            location: new.location,
            created: self.0.clock.now(),
            expires: after(self.0.clock.now(), LIFE),
            used: None,
        };
        let sealing = self.0.keys.project(project).await?;
        let name = sealing.seal(NAME, claim.id.as_bytes(), claim.name.as_bytes());
        let maker = grant.actor().person();
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "INSERT INTO claim (project, id, code_hash, name_sealed, simulated, location, created_us, expires_us,
                     created_by)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                &[
                    project.as_bytes().into(),
                    claim.id.as_bytes().into(),
                    (&self.code_hash(&code)).into(),
                    (&name).into(),
                    claim.simulated.into(),
                    claim.location.as_ref().map(LocationId::as_bytes).into(),
                    claim.created.as_micros().into(),
                    claim.expires.as_micros().into(),
                    maker.as_ref().map(PersonId::as_bytes).into(),
                ],
            )
            .await?;
        let entry = grant
            .entry(Act::ClaimCreate)
            .on(claim.id)
            .at(claim.location)
            .new_value(told(&claim));
        self.0.trail.write(&mut transaction, entry).await?;
        transaction.commit().await?;
        let line = format!(
            "fk1:{}:{}:{}",
            endpoints.device,
            code.0.as_str(),
            self.fingerprint()
        );
        Ok(ClaimLine {
            claim,
            line: line.into(),
        })
    }

    /// The project's claims that the grant reaches, newest first.
    pub async fn claims(&self, grant: &Grant<'_, Read>) -> Result<Vec<Claim>, PkiError> {
        let sealing = self.0.keys.project(grant.project()).await?;
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id, name_sealed, simulated, location, created_us, expires_us, used_us FROM claim
                 WHERE project = $1 ORDER BY id DESC",
                &[grant.project().as_bytes().into()],
            )
            .await?;
        let mut claims = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = ClaimId::from_bytes(row.array(0)?);
            claims.push(Claim {
                id,
                name: sealing.open_text(NAME, id.as_bytes(), row.bytes(1)?)?,
                simulated: row.bool(2)?,
                location: row.opt_array(3)?.map(LocationId::from_bytes),
                created: Timestamp::from_micros(row.i64(4)?),
                expires: Timestamp::from_micros(row.i64(5)?),
                used: row.opt_i64(6)?.map(Timestamp::from_micros),
            });
        }
        claims.retain(|claim| grant.locations().allow(claim.location));
        Ok(claims)
    }

    /// Claims that a person made, that no device has used and that are still good.
    pub async fn open_claims_of(
        &self,
        grant: &Grant<'_, Read>,
        person: PersonId,
    ) -> Result<Vec<Claim>, PkiError> {
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id FROM claim WHERE project = $1 AND created_by = $2 AND used_us IS NULL
                 AND expires_us > $3",
                &[
                    grant.project().as_bytes().into(),
                    person.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        let mut open = Vec::with_capacity(rows.len());
        for row in &rows {
            open.push(ClaimId::from_bytes(row.array(0)?));
        }
        let mut claims = self.claims(grant).await?;
        claims.retain(|claim| open.contains(&claim.id));
        Ok(claims)
    }

    /// Withdraws a claim that no device has used.
    ///
    /// # Errors
    /// [`PkiError::NotFound`] also when it was used: it is then part of the device's history.
    pub async fn delete_claim(
        &self,
        grant: &Grant<'_, Write>,
        claim: ClaimId,
    ) -> Result<(), PkiError> {
        let claims = self.claims(&grant.read()).await?;
        let Some(known) = claims.iter().find(|known| known.id == claim) else {
            return Err(PkiError::NotFound);
        };
        let mut transaction = self.0.db.begin().await?;
        let gone = transaction
            .execute(
                "DELETE FROM claim WHERE project = $1 AND id = $2 AND used_us IS NULL",
                &[grant.project().as_bytes().into(), claim.as_bytes().into()],
            )
            .await?;
        if gone == 0 {
            return Err(PkiError::NotFound);
        }
        let entry = grant
            .entry(Act::ClaimRevoke)
            .on(claim)
            .at(known.location)
            .old(told(known));
        self.0.trail.write(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    /// SHA-256 of the server root's DER in hex: what a claim line pins.
    pub fn fingerprint(&self) -> String {
        hex(&sha256(&self.0.server.root))
    }

    pub(super) fn code_hash(&self, code: &Code) -> [u8; 32] {
        self.0.keys.instance().lookup(CODE, code.0.as_bytes())
    }
}

/// A claim as the trail tells it.
fn told(claim: &Claim) -> serde_json::Value {
    json!({ "name": claim.name, "simulated": claim.simulated })
}

pub(super) fn after(time: Timestamp, life: Duration) -> Timestamp {
    let life_us = i64::try_from(life.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(time.as_micros().saturating_add(life_us))
}

/// The secret of a claim in its one canonical form.
pub(super) struct Code(Zeroizing<String>);

impl Code {
    fn random() -> Self {
        let bytes: [u8; LENGTH] = random();
        let digits = bytes
            .iter()
            .map(|byte| char::from(DIGITS[usize::from(byte & 31)]));
        Self(Zeroizing::new(digits.collect()))
    }

    /// Reads a code as people type it: any case, with dashes, with the letters that look like digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut code = Zeroizing::new(String::with_capacity(LENGTH));
        for letter in text.chars().filter(|letter| !matches!(letter, '-' | ' ')) {
            let digit = match letter.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            if code.len() == LENGTH || !DIGITS.iter().any(|known| char::from(*known) == digit) {
                return None;
            }
            code.push(digit);
        }
        (code.len() == LENGTH).then_some(Self(code))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_typing() {
        let code = Code::random();
        let typed = code
            .0
            .to_ascii_lowercase()
            .replace('0', "o")
            .replace('1', "l");
        let typed = format!("{}-{} ", &typed[..7], &typed[7..]);
        assert_eq!(Code::parse(&typed).unwrap().0, code.0);
    }

    #[test]
    fn other_texts_are_no_codes() {
        for text in [
            "",
            "0",
            &"0".repeat(19),
            &"0".repeat(21),
            &"u".repeat(20),
            &"ö".repeat(10),
        ] {
            assert!(Code::parse(text).is_none(), "{text}");
        }
    }
}
