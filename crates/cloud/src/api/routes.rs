//! The route table: every way into this front door, one row each.
//!
//! A new route is a row here and a sample request in `api/tests/samples.rs`; the access matrix
//! (`tests/golden/access.txt`) and `docs/openapi.json` then show what it changes.

mod app;
mod auth;
mod changes;
mod claims;
mod completeness;
mod deployments;
mod devices;
mod elements;
mod health;
mod live;
mod locations;
mod people;
mod points;
mod projects;
mod tables;

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

/// The table.
#[must_use]
pub fn table() -> Vec<Row> {
    let mut rows = public();
    rows.extend(signed_in());
    rows.extend(described());
    rows.extend(measured());
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
        door(GET, v1!("/openapi.json"), app::document, "This document"),
        door(
            GET,
            v1!("/projects"),
            projects::list,
            "The projects that I am a member of",
        ),
        door(POST, v1!("/projects"), projects::create, "Make a project"),
    ]
}

/// What a project consists of.
fn described() -> Vec<Row> {
    vec![
        door(GET, project!(""), projects::one, "A project"),
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
        ),
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
        door(GET, project!("/claims"), claims::list, "Claims"),
        door(
            POST,
            project!("/claims"),
            claims::create,
            "Make a claim: one device may enrol",
        ),
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
        ),
        door(
            PATCH,
            project!("/elements/{element}"),
            elements::change,
            "Change an element",
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
            PATCH,
            project!("/deployments/{deployment}"),
            deployments::change,
            "End a deployment",
        ),
        door(GET, project!("/members"), people::members, "Members"),
        door(GET, project!("/keys"), people::keys, "API keys"),
        door(
            POST,
            project!("/keys"),
            people::create_key,
            "Make an API key",
        ),
        door(
            DELETE,
            project!("/keys/{key}"),
            people::revoke_key,
            "Revoke an API key",
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
