//! One sample request for each row of the table; a row without one fails the access matrix.
//!
//! Each sample is a request that would succeed for whoever may. Those that use something up make it first, so that the
//! order of callers does not matter.

use axum::body::Body;
use http::Request;
use serde_json::json;

use super::world::{Who, World, request};
use crate::access::{Role, Scopes};

/// The sample request of a row, `None` for a row that has none.
pub(super) async fn sample(world: &World, row: &str) -> Option<Request<Body>> {
    let (method, path) = row.split_once(' ')?;
    let (path, body) = match fill(world, path) {
        Some(path) => (path, body(world, row).await),
        None => special(world, row).await?,
    };
    Some(request(method, &path, body))
}

/// The address of a row with ids of ours in the place of its parameters.
fn fill(world: &World, path: &str) -> Option<String> {
    let ours = &world.ours;
    let filled = path
        .replace("{project}", &ours.project.to_string())
        .replace("{location}", &ours.location.to_string())
        .replace("{device}", &ours.device.to_string())
        .replace("{element}", &ours.element.to_string())
        .replace("{deployment}", &ours.deployment.to_string())
        .replace("{legacy_project}", &ours.project.to_string());
    let used_up = path.contains("{claim}") || path.contains("{key}") || path.contains("{*rest}");
    (!used_up && KNOWN.contains(&path)).then_some(filled)
}

/// Rows whose address and body are enough.
const KNOWN: &[&str] = &[
    "/",
    "/app",
    "/app/",
    "/livez",
    "/readyz",
    "/api/v1/auth/link",
    "/api/v1/auth/sign-in",
    "/api/v1/auth/password",
    "/api/v1/auth/sign-out",
    "/api/v1/auth/passkey",
    "/api/v1/auth/passkey/challenge",
    "/api/v1/auth/invitation",
    "/api/v1/auth/invitation/accept",
    "/api/v1/auth/invitation/join",
    "/api/v1/auth/second-factor",
    "/api/v1/auth/second-factor/challenge",
    "/api/v1/auth/prove",
    "/api/v1/auth/factors",
    "/api/v1/auth/totp",
    "/api/v1/auth/totp/confirm",
    "/api/v1/auth/passkeys",
    "/api/v1/auth/passkeys/challenge",
    "/api/v1/auth/recovery-codes",
    "/api/v1/auth/recovery-codes/kept",
    "/api/v1/auth/sessions",
    "/api/v1/auth/sessions/end-others",
    "/api/v1/projects/{project}/invitations",
    "/api/v1/me",
    "/api/v1/instance/backup",
    "/api/v1/openapi.json",
    "/api/v1/projects",
    "/api/v1/projects/{project}",
    "/api/v1/projects/{project}/locations",
    "/api/v1/projects/{project}/devices",
    "/api/v1/projects/{project}/devices/{device}",
    "/api/v1/projects/{project}/devices/{device}/log",
    "/api/v1/projects/{project}/devices/{device}/ledger",
    "/api/v1/projects/{project}/devices/{device}/quarantine",
    "/api/v1/projects/{project}/devices/{device}/clock",
    "/api/v1/projects/{project}/devices/{device}/clock/stamps",
    "/api/v1/projects/{project}/devices/{device}/clock/release",
    "/api/v1/projects/{project}/claims",
    "/api/v1/projects/{project}/elements",
    "/api/v1/projects/{project}/elements/{element}",
    "/api/v1/projects/{project}/elements/{element}/unit",
    "/api/v1/projects/{project}/deployments",
    "/api/v1/projects/{project}/deployments/{deployment}",
    "/api/v1/projects/{project}/members",
    "/api/v1/projects/{project}/keys",
    "/api/v1/projects/{project}/latest",
    "/api/v1/projects/{project}/live",
    "/api/v1/projects/{project}/changes",
    "/api/v1/instance/space",
    "/api/v1/instance/people",
    "/api/v1/instance/trail",
    "/api/v1/projects/{project}/trail",
    "/api/v1/projects/{project}/trail/export",
    "/api/v1/projects/{project}/retention",
    "/api/v1/projects/{project}/retention/preview",
    "/api/v1/projects/{project}/retention/hold",
    "/api/v1/projects/{project}/deletions",
    "/api/v1/projects/{project}/elements/{element}/retention",
    "/api/v1/projects/{project}/elements/{element}/retention/hold",
    "/api/v1/auth/device",
    "/api/v1/auth/device/answer",
    "/api/v1/projects/{project}/service-accounts",
    "/api/v1/projects/{project}/compatibility",
    "/api/v1/projects/{project}/legacy-ids",
    "/.well-known/oauth-authorization-server",
    "/oauth/token",
    "/oauth/revoke",
    "/oauth/device_authorization",
    "/compat/consibio/v2",
    "/compat/consibio/v2/",
    "/compat/consibio/v2/test",
    "/compat/consibio/v2/oauth/token",
    "/compat/consibio/v2/login",
    "/compat/consibio/v2/users/me",
    "/compat/consibio/v2/projects",
    "/compat/consibio/v2/projects/{legacy_project}",
    "/compat/consibio/v2/projects/{legacy_project}/devices",
    "/compat/consibio/v2/projects/{legacy_project}/elements",
];

