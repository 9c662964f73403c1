//! Invitations: the only way for somebody new to get an account, and a way for those who have one into a project.
//!
//! Owns the tables `invitation` and `invitation_location`. An invitation is for one e-mail address, holds a week, counts
//! once, and gives at most what its maker has, then and when it is accepted. Its token is stored as a keyed hash; it goes by
//! mail, or is handed to its maker where there is no mail server.

mod accept;

use fieldkeep_protocol::{InvitationId, PersonId, ProjectId, Timestamp};
use serde_json::{Value, json};

use super::grant::{Admin, Grant, Locations};
use super::members::{Membership, location_set, told};
use super::people::normalized;
use super::roles::Role;
use super::sessions::token;
use super::{Access, AccessError, Failure};
use crate::db::Row;
use crate::keys::new_id;
use crate::mail::Letter;
use crate::trail::Act;

const LIFE_US: i64 = 7 * 24 * 3_600 * 1_000_000;
/// Open invitations of one project.
const MOST: i64 = 200;

/// What an invitation shall be.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// For whom.
    pub email: String,
    /// As what.
    pub role: Role,
    /// Where.
    pub locations: Locations,
    /// Until when the membership lasts.
    pub until: Option<Timestamp>,
}

/// An invitation, without its token.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Which.
    pub id: InvitationId,
    /// For whom.
    pub email: String,
    /// As what, where, until when.
    pub membership: Membership,
    /// Who made it; None for the program itself.
    pub by: Option<PersonId>,
    /// When it was made or sent again.
    pub made: Timestamp,
    /// Until when it can be accepted.
    pub expires: Timestamp,
    /// When it was accepted.
    pub accepted: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// What whoever holds the token is offered.
#[derive(Clone, Debug)]
pub struct Offer {
    /// For whom.
    pub email: String,
    /// The project's name, when the invitation was made.
    pub project: String,
    /// As what.
    pub role: Role,
    /// Until when it can be accepted.
    pub expires: Timestamp,
    /// Whether the address has an account, which must sign in to accept.
    pub has_account: bool,
}

macro_rules! invitation {
    ($rest:literal) => {
        concat!(
            "SELECT id, email_sealed, role, all_locations, until_us, invited_by, made_us, expires_us, accepted_us,
                 revoked_us FROM invitation WHERE project = $1 ",
            $rest
        )
    };
}

const ALL: &str = invitation!("ORDER BY made_us DESC, id LIMIT 1000");
const OPEN: &str = invitation!("AND id = $2 AND accepted_us IS NULL AND revoked_us IS NULL");

