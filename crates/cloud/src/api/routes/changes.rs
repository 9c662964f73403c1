//! What changed, for whoever keeps a copy: pull, read the named ranges again, go on from `next_cursor`.

use fieldkeep_store::{ChangeCause, Revision};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Read, Session};
use crate::api::App;
use crate::api::door::{Given, Holds, Json, Params, Query, QueryParam};
use crate::api::fault::{in_time, series};
use crate::api::id::{ElementRef, Id, Time};
use crate::api::problem::{Faults, Problem};

/// Changes of devices that one page is made of.
const CHANGES_MAX: usize = 10_000;
/// The same where the client does not say.
const CHANGES_DEFAULT: usize = 1_000;

/// Since when.
pub(super) struct Wanted {
    since: Revision,
    limit: usize,
}

impl Params for Wanted {
    const ALL: &'static [QueryParam] = &[
        QueryParam {
            name: "since",
            required: false,
            holds: Holds::Text,
            says: "The `revision` of an answer, or the `next_cursor` of this list; from the very beginning where it is left out.",
        },
        QueryParam {
            name: "limit",
            required: false,
            holds: Holds::Number(1, CHANGES_MAX),
            says: "From at most so many arrivals and other changes of devices.",
        },
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let limit = given.number("limit", 1, CHANGES_MAX, faults);
        let since = given.text("since").filter(|text| !text.is_empty());
        let since = match since.map(str::parse) {
            None => Revision::default(),
            Some(Ok(revision)) => revision,
            Some(Err(_)) => {
                faults.add("since", "is neither a revision nor a cursor of this list");
                return None;
            }
        };
        Some(Self {
            since,
            limit: limit.unwrap_or(CHANGES_DEFAULT),
        })
    }
}

/// What changed.
#[derive(Serialize, ToSchema)]
pub(super) struct Changes {
    items: Vec<ChangedRange>,
    /// Give it back as `since`, also when there is nothing more now: it is never null.
    next_cursor: String,
    /// There is more already; a page may be empty and yet not the last.
    more: bool,
}

/// A range of an element that reads otherwise than before: read it again.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangedRange {
    element: ElementRef,
    /// The first instant.
    from: Time,
    /// The first instant after it.
    to: Time,
    cause: CauseWord,
}

/// Why a range reads otherwise.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ChangeCause)]
pub(super) enum CauseWord {
    /// Points that go on where the device's others ended.
    New,
    /// Points that came, or could be read, after newer ones of their device.
    Late,
    /// Times were set right, or another channel feeds the element.
    Corrected,
    /// Points were deleted.
    Deleted,
}

/// What changed since a revision.
pub(super) async fn list(
    session: Session<Read>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Changes>, Problem> {
    let grant = session.grant();
    let changes = app.series.changes(&grant, wanted.since, wanted.limit);
    let found = in_time(async { changes.await.map_err(series) }).await?;
    let items = found.items.into_iter().map(|change| ChangedRange {
        element: Id(change.element),
        from: change.range.from.into(),
        to: change.range.to.into(),
        cause: match change.cause {
            ChangeCause::New => CauseWord::New,
            ChangeCause::Late => CauseWord::Late,
            ChangeCause::Corrected => CauseWord::Corrected,
            ChangeCause::Deleted => CauseWord::Deleted,
        },
    });
    Ok(Json(Changes {
        items: items.collect(),
        next_cursor: found.next.to_string(),
        more: found.more,
    }))
}
