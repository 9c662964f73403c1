//! What every answer carries: a request id and the headers that hold a browser back.
//!
//! Owns the outermost layer of the front door. Promises that each answer, refusals by the framework included, has them
//! all, and that a problem on its way out gets the request's id. Logs one line a request, without addresses, query or
//! bodies.

use std::sync::{Arc, OnceLock};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tracing::Instrument as _;

use super::notice::Notice;
use super::problem::{Code, Pending, Problem};
use crate::access::Allowance;
use crate::pki::Peer;
use crate::trail::{Origin, Trail};

/// Where clients find the request id.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers carry data, never anything a browser may run.
const API_POLICY: &str =
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The web app's: chart and map set element styles, the map runs a worker from a blob.
pub(super) const APP_POLICY: &str = "default-src 'self'; style-src-attr 'unsafe-inline'; worker-src 'self' blob:; \
     img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The id of one request: random, so that it tells nothing and collides never.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) String);

impl RequestId {
    fn new() -> Self {
        let mut bytes = [0; 12];
        // Without randomness the id is worth less, but the request is not to blame.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        Self(format!(
            "req_{}",
            base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, bytes)
        ))
    }
}

/// What is left of the caller's quota, told by the door to this layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(Arc<OnceLock<Allowance>>);

impl Tally {
    pub(super) fn note(&self, allowance: Allowance) {
        // The first question of a request counts; there is only one.
        let _ = self.0.set(allowance);
    }

    /// `RateLimit-Policy` and `RateLimit`, after the IETF's draft.
    fn dress(&self, headers: &mut HeaderMap) {
        let Some(allowance) = self.0.get() else {
            return;
        };
        let policy = format!("\"key\";q={};w={}", allowance.quota, allowance.window_s);
        let limit = format!("\"key\";r={};t={}", allowance.left, allowance.whole_in_s);
        for (name, text) in [("ratelimit-policy", policy), ("ratelimit", limit)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// The outermost layer.
pub(super) async fn outermost(
    State(trail): State<Trail>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::new();
    let method = request.method().clone();
    let tally = Tally::default();
    let address = request
        .extensions()
        .get::<Peer>()
        .map(|peer| peer.address.ip());
    let origin = Origin::new(address, Some(id.0.clone()));
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(tally.clone());
    let notice = Notice::new(origin);
    request.extensions_mut().insert(notice.clone());
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let span = tracing::info_span!("request", request.id = %id.0);
    let (mut response, id) = async {
        let response = next.run(request).await;
        let (response, code) = fill_in(response, &id);
        notice.ended(&trail, &method, response.status(), code);
        tracing::info!(%method, path, status = response.status().as_u16(), "answered");
        (response, id)
    }
    .instrument(span)
    .await;
    dress(response.headers_mut(), &id);
    tally.dress(response.headers_mut());
    response
}

/// Gives problems their body, and turns refusals that came from the framework into problems.
fn fill_in(mut response: Response, id: &RequestId) -> (Response, Option<Code>) {
    if let Some(Pending(problem)) = response.extensions_mut().remove::<Pending>() {
        let given = std::mem::take(response.headers_mut());
        let code = problem.code();
        let mut filled = problem.respond(&id.0);
        for (name, value) in &given {
            filled.headers_mut().insert(name, value.clone());
        }
        return (filled, Some(code));
    }
    let status = response.status();
    let framework = (status.is_client_error() || status.is_server_error())
        && !response.headers().contains_key(header::CONTENT_TYPE);
    if framework {
        let code = match status {
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::NOT_FOUND => Code::NotFound,
            status if status.is_server_error() => Code::Internal,
            _ => Code::Malformed,
        };
        return (Problem::new(code).respond(&id.0), Some(code));
    }
    // A refusal in the words of another API.
    let code = response.extensions_mut().remove::<Code>();
    (response, code)
}

fn dress(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    // Handlers of assets choose their own policy and caching; everything else gets the strictest.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(API_POLICY));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in [
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("permissions-policy"),
            "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
             magnetometer=(), microphone=(), midi=(), payment=(), usb=()",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
