//! Owns the build time that the logger carries: a clock behind it cannot be right.
//! `SOURCE_DATE_EPOCH` replaces it, so that builds can be reproduced.

use std::time::{SystemTime, UNIX_EPOCH};

#[expect(
    clippy::disallowed_methods,
    reason = "the build time is what this script is for"
)]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    };
    let built = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or_else(now);
    println!("cargo::rustc-env=FIELDKEEP_BUILD_UNIX={built}");
}
