//! The door: how a route comes to be, and what it asks of whoever knocks.
//!
//! Owns the rows of the route table. A row is accepted only if its handler's first argument is a key, so a handler that
//! forgot to ask who is there does not compile. What a row needs is read off that type and told once: it feeds the
//! guard, the OpenAPI document and the access matrix. The key is taken before the body is read, and before anything
//! that is not in the table is told apart from what is.
//!
//! ```compile_fail
//! use fieldkeep_cloud::api::{Problem, door::{Empty, door}};
//! async fn forgot() -> Result<Empty, Problem> { Ok(Empty) }
//! let row = door(http::Method::GET, "/api/v1/forgot", forgot, "A handler without a key");
//! ```
//! ```compile_fail
//! use fieldkeep_cloud::api::{App, Problem, door::{Empty, door}};
//! async fn state_is_no_key(_: App) -> Result<Empty, Problem> { Ok(Empty) }
//! let row = door(http::Method::GET, "/api/v1/forgot", state_is_no_key, "A handler without a key");
//! ```
//! ```
//! use fieldkeep_cloud::api::{App, Problem, door::{Empty, door}};
//! async fn asks(_: fieldkeep_cloud::access::SignedIn, _: App) -> Result<Empty, Problem> { Ok(Empty) }
//! let row = door(http::Method::GET, "/api/v1/asks", asks, "A handler with a key");
//! ```

