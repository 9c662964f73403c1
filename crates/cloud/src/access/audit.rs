//! Who could do what in a project at a time that is past: memberships from their history, keys from their dates.

use std::collections::BTreeMap;

use fieldkeep_protocol::{KeyId, PersonId, Timestamp};

use super::grant::{Audit, Grant, Locations};
use super::members::location_set;
use super::roles::Role;
use super::{Access, AccessError, Failure};
use crate::db::Row;

/// Who had access.
#[derive(Clone, Debug, PartialEq)]
pub enum Had {
    /// A person; the e-mail and name are today's.
    Person {
        /// Who.
        id: PersonId,
        /// The e-mail address.
        email: String,
        /// The name.
        name: String,
        /// Whether an operator had let themself in.
        emergency: bool,
    },
    /// An API key.
    Key {
        /// Which.
        id: KeyId,
        /// Its name.
        name: String,
        /// The first characters of its secret.
        prefix: String,
    },
}

/// What somebody could do at that time.
#[derive(Clone, Debug, PartialEq)]
pub struct HadAccess {
    /// Who.
    pub who: Had,
    /// As what.
    pub role: Role,
    /// In which part of the project.
    pub locations: Locations,
    /// Since when.
    pub since: Timestamp,
    /// Until when it was to last, as it was known then.
    pub until: Option<Timestamp>,
    /// The person who gave it; None for the program or a key.
    pub by: Option<PersonId>,
}

impl Access {
    /// Who could do what in the grant's project at `at`, people first. Only for a grant that reaches the whole project.
    pub async fn access_at(
        &self,
        grant: &Grant<'_, Audit>,
        at: Timestamp,
    ) -> Result<Vec<HadAccess>, AccessError> {
        if !matches!(grant.locations(), Locations::All) {
            return Err(AccessError::LocationsBeyond);
        }
        let mut found = self.people_at(grant, at).await?;
        found.extend(self.keys_at(grant, at).await?);
        Ok(found)
    }

    async fn people_at(
        &self,
        grant: &Grant<'_, Audit>,
        at: Timestamp,
    ) -> Result<Vec<HadAccess>, AccessError> {
        let project = grant.project();
        let values = [project.as_bytes().into(), at.as_micros().into()];
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT p.id, p.email_sealed, p.name_sealed, p.operator, p.enabled,
                        c.id, c.at_us, c.role, c.all_locations, c.until_us, c.emergency, c.by_person
                 FROM membership_change c JOIN person p ON p.id = c.person
                 WHERE c.project = $1 AND c.at_us <= $2 ORDER BY c.id",
                &values,
            )
            .await?;
        // The last change before that time is what counted.
        let newest: BTreeMap<[u8; 16], &Row> = rows
            .iter()
            .map(|row| Ok((row.array(0)?, row)))
            .collect::<Result<_, crate::db::SqlError>>()?;
        let mut found = Vec::new();
        for row in newest.into_values() {
            let Some(role) = row.opt_text(7)? else {
                continue;
            };
            let until = row.opt_i64(9)?.map(Timestamp::from_micros);
            if until.is_some_and(|until| until <= at) {
                continue;
            }
            let person = self.person_from(row, 0)?;
            if !self.was_enabled(person.id, at).await? {
                continue;
            }
            let locations = if row.bool(8)? {
                Locations::All
            } else {
                let rows = self
                    .0
                    .db
                    .fetch_all(
                        "SELECT location FROM membership_change_location WHERE project = $1 AND id = $2",
                        &[project.as_bytes().into(), row.i64(5)?.into()],
                    )
                    .await?;
                Locations::Only(location_set(&rows)?)
            };
            found.push(HadAccess {
                who: Had::Person {
                    id: person.id,
                    email: person.email,
                    name: person.name,
                    emergency: row.bool(10)?,
                },
                role: role
                    .parse()
                    .map_err(|_| Failure::Unknown("membership_change.role"))?,
                locations,
                since: Timestamp::from_micros(row.i64(6)?),
                until,
                by: row.opt_array(11)?.map(PersonId::from_bytes),
            });
        }
        found.sort_by_key(|had| had.since);
        Ok(found)
    }

    async fn was_enabled(&self, person: PersonId, at: Timestamp) -> Result<bool, Failure> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT enabled FROM person_change WHERE person = $1 AND at_us <= $2
                 ORDER BY id DESC LIMIT 1",
                &[person.as_bytes().into(), at.as_micros().into()],
            )
            .await?;
        Ok(row.map_or(Ok(true), |row| row.bool(0))?)
    }

    async fn keys_at(
        &self,
        grant: &Grant<'_, Audit>,
        at: Timestamp,
    ) -> Result<Vec<HadAccess>, AccessError> {
        let keys = self.keys_of(grant.project()).await?;
        let then = keys.into_iter().filter(|key| {
            key.created <= at
                && key.revoked.is_none_or(|revoked| revoked > at)
                && key.expires.is_none_or(|expires| expires > at)
        });
        Ok(then
            .map(|key| HadAccess {
                who: Had::Key {
                    id: key.id,
                    name: key.name,
                    prefix: key.prefix,
                },
                role: key.role,
                locations: key.locations,
                since: key.created,
                until: key.expires,
                by: key.created_by,
            })
            .collect())
    }
}
