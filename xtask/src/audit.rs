//! Licences, sources, bans and advisories with cargo-deny, offline.
//!
//! Not part of `ci`: the tool takes long to compile, and the advisories must come from somewhere: `FIELDKEEP_ADVISORIES`
//! names a copy of the RustSec database, a clone or the plain files. cargo-deny reads only a repository in a folder of its
//! own naming, so the files are committed there first, dated by the newest advisory. Fetches nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell;

/// Where `deny.toml` says that advisory databases lie, and the name that cargo-deny gives RustSec's there.
const DATABASES: &str = "target/advisory-dbs";
const RUSTSEC: &str = "advisory-db-3157b0e258782691";

/// Runs `cargo deny check`, with advisories where the database is at hand.
pub(crate) fn run() -> Result<()> {
    if !shell::succeeds("cargo", &["deny", "--version"]) {
        bail!("cargo-deny is missing: cargo install --locked cargo-deny");
    }
    let mut deny = shell::cargo();
    deny.args(["deny", "--offline", "--log-level", "error"]);
    deny.args(["check", "bans", "licenses", "sources"]);
    match std::env::var_os("FIELDKEEP_ADVISORIES") {
        Some(folder) => {
            let newest = take(Path::new(&folder))?;
            println!("audit: advisories up to {newest}");
            deny.arg("advisories");
        }
        None => println!(
            "audit: advisories left out; set FIELDKEEP_ADVISORIES to a copy of github.com/rustsec/advisory-db"
        ),
    }
    shell::run(&mut deny)
}

/// Puts the advisories of `folder` where cargo-deny looks; answers the date of the newest one.
fn take(folder: &Path) -> Result<String> {
    let (mut newest, mut count) = (String::new(), 0);
    let database = shell::root().join(DATABASES).join(RUSTSEC);
    if database.exists() {
        fs::remove_dir_all(&database)?;
    }
    for file in advisories(&folder.join("crates"))? {
        let text = fs::read_to_string(&file)?;
        let date = text
            .lines()
            .find_map(|line| line.strip_prefix("date = \"")?.strip_suffix('"'));
        newest = newest.max(date.unwrap_or_default().to_owned());
        let place = database.join(file.strip_prefix(folder)?);
        fs::create_dir_all(place.parent().unwrap_or(&database))?;
        fs::write(place, text)?;
        count += 1;
    }
    ensure!(
        count > 0 && !newest.is_empty(),
        "no advisories in {}",
        folder.join("crates").display()
    );
    let git = || {
        let mut git = Command::new("git");
        git.arg("-C").arg(&database);
        git
    };
    shell::run(git().args(["init", "--quiet"]))?;
    shell::run(git().args(["add", "--all"]))?;
    shell::run(
        git()
            .args(["-c", "user.name=audit", "-c", "user.email=audit@localhost"])
            .args(["commit", "--quiet", "--message", "Snapshot"])
            .env("GIT_COMMITTER_DATE", format!("{newest}T00:00:00Z")),
    )?;
    Ok(newest)
}

fn advisories(crates: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let list = |folder: &Path| {
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))
    };
    for name in list(crates)? {
        for file in list(&name?.path())? {
            files.push(file?.path());
        }
    }
    Ok(files)
}
