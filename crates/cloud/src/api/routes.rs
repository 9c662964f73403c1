//! The route table: every way into this front door, one row each.
//!
//! A new route is a row here and a sample request in `api/tests/samples.rs`; the access matrix
//! (`tests/golden/access.txt`) and `docs/openapi.json` then show what it changes.

mod app;
mod auth;
mod changes;
mod claims;
mod clocks;
mod compatibility;
mod completeness;
mod deployments;
mod devices;
mod elements;
mod factors;
mod health;
mod instance;
mod invitations;
mod live;
mod locations;
mod members;
mod oauth;
mod operators;
mod people;
mod points;
mod projects;
mod retention;
mod service_accounts;
mod sessions;
mod tables;
mod trail;
mod units;

use fieldkeep_protocol::LocationId;
use http::Method;

use super::App;
use super::door::{Row, door, page};
use super::fault::projects as projects_fault;
use super::problem::Problem;
use crate::access::{Grant, Read};
use crate::projects::ProjectsError;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

macro_rules! v1 {
    ($path:literal) => {
        concat!("/api/v1", $path)
    };
}

macro_rules! project {
    ($path:literal) => {
        concat!("/api/v1/projects/{project}", $path)
    };
}

mod callers;

/// The table.
#[must_use]
pub fn table() -> Vec<Row> {
    let mut rows = public();
    rows.extend(callers::on_the_way_in());
    rows.extend(signed_in());
    rows.extend(described());
    rows.extend(measured());
    rows.extend(kept());
    rows.extend(callers::people());
    rows.extend(callers::services());
    rows.extend(super::compat::rows());
    rows
}

/// For anybody on the network. A reviewer looks at every row that is added here.
fn public() -> Vec<Row> {
    vec![
        page("/", app::redirect, "The web app"),
        page("/app", app::redirect, "The web app"),
        page("/app/", app::files, "The web app"),
        page("/app/{*rest}", app::files, "The web app"),
        door(GET, "/livez", health::live, "Is the process alive?"),
        door(GET, "/readyz", health::ready, "Is the instance ready?"),
        door(
            POST,
            v1!("/auth/link"),
            auth::link,
            "Sign in with a link's token",
        ),
        door(
            POST,
            v1!("/auth/sign-in"),
            auth::sign_in,
            "Sign in with a password",
        ),
        door(
            POST,
            v1!("/auth/passkey/challenge"),
            factors::sign_in_challenge,
            "A challenge for signing in with a passkey",
        )
        .reading(),
        door(
            POST,
            v1!("/auth/passkey"),
            factors::sign_in,
            "Sign in with a passkey",
        ),
        door(
            POST,
            v1!("/auth/invitation"),
            invitations::offer,
            "What an invitation offers",
        )
        .reading(),
        door(
            POST,
            v1!("/auth/invitation/accept"),
            invitations::accept,
            "Accept an invitation as somebody new",
        ),
        door(
            POST,
            "/oauth/token",
            oauth::token,
            "A token for a service account or a confirmed code",
        ),
        door(POST, "/oauth/revoke", oauth::revoke, "End a token"),
        door(
            POST,
            "/oauth/device_authorization",
            oauth::device_authorization,
            "Begin to ask for a person's token by a code",
        ),
        door(
            GET,
            "/.well-known/oauth-authorization-server",
            oauth::metadata,
            "What the token endpoint can",
        ),
    ]
}

/// About the caller and the instance.
fn signed_in() -> Vec<Row> {
    vec![
        door(
            POST,
            v1!("/auth/password"),
            auth::password,
            "Set my password",
        ),
        door(
            POST,
            v1!("/auth/sign-out"),
            auth::sign_out,
            "End my session",
        ),
        door(GET, v1!("/me"), auth::me, "Who I am, and what I am where"),
        door(
            GET,
            v1!("/instance/backup"),
            instance::backup,
            "How the instance's backups are",
        ),
        door(GET, v1!("/openapi.json"), app::document, "This document"),
        door(
            GET,
            v1!("/projects"),
            projects::list,
            "The projects that I am a member of",
        ),
        door(POST, v1!("/projects"), projects::create, "Make a project"),
        door(
            GET,
            v1!("/instance/space"),
            instance::space,
            "The room on the disk",
        ),
    ]
}

