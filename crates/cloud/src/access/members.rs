//! Memberships: what a person is in which project, where, and until when.

use std::collections::BTreeSet;

use fieldkeep_protocol::{LocationId, PersonId, ProjectId, Timestamp};
use serde_json::json;

use super::grant::{Admin, Audit, Grant, Holder, Locations, OperatorGrant, SignedIn, Standing};
use super::people::{Person, normalized};
use super::roles::Role;
use super::{Access, AccessError, Failure};
use crate::clock::rfc3339;
use crate::db::{Row, SqlError, Transaction};
use crate::trail::Act;

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

impl Membership {
    /// Whether it is one of those that a project needs at least one of.
    pub(super) fn lasts(&self) -> bool {
        self.role == Role::Administrator
            && matches!(self.locations, Locations::All)
            && self.until.is_none()
    }
}

/// A person in one project.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who.
    pub person: Person,
    /// As what, where, until when.
    pub membership: Membership,
    /// Whether they gave it to themself as an operator, in an emergency.
    pub emergency: bool,
    /// Who gave it; None for the program itself.
    pub granted_by: Option<PersonId>,
    /// When it was given or last changed.
    pub granted: Timestamp,
}

/// What to change of a member; what is None stays.
#[derive(Clone, Debug, Default)]
pub struct MemberChange {
    /// Another role.
    pub role: Option<Role>,
    /// Another part of the project.
    pub locations: Option<Locations>,
    /// Another end, or none.
    pub until: Option<Option<Timestamp>>,
}

const MINE: &str = "SELECT project, role, all_locations, until_us FROM membership
    WHERE person = $1 AND (until_us IS NULL OR until_us > $2) ORDER BY granted_us, project";

const ONE: &str = "SELECT project, role, all_locations, until_us FROM membership
    WHERE person = $1 AND project = $2 AND (until_us IS NULL OR until_us > $3)";

impl Access {
    /// The caller's projects; for an API key, its own.
    pub async fn memberships(&self, who: &SignedIn) -> Result<Vec<Membership>, Failure> {
        let now = self.0.clock.now().as_micros();
        match &who.holder {
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
                        p.id, p.email_sealed, p.name_sealed, p.operator, p.enabled,
                        m.emergency, m.granted_by, m.granted_us
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
            members.push(Member {
                person,
                membership,
                emergency: row.bool(9)?,
                granted_by: row.opt_array(10)?.map(PersonId::from_bytes),
                granted: Timestamp::from_micros(row.i64(11)?),
            });
        }
        Ok(members)
    }

