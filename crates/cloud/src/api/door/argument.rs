//! What handlers read from a request besides their key, each with its limit and its place in the document.
//!
//! Owns the cap on bodies, the strictness of JSON and query parameters (an unknown name is a fault, never ignored) and
//! the sentence that a client gets about each. An id in the path that is no id is simply not found.

use std::future::Future;
use std::time::Duration;

use axum::extract::Query as AxumQuery;
use bytes::Bytes;
use fieldkeep_protocol::{ElementId, LocationId, Timestamp};
use http::header;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{Incoming, Sketch};
use crate::api::App;
use crate::api::id::{Id, Named, Time};
use crate::api::page;
use crate::api::problem::{Code, Faults, Problem};
use crate::pki::{Peer, network};

/// The largest body that this front door reads.
pub const BODY_MAX: usize = 64 * 1024;
/// How long a body may take to arrive: nobody, signed in or not, holds memory by sending slowly.
const BODY_TIME: Duration = Duration::from_secs(15);

/// Something that a handler reads after its key is proven.
pub trait Argument: Sized + Send + 'static {
    /// Reads it.
    fn take(
        app: &App,
        incoming: &mut Incoming,
    ) -> impl Future<Output = Result<Self, Problem>> + Send;

    /// Its place in the document.
    fn sketch(_sketch: &mut Sketch) {}
}

impl Argument for App {
    async fn take(app: &App, _incoming: &mut Incoming) -> Result<Self, Problem> {
        Ok(app.clone())
    }
}

/// The headers of the request.
pub struct Headers(pub http::HeaderMap);

impl Argument for Headers {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        Ok(Self(incoming.head.parts.headers.clone()))
    }
}

/// Where a request comes from, as far as the listener knows; only for counting attempts. An IPv6 host owns a whole /64,
/// so its addresses count as one.
pub struct Source(pub String);

impl Argument for Source {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        let peer = incoming.head.parts.extensions.get::<Peer>();
        Ok(Self(peer.map_or_else(
            || "unknown".to_owned(),
            |peer| network(peer.address.ip()).to_string(),
        )))
    }
}

/// An id in the path, under the name of its kind.
pub struct At<T>(pub T);

impl<T: Named> Argument for At<T> {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        incoming
            .head
            .parameter(T::PARAMETER)
            .and_then(|text| text.parse().ok())
            .map(Self)
            .ok_or(Problem::new(Code::NotFound))
    }

    fn sketch(sketch: &mut Sketch) {
        sketch_id::<T>(sketch);
    }
}

/// The number of a proposal in the path.
pub struct AtProposal(pub i64);

impl AtProposal {
    const PARAMETER: &'static str = "proposal";
}

impl Argument for AtProposal {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        incoming
            .head
            .parameter(Self::PARAMETER)
            .and_then(|text| text.parse().ok())
            .map(Self)
            .ok_or(Problem::new(Code::NotFound))
    }

    fn sketch(sketch: &mut Sketch) {
        sketch.parameters.push(
            ParameterBuilder::new()
                .name(Self::PARAMETER)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
                .build(),
        );
    }
}

/// The rest of the path, for pages that route themselves. Empty where the row has none.
pub struct Rest(pub String);

impl Argument for Rest {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        Ok(Self(
            incoming
                .head
                .parameter("rest")
                .unwrap_or_default()
                .to_owned(),
        ))
    }
}

pub(super) fn sketch_id<T: Named>(sketch: &mut Sketch) {
    sketch
        .schemas
        .push((T::SCHEMA.to_owned(), Id::<T>::schema()));
    sketch.parameters.push(
        ParameterBuilder::new()
            .name(T::PARAMETER)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(RefOr::<Schema>::Ref(Ref::from_schema_name(T::SCHEMA))))
            .build(),
    );
}

/// The body as it came, up to the limit.
pub(super) async fn collected(incoming: &mut Incoming) -> Result<Bytes, Problem> {
    let body = std::mem::take(&mut incoming.body);
    let arriving = Limited::new(body, BODY_MAX).collect();
    match tokio::time::timeout(BODY_TIME, arriving).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Code::TooLarge).detail(format!("a body has at most {BODY_MAX} bytes")))
        }
        Ok(Err(_)) => Err(Problem::new(Code::Malformed).detail("the body broke off")),
        Err(_) => {
            let detail = format!("the body took more than {} s", BODY_TIME.as_secs());
            Err(Problem::new(Code::Malformed).detail(detail))
        }
    }
}

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + ToSchema + Send + 'static> Argument for Body<T> {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        let json = incoming
            .head
            .parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"));
        if !json {
            return Err(Problem::new(Code::UnsupportedMediaType));
        }
        let bytes = collected(incoming).await?;
        parse(&bytes).map(Self)
    }

    fn sketch(sketch: &mut Sketch) {
        sketch.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut sketch.schemas);
        sketch.body = Some(
            RequestBodyBuilder::new()
                .required(Some(Required::True))
                .content(
                    "application/json",
                    ContentBuilder::new()
                        .schema(Some(Ref::from_schema_name(T::name())))
                        .build(),
                )
                .build(),
        );
    }
}

