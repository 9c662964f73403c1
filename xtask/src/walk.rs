//! The browser walk: the real binary, real loggers, Debian's Chromium.
//!
//! Starts `fieldkeep demo` in an empty folder on free ports, hands its sign-in
//! link to the walk in `web/walk/`, then ends the demo and looks at its exit.

use std::io::{BufRead as _, BufReader};
use std::process::{ChildStdout, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{setup, shell};

/// Runs every file of `web/walk/` against one demo.
pub(crate) fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = std::fs::File::create(shell::target().join("walk-demo.log"))?;
    let mut demo = shell::command(shell::built("fieldkeep"))
        .args([
            "demo",
            "--json",
            "--https",
            "127.0.0.1:0",
            "--device",
            "127.0.0.1:0",
        ])
        .args(["--mqtt", "127.0.0.1:0", "--dir"])
        .arg(folder.path().join("demo"))
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start the demo")?;
    let output = demo.stdout.take().context("the demo has no output")?;
    let mut lines = BufReader::new(output).lines();
    let walked = ready(&mut lines).and_then(|(url, link)| browse(&url, &link));
    shell::run(shell::command("kill").args(["-TERM", &demo.id().to_string()]))?;
    let last = lines.map_while(Result::ok).last().unwrap_or_default();
    let status = demo.wait()?;
    walked.context("the demo's log is target/walk-demo.log, pictures are in web/test-results/")?;
    ensure!(
        status.success(),
        "the demo ended with {status}: see target/walk-demo.log"
    );
    ensure!(
        last.contains("summary"),
        "the demo's last line is no summary: {last}"
    );
    println!("{last}");
    Ok(())
}

type Lines = std::io::Lines<BufReader<ChildStdout>>;

fn ready(lines: &mut Lines) -> Result<(String, String)> {
    for line in lines {
        let Ok(event) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        if event["event"] == "ready" {
            let text = |key: &str| event[key].as_str().map(str::to_owned);
            let pair = text("https").zip(text("link"));
            return pair.context("the ready line lacks an address");
        }
    }
    bail!("the demo ended before it was ready: see target/walk-demo.log")
}

fn browse(url: &str, link: &str) -> Result<()> {
    let mut walks: Vec<_> = std::fs::read_dir(shell::root().join("web/walk"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    walks.retain(|path| path.to_string_lossy().ends_with(".test.mjs"));
    walks.sort();
    ensure!(!walks.is_empty(), "web/walk holds no *.test.mjs");
    let mut node = setup::node()?;
    node.current_dir(shell::root().join("web"))
        .args(["--test", "--test-concurrency=1"])
        .args(walks)
        .env("FIELDKEEP_URL", url)
        .env("FIELDKEEP_LINK", link);
    shell::run(&mut node)
}
