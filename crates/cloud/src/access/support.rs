//! For tests: people and memberships without an invitation.

use fieldkeep_protocol::{LocationId, PersonId, ProjectId, Timestamp};

use super::grant::Locations;
use super::members::{Membership, insert};
use super::people::normalized;
use super::roles::Role;
use super::{Access, AccessError, Failure};
use crate::clock::Clock;
use crate::config;
use crate::db::Db;
use crate::keys::Keys;

impl Access {
    /// Access with the default rules.
    pub async fn open_default(db: Db, keys: Keys, clock: Clock) -> Result<Self, Failure> {
        Self::open(db, keys, clock, &config::Sessions::default()).await
    }

    /// Adds a person without a password; `operator` makes them one.
    pub async fn add_person(
        &self,
        email: &str,
        name: &str,
        operator: bool,
    ) -> Result<PersonId, AccessError> {
        let email = normalized(email)?;
        let mut transaction = self.0.db.begin().await?;
        let person = self
            .insert_person(&mut transaction, &email, name, operator)
            .await?;
        transaction.commit().await?;
        Ok(person)
    }

    /// Makes a person a member, or changes what they are.
    pub async fn add_member(
        &self,
        person: PersonId,
        project: ProjectId,
        role: Role,
        locations: Locations,
        until: Option<Timestamp>,
    ) -> Result<(), AccessError> {
        let membership = Membership {
            project,
            role,
            locations,
            until,
        };
        let mut transaction = self.0.db.begin().await?;
        insert(
            &mut transaction,
            person,
            &membership,
            None,
            self.0.clock.now(),
        )
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Ends a membership, whatever hangs on it.
    pub async fn drop_member(
        &self,
        person: PersonId,
        project: ProjectId,
    ) -> Result<(), AccessError> {
        self.0
            .db
            .execute(
                "DELETE FROM membership WHERE person = $1 AND project = $2",
                &[person.as_bytes().into(), project.as_bytes().into()],
            )
            .await?;
        Ok(())
    }
}

impl Locations {
    /// A limit to these locations.
    pub fn only(locations: impl IntoIterator<Item = LocationId>) -> Self {
        Self::Only(locations.into_iter().collect())
    }
}
