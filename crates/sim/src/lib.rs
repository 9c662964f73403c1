//! Whole systems on loopback for tests: the real binaries as processes, real
//! TLS, real files, and faults at seeded moments.
//!
//! Owns starting, killing and asking them; each test under `tests/` tells one
//! story. Reads results only through doors that any user has: the REST API,
//! the command line, the data folder's bytes. Nobody depends on this crate.

pub mod client;
pub mod cloud;
pub mod faults;
pub mod load;
pub mod logger;
pub mod seed;
pub mod story;
pub mod stranger;
pub mod wait;

use std::path::PathBuf;

/// Everything a test system keeps, deleted at the end.
pub type Folder = tempfile::TempDir;

/// An empty folder for one system.
///
/// # Panics
/// Where no folder can be made.
#[must_use]
pub fn folder() -> Folder {
    tempfile::Builder::new()
        .prefix("fieldkeep-sim-")
        .tempdir()
        .expect("a temporary folder")
}

/// A program that the workspace built beside this test.
///
/// # Panics
/// Where it was not built: `cargo build --workspace --bins`.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let built = test.ancestors().nth(2).map(|target| target.join(name));
    match built {
        Some(path) if path.exists() => path,
        _ => panic!("{name} is not built: run `cargo build --workspace --bins` first"),
    }
}
