//! Tokens for services and command lines: OAuth 2's token endpoint with its neighbours.
//!
//! Owns the words of RFC 6749, 7009, 7523, 8414 and 8628 as they stand on the wire, refusals too. Who gets what is
//! `access`'s. There is no authorization endpoint, no redirect and no refresh token.

use axum::body::Body as Bytes;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

use crate::access::{AccessError, ClientProof, DeviceRefusal, Fresh, Nobody, SignedIn};
use crate::api::App;
use crate::api::door::{Body, Empty, Fields, Form, FormKind, Headers, Json, Raw, RawKind, Source};
use crate::api::fault::{access, failure};
use crate::api::id::Time;
use crate::api::problem::{Code, Problem};
use crate::trail::Origin;

const CLIENT_CREDENTIALS: &str = "client_credentials";
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// What a program that asks by a code is called where it does not say.
const UNNAMED: &str = "A command line";

/// An answer of OAuth 2.
pub(super) struct OAuth;

impl RawKind for OAuth {
    const MEDIA_TYPE: &'static str = "application/json";
    const SAYS: &'static str = "What RFC 6749 (or the one that this address follows) says.";
    const REFUSES: &'static [&'static str] = &["400", "401", "429"];

    fn refusal() -> Option<RefOr<Schema>> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let refusal = ObjectBuilder::new()
            .property("error", text())
            .required("error")
            .property("error_description", text())
            .required("error_description");
        Some(refusal.into())
    }
}

/// What the server can: it refuses nobody.
pub(super) struct Metadata;

impl RawKind for Metadata {
    const MEDIA_TYPE: &'static str = "application/json";
    const SAYS: &'static str = "What RFC 8414 says.";
}

/// The form of `/oauth/token`.
pub(super) struct TokenForm;

impl FormKind for TokenForm {
    const REQUIRED: &'static [&'static str] = &["grant_type"];
}

/// The form of `/oauth/revoke`.
pub(super) struct RevocationForm;

impl FormKind for RevocationForm {
    const REQUIRED: &'static [&'static str] = &["token"];
}

/// The form of `/oauth/device_authorization`.
pub(super) struct DeviceForm;

impl FormKind for DeviceForm {
    const REQUIRED: &'static [&'static str] = &["client_id"];
}

type Answered = Result<Raw<OAuth>, Problem>;

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// Why a token endpoint says no: its word, and a sentence for people.
struct Refusal {
    word: &'static str,
    says: &'static str,
    retry_after_s: Option<u64>,
}

impl Refusal {
    const fn new(word: &'static str, says: &'static str) -> Self {
        Self {
            word,
            says,
            retry_after_s: None,
        }
    }

    fn of(error: AccessError) -> Result<Self, Problem> {
        Ok(match error {
            AccessError::WrongCredentials => Self::new(
                "invalid_client",
                "The client is unknown or disabled, or its secret or assertion is not valid.",
            ),
            AccessError::ScopesBeyond => Self::new(
                "invalid_scope",
                "The scope is none of read, audit, write, administer, or more than the account has.",
            ),
            AccessError::Throttled { retry_after_s } => Self {
                retry_after_s: Some(retry_after_s),
                ..Self::new("slow_down", "Too many attempts: wait, then try again.")
            },
            AccessError::InvalidName => Self::new(
                "invalid_request",
                "device_name has 1 to 128 characters and no control characters.",
            ),
            other => return Err(access(other)),
        })
    }

    fn respond(self) -> Raw<OAuth> {
        let status = match self.word {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            _ if self.retry_after_s.is_some() => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_REQUEST,
        };
        let body = json!({ "error": self.word, "error_description": self.says });
        let mut response = answer(status, &body);
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"fieldkeep\""),
            );
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For the trail: what it would be among our own refusals.
        response.extensions_mut().insert(match status {
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::TOO_MANY_REQUESTS => Code::RateLimited,
            _ => Code::Invalid,
        });
        Raw::new(response)
    }
}

const NO_FORM: Refusal = Refusal::new(
    "invalid_request",
    "The body must be application/x-www-form-urlencoded, each name once.",
);