    /// What the caller is in one project; None when nothing.
    pub(super) async fn standing(
        &self,
        who: &SignedIn,
        project: ProjectId,
    ) -> Result<Option<Standing>, Failure> {
        match &who.holder {
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
    /// Makes the person who made a project its administrator, in the transaction that makes it. The program itself
    /// becomes no member.
    pub(crate) async fn make_administrator(
        &self,
        transaction: &mut Transaction,
        by: &OperatorGrant<'_>,
        project: ProjectId,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let Some(person) = by.actor().person() else {
            return Ok(());
        };
        let membership = Membership {
            project,
            role: Role::Administrator,
            locations: Locations::All,
            until: None,
        };
        insert(transaction, person, &membership, Some(person), now).await?;
        let entry = by
            .entry(Act::MemberAdd)
            .in_project(project)
            .on(person)
            .new_value(told(&membership));
        Ok(self.trail().write(transaction, entry).await?)
    }

    /// Changes what a member is. It counts at the next request, and on open streams within seconds.
    ///
    /// # Errors
    /// [`AccessError::MemberUnknown`] for who is no member, or reaches further than the grant;
    /// [`AccessError::RoleAbove`] and [`AccessError::LocationsBeyond`]: nobody gives more than they have;
    /// [`AccessError::Last`] where no lasting administrator of the whole project would be left.
    pub async fn change_member(
        &self,
        grant: &Grant<'_, Admin>,
        person: PersonId,
        change: MemberChange,
        reason: Option<&str>,
    ) -> Result<(), AccessError> {
        let project = grant.project();
        let now = self.0.clock.now();
        let mut transaction = self.0.db.begin().await?;
        let (old, emergency) = self.reached_member(&mut transaction, grant, person).await?;
        let new = Membership {
            project,
            role: change.role.unwrap_or(old.role),
            locations: change.locations.unwrap_or_else(|| old.locations.clone()),
            until: change.until.unwrap_or(old.until),
        };
        if !grant.role().covers(new.role) {
            return Err(AccessError::RoleAbove(new.role));
        }
        if !grant.locations().cover(&new.locations) {
            return Err(AccessError::LocationsBeyond);
        }
        if change.until.is_some() && new.until.is_some_and(|until| until <= now) {
            return Err(AccessError::PastDate);
        }
        let by = grant.actor().person();
        // An emergency ends when it was to end; only an administrator who makes it a membership like any other ends it.
        let emergency = emergency && by == Some(person);
        if emergency && (new.until != old.until || new.role != old.role) {
            return Err(AccessError::Emergency);
        }
        write(&mut transaction, person, &new, by, now, emergency).await?;
        if old.lasts() {
            another_administrator(&mut transaction, project).await?;
        }
        let entry = grant
            .entry(Act::MemberChange)
            .on(person)
            .old(told(&old))
            .new_value(told(&new))
            .reason(reason);
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, by = %grant.actor(), person.id = %person, "member changed");
        Ok(())
    }

    /// A member whom the grant may administer: all that they reach is in its reach.
    pub(super) async fn reached_member(
        &self,
        transaction: &mut Transaction,
        grant: &Grant<'_, Admin>,
        person: PersonId,
    ) -> Result<(Membership, bool), AccessError> {
        let found = self
            .member_in(transaction, grant.project(), person)
            .await?
            .ok_or(AccessError::MemberUnknown)?;
        if grant.locations().cover(&found.0.locations) && grant.role().covers(found.0.role) {
            Ok(found)
        } else {
            Err(AccessError::MemberUnknown)
        }
    }

    /// What a person is in a project, also when its time is over, and whether that is an emergency's.
    pub(super) async fn member_in(
        &self,
        transaction: &mut Transaction,
        project: ProjectId,
        person: PersonId,
    ) -> Result<Option<(Membership, bool)>, Failure> {
        let values = [person.as_bytes().into(), project.as_bytes().into()];
        let row = transaction
            .fetch_optional(
                "SELECT project, role, all_locations, until_us, emergency FROM membership
                 WHERE person = $1 AND project = $2",
                &values,
            )
            .await?;
        match row {
            Some(row) => {
                let emergency = row.bool(4)?;
                Ok(Some((self.membership(&row, person).await?, emergency)))
            }
            None => Ok(None),
        }
    }

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
        let old = self
            .member_in(&mut transaction, membership.project, person)
            .await?;
        let by = grant.actor().person();
        let now = self.0.clock.now();
        insert(&mut transaction, person, &membership, by, now).await?;
        if old.as_ref().is_some_and(|(old, _)| old.lasts()) {
            another_administrator(&mut transaction, membership.project).await?;
        }
        let act = match old {
            Some(_) => Act::MemberChange,
            None => Act::MemberAdd,
        };
        let entry = grant.entry(act).on(person).new_value(told(&membership));
        let entry = match &old {
            Some((old, _)) => entry.old(told(old)),
            None => entry,
        };
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %grant.project(), by = %grant.actor(), role = role.name(), "member set");
        Ok(())
    }
}

/// A membership as the trail tells it.
pub(super) fn told(membership: &Membership) -> serde_json::Value {
    let locations = match &membership.locations {
        Locations::All => None,
        Locations::Only(locations) => Some(locations.iter().map(ToString::to_string)),
    };
    json!({
        "role": membership.role.name(),
        "locations": locations.map(Iterator::collect::<Vec<_>>),
        "until": membership.until.map(rfc3339::format),
    })
}

