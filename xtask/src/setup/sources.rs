//! Parts of Python packages' sources that are in no wheel.
//!
//! Of the SDK its fixture and its client, which are the conformance suite's counterparts; the tests that drive real clients
//! have the fixture as an upstream. Of the JSON Schema validator the official test suite, which it carries.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use anyhow::{Context as _, Result, ensure};

use super::hash;
use crate::steps::{Tree, run};

/// A package of which something is unpacked.
struct Sources {
    package: &'static str,
    /// Version and hash, in the way of pip.
    pin: &'static str,
    /// The folder under `target/peers/`.
    folder: &'static str,
    /// What is unpacked, below the sources' own folder.
    unpacked: &'static [&'static str],
}

const SOURCES: &[Sources] = &[
    Sources {
        package: "mcp",
        pin: "crates/testkit/peers/py/sdist.txt",
        folder: "sdk",
        unpacked: &[
            "examples/servers/everything-server",
            ".github/actions/conformance/client.py",
        ],
    },
    Sources {
        package: "jsonschema",
        pin: "crates/testkit/peers/py/suite.txt",
        folder: "json-schema-suite",
        unpacked: &["json/tests", "json/remotes", "json/LICENSE"],
    },
];

/// Fetches what is not there; the caller holds the lock, and the Python environment is installed.
pub(super) fn install(tree: &Tree, peers: &Path) -> Result<()> {
    SOURCES
        .iter()
        .try_for_each(|sources| sources.install(tree, peers))
}

impl Sources {
    fn install(&self, tree: &Tree, peers: &Path) -> Result<()> {
        let folder = peers.join(self.folder);
        let pin = tree.root.join(self.pin);
        let wanted = hash(slice::from_ref(&pin))?;
        let stamp = folder.join("stamp");
        if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            println!("    {} is up to date", folder.display());
            return Ok(());
        }
        let fetched = folder.join("fetched");
        fs::create_dir_all(&fetched)?;
        let archive = self.fetch(tree, peers, &pin, &fetched)?;
        let mut tar = tree.command("tar");
        tar.arg("xzf").arg(archive).arg("-C").arg(&folder);
        tar.args(["--strip-components=1", "--wildcards"]);
        let part = |path| format!("{}-*/{path}", self.package);
        run(tar.args(self.unpacked.iter().map(part)))?;
        fs::remove_dir_all(&fetched).context("removing the archive")?;
        fs::write(&stamp, wanted).context("writing the stamp")
    }

    /// The archive, when its hash is the pinned one.
    fn fetch(&self, tree: &Tree, peers: &Path, pin: &Path, into: &Path) -> Result<PathBuf> {
        run(tree
            .command(peers.join("py/bin/pip"))
            .args([
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
            ])
            .args(["--no-binary", self.package, "--require-hashes"])
            .arg("--requirement")
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
}