/// How the client proves itself: exactly one way.
fn proof(headers: &HeaderMap, fields: &Fields) -> Result<ClientProof, Refusal> {
    let basic = headers.get(header::AUTHORIZATION);
    let secret = fields.text("client_secret");
    let assertion = fields.text("client_assertion");
    match (basic, secret, assertion) {
        (Some(value), None, None) => value.to_str().ok().and_then(basic_pair).ok_or(Refusal::new(
            "invalid_client",
            "The Authorization header must be Basic with client id and secret.",
        )),
        (None, Some(secret), None) => {
            let client = fields.text("client_id").unwrap_or_default().to_owned();
            Ok(ClientProof::Secret {
                client,
                secret: secret.to_owned(),
            })
        }
        (None, None, Some(assertion)) => {
            if fields.text("client_assertion_type") == Some(ASSERTION) {
                Ok(ClientProof::Assertion(assertion.to_owned()))
            } else {
                Err(Refusal::new(
                    "invalid_request",
                    "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer.",
                ))
            }
        }
        (None, None, None) => Err(Refusal::new(
            "invalid_client",
            "The client must prove itself: Basic, client_secret or client_assertion.",
        )),
        _ => Err(Refusal::new(
            "invalid_request",
            "The client must prove itself in one way, not several.",
        )),
    }
}

/// Ids and secrets of ours have no character that would be escaped.
fn basic_pair(header: &str) -> Option<ClientProof> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (client, secret) = decoded.split_once(':')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| ClientProof::Secret {
            client: client.to_owned(),
            secret: secret.to_owned(),
        })
}

/// A token, for a service account's proof or for a code that a person has confirmed.
pub(super) async fn token(
    anybody: Nobody,
    app: App,
    Source(source): Source,
    Headers(headers): Headers,
    Form { fields, .. }: Form<TokenForm>,
) -> Answered {
    let Some(fields) = fields else {
        return Ok(NO_FORM.respond());
    };
    let issued = match fields.text("grant_type") {
        Some(CLIENT_CREDENTIALS) => {
            for_service(&app, &headers, &fields, (&source, anybody.origin())).await?
        }
        Some(DEVICE_CODE) => for_person(&app, &fields, anybody.origin()).await?,
        Some(_) => Err(Refusal::new(
            "unsupported_grant_type",
            "Use client_credentials, or urn:ietf:params:oauth:grant-type:device_code.",
        )),
        None => Err(Refusal::new("invalid_request", "grant_type is missing.")),
    };
    Ok(match issued {
        Ok(body) => Raw::new(answer(StatusCode::OK, &body)),
        Err(refusal) => refusal.respond(),
    })
}

