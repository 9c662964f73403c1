//! Who did what: the trail of a project and of the instance, in pages and as a file.

use std::io;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream;
use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::{Audit, OperatorSession, Session};
use crate::api::App;
use crate::api::door::{Given, Holds, Json, Params, Query, QueryParam, Raw, RawKind};
use crate::api::fault::access;
use crate::api::id::{Id, LocationRef, Time};
use crate::api::page::{self, Page};
use crate::api::problem::{Code, Faults, Problem};
use crate::api::streams::Place;
use crate::trail::{Act, Filter, Record};

/// Entries of a page.
const ENTRIES_MAX: usize = 1_000;
/// The same where the client does not say.
const ENTRIES_DEFAULT: usize = 100;
const RESULTS: &[&str] = &["done", "refused", "failed"];
const TEXT_LONGEST: usize = 64;

/// One act, or one refusal.
#[derive(Serialize, ToSchema)]
#[schema(as = TrailEntry)]
pub(super) struct EntryView {
    /// Its number: counted from 1 in each project, without gaps.
    number: i64,
    at: Time,
    who: WhoView,
    /// What was done, such as `member.change`.
    act: String,
    /// What it was done to; null where there is nothing to name.
    object: Option<ObjectView>,
    /// The location that it belongs to.
    location: Option<LocationRef>,
    /// `done`, `refused` or `failed`.
    result: String,
    /// The problem's code where it was refused.
    code: Option<String>,
    /// How often: refusals that are the same are counted together.
    count: u64,
    /// What it was before.
    #[schema(value_type = Option<Object>)]
    old: Option<Value>,
    /// What it is since, or what the request said.
    #[schema(value_type = Option<Object>)]
    new: Option<Value>,
    /// Why, in the actor's words.
    reason: Option<String>,
    /// The address that the request came from.
    address: Option<String>,
    /// The request's id, as its answer carried it.
    request_id: Option<String>,
    /// Was the stored entry changed after it was written?
    damaged: bool,
}

/// Who acted.
#[derive(Serialize, ToSchema)]
#[schema(as = TrailWho)]
pub(super) struct WhoView {
    /// `person`, `key`, `service`, `device`, `system` or `nobody`.
    kind: String,
    /// An id; for the program the word for its task; empty for nobody.
    id: String,
    /// The name at that time.
    name: Option<String>,
}

/// What was acted on.
#[derive(Serialize, ToSchema)]
#[schema(as = TrailObject)]
pub(super) struct ObjectView {
    /// What kind of thing, such as `element`.
    kind: String,
    /// Its id.
    id: String,
}

impl From<Record> for EntryView {
    fn from(record: Record) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            number: record.id,
            at: Time(record.at),
            who: WhoView {
                kind: record.who_kind,
                id: record.who,
                name: record.name,
            },
            act: record.act,
            object: some(record.object_kind).map(|kind| ObjectView {
                kind,
                id: record.object,
            }),
            location: record.location.map(Id),
            result: record.result,
            code: some(record.code),
            count: record.count,
            old: record.old,
            new: record.new,
            reason: record.reason,
            address: record.address,
            request_id: record.request,
            damaged: record.damaged,
        }
    }
}

/// Which entries, and which page of them.
pub(super) struct Entries {
    filter: Filter,
    before: Option<i64>,
    limit: usize,
}