/// What a project consists of.
fn described() -> Vec<Row> {
    vec![
        door(GET, project!(""), projects::one, "A project").moving(&["counts"]),
        door(PATCH, project!(""), projects::change, "Change a project"),
        door(GET, project!("/locations"), locations::list, "Locations"),
        door(
            POST,
            project!("/locations"),
            locations::create,
            "Make a location",
        ),
        door(
            GET,
            project!("/locations/{location}"),
            locations::one,
            "A location",
        ),
        door(
            PATCH,
            project!("/locations/{location}"),
            locations::change,
            "Change a location",
        ),
        door(
            DELETE,
            project!("/locations/{location}"),
            locations::remove,
            "Remove a location",
        ),
        door(
            GET,
            project!("/devices"),
            devices::list,
            "Devices with their state",
        ),
        door(
            GET,
            project!("/devices/{device}"),
            devices::one,
            "A device with its state",
        )
        .moving(devices::MOVING),
        door(
            PATCH,
            project!("/devices/{device}"),
            devices::change,
            "Change a device",
        ),
        door(
            GET,
            project!("/devices/{device}/log"),
            devices::log,
            "A device's log, newest first",
        ),
        door(
            GET,
            project!("/devices/{device}/ledger"),
            devices::ledger,
            "Which records arrived",
        ),
        door(
            GET,
            project!("/devices/{device}/quarantine"),
            devices::quarantine,
            "What could not be read",
        ),
        door(
            GET,
            project!("/devices/{device}/completeness"),
            completeness::of_device,
            "How complete a device's records are",
        ),
        door(
            GET,
            project!("/devices/{device}/clock"),
            clocks::one,
            "What is known of a device's clock",
        ),
        door(
            POST,
            project!("/devices/{device}/clock/stamps"),
            clocks::stamp,
            "Give records other times",
        ),
        door(
            POST,
            project!("/devices/{device}/clock/release"),
            clocks::release,
            "Believe times as they were sent",
        ),
        door(
            POST,
            project!("/devices/{device}/clock/proposals/{proposal}/confirm"),
            clocks::confirm,
            "Confirm a proposal",
        ),
        door(
            POST,
            project!("/devices/{device}/clock/proposals/{proposal}/dismiss"),
            clocks::dismiss,
            "Dismiss a proposal",
        ),
        door(GET, project!("/claims"), claims::list, "Claims"),
        door(
            POST,
            project!("/claims"),
            claims::create,
            "Make a claim: one device may enrol",
        )
        .secret(),
        door(
            DELETE,
            project!("/claims/{claim}"),
            claims::remove,
            "Withdraw a claim",
        ),
        door(
            GET,
            project!("/elements"),
            elements::list,
            "Elements with their latest value",
        ),
        door(
            POST,
            project!("/elements"),
            elements::create,
            "Make an element",
        ),
        door(
            GET,
            project!("/elements/{element}"),
            elements::one,
            "An element with its latest value",
        )
        .moving(&["latest"]),
        door(
            PATCH,
            project!("/elements/{element}"),
            elements::change,
            "Change an element",
        ),
        door(
            GET,
            project!("/elements/{element}/unit"),
            units::list,
            "The changes of an element's unit",
        ),
        door(
            POST,
            project!("/elements/{element}/unit"),
            units::change,
            "Change an element's unit: relabel, or rescale a range",
        ),
        door(
            GET,
            project!("/elements/{element}/completeness"),
            completeness::of_element,
            "How complete an element is",
        ),
        door(
            GET,
            project!("/deployments"),
            deployments::list,
            "Which channel feeds which element, and when",
        ),
        door(
            POST,
            project!("/deployments"),
            deployments::create,
            "Let a channel feed an element",
        ),
        door(
            GET,
            project!("/deployments/{deployment}"),
            deployments::one,
            "A deployment",
        ),
        door(
            PATCH,
            project!("/deployments/{deployment}"),
            deployments::change,
            "End a deployment",
        ),
    ]
}

/// Measurements.
fn measured() -> Vec<Row> {
    vec![
        door(
            GET,
            project!("/latest"),
            points::latest,
            "The newest value of elements",
        ),
        door(
            GET,
            project!("/points"),
            points::read,
            "Points, or buckets of them",
        ),
        door(
            GET,
            project!("/exports"),
            tables::export,
            "All points of a range, as a file",
        ),
        door(
            GET,
            project!("/changes"),
            changes::list,
            "What changed since a revision",
        ),
        door(
            GET,
            project!("/live"),
            live::stream,
            "New points as they arrive",
        ),
    ]
}

/// How long measurements are kept.
fn kept() -> Vec<Row> {
    vec![
        door(
            GET,
            project!("/retention"),
            retention::project,
            "How long measurements are kept",
        ),
        door(
            PUT,
            project!("/retention"),
            retention::set_project,
            "Set how long measurements are kept",
        ),
        door(
            GET,
            project!("/retention/preview"),
            retention::preview,
            "What a policy would remove now",
        ),
        door(
            POST,
            project!("/retention/hold"),
            retention::hold_project,
            "Set a legal hold on the project",
        ),
        door(
            POST,
            project!("/retention/release"),
            retention::release_project,
            "Release the project's legal hold",
        ),
        door(
            GET,
            project!("/deletions"),
            retention::deletions,
            "What was deleted",
        ),
        door(
            GET,
            project!("/elements/{element}/retention"),
            retention::element,
            "How long an element is kept",
        ),
        door(
            PUT,
            project!("/elements/{element}/retention"),
            retention::set_element,
            "Set how long an element is kept",
        ),
        door(
            DELETE,
            project!("/elements/{element}/retention"),
            retention::follow,
            "Let an element follow its project",
        ),
        door(
            POST,
            project!("/elements/{element}/retention/hold"),
            retention::hold_element,
            "Set a legal hold on an element",
        ),
        door(
            POST,
            project!("/elements/{element}/retention/release"),
            retention::release_element,
            "Release an element's legal hold",
        ),
    ]
}

/// A location that a body names must be one that the grant reaches.
async fn location_is_known(
    app: &App,
    grant: &Grant<'_, Read>,
    location: Option<LocationId>,
) -> Result<(), Problem> {
    let Some(location) = location else {
        return Ok(());
    };
    match app.projects.location(grant, location).await {
        Ok(_) => Ok(()),
        Err(ProjectsError::NotFound(_)) => {
            Err(Problem::field("location", "does not exist in this project"))
        }
        Err(other) => Err(projects_fault(other)),
    }
}
