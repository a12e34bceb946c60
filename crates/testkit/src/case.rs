//! Behaviour written down: a Markdown file is the test, the example, and a page of documentation at once.
//!
//! Blocks of a file run in order, in a [`World`](crate::world::World) of their own; a block that nobody
//! understands fails. They are
//!
//! - `toml config`: the gate's config; a second one is a reload. `{scripted}` is our misbehaving upstream.
//! - `text file PATH`: a file beside the config, there from the start.
//! - `text advance`: lets time pass: `600ms`, `60s`.
//! - `json from WHO`: a modern request, `_meta` and headers filled in. `over 2025-06-18` sends it within a
//!   session, `over stdio` on a pipe (`over stdio 2025-06-18` after a handshake), `at desk` to the virtual server of
//!   that name, `raw` as it stands, `100 times` as often, and `meanwhile` goes on without the answer, which is looked at when all other blocks are done.
//! - `http from WHO`: a whole request, lacking at most `Host`, `Authorization`, `Content-Length`. `{session WHO
//!   REVISION}` is a session's id, `{fill 2000}` so many letters.
//! - `json reply STATUS [header=value …] [events]`: what comes back; an array of messages if `events`.
//!   `json reply` on a pipe, `json reply none` where none may come, and an empty block is an empty body.
//! - `json record`: members of the audit record; an array for several.
//!
//! In what comes back `"*"` stands for any value, and the member `"...": "*"` for any others. `UPDATE=1` writes
//! `reply` and `record` anew: read the diff as carefully as code. `page` reads and writes the files, `run` runs
//! them, `matching` compares.

mod coverage;
mod matching;
mod page;
mod run;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

/// The test that is no file.
const UNCOVERED: &str = "uncovered";

/// A test runner for `cargo test` and nextest: one test per file, named like the file.
#[must_use]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test runner talks to whoever runs it"
)]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-') && *argument != "terse")
        .collect();
    let wanted = |name: &String| {
        filters.is_empty()
            || filters.iter().any(|filter| {
                if has("--exact") {
                    name == *filter
                } else {
                    name.contains(filter.as_str())
                }
            })
    };
    let names: Vec<String> = match names() {
        Ok(names) => names.into_iter().filter(wanted).collect(),
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    if has("--ignored") {
        return ExitCode::SUCCESS;
    }
    if has("--list") {
        for name in &names {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for name in &names {
        match one(name) {
            Ok(()) => println!("test {name} ... ok"),
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED");
                eprintln!("--- cases/{name}.md\n{error:#}\n");
            }
        }
    }
    println!("\n{} cases, {failed} failed", names.len());
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether what is written down is to be replaced by what is.
fn updates() -> bool {
    std::env::var_os("UPDATE").is_some_and(|update| update == "1")
}

fn one(name: &str) -> Result<()> {
    if name == UNCOVERED {
        return coverage::check(&folder(), updates());
    }
    let file = folder().join(format!("{name}.md"));
    let text = fs::read_to_string(&file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let fresh = runtime.block_on(run::run(&text, updates()))?;
    if fresh != text {
        fs::write(&file, fresh)?;
    }
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases")
}

fn names() -> Result<Vec<String>> {
    let mut names: Vec<String> = files(&folder())?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.push(UNCOVERED.to_owned());
    Ok(names)
}

/// All files with their names, in order.
fn files(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("the folder {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                let name = path.strip_prefix(root)?.with_extension("");
                found.push((name.to_string_lossy().into_owned(), path));
            }
        }
    }
    found.sort();
    Ok(found)
}
