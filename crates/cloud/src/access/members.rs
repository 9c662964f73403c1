//! Memberships: what a person is in which project, where, and until when.

use std::collections::BTreeSet;

use fieldkeep_protocol::{LocationId, PersonId, ProjectId, Timestamp};

use super::grant::{Actor, Admin, Audit, Grant, Holder, Locations, SignedIn, Standing};
use super::people::{Person, normalized};
use super::roles::Role;
use super::{Access, AccessError, Failure};
use crate::db::{Row, SqlError, Transaction};

/// What the caller is in one project.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The project.
    pub project: ProjectId,
    /// The role in it.
    pub role: Role,
    /// The part of it that the role reaches.
    pub locations: Locations,
    /// When it ends.
    pub until: Option<Timestamp>,
}

/// A person in one project.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub person: Person,
    /// As what, where, until when.
    pub membership: Membership,
}

const MINE: &str = "SELECT project, role, all_locations, until_us FROM membership
    WHERE person = $1 AND (until_us IS NULL OR until_us > $2) ORDER BY granted_us, project";

const ONE: &str = "SELECT project, role, all_locations, until_us FROM membership
    WHERE person = $1 AND project = $2 AND (until_us IS NULL OR until_us > $3)";

impl Access {
    /// The caller's projects; for an API key, its own.
    pub async fn memberships(&self, who: &SignedIn) -> Result<Vec<Membership>, Failure> {
        let now = self.0.clock.now().as_micros();
        match &who.0 {
            Holder::Person { person, .. } => {
                let values = [person.as_bytes().into(), now.into()];
                let rows = self.0.db.fetch_all(MINE, &values).await?;
                let mut found = Vec::with_capacity(rows.len());
                for row in &rows {
                    found.push(self.membership(row, *person).await?);
                }
                Ok(found)
            }
            Holder::ApiKey { project, .. } | Holder::Service { project, .. } => {
                let standing = self.standing(who, *project).await?;
                Ok(standing
                    .map(|standing| Membership {
                        project: standing.project,
                        role: standing.role,
                        locations: standing.locations,
                        until: None,
                    })
                    .into_iter()
                    .collect())
            }
        }
    }

    /// Everyone who reaches something that the grant reaches, also those whose time is over. What else they reach is
    /// not told.
    pub async fn members(&self, grant: &Grant<'_, Audit>) -> Result<Vec<Member>, AccessError> {
        let project = grant.project();
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT m.project, m.role, m.all_locations, m.until_us,
                        p.id, p.email_sealed, p.name_sealed, p.operator, p.enabled
                 FROM membership m JOIN person p ON p.id = m.person
                 WHERE m.project = $1 ORDER BY m.granted_us, p.id",
                &[project.as_bytes().into()],
            )
            .await?;
        let mut members = Vec::with_capacity(rows.len());
        for row in &rows {
            let person = self.person_from(row, 4)?;
            let mut membership = self.membership(row, person.id).await?;
            let Some(seen) = membership.locations.seen_from(grant.locations()) else {
                continue;
            };
            membership.locations = seen;
            members.push(Member { person, membership });
        }
        Ok(members)
    }

    /// What the caller is in one project; None when nothing.
    pub(super) async fn standing(
        &self,
        who: &SignedIn,
        project: ProjectId,
    ) -> Result<Option<Standing>, Failure> {
        match &who.0 {
            Holder::Person { person, .. } => {
                let values = [
                    person.as_bytes().into(),
                    project.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ];
                let Some(row) = self.0.db.fetch_optional(ONE, &values).await? else {
                    return Ok(None);
                };
                let membership = self.membership(&row, *person).await?;
                Ok(Some(Standing::of_role(
                    project,
                    membership.role,
                    membership.locations,
                )))
            }
            Holder::ApiKey { project: own, key } if *own == project => {
                self.api_key_standing(project, *key).await
            }
            Holder::Service {
                project: own,
                account,
                scopes,
                ..
            } if *own == project => self.service_standing(project, *account, *scopes).await,
            Holder::ApiKey { .. } | Holder::Service { .. } => Ok(None),
        }
    }

    async fn membership(&self, row: &Row, person: PersonId) -> Result<Membership, Failure> {
        let project = ProjectId::from_bytes(row.array(0)?);
        let role = row
            .text(1)?
            .parse()
            .map_err(|_| Failure::Unknown("membership.role"))?;
        let locations = if row.bool(2)? {
            Locations::All
        } else {
            let rows = self
                .0
                .db
                .fetch_all(
                    "SELECT location FROM membership_location WHERE project = $1 AND person = $2",
                    &[project.as_bytes().into(), person.as_bytes().into()],
                )
                .await?;
            Locations::Only(location_set(&rows)?)
        };
        Ok(Membership {
            project,
            role,
            locations,
            until: row.opt_i64(3)?.map(Timestamp::from_micros),
        })
    }
}

