//! How long measurements are kept, what a policy would remove, legal holds, and what was deleted.

use fieldkeep_protocol::ElementId;
use fieldkeep_store::{Amount, Deletion, Expired};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::{Admin, Audit, Fresh, Grant, Read, Session};
use crate::api::App;
use crate::api::door::{At, Body, Created, Empty, Given, Holds, Json, Params, Query, QueryParam};
use crate::api::fault::{projects, series};
use crate::api::id::{DeviceRef, ElementRef, Id, Time};
use crate::api::page::{self, Page};
use crate::api::problem::{Faults, Problem};
use crate::projects::{Hold, Policy, Retention};

/// The most days of a policy.
const DAYS_MAX: usize = 36_525;
/// Entries of a page of deletions.
const ENTRIES_MAX: usize = 1_000;
/// The same where the client does not say.
const ENTRIES_DEFAULT: usize = 100;

/// How many days each tier is kept; null is for ever. A coarser tier is never kept shorter than a finer one.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RetentionPolicy)]
pub(super) struct PolicyWord {
    /// Batches as the device sent them, which are the evidence. They go only once every value is safe in a chunk.
    #[schema(minimum = 1, maximum = 36525)]
    hot_days: Option<u32>,
    /// Every value.
    #[schema(minimum = 1, maximum = 36525)]
    cold_days: Option<u32>,
    /// Buckets of 10 minutes, hours and days.
    #[schema(minimum = 1, maximum = 36525)]
    rollup_days: Option<u32>,
}

impl From<Policy> for PolicyWord {
    fn from(policy: Policy) -> Self {
        Self {
            hot_days: policy.hot_days,
            cold_days: policy.cold_days,
            rollup_days: policy.rollup_days,
        }
    }
}

impl From<PolicyWord> for Policy {
    fn from(word: PolicyWord) -> Self {
        Self {
            hot_days: word.hot_days,
            cold_days: word.cold_days,
            rollup_days: word.rollup_days,
        }
    }
}

/// A legal hold that is in force: nothing under it is deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = LegalHold)]
pub(super) struct HoldView {
    reason: String,
    /// Who set it: a person's or key's id, or `system:…`.
    by: String,
    since: Time,
}

impl From<Hold> for HoldView {
    fn from(hold: Hold) -> Self {
        Self {
            reason: hold.reason,
            by: hold.by,
            since: hold.since.into(),
        }
    }
}

/// An element's own retention.
#[derive(Serialize, ToSchema)]
#[schema(as = ElementRetention)]
pub(super) struct ElementView {
    element: ElementRef,
    /// Null where it follows its project.
    policy: Option<PolicyWord>,
    hold: Option<HoldView>,
}

/// A project's retention.
#[derive(Serialize, ToSchema)]
#[schema(as = ProjectRetention)]
pub(super) struct ProjectView {
    policy: PolicyWord,
    hold: Option<HoldView>,
    /// Elements with a policy or a hold of their own. A device's data are kept as long as the longest-kept element that it
    /// ever fed wants, and not deleted while one of these is held.
    elements: Vec<ElementView>,
}

fn show(element: ElementId, own: Retention) -> ElementView {
    ElementView {
        element: Id(element),
        policy: own.policy.map(PolicyWord::from),
        hold: own.hold.map(HoldView::from),
    }
}

async fn whole(app: &App, grant: &Grant<'_, Read>) -> Result<ProjectView, Problem> {
    let found = app.projects.retention(grant).await.map_err(projects)?;
    Ok(ProjectView {
        policy: found.policy.into(),
        hold: found.hold.map(HoldView::from),
        elements: found
            .elements
            .into_iter()
            .map(|(element, own)| show(element, own))
            .collect(),
    })
}

/// How long the project's measurements are kept.
pub(super) async fn project(
    session: Session<Read>,
    app: App,
) -> Result<Json<ProjectView>, Problem> {
    whole(&app, &session.grant()).await.map(Json)
}

