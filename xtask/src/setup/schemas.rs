//! The protocol's JSON Schemas, one file a revision, under `target/peers/schemas/`.
//!
//! The official conformance suite carries them, bundled into its program. The suite's tarball alone is fetched here,
//! without what the suite needs to run; its hash is the one in the lock file that `cargo xtask conformance` installs
//! from. `conformance/schemas.mjs` takes the schemas out.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::hash;
use crate::steps::{Tree, output, run};

const SUITE: &str = "@modelcontextprotocol/conformance";
const LOCK: &str = "crates/testkit/peers/conformance/package-lock.json";

/// Fetches them if they are not there; the caller holds the lock.
pub(super) fn install(tree: &Tree, peers: &Path) -> Result<()> {
    let folder = peers.join("schemas");
    let lock = tree.root.join(LOCK);
    let script = tree.root.join("conformance/schemas.mjs");
    let wanted = hash(&[lock.clone(), script.clone()])?;
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        println!("    {} is up to date", folder.display());
        return Ok(());
    }
    let fetched = folder.join("fetched");
    fs::create_dir_all(&fetched)?;
    let archive = fetch(tree, &lock, &fetched)?;
    let mut tar = tree.command("tar");
    tar.arg("xzf").arg(fetched.join(archive));
    run(tar.arg("-C").arg(&fetched).arg("package/dist/index.js"))?;
    let bundle = fetched.join("package/dist/index.js");
    run(tree.command("node").args([&script, &bundle]).arg(&folder))?;
    fs::remove_dir_all(&fetched).context("removing the suite's tarball")?;
    fs::write(&stamp, wanted).context("writing the stamp")
}

/// The name of the tarball, when it is the one that the lock file names.
fn fetch(tree: &Tree, lock: &Path, into: &Path) -> Result<String> {
    let lock: Value = serde_json::from_slice(&fs::read(lock)?)?;
    let pin = &lock["packages"][format!("node_modules/{SUITE}")];
    let version = pin["version"].as_str().context("the suite has no pin")?;
    let mut pack = tree.command("npm");
    pack.args(["pack", "--json", "--ignore-scripts", "--loglevel=error"])
        .arg(format!("{SUITE}@{version}"))
        .arg("--pack-destination")
        .arg(into);
    let told: Value = serde_json::from_slice(&output(&mut pack)?).context("what npm printed")?;
    ensure!(
        pin["integrity"].is_string() && told[0]["integrity"] == pin["integrity"],
        "the registry's {SUITE} {version} is not the pinned one"
    );
    let name = told[0]["filename"].as_str().context("npm names no file")?;
    Ok(name.to_owned())
}
