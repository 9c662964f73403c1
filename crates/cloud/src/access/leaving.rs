//! What hangs on a person who leaves a project, and their leaving: one act, for one project or for all.
//!
//! Keys and service accounts that a person made go on working when they leave unless somebody says what becomes of them; so a removal that does
//! not say it is refused while there are any. Everything is one transaction, in all projects or in none.

use fieldkeep_protocol::{KeyId, PersonId, ProjectId, ServiceId, Timestamp};

use super::grant::{Admin, Grant, Locations};
use super::members::{another_administrator, erase, told};
use super::roles::Role;
use super::service::end_account;
use super::{Access, AccessError, ApiKey, Failure, ServiceAccount};
use crate::db::Transaction;
use crate::trail::Act;
use serde_json::json;

/// What hangs on a person in one project.
#[derive(Clone, Debug)]
pub struct Hanging {
    /// API keys that they made and that still open something.
    pub keys: Vec<ApiKey>,
    /// Service accounts that they made and that may come in.
    pub services: Vec<ServiceAccount>,
    /// How many other projects they are a member of that the asker administers as a whole.
    pub other_projects: usize,
}

/// What becomes of keys and service accounts whose maker leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Keys are revoked, accounts disabled.
    Revoke,
    /// This member answers for them from now on.
    HandOver(PersonId),
}

impl Access {
    /// What hangs on a member.
    ///
    /// # Errors
    /// [`AccessError::MemberUnknown`] for who is no member, or reaches further than the grant.
    pub async fn hanging_on(
        &self,
        grant: &Grant<'_, Admin>,
        person: PersonId,
    ) -> Result<Hanging, AccessError> {
        let now = self.0.clock.now();
        let mut transaction = self.0.db.begin().await?;
        self.reached_member(&mut transaction, grant, person).await?;
        let other_projects = self
            .shared_projects(&mut transaction, grant, person)
            .await?
            .len();
        drop(transaction);
        let mut keys = self.api_keys(grant).await?;
        keys.retain(|key| {
            key.created_by == Some(person)
                && key.revoked.is_none()
                && key.expires.is_none_or(|expires| expires > now)
        });
        let mut services = self.service_accounts(grant).await?;
        services.retain(|account| account.created_by == Some(person) && account.enabled);
        Ok(Hanging {
            keys,
            services,
            other_projects,
        })
    }

    /// Removes a member. With `everywhere` also from every other project that the remover administers as a whole.
    ///
    /// # Errors
    /// [`AccessError::Hanging`] where something hangs on them and `fate` is not said, [`AccessError::CannotTakeOver`] where it
    /// names somebody who may not have them, [`AccessError::Last`] for the last administrator.
    pub async fn remove_member(
        &self,
        grant: &Grant<'_, Admin>,
        person: PersonId,
        fate: Option<Fate>,
        everywhere: bool,
        reason: Option<&str>,
    ) -> Result<usize, AccessError> {
        let mut transaction = self.0.db.begin().await?;
        self.reached_member(&mut transaction, grant, person).await?;
        let mut projects = vec![grant.project()];
        if everywhere {
            projects.extend(
                self.shared_projects(&mut transaction, grant, person)
                    .await?,
            );
        }
        for &project in &projects {
            self.remove_from(&mut transaction, grant, project, person, fate, reason)
                .await?;
        }
        transaction.commit().await?;
        tracing::info!(
            project.id = %grant.project(), by = %grant.actor(), person.id = %person, projects = projects.len(),
            "member removed"
        );
        Ok(projects.len())
    }

