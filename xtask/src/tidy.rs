//! House rules that no compiler checks: arrows between crates and rooms, file sizes, headers.
//!
//! The allowed arrows are the two tables of `docs/ARCHITECTURE.md`, so the map
//! and the check cannot differ. There is no list of exceptions.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::shell;

const MAX_LINES: usize = 600;
const EVERY_ROOM: &str = "every room";

type Arrows = BTreeMap<String, Vec<String>>;

/// Checks the whole tree; prints every offence before it fails.
pub(crate) fn run() -> Result<()> {
    let root = shell::root();
    let map = fs::read_to_string(root.join("docs/ARCHITECTURE.md"))
        .context("docs/ARCHITECTURE.md is the map that tidy reads")?;
    let mut offences = Vec::new();
    crate_arrows(&root, &table(&map, "| crate |")?, &mut offences)?;
    room_arrows(&root, &table(&map, "| room |")?, &mut offences)?;
    for file in tracked(&root)? {
        shape(&root, &file, &mut offences)?;
    }
    if offences.is_empty() {
        return Ok(());
    }
    for offence in &offences {
        eprintln!("tidy: {offence}");
    }
    bail!("{} offences against the house rules", offences.len())
}

/// Reads a Markdown table whose header starts with `head`: first column to last column.
fn table(map: &str, head: &str) -> Result<Arrows> {
    let mut lines = map.lines().skip_while(|line| !line.starts_with(head));
    lines
        .next()
        .with_context(|| format!("docs/ARCHITECTURE.md has no table {head}"))?;
    let mut arrows = Arrows::new();
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (Some(names), Some(uses)) = (cells.first(), cells.last()) else {
            continue;
        };
        let uses: Vec<String> = words(uses);
        for name in words(names) {
            arrows.insert(name, uses.clone());
        }
    }
    Ok(arrows)
}

fn words(cell: &str) -> Vec<String> {
    cell.split(',')
        .map(|word| {
            word.trim()
                .trim_matches('`')
                .trim_end_matches('/')
                .to_owned()
        })
        .filter(|word| !word.is_empty() && word != "–")
        .collect()
}

fn crate_arrows(root: &Path, allowed: &Arrows, offences: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join("crates"))? {
        let folder = entry?.path();
        let name = file_name(&folder);
        let Some(uses) = allowed.get(&name) else {
            offences.push(format!("crates/{name} is not in the crate table"));
            continue;
        };
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        let dependencies = manifest
            .lines()
            .filter_map(|line| line.strip_prefix("fieldkeep-"))
            .filter_map(|rest| rest.split(['.', ' ', '=']).next());
        for other in dependencies {
            if !uses.iter().any(|one| one == other) {
                offences.push(format!("crates/{name} may not depend on {other}"));
            }
        }
    }
    Ok(())
}

fn room_arrows(root: &Path, allowed: &Arrows, offences: &mut Vec<String>) -> Result<()> {
    let source = root.join("crates/cloud/src");
    for file in rust_files(&source)? {
        let inside = file.strip_prefix(&source)?;
        let first = inside.components().next().context("a file has a name")?;
        let room = first
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned();
        // Tests may set their scene with any room; they are not part of the product.
        let test = inside.components().any(|part| {
            let part = part.as_os_str();
            part == "tests" || part == "tests.rs"
        });
        if room == "lib" || room == "main" || test {
            continue;
        }
        let Some(uses) = allowed.get(&room) else {
            offences.push(format!("room {room} is not in the room table"));
            continue;
        };
        let text = fs::read_to_string(&file)?;
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for other in rooms_named(line) {
                let fine = other == room
                    || !allowed.contains_key(&other)
                    || uses.iter().any(|one| *one == other || one == EVERY_ROOM);
                if !fine {
                    let place = inside.display();
                    offences.push(format!(
                        "{place}:{}: {room} may not use {other}",
                        number + 1
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The rooms in `crate::room` and `crate::{room, …}` paths of a line.
fn rooms_named(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let list = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split('}').next());
        for path in list.map_or_else(|| vec![rest], |list| list.split(',').collect()) {
            let word: String = path
                .trim()
                .chars()
                .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                .collect();
            rooms.push(word);
        }
    }
    rooms
}

fn shape(root: &Path, file: &str, offences: &mut Vec<String>) -> Result<()> {
    let rust = file.ends_with(".rs");
    let script = [".ts", ".tsx", ".mjs", ".mts"]
        .iter()
        .any(|end| file.ends_with(end));
    if !(rust || script) {
        return Ok(());
    }
    let Ok(text) = fs::read_to_string(root.join(file)) else {
        return Ok(());
    };
    let lines = text.lines().count();
    if lines > MAX_LINES {
        offences.push(format!(
            "{file} has {lines} lines, at most {MAX_LINES}: split it by noun"
        ));
    }
    let headed = text.starts_with("//") || text.starts_with("/*");
    if (rust && !text.starts_with("//!")) || !headed {
        offences.push(format!("{file} does not open with what it owns"));
    }
    Ok(())
}

fn tracked(root: &Path) -> Result<Vec<String>> {
    let mut git = shell::command("git");
    git.current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    Ok(shell::output(&mut git)?
        .lines()
        .map(str::to_owned)
        .collect())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