/// The whole body, capped in size and time.
pub(super) async fn collect(body: axum::body::Body) -> Result<Bytes, Problem> {
    let arriving = Limited::new(body, BODY_MAX).collect();
    match tokio::time::timeout(BODY_TIME, arriving).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Code::TooLarge).detail(format!("a body has at most {BODY_MAX} bytes")))
        }
        Ok(Err(_)) => Err(Problem::new(Code::Malformed).detail("the body broke off")),
        Err(_) => {
            let detail = format!("the body took more than {} s", BODY_TIME.as_secs());
            Err(Problem::new(Code::Malformed).detail(detail))
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Without this an array would be read as the fields in their order, past all names.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first
        .is_some_and(|byte| matches!(byte, b'[' | b'"' | b'0'..=b'9' | b'-' | b't' | b'f' | b'n'))
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
    {
        return Err(Problem::field(
            "body",
            "is not an object: {\"name\": value, …}",
        ));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if !inner.is_data() {
            return not_json(&inner);
        }
        let text = inner.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        let (field, reason) = blame(path.trim_matches('.'), text);
        Problem::field(field, reason)
    })?;
    reader.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(Code::Malformed).detail(format!(
        "the body is not JSON: line {}, column {}",
        error.line(),
        error.column()
    ))
}

/// Which field, and why. Missing and unknown fields are blamed on themselves, not on what they are in.
fn blame(path: &str, text: &str) -> (String, String) {
    let within = |name: &str| match path {
        "" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{path}.{name}"),
    };
    let named = |prefix: &str| text.strip_prefix(prefix)?.split('`').next();
    if let Some(name) = named("missing field `") {
        (within(name), "is missing".to_owned())
    } else if let Some(name) = named("unknown field `") {
        let known = text.split_once(", ").map_or("", |(_, known)| known);
        let reason = match known {
            "" => "is unknown here".to_owned(),
            known => format!("is unknown here: {known}"),
        };
        (within(name), reason)
    } else if path.is_empty() {
        ("body".to_owned(), text.to_owned())
    } else {
        (path.to_owned(), text.to_owned())
    }
}

/// For fields that may be absent (keep), null (clear) or set: `#[serde(default, deserialize_with = "nullable")]`.
#[expect(
    clippy::option_option,
    reason = "absent and null are two answers of a client"
)]
pub(in crate::api) fn nullable<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// For fields that may be absent but not null: `#[serde(default, deserialize_with = "present")]`.
pub(in crate::api) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// One query parameter of a row.
#[derive(Clone, Copy, Debug)]
pub struct QueryParam {
    /// Its name.
    pub name: &'static str,
    /// Must it be there?
    pub required: bool,
    /// What it holds.
    pub holds: Holds,
    /// What it does, in a sentence.
    pub says: &'static str,
}

/// What a query parameter holds.
#[derive(Clone, Copy, Debug)]
pub enum Holds {
    /// A cursor.
    Text,
    /// A whole number in a range.
    Number(usize, usize),
    /// An RFC 3339 time.
    Time,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Element ids, separated by commas.
    Elements(usize),
    /// A location's id.
    Location,
}

/// The query parameters of a row, as a type that cannot be wrong.
pub trait Params: Sized + Send + 'static {
    /// All that may be given.
    const ALL: &'static [QueryParam];

    /// Reads them; `None` only after a fault was told.
    fn read(given: &Given, faults: &mut Faults) -> Option<Self>;
}

/// What was given after the question mark, each name once and known.
pub struct Given(Vec<(String, String)>);

impl Given {
    /// The text under a name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A time, where given.
    pub fn time(&self, name: &str, faults: &mut Faults) -> Option<Timestamp> {
        match self.text(name)?.parse::<Time>() {
            Ok(time) => Some(time.0),
            Err(error) => {
                faults.add(name, error.to_string());
                None
            }
        }
    }

    /// A cursor, where given; an empty one stands for the beginning.
    pub fn cursor<T: DeserializeOwned>(&self, faults: &mut Faults) -> Option<T> {
        let text = self.text("cursor").filter(|text| !text.is_empty())?;
        let position = page::decode(text);
        if position.is_none() {
            faults.add("cursor", "is not a cursor of this list");
        }
        position
    }