    async fn remove_from(
        &self,
        transaction: &mut Transaction,
        grant: &Grant<'_, Admin>,
        project: ProjectId,
        person: PersonId,
        fate: Option<Fate>,
        reason: Option<&str>,
    ) -> Result<(), AccessError> {
        let now = self.0.clock.now();
        let (old, _) = self
            .member_in(transaction, project, person)
            .await?
            .ok_or(AccessError::MemberUnknown)?;
        erase(transaction, project, person, grant.actor().person(), now).await?;
        if old.lasts() {
            another_administrator(transaction, project).await?;
        }
        let keys = live_keys(transaction, project, person, now).await?;
        let services = live_services(transaction, project, person).await?;
        match (fate, keys.is_empty() && services.is_empty()) {
            (_, true) => {}
            (None, false) => return Err(AccessError::Hanging),
            (Some(Fate::Revoke), false) => {
                for account in services {
                    end_account(transaction, project, account).await?;
                    let entry = grant
                        .entry(Act::ServiceRevoke)
                        .in_project(project)
                        .on(account)
                        .reason(reason);
                    self.trail().write(transaction, entry).await?;
                }
                for key in keys {
                    transaction
                        .execute(
                            "UPDATE api_key SET revoked_us = $3 WHERE project = $1 AND id = $2",
                            &[
                                project.as_bytes().into(),
                                key.as_bytes().into(),
                                now.as_micros().into(),
                            ],
                        )
                        .await?;
                    let entry = grant
                        .entry(Act::KeyRevoke)
                        .in_project(project)
                        .on(key)
                        .reason(reason);
                    self.trail().write(transaction, entry).await?;
                }
            }
            (Some(Fate::HandOver(to)), false) => {
                let taker = self.member_in(transaction, project, to).await?;
                let fits = taker.is_some_and(|(taker, emergency)| {
                    !emergency
                        && taker.role == Role::Administrator
                        && matches!(taker.locations, Locations::All)
                        && taker.until.is_none_or(|until| until > now)
                });
                if !fits {
                    return Err(AccessError::CannotTakeOver);
                }
                for account in services {
                    transaction
                        .execute(
                            "UPDATE service_account SET created_by = $3 WHERE project = $1 AND id = $2",
                            &[
                                project.as_bytes().into(),
                                account.as_bytes().into(),
                                to.as_bytes().into(),
                            ],
                        )
                        .await?;
                    let entry = grant
                        .entry(Act::ServiceHandOver)
                        .in_project(project)
                        .on(account)
                        .old(json!({ "person": person.to_string() }))
                        .new_value(json!({ "person": to.to_string() }))
                        .reason(reason);
                    self.trail().write(transaction, entry).await?;
                }
                for key in keys {
                    transaction
                        .execute(
                            "UPDATE api_key SET created_by = $3 WHERE project = $1 AND id = $2",
                            &[
                                project.as_bytes().into(),
                                key.as_bytes().into(),
                                to.as_bytes().into(),
                            ],
                        )
                        .await?;
                    let entry = grant
                        .entry(Act::KeyHandOver)
                        .in_project(project)
                        .on(key)
                        .old(json!({ "person": person.to_string() }))
                        .new_value(json!({ "person": to.to_string() }))
                        .reason(reason);
                    self.trail().write(transaction, entry).await?;
                }
            }
        }
        let entry = grant
            .entry(Act::MemberRemove)
            .in_project(project)
            .on(person)
            .old(told(&old))
            .reason(reason);
        Ok(self.trail().write(transaction, entry).await?)
    }

    /// Other projects of a person that the grant's holder administers as a whole. A key of one project has none.
    async fn shared_projects(
        &self,
        transaction: &mut Transaction,
        grant: &Grant<'_, Admin>,
        person: PersonId,
    ) -> Result<Vec<ProjectId>, Failure> {
        let Some(remover) = grant.actor().person() else {
            return Ok(Vec::new());
        };
        let rows = transaction
            .fetch_all(
                "SELECT theirs.project FROM membership theirs
                 JOIN membership mine ON mine.project = theirs.project AND mine.person = $2
                 WHERE theirs.person = $1 AND theirs.project <> $3
                 AND mine.role = 'administrator' AND mine.all_locations
                 AND (mine.until_us IS NULL OR mine.until_us > $4) ORDER BY theirs.project",
                &[
                    person.as_bytes().into(),
                    remover.as_bytes().into(),
                    grant.project().as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        rows.iter()
            .map(|row| Ok(ProjectId::from_bytes(row.array(0)?)))
            .collect()
    }
}

/// Service accounts that a person made and that may come in.
async fn live_services(
    transaction: &mut Transaction,
    project: ProjectId,
    person: PersonId,
) -> Result<Vec<ServiceId>, Failure> {
    let rows = transaction
        .fetch_all(
            "SELECT id FROM service_account WHERE project = $1 AND created_by = $2 AND enabled
             ORDER BY id",
            &[project.as_bytes().into(), person.as_bytes().into()],
        )
        .await?;
    rows.iter()
        .map(|row| Ok(ServiceId::from_bytes(row.array(0)?)))
        .collect()
}

/// Keys that a person made and that still open something.
async fn live_keys(
    transaction: &mut Transaction,
    project: ProjectId,
    person: PersonId,
    now: Timestamp,
) -> Result<Vec<KeyId>, Failure> {
    let rows = transaction
        .fetch_all(
            "SELECT id FROM api_key WHERE project = $1 AND created_by = $2 AND revoked_us IS NULL
             AND (expires_us IS NULL OR expires_us > $3) ORDER BY id",
            &[
                project.as_bytes().into(),
                person.as_bytes().into(),
                now.as_micros().into(),
            ],
        )
        .await?;
    rows.iter()
        .map(|row| Ok(KeyId::from_bytes(row.array(0)?)))
        .collect()
}
