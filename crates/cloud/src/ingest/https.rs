//! The device listener's routes: enrolment with a claim, renewal and exchange with a certificate.
//!
//! A certificate is optional in TLS and demanded by the route. Everything unknown is 401 without a device's
//! certificate and 404 with one. Bodies are bounded before they are read, and every request in time.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Extension, FromRequest as _, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use fieldkeep_protocol::limits;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::Inner;
use super::problem::Problem;
use crate::pki::{EnrolError, Peer, PkiError, Refused};

const BODY_BYTES: usize = 16 * 1_024;
const REQUEST: Duration = Duration::from_secs(15);
/// For a request of a device on a slow radio, and the commit of all that it brings.
const EXCHANGE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Enrol {
    code: String,
    csr: String,
}

#[derive(Serialize)]
struct Enrolled {
    device: String,
    project: String,
    certificate: String,
    ca: String,
    mqtt: String,
    https: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Renew {
    csr: String,
}

#[derive(Serialize)]
struct Renewed {
    certificate: String,
}

pub(super) fn routes(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/device/1/enroll", post(enrol))
        .route("/device/1/renew", post(renew))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn(|request, next| {
            in_time(REQUEST, request, next)
        }))
        .merge(
            Router::new()
                .route("/device/1/exchange", post(exchange))
                .method_not_allowed_fallback(unknown)
                .layer(DefaultBodyLimit::max(limits::EXCHANGE_BYTES))
                .layer(middleware::from_fn(|request, next| {
                    in_time(EXCHANGE, request, next)
                })),
        )
        .with_state(inner)
}

async fn enrol(
    State(inner): State<Arc<Inner>>,
    Extension(peer): Extension<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let asked: Enrol = read(body)?;
    let source = peer.address.ip();
    let enrolled = match inner.pki.enrol(source, &asked.code, &asked.csr).await {
        Ok(enrolled) => enrolled,
        Err(error) => return Err(refused(&inner, &peer, "enrolment refused", error).await),
    };
    let endpoints = match inner.pki.endpoints().await {
        Ok(Some(endpoints)) => endpoints,
        Ok(None) => return Err(failed(&PkiError::NoEndpoint)),
        Err(error) => return Err(failed(&error)),
    };
    let answer = Enrolled {
        device: enrolled.device.to_string(),
        project: enrolled.project.to_string(),
        certificate: enrolled.certificate,
        ca: inner.pki.server_root_pem(),
        mqtt: endpoints.mqtt,
        https: endpoints.device,
    };
    Ok((StatusCode::CREATED, unstored(Json(answer))).into_response())
}

async fn renew(
    State(inner): State<Arc<Inner>>,
    Extension(peer): Extension<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    if peer.chain.is_empty() {
        let refusal = EnrolError::Refused(Refused::NoCertificate);
        return Err(refused(&inner, &peer, "renewal refused", refusal).await);
    }
    let asked: Renew = read(body)?;
    match inner.pki.renew(&peer, &asked.csr).await {
        Ok(certificate) => Ok(unstored(Json(Renewed { certificate }))),
        Err(error) => Err(refused(&inner, &peer, "renewal refused", error).await),
    }
}

/// Who it is comes first; a body of a stranger is not read.
async fn exchange(
    State(inner): State<Arc<Inner>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let session = match inner.pki.authenticate(&peer).await {
        Ok(session) => session,
        Err(refusal) => {
            inner.turned_away(&peer, &refusal).await;
            return Err(unauthenticated(&refusal));
        }
    };
    let body = Bytes::from_request(request, &()).await;
    super::exchange::exchange(&inner, &session, body).await
}

async fn unknown(State(inner): State<Arc<Inner>>, Extension(peer): Extension<Peer>) -> Problem {
    match inner.pki.authenticate(&peer).await {
        Ok(_) => Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing here",
            "This listener enrols devices, renews their certificates and takes their exchanges.",
        ),
        Err(refusal) => {
            if !peer.chain.is_empty() {
                inner.turned_away(&peer, &refusal).await;
            }
            unauthenticated(&refusal)
        }
    }
}

async fn in_time(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "The request took too long",
            format!("Send the whole request within {} seconds.", limit.as_secs()),
        )
        .into_response(),
    }
}

fn read<T: for<'a> Deserialize<'a>>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|rejection| {
        Problem::new(
            rejection.status(),
            "invalid_request",
            "The request's body cannot be read",
            format!("It may have {BODY_BYTES} bytes at most."),
        )
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "The request's body is not what it should be",
            format!("Line {}, column {}.", error.line(), error.column()),
        )
    })
}

fn unstored(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Logs a refusal and turns it into a problem.
async fn refused(inner: &Inner, peer: &Peer, what: &'static str, error: EnrolError) -> Problem {
    let problem = problem(&error);
    match &error {
        EnrolError::Failed(_) => {}
        EnrolError::Refused(refusal) => inner.turned_away(peer, refusal).await,
        // The failures that led here are logged; a flood need not be.
        EnrolError::RateLimited { .. } => {
            inner.note(Some(peer.address.ip()), None, problem.code);
            tracing::debug!(source = %peer.address.ip(), reason = problem.code, "{what}");
        }
        _ => {
            inner.note(Some(peer.address.ip()), None, problem.code);
            if let Some(unlogged) = inner.may_log() {
                tracing::warn!(source = %peer.address.ip(), reason = problem.code, unlogged, "{what}");
            }
        }
    }
    problem
}

fn problem(error: &EnrolError) -> Problem {
    let detail = error.to_string();
    match error {
        EnrolError::ClaimUnknown => Problem::new(
            StatusCode::FORBIDDEN,
            "claim_unknown",
            "No claim has this code",
            "Check the code, or make a new claim.",
        ),
        EnrolError::ClaimUsed => Problem::new(
            StatusCode::CONFLICT,
            "claim_used",
            "This claim was used already",
            "A claim enrols one device: make a new claim.",
        ),
        EnrolError::ClaimExpired => Problem::new(
            StatusCode::GONE,
            "claim_expired",
            "This claim has expired",
            "A claim lives for 24 hours: make a new claim.",
        ),
        EnrolError::Csr(_) => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "csr_invalid",
            "The certificate request is refused",
            detail,
        ),
        EnrolError::KeyReused => Problem::new(
            StatusCode::CONFLICT,
            "key_reused",
            "This key has a certificate already",
            "Make a new key for every certificate.",
        ),
        EnrolError::RateLimited { retry_after } => Problem {
            retry_after: Some(*retry_after),
            ..Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too many attempts",
                format!("Try again in {} seconds.", retry_after.as_secs().max(1)),
            )
        },
        EnrolError::TooOld => Problem::new(
            StatusCode::FORBIDDEN,
            "certificate_too_old",
            "The certificate is too old to be renewed",
            detail,
        ),
        EnrolError::Refused(refusal) => unauthenticated(refusal),
        EnrolError::Failed(error) => failed(error),
    }
}

fn unauthenticated(refusal: &Refused) -> Problem {
    let status = match refusal {
        Refused::Inactive { .. } => StatusCode::FORBIDDEN,
        Refused::Unavailable(error) => return failed(error),
        Refused::NoCertificate
        | Refused::Certificate(_)
        | Refused::Unknown { .. }
        | Refused::Expired { .. } => StatusCode::UNAUTHORIZED,
    };
    Problem::new(
        status,
        refusal.code(),
        "The device's certificate is refused",
        refusal.to_string(),
    )
}

fn failed(error: &PkiError) -> Problem {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "a device's request failed"
    );
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "The cloud cannot do this at the moment",
        "Try again later.",
    )
}
