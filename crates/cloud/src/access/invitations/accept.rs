//! Looking at an invitation and accepting it, by whoever holds its token.

use fieldkeep_protocol::{InvitationId, PersonId, ProjectId, Timestamp};
use serde_json::json;

use super::Offer;
use crate::access::grant::{Locations, SignedIn};
use crate::access::members::{Membership, insert, location_set, told};
use crate::access::people::valid_name;
use crate::access::roles::Role;
use crate::access::sessions::{Beginning, Cause, Started, a_person};
use crate::access::{Access, AccessError, Failure, password};
use crate::db::Transaction;
use crate::trail::{Act, Entry, Origin, Who, WhoKind};

impl Access {
    /// What a token offers.
    ///
    /// # Errors
    /// [`AccessError::LinkRefused`] alike for unknown, accepted, revoked and expired ones.
    pub async fn offer(&self, secret: &str) -> Result<Offer, AccessError> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT i.id, i.email_sealed, i.project, i.project_name_sealed, i.role, i.expires_us,
                        EXISTS (SELECT 1 FROM person p WHERE p.email_hash = i.email_hash)
                 FROM invitation i WHERE i.hash = $1 AND i.accepted_us IS NULL AND i.revoked_us IS NULL
                     AND i.expires_us > $2",
                &[
                    (&self.invitation_hash(secret)).into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?
            .ok_or(AccessError::LinkRefused)?;
        let id: [u8; 16] = row.array(0)?;
        let project = ProjectId::from_bytes(row.array(2)?);
        let key = self.0.keys.project(project).await.map_err(Failure::from)?;
        Ok(Offer {
            email: self
                .0
                .keys
                .instance()
                .open_text("invitation.email", &id, row.bytes(1)?)?,
            project: key.open_text("invitation.project", &id, row.bytes(3)?)?,
            role: row
                .text(4)?
                .parse()
                .map_err(|_| Failure::Unknown("invitation.role"))?,
            expires: Timestamp::from_micros(row.i64(5)?),
            has_account: row.bool(6)?,
        })
    }

    /// Accepts as somebody new: the account, the membership and a session begin together.
    ///
    /// # Errors
    /// [`AccessError::LinkRefused`], [`AccessError::HasAccount`] where the address has one, or what is wrong with name or
    /// password.
    pub async fn accept_as_new(
        &self,
        secret: &str,
        name: &str,
        password: &str,
        origin: &Origin,
    ) -> Result<Started, AccessError> {
        let offer = self.offer(secret).await?;
        if offer.has_account {
            return Err(AccessError::HasAccount);
        }
        let name = valid_name(name)?;
        password::check(password, &[&offer.email, name, &offer.project], false)?;
        let hash = self.0.passwords.hash(password).await?;
        let mut transaction = self.0.db.begin().await?;
        if self.find(&mut transaction, &offer.email).await?.is_some() {
            return Err(AccessError::HasAccount);
        }
        let person = self
            .insert_person(&mut transaction, &offer.email, name, false)
            .await?;
        transaction
            .execute(
                "UPDATE person SET password = $2 WHERE id = $1",
                &[person.as_bytes().into(), hash.as_str().into()],
            )
            .await?;
        let who = Who::new(WhoKind::Person, person, Some(name));
        let entry = Entry::new(None, who.clone(), origin, Act::PersonCreate).on(person);
        self.trail().write(&mut transaction, entry).await?;
        let entry = |project| Entry::new(Some(project), who, origin, Act::InvitationAccept);
        self.spend_invitation(&mut transaction, secret, person, entry)
            .await?;
        let cookie = self
            .begin_session(
                &mut transaction,
                Beginning {
                    person,
                    cause: Cause::Invitation,
                    factor: false,
                },
                origin,
            )
            .await?;
        transaction.commit().await?;
        tracing::info!(person.id = %person, "signed up by invitation");
        self.started(cookie, origin).await
    }

    /// Accepts as somebody who is signed in.
    ///
    /// # Errors
    /// [`AccessError::LinkRefused`]; [`AccessError::OtherPerson`] where it is for another address.
    pub async fn accept_as_me(
        &self,
        secret: &str,
        who: &SignedIn,
    ) -> Result<ProjectId, AccessError> {
        let (person, _) = a_person(who)?;
        let offer = self.offer(secret).await?;
        let mine = self
            .person(person)
            .await?
            .ok_or(AccessError::PersonUnknown)?
            .email;
        if mine != offer.email {
            return Err(AccessError::OtherPerson);
        }
        let mut transaction = self.0.db.begin().await?;
        let entry = |project| who.entry(Act::InvitationAccept).in_project(project);
        let project = self
            .spend_invitation(&mut transaction, secret, person, entry)
            .await?;
        transaction.commit().await?;
        Ok(project)
    }

