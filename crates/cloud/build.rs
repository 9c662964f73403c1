//! Sees that a release carries the web app: without its build a debug binary shows a page that says how to make it, a
//! release refuses to be built.

use std::path::Path;

fn main() {
    let index = Path::new("../../web/dist/index.html");
    println!("cargo::rerun-if-changed=../../web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if release && !index.exists() {
        println!(
            "cargo::error=web/dist is missing: build the web app first (cargo xtask web), a release carries it"
        );
    }
}
