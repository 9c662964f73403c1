//! Invitations: made, listed, sent again and revoked by administrators; looked at and accepted by who holds the link.

use fieldkeep_protocol::InvitationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{Me, RoleWord, begun};
use super::location_is_known;
use super::people::places;
use crate::access::{
    Admin, Fresh, Invitation, Locations, NewInvitation, Nobody, Session, SignedIn,
};
use crate::api::App;
use crate::api::door::{At, Body, Created, Empty, Json, Query, SetCookie};
use crate::api::fault::{access, projects};
use crate::api::id::{Id, InvitationRef, LocationRef, PersonRef, ProjectRef, Time};
use crate::api::page::{Page, Wanted};
use crate::api::problem::Problem;

/// An invitation, without its link.
#[derive(Serialize, ToSchema)]
#[schema(as = Invitation)]
pub(super) struct InvitationView {
    id: InvitationRef,
    email: String,
    role: RoleWord,
    /// The locations that it reaches; null for the whole project.
    locations: Option<Vec<LocationRef>>,
    /// When the membership ends.
    until: Option<Time>,
    invited_by: Option<PersonRef>,
    made: Time,
    /// Until when it can be accepted.
    expires: Time,
    accepted: Option<Time>,
    revoked: Option<Time>,
}

/// An invitation that was made or sent again.
#[derive(Serialize, ToSchema)]
pub(super) struct SentInvitation {
    invitation: InvitationView,
    /// Without a mail server: the link, shown this once, to be handed over. Null where mail was sent.
    link: Option<String>,
}

/// Whom to invite, as what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InvitationOrder {
    #[schema(pattern = "^[^@\\s]+@[^@\\s]+$", max_length = 254)]
    email: String,
    role: RoleWord,
    /// The locations that it reaches; all that you reach where they are left out.
    locations: Option<Vec<LocationRef>>,
    /// When the membership ends; never where it is left out.
    until: Option<Time>,
}

/// The token of an invitation's link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InvitationToken {
    token: String,
}

/// What an invitation offers.
#[derive(Serialize, ToSchema)]
pub(super) struct InvitationOffer {
    email: String,
    /// The project's name.
    project: String,
    role: RoleWord,
    expires: Time,
    /// Does this address have an account? Then sign in to accept.
    has_account: bool,
}

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    token: String,
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// 15 to 256 characters.
    #[schema(format = Password)]
    password: String,
}

/// The project that was joined.
#[derive(Serialize, ToSchema)]
pub(super) struct Joined {
    project: ProjectRef,
}

fn show(invitation: Invitation) -> InvitationView {
    let membership = invitation.membership;
    InvitationView {
        id: Id(invitation.id),
        email: invitation.email,
        role: membership.role.into(),
        locations: places(&membership.locations),
        until: membership.until.map(Time),
        invited_by: invitation.by.map(Id),
        made: invitation.made.into(),
        expires: invitation.expires.into(),
        accepted: invitation.accepted.map(Time),
        revoked: invitation.revoked.map(Time),
    }
}

/// The project's invitations.
pub(super) async fn list(
    session: Session<Admin>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<InvitationView>>, Problem> {
    let invitations = app.access.invitations(&session.grant()).await;
    let invitations = invitations.map_err(access)?;
    Ok(Json(wanted.cut(
        invitations,
        |one| *one.id.as_bytes(),
        show,
    )))
}

/// Invites somebody.
pub(super) async fn create(
    session: Fresh<Session<Admin>>,
    app: App,
    Body(order): Body<InvitationOrder>,
) -> Result<Created<SentInvitation>, Problem> {
    let grant = session.grant();
    let locations = match order.locations {
        None => grant.locations().clone(),
        Some(named) => {
            for Id(location) in &named {
                location_is_known(&app, &grant.read(), Some(*location)).await?;
            }
            Locations::Only(named.into_iter().map(|Id(id)| id).collect())
        }
    };
    let new = NewInvitation {
        email: order.email,
        role: order.role.into(),
        locations,
        until: order.until.map(|Time(time)| time),
    };
    let project = app.projects.one(&grant.read()).await.map_err(projects)?;
    let (invitation, link) = app
        .access
        .invite(&grant, &project.name, new)
        .await
        .map_err(access)?;
    Ok(Created(SentInvitation {
        invitation: show(invitation),
        link,
    }))
}

/// Sends an invitation again, with another link.
pub(super) async fn resend(
    session: Fresh<Session<Admin>>,
    app: App,
    At(invitation): At<InvitationId>,
) -> Result<Json<SentInvitation>, Problem> {
    let grant = session.grant();
    let project = app.projects.one(&grant.read()).await.map_err(projects)?;
    let (invitation, link) = app
        .access
        .resend_invitation(&grant, &project.name, invitation)
        .await
        .map_err(access)?;
    Ok(Json(SentInvitation {
        invitation: show(invitation),
        link,
    }))
}

/// Revokes an invitation.
pub(super) async fn revoke(
    session: Fresh<Session<Admin>>,
    app: App,
    At(invitation): At<InvitationId>,
) -> Result<Empty, Problem> {
    app.access
        .revoke_invitation(&session.grant(), invitation)
        .await
        .map_err(access)?;
    Ok(Empty)
}

/// What an invitation offers, to who holds its token.
pub(super) async fn offer(
    _: Nobody,
    app: App,
    Body(body): Body<InvitationToken>,
) -> Result<Json<InvitationOffer>, Problem> {
    let offer = app.access.offer(&body.token).await.map_err(access)?;
    Ok(Json(InvitationOffer {
        email: offer.email,
        project: offer.project,
        role: offer.role.into(),
        expires: offer.expires.into(),
        has_account: offer.has_account,
    }))
}

/// Accepts an invitation as somebody new.
pub(super) async fn accept(
    anybody: Nobody,
    app: App,
    Body(body): Body<NewAccount>,
) -> Result<SetCookie<Json<Me>>, Problem> {
    let started = app
        .access
        .accept_as_new(&body.token, &body.name, &body.password, anybody.origin())
        .await
        .map_err(access)?;
    begun(&app, started).await
}

/// Accepts an invitation as who I am.
pub(super) async fn join(
    me: SignedIn,
    app: App,
    Body(body): Body<InvitationToken>,
) -> Result<Json<Joined>, Problem> {
    let project = app.access.accept_as_me(&body.token, &me).await;
    Ok(Json(Joined {
        project: Id(project.map_err(access)?),
    }))
}
