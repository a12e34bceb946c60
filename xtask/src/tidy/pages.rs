//! Generated pages: what is in `docs/reference/` is what the code would write today.

use std::fs;

use anyhow::Result;

use super::{File, Findings};
use crate::steps::{Tree, output};

/// A page, and the arguments with which `portcullis` prints it.
struct Page {
    path: &'static str,
    command: &'static [&'static str],
}

/// Every page in `docs/reference/` stands here.
const PAGES: &[Page] = &[];

pub(super) fn check(tree: &Tree, files: &[File]) -> Result<Findings> {
    let mut findings = Findings::new();
    for page in PAGES {
        let fresh = printed(tree, page)?;
        let found = files
            .iter()
            .find(|file| file.path == page.path)
            .map(|file| file.text.as_str());
        if found == Some(fresh.as_str()) {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(tree.root.join(page.path), fresh)?;
        } else {
            findings.push(format!(
                "{}: is stale; `UPDATE=1 cargo xtask check` writes it anew",
                page.path
            ));
        }
    }
    findings.extend(unknown(
        files,
        &PAGES.iter().map(|page| page.path).collect::<Vec<_>>(),
    ));
    Ok(findings)
}

fn printed(tree: &Tree, page: &Page) -> Result<String> {
    let mut command = tree.cargo();
    command
        .args(["run", "--quiet", "--locked", "--package", "server", "--"])
        .args(page.command);
    Ok(String::from_utf8_lossy(&output(&mut command)?).into_owned())
}

/// Pages in the generated folder that nothing generates.
pub(super) fn unknown(files: &[File], pages: &[&str]) -> Findings {
    let there = files
        .iter()
        .filter(|file| file.path.starts_with("docs/reference/"));
    let strange = there.filter(|file| !pages.contains(&file.path.as_str()));
    strange
        .map(|file| {
            format!(
                "{}: nothing generates it; add it to xtask/src/tidy/pages.rs",
                file.path
            )
        })
        .collect()
}
