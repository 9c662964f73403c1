//! Measurements as tables: one page of points or buckets in another format than JSON, and whole ranges as a stream.
//!
//! Owns how a table is put together: its head, then pieces. A page is complete in memory before it is sent, so it is whole or a
//! problem; an export is written as it is read, holds some thousand rows whatever its length, and where it has to break off it
//! says so and the connection ends without the end of the body. No read transaction is open while a socket is written.

use std::collections::BTreeMap;
use std::io;

use axum::body::{Body, Bytes};
use axum::response::Response;
use fieldkeep_protocol::{ElementId, Timestamp};
use fieldkeep_store::{Bucket, Revision, TimeRange};
use futures_util::stream;
use http::{HeaderName, HeaderValue, header};
use tokio::sync::watch;

use super::points::{ELEMENTS_MAX, KNOWN_AT, SPAN_MAX_US, range, rows_cursor};
use crate::access::{Grant, Read, Session};
use crate::api::App;
use crate::api::door::{Forms, Given, Headers, Holds, Params, Query, QueryParam, Raw, RawKind};
use crate::api::fault::{in_time, projects, series};
use crate::api::formats::{self, Cells, Format, FormatError, Frame, Head, Role, Writer};
use crate::api::problem::{Code, Faults, Problem};
use crate::api::streams::Place;
use crate::series::{Block, SeriesError, Table};

/// Rows of one piece of an export.
const PIECE_ROWS: usize = 4_096;

const REVISION: HeaderName = HeaderName::from_static("fieldkeep-revision");
const NEXT_CURSOR: HeaderName = HeaderName::from_static("fieldkeep-next-cursor");

/// The forms of points beside JSON, in the document.
pub(super) struct Tables;

impl Forms for Tables {
    const MEDIA_TYPES: &'static [&'static str] = &[
        "text/csv",
        "application/jsonl",
        "application/vnd.apache.arrow.stream",
        "application/vnd.apache.parquet",
    ];
    const SAYS: &'static str = "What was asked for. As a table: the elements side by side, row by row; header \
         `Fieldkeep-Revision`, and `Fieldkeep-Next-Cursor` where there is more.";
}

/// A table that is asked for.
pub(super) struct Asked {
    pub(super) elements: Vec<ElementId>,
    pub(super) range: TimeRange,
    pub(super) format: Format,
}

/// One page of raw points as a table.
pub(super) async fn page(
    session: Session<Read>,
    app: &App,
    asked: Asked,
    (after, limit): (Option<Timestamp>, usize),
    known_at: Option<Timestamp>,
) -> Result<Response, Problem> {
    let head = head(app, &session.grant(), &asked, formats::POINTS, known_at).await?;
    let range = TimeRange {
        from: after.map_or(asked.range.from, |after| after.max(asked.range.from)),
        to: asked.range.to,
    };
    let rows = (limit / asked.elements.len().max(1)).max(1);
    let mut table = app
        .series
        .table(session, &asked.elements, range, known_at)
        .await
        .map_err(series)?;
    let block = table.block(rows).await.map_err(series)?;
    let next = table.next_time().await.map_err(series)?;
    let mut response = whole(&asked, &head, &block.into())?;
    if let Some(next) = next {
        let cursor = HeaderValue::try_from(rows_cursor(next));
        let cursor = cursor.map_err(|error| Problem::internal("a cursor is no header", &error))?;
        response.headers_mut().insert(NEXT_CURSOR, cursor);
    }
    Ok(response)
}

/// Buckets as a table.
pub(super) async fn buckets(
    session: &Session<Read>,
    app: &App,
    asked: Asked,
    count: usize,
) -> Result<Response, Problem> {
    let grant = session.grant();
    let head = head(app, &grant, &asked, formats::BUCKETS, None).await?;
    let mut rows: BTreeMap<Timestamp, Vec<Option<Bucket>>> = BTreeMap::new();
    let found = app
        .series
        .buckets(&grant, &asked.elements, asked.range, count)
        .await
        .map_err(series)?;
    for (at, found) in found.into_iter().enumerate() {
        for bucket in found.buckets {
            let row = rows
                .entry(bucket.start)
                .or_insert_with(|| vec![None; asked.elements.len()]);
            if let Some(cell) = row.get_mut(at) {
                *cell = Some(bucket);
            }
        }
    }
    whole(&asked, &head, &bucket_frame(&rows, asked.elements.len()))
}

