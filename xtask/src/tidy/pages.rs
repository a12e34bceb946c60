//! Generated pages: what is in `docs/reference/` is what the code would write today.
//!
//! The code is asked through the binary `pages` of `testkit`, which sees every room; a new page is added there. Log events
//! are read from the sources, by `logs`. Pages
//! that tell what a test saw are that test's: it holds them against what it sees, and writes them with `UPDATE=1`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};

use super::{Findings, logs, tracked};
use crate::steps::{Tree, output};

const FOLDER: &str = "docs/reference";
/// Pages that a test keeps.
const OBSERVED: &[&str] = &["interop.md"];

/// Compares what is there with what the code would write.
pub(crate) fn check(tree: &Tree) -> Result<()> {
    let findings = judge(&committed(tree)?, &generated(tree)?);
    for finding in &findings {
        println!("    {FOLDER}/{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        _ => bail!("generated pages are stale; `cargo xtask bless` writes them anew"),
    }
}

/// Writes what the code would write.
pub(crate) fn bless(tree: &Tree) -> Result<()> {
    let folder = tree.root.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let generated = generated(tree)?;
    for (name, text) in &generated {
        fs::write(folder.join(name), text)?;
    }
    for name in committed(tree)?
        .keys()
        .filter(|name| !generated.contains_key(*name))
    {
        fs::remove_file(folder.join(name))?;
    }
    println!("    {} pages in {FOLDER}", generated.len());
    Ok(())
}

type Pages = BTreeMap<String, String>;

pub(super) fn judge(committed: &Pages, generated: &Pages) -> Findings {
    let stale = generated
        .iter()
        .filter(|(name, text)| committed.get(*name) != Some(text));
    let stale = stale.map(|(name, _)| format!("{name}: is not what the code would write"));
    let strange = committed
        .keys()
        .filter(|name| !generated.contains_key(*name));
    stale
        .chain(strange.map(|name| format!("{name}: nothing generates it")))
        .collect()
}

fn generated(tree: &Tree) -> Result<Pages> {
    let mut command = tree.cargo();
    command.args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "testkit",
        "--bin",
        "pages",
    ]);
    let pages = serde_json::from_slice(&output(&mut command)?);
    let mut pages: Pages = pages.context("the output of `pages`")?;
    pages.insert(logs::NAME.to_owned(), logs::page(&tracked(tree)?)?);
    Ok(pages)
}

fn committed(tree: &Tree) -> Result<Pages> {
    let mut pages = Pages::new();
    let folder = tree.root.join(FOLDER);
    if !folder.exists() {
        return Ok(pages);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !OBSERVED.contains(&name.as_str()) {
            pages.insert(name, fs::read_to_string(entry.path())?);
        }
    }
    Ok(pages)
}
