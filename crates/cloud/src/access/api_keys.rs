//! API keys of a project: `fk_` and 64 hexadecimal digits, shown once, stored as a keyed hash.
//!
//! A key never allows more than whoever made it, in role, scopes or locations. Revocation and expiry count at the
//! next request; on which day a key was last used is written once a day.

use std::sync::Arc;

use fieldkeep_protocol::{KeyId, PersonId, ProjectId, Timestamp};

use super::grant::{Admin, Grant, Holder, Locations, SignedIn, Standing};
use super::members::location_set;
use super::people::valid_name;
use super::roles::{Role, Scopes};
use super::{Access, AccessError, Denied, Failure};
use crate::clock::rfc3339;
use crate::db::Row;
use crate::keys::{SealingKey, hex, new_id, random};
use crate::trail::{Act, Origin};
use serde_json::json;

const MARK: &str = "fk_";
/// `fk_` and 256 bits in hexadecimal.
const LENGTH: usize = 3 + 64;
/// What is stored in clear, so that a person recognises the key.
const PREFIX: usize = 3 + 8;
pub(super) const DAY_US: i64 = 24 * 3_600 * 1_000_000;
/// The longest life of what ends at all: a year, leap years included.
pub(super) const LONGEST_US: i64 = 366 * DAY_US;

/// What is remembered of a key that is not revoked.
#[derive(Clone, Debug)]
pub(super) struct Known {
    key: KeyId,
    prefix: String,
    standing: Standing,
    expires_us: Option<i64>,
    used_us: Option<i64>,
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// The name to show.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The part of the project that it reaches.
    pub locations: Locations,
    /// When it ends; None for never.
    pub expires: Option<Timestamp>,
}

/// An API key, without its secret.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Which.
    pub id: KeyId,
    /// The name to show.
    pub name: String,
    /// The first characters of the secret.
    pub prefix: String,
    /// What it may do.
    pub role: Role,
    /// To which actions of its role it is limited.
    pub scopes: Scopes,
    /// The part of the project that it reaches.
    pub locations: Locations,
    /// The person who made it; None for the program itself and for other keys.
    pub created_by: Option<PersonId>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// The day on which it was last used, in UTC.
    pub used: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

impl Access {
    /// Makes a key that may do all that its role allows, and answers it with its secret, which is not seen again.
    ///
    /// # Errors
    /// [`AccessError::RoleAbove`] and [`AccessError::LocationsBeyond`]: nobody hands out more than they have.
    pub async fn create_api_key(
        &self,
        grant: &Grant<'_, Admin>,
        new: NewApiKey,
    ) -> Result<(ApiKey, String), AccessError> {
        let scopes = Scopes::of_role(new.role);
        self.create_scoped_api_key(grant, new, scopes).await
    }

