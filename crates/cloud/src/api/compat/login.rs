//! Signing in at the compatibility routes: the name and a secret of a service account, for a token of an hour.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::{Answered, Envelope, json_answer};
use crate::access::{AccessError, IssuedToken, Nobody};
use crate::api::App;
use crate::api::door::{Fields, Raw, Source, Texts};
use crate::api::fault::access;
use crate::api::problem::{Code, Problem};

/// For clients that post a form: `grant_type=password`.
pub(super) async fn token(
    anybody: Nobody,
    app: App,
    Source(source): Source,
    Texts(fields): Texts,
) -> Answered {
    let fields = fields.unwrap_or_default();
    if fields.text("grant_type") != Some("password") {
        let body = json!({
            "error": "unsupported_grant_type",
            "error_description": "Use grant_type=password with username and password.",
        });
        let mut response = json_answer(StatusCode::BAD_REQUEST, &body);
        response.extensions_mut().insert(Code::Invalid);
        return Ok(Raw::new(response));
    }
    match sign_in(&app, &fields, &source, &anybody).await? {
        None => Ok(Raw::new(refused())),
        Some(token) => {
            let body = json!({
                "access_token": token.token,
                "expires_in": token.expires_in_s,
                "user_id": token.account.to_string(),
                "email": token.login,
            });
            Ok(Raw::new(json_answer(StatusCode::OK, &body)))
        }
    }
}

/// For clients that post JSON.
pub(super) async fn login(
    anybody: Nobody,
    app: App,
    Source(source): Source,
    Texts(fields): Texts,
) -> Result<Raw<Envelope>, Problem> {
    let fields = fields.unwrap_or_default();
    match sign_in(&app, &fields, &source, &anybody).await? {
        None => Ok(Raw::new(refused())),
        Some(token) => Ok(super::payload(&json!({
            "token": token.token,
            "user_id": token.account.to_string(),
            "email": token.login,
        }))),
    }
}

async fn sign_in(
    app: &App,
    fields: &Fields,
    source: &str,
    anybody: &Nobody,
) -> Result<Option<IssuedToken>, Problem> {
    let username = fields.text("username").unwrap_or_default();
    let password = fields.text("password").unwrap_or_default();
    let issued = app
        .access
        .issue_legacy_token(username, password, source, anybody.origin());
    match issued.await {
        Ok(token) => Ok(Some(token)),
        Err(AccessError::WrongCredentials) => Ok(None),
        Err(other) => Err(access(other)),
    }
}

/// Its clients look for these words before they forget a password.
fn refused() -> Response {
    let body = json!({
        "error": "unauthorized",
        "error_description": "Invalid credentials.",
    });
    let mut response = json_answer(StatusCode::FORBIDDEN, &body);
    response.extensions_mut().insert(Code::SignInFailed);
    response
}
