//! Front door for people and services: route table, problems, OpenAPI, live stream, embedded web app.
//!
//! Owns what goes over HTTPS to browsers and programs. Promises that every route is a row of one table whose handler
//! holds a key, that whatever is in no row is refused before it is told apart, and that only problems with known codes
//! leave. Decides nothing itself: rooms do, and get their grant. Knows nothing of the devices' front door.

pub mod door;
pub mod id;
pub mod openapi;
pub mod page;
pub mod problem;

mod compat;
mod compress;
mod fault;
mod formats;
mod headers;
mod notice;
mod parts;
mod routes;
mod streams;
mod web;

#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::sync::{Mutex, watch};

pub use door::Row;
pub use problem::Problem;
pub use routes::table;

use crate::access::Access;
use crate::backup::Backup;
use crate::clock::Clock;
use crate::db::Db;
use crate::fleet::Fleet;
use crate::keys::Keys;
use crate::pki::Pki;
use crate::projects::Projects;
use crate::series::Series;
use crate::space::Space;

/// The rooms behind this door. `serve` hands them in; a new room with routes is a field here.
pub struct Rooms {
    /// Who may do what.
    pub access: Access,
    /// Projects, locations, elements, deployments.
    pub projects: Projects,
    /// Device identities and claims.
    pub pki: Pki,
    /// What is known of each device.
    pub fleet: Fleet,
    /// Measurements.
    pub series: Series,
    /// Room on the disk.
    pub space: Space,
    /// What is known of backups.
    pub backup: Backup,
    /// Seals the answers that the door keeps.
    pub keys: Keys,
    /// Time.
    pub clock: Clock,
    /// Asked whether the instance is ready; holds what the door keeps.
    pub db: Db,
    /// Turns true when the server stops: streams that would never end do then.
    pub stopping: watch::Receiver<bool>,
}

/// What handlers work with: the rooms, and what the door itself keeps. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inside>);

struct Inside {
    rooms: Rooms,
    cookie: String,
    live: streams::Streams,
    exports: streams::Streams,
    changes: Mutex<()>,
    repeats: door::Running,
}

impl Deref for App {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.0.rooms
    }
}

impl App {
    /// The name of the session cookie.
    fn cookie(&self) -> &str {
        &self.0.cookie
    }

    /// Places for live streams.
    fn streams(&self) -> &streams::Streams {
        &self.0.live
    }

    /// Held while a change with `If-Match` compares and changes.
    fn changes(&self) -> &Mutex<()> {
        &self.0.changes
    }

    /// Requests under an `Idempotency-Key` that run.
    fn repeats(&self) -> &door::Running {
        &self.0.repeats
    }

    /// Places for exports.
    fn exports(&self) -> &streams::Streams {
        &self.0.exports
    }
}

/// The whole front door as a service. Nothing may be merged into it: what is in no row of its table is refused.
pub fn router(rooms: Rooms) -> Router {
    let app = App(Arc::new(Inside {
        cookie: rooms.access.cookie_name(),
        live: streams::Streams::live(),
        exports: streams::Streams::exports(),
        changes: Mutex::new(()),
        repeats: door::Running::default(),
        rooms,
    }));
    let trail = app.access.trail().clone();
    door::mount(table())
        .layer(from_fn(compress::compress))
        .layer(from_fn_with_state(trail, headers::outermost))
        .with_state(app)
}