    /// The same, limited to some actions of its role.
    ///
    /// # Errors
    /// Also [`AccessError::ScopesBeyond`] for an action that the role does not allow.
    pub async fn create_scoped_api_key(
        &self,
        grant: &Grant<'_, Admin>,
        new: NewApiKey,
        scopes: Scopes,
    ) -> Result<(ApiKey, String), AccessError> {
        let name = valid_name(&new.name)?;
        if !grant.role().covers(new.role) {
            return Err(AccessError::RoleAbove(new.role));
        }
        if !Scopes::of_role(new.role).cover(scopes) {
            return Err(AccessError::ScopesBeyond);
        }
        if !grant.locations().cover(&new.locations) {
            return Err(AccessError::LocationsBeyond);
        }
        let now = self.0.clock.now();
        if let Some(expires) = new.expires {
            sound_expiry(now, expires)?;
        }
        let project = grant.project();
        let key = self.project_key(project).await?;
        let id = new_id(&self.0.clock, KeyId::from_parts);
        let secret = secret();
        let hash = self.api_key_hash(&secret);
        let prefix = secret[..PREFIX].to_owned();
        let created_by = grant.actor().person();
        let all = matches!(new.locations, Locations::All);
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "INSERT INTO api_key (project, id, hash, prefix, name_sealed, role, all_locations,
                     created_by, created_us, expires_us, scopes)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                &[
                    project.as_bytes().into(),
                    id.as_bytes().into(),
                    (&hash).into(),
                    prefix.as_str().into(),
                    (&key.seal("api_key.name", id.as_bytes(), name.as_bytes())).into(),
                    new.role.name().into(),
                    all.into(),
                    created_by.as_ref().map(PersonId::as_bytes).into(),
                    now.as_micros().into(),
                    new.expires.map(Timestamp::as_micros).into(),
                    scopes.to_string().as_str().into(),
                ],
            )
            .await?;
        if let Locations::Only(locations) = &new.locations {
            for location in locations {
                transaction
                    .execute(
                        "INSERT INTO api_key_location (project, key, location) VALUES ($1, $2, $3)",
                        &[
                            project.as_bytes().into(),
                            id.as_bytes().into(),
                            location.as_bytes().into(),
                        ],
                    )
                    .await?;
            }
        }
        let locations = match &new.locations {
            Locations::All => None,
            Locations::Only(locations) => Some(locations.iter().map(ToString::to_string)),
        };
        let entry = grant.entry(Act::KeyCreate).on(id).new_value(json!({
            "name": name,
            "prefix": prefix,
            "role": new.role.name(),
            "scopes": scopes.to_string(),
            "locations": locations.map(Iterator::collect::<Vec<_>>),
            "expires": new.expires.map(rfc3339::format),
        }));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, key.id = %id, by = %grant.actor(), "API key made");
        let made = ApiKey {
            id,
            name: name.to_owned(),
            prefix,
            role: new.role,
            scopes,
            locations: new.locations,
            created_by,
            created: now,
            expires: new.expires,
            used: None,
            revoked: None,
        };
        Ok((made, secret))
    }

    /// The project's keys, revoked and expired ones too, oldest first.
    pub async fn api_keys(&self, grant: &Grant<'_, Admin>) -> Result<Vec<ApiKey>, AccessError> {
        let mut keys = self.keys_of(grant.project()).await?;
        keys.retain(|key| grant.locations().cover(&key.locations));
        Ok(keys)
    }

    /// All keys that a project ever had.
    pub(super) async fn keys_of(&self, project: ProjectId) -> Result<Vec<ApiKey>, AccessError> {
        let sealing = self.project_key(project).await?;
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id, name_sealed, prefix, role, all_locations, created_by, created_us,
                        expires_us, used_us, revoked_us, scopes
                 FROM api_key WHERE project = $1 ORDER BY created_us, id",
                &[project.as_bytes().into()],
            )
            .await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in &rows {
            keys.push(self.api_key_from(row, project, &sealing).await?);
        }
        Ok(keys)
    }

    /// Ends a key at once. Revoking twice changes nothing.
    ///
    /// # Errors
    /// [`AccessError::KeyUnknown`] also when the key reaches further than the grant.
    pub async fn revoke_api_key(
        &self,
        grant: &Grant<'_, Admin>,
        id: KeyId,
    ) -> Result<(), AccessError> {
        let project = grant.project();
        let standing = self.locations_of(project, id).await?;
        if !standing.is_some_and(|locations| grant.locations().cover(&locations)) {
            return Err(AccessError::KeyUnknown);
        }
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "UPDATE api_key SET revoked_us = $3
                 WHERE project = $1 AND id = $2 AND revoked_us IS NULL",
                &[
                    project.as_bytes().into(),
                    id.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        let entry = grant.entry(Act::KeyRevoke).on(id);
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, key.id = %id, by = %grant.actor(), "API key revoked");
        Ok(())
    }

    pub(super) async fn api_key_holder(
        &self,
        secret: &str,
        origin: &Origin,
    ) -> Result<SignedIn, Denied> {
        let known = self.api_key(secret).await?;
        Ok(SignedIn::new(
            Holder::ApiKey {
                project: known.standing.project,
                key: known.key,
            },
            &known.prefix,
            origin,
        ))
    }

    /// The key with this secret and what it may do, as of now.
    ///
    /// # Errors
    /// [`Denied::Unauthenticated`] where it is unknown, revoked or expired.
    async fn api_key(&self, secret: &str) -> Result<Arc<Known>, Denied> {
        if secret.len() != LENGTH || !secret.starts_with(MARK) {
            return Err(Denied::Unauthenticated);
        }
        let hash = self.api_key_hash(secret);
        // Before the rows: what is committed after this makes another state.
        let state = self.0.db.state().await?;
        let known = match self.0.api_keys.in_state(state, &hash) {
            Some(known) => known,
            None => {
                let known = self.stored_api_key(&hash).await?;
                let known = Arc::new(known.ok_or(Denied::Unauthenticated)?);
                let id = (known.standing.project, known.key);
                self.0.api_keys.keep(state, hash, Arc::clone(&known));
                self.0.api_keys_by_id.keep(state, id, Arc::clone(&known));
                known
            }
        };
        let now = self.0.clock.now().as_micros();
        if known.expires_us.is_some_and(|expires| expires <= now) {
            return Err(Denied::Unauthenticated);
        }
        let today = day(now);
        if known.used_us.is_none_or(|used| day(used) < today) {
            let project = known.standing.project;
            self.0
                .db
                .execute(
                    "UPDATE api_key SET used_us = $3 WHERE project = $1 AND id = $2",
                    &[
                        project.as_bytes().into(),
                        known.key.as_bytes().into(),
                        today.into(),
                    ],
                )
                .await?;
        }
        Ok(known)
    }

    async fn stored_api_key(&self, hash: &[u8; 32]) -> Result<Option<Known>, Failure> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT project, id, role, all_locations, expires_us, used_us, prefix, scopes FROM api_key
                 WHERE hash = $1 AND revoked_us IS NULL",
                &[hash.into()],
            )
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let project = ProjectId::from_bytes(row.array(0)?);
        let key = KeyId::from_bytes(row.array(1)?);
        let role = stored_role(row.text(2)?)?;
        let scopes = stored_scopes(role, row.opt_text(7)?)?;
        let locations = match row.bool(3)? {
            true => Some(Locations::All),
            false => self.locations_of(project, key).await?,
        };
        let (expires_us, used_us) = (row.opt_i64(4)?, row.opt_i64(5)?);
        let prefix = row.text(6)?.to_owned();
        Ok(locations.map(|locations| Known {
            key,
            prefix,
            standing: Standing::limited(project, scopes, locations),
            expires_us,
            used_us,
        }))
    }

    /// The holder, if the key is neither revoked nor expired.
    pub(super) async fn api_key_alive(
        &self,
        who: &SignedIn,
        project: ProjectId,
        key: KeyId,
    ) -> Result<SignedIn, Denied> {
        // Asked long after the holder was found: another process may have written since.
        self.0.db.state().await?;
        self.api_key_standing(project, key)
            .await?
            .map(|_| who.clone())
            .ok_or(Denied::Unauthenticated)
    }

    pub(super) async fn api_key_standing(
        &self,
        project: ProjectId,
        key: KeyId,
    ) -> Result<Option<Standing>, Failure> {
        // As of the question by which the holder was found, which was just asked.
        let known = self.0.db.seen_state().and_then(|state| {
            let known = &self.0.api_keys_by_id;
            known.in_state(state, &(project, key))
        });
        if let Some(known) = known {
            let now = self.0.clock.now().as_micros();
            let lasts = known.expires_us.is_none_or(|expires| expires > now);
            return Ok(lasts.then(|| known.standing.clone()));
        }
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT role, scopes FROM api_key WHERE project = $1 AND id = $2
                 AND revoked_us IS NULL AND (expires_us IS NULL OR expires_us > $3)",
                &[
                    project.as_bytes().into(),
                    key.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let role = stored_role(row.text(0)?)?;
        let scopes = stored_scopes(role, row.opt_text(1)?)?;
        let locations = self.locations_of(project, key).await?;
        Ok(locations.map(|locations| Standing::limited(project, scopes, locations)))
    }

    async fn locations_of(
        &self,
        project: ProjectId,
        key: KeyId,
    ) -> Result<Option<Locations>, Failure> {
        let values = [project.as_bytes().into(), key.as_bytes().into()];
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT all_locations FROM api_key WHERE project = $1 AND id = $2",
                &values,
            )
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        if row.bool(0)? {
            return Ok(Some(Locations::All));
        }
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT location FROM api_key_location WHERE project = $1 AND key = $2",
                &values,
            )
            .await?;
        Ok(Some(Locations::Only(location_set(&rows)?)))
    }

    async fn api_key_from(
        &self,
        row: &Row,
        project: ProjectId,
        sealing: &SealingKey,
    ) -> Result<ApiKey, AccessError> {
        let bytes: [u8; 16] = row.array(0)?;
        let id = KeyId::from_bytes(bytes);
        let role = stored_role(row.text(3)?)?;
        Ok(ApiKey {
            id,
            name: sealing.open_text("api_key.name", &bytes, row.bytes(1)?)?,
            prefix: row.text(2)?.to_owned(),
            role,
            scopes: stored_scopes(role, row.opt_text(10)?)?,
            locations: self
                .locations_of(project, id)
                .await?
                .ok_or(AccessError::KeyUnknown)?,
            created_by: row.opt_array(5)?.map(PersonId::from_bytes),
            created: Timestamp::from_micros(row.i64(6)?),
            expires: row.opt_i64(7)?.map(Timestamp::from_micros),
            used: row.opt_i64(8)?.map(Timestamp::from_micros),
            revoked: row.opt_i64(9)?.map(Timestamp::from_micros),
        })
    }

    fn api_key_hash(&self, secret: &str) -> [u8; 32] {
        self.0
            .keys
            .instance()
            .lookup("api_key.hash", secret.as_bytes())
    }

    pub(super) async fn project_key(&self, project: ProjectId) -> Result<SealingKey, Failure> {
        Ok(self.0.keys.project(project).await?)
    }
}