/// Sets how long the project's measurements are kept. What is too old goes within minutes: see the preview first.
pub(super) async fn set_project(
    session: Fresh<Session<Admin>>,
    app: App,
    Body(policy): Body<PolicyWord>,
) -> Result<Json<ProjectView>, Problem> {
    let grant = session.grant();
    let set = app
        .projects
        .set_retention(&grant, None, Some(policy.into()))
        .await;
    set.map_err(projects)?;
    app.series.retention_changed();
    whole(&app, &grant.read()).await.map(Json)
}

/// How long an element's measurements are kept.
pub(super) async fn element(
    session: Session<Read>,
    app: App,
    At(id): At<ElementId>,
) -> Result<Json<ElementView>, Problem> {
    let found = app.projects.element_retention(&session.grant(), id).await;
    found.map(|own| Json(show(id, own))).map_err(projects)
}

/// Sets how long an element's measurements are kept.
pub(super) async fn set_element(
    session: Fresh<Session<Admin>>,
    app: App,
    At(id): At<ElementId>,
    Body(policy): Body<PolicyWord>,
) -> Result<Json<ElementView>, Problem> {
    change(&session, &app, id, Some(policy.into())).await
}

/// Lets an element follow its project again.
pub(super) async fn follow(
    session: Fresh<Session<Admin>>,
    app: App,
    At(id): At<ElementId>,
) -> Result<Json<ElementView>, Problem> {
    change(&session, &app, id, None).await
}

async fn change(
    session: &Session<Admin>,
    app: &App,
    id: ElementId,
    policy: Option<Policy>,
) -> Result<Json<ElementView>, Problem> {
    let grant = session.grant();
    let set = app.projects.set_retention(&grant, Some(id), policy).await;
    set.map_err(projects)?;
    app.series.retention_changed();
    let own = app.projects.element_retention(&grant.read(), id).await;
    own.map(|own| Json(show(id, own))).map_err(projects)
}

/// Why a hold is set or released.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HoldReason)]
pub(super) struct Why {
    #[schema(
        min_length = 1,
        max_length = 1000,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    reason: String,
}

/// Forbids every deletion of the project's measurements, from now on.
pub(super) async fn hold_project(
    session: Fresh<Session<Admin>>,
    app: App,
    Body(why): Body<Why>,
) -> Result<Created<HoldView>, Problem> {
    let held = app.projects.hold(&session.grant(), None, &why.reason).await;
    held.map(|hold| Created(hold.into())).map_err(projects)
}

/// Ends the project's legal hold; its policy takes effect again.
pub(super) async fn release_project(
    session: Fresh<Session<Admin>>,
    app: App,
    Body(why): Body<Why>,
) -> Result<Empty, Problem> {
    let released = app
        .projects
        .release(&session.grant(), None, &why.reason)
        .await;
    released.map_err(projects)?;
    app.series.retention_changed();
    Ok(Empty)
}

/// Forbids every deletion of an element's measurements, from now on.
pub(super) async fn hold_element(
    session: Fresh<Session<Admin>>,
    app: App,
    At(id): At<ElementId>,
    Body(why): Body<Why>,
) -> Result<Created<HoldView>, Problem> {
    let grant = session.grant();
    let held = app.projects.hold(&grant, Some(id), &why.reason).await;
    held.map(|hold| Created(hold.into())).map_err(projects)
}

/// Ends an element's legal hold.
pub(super) async fn release_element(
    session: Fresh<Session<Admin>>,
    app: App,
    At(id): At<ElementId>,
    Body(why): Body<Why>,
) -> Result<Empty, Problem> {
    let grant = session.grant();
    let released = app.projects.release(&grant, Some(id), &why.reason).await;
    released.map_err(projects)?;
    app.series.retention_changed();
    Ok(Empty)
}

/// A policy to try; none given is the one in force.
pub(super) struct Trial(Option<Policy>);

