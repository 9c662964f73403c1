//! The web app inside the binary.
//!
//! Owns how its files are served: pre-compressed where the browser takes it, with an ETag, hashed assets for ever and
//! the page itself always asked for again. Every address under `/app/` that is no file is the page: the app routes
//! itself. Does not build the app (`cargo xtask web` does) and reads nothing from disk.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::headers::APP_POLICY;
use super::problem::{Code, Problem};
use crate::keys::hex;

/// `web/dist` as it was when the binary was built; empty in a debug build without it.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dist;

/// What a debug build without the web app shows.
const STUB: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Fieldkeep</title>\n\
     <h1>The web app is not in this build</h1>\n\
     <p>Build it with <code>cargo xtask web</code>, then build the server again. The API works without it.</p>\n";

/// Where the bundler puts files whose name carries a hash of their content.
const HASHED: &str = "assets/";

/// The file or page at an address under `/app/`.
pub(super) fn serve(path: &str, request: &HeaderMap) -> Result<Response, Problem> {
    let file = Some(path).filter(|path| !path.is_empty() && *path != "index.html");
    let (name, found) = match file.and_then(|path| Dist::get(path).map(|file| (path, file))) {
        Some(found) => found,
        // A hashed file of another version must not turn into a page that the browser then runs as a script.
        None if path.starts_with(HASHED) => return Err(Problem::new(Code::NotFound)),
        None => match Dist::get("index.html") {
            Some(index) => ("index.html", index),
            None => return Ok(page_of_stub()),
        },
    };
    Ok(answer(name, found, request))
}

fn answer(name: &str, plain: EmbeddedFile, request: &HeaderMap) -> Response {
    let (file, encoding) = smallest(name, plain, request);
    let tag = tag(&file);
    let known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|candidate| {
            candidate.trim().trim_start_matches("W/") == tag || candidate.trim() == "*"
        });
    let mut response = if known {
        let mut unchanged = Response::new(Body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        Response::new(Body::from(bytes(file.data)))
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type(name)),
    );
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(if name.starts_with(HASHED) {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        }),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(APP_POLICY),
    );
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// The variant of a file that the browser takes and the build made.
fn smallest(
    name: &str,
    plain: EmbeddedFile,
    request: &HeaderMap,
) -> (EmbeddedFile, Option<&'static str>) {
    for (encoding, suffix) in [("br", ".br"), ("gzip", ".gz")] {
        if accepts(request, encoding)
            && let Some(file) = Dist::get(&format!("{name}{suffix}"))
        {
            return (file, Some(encoding));
        }
    }
    (plain, None)
}

/// Does the browser take this encoding? A weight of zero means no.
fn accepts(request: &HeaderMap, encoding: &str) -> bool {
    request
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|offer| {
            let mut parts = offer.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(encoding));
            let refused = parts
                .filter_map(|part| part.strip_prefix("q="))
                .any(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0));
            named && !refused
        })
}

fn tag(file: &EmbeddedFile) -> String {
    format!("\"{}\"", hex(&file.metadata.sha256_hash()[..16]))
}

fn bytes(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => Bytes::from(data),
    }
}

fn page_of_stub() -> Response {
    let mut response = Response::new(Body::from(STUB));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn encodings_are_read_with_their_weights() {
        assert!(accepts(&offering("gzip, deflate, br"), "br"));
        assert!(accepts(&offering("br;q=0.5"), "br"));
        assert!(!accepts(&offering("br;q=0, gzip"), "br"));
        assert!(!accepts(&offering("gzip"), "br"));
        assert!(!accepts(&HeaderMap::new(), "gzip"));
    }

    #[test]
    fn every_address_of_the_app_is_a_page_but_a_missing_asset_is_not() {
        for path in ["", "sign-in", "projects/prj_x/devices"] {
            let response = serve(path, &HeaderMap::new()).unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(
                response.headers()[header::CONTENT_TYPE],
                "text/html; charset=utf-8"
            );
        }
        assert_eq!(
            serve("assets/none.js", &HeaderMap::new())
                .unwrap_err()
                .code(),
            Code::NotFound
        );
    }
}
