//! Service accounts: callers of one project that are no person.
//!
//! An account is limited to scopes and locations, never more than whoever makes or changes it has. What it proves itself
//! with is in `credentials.rs`, the tokens that it gets for that in `tokens.rs`.
//! What is changed or disabled counts at the next request, for tokens given out before as well.

use fieldkeep_protocol::{PersonId, ProjectId, ServiceId, Timestamp};
use serde_json::{Value, json};

use super::credentials::{ServiceCredential, credential_from};
use super::grant::{Admin, Grant, Locations, Standing};
use super::members::location_set;
use super::people::valid_name;
use super::roles::Scopes;
use super::{Access, AccessError, Failure};
use crate::db::{Row, Transaction};
use crate::keys::{SealingKey, new_id};
use crate::trail::Act;

/// Accounts of one project.
const ACCOUNTS: i64 = 500;
/// What stands behind an account's id in its e-mail-shaped name. No mail ever goes there (RFC 2606).
const LOGIN_DOMAIN: &str = "service.invalid";

/// What a new account shall be.
#[derive(Clone, Debug)]
pub struct NewServiceAccount {
    /// The name to show.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The part of the project that it reaches.
    pub locations: Locations,
}

/// What to change of an account; None leaves as it is.
#[derive(Clone, Debug, Default)]
pub struct ServiceAccountChange {
    /// A new name.
    pub name: Option<String>,
    /// Other scopes.
    pub scopes: Option<Scopes>,
    /// Another part of the project.
    pub locations: Option<Locations>,
    /// Whether it may come in.
    pub enabled: Option<bool>,
}

/// A service account.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// Which; also its client id.
    pub id: ServiceId,
    /// The name to show.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The part of the project that it reaches.
    pub locations: Locations,
    /// Whether it may come in.
    pub enabled: bool,
    /// The person who made it.
    pub created_by: Option<PersonId>,
    /// When it was made.
    pub created: Timestamp,
    /// The day on which it last got a token, in UTC.
    pub used: Option<Timestamp>,
    /// What it proves itself with, ended ones too, oldest first.
    pub credentials: Vec<ServiceCredential>,
}

impl ServiceAccount {
    /// The name to sign in with where an e-mail is asked for.
    pub fn login(&self) -> String {
        login_of(self.id)
    }

    /// As the trail tells it.
    fn told(&self) -> Value {
        let locations = match &self.locations {
            Locations::All => None,
            Locations::Only(set) => Some(set.iter().map(ToString::to_string)),
        };
        json!({
            "name": self.name,
            "scopes": self.scopes.to_string(),
            "locations": locations.map(Iterator::collect::<Vec<_>>),
            "enabled": self.enabled,
        })
    }
}

pub(super) fn login_of(account: ServiceId) -> String {
    format!("{account}@{LOGIN_DOMAIN}")
}

pub(super) fn account_of_login(login: &str) -> Option<ServiceId> {
    let login = login.trim().to_ascii_lowercase();
    let (account, domain) = login.split_once('@')?;
    (domain == LOGIN_DOMAIN).then(|| account.parse().ok())?
}

/// What `service_from` reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name_sealed, scopes, all_locations, enabled, created_by, created_us, used_us
             FROM service_account WHERE project = $1 ",
            $rest
        )
    };
}

impl Access {
    /// The project's service accounts in reach, oldest first.
    pub async fn service_accounts(
        &self,
        grant: &Grant<'_, Admin>,
    ) -> Result<Vec<ServiceAccount>, AccessError> {
        let project = grant.project();
        let key = self.project_key(project).await?;
        let rows = self
            .0
            .db
            .fetch_all(
                select!("ORDER BY created_us, id"),
                &[project.as_bytes().into()],
            )
            .await?;
        let mut accounts = Vec::with_capacity(rows.len());
        for row in &rows {
            let account = self.service_from(row, project, &key).await?;
            if grant.locations().cover(&account.locations) {
                accounts.push(account);
            }
        }
        Ok(accounts)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`AccessError::AccountUnknown`] also when it reaches further than the grant.
    pub async fn service_account(
        &self,
        grant: &Grant<'_, Admin>,
        id: ServiceId,
    ) -> Result<ServiceAccount, AccessError> {
        let project = grant.project();
        let row = self
            .0
            .db
            .fetch_optional(
                select!("AND id = $2"),
                &[project.as_bytes().into(), id.as_bytes().into()],
            )
            .await?
            .ok_or(AccessError::AccountUnknown)?;
        let key = self.project_key(project).await?;
        let account = self.service_from(&row, project, &key).await?;
        if grant.locations().cover(&account.locations) {
            Ok(account)
        } else {
            Err(AccessError::AccountUnknown)
        }
    }

