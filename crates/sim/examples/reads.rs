//! Asks the bench's questions of a folder that is kept between runs: made and compacted at the first, only asked later.
//!
//! What a change of the read path brings is seen in seconds. `cargo run --release -p fieldkeep-sim --example reads -- DIR
//! [ROUNDS [WORD]]`, beside a release build of the program; prints the middle and the 99th percentile of each question.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fieldkeep_protocol::ProjectId;
use fieldkeep_sim::load::course::reading;

fn main() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let (folder, rounds, only) = match given.as_slice() {
        [folder] => (folder, "3", ""),
        [folder, rounds] => (folder, rounds.as_str(), ""),
        [folder, rounds, only] => (folder, rounds.as_str(), only.as_str()),
        _ => bail!("usage: reads DIR [ROUNDS [WORD]]"),
    };
    let rounds = rounds.parse().context("how many rounds")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(act(Path::new(folder), rounds, only))
}

async fn act(folder: &Path, rounds: usize, only: &str) -> Result<()> {
    let file = folder.join("reads.json");
    if !file.exists() {
        eprintln!("reads: loading");
        let made = reading::load(folder).await?;
        std::fs::write(&file, serde_json::to_vec(&made)?)?;
    }
    let made: (String, Vec<String>) = serde_json::from_slice(&std::fs::read(&file)?)?;
    let project: ProjectId = made.0.parse().context("a project's id")?;
    reading::ask(folder, project, &made.1, rounds, only).await
}