async fn body(world: &World, row: &str) -> Option<serde_json::Value> {
    let (method, path) = row.split_once(' ')?;
    if method == "GET" {
        return None;
    }
    let path = path.trim_start_matches("/api/v1");
    match (method, path.trim_start_matches("/projects/{project}")) {
        ("POST", "/auth/link") => {
            let token = world.link(Who::Person(Role::Viewer)).await;
            Some(json!({ "token": token }))
        }
        // Past the door and refused for its content: hashing passwords here would only take time.
        (
            "POST",
            "/auth/sign-in"
            | "/auth/password"
            | "/auth/passkey"
            | "/auth/passkeys"
            | "/auth/invitation/accept",
        ) => Some(json!({})),
        ("POST", "/auth/second-factor" | "/auth/prove") => Some(json!({})),
        ("POST", "/auth/totp/confirm") => Some(json!({ "code": "000000" })),
        ("POST", "/auth/invitation") => Some(json!({ "token": world.spare_invitation().await.1 })),
        // For somebody else: whoever asks is told so.
        ("POST", "/auth/invitation/join") => {
            Some(json!({ "token": world.spare_invitation().await.1 }))
        }
        ("POST", "/invitations") => Some(json!({ "email": "new@example.org", "role": "viewer" })),
        ("POST", "/projects") => Some(json!({ "name": "new", "zone": "UTC" })),
        ("PATCH", "") => Some(json!({ "zone": "UTC" })),
        ("POST", "/locations") => Some(json!({ "name": "new" })),
        ("POST", "/devices/{device}/clock/stamps") => {
            world.held_records().await;
            Some(json!({
                "epoch": "0000000000000009", "first": 0, "last": 4, "offset_us": 1_000, "reason": "new battery",
            }))
        }
        ("POST", "/devices/{device}/clock/release") => {
            world.held_records().await;
            Some(
                json!({ "epoch": "0000000000000009", "first": 0, "last": 4, "reason": "was right" }),
            )
        }
        ("PATCH", "/devices/{device}") => Some(json!({ "name": "renamed" })),
        ("POST", "/claims") => Some(json!({ "name": "new" })),
        ("POST", "/elements") => Some(json!({ "name": "new", "unit": "m" })),
        ("POST", "/elements/{element}/unit") => {
            Some(json!({ "unit": "m", "mode": "relabel", "reason": "always was" }))
        }
        ("PATCH", "/elements/{element}") => Some(json!({ "digits": 2 })),
        ("POST", "/deployments") => Some(json!({
            "element": world.spare_element().await.to_string(),
            "device": world.ours.device.to_string(),
            "channel": "level",
            "from": "2026-03-01T00:00:00Z",
        })),
        ("PATCH", "/deployments/{deployment}") => Some(json!({ "to": "2026-03-02T00:00:00Z" })),
        ("POST", "/keys") => Some(json!({ "name": "new", "role": "viewer", "expires": "never" })),
        ("POST", "/auth/device") => Some(json!({ "user_code": world.user_code().await })),
        ("POST", "/auth/device/answer") => {
            Some(json!({ "user_code": world.user_code().await, "approve": false }))
        }
        ("POST", "/service-accounts") => Some(json!({ "name": "new", "scopes": ["read"] })),
        ("PUT", "/compatibility") => Some(json!({ "consibio_v2": true })),
        ("PATCH", "/legacy-ids") => Some(
            json!({ "items": [{ "object": world.ours.element.to_string(), "legacy_id": "e1" }] }),
        ),
        ("PUT", "/retention" | "/elements/{element}/retention") => {
            Some(json!({ "hot_days": 90, "cold_days": 400, "rollup_days": null }))
        }
        // Past the door: a second hold contradicts the first.
        ("POST", "/retention/hold" | "/elements/{element}/retention/hold") => {
            Some(json!({ "reason": "case 7" }))
        }
        _ => None,
    }
}

