//! Lists in pages: opaque cursors over what is ordered by id, and the envelope.
//!
//! Owns the coding of cursors: versioned, opaque to clients, checked when they come back. Ids are made in time order,
//! so a list that grows while it is read shows each row once and the new ones last.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::borrow::Cow;

use fieldkeep_protocol::LocationId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::door::{Given, Holds, Params, QueryParam};
use super::problem::Faults;

/// The most rows of one page.
pub const PAGE_MAX: usize = 1_000;
/// Rows of a page where the client does not say.
pub const PAGE_DEFAULT: usize = 100;

/// The first byte of a decoded cursor; an old cursor after an upgrade is refused, never misread.
const VERSION: u8 = 1;

/// A list, or one page of it.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T: ToSchema> PartialSchema for Page<T> {
    fn schema() -> RefOr<Schema> {
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::Array(vec![Type::String, Type::Null]))
            .description(Some(
                "Give it back as `cursor` for the next page; null on the last one.",
            ));
        ObjectBuilder::new()
            .property(
                "items",
                ArrayBuilder::new().items(Ref::from_schema_name(T::name())),
            )
            .property("next_cursor", cursor)
            .required("items")
            .required("next_cursor")
            .into()
    }
}

impl<T: ToSchema> ToSchema for Page<T> {
    fn name() -> Cow<'static, str> {
        Cow::Owned(format!("{}Page", T::name()))
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// Which page is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Where the page before ended.
    pub after: Option<[u8; 16]>,
    /// How many rows.
    pub limit: usize,
}

impl Wanted {
    /// Cuts the page out of all rows.
    pub fn cut<T, U>(
        &self,
        mut rows: Vec<T>,
        id: impl Fn(&T) -> [u8; 16],
        show: impl Fn(T) -> U,
    ) -> Page<U> {
        rows.sort_by_key(&id);
        let mut rows = rows
            .into_iter()
            .filter(|row| self.after.is_none_or(|after| id(row) > after))
            .peekable();
        let mut items = Vec::new();
        let mut last = None;
        while items.len() < self.limit
            && let Some(row) = rows.next()
        {
            last = Some(id(&row));
            items.push(show(row));
        }
        let next_cursor = match (rows.peek(), last) {
            (Some(_), Some(last)) => Some(encode(&last)),
            _ => None,
        };
        Page { items, next_cursor }
    }
}

/// A cursor from a position.
#[must_use]
pub fn encode<T: Serialize>(position: &T) -> String {
    let mut bytes = vec![VERSION];
    // Positions are small structs of numbers; they always serialize.
    if serde_json::to_writer(&mut bytes, position).is_err() {
        bytes.truncate(1);
    }
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The position in a cursor; none when it is not one of ours, or not for this list.
#[must_use]
pub fn decode<T: DeserializeOwned>(text: &str) -> Option<T> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    match bytes.split_first() {
        Some((&VERSION, rest)) => serde_json::from_slice(rest).ok(),
        _ => None,
    }
}

impl Wanted {
    /// The query parameters of every list.
    pub const PARAMS: [QueryParam; 2] = [
        QueryParam {
            name: "cursor",
            required: false,
            holds: Holds::Text,
            says: "Where the page before ended.",
        },
        QueryParam {
            name: "limit",
            required: false,
            holds: Holds::Number(1, PAGE_MAX),
            says: "At most so many rows.",
        },
    ];
}

impl Params for Wanted {
    const ALL: &'static [QueryParam] = &Self::PARAMS;

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let after = given.cursor(faults);
        let limit = given.number("limit", 1, PAGE_MAX, faults);
        Some(Self {
            after,
            limit: limit.unwrap_or(PAGE_DEFAULT),
        })
    }
}

/// Which page of a list of named things is asked for: filtered, and in the order of names or of creation.
#[derive(Clone, Debug)]
pub struct Listing {
    after: Option<(String, [u8; 16])>,
    limit: usize,
    by_name: bool,
    descending: bool,
    search: Option<String>,
    location: Option<LocationId>,
}

/// What a list needs to know of a row.
pub struct Face<'r> {
    /// Its id.
    pub id: [u8; 16],
    /// Its name.
    pub name: &'r str,
    /// Where it is, for lists that can be narrowed to a location.
    pub location: Option<LocationId>,
}

const SORTS: &[&str] = &["created", "-created", "name", "-name"];

impl Listing {
    /// The query parameters of such a list.
    pub const PARAMS: [QueryParam; 5] = [
        Wanted::PARAMS[0],
        Wanted::PARAMS[1],
        QueryParam {
            name: "sort",
            required: false,
            holds: Holds::Word(SORTS),
            says: "The order; - turns it round. By creation where nothing is said.",
        },
        QueryParam {
            name: "search",
            required: false,
            holds: Holds::Text,
            says: "Only those whose name holds this, whatever the case.",
        },
        QueryParam {
            name: "location",
            required: false,
            holds: Holds::Location,
            says: "Only those at this location.",
        },
    ];