pub(super) fn location_set(rows: &[Row]) -> Result<BTreeSet<LocationId>, SqlError> {
    rows.iter()
        .map(|row| row.array(0).map(LocationId::from_bytes))
        .collect()
}

impl Access {
    /// Makes a person who has an account a member of the whole project, or changes what they are.
    ///
    /// # Errors
    /// [`AccessError::RoleAbove`] for a role beyond the grant's, [`AccessError::LocationsBeyond`] for a grant that
    /// does not reach the whole project, [`AccessError::PersonUnknown`] without an account.
    pub async fn set_member(
        &self,
        grant: &Grant<'_, Admin>,
        email: &str,
        role: Role,
    ) -> Result<(), AccessError> {
        if !grant.role().covers(role) {
            return Err(AccessError::RoleAbove(role));
        }
        if !grant.locations().cover(&Locations::All) {
            return Err(AccessError::LocationsBeyond);
        }
        let email = normalized(email)?;
        let membership = Membership {
            project: grant.project(),
            role,
            locations: Locations::All,
            until: None,
        };
        let mut transaction = self.0.db.begin().await?;
        let person = self
            .find(&mut transaction, &email)
            .await?
            .ok_or(AccessError::PersonUnknown)?;
        let by = grant.actor().person();
        insert(
            &mut transaction,
            person,
            &membership,
            by,
            self.0.clock.now(),
        )
        .await?;
        transaction.commit().await?;
        tracing::info!(project.id = %grant.project(), by = %grant.actor(), role = role.name(), "member set");
        Ok(())
    }
}

/// Makes the creator of a project its administrator, in the transaction that creates it. The program itself
/// becomes no member.
pub(crate) async fn make_administrator(
    transaction: &mut Transaction,
    project: ProjectId,
    creator: Actor,
    now: Timestamp,
) -> Result<(), SqlError> {
    let Some(person) = creator.person() else {
        return Ok(());
    };
    let membership = Membership {
        project,
        role: Role::Administrator,
        locations: Locations::All,
        until: None,
    };
    insert(transaction, person, &membership, Some(person), now).await
}

/// Writes a membership, in place of one that was.
pub(super) async fn insert(
    transaction: &mut Transaction,
    person: PersonId,
    membership: &Membership,
    by: Option<PersonId>,
    now: Timestamp,
) -> Result<(), SqlError> {
    let project = membership.project.as_bytes();
    let all = matches!(membership.locations, Locations::All);
    transaction
        .execute(
            "INSERT INTO membership
                 (project, person, role, all_locations, until_us, granted_by, granted_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (project, person) DO UPDATE SET role = excluded.role,
                 all_locations = excluded.all_locations, until_us = excluded.until_us,
                 granted_by = excluded.granted_by, granted_us = excluded.granted_us",
            &[
                project.into(),
                person.as_bytes().into(),
                membership.role.name().into(),
                all.into(),
                membership.until.map(Timestamp::as_micros).into(),
                by.as_ref().map(PersonId::as_bytes).into(),
                now.as_micros().into(),
            ],
        )
        .await?;
    transaction
        .execute(
            "DELETE FROM membership_location WHERE project = $1 AND person = $2",
            &[project.into(), person.as_bytes().into()],
        )
        .await?;
    if let Locations::Only(locations) = &membership.locations {
        for location in locations {
            transaction
                .execute(
                    "INSERT INTO membership_location (project, person, location)
                     VALUES ($1, $2, $3)",
                    &[
                        project.into(),
                        person.as_bytes().into(),
                        location.as_bytes().into(),
                    ],
                )
                .await?;
        }
    }
    Ok(())
}
