//! The web app's own tools, run by npm: install, generated client, lint, types, tests, build.

use anyhow::Result;

use crate::{setup, shell};

/// Installs the locked packages where they are not yet, and builds `web/dist`.
pub(crate) fn build() -> Result<()> {
    install()?;
    npm(&["run", "--silent", "generate"])?;
    npm(&["run", "--silent", "build"])
}

/// Everything that must pass for the web app, build and size gate included.
pub(crate) fn check() -> Result<()> {
    install()?;
    for script in ["generate", "lint", "types", "test", "build", "size"] {
        println!("web: {script}");
        npm(&["run", "--silent", script])?;
    }
    Ok(())
}

fn install() -> Result<()> {
    let folder = shell::root().join("web");
    let lock = std::fs::read(folder.join("package-lock.json"))?;
    let stamp = folder.join("node_modules/.fieldkeep-lock");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    println!("web: install npm packages");
    npm(&["ci", "--no-audit", "--no-fund", "--loglevel=error"])?;
    std::fs::write(stamp, lock)?;
    Ok(())
}

fn npm(arguments: &[&str]) -> Result<()> {
    let mut npm = setup::npm()?;
    npm.current_dir(shell::root().join("web")).args(arguments);
    shell::run(&mut npm)
}
