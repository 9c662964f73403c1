//! The OpenAPI document, read off the route table.
//!
//! Owns how a row becomes an operation: its key gives the security and the refusals, its arguments the parameters and
//! the body, its result the answer. Nothing is told twice, so nothing can drift. The text is committed as
//! `docs/openapi.json`; `UPDATE_OPENAPI=1 cargo test -p fieldkeep-cloud openapi` writes it.

use std::collections::BTreeMap;

use utoipa::ToSchema as _;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathsBuilder,
};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, PathItem,
    Ref, RefOr, Required, Response, ResponseBuilder, ResponsesBuilder, Schema, tag::TagBuilder,
};

use super::door::{IF_MATCH_SAYS, KEY_PATTERN, Needs, Row, Sketch};
use super::problem::{self, Wire};
use super::routes;

const SESSION: &str = "session";
const API_KEY: &str = "api_key";

/// What the document says of the whole.
const DESCRIPTION: &str = "Measurements, devices and people of one Fieldkeep instance. Times are RFC 3339 in UTC, \
     columns of times are microseconds since 1970. Every refusal is a problem (RFC 9457) with a code from a closed \
     list; docs/api.md explains each.";

/// The document as text: what is served, and what is committed.
#[must_use]
pub fn document() -> String {
    let mut text = build(&routes::table())
        .to_pretty_json()
        .expect("a document of strings and numbers always serializes");
    text.push('\n');
    text
}

fn build(rows: &[Row]) -> OpenApi {
    let mut schemas: BTreeMap<String, RefOr<Schema>> = BTreeMap::new();
    let mut collected = Vec::new();
    Wire::schemas(&mut collected);
    collected.push((
        Wire::name().into_owned(),
        <Wire as utoipa::PartialSchema>::schema(),
    ));
    let mut paths = PathsBuilder::new();
    for row in rows.iter().filter(|row| row.documented) {
        let mut sketch = Sketch::default();
        (row.sketch)(&mut sketch);
        collected.append(&mut sketch.schemas);
        let is_read = rows
            .iter()
            .any(|other| other.path == row.path && other.method == http::Method::GET);
        let operation = operation(row, sketch, is_read);
        paths = paths.path(row.path, PathItem::new(method(row), operation));
    }
    schemas.extend(collected);
    let mut components = ComponentsBuilder::new()
        .response("Problem", refusal())
        .security_scheme(
            SESSION,
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                "__Host-fk-instance",
                "The session of a person, set by signing in; the name ends in the instance's short id. Writes also \
                 need the header X-Fieldkeep: 1.",
            ))),
        )
        .security_scheme(
            API_KEY,
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some(
                        "An API key of one project (fk_…), or a token from /oauth/token (fkt_…, fkp_…).",
                    ))
                    .build(),
            ),
        );
    for (name, schema) in schemas {
        components = components.schema(name, schema);
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Fieldkeep")
                .version("1")
                .description(Some(DESCRIPTION))
                .license(Some({
                    let mut license = License::new("Apache-2.0");
                    license.identifier = Some("Apache-2.0".to_owned());
                    license
                }))
                .build(),
        )
        .paths(paths.build())
        .components(Some(components.build()))
        .tags(Some(tags(rows)))
        .build()
}

fn tags(rows: &[Row]) -> Vec<utoipa::openapi::Tag> {
    let mut names: Vec<&str> = rows
        .iter()
        .filter(|row| row.documented)
        .map(|row| tag(row.path))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| TagBuilder::new().name(name).build())
        .collect()
}

fn method(row: &Row) -> HttpMethod {
    match row.method.as_str() {
        "POST" => HttpMethod::Post,
        "PATCH" => HttpMethod::Patch,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

/// `/api/v1/projects/{project}/devices/{device}` → `devices`.
fn tag(path: &'static str) -> &'static str {
    if path.starts_with("/oauth/") || path.starts_with("/.well-known/oauth") {
        return "oauth";
    }
    let rest = path.strip_prefix("/api/v1/").unwrap_or("health");
    let inner = rest.strip_prefix("projects/{project}/").unwrap_or(rest);
    inner.split('/').next().unwrap_or(inner)
}

/// What the headers of a request do, and which answers they bring: see `door::conditional` and `door::repeat`.
fn conditions(row: &Row, sketch: &mut Sketch, is_read: bool) -> Vec<&'static str> {
    let tagged = sketch.success.iter_mut().filter(|(status, response)| {
        status == "200" && response.content.contains_key("application/json")
    });
    let changes = row.method != http::Method::GET && row.method != http::Method::POST;
    let mut has_tag = false;
    if row.method == http::Method::GET || (changes && is_read) {
        for (_, response) in tagged {
            has_tag = true;
            let header = HeaderBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .description(Some("Stands for what was answered."))
                .build();
            response.headers.insert("ETag".to_owned(), header.into());
        }
    }
    let (name, pattern, says, statuses) = if row.method == http::Method::GET && has_tag {
        let says = "The ETag of what you have: answered with 304 where it is still so.";
        ("If-None-Match", None, says, vec!["304"])
    } else if changes && is_read {
        ("If-Match", None, IF_MATCH_SAYS, vec!["412"])
    } else if row.creates && row.needs != Needs::Nobody {
        let says = "Makes the request safe to repeat for 24 hours: the same key and request are answered as before.";
        (
            "Idempotency-Key",
            Some(KEY_PATTERN),
            says,
            vec!["409", "422"],
        )
    } else {
        return Vec::new();
    };
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(says))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(pattern),
        ));
    sketch.parameters.push(parameter.build());
    statuses
}

