//! Licences, sources, bans and advisories with cargo-deny, offline against a dated snapshot.
//!
//! Not part of `ci`: the tool takes long to compile, and the advisories must come from somewhere.
//! `FIELDKEEP_ADVISORIES` names a folder with a clone of the advisory database.

use anyhow::{Result, bail};

use crate::shell;

/// Runs `cargo deny check`, with advisories where the database is at hand.
pub(crate) fn run() -> Result<()> {
    if !shell::succeeds("cargo", &["deny", "--version"]) {
        bail!("cargo-deny is missing: cargo install --locked cargo-deny");
    }
    let mut deny = shell::cargo();
    deny.args(["deny", "--offline", "check", "bans", "licenses", "sources"]);
    if std::env::var_os("FIELDKEEP_ADVISORIES").is_some() {
        deny.arg("advisories");
    } else {
        println!("audit: advisories left out; set FIELDKEEP_ADVISORIES to a clone of the database");
    }
    shell::run(&mut deny)
}
