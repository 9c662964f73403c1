//! The proof on the host that `protocol` needs neither the standard library nor an allocator.
//!
//! Only the host's target is installed, so a `no_std` static library with its own panic
//! handler stands in for a microcontroller: linking `std` into it stops with E0152.

use anyhow::Result;

use crate::shell;

/// Builds the freestanding library.
pub(crate) fn run() -> Result<()> {
    let manifest = shell::root().join("crates/protocol/nostd-proof/Cargo.toml");
    shell::run(
        shell::cargo()
            .args(["build", "--quiet", "--locked", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(shell::target().join("nostd-proof")),
    )
}