    fn sound(given: &Given, faults: &mut Faults) -> Self {
        let sort = given.word("sort", SORTS, faults).unwrap_or("created");
        let after: Option<(String, String, [u8; 16])> = given.cursor(faults);
        let after = after.and_then(|(made_for, name, id)| {
            if made_for == sort {
                return Some((name, id));
            }
            faults.add("cursor", format!("is of a list with sort={made_for}"));
            None
        });
        Self {
            after,
            limit: given
                .number("limit", 1, PAGE_MAX, faults)
                .unwrap_or(PAGE_DEFAULT),
            by_name: sort.ends_with("name"),
            descending: sort.starts_with('-'),
            search: given.text("search").map(str::to_lowercase),
            location: given.id("location", faults),
        }
    }

    fn sort(&self) -> &'static str {
        SORTS[usize::from(self.by_name) * 2 + usize::from(self.descending)]
    }

    /// Cuts the page out of all rows.
    pub fn cut<T, U>(
        &self,
        rows: Vec<T>,
        face: impl Fn(&T) -> Face<'_>,
        show: impl Fn(T) -> U,
    ) -> Page<U> {
        let key = |row: &T| {
            let face = face(row);
            let name = if self.by_name {
                face.name.to_lowercase()
            } else {
                String::new()
            };
            (name, face.id)
        };
        let mut rows: Vec<_> = rows
            .into_iter()
            .filter(|row| {
                let face = face(row);
                self.location
                    .is_none_or(|wanted| face.location == Some(wanted))
                    && (self.search.as_ref())
                        .is_none_or(|part| face.name.to_lowercase().contains(part))
            })
            .map(|row| (key(&row), row))
            .filter(|(key, _)| {
                self.after.as_ref().is_none_or(|after| {
                    if self.descending {
                        key < after
                    } else {
                        key > after
                    }
                })
            })
            .collect();
        rows.sort_by(|(one, _), (other, _)| {
            let order = one.cmp(other);
            if self.descending {
                order.reverse()
            } else {
                order
            }
        });
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|((name, id), _)| encode(&(self.sort(), name, id)));
        Page {
            items: rows.into_iter().map(|(_, row)| show(row)).collect(),
            next_cursor,
        }
    }
}

impl Params for Listing {
    const ALL: &'static [QueryParam] = &Self::PARAMS;

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        Some(Self::sound(given, faults))
    }
}

/// The same for what is at no location.
#[derive(Clone, Debug)]
pub struct Named(pub Listing);

impl Params for Named {
    const ALL: &'static [QueryParam] = Listing::PARAMS.split_at(4).0;

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        Some(Self(Listing::sound(given, faults)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_show_each_row_once() {
        let rows: Vec<[u8; 16]> = (0..10).map(|n| [n; 16]).collect();
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = Wanted { after, limit: 3 }.cut(rows.clone(), |row| *row, |row| row);
            seen.extend(page.items);
            match page.next_cursor {
                Some(cursor) => after = Some(decode(&cursor).unwrap()),
                None => break,
            }
        }
        assert_eq!(seen, rows);
    }

    type Row = (&'static str, u8);

    fn face(row: &Row) -> Face<'_> {
        Face {
            id: [row.1; 16],
            name: row.0,
            location: None,
        }
    }

    #[test]
    fn lists_are_sorted_and_searched_page_by_page() {
        let rows: Vec<Row> = vec![("b", 0), ("Ab", 1), ("c", 2), ("ab", 3), ("abc", 4)];
        for (by_name, descending, search, expected) in [
            (false, false, None, vec![0, 1, 2, 3, 4]),
            (false, true, None, vec![4, 3, 2, 1, 0]),
            (true, false, None, vec![1, 3, 4, 0, 2]),
            (true, true, Some("AB"), vec![4, 3, 1]),
        ] {
            let mut listing = Listing {
                after: None,
                limit: 2,
                by_name,
                descending,
                search: search.map(str::to_lowercase),
                location: None,
            };
            let mut seen = Vec::new();
            loop {
                let page = listing.cut(rows.clone(), face, |row| row.1);
                seen.extend(page.items);
                let Some(cursor) = page.next_cursor else {
                    break;
                };
                let (sort, name, id): (String, _, _) = decode(&cursor).unwrap();
                assert_eq!(sort, listing.sort());
                listing.after = Some((name, id));
            }
            assert_eq!(seen, expected, "by_name {by_name}, descending {descending}");
        }
    }

    #[test]
    fn a_full_last_page_promises_no_more() {
        let page = Wanted {
            after: None,
            limit: 3,
        }
        .cut(vec![[1; 16], [2; 16], [3; 16]], |r| *r, |r| r);
        assert_eq!(page.next_cursor, None);
    }

    #[test]
    fn foreign_cursors_are_refused() {
        for text in ["", "x", "AAAA", &encode(&"text"), "AXt9"] {
            assert!(decode::<[u8; 16]>(text).is_none(), "{text}");
        }
    }
}