impl Params for Trial {
    const ALL: &'static [QueryParam] = &[
        QueryParam {
            name: "hot_days",
            required: false,
            holds: Holds::Number(1, DAYS_MAX),
            says: "Try this instead of the policy in force; what is left out is for ever.",
        },
        QueryParam {
            name: "cold_days",
            required: false,
            holds: Holds::Number(1, DAYS_MAX),
            says: "As hot_days.",
        },
        QueryParam {
            name: "rollup_days",
            required: false,
            holds: Holds::Number(1, DAYS_MAX),
            says: "As hot_days.",
        },
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let mut days = |name| {
            let number = given.number(name, 1, DAYS_MAX, faults)?;
            u32::try_from(number).ok()
        };
        let policy = Policy {
            hot_days: days("hot_days"),
            cold_days: days("cold_days"),
            rollup_days: days("rollup_days"),
        };
        Some(Self((policy != Policy::FOR_EVER).then_some(policy)))
    }
}

/// How much of one tier.
#[derive(Serialize, ToSchema)]
#[schema(as = TierAmount)]
pub(super) struct AmountView {
    /// Batches, chunks or rows of buckets.
    items: u64,
    /// Records or values in them; 0 for buckets.
    records: u64,
    bytes: u64,
}

impl From<Amount> for AmountView {
    fn from(amount: Amount) -> Self {
        Self {
            items: amount.items,
            records: amount.records,
            bytes: amount.bytes,
        }
    }
}

/// What a policy would remove now, at most.
#[derive(Serialize, ToSchema)]
#[schema(as = RetentionPreview)]
pub(super) struct Preview {
    hot: AmountView,
    cold: AmountView,
    rollups: AmountView,
    /// Of all tiers.
    bytes: u64,
}

impl From<Expired> for Preview {
    fn from(expired: Expired) -> Self {
        Self {
            bytes: expired.bytes(),
            hot: expired.hot.into(),
            cold: expired.cold.into(),
            rollups: expired.rollups.into(),
        }
    }
}

/// What a policy would remove now; nothing is removed.
pub(super) async fn preview(
    session: Session<Read>,
    app: App,
    Query(trial): Query<Trial>,
) -> Result<Json<Preview>, Problem> {
    let expired = app.series.expirable(&session.grant(), trial.0).await;
    expired.map(|expired| Json(expired.into())).map_err(series)
}

/// One entry of what was deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = Deletion)]
pub(super) struct DeletionView {
    device: DeviceRef,
    /// `hot`, `cold` or `rollups`.
    tier: String,
    from: Time,
    to: Time,
    #[serde(flatten)]
    amount: AmountView,
    /// Why: `retention`.
    cause: String,
    /// Who.
    by: String,
    at: Time,
}

impl From<Deletion> for DeletionView {
    fn from(entry: Deletion) -> Self {
        Self {
            device: Id(entry.device),
            tier: entry.tier,
            from: entry.from.into(),
            to: entry.to.into(),
            amount: entry.amount.into(),
            cause: entry.cause,
            by: entry.actor,
            at: entry.at.into(),
        }
    }
}

/// Which entries.
pub(super) struct Entries {
    before: Option<i64>,
    limit: usize,
}

impl Params for Entries {
    const ALL: &'static [QueryParam] = &page::Wanted::PARAMS;

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let before = given.cursor(faults);
        let limit = given.number("limit", 1, ENTRIES_MAX, faults);
        Some(Self {
            before,
            limit: limit.unwrap_or(ENTRIES_DEFAULT),
        })
    }
}

/// What was deleted of the project's measurements, newest first.
pub(super) async fn deletions(
    session: Session<Audit>,
    app: App,
    Query(wanted): Query<Entries>,
) -> Result<Json<Page<DeletionView>>, Problem> {
    let grant = session.grant();
    let found = app.series.deletions(&grant, wanted.before, wanted.limit);
    let (entries, next) = found.await.map_err(series)?;
    Ok(Json(Page {
        items: entries.into_iter().map(DeletionView::from).collect(),
        next_cursor: next.map(|next| page::encode(&next)),
    }))
}