impl Params for Entries {
    const ALL: &'static [QueryParam] = &[
        QueryParam {
            name: "cursor",
            required: false,
            holds: Holds::Text,
            says: "Where the page before ended.",
        },
        QueryParam {
            name: "limit",
            required: false,
            holds: Holds::Number(1, ENTRIES_MAX),
            says: "At most so many entries.",
        },
        QueryParam {
            name: "who",
            required: false,
            holds: Holds::Text,
            says: "Only by the actor with this id.",
        },
        QueryParam {
            name: "act",
            required: false,
            holds: Holds::Text,
            says: "Only this act (`member.change`), or this group of acts (`member`).",
        },
        QueryParam {
            name: "object",
            required: false,
            holds: Holds::Text,
            says: "Only on the thing with this id.",
        },
        QueryParam {
            name: "result",
            required: false,
            holds: Holds::Word(RESULTS),
            says: "Only what ended so.",
        },
        QueryParam {
            name: "from",
            required: false,
            holds: Holds::Time,
            says: "Only at or after this time.",
        },
        QueryParam {
            name: "to",
            required: false,
            holds: Holds::Time,
            says: "Only before this time.",
        },
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let before = given.cursor(faults);
        let limit = given.number("limit", 1, ENTRIES_MAX, faults);
        let mut text = |name| {
            let text = given.text(name)?;
            if text.len() > TEXT_LONGEST {
                faults.add(name, "is too long for an id");
            }
            Some(text.to_owned())
        };
        let (who, object) = (text("who"), text("object"));
        let act = given.text("act").map(str::to_owned);
        if let Some(act) = &act
            && !is_act(act)
        {
            faults.add("act", "is no act of the trail: see docs/api.md");
        }
        let filter = Filter {
            who,
            act,
            object,
            from: given.time("from", faults),
            to: given.time("to", faults),
            result: given.word("result", RESULTS, faults).map(str::to_owned),
            locations: None,
        };
        Some(Self {
            filter,
            before,
            limit: limit.unwrap_or(ENTRIES_DEFAULT),
        })
    }
}

fn is_act(text: &str) -> bool {
    Act::ALL.iter().any(|act| {
        let group = act.word().split_once('.').map(|(group, _)| group);
        act.word() == text || group == Some(text)
    })
}

fn show(found: crate::trail::Page) -> Page<EntryView> {
    Page {
        items: found.records.into_iter().map(EntryView::from).collect(),
        next_cursor: found.next.map(|next| page::encode(&next)),
    }
}

/// What was done in the project, newest first.
pub(super) async fn project(
    session: Session<Audit>,
    app: App,
    Query(wanted): Query<Entries>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let grant = session.grant();
    let found = app
        .access
        .trail_of_project(&grant, wanted.filter, wanted.before, wanted.limit);
    Ok(Json(show(found.await.map_err(access)?)))
}

/// What was done about the instance and belongs to no project, newest first.
pub(super) async fn instance(
    session: OperatorSession,
    app: App,
    Query(wanted): Query<Entries>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let grant = session.grant();
    let found = app
        .access
        .trail_of_instance(&grant, &wanted.filter, wanted.before, wanted.limit);
    Ok(Json(show(found.await.map_err(access)?)))
}

/// Which entries a file is to hold, and how it is written.
pub(super) struct Wanted {
    entries: Entries,
    csv: bool,
}

const FORMATS: &[&str] = &["csv", "jsonl"];

impl Params for Wanted {
    const ALL: &'static [QueryParam] = &[
        QueryParam {
            name: "format",
            required: false,
            holds: Holds::Word(FORMATS),
            says: "How it is written; CSV where it is left out.",
        },
        Entries::ALL[2],
        Entries::ALL[3],
        Entries::ALL[4],
        Entries::ALL[5],
        Entries::ALL[6],
        Entries::ALL[7],
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let format = given.word("format", FORMATS, faults);
        Some(Self {
            csv: format != Some("jsonl"),
            entries: Entries::read(given, faults)?,
        })
    }
}

/// The trail as a file, in the document.
pub(super) struct Export;

impl RawKind for Export {
    const MEDIA_TYPE: &'static str = "text/csv";
    const ALSO: &'static [&'static str] = &["application/jsonl"];
    const SAYS: &'static str = "All entries that fit, newest first, as CSV or JSON lines. A body without its end is not whole.";
}