fn bucket_frame(rows: &BTreeMap<Timestamp, Vec<Option<Bucket>>>, elements: usize) -> Frame {
    let mut columns = Vec::with_capacity(elements * formats::BUCKETS.len());
    for at in 0..elements {
        let cells = || rows.values().map(move |row| row.get(at).copied().flatten());
        let numbers = |number: fn(Bucket) -> f64| {
            Cells::Numbers(cells().map(|cell| cell.map(number)).collect())
        };
        for role in formats::BUCKETS {
            columns.push(match role {
                Role::Min => numbers(|bucket| bucket.min),
                Role::Mean | Role::Value => numbers(|bucket| bucket.mean),
                Role::Max => numbers(|bucket| bucket.max),
                Role::Count => Cells::Counts(
                    cells()
                        .map(|cell| cell.map(|bucket| bucket.count))
                        .collect(),
                ),
                Role::Flag => {
                    Cells::Flags(cells().map(|cell| cell.map(|bucket| bucket.flag)).collect())
                }
            });
        }
    }
    Frame {
        times: rows.keys().copied().collect(),
        columns,
    }
}

/// A table that is there completely.
fn whole(asked: &Asked, head: &Head, frame: &Frame) -> Result<Response, Problem> {
    let write = || {
        let mut writer = Writer::new(asked.format, head)?;
        let mut body = writer.rows(frame)?;
        body.extend(writer.end()?);
        Ok(body)
    };
    let body = write()
        .map_err(|error: FormatError| Problem::internal("a table could not be written", &error))?;
    respond(Body::from(body), asked.format, head.revision)
}

fn respond(body: Body, format: Format, revision: Revision) -> Result<Response, Problem> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.media_type()),
    );
    let revision = HeaderValue::try_from(revision.to_string());
    let revision =
        revision.map_err(|error| Problem::internal("a revision is no header", &error))?;
    headers.insert(REVISION, revision);
    // Shared caches must not mix the formats of one address.
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// The head of a table; the revision in it is older than anything that is read after it.
async fn head(
    app: &App,
    grant: &Grant<'_, Read>,
    asked: &Asked,
    roles: &[Role],
    known_at: Option<Timestamp>,
) -> Result<Head, Problem> {
    let revision = app.series.revision(grant).await.map_err(series)?;
    let project = app.projects.one(grant).await.map_err(projects)?;
    let mut elements = Vec::with_capacity(asked.elements.len());
    for element in &asked.elements {
        elements.push(
            app.projects
                .element(grant, *element)
                .await
                .map_err(projects)?,
        );
    }
    Ok(Head {
        project: project.id,
        zone: project.zone,
        revision,
        from: asked.range.from,
        to: asked.range.to,
        known_at,
        fields: formats::fields(&elements, roles),
    })
}

/// What an export asks.
pub(super) struct Wanted {
    elements: Vec<ElementId>,
    range: TimeRange,
    known_at: Option<Timestamp>,
    format: Option<Format>,
}

impl Params for Wanted {
    const ALL: &'static [QueryParam] = &[
        QueryParam {
            name: "element",
            required: true,
            holds: Holds::Elements(ELEMENTS_MAX),
            says: "Elements, separated by commas: the columns.",
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
        KNOWN_AT,
        QueryParam {
            name: "format",
            required: false,
            holds: Holds::Word(&["csv", "jsonl", "arrow", "parquet"]),
            says: "How it is written; the header Accept says it too, CSV where neither does.",
        },
    ];

    fn read(given: &Given, faults: &mut Faults) -> Option<Self> {
        let elements = given.ids("element", ELEMENTS_MAX, faults);
        let range = range(given, SPAN_MAX_US, faults);
        let known_at = given.time("known_at", faults);
        let format = given.word("format", &["csv", "jsonl", "arrow", "parquet"], faults);
        Some(Self {
            elements: elements?,
            range: range?,
            known_at,
            format: format.and_then(Format::from_word),
        })
    }
}

/// An export in the document.
pub(super) struct Export;