    /// Makes an account. It can do nothing before it has a credential.
    ///
    /// # Errors
    /// [`AccessError::ScopesBeyond`] and [`AccessError::LocationsBeyond`]: nobody hands out more than they have.
    pub async fn create_service_account(
        &self,
        grant: &Grant<'_, Admin>,
        new: NewServiceAccount,
    ) -> Result<ServiceAccount, AccessError> {
        let name = valid_name(&new.name)?.to_owned();
        within(grant, new.scopes, &new.locations)?;
        let project = grant.project();
        let key = self.project_key(project).await?;
        let account = ServiceAccount {
            id: new_id(&self.0.clock, ServiceId::from_parts),
            name,
            scopes: new.scopes,
            locations: new.locations,
            enabled: true,
            created_by: grant.actor().person(),
            created: self.0.clock.now(),
            used: None,
            credentials: Vec::new(),
        };
        let id = account.id.as_bytes();
        let mut transaction = self.0.db.begin().await?;
        let count = transaction
            .fetch_optional(
                "SELECT count(*) FROM service_account WHERE project = $1",
                &[project.as_bytes().into()],
            )
            .await?;
        if count.map_or(Ok(0), |row| row.i64(0))? >= ACCOUNTS {
            return Err(AccessError::TooMany("service accounts"));
        }
        transaction
            .execute(
                "INSERT INTO service_account (project, id, name_sealed, scopes, all_locations,
                     enabled, created_by, created_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                &[
                    project.as_bytes().into(),
                    id.into(),
                    (&key.seal("service_account.name", id, account.name.as_bytes())).into(),
                    account.scopes.to_string().as_str().into(),
                    matches!(account.locations, Locations::All).into(),
                    true.into(),
                    account.created_by.as_ref().map(PersonId::as_bytes).into(),
                    account.created.as_micros().into(),
                ],
            )
            .await?;
        set_locations(&mut transaction, project, account.id, &account.locations).await?;
        let entry = grant.entry(Act::ServiceCreate).on(account.id);
        let entry = entry.new_value(account.told());
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, account.id = %account.id, by = %grant.actor(), "service account made");
        Ok(account)
    }

    /// Changes an account. What it may do is narrowed at the next request, also of tokens given out before.
    pub async fn change_service_account(
        &self,
        grant: &Grant<'_, Admin>,
        id: ServiceId,
        change: ServiceAccountChange,
    ) -> Result<ServiceAccount, AccessError> {
        let project = grant.project();
        let mut account = self.service_account(grant, id).await?;
        let before = account.told();
        if let Some(name) = &change.name {
            valid_name(name)?.clone_into(&mut account.name);
        }
        account.scopes = change.scopes.unwrap_or(account.scopes);
        account.locations = change.locations.unwrap_or(account.locations);
        account.enabled = change.enabled.unwrap_or(account.enabled);
        within(grant, account.scopes, &account.locations)?;
        let key = self.project_key(project).await?;
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "UPDATE service_account SET name_sealed = $3, scopes = $4, all_locations = $5, enabled = $6
                 WHERE project = $1 AND id = $2",
                &[
                    project.as_bytes().into(),
                    id.as_bytes().into(),
                    (&key.seal("service_account.name", id.as_bytes(), account.name.as_bytes())).into(),
                    account.scopes.to_string().as_str().into(),
                    matches!(account.locations, Locations::All).into(),
                    account.enabled.into(),
                ],
            )
            .await?;
        set_locations(&mut transaction, project, id, &account.locations).await?;
        if !account.enabled {
            forget_tokens(&mut transaction, project, id).await?;
        }
        let entry = grant.entry(Act::ServiceChange).on(id);
        let entry = entry.old(before).new_value(account.told());
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, account.id = %id, by = %grant.actor(), enabled = account.enabled,
            "service account changed");
        Ok(account)
    }

    /// What a token of `scopes` may do: no more than its account does now.
    pub(super) async fn service_standing(
        &self,
        project: ProjectId,
        account: ServiceId,
        scopes: Scopes,
    ) -> Result<Option<Standing>, Failure> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT scopes, all_locations FROM service_account
                 WHERE project = $1 AND id = $2 AND enabled",
                &[project.as_bytes().into(), account.as_bytes().into()],
            )
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let live = stored_scopes(row.text(0)?)?;
        let locations = self
            .service_locations(project, account, row.bool(1)?)
            .await?;
        Ok(Some(Standing::limited(
            project,
            scopes.and(live),
            locations,
        )))
    }

    async fn service_locations(
        &self,
        project: ProjectId,
        account: ServiceId,
        all: bool,
    ) -> Result<Locations, Failure> {
        if all {
            return Ok(Locations::All);
        }
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT location FROM service_account_location WHERE project = $1 AND account = $2",
                &[project.as_bytes().into(), account.as_bytes().into()],
            )
            .await?;
        Ok(Locations::Only(location_set(&rows)?))
    }

    async fn service_from(
        &self,
        row: &Row,
        project: ProjectId,
        key: &SealingKey,
    ) -> Result<ServiceAccount, Failure> {
        let bytes: [u8; 16] = row.array(0)?;
        let id = ServiceId::from_bytes(bytes);
        let credentials = self
            .0
            .db
            .fetch_all(
                "SELECT id, kind, hint, created_us, expires_us, used_us, revoked_us
                 FROM service_credential WHERE project = $1 AND account = $2 ORDER BY created_us, id",
                &[project.as_bytes().into(), id.as_bytes().into()],
            )
            .await?;
        Ok(ServiceAccount {
            id,
            name: key.open_text("service_account.name", &bytes, row.bytes(1)?)?,
            scopes: stored_scopes(row.text(2)?)?,
            locations: self.service_locations(project, id, row.bool(3)?).await?,
            enabled: row.bool(4)?,
            created_by: row.opt_array(5)?.map(PersonId::from_bytes),
            created: Timestamp::from_micros(row.i64(6)?),
            used: row.opt_i64(7)?.map(Timestamp::from_micros),
            credentials: credentials
                .iter()
                .map(credential_from)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Lets an account in no more, at once.
pub(super) async fn end_account(
    transaction: &mut Transaction,
    project: ProjectId,
    account: ServiceId,
) -> Result<(), Failure> {
    transaction
        .execute(
            "UPDATE service_account SET enabled = $3 WHERE project = $1 AND id = $2",
            &[
                project.as_bytes().into(),
                account.as_bytes().into(),
                false.into(),
            ],
        )
        .await?;
    forget_tokens(transaction, project, account).await
}

async fn forget_tokens(
    transaction: &mut Transaction,
    project: ProjectId,
    account: ServiceId,
) -> Result<(), Failure> {
    transaction
        .execute(
            "DELETE FROM access_token WHERE project = $1 AND account = $2",
            &[project.as_bytes().into(), account.as_bytes().into()],
        )
        .await?;
    Ok(())
}

async fn set_locations(
    transaction: &mut Transaction,
    project: ProjectId,
    account: ServiceId,
    locations: &Locations,
) -> Result<(), Failure> {
    let values = [project.as_bytes().into(), account.as_bytes().into()];
    transaction
        .execute(
            "DELETE FROM service_account_location WHERE project = $1 AND account = $2",
            &values,
        )
        .await?;
    let Locations::Only(set) = locations else {
        return Ok(());
    };
    for location in set {
        transaction
            .execute(
                "INSERT INTO service_account_location (project, account, location)
                 VALUES ($1, $2, $3)",
                &[
                    project.as_bytes().into(),
                    account.as_bytes().into(),
                    location.as_bytes().into(),
                ],
            )
            .await?;
    }
    Ok(())
}

fn within(
    grant: &Grant<'_, Admin>,
    scopes: Scopes,
    locations: &Locations,
) -> Result<(), AccessError> {
    if !grant.scopes().cover(scopes) {
        return Err(AccessError::ScopesBeyond);
    }
    if !grant.locations().cover(locations) {
        return Err(AccessError::LocationsBeyond);
    }
    Ok(())
}

pub(super) fn stored_scopes(text: &str) -> Result<Scopes, Failure> {
    Scopes::parse(text).ok_or(Failure::Unknown("service_account.scopes"))
}