async fn for_service(
    app: &App,
    headers: &HeaderMap,
    fields: &Fields,
    (source, origin): (&str, &Origin),
) -> Result<Result<Value, Refusal>, Problem> {
    let proof = match proof(headers, fields) {
        Ok(proof) => proof,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let issued = app
        .access
        .issue_token(&proof, fields.text("scope"), source, origin);
    match issued.await {
        Ok(token) => Ok(Ok(json!({
            "access_token": token.token,
            "token_type": "Bearer",
            "expires_in": token.expires_in_s,
            "scope": token.scopes.to_string(),
        }))),
        Err(error) => Refusal::of(error).map(Err),
    }
}

async fn for_person(
    app: &App,
    fields: &Fields,
    origin: &Origin,
) -> Result<Result<Value, Refusal>, Problem> {
    let code = fields.text("device_code").unwrap_or_default();
    let refusal = match app.access.poll_device(code, origin).await {
        Ok(token) => {
            return Ok(Ok(json!({
                "access_token": token.token,
                "token_type": "Bearer",
                "expires_in": token.expires_in_s,
            })));
        }
        Err(DeviceRefusal::Pending) => Refusal::new(
            "authorization_pending",
            "Nobody has confirmed the code yet: ask again after the interval.",
        ),
        Err(DeviceRefusal::SlowDown) => Refusal::new(
            "slow_down",
            "Asked too soon: wait 5 seconds longer between two questions from now on.",
        ),
        Err(DeviceRefusal::Denied) => Refusal::new("access_denied", "The person said no."),
        Err(DeviceRefusal::Expired) => Refusal::new(
            "expired_token",
            "The code is too old, unknown, or was used: begin anew.",
        ),
        Err(DeviceRefusal::Failed(error)) => return Err(failure(&error)),
    };
    Ok(Err(refusal))
}

/// Ends a token (RFC 7009): a service account's by its proof, a person's by itself.
pub(super) async fn revoke(
    anybody: Nobody,
    app: App,
    Source(source): Source,
    Headers(headers): Headers,
    Form { fields, .. }: Form<RevocationForm>,
) -> Answered {
    let Some(fields) = fields else {
        return Ok(NO_FORM.respond());
    };
    let Some(token) = fields.text("token") else {
        return Ok(Refusal::new("invalid_request", "token is missing.").respond());
    };
    if token.starts_with("fkp_") {
        let ended = app.access.revoke_person_token(token).await;
        ended.map_err(|error| failure(&error))?;
        return Ok(Raw::new(answer(StatusCode::OK, &json!({}))));
    }
    let proof = match proof(&headers, &fields) {
        Ok(proof) => proof,
        Err(refusal) => return Ok(refusal.respond()),
    };
    let revoked = app
        .access
        .revoke_token(&proof, token, &source, anybody.origin());
    match revoked.await {
        Ok(()) => Ok(Raw::new(answer(StatusCode::OK, &json!({})))),
        Err(error) => Ok(Refusal::of(error)?.respond()),
    }
}

/// A command line begins to ask (RFC 8628). `device_name` says what the person will see.
pub(super) async fn device_authorization(
    anybody: Nobody,
    app: App,
    Source(source): Source,
    Form { fields, .. }: Form<DeviceForm>,
) -> Answered {
    let Some(fields) = fields else {
        return Ok(NO_FORM.respond());
    };
    if fields.text("client_id").is_none() {
        return Ok(Refusal::new("invalid_request", "client_id is missing.").respond());
    }
    let issuer = issuer(&app).await?;
    let name = fields.text("device_name").unwrap_or(UNNAMED);
    let code = match app
        .access
        .ask_by_device(name, &source, anybody.origin())
        .await
    {
        Ok(code) => code,
        Err(error) => return Ok(Refusal::of(error)?.respond()),
    };
    let body = json!({
        "device_code": code.device_code,
        "user_code": code.user_code,
        "verification_uri": format!("{issuer}/app/device"),
        "verification_uri_complete": format!("{issuer}/app/device#{}", code.user_code),
        "expires_in": code.expires_in_s,
        "interval": code.interval_s,
    });
    Ok(Raw::new(answer(StatusCode::OK, &body)))
}

/// What this server can (RFC 8414).
pub(super) async fn metadata(_: Nobody, app: App) -> Result<Raw<Metadata>, Problem> {
    let issuer = issuer(&app).await?;
    let proofs = [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ];
    let algorithms = ["ES256", "EdDSA"];
    let body = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth/token"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "device_authorization_endpoint": format!("{issuer}/oauth/device_authorization"),
        "grant_types_supported": [CLIENT_CREDENTIALS, DEVICE_CODE],
        "response_types_supported": [],
        "scopes_supported": ["read", "audit", "write", "administer"],
        "token_endpoint_auth_methods_supported": proofs,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": proofs,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
    });
    Ok(Raw::new(answer(StatusCode::OK, &body)))
}

async fn issuer(app: &App) -> Result<String, Problem> {
    let issuer = app.access.issuer().await.map_err(|error| failure(&error))?;
    issuer.ok_or(Problem::new(Code::Unavailable).retry_after(5))
}

/// A short code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserCode {
    /// As the program shows it: `BCDF-GHJK`.
    #[schema(max_length = 64)]
    user_code: String,
}

/// An answer to a program that asks.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceAnswer {
    /// As the program shows it: `BCDF-GHJK`.
    #[schema(max_length = 64)]
    user_code: String,
    /// Yes or no.
    approve: bool,
}

/// A program that asks to act as me.
#[derive(Serialize, ToSchema)]
#[schema(as = AskingDevice)]
pub(super) struct AskingView {
    /// What it calls itself. Nobody has checked that.
    name: String,
    /// The network address that it asks from.
    from: String,
    asked: Time,
    expires: Time,
}

/// What asks with a short code.
pub(super) async fn device(
    me: SignedIn,
    app: App,
    Body(body): Body<UserCode>,
) -> Result<Json<AskingView>, Problem> {
    let asking = app.access.device_asks(&me, &body.user_code).await;
    let asking = asking.map_err(access)?;
    Ok(Json(AskingView {
        name: asking.name,
        from: asking.from,
        asked: asking.asked.into(),
        expires: asking.expires.into(),
    }))
}

/// Lets a program act as me, or refuses it.
pub(super) async fn answer_device(
    me: Fresh<SignedIn>,
    app: App,
    Body(body): Body<DeviceAnswer>,
) -> Result<Empty, Problem> {
    app.access
        .answer_device(&me, &body.user_code, body.approve)
        .await
        .map_err(access)?;
    Ok(Empty)
}