/// What was done in the project, as a file. It is written down that the trail was taken.
pub(super) async fn export(
    session: Session<Audit>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Raw<Export>, Problem> {
    let place = app.exports().enter(session.project()).ok_or_else(|| {
        Problem::new(Code::RateLimited)
            .detail("too many exports are running")
            .retry_after(30)
    })?;
    let entry = session
        .grant()
        .entry(Act::TrailExport)
        .on(session.project());
    let told = app.access.trail().append(entry).await;
    told.map_err(|error| Problem::internal("the trail could not be written", &error))?;
    let (media_type, extension) = if wanted.csv {
        ("text/csv; charset=utf-8", "csv")
    } else {
        ("application/jsonl", "jsonl")
    };
    let name = format!(
        "attachment; filename=\"{}-trail.{extension}\"",
        session.project()
    );
    let pieces = Pieces {
        app,
        session,
        filter: wanted.entries.filter,
        csv: wanted.csv,
        before: Some(i64::MAX),
        begun: false,
        _place: place,
    };
    let body = Body::from_stream(stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.next().await;
        piece.map(|piece| (piece, pieces))
    }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    let disposition = HeaderValue::try_from(name)
        .map_err(|error| Problem::internal("a file name is no header", &error))?;
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    Ok(Raw::new(response))
}

/// A file on its way.
struct Pieces {
    app: App,
    session: Session<Audit>,
    filter: Filter,
    csv: bool,
    /// Where to go on; None when all is written, or it broke off.
    before: Option<i64>,
    begun: bool,
    _place: Place,
}

impl Pieces {
    /// The next bytes; an error ends the connection without the end of the body.
    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        let before = self.before.take()?;
        let broken = |why: &str| Some(Err(io::Error::other(why.to_owned())));
        if *self.app.stopping.borrow() {
            return broken("the server stops");
        }
        if self.app.access.still_valid(&self.session).await.is_err() {
            return broken("the access that it was begun with has ended");
        }
        let grant = self.session.grant();
        let found = self
            .app
            .access
            .trail_of_project(&grant, self.filter.clone(), Some(before), ENTRIES_MAX)
            .await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a trail could not be exported"
                );
                return broken("the trail cannot be read");
            }
        };
        self.before = found.next;
        let mut text = String::new();
        if self.csv && !self.begun {
            text.push_str(HEAD);
        }
        self.begun = true;
        for record in found.records {
            if self.csv {
                line(&mut text, &record);
            } else {
                let view = serde_json::to_string(&EntryView::from(record)).unwrap_or_default();
                text.push_str(&view);
                text.push('\n');
            }
        }
        Some(Ok(text.into()))
    }
}

const HEAD: &str = "number,at,who_kind,who,name,act,object_kind,object,location,result,code,count,old,new,reason,address,request_id,damaged\r\n";

fn line(text: &mut String, record: &Record) {
    let value = |value: &Option<Value>| value.as_ref().map(ToString::to_string);
    let cells = [
        record.id.to_string(),
        Time(record.at).to_string(),
        record.who_kind.clone(),
        record.who.clone(),
        record.name.clone().unwrap_or_default(),
        record.act.clone(),
        record.object_kind.clone(),
        record.object.clone(),
        record
            .location
            .map(|location| location.to_string())
            .unwrap_or_default(),
        record.result.clone(),
        record.code.clone(),
        record.count.to_string(),
        value(&record.old).unwrap_or_default(),
        value(&record.new).unwrap_or_default(),
        record.reason.clone().unwrap_or_default(),
        record.address.clone().unwrap_or_default(),
        record.request.clone().unwrap_or_default(),
        record.damaged.to_string(),
    ];
    for (column, cell) in cells.iter().enumerate() {
        if column > 0 {
            text.push(',');
        }
        push_cell(text, cell);
    }
    text.push_str("\r\n");
}

/// In quotes always. A text that a spreadsheet would take for a formula gets an apostrophe before it: names are what
/// people typed.
fn push_cell(text: &mut String, cell: &str) {
    text.push('"');
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        text.push('\'');
    }
    text.push_str(&cell.replace('"', "\"\""));
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_neither_formulas_nor_columns() {
        let mut text = String::new();
        push_cell(&mut text, "=cmd|' /C calc'!A0,\"b\"\r\nc");
        assert_eq!(text, "\"'=cmd|' /C calc'!A0,\"\"b\"\"\r\nc\"");
    }

    #[test]
    fn groups_and_words_are_acts() {
        for text in ["member", "member.change", "trail.gap", "door"] {
            assert!(is_act(text), "{text}");
        }
        for text in ["", "member.", "mem", "%", "change"] {
            assert!(!is_act(text), "{text}");
        }
    }
}