mod answer;
mod argument;
mod conditional;
mod credential;
mod form;
mod key;
mod repeat;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::RequestExt as _;
use axum::extract::{RawPathParams, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::{HeaderValue, Method, StatusCode, header};
use utoipa::openapi::RefOr;
use utoipa::openapi::Schema;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::request_body::RequestBody;

pub(super) use answer::json_parts;
pub use answer::{Answer, Created, Either, Empty, Forms, Json, Raw, RawKind, SetCookie};
pub use argument::{
    Argument, At, AtProposal, BODY_MAX, Body, Given, Headers, Holds, Params, Query, QueryParam,
    Rest, Source,
};
pub(super) use argument::{nullable, present};
pub(super) use conditional::IF_MATCH_SAYS;
pub(super) use credential::{clear_cookie, session_cookie};
pub use form::{Fields, Form, FormKind, Pairs, Texts};
pub(super) use key::denied;
pub use key::{Key, LegacySession, Needs};
pub(super) use repeat::{KEY_PATTERN, REPEAT_KEY, Running};

use super::App;
use super::notice::Notice;
use super::problem::{Code, Pending, Problem};

/// The part of a request that a key is taken from; the body is out of reach.
pub struct Head {
    pub(super) parts: http::request::Parts,
    pub(super) path: Vec<(String, String)>,
}

/// A request in the hands of the door.
pub struct Incoming {
    pub(super) head: Head,
    pub(super) body: axum::body::Body,
}

impl Head {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.path
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Incoming {
    /// A part of the path by its name.
    pub(super) fn segment(&self, name: &str) -> Option<&str> {
        self.head.parameter(name)
    }
}

/// What a handler's types tell of its operation.
#[derive(Default)]
pub struct Sketch {
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<RequestBody>,
    pub(super) success: Vec<(String, utoipa::openapi::Response)>,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

type Served = Pin<Box<dyn Future<Output = Response> + Send>>;
type Admitted<'r> = Pin<Box<dyn Future<Output = Result<(), Problem>> + Send + 'r>>;

/// One route: the only way into this front door.
#[derive(Clone)]
pub struct Row {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) needs: Needs,
    pub(super) fresh: bool,
    pub(super) summary: &'static str,
    pub(super) operation: String,
    pub(super) documented: bool,
    /// Whether it changes nothing although it is no GET.
    pub(super) reads: bool,
    pub(super) sketch: fn(&mut Sketch),
    /// Whether it answers with what it made.
    pub(super) creates: bool,
    /// Whether its answer holds what is told once.
    secret: bool,
    /// Fields of its answer that change without anybody changing them.
    moving: &'static [&'static str],
    admit: for<'r> fn(&'r App, &'r Head) -> Admitted<'r>,
    serve: Arc<dyn Fn(App, Incoming) -> Served + Send + Sync>,
}

fn admit<'r, K: Key>(app: &'r App, head: &'r Head) -> Admitted<'r> {
    Box::pin(async move { K::take(app, head).await.map(drop) })
}

/// An operation of the API.
pub fn door<H, K, A>(method: Method, path: &'static str, handler: H, summary: &'static str) -> Row
where
    H: Handler<K, A>,
    K: Key,
{
    Row {
        method,
        path,
        needs: K::NEEDS,
        fresh: K::FRESH,
        summary,
        operation: operation_id(std::any::type_name::<H>()),
        documented: true,
        reads: false,
        sketch: H::sketch,
        creates: H::CREATES,
        secret: false,
        moving: &[],
        admit: admit::<K>,
        serve: Arc::new(move |app, incoming| {
            let handler = handler.clone();
            Box::pin(async move { handler.serve(app, incoming).await })
        }),
    }
}

/// A page for browsers: a row like any other, but no part of the API's document.
pub fn page<H, K, A>(path: &'static str, handler: H, summary: &'static str) -> Row
where
    H: Handler<K, A>,
    K: Key,
{
    Row {
        documented: false,
        ..door(Method::GET, path, handler, summary)
    }
}

/// A route of somebody else's API, kept for its clients: no part of our API's document, and its refusals are in the words
/// of `refuse`.
pub(super) fn foreign<H, K, A>(
    method: Method,
    path: &'static str,
    handler: H,
    summary: &'static str,
    refuse: fn(&Problem) -> Response,
) -> Row
where
    H: Handler<K, A>,
    K: Key,
{
    let row = door(method, path, handler, summary);
    let serve = Arc::clone(&row.serve);
    Row {
        documented: false,
        serve: Arc::new(move |app, incoming| {
            let served = serve(app, incoming);
            Box::pin(async move {
                let mut response = served.await;
                match response.extensions_mut().remove::<Pending>() {
                    Some(Pending(problem)) => {
                        let mut refusal = refuse(&problem);
                        refusal.extensions_mut().insert(problem.code());
                        refusal
                    }
                    None => response,
                }
            })
        }),
        ..row
    }
}

impl Row {
    /// `GET /api/v1/me`, as the golden text names it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// A row that changes nothing although it is no GET: what it reads by is too secret for an address, or it only gives
    /// out a challenge.
    #[must_use]
    pub(super) fn reading(mut self) -> Self {
        self.reads = true;
        self
    }

    /// Says that the answer holds a secret that is told once, so that nothing keeps it.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Names the fields of the answer that change without anybody changing them: `If-Match` does not look at them.
    #[must_use]
    pub const fn moving(mut self, fields: &'static [&'static str]) -> Self {
        self.moving = fields;
        self
    }

    /// What it asks of whoever knocks.
    #[must_use]
    pub const fn needs(&self) -> Needs {
        self.needs
    }

    /// The same in words, and whether it must be fresh.
    #[must_use]
    pub fn asks(&self) -> String {
        let words = self.needs.words();
        if self.fresh {
            format!("{words}, fresh")
        } else {
            words.to_owned()
        }
    }
}

/// Mounts a table: the rows of one path share its entrance.
pub(super) fn mount(table: Vec<Row>) -> axum::Router<App> {
    let mut paths: BTreeMap<&'static str, Vec<Row>> = BTreeMap::new();
    for row in table {
        paths.entry(row.path).or_default().push(row);
    }
    let mut router = axum::Router::new();
    for (path, rows) in paths {
        let rows: Arc<[Row]> = rows.into();
        let entrance =
            any(move |State(app): State<App>, request: Request| enter(app, request, rows));
        router = router.route(path, entrance);
    }
    router.fallback(unknown)
}