/// Rows that need something made for them, or a query.
async fn special(world: &World, row: &str) -> Option<(String, Option<serde_json::Value>)> {
    let project = format!("/api/v1/projects/{}", world.ours.project);
    let legacy = format!("/compat/consibio/v2/projects/{}", world.ours.project);
    let plain = |path: String| Some((path, None));
    match row.replace("/api/v1/projects/{project}", "").as_str() {
        "GET /app/{*rest}" => plain("/app/sign-in".to_owned()),
        "GET /locations/{location}" => {
            plain(format!("{project}/locations/{}", world.ours.location))
        }
        "PATCH /locations/{location}" => Some((
            format!("{project}/locations/{}", world.ours.location),
            Some(json!({ "name": "renamed" })),
        )),
        "DELETE /locations/{location}" => plain(format!(
            "{project}/locations/{}",
            world.spare_location().await
        )),
        "POST /devices/{device}/clock/proposals/{proposal}/confirm" => {
            Some(proposal(world, "confirm").await)
        }
        "POST /devices/{device}/clock/proposals/{proposal}/dismiss" => {
            Some(proposal(world, "dismiss").await)
        }
        "DELETE /claims/{claim}" => {
            plain(format!("{project}/claims/{}", world.spare_claim().await))
        }
        "POST /invitations/{invitation}/resend" => plain(format!(
            "{project}/invitations/{}/resend",
            world.spare_invitation().await.0
        )),
        "DELETE /invitations/{invitation}" => plain(format!(
            "{project}/invitations/{}",
            world.spare_invitation().await.0
        )),
        // Past the door, and not found: nobody here has a passkey or another session.
        "PATCH /api/v1/auth/passkeys/{passkey}" => Some((
            "/api/v1/auth/passkeys/pky_00000000000000000000000000".to_owned(),
            Some(json!({ "name": "renamed" })),
        )),
        "DELETE /api/v1/auth/passkeys/{passkey}" => {
            plain("/api/v1/auth/passkeys/pky_00000000000000000000000000".to_owned())
        }
        "DELETE /api/v1/auth/sessions/{session}" => {
            plain("/api/v1/auth/sessions/ses_00000000000000000000000000".to_owned())
        }
        "DELETE /keys/{key}" => plain(format!("{project}/keys/{}", world.spare_key().await)),
        "POST /retention/release" => Some((
            format!("{project}/retention/release"),
            Some(json!({ "reason": "case 7 is closed" })),
        )),
        "POST /elements/{element}/retention/release" => Some((
            format!(
                "{project}/elements/{}/retention/release",
                world.ours.element
            ),
            Some(json!({ "reason": "case 7 is closed" })),
        )),
        "GET /service-accounts/{account}" => {
            let account = world.service(Scopes::READ).await.0;
            plain(format!("{project}/service-accounts/{account}"))
        }
        "PATCH /service-accounts/{account}" => Some((
            format!(
                "{project}/service-accounts/{}",
                world.service(Scopes::READ).await.0
            ),
            Some(json!({ "enabled": false })),
        )),
        "POST /service-accounts/{account}/credentials" => Some((
            format!(
                "{project}/service-accounts/{}/credentials",
                world.service(Scopes::READ).await.0
            ),
            Some(json!({})),
        )),
        "DELETE /service-accounts/{account}/credentials/{credential}" => {
            let (account, credential, _) = world.service(Scopes::READ).await;
            plain(format!(
                "{project}/service-accounts/{account}/credentials/{credential}"
            ))
        }
        "GET /compat/consibio/v2/projects/{legacy_project}/devices/{legacy_thing}" => {
            plain(format!("{legacy}/devices/{}", world.ours.device))
        }
        "GET /compat/consibio/v2/projects/{legacy_project}/elements/{legacy_thing}" => {
            plain(format!("{legacy}/elements/{}", world.ours.element))
        }
        "GET /compat/consibio/v2/projects/{legacy_project}/datalog" => plain(format!(
            "{legacy}/datalog?elements={}&from_time=1772323200&to_time=1772409600",
            world.ours.element
        )),
        "PATCH /members/{person}" => Some((
            format!("{project}/members/{}", world.spare_member().await),
            Some(json!({ "role": "auditor", "reason": "audits now" })),
        )),
        "GET /members/{person}/hanging" => plain(format!(
            "{project}/members/{}/hanging",
            world.spare_member().await
        )),
        "POST /members/{person}/remove" => Some((
            format!("{project}/members/{}/remove", world.spare_member().await),
            Some(json!({ "reason": "left" })),
        )),
        "GET /access" => plain(format!("{project}/access?at=2026-03-02T00:00:00Z")),
        "PATCH /api/v1/instance/people/{person}" => Some((
            format!("/api/v1/instance/people/{}", world.spare_member().await),
            Some(json!({ "enabled": false, "reason": "left" })),
        )),
        // The other project: what the operator becomes there, this matrix does not ask about.
        "POST /api/v1/instance/break-glass" => Some((
            "/api/v1/instance/break-glass".to_owned(),
            Some(json!({
                "project": world.theirs.project.to_string(), "hours": 1, "reason": "a flood",
            })),
        )),
        "GET /points" => plain(format!(
            "{project}/points?element={}&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&buckets=100",
            world.ours.element
        )),
        "GET /exports" => plain(format!(
            "{project}/exports?element={}&from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z",
            world.ours.element
        )),
        "GET /devices/{device}/completeness" => plain(format!(
            "{project}/devices/{}/completeness?from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z",
            world.ours.device
        )),
        "GET /elements/{element}/completeness" => plain(format!(
            "{project}/elements/{}/completeness?from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z",
            world.ours.element
        )),
        _ => None,
    }
}

async fn proposal(world: &World, verb: &str) -> (String, Option<serde_json::Value>) {
    let path = format!(
        "/api/v1/projects/{}/devices/{}/clock/proposals/{}/{verb}",
        world.ours.project,
        world.ours.device,
        world.clock_proposal().await
    );
    (path, Some(json!({ "reason": "the battery was changed" })))
}