fn operation(row: &Row, mut sketch: Sketch, is_read: bool) -> Operation {
    let reads_input = sketch.body.is_some() || !sketch.parameters.is_empty();
    let has_body = sketch.body.is_some();
    let more = conditions(row, &mut sketch, is_read);
    let mut responses = ResponsesBuilder::new();
    // Those that it describes itself.
    let told: Vec<String> = sketch
        .success
        .iter()
        .map(|(status, _)| status.clone())
        .collect();
    for (status, response) in sketch.success {
        responses = responses.response(status, response);
    }
    let mut refusals: Vec<&str> = Vec::new();
    match row.needs {
        Needs::Nobody => {}
        // The routes of legacy tokens are no part of the document.
        Needs::Legacy => {}
        Needs::Arriving => refusals.extend(["401"]),
        Needs::Arrived | Needs::SignedIn | Needs::Operator => refusals.extend(["401", "403"]),
        Needs::Read | Needs::Audit | Needs::Write | Needs::Admin => {
            refusals.extend(["401", "403", "404"]);
        }
    }
    if reads_input {
        refusals.extend(["400", "422"]);
    }
    if has_body {
        refusals.extend(["413", "415"]);
    }
    refusals.extend(more.iter().filter(|status| **status != "304"));
    if more.contains(&"304") {
        let same = ResponseBuilder::new().description("What you have is what you would get.");
        responses = responses.response("304", same.build());
    }
    refusals.sort_unstable();
    refusals.dedup();
    refusals.retain(|status| !told.iter().any(|told| told == status));
    for status in refusals {
        responses = responses.response(status, Ref::from_response_name("Problem"));
    }
    responses = responses.response("default", Ref::from_response_name("Problem"));
    let mut operation = OperationBuilder::new()
        .operation_id(Some(row.operation.clone()))
        .summary(Some(row.summary))
        .description(Some(format!("Needs: {}.", row.asks())))
        .tag(tag(row.path))
        .request_body(sketch.body)
        .responses(responses.build());
    for parameter in sketch.parameters {
        operation = operation.parameter(parameter);
    }
    let none: [&str; 0] = [];
    if row.needs == Needs::Nobody {
        operation.securities(Some(Vec::new())).build()
    } else {
        operation
            .securities(Some([
                SecurityRequirement::new(SESSION, none),
                SecurityRequirement::new(API_KEY, none),
            ]))
            .build()
    }
}

fn refusal() -> Response {
    ResponseBuilder::new()
        .description("A problem (RFC 9457).")
        .content(
            problem::MEDIA_TYPE,
            ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(Wire::name())))
                .build(),
        )
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn committed() -> std::path::PathBuf {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json")
    }

    #[test]
    fn the_committed_document_is_this_one() {
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(committed(), document()).unwrap();
        }
        let text = std::fs::read_to_string(committed()).unwrap_or_default();
        assert!(
            text == document(),
            "docs/openapi.json is old: UPDATE_OPENAPI=1 cargo test -p fieldkeep-cloud openapi"
        );
    }

    #[test]
    fn rows_and_operations_are_the_same_set() {
        let json: serde_json::Value = serde_json::from_str(&document()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, item) in json["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                documented.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let rows: BTreeSet<String> = routes::table()
            .iter()
            .filter(|row| row.documented)
            .map(Row::name)
            .collect();
        assert_eq!(documented, rows);
        for row in routes::table().iter().filter(|row| !row.documented) {
            let page = row.path == "/" || row.path.starts_with("/app");
            let foreign = row.path.starts_with("/compat/");
            assert!(
                page || foreign,
                "{} is no page and must be documented",
                row.name()
            );
        }
    }

    #[test]
    fn names_in_the_document_mean_one_thing() {
        let mut schemas: BTreeMap<String, serde_json::Value> = BTreeMap::new();
        let mut operations = BTreeSet::new();
        for row in routes::table().iter().filter(|row| row.documented) {
            assert!(
                operations.insert(row.operation.clone()),
                "{}",
                row.operation
            );
            let mut sketch = Sketch::default();
            (row.sketch)(&mut sketch);
            for (name, schema) in sketch.schemas {
                let schema = serde_json::to_value(schema).unwrap();
                let earlier = schemas
                    .entry(name.clone())
                    .or_insert_with(|| schema.clone());
                assert_eq!(*earlier, schema, "two schemas are called {name}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = document();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        for reference in text.split("\"$ref\": \"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(json.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
