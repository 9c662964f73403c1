//! For tests: people and memberships without an invitation.

use fieldkeep_protocol::{LocationId, PersonId, ProjectId, Timestamp};

use super::grant::Locations;
use super::members::{Membership, insert};
use super::people::normalized;
use super::roles::Role;
use super::{Access, AccessError, Credential, Failure};
use crate::clock::Clock;
use crate::config;
use crate::db::Db;
use crate::keys::Keys;
use crate::trail::Origin;

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

    /// A session of a person who has shown whatever they must, begun now.
    pub async fn full_session(&self, email: &str) -> Result<String, AccessError> {
        let token = self.sign_in_link(email).await?;
        let cookie = self.redeem_link(&token, &Origin::here()).await?.cookie;
        let hash = self.session_hash(&cookie);
        self.0
            .db
            .execute(
                "UPDATE session SET factor = true WHERE hash = $1",
                &[(&hash).into()],
            )
            .await?;
        Ok(cookie)
    }

    /// Sets the password of whoever holds this session.
    pub async fn set_password_of(&self, cookie: &str, password: &str) -> Result<(), AccessError> {
        let credential = Credential::Cookie(cookie.to_owned());
        let Ok(who) = self.arrived(&credential, &Origin::here()).await else {
            return Err(AccessError::WrongCredentials);
        };
        self.set_password(&who, None, password, &[]).await
    }

    /// Makes it long ago that a session's holder proved who they are.
    pub async fn grow_stale(&self, cookie: &str) -> Result<(), AccessError> {
        self.0
            .db
            .execute(
                "UPDATE session SET proved_us = 0 WHERE hash = $1",
                &[(&self.session_hash(cookie)).into()],
            )
            .await?;
        Ok(())
    }

    fn session_hash(&self, cookie: &str) -> [u8; 32] {
        self.0
            .keys
            .instance()
            .lookup("session.hash", cookie.as_bytes())
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