/// Refuses what would leave a project without an administrator of the whole of it who can come in and whose time has no
/// end.
pub(super) async fn another_administrator(
    transaction: &mut Transaction,
    project: ProjectId,
) -> Result<(), AccessError> {
    let left = transaction
        .fetch_optional(
            "SELECT 1 FROM membership m JOIN person p ON p.id = m.person
             WHERE m.project = $1 AND m.role = 'administrator' AND m.all_locations
             AND m.until_us IS NULL AND p.enabled LIMIT 1",
            &[project.as_bytes().into()],
        )
        .await?;
    left.map(|_| ()).ok_or(AccessError::Last(
        "the project needs an administrator of the whole of it, without an end date: make another one first",
    ))
}

/// Writes a membership, in place of one that was, and its history.
pub(super) async fn insert(
    transaction: &mut Transaction,
    person: PersonId,
    membership: &Membership,
    by: Option<PersonId>,
    now: Timestamp,
) -> Result<(), SqlError> {
    write(transaction, person, membership, by, now, false).await
}

/// The same; `emergency` marks one that an operator gave themself.
pub(super) async fn write(
    transaction: &mut Transaction,
    person: PersonId,
    membership: &Membership,
    by: Option<PersonId>,
    now: Timestamp,
    emergency: bool,
) -> Result<(), SqlError> {
    let project = membership.project.as_bytes();
    let all = matches!(membership.locations, Locations::All);
    transaction
        .execute(
            "INSERT INTO membership
                 (project, person, role, all_locations, until_us, granted_by, granted_us, emergency)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (project, person) DO UPDATE SET role = excluded.role,
                 all_locations = excluded.all_locations, until_us = excluded.until_us,
                 granted_by = excluded.granted_by, granted_us = excluded.granted_us,
                 emergency = excluded.emergency",
            &[
                project.into(),
                person.as_bytes().into(),
                membership.role.name().into(),
                all.into(),
                membership.until.map(Timestamp::as_micros).into(),
                by.as_ref().map(PersonId::as_bytes).into(),
                now.as_micros().into(),
                emergency.into(),
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
    remember(
        transaction,
        membership.project,
        person,
        Some((membership, emergency)),
        by,
        now,
    )
    .await
}

/// Ends a membership, and writes its history.
pub(super) async fn erase(
    transaction: &mut Transaction,
    project: ProjectId,
    person: PersonId,
    by: Option<PersonId>,
    now: Timestamp,
) -> Result<(), SqlError> {
    let values = [project.as_bytes().into(), person.as_bytes().into()];
    for sql in [
        "DELETE FROM membership WHERE project = $1 AND person = $2",
        "DELETE FROM membership_location WHERE project = $1 AND person = $2",
    ] {
        transaction.execute(sql, &values).await?;
    }
    remember(transaction, project, person, None, by, now).await
}

/// Writes what a person became; None: no member any more.
async fn remember(
    transaction: &mut Transaction,
    project: ProjectId,
    person: PersonId,
    became: Option<(&Membership, bool)>,
    by: Option<PersonId>,
    now: Timestamp,
) -> Result<(), SqlError> {
    let project = project.as_bytes();
    let last = transaction
        .fetch_optional(
            "SELECT id FROM membership_change WHERE project = $1 ORDER BY id DESC LIMIT 1",
            &[project.into()],
        )
        .await?;
    let id = last.map_or(Ok(0), |row| row.i64(0))?.saturating_add(1);
    let membership = became.map(|(membership, _)| membership);
    let limited = membership.and_then(|membership| match &membership.locations {
        Locations::All => None,
        Locations::Only(locations) => Some(locations),
    });
    transaction
        .execute(
            "INSERT INTO membership_change
                 (project, id, person, at_us, role, all_locations, until_us, emergency, by_person)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                project.into(),
                id.into(),
                person.as_bytes().into(),
                now.as_micros().into(),
                membership.map(|membership| membership.role.name()).into(),
                limited.is_none().into(),
                membership
                    .and_then(|membership| membership.until)
                    .map(Timestamp::as_micros)
                    .into(),
                became.is_some_and(|(_, emergency)| emergency).into(),
                by.as_ref().map(PersonId::as_bytes).into(),
            ],
        )
        .await?;
    for location in limited.into_iter().flatten() {
        transaction
            .execute(
                "INSERT INTO membership_change_location (project, id, location) VALUES ($1, $2, $3)",
                &[project.into(), id.into(), location.as_bytes().into()],
            )
            .await?;
    }
    Ok(())
}
