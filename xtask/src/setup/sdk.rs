//! The parts of the Python SDK's sources that are in no wheel, under `target/peers/sdk/`: its fixture and its client.
//!
//! Both are the conformance suite's counterparts; the tests that drive real clients have the fixture as an upstream.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use anyhow::{Context as _, Result, ensure};

use super::hash;
use crate::steps::{Tree, run};

const PIN: &str = "crates/testkit/peers/py/sdist.txt";
/// What is unpacked, below the sources' own folder.
const UNPACKED: &[&str] = &[
    "examples/servers/everything-server",
    ".github/actions/conformance/client.py",
];

/// Fetches them if they are not there; the caller holds the lock, and the Python environment is installed.
pub(super) fn install(tree: &Tree, peers: &Path) -> Result<()> {
    let folder = peers.join("sdk");
    let pin = tree.root.join(PIN);
    let wanted = hash(slice::from_ref(&pin))?;
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        println!("    {} is up to date", folder.display());
        return Ok(());
    }
    let fetched = folder.join("fetched");
    fs::create_dir_all(&fetched)?;
    let archive = fetch(tree, peers, &pin, &fetched)?;
    let mut tar = tree.command("tar");
    tar.arg("xzf").arg(archive).arg("-C").arg(&folder);
    tar.args(["--strip-components=1", "--wildcards"]);
    run(tar.args(UNPACKED.iter().map(|path| format!("mcp-*/{path}"))))?;
    fs::remove_dir_all(&fetched).context("removing the archive")?;
    fs::write(&stamp, wanted).context("writing the stamp")
}

/// The archive, when its hash is the pinned one.
fn fetch(tree: &Tree, peers: &Path, pin: &Path, into: &Path) -> Result<PathBuf> {
    run(tree
        .command(peers.join("py/bin/pip"))
        .args([
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .args(["--no-binary", "mcp", "--require-hashes", "--requirement"])
        .arg(pin)
        .arg("--dest")
        .arg(into))?;
    let mut archives: Vec<_> = fs::read_dir(into)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    ensure!(
        archives.len() == 1,
        "{} holds {} files",
        into.display(),
        archives.len()
    );
    archives.pop().context("no archive")
}
