//! What must pass before a change lands, in order: cheap checks first, the browser last.

use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::{proof, setup, shell, tidy, walk, web};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("setup", || setup::run(true)),
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("no_std proof of protocol", proof::run),
    ("web: lint, types, tests, build, size", web::check),
    ("build", build),
    ("clippy", clippy),
    ("rustdoc", rustdoc),
    ("tests", tests),
    ("doctests", doctests),
    ("browser walk", walk::run),
];

/// Runs every step; stops at the first that fails and says which.
pub(crate) fn run() -> Result<()> {
    for (number, (name, step)) in STEPS.iter().enumerate() {
        println!("\n== {}/{} {name}", number + 1, STEPS.len());
        let start = now();
        step().with_context(|| format!("step failed: {name}"))?;
        println!("== {name}: ok in {} s", start.elapsed().as_secs());
    }
    println!("\nAll {} steps passed.", STEPS.len());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a build tool's stopwatch")]
fn now() -> Instant {
    Instant::now()
}

fn fmt() -> Result<()> {
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
}

fn build() -> Result<()> {
    shell::run(shell::cargo().args(["build", "--quiet", "--locked", "--workspace", "--bins"]))
}

fn clippy() -> Result<()> {
    let arguments = [
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    shell::run(shell::cargo().arg("clippy").args(arguments))
}

fn rustdoc() -> Result<()> {
    shell::run(
        shell::cargo()
            .args(["doc", "--quiet", "--locked", "--workspace", "--no-deps"])
            .arg("--document-private-items")
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn tests() -> Result<()> {
    let mut cargo = shell::cargo();
    if shell::succeeds("cargo", &["nextest", "--version"]) {
        cargo.args([
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--no-fail-fast",
        ]);
    } else {
        cargo.args([
            "test",
            "--locked",
            "--workspace",
            "--all-targets",
            "--no-fail-fast",
        ]);
    }
    shell::run(&mut cargo)
}

fn doctests() -> Result<()> {
    shell::run(shell::cargo().args(["test", "--quiet", "--locked", "--workspace", "--doc"]))
}

/// Writes `docs/openapi.json` from the handlers; the tests refuse a stale one.
pub(crate) fn write_openapi() -> Result<()> {
    build()?;
    let document = shell::output(shell::command(shell::built("fieldkeep")).arg("openapi"))?;
    std::fs::write(shell::root().join("docs/openapi.json"), document + "\n")?;
    Ok(())
}

/// Builds the web app and both programs, then becomes `fieldkeep demo`.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    println!("1/4 Looking for what is missing …");
    setup::run(false)?;
    println!("2/4 Building the web app …");
    web::build()?;
    println!("3/4 Building the cloud and the logger (some minutes the first time) …");
    shell::run(shell::cargo().args(["build", "--locked", "--workspace", "--bins"]))?;
    println!("4/4 Starting …");
    use std::os::unix::process::CommandExt as _;
    let mut demo = shell::command(shell::built("fieldkeep"));
    demo.arg("demo").args(arguments);
    // On success this never returns: Ctrl-C and the exit status are the demo's own.
    Err(demo.exec()).context("cannot start the demo")
}
