//! Problems: the one form in which this front door says no (RFC 9457).
//!
//! Owns the closed list of codes and what each means to a client; `docs/api.md` explains them one by one and a test
//! compares the two. Promises that no inner text reaches a client: rooms map their errors to a code, the cause goes to
//! the log under the same request id. Does not decide who may do what.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of every problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, as a word that programs may rely on. The list only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ProblemCode)]
pub enum Code {
    /// No credential, or one that is unknown, expired or revoked.
    Unauthenticated,
    /// E-mail and password do not belong together.
    SignInFailed,
    /// The sign-in link is unknown, used or expired.
    LinkInvalid,
    /// A member, but the role is too low.
    Forbidden,
    /// A write with a cookie that did not come from our own page.
    CrossSite,
    /// A second factor is to be shown, or set up, before anything else.
    SecondFactorRequired,
    /// Who it is was proved too long ago for this; prove it once more.
    ReauthenticationRequired,
    /// There is no such thing, or it is not yours to know of.
    NotFound,
    /// The address exists, the method does not.
    MethodNotAllowed,
    /// The request cannot be read at all.
    Malformed,
    /// A field or parameter is wrong; `errors` says which and why.
    Invalid,
    /// The body is larger than this address accepts.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// It contradicts what is there.
    Conflict,
    /// Somebody has changed it since it was read.
    Changed,
    /// The `Idempotency-Key` stands for another request.
    KeyReused,
    /// It was there and is no longer kept; `detail` says what can be asked instead.
    Gone,
    /// The answer takes too long; `errors` says what to narrow.
    TooSlow,
    /// Too many of these at once; wait and repeat.
    RateLimited,
    /// A part that is needed is not there at the moment; repeat later.
    Unavailable,
    /// Our fault; the log has the cause under the request id.
    Internal,
}

impl Code {
    /// All of them, for documents and tests.
    pub const ALL: [Self; 21] = [
        Self::Unauthenticated,
        Self::SignInFailed,
        Self::LinkInvalid,
        Self::Forbidden,
        Self::CrossSite,
        Self::SecondFactorRequired,
        Self::ReauthenticationRequired,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Malformed,
        Self::Invalid,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Conflict,
        Self::Changed,
        Self::KeyReused,
        Self::Gone,
        Self::TooSlow,
        Self::RateLimited,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::SignInFailed => "sign_in_failed",
            Self::LinkInvalid => "link_invalid",
            Self::Forbidden => "forbidden",
            Self::CrossSite => "cross_site",
            Self::SecondFactorRequired => "second_factor_required",
            Self::ReauthenticationRequired => "reauthentication_required",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Conflict => "conflict",
            Self::Changed => "changed",
            Self::KeyReused => "key_reused",
            Self::Gone => "gone",
            Self::TooSlow => "too_slow",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The status that goes with it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated
            | Self::SignInFailed
            | Self::LinkInvalid
            | Self::ReauthenticationRequired => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::CrossSite | Self::SecondFactorRequired => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Changed => StatusCode::PRECONDITION_FAILED,
            Self::Invalid | Self::TooSlow | Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Gone => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A short sentence for people, the same for every occurrence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "Sign in first",
            Self::SignInFailed => "E-mail and password do not match",
            Self::LinkInvalid => "This sign-in link cannot be used",
            Self::Forbidden => "Your role does not allow this",
            Self::SecondFactorRequired => "A second factor is needed first",
            Self::ReauthenticationRequired => "Prove once more who you are",
            Self::CrossSite => "This request did not come from our own page",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "This method does not exist here",
            Self::Malformed => "The request cannot be read",
            Self::Invalid => "Something in the request is wrong",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedMediaType => "The body must be JSON",
            Self::Conflict => "This contradicts what is there",
            Self::Changed => "Somebody has changed this since",
            Self::KeyReused => "This key stands for another request",
            Self::Gone => "This is no longer kept",
            Self::TooSlow => "This would take too long",
            Self::RateLimited => "Too many requests",
            Self::Unavailable => "Not available at the moment",
            Self::Internal => "Something went wrong on our side",
        }
    }
}

/// One field or parameter and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The path of the field in the body (`a.b[2]`), or the name of the query parameter.
    pub field: String,
    /// What is wrong, in a sentence.
    pub reason: String,
}