    /// One of some words, where given.
    pub fn word<'a>(&'a self, name: &str, words: &[&str], faults: &mut Faults) -> Option<&'a str> {
        let word = self.text(name)?;
        if words.contains(&word) {
            Some(word)
        } else {
            faults.add(name, format!("is none of: {}", words.join(", ")));
            None
        }
    }

    /// A number in a range, where given.
    pub fn number(
        &self,
        name: &str,
        least: usize,
        most: usize,
        faults: &mut Faults,
    ) -> Option<usize> {
        match self.text(name)?.parse() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                faults.add(name, format!("is not a number from {least} to {most}"));
                None
            }
        }
    }

    /// An id, where given.
    pub fn id<T: Named>(&self, name: &str, faults: &mut Faults) -> Option<T> {
        let id = self.text(name)?.parse().ok();
        if id.is_none() {
            faults.add(name, format!("is not an id of the form {}_…", T::PREFIX));
        }
        id
    }

    /// Ids separated by commas, each once.
    pub fn ids<T: Named + PartialEq>(
        &self,
        name: &str,
        most: usize,
        faults: &mut Faults,
    ) -> Option<Vec<T>> {
        let mut ids = Vec::new();
        for word in self.text(name)?.split(',') {
            match word.parse() {
                Ok(id) if ids.contains(&id) => {
                    faults.add(name, format!("names {id} twice"));
                    return None;
                }
                Ok(id) => ids.push(id),
                Err(_) => {
                    faults.add(
                        name,
                        format!("is not a list of ids {}_… with commas", T::PREFIX),
                    );
                    return None;
                }
            }
        }
        if ids.len() > most {
            faults.add(name, format!("names more than {most}"));
            return None;
        }
        Some(ids)
    }
}

/// Query parameters.
pub struct Query<T>(pub T);

impl<T: Params> Argument for Query<T> {
    async fn take(_app: &App, incoming: &mut Incoming) -> Result<Self, Problem> {
        let AxumQuery(pairs) =
            AxumQuery::<Vec<(String, String)>>::try_from_uri(&incoming.head.parts.uri)
                .map_err(|_| Problem::new(Code::Malformed).detail("the query cannot be read"))?;
        let mut faults = Faults::default();
        for (at, (name, _)) in pairs.iter().enumerate() {
            if !T::ALL.iter().any(|known| known.name == name) {
                faults.add(name, "is unknown here");
            } else if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                faults.add(name, "is given twice");
            }
        }
        for wanted in T::ALL.iter().filter(|wanted| wanted.required) {
            if !pairs.iter().any(|(name, _)| name == wanted.name) {
                faults.add(wanted.name, "is missing");
            }
        }
        let params = T::read(&Given(pairs), &mut faults);
        faults.check()?;
        params
            .map(Self)
            .ok_or_else(|| Problem::new(Code::Malformed).detail("the query cannot be read"))
    }

    fn sketch(sketch: &mut Sketch) {
        for param in T::ALL {
            let list = matches!(param.holds, Holds::Elements(_));
            let mut parameter = ParameterBuilder::new()
                .name(param.name)
                .parameter_in(ParameterIn::Query)
                .required(if param.required {
                    Required::True
                } else {
                    Required::False
                })
                .description(Some(param.says))
                .schema(Some(schema_of(param.holds)));
            if list {
                parameter = parameter
                    .style(Some(utoipa::openapi::path::ParameterStyle::Form))
                    .explode(Some(false));
            }
            sketch.parameters.push(parameter.build());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "limits are small numbers")]
fn schema_of(holds: Holds) -> RefOr<Schema> {
    match holds {
        Holds::Text => ObjectBuilder::new().schema_type(Type::String).into(),
        Holds::Number(least, most) => ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(least as f64))
            .maximum(Some(most as f64))
            .into(),
        Holds::Time => ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into(),
        Holds::Word(words) => ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(words.iter().copied()))
            .into(),
        Holds::Location => Id::<LocationId>::schema(),
        Holds::Elements(most) => ArrayBuilder::new()
            .items(Id::<ElementId>::schema())
            .min_items(Some(1))
            .max_items(Some(most))
            .unique_items(true)
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only read by serde")]
        name: String,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only read by serde")]
        digits: u8,
    }

    fn wrong(json: &str) -> String {
        format!("{:?}", parse::<Outer>(json.as_bytes()).unwrap_err())
    }

    #[test]
    fn a_fault_names_its_field() {
        assert!(wrong("{}").contains("field: \"name\", reason: \"is missing\""));
        assert!(wrong("{\"name\":\"a\",\"nme\":1}").contains("field: \"nme\""));
        assert!(wrong("{\"name\":1}").contains("field: \"name\""));
        assert!(
            wrong("{\"name\":\"a\",\"inner\":{\"digits\":900}}")
                .contains("field: \"inner.digits\"")
        );
        assert!(wrong("{\"name\":\"a\",\"inner\":{}}").contains("field: \"inner.digits\""));
        assert!(parse::<Outer>(b"{\"name\":\"a\"}").unwrap().inner.is_none());
    }

    #[test]
    fn fields_are_given_by_name() {
        for text in ["[\"a\",null]", " [\"a\"]", "null", "7", "\"a\""] {
            assert!(wrong(text).contains("field: \"body\""), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_says_where() {
        for text in ["", "{", "{\"name\":\"a\"} x", "name=a"] {
            let problem = parse::<Outer>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), Code::Malformed, "{text}");
        }
    }
}
