//! The arrows between rooms: `server → gateway → auth | upstream | agents | observe → store | net | policy → wire`.
//!
//! An arrow points down, by any number of floors; rooms on one floor do not meet. Dev-dependencies count too.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Findings;
use crate::steps::{Tree, output};

/// From the top of the house to the bottom.
const FLOORS: &[&[&str]] = &[
    &["server"],
    &["gateway"],
    &["auth", "upstream", "agents", "observe"],
    &["store", "net", "policy"],
    &["wire"],
];

/// Workspace members that are no rooms: who may see which rooms.
const OUTSIDE: &[(&str, Sight)] = &[
    ("testkit", Sight::Everything),
    ("xtask", Sight::Nothing),
    ("bench", Sight::Nothing),
];

#[derive(Clone, Copy, PartialEq)]
enum Sight {
    Everything,
    Nothing,
}

/// What `cargo metadata` says of a package, as far as arrows go.
#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// There for packages of this workspace.
    pub(super) path: Option<String>,
}

pub(super) fn check(tree: &Tree) -> Result<Findings> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let text =
        output(
            tree.cargo()
                .args(["metadata", "--format-version=1", "--no-deps", "--locked"]),
        )?;
    let metadata: Metadata = serde_json::from_slice(&text).context("cargo metadata")?;
    Ok(judge(&metadata.packages))
}

pub(super) fn judge(packages: &[Package]) -> Findings {
    let mut findings = Findings::new();
    for package in packages {
        if floor(&package.name).is_none() && outside(&package.name).is_none() {
            findings.push(format!(
                "{}: is on no floor; give it one in xtask/src/tidy/arrows.rs",
                package.name
            ));
            continue;
        }
        let inner = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some());
        for to in inner.filter(|to| !allowed(&package.name, &to.name)) {
            findings.push(format!(
                "{} → {}: no such arrow in the map",
                package.name, to.name
            ));
        }
    }
    findings
}

fn allowed(from: &str, to: &str) -> bool {
    match (floor(from), floor(to)) {
        (Some(from), Some(to)) => from < to,
        // Nobody who ships sees the harness or the tools.
        (_, None) => from == "xtask" && to == "testkit",
        (None, Some(_)) => outside(from) == Some(Sight::Everything),
    }
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

fn outside(name: &str) -> Option<Sight> {
    OUTSIDE
        .iter()
        .find(|(package, _)| *package == name)
        .map(|(_, sight)| *sight)
}
