//! The web app's pages and files, and the API's own document.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use crate::access::{Nobody, SignedIn};
use crate::api::door::{Headers, Raw, RawKind, Rest};
use crate::api::problem::Problem;
use crate::api::{openapi, web};

/// A page, script, style or font.
pub(super) struct Page;

impl RawKind for Page {
    const MEDIA_TYPE: &'static str = "text/html";
    const SAYS: &'static str = "The web app.";
}

/// The API's document.
pub(super) struct Document;

impl RawKind for Document {
    const MEDIA_TYPE: &'static str = "application/json";
    const SAYS: &'static str = "This document.";
}

/// Everything under `/app/`.
pub(super) async fn files(
    _: Nobody,
    Rest(path): Rest,
    Headers(headers): Headers,
) -> Result<Raw<Page>, Problem> {
    web::serve(&path, &headers).map(Raw::new)
}

/// The bare address leads to the web app.
pub(super) async fn redirect(_: Nobody) -> Result<Raw<Page>, Problem> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static("/app/"));
    Ok(Raw::new(response))
}

/// The OpenAPI document.
pub(super) async fn document(_: SignedIn) -> Result<Raw<Document>, Problem> {
    let mut response = Response::new(Body::from(openapi::document()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(Raw::new(response))
}
