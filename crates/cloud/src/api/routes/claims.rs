//! Claims: one-time permissions to enrol a device.

use fieldkeep_protocol::ClaimId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Read, Session, Write};
use crate::api::App;
use crate::api::door::{At, Body, Created, Empty, Json, Query};
use crate::api::fault::pki;
use crate::api::id::{ClaimRef, Id, LocationRef, Time};
use crate::api::page::{Page, Wanted};
use crate::api::problem::Problem;
use crate::pki::{Claim, NewClaim};

/// A claim without its line, which is shown once and not kept.
#[derive(Serialize, ToSchema)]
#[schema(as = Claim)]
pub(super) struct ClaimView {
    id: ClaimRef,
    /// The name that the device gets.
    name: String,
    /// Will the device's data be labelled as simulated?
    simulated: bool,
    location: Option<LocationRef>,
    created: Time,
    expires: Time,
    /// When a device used it.
    used: Option<Time>,
}

/// A new claim with the line that enrols a device, for this once.
#[derive(Serialize, ToSchema)]
#[schema(as = NewClaimLine)]
pub(super) struct MadeClaim {
    #[serde(flatten)]
    claim: ClaimView,
    /// What to type on the device: `fieldkeep-logger enroll 'fk1:…'`.
    line: String,
}

/// What a new claim shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewClaim)]
pub(super) struct ClaimOrder {
    /// The name that the device gets.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// Label the device's data as simulated.
    #[serde(default)]
    simulated: bool,
    /// Where the device will be.
    location: Option<LocationRef>,
}

fn show(claim: Claim) -> ClaimView {
    ClaimView {
        id: Id(claim.id),
        name: claim.name,
        simulated: claim.simulated,
        location: claim.location.map(Id),
        created: claim.created.into(),
        expires: claim.expires.into(),
        used: claim.used.map(Time),
    }
}

/// The claims that I reach.
pub(super) async fn list(
    session: Session<Read>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<ClaimView>>, Problem> {
    let all = app.pki.claims(&session.grant()).await.map_err(pki)?;
    Ok(Json(wanted.cut(all, |claim| *claim.id.as_bytes(), show)))
}

/// Makes a claim.
pub(super) async fn create(
    session: Session<Write>,
    app: App,
    Body(order): Body<ClaimOrder>,
) -> Result<Created<MadeClaim>, Problem> {
    let grant = session.grant();
    let location = order.location.map(|Id(id)| id);
    super::location_is_known(&app, &grant.read(), location).await?;
    let new = NewClaim {
        name: order.name,
        simulated: order.simulated,
        location,
    };
    let made = app.pki.create_claim(&grant, new).await.map_err(pki)?;
    Ok(Created(MadeClaim {
        claim: show(made.claim),
        line: made.line.as_str().to_owned(),
    }))
}

/// Withdraws a claim that was not used.
pub(super) async fn remove(
    session: Session<Write>,
    app: App,
    At(id): At<ClaimId>,
) -> Result<Empty, Problem> {
    app.pki
        .delete_claim(&session.grant(), id)
        .await
        .map_err(pki)?;
    Ok(Empty)
}