impl Access {
    /// Invites somebody. Answers the link where there is no mail server to send it.
    ///
    /// # Errors
    /// [`AccessError::RoleAbove`] and [`AccessError::LocationsBeyond`] for more than the grant has.
    pub async fn invite(
        &self,
        grant: &Grant<'_, Admin>,
        project_name: &str,
        new: NewInvitation,
    ) -> Result<(Invitation, Option<String>), AccessError> {
        if !grant.role().covers(new.role) {
            return Err(AccessError::RoleAbove(new.role));
        }
        if !grant.locations().cover(&new.locations) {
            return Err(AccessError::LocationsBeyond);
        }
        let now = self.0.clock.now();
        if new.until.is_some_and(|until| until <= now) {
            return Err(AccessError::PastDate);
        }
        let email = normalized(&new.email)?;
        let project = grant.project();
        let id = new_id(&self.0.clock, InvitationId::from_parts);
        let (secret, hash) = token(&self.0.keys, "invitation.hash");
        let sealed_name = self
            .0
            .keys
            .project(project)
            .await
            .map_err(Failure::from)?
            .seal("invitation.project", id.as_bytes(), project_name.as_bytes());
        let sealed_email =
            self.0
                .keys
                .instance()
                .seal("invitation.email", id.as_bytes(), email.as_bytes());
        let by = grant.actor().person();
        let mut transaction = self.0.db.begin().await?;
        let open = transaction
            .fetch_optional(
                "SELECT count(*) FROM invitation
                 WHERE project = $1 AND accepted_us IS NULL AND revoked_us IS NULL AND expires_us > $2",
                &[project.as_bytes().into(), now.as_micros().into()],
            )
            .await?;
        if open.map_or(Ok(0), |row| row.i64(0))? >= MOST {
            return Err(AccessError::TooMany("open invitations"));
        }
        transaction
            .execute(
                "INSERT INTO invitation (project, id, hash, email_hash, email_sealed, project_name_sealed, role,
                     all_locations, until_us, invited_by, made_us, expires_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                &[
                    project.as_bytes().into(),
                    id.as_bytes().into(),
                    (&hash).into(),
                    (&self.email_hash(&email)).into(),
                    (&sealed_email).into(),
                    (&sealed_name).into(),
                    new.role.name().into(),
                    matches!(new.locations, Locations::All).into(),
                    new.until.map(Timestamp::as_micros).into(),
                    by.as_ref().map(PersonId::as_bytes).into(),
                    now.as_micros().into(),
                    (now.as_micros() + LIFE_US).into(),
                ],
            )
            .await?;
        if let Locations::Only(locations) = &new.locations {
            for location in locations {
                transaction
                    .execute(
                        "INSERT INTO invitation_location (project, invitation, location) VALUES ($1, $2, $3)",
                        &[
                            project.as_bytes().into(),
                            id.as_bytes().into(),
                            location.as_bytes().into(),
                        ],
                    )
                    .await?;
            }
        }
        let membership = Membership {
            project,
            role: new.role,
            locations: new.locations,
            until: new.until,
        };
        let entry = grant.entry(Act::InvitationCreate).on(id);
        let entry = entry.new_value(offered(&email, &membership));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, invitation.id = %id, by = %grant.actor(), role = new.role.name(), "invited");
        let link = self.hand_over(&email, project_name, &secret).await?;
        let invitation = Invitation {
            id,
            email,
            membership,
            by,
            made: now,
            expires: Timestamp::from_micros(now.as_micros() + LIFE_US),
            accepted: None,
            revoked: None,
        };
        Ok((invitation, link))
    }

    /// Sends the link by mail; answers it where there is no mail server.
    async fn hand_over(
        &self,
        email: &str,
        project_name: &str,
        secret: &str,
    ) -> Result<Option<String>, AccessError> {
        let link = self
            .app_link("invitation", secret)
            .ok_or(AccessError::Failed(Failure::Unknown("endpoint.https")))?;
        let letter = Letter {
            to: email.to_owned(),
            subject: format!("Invitation to {project_name}"),
            text: format!(
                "You are invited to the project {project_name} on Fieldkeep.\n\nTo accept, open this within 7 days:\n\n\
                 {link}\n\nIt works once. If you do not know what this is, ignore it.\n"
            ),
        };
        let sent = self.0.mail.post(&letter).await.map_err(Failure::from)?;
        Ok((!sent).then_some(link))
    }

    /// The project's invitations that reach no further than the grant, the newest first.
    pub async fn invitations(
        &self,
        grant: &Grant<'_, Admin>,
    ) -> Result<Vec<Invitation>, AccessError> {
        let rows = self
            .0
            .db
            .fetch_all(ALL, &[grant.project().as_bytes().into()])
            .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let invitation = self.invitation(grant.project(), row).await?;
            if grant.locations().cover(&invitation.membership.locations) {
                found.push(invitation);
            }
        }
        Ok(found)
    }

    async fn invitation(&self, project: ProjectId, row: &Row) -> Result<Invitation, Failure> {
        let id: [u8; 16] = row.array(0)?;
        let role = row
            .text(2)?
            .parse()
            .map_err(|_| Failure::Unknown("invitation.role"))?;
        let locations = if row.bool(3)? {
            Locations::All
        } else {
            let rows = self
                .0
                .db
                .fetch_all(
                    "SELECT location FROM invitation_location WHERE project = $1 AND invitation = $2",
                    &[project.as_bytes().into(), (&id).into()],
                )
                .await?;
            Locations::Only(location_set(&rows)?)
        };
        let by = row.opt_bytes(5)?.map(<[u8; 16]>::try_from);
        let by = by
            .transpose()
            .map_err(|_| Failure::Unknown("invitation.invited_by"))?;
        Ok(Invitation {
            id: InvitationId::from_bytes(id),
            email: self
                .0
                .keys
                .instance()
                .open_text("invitation.email", &id, row.bytes(1)?)?,
            membership: Membership {
                project,
                role,
                locations,
                until: row.opt_i64(4)?.map(Timestamp::from_micros),
            },
            by: by.map(PersonId::from_bytes),
            made: Timestamp::from_micros(row.i64(6)?),
            expires: Timestamp::from_micros(row.i64(7)?),
            accepted: row.opt_i64(8)?.map(Timestamp::from_micros),
            revoked: row.opt_i64(9)?.map(Timestamp::from_micros),
        })
    }

    /// An open invitation within the grant's reach.
    async fn open_invitation(
        &self,
        grant: &Grant<'_, Admin>,
        id: InvitationId,
    ) -> Result<Invitation, AccessError> {
        let project = grant.project();
        let values = [project.as_bytes().into(), id.as_bytes().into()];
        let row = self.0.db.fetch_optional(OPEN, &values).await?;
        let row = row.ok_or(AccessError::NotFound)?;
        let invitation = self.invitation(grant.project(), &row).await?;
        if !grant.locations().cover(&invitation.membership.locations) {
            return Err(AccessError::NotFound);
        }
        if !grant.role().covers(invitation.membership.role) {
            return Err(AccessError::RoleAbove(invitation.membership.role));
        }
        Ok(invitation)
    }

    /// Takes an invitation back, at once.
    ///
    /// # Errors
    /// [`AccessError::NotFound`] where there is none that is open.
    pub async fn revoke_invitation(
        &self,
        grant: &Grant<'_, Admin>,
        id: InvitationId,
    ) -> Result<(), AccessError> {
        let invitation = self.open_invitation(grant, id).await?;
        let mut transaction = self.0.db.begin().await?;
        let revoked = transaction
            .execute(
                "UPDATE invitation SET revoked_us = $3
                 WHERE project = $1 AND id = $2 AND accepted_us IS NULL AND revoked_us IS NULL",
                &[
                    grant.project().as_bytes().into(),
                    id.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        if revoked == 0 {
            return Err(AccessError::NotFound);
        }
        let entry = grant.entry(Act::InvitationRevoke).on(id);
        let entry = entry.old(offered(&invitation.email, &invitation.membership));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %grant.project(), invitation.id = %id, by = %grant.actor(), "invitation revoked");
        Ok(())
    }

    /// Sends an invitation again, with another link and a week from now; the old link counts no more.
    ///
    /// # Errors
    /// [`AccessError::NotFound`] where there is none that is open.
    pub async fn resend_invitation(
        &self,
        grant: &Grant<'_, Admin>,
        project_name: &str,
        id: InvitationId,
    ) -> Result<(Invitation, Option<String>), AccessError> {
        let mut invitation = self.open_invitation(grant, id).await?;
        let (secret, hash) = token(&self.0.keys, "invitation.hash");
        let now = self.0.clock.now();
        invitation.made = now;
        invitation.by = grant.actor().person();
        invitation.expires = Timestamp::from_micros(now.as_micros() + LIFE_US);
        let mut transaction = self.0.db.begin().await?;
        let changed = transaction
            .execute(
                "UPDATE invitation SET hash = $3, made_us = $4, expires_us = $5, invited_by = $6
                 WHERE project = $1 AND id = $2 AND accepted_us IS NULL AND revoked_us IS NULL",
                &[
                    grant.project().as_bytes().into(),
                    id.as_bytes().into(),
                    (&hash).into(),
                    now.as_micros().into(),
                    invitation.expires.as_micros().into(),
                    invitation.by.as_ref().map(PersonId::as_bytes).into(),
                ],
            )
            .await?;
        if changed == 0 {
            return Err(AccessError::NotFound);
        }
        let entry = grant.entry(Act::InvitationSend).on(id);
        let entry = entry.new_value(offered(&invitation.email, &invitation.membership));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        let link = self
            .hand_over(&invitation.email, project_name, &secret)
            .await?;
        Ok((invitation, link))
    }
}

/// An invitation as the trail tells it.
fn offered(email: &str, membership: &Membership) -> Value {
    json!({ "email": email, "membership": told(membership) })
}
