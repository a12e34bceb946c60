//! Licences and bans of everything that is built, from `cargo tree`.
//!
//! `deny.toml` says the same to those who have cargo-deny; this needs nothing installed. Not `cargo metadata`: its
//! graph holds packages that no feature turns on.

use anyhow::Result;

use super::Findings;
use crate::steps::{Tree, output};

const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CDLA-Permissive-2.0",
    "0BSD",
    "Unlicense",
    "BSL-1.0",
    "CC0-1.0",
];

/// A crate that stays out, and who may bring it nevertheless.
struct Ban {
    name: &'static str,
    reason: &'static str,
    wrappers: &'static [&'static str],
}

const BANS: &[Ban] = &[
    Ban {
        name: "openssl-sys",
        reason: "one TLS stack: rustls",
        wrappers: &[],
    },
    Ban {
        name: "native-tls",
        reason: "one TLS stack: rustls",
        wrappers: &[],
    },
    Ban {
        name: "ring",
        reason: "one crypto library: aws-lc-rs",
        wrappers: &[],
    },
    Ban {
        name: "lazy_static",
        reason: "std::sync::LazyLock",
        wrappers: &["sharded-slab", "zxcvbn"],
    },
];

pub(super) fn check(tree: &Tree) -> Result<Findings> {
    let arguments = [
        "tree",
        "--workspace",
        "--target=all",
        "--edges=normal,build,dev",
        "--prefix=depth",
        "--locked",
    ];
    let text = output(tree.cargo().args(arguments).arg("--format={p}|{l}"))?;
    Ok(judge(&String::from_utf8_lossy(&text)))
}

/// Reads lines like `2sharded-slab v0.1.7|MIT`, where 2 is the depth in the tree.
pub(super) fn judge(tree: &str) -> Findings {
    let mut findings = Findings::new();
    let mut path: Vec<&str> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let Some((depth, name, licence)) = split(line) else {
            findings.push(format!("cannot read `{line}` of cargo tree"));
            continue;
        };
        path.truncate(depth);
        let parent = path.last().copied().unwrap_or_default();
        path.push(name);
        if !permitted(licence) {
            findings.push(format!("{name}: licence `{licence}` is not on the list"));
        }
        let ban = BANS
            .iter()
            .find(|ban| ban.name == name && !ban.wrappers.contains(&parent));
        if let Some(Ban { reason, .. }) = ban {
            findings.push(format!("{name}: banned ({reason}), but {parent} wants it"));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

fn split(line: &str) -> Option<(usize, &str, &str)> {
    let (package, licence) = line.split_once('|')?;
    let end = package.find(|c: char| !c.is_ascii_digit())?;
    let (depth, package) = package.split_at(end);
    let name = package.split(' ').next()?;
    Some((depth.parse().ok()?, name, licence.trim_end_matches(" (*)")))
}

/// Every part joined by AND must offer, among its parts joined by OR, one that is on the list.
fn permitted(expression: &str) -> bool {
    let clear = |part: &str| {
        let alternatives = part.trim().trim_matches(['(', ')']).replace(" OR ", "/");
        alternatives
            .split('/')
            .any(|licence| LICENCES.contains(&licence.trim()))
    };
    // `A OR B AND C` would be read wrongly; an expression that mixes the two always comes with parentheses.
    expression.split(" AND ").all(clear)
}