impl RawKind for Export {
    const MEDIA_TYPE: &'static str = "text/csv";
    const ALSO: &'static [&'static str] = &[
        "application/jsonl",
        "application/vnd.apache.arrow.stream",
        "application/vnd.apache.parquet",
    ];
    const SAYS: &'static str = "All raw points of the range as a table, as CSV, JSON lines, Arrow IPC stream or Parquet. A body \
         without its end is not whole; CSV and JSON lines also say so in the last line.";
}

/// All raw points of a range, as a stream.
pub(super) async fn export(
    session: Session<Read>,
    app: App,
    Query(wanted): Query<Wanted>,
    Headers(headers): Headers,
) -> Result<Raw<Export>, Problem> {
    let format = wanted.format.or_else(|| Format::accepted(&headers));
    let format = match format {
        None | Some(Format::Json) => Format::Csv,
        Some(format) => format,
    };
    let asked = Asked {
        elements: wanted.elements,
        range: wanted.range,
        format,
    };
    let place = app.exports().enter(session.project()).ok_or_else(|| {
        Problem::new(Code::RateLimited)
            .detail("too many exports are running")
            .retry_after(30)
    })?;
    let head = head(
        &app,
        &session.grant(),
        &asked,
        formats::POINTS,
        wanted.known_at,
    )
    .await?;
    let name = format!("{}.{}", head.project, format.extension());
    let opened = app
        .series
        .table(session, &asked.elements, asked.range, wanted.known_at);
    let mut table = opened.await.map_err(series)?;
    // What can be refused is refused while there is a status to say it with.
    in_time(async { table.next_time().await.map_err(series) }).await?;
    let writer = Writer::new(format, &head)
        .map_err(|error| Problem::internal("a table could not be written", &error))?;
    let pieces = Pieces {
        table,
        writer: Some(writer),
        broken: false,
        stopping: app.stopping.clone(),
        _place: place,
    };
    let body = Body::from_stream(stream::unfold(pieces, |mut pieces| async move {
        pieces.next().await.map(|piece| (piece, pieces))
    }));
    let mut response = respond(body, format, head.revision)?;
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    let disposition =
        disposition.map_err(|error| Problem::internal("a file name is no header", &error))?;
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, disposition);
    Ok(Raw::new(response))
}

/// An export on its way.
struct Pieces {
    table: Table,
    /// Gone once the end, or that there is none, was written.
    writer: Option<Writer>,
    /// It broke off, and the client was told.
    broken: bool,
    stopping: watch::Receiver<bool>,
    _place: Place,
}

impl Pieces {
    /// The next bytes; an error ends the connection without the end of the body.
    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        if self.broken {
            self.broken = false;
            return Some(Err(io::Error::other("the export broke off")));
        }
        let writer = self.writer.take()?;
        if *self.stopping.borrow() {
            return Some(Ok(self.break_off(writer, "the server stops")));
        }
        let block = match self.table.block(PIECE_ROWS).await {
            Ok(block) => block,
            Err(error) => {
                let why = told(&error);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an export broke off"
                );
                return Some(Ok(self.break_off(writer, why)));
            }
        };
        match piece(writer, block) {
            Ok((bytes, writer)) => {
                self.writer = writer;
                Some(Ok(bytes))
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an export could not be written"
                );
                Some(Err(io::Error::other("the export broke off")))
            }
        }
    }

    fn break_off(&mut self, writer: Writer, why: &str) -> Bytes {
        self.broken = true;
        writer.broken(why).into()
    }
}

/// The bytes of a block, and the writer if there is more to come.
fn piece(mut writer: Writer, block: Block) -> Result<(Bytes, Option<Writer>), FormatError> {
    let is_last = block.times.len() < PIECE_ROWS;
    let mut bytes = writer.rows(&block.into())?;
    if is_last {
        bytes.extend(writer.end()?);
        return Ok((bytes.into(), None));
    }
    Ok((bytes.into(), Some(writer)))
}

/// Why an export breaks off, without inner text.
fn told(error: &SeriesError) -> &'static str {
    match error {
        SeriesError::Ended(_) => "the access that it was begun with has ended",
        SeriesError::NoElement
        | SeriesError::NoDevice
        | SeriesError::Projects(_)
        | SeriesError::Pki(_)
        | SeriesError::Clock(_)
        | SeriesError::Store(_) => "the measurement store failed; ask again",
    }
}