/// A refusal. Handlers return it as their error; the door gives it its request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Option<String>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem with nothing to add to its title.
    #[must_use]
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            detail: None,
            errors: Vec::new(),
            retry_after_s: None,
        }
    }

    /// Adds what is special about this occurrence. Never inner text: a client reads it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says when it is worth trying again.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// One wrong field.
    #[must_use]
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let mut faults = Faults::default();
        faults.add(field, reason);
        faults.into_problem()
    }

    /// Names a field beside it.
    #[must_use]
    pub fn blame(mut self, field: impl Into<String>, reason: impl Into<String>) -> Self {
        self.errors.push(FieldError {
            field: field.into(),
            reason: reason.into(),
        });
        self
    }

    /// Our own failure: the cause is logged here, once, and nothing of it is told.
    #[must_use]
    pub fn internal(what: &'static str, cause: &dyn std::error::Error) -> Self {
        tracing::error!(cause = %Chain(cause), "{what}");
        Self::new(Code::Internal)
    }

    /// Something that comes back by itself is away: logged, and the client is asked to repeat.
    #[must_use]
    pub fn unavailable(what: &'static str, cause: &dyn std::error::Error) -> Self {
        tracing::warn!(cause = %Chain(cause), "{what}");
        Self::new(Code::Unavailable).retry_after(5)
    }

    /// What kind it is.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What is special about this one, or else what all of its kind have in common.
    pub(super) fn words(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.code.title())
    }

    /// When it is worth trying again.
    pub(super) const fn retry_after_s(&self) -> Option<u64> {
        self.retry_after_s
    }
}

/// Faults of one request, collected so that a client learns of all of them at once.
#[derive(Debug, Default)]
pub struct Faults(Vec<FieldError>);

impl Faults {
    /// One more.
    pub fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.0.push(FieldError {
            field: field.into(),
            reason: reason.into(),
        });
    }

    /// Fine when there are none.
    ///
    /// # Errors
    /// The problem that lists them.
    pub fn check(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.into_problem())
        }
    }

    /// The problem that lists them.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        let detail = match self.0.as_slice() {
            [only] => format!("{}: {}", only.field, only.reason),
            many => format!("{} fields are wrong", many.len()),
        };
        Problem {
            code: Code::Invalid,
            detail: Some(detail),
            errors: self.0,
            retry_after_s: None,
        }
    }
}

/// The problem as it is on the wire.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct Wire {
    /// `/problems/CODE`; see `docs/api.md`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of this kind.
    pub title: String,
    /// The HTTP status, repeated.
    pub status: u16,
    /// What is special about this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub detail: Option<String>,
    /// The request id, also in the header `X-Request-Id` and in the server's log.
    pub instance: String,
    /// The kind as a word.
    pub code: Code,
    /// Which fields are wrong and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// The answer, under a request id.
    #[must_use]
    pub fn respond(self, request_id: &str) -> Response {
        let status = self.code.status();
        let wire = Wire {
            kind: format!("/problems/{}", self.code.word()),
            title: self.code.title().to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            instance: request_id.to_owned(),
            code: self.code,
            errors: self.errors,
        };
        let body = serde_json::to_vec(&wire).expect("strings and numbers always serialize");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"fieldkeep\""),
            );
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// For places where the request id is not at hand: the door's outermost layer fills it in (see `api::headers`).
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.code.status();
        response.extensions_mut().insert(Pending(self));
        response
    }
}

/// A problem on its way to the outermost layer, where it gets its request id and its body.
#[derive(Clone, Debug)]
pub(super) struct Pending(pub(super) Problem);

/// An error with its sources, for the log.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(inner) = source {
            write!(f, ": {inner}")?;
            source = inner.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_serde_agree() {
        for code in Code::ALL {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.word()));
        }
    }

    #[test]
    fn the_manual_explains_every_code_once() {
        let manual = include_str!("../../../../docs/api.md");
        for code in Code::ALL {
            let row = format!("| `{}` | {} |", code.word(), code.status().as_u16());
            assert_eq!(manual.matches(&row).count(), 1, "docs/api.md, row {row}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let mut faults = Faults::default();
        faults.add("name", "is empty");
        faults.add("zone", "is not a time zone");
        let problem = faults.check().unwrap_err();
        assert_eq!(problem.code(), Code::Invalid);
        assert_eq!(problem.errors.len(), 2);
    }
}