fn stored_role(text: &str) -> Result<Role, Failure> {
    text.parse().map_err(|_| Failure::Unknown("api_key.role"))
}

/// Never more than the role allows, whatever is stored.
fn stored_scopes(role: Role, text: Option<&str>) -> Result<Scopes, Failure> {
    let whole = Scopes::of_role(role);
    match text {
        None => Ok(whole),
        Some(text) => Scopes::parse(text)
            .map(|scopes| scopes.and(whole))
            .ok_or(Failure::Unknown("api_key.scopes")),
    }
}

/// The beginning of the day of an instant, in UTC.
pub(super) const fn day(us: i64) -> i64 {
    us - us.rem_euclid(DAY_US)
}

/// Refuses an end that is past, or more than a year away.
pub(super) fn sound_expiry(now: Timestamp, expires: Timestamp) -> Result<(), AccessError> {
    if expires <= now {
        return Err(AccessError::PastDate);
    }
    if expires.as_micros() > now.as_micros().saturating_add(LONGEST_US) {
        return Err(AccessError::TooLongLived);
    }
    Ok(())
}

fn secret() -> String {
    marked(MARK)
}

/// A fresh secret of 256 bits behind a mark that scanners for leaked secrets can look for.
pub(super) fn marked(mark: &str) -> String {
    let bytes: [u8; 32] = random();
    format!("{mark}{}", hex(&bytes))
}
