//! `cargo xtask …`: the one list of checks, and the builds that cargo alone does not do.
//!
//! Owns what runs before a change may land, in which order. Holds no product
//! code and no product decision; each step is a call of a tool that a person could type.

mod audit;
mod bench;
mod ci;
mod proof;
mod setup;
mod shell;
mod tidy;
mod walk;
mod web;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Usage: cargo xtask COMMAND

  ci          everything that must pass: what `make test` runs
  tidy        arrows between rooms, file sizes, headers
  web         build the web app into web/dist
  walk        drive the real binary with a real browser
  openapi     write docs/openapi.json anew from the handlers
  bench [ARGS] measure everything beside its peers (`--quick`: within ten minutes)
  demo [ARGS] build everything and run `fieldkeep demo ARGS`
  setup       install what building needs (`setup test`: and what the tests need)
  audit       licences, sources and advisories with cargo-deny (not part of ci)

Example: cargo xtask ci";

fn main() -> ExitCode {
    match act() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Causes on one line, and no backtrace: a failed step is nothing to debug here.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match command.as_str() {
        "ci" => ci::run(),
        "tidy" => tidy::run(),
        "web" => web::build(),
        "walk" => walk::run(),
        "openapi" => ci::write_openapi(),
        "bench" => bench::run(&rest),
        "demo" => ci::demo(&rest),
        "setup" => setup::run(rest.first().is_some_and(|what| what == "test")),
        "audit" => audit::run(),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        _ => bail!("unknown command {command:?}\n\n{HELP}"),
    }
}