    /// Marks the invitation as accepted and writes the membership.
    async fn spend_invitation(
        &self,
        transaction: &mut Transaction,
        secret: &str,
        person: PersonId,
        entry: impl FnOnce(ProjectId) -> Entry,
    ) -> Result<ProjectId, AccessError> {
        let now = self.0.clock.now();
        let row = transaction
            .fetch_optional(
                "UPDATE invitation SET accepted_us = $2, accepted_by = $3
                 WHERE hash = $1 AND accepted_us IS NULL AND revoked_us IS NULL AND expires_us > $2
                 RETURNING project, id, role, all_locations, until_us, invited_by",
                &[
                    (&self.invitation_hash(secret)).into(),
                    now.as_micros().into(),
                    person.as_bytes().into(),
                ],
            )
            .await?
            .ok_or(AccessError::LinkRefused)?;
        let project = ProjectId::from_bytes(row.array(0)?);
        let until = row.opt_i64(4)?.map(Timestamp::from_micros);
        if until.is_some_and(|until| until <= now) {
            return Err(AccessError::LinkRefused);
        }
        let member = transaction
            .fetch_optional(
                "SELECT 1 FROM membership
                 WHERE project = $1 AND person = $2 AND (until_us IS NULL OR until_us > $3)",
                &[
                    project.as_bytes().into(),
                    person.as_bytes().into(),
                    now.as_micros().into(),
                ],
            )
            .await?;
        if member.is_some() {
            return Err(AccessError::AlreadyMember);
        }
        let role: Role = row
            .text(2)?
            .parse()
            .map_err(|_| Failure::Unknown("invitation.role"))?;
        let locations = if row.bool(3)? {
            Locations::All
        } else {
            let rows = transaction
                .fetch_all(
                    "SELECT location FROM invitation_location WHERE project = $1 AND invitation = $2",
                    &[project.as_bytes().into(), row.bytes(1)?.into()],
                )
                .await?;
            Locations::Only(location_set(&rows)?)
        };
        let by = row.opt_bytes(5)?.map(<[u8; 16]>::try_from);
        let by = by
            .transpose()
            .map_err(|_| Failure::Unknown("invitation.invited_by"))?
            .map(PersonId::from_bytes);
        if let Some(by) = by {
            self.inviter_still_may(transaction, project, by, role, &locations)
                .await?;
        }
        let membership = Membership {
            project,
            role,
            locations,
            until,
        };
        insert(transaction, person, &membership, by, now).await?;
        let invitation = InvitationId::from_bytes(row.array(1)?);
        let entry = entry(project).on(invitation).new_value(json!({
            "person": person.to_string(), "membership": told(&membership),
        }));
        self.trail().write(transaction, entry).await?;
        tracing::info!(project.id = %project, person.id = %person, role = role.name(), "invitation accepted");
        Ok(project)
    }

    /// Whoever invited must still be able to give this.
    async fn inviter_still_may(
        &self,
        transaction: &mut Transaction,
        project: ProjectId,
        by: PersonId,
        role: Role,
        locations: &Locations,
    ) -> Result<(), AccessError> {
        let row = transaction
            .fetch_optional(
                "SELECT m.role, m.all_locations FROM membership m JOIN person p ON p.id = m.person
                 WHERE m.project = $1 AND m.person = $2 AND p.enabled AND (m.until_us IS NULL OR m.until_us > $3)",
                &[
                    project.as_bytes().into(),
                    by.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?
            .ok_or(AccessError::LinkRefused)?;
        let theirs: Role = row
            .text(0)?
            .parse()
            .map_err(|_| Failure::Unknown("membership.role"))?;
        let reach = if row.bool(1)? {
            Locations::All
        } else {
            let rows = transaction
                .fetch_all(
                    "SELECT location FROM membership_location WHERE project = $1 AND person = $2",
                    &[project.as_bytes().into(), by.as_bytes().into()],
                )
                .await?;
            Locations::Only(location_set(&rows)?)
        };
        let may = theirs == Role::Administrator && theirs.covers(role) && reach.cover(locations);
        may.then_some(()).ok_or(AccessError::LinkRefused)
    }

    fn invitation_hash(&self, secret: &str) -> [u8; 32] {
        // Longer than any token; more is not hashed.
        let secret = secret.get(..128).unwrap_or(secret);
        self.0
            .keys
            .instance()
            .lookup("invitation.hash", secret.as_bytes())
    }
}
