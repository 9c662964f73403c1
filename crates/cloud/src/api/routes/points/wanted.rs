//! What a call for points asks, as a type that cannot be wrong.
//!
//! Owns the parameters, the limits of one call and its two kinds of cursor: element by element in JSON, row by row in a
//! table.

use fieldkeep_protocol::{ElementId, Timestamp};
use fieldkeep_store::TimeRange;

use crate::api::door::{Given, Holds, Params, QueryParam};
use crate::api::formats::{self, Format};
use crate::api::page;
use crate::api::problem::Faults;
use crate::series::Position;

/// Elements of one call for raw points.
pub(in crate::api::routes) const ELEMENTS_MAX: usize = 32;
/// Elements of one call for buckets.
const DRAWN_MAX: usize = 1_000;
/// Buckets of one element.
const BUCKETS_MAX: usize = 10_000;
/// Buckets of one call, all elements together.
const BUCKETS_TOGETHER_MAX: usize = 320_000;
/// Raw points of one call, all elements together.
const POINTS_MAX: usize = 100_000;
/// The same where the client does not say.
const POINTS_DEFAULT: usize = 10_000;
/// The longest range, a hundred years: beyond it the question is a mistake.
pub(in crate::api::routes) const SPAN_MAX_US: i64 = 36_525 * 86_400_000_000;

/// What is asked for.
pub(in crate::api::routes) struct Wanted {
    pub(super) elements: Vec<ElementId>,
    pub(super) range: TimeRange,
    pub(super) how: How,
    /// By the query; else by the header.
    pub(super) format: Option<Format>,
}

pub(super) enum How {
    Buckets(usize),
    Raw {
        limit: usize,
        after: Option<After>,
        known_at: Option<Timestamp>,
    },
}

/// Where the page before ended.
pub(super) enum After {
    Columns(Reached),
    /// A table goes on at this time.
    Rows(Timestamp),
}

/// Where a page of raw points ended.
pub(super) struct Reached {
    /// The element's place in the list.
    pub(super) element: usize,
    /// Inside it; none at its beginning.
    pub(super) position: Option<Position>,
}

impl Reached {
    pub(super) fn cursor(&self) -> String {
        let position = self.position.map(|position| position.to_string());
        let written: Written = (Some(self.element), position, 0);
        page::encode(&written)
    }
}

impl Params for Wanted {
    const ALL: &'static [QueryParam] = &[
        QueryParam {
            name: "element",
            required: true,
            holds: Holds::Elements(DRAWN_MAX),
            says: "Elements, separated by commas: 32 at most for raw points, more for buckets.",
        },
        QueryParam {
            name: "from",
            required: true,
            holds: Holds::Time,
            says: "The first instant.",
        },
        QueryParam {
            name: "to",
            required: true,
            holds: Holds::Time,
            says: "The end, not included.",
        },
        QueryParam {
            name: "buckets",
            required: false,
            holds: Holds::Number(1, BUCKETS_MAX),
            says: "At most so many buckets an element; raw points where there are no more than that.",
        },
        QueryParam {
            name: "limit",
            required: false,
            holds: Holds::Number(1, POINTS_MAX),
            says: "At most so many raw points, all elements together.",
        },
        QueryParam {
            name: "cursor",
            required: false,
            holds: Holds::Text,
            says: "Where the page before ended, in the same format.",
        },
        KNOWN_AT,
        QueryParam {
            name: "format",
            required: false,
            holds: Holds::Word(&formats::WORDS),
            says: "How the answer is written; the header Accept says it too, JSON where neither does.",
        },
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let elements = given.ids("element", DRAWN_MAX, faults);
        let range = range(given, SPAN_MAX_US, faults);
        let format = given.word("format", &formats::WORDS, faults);
        let known_at = given.time("known_at", faults);
        let buckets = given.number("buckets", 1, BUCKETS_MAX, faults);
        let limit = given.number("limit", 1, POINTS_MAX, faults);
        let after = given.cursor(faults).and_then(|written: Written| {
            let after = After::read(written);
            let known = |after: &After| match (after, &elements) {
                (After::Columns(reached), Some(all)) => reached.element < all.len(),
                _ => true,
            };
            let after = after.filter(known);
            if after.is_none() {
                faults.add("cursor", "is not a cursor of this list");
            }
            after
        });
        let named = elements.as_ref().map_or(0, Vec::len);
        match buckets {
            None if named > ELEMENTS_MAX => faults.add(
                "element",
                format!("names more than {ELEMENTS_MAX} elements; with buckets more go"),
            ),
            Some(buckets) if named.saturating_mul(buckets) > BUCKETS_TOGETHER_MAX => faults.add(
                "buckets",
                format!("would be more than {BUCKETS_TOGETHER_MAX} for all elements together"),
            ),
            _ => {}
        }
        if buckets.is_some() {
            for name in ["limit", "cursor", "known_at"] {
                if given.text(name).is_some() {
                    faults.add(name, "goes with raw points, not with buckets");
                }
            }
        }
        let how = match buckets {
            Some(buckets) => How::Buckets(buckets),
            None => How::Raw {
                limit: limit.unwrap_or(POINTS_DEFAULT),
                after,
                known_at,
            },
        };
        Some(Self {
            elements: elements?,
            range: range?,
            how,
            format: format.and_then(Format::from_word),
        })
    }
}

/// The parameter of what was known at a time.
pub(in crate::api::routes) const KNOWN_AT: QueryParam = QueryParam {
    name: "known_at",
    required: false,
    holds: Holds::Time,
    says: "Raw points as the cloud had them then, as far as the batches of then are kept.",
};

/// The range of a query, not longer than `most_us`.
pub(in crate::api::routes) fn range(
    given: &Given,
    most_us: i64,
    faults: &mut Faults,
) -> Option<TimeRange> {
    let range = TimeRange {
        from: given.time("from", faults)?,
        to: given.time("to", faults)?,
    };
    let length = range.to.saturating_since(range.from);
    if length <= 0 {
        faults.add("to", "is not after from");
    } else if length > most_us {
        let days = most_us / 86_400_000_000;
        faults.add("to", format!("is more than {days} days after from"));
    }
    Some(range)
}

/// A cursor as it is written: an element's place and a position in it, or a time.
type Written = (Option<usize>, Option<String>, i64);

impl After {
    fn read((element, position, time): Written) -> Option<Self> {
        let Some(element) = element else {
            return Some(Self::Rows(Timestamp::from_micros(time)));
        };
        let position = position.map(|text| text.parse()).transpose().ok()?;
        Some(Self::Columns(Reached { element, position }))
    }
}

/// The cursor of a table that goes on at a time.
pub(in crate::api::routes) fn rows_cursor(time: Timestamp) -> String {
    let written: Written = (None, None, time.as_micros());
    page::encode(&written)
}