async fn enter(app: App, mut request: Request, rows: Arc<[Row]>) -> Response {
    let path: Vec<(String, String)> = match request.extract_parts::<RawPathParams>().await {
        Ok(params) => params
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        // A path that is not UTF-8 after decoding names nothing; the guard still asks for a credential.
        Err(_) => return unknown(State(app), request).await,
    };
    // HEAD is GET whose body the server leaves out.
    let method = match request.method() {
        &Method::HEAD => &Method::GET,
        other => other,
    };
    let Some(row) = rows.iter().find(|row| row.method == method) else {
        return wrong_method(&app, request, &rows).await;
    };
    let (parts, body) = request.into_parts();
    let notice = Notice::of(&parts.extensions);
    notice.route(row.name(), &path);
    if row.reads {
        notice.reading();
    }
    let head = Head { parts, path };
    let incoming = Incoming { head, body };
    if row.method == Method::GET {
        conditional::read(app, row, incoming).await
    } else if row.creates && incoming.head.parts.headers.contains_key(REPEAT_KEY) {
        repeat::once(app, row, incoming).await
    } else {
        conditional::change(app, &rows, row, incoming).await
    }
}

/// Answers what is in no row: 401 without a good credential, 404 with one.
async fn unknown(State(app): State<App>, request: Request) -> Response {
    refuse(&app, request, Code::NotFound).await
}

/// Answers a method that a path does not have: 401 without a good credential; 405 with one, and which it has.
async fn wrong_method(app: &App, request: Request, rows: &[Row]) -> Response {
    let mut response = refuse(app, request, Code::MethodNotAllowed).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let methods: Vec<&str> = rows.iter().map(|row| row.method.as_str()).collect();
        // Methods of the table are plain words.
        if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    response
}

async fn refuse(app: &App, request: Request, code: Code) -> Response {
    let (parts, _) = request.into_parts();
    // Who is still on the way in learns what is left to do, and nothing of the table.
    match credential::signed_in(app, &parts).await {
        Ok(_) => Problem::new(code).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// A function whose first argument is a key and whose others can be read from a request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a route: its first argument must be a key (`Session<L>`, `SignedIn`, \
               `OperatorSession` or `Nobody`), the others arguments of the door, its result `Result<impl Answer, Problem>`"
)]
pub trait Handler<K, A>: Clone + Send + Sync + 'static {
    /// Whether it answers with what it made.
    const CREATES: bool;

    /// Takes the key, reads the arguments in order, runs.
    fn serve(self, app: App, incoming: Incoming) -> impl Future<Output = Response> + Send;

    /// What its types tell of the operation.
    fn sketch(sketch: &mut Sketch);
}

macro_rules! handler {
    ($($name:ident: $argument:ident),*) => {
        impl<F, Fut, R, K, $($argument,)*> Handler<K, ($($argument,)*)> for F
        where
            F: Fn(K, $($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Result<R, Problem>> + Send,
            R: Answer,
            K: Key,
            $($argument: Argument,)*
        {
            const CREATES: bool = R::CREATES;

            #[allow(clippy::allow_attributes, unused_mut, reason = "without arguments nothing is taken out")]
            async fn serve(self, app: App, mut incoming: Incoming) -> Response {
                let key = match K::take(&app, &incoming.head).await {
                    Ok(key) => key,
                    Err(problem) => return problem.into_response(),
                };
                $(
                    let $name = match $argument::take(&app, &mut incoming).await {
                        Ok(argument) => argument,
                        Err(problem) => return problem.into_response(),
                    };
                )*
                match self(key, $($name),*).await {
                    Ok(answer) => answer.respond(),
                    Err(problem) => problem.into_response(),
                }
            }

            fn sketch(sketch: &mut Sketch) {
                K::sketch(sketch);
                $($argument::sketch(sketch);)*
                R::sketch(sketch);
            }
        }
    };
}

handler!();
handler!(first: A1);
handler!(first: A1, second: A2);
handler!(first: A1, second: A2, third: A3);
handler!(first: A1, second: A2, third: A3, fourth: A4);

/// `…::routes::projects::list` → `projects_list`. The document is committed, so a change of it is seen.
fn operation_id(handler: &str) -> String {
    let mut words = handler.rsplit("::");
    let verb = words.next().unwrap_or_default();
    let noun = words.next().unwrap_or_default();
    format!("{noun}_{verb}")
}
