//! What clippy cannot say about the tree.
//!
//! A rule reads and reports; it changes nothing. All findings are told at once. Each rule's decision is a plain
//! function of text, so that `tests` can show it a wrong tree.

mod arrows;
mod crates;
mod files;
mod logs;
pub(crate) mod pages;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::steps::{Tree, output};

/// What is wrong, starting with where.
type Findings = Vec<String>;

/// Runs every rule.
pub(crate) fn tidy(tree: &Tree) -> Result<()> {
    let files = tracked(tree)?;
    let mut findings = Findings::new();
    findings.extend(arrows::check(tree)?);
    findings.extend(crates::check(tree)?);
    findings.extend(files::headers(&files));
    findings.extend(files::forgotten(&files));
    findings.extend(files::places(&files));
    findings.extend(files::changes(&files));
    findings.extend(files::unlisted(&files));
    for finding in &findings {
        println!("    {finding}");
    }
    match findings.len() {
        0 => Ok(()),
        n => bail!("{n} findings"),
    }
}

/// A text file that is, or is about to be, in the repository.
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

/// Every text file that git tracks, or would track if asked to add everything.
fn tracked(tree: &Tree) -> Result<Vec<File>> {
    let listed = output(tree.command("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let listed = String::from_utf8(listed).context("a path in the tree is not UTF-8")?;
    let paths = listed.split_terminator('\0');
    Ok(paths.filter_map(|path| read(&tree.root, path)).collect())
}

/// `None` for what is not text, and for what is tracked but deleted.
fn read(root: &Path, path: &str) -> Option<File> {
    let text = fs::read_to_string(root.join(path)).ok()?;
    Some(File {
        path: path.to_owned(),
        text,
    })
}
