//! Reading the credential of a request: a key or token in `Authorization`, or the session cookie of a browser.
//!
//! Owns the cookie's form and the rule that a write with a cookie must prove that it came from our own page. A request
//! that shows an `Authorization` header is judged by it alone, so a bad key is never covered by a good cookie.

use http::request::Parts;
use http::{HeaderMap, Method, Uri, header};

use super::key::denied;
use crate::access::{Allowance, Credential, SignedIn};
use crate::api::App;
use crate::api::headers::Tally;
use crate::api::notice::Notice;
use crate::api::problem::{Code, Problem};
use crate::trail::{Origin, Who};

/// The header that a foreign page cannot send without asking first, and CORS is closed.
const OWN_PAGE: &str = "x-fieldkeep";

/// Who is there.
pub(super) async fn signed_in(app: &App, head: &Parts) -> Result<SignedIn, Problem> {
    let shown = shown(app, head)?;
    let actor = app.access.actor(&shown.credential, &origin(head)).await;
    let actor = actor.map_err(denied)?;
    shown.admit(head, actor.who(), || app.access.take_request(&actor))?;
    Ok(actor)
}

/// A credential that a request shows; nothing is known of it yet.
pub(super) struct Shown {
    credential: Credential,
    from_cookie: bool,
}

impl Shown {
    pub(super) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Lets in whoever the credential proved to be, unless a foreign page made the browser send it or their requests are
    /// used up.
    pub(super) fn admit(
        &self,
        head: &Parts,
        who: Who,
        take: impl FnOnce() -> Result<Option<Allowance>, u64>,
    ) -> Result<(), Problem> {
        Notice::of(&head.extensions).known(who);
        if self.from_cookie && !is_safe(&head.method) {
            let own = head.headers.get(OWN_PAGE).is_some_and(|value| value == "1");
            if !own {
                return Err(Problem::new(Code::CrossSite)
                    .detail("a write with a cookie needs the header X-Fieldkeep: 1"));
            }
            same_origin(head)?;
        }
        within_quota(head, take())
    }
}

/// The credential of a request.
pub(super) fn shown(app: &App, head: &Parts) -> Result<Shown, Problem> {
    let (credential, from_cookie) = match head.headers.get(header::AUTHORIZATION) {
        Some(value) => (value.to_str().ok().and_then(Credential::bearer), false),
        None => (cookie(&head.headers, app.cookie()), true),
    };
    let credential = credential.ok_or(Problem::new(Code::Unauthenticated))?;
    Ok(Shown {
        credential,
        from_cookie,
    })
}

/// Who shows a token of the compatibility routes: nothing else opens them, and it opens nothing else.
pub(super) async fn legacy(app: &App, head: &Parts) -> Result<SignedIn, Problem> {
    let bearer = head
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(Credential::bearer);
    let Some(Credential::Bearer(token)) = bearer else {
        return Err(Problem::new(Code::Unauthenticated));
    };
    let actor = app.access.legacy_actor(&token, &origin(head)).await;
    let actor = actor.map_err(denied)?;
    Notice::of(&head.extensions).known(actor.who());
    within_quota(head, app.access.take_request(&actor))?;
    Ok(actor)
}

/// Takes a request of a key's or a service account's quota, and leaves word of what is left for the answer's headers.
fn within_quota(head: &Parts, taken: Result<Option<Allowance>, u64>) -> Result<(), Problem> {
    match taken {
        Ok(None) => Ok(()),
        Ok(Some(allowance)) => {
            if let Some(tally) = head.extensions.get::<Tally>() {
                tally.note(allowance);
            }
            Ok(())
        }
        Err(retry_after_s) => Err(Problem::new(Code::RateLimited)
            .detail("this key or account has used up its requests for now")
            .retry_after(retry_after_s)),
    }
}

/// The request, as the outermost layer knows it.
pub(super) fn origin(head: &Parts) -> Origin {
    Notice::of(&head.extensions).origin().clone()
}

/// Refuses a write that the browser says came from elsewhere. Programs send neither header and pass.
pub(super) fn same_origin(head: &Parts) -> Result<(), Problem> {
    if is_safe(&head.method) {
        return Ok(());
    }
    let foreign = || Problem::new(Code::CrossSite);
    if let Some(site) = head.headers.get("sec-fetch-site")
        && site != "same-origin"
    {
        return Err(foreign());
    }
    if let Some(origin) = head.headers.get(header::ORIGIN) {
        let origin = origin
            .to_str()
            .ok()
            .and_then(|text| text.parse::<Uri>().ok())
            .filter(|uri| uri.scheme_str() == Some("https"))
            .and_then(|uri| uri.authority().map(ToString::to_string));
        let host = head.uri.authority().map(ToString::to_string).or_else(|| {
            head.headers
                .get(header::HOST)?
                .to_str()
                .ok()
                .map(str::to_owned)
        });
        let same = match (origin, host) {
            (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(&host),
            _ => false,
        };
        if !same {
            return Err(foreign());
        }
    }
    Ok(())
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<Credential> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let token = found.next()?;
    // Two cookies of one name: somebody planted one.
    found
        .next()
        .is_none()
        .then(|| Credential::Cookie(token.to_owned()))
}

/// The cookie of a session that has begun. The server ends it earlier than the browser forgets it.
pub(in crate::api) fn session_cookie(app: &App, token: &str, max_age_s: u64) -> String {
    format!(
        "{}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={max_age_s}",
        app.cookie()
    )
}

/// Tells the browser to forget.
pub(in crate::api) fn clear_cookie(app: &App) -> String {
    format!(
        "{}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0",
        app.cookie()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/api/v1/me");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn writes_from_elsewhere_are_refused() {
        let post = |headers: &[(&str, &str)]| same_origin(&head(Method::POST, headers));
        assert!(post(&[]).is_ok());
        assert!(post(&[("host", "a:1"), ("origin", "https://a:1")]).is_ok());
        assert!(post(&[("sec-fetch-site", "same-origin")]).is_ok());
        assert!(post(&[("sec-fetch-site", "same-site")]).is_err());
        assert!(post(&[("sec-fetch-site", "cross-site")]).is_err());
        assert!(post(&[("host", "a:1"), ("origin", "https://a:2")]).is_err());
        assert!(post(&[("host", "a:1"), ("origin", "http://a:1")]).is_err());
        assert!(post(&[("host", "a:1"), ("origin", "null")]).is_err());
        assert!(
            same_origin(&head(Method::GET, &[("sec-fetch-site", "cross-site")])).is_ok(),
            "a link from elsewhere may be followed"
        );
    }

    #[test]
    fn a_doubled_cookie_is_no_credential() {
        let one = head(Method::GET, &[("cookie", "x=1; __Host-fk-a=t")]);
        assert!(cookie(&one.headers, "__Host-fk-a").is_some());
        let two = head(Method::GET, &[("cookie", "__Host-fk-a=t; __Host-fk-a=u")]);
        assert!(cookie(&two.headers, "__Host-fk-a").is_none());
    }
}
