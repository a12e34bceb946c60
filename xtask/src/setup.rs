//! What the tests need from outside: other teams' servers and clients, pinned, under `target/peers/`.
//!
//! Installed once; a stamp holds a hash of the pins, so a changed pin installs anew. Nothing is retried and nothing
//! is skipped: what cannot be installed is told with the line that installs it. [`schemas`] and [`sources`] fetch what
//! is in no package. `testkit::fixtures` finds what is put here.

mod schemas;
mod sources;

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::steps::{Tree, run, works};

/// The committed pins, and the folder that they are copied to.
const PINS: &[&str] = &[
    "npm/package.json",
    "npm/package-lock.json",
    "npm/.npmrc",
    "py/requirements.txt",
];

/// A system tool: how to see that it is good enough, and the Debian package that has it.
struct Tool {
    name: &'static str,
    probe: (&'static str, &'static [&'static str]),
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "git",
        probe: ("git", &["--version"]),
        package: "git",
    },
    Tool {
        name: "node 20 or later",
        probe: (
            "node",
            &[
                "-e",
                "process.exit(Number(process.versions.node.split('.')[0]) < 20 ? 1 : 0)",
            ],
        ),
        package: "nodejs",
    },
    Tool {
        name: "npm",
        probe: ("npm", &["--version"]),
        package: "npm",
    },
    Tool {
        name: "python 3.10 or later, with venv",
        probe: (
            "python3",
            &[
                "-c",
                "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))",
            ],
        ),
        package: "python3-venv",
    },
    Tool {
        name: "chromium",
        probe: ("chromium", &["--version"]),
        package: "chromium",
    },
    Tool {
        name: "redis 5 or later",
        probe: ("redis-server", &["--version"]),
        package: "redis-server",
    },
    // Disks that fail.
    Tool {
        name: "strace 5.3 or later",
        probe: ("strace", &["--version"]),
        package: "strace",
    },
    // Its programs are where nobody looks for programs; no cluster of its own has to run.
    Tool {
        name: "postgresql 12 or later",
        probe: (
            "sh",
            &[
                "-c",
                "ls /usr/lib/postgresql/*/bin/initdb || command -v initdb",
            ],
        ),
        package: "postgresql",
    },
    // Of the package only the programs are used: no service of the system's is started, for there is none in a container.
    Tool {
        name: "prometheus 2.42 or later, with promtool",
        probe: ("sh", &["-c", "prometheus --version && promtool --version"]),
        package: "prometheus",
    },
    Tool {
        name: "syslog-ng 3.35 or later",
        probe: ("/usr/sbin/syslog-ng", &["--version"]),
        package: "syslog-ng-core",
    },
    Tool {
        name: "prometheus-alertmanager",
        probe: ("prometheus-alertmanager", &["--version"]),
        package: "prometheus-alertmanager",
    },
    Tool {
        name: "aiosmtpd for the system's python",
        probe: ("/usr/bin/python3", &["-c", "import aiosmtpd.smtp"]),
        package: "python3-aiosmtpd",
    },
];

/// Installs what is missing; does nothing, quickly, when all is there.
pub(crate) fn setup(tree: &Tree) -> Result<()> {
    let peers = tree.target.join("peers");
    let _lock = lock(&peers)?;
    tools()?;
    peers_from_others(tree, &peers)?;
    sources::install(tree, &peers)?;
    schemas::install(tree, &peers)
}

fn peers_from_others(tree: &Tree, peers: &Path) -> Result<()> {
    let pins = tree.root.join("crates/testkit/peers");
    let pinned: Vec<_> = PINS.iter().map(|pin| pins.join(pin)).collect();
    let wanted = hash(&pinned)?;
    let stamp = peers.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        println!("    {} is up to date", peers.display());
        return Ok(());
    }
    println!("    installing the pinned peers into {}", peers.display());
    npm(tree, &pins.join("npm"), &peers.join("npm"))?;
    python(tree, &pins.join("py"), &peers.join("py"))?;
    fs::write(&stamp, wanted).context("writing the stamp")
}

/// One set-up at a time; released when dropped.
pub(crate) fn lock(peers: &Path) -> Result<File> {
    fs::create_dir_all(peers)?;
    let lock = File::create(peers.join("lock"))?;
    lock.lock().context("another set-up holds the lock")?;
    Ok(lock)
}

/// What a stamp holds: a hash over the files that say what is installed.
pub(crate) fn hash(pins: &[PathBuf]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for path in pins {
        fs::read(path)
            .with_context(|| format!("reading {}", path.display()))?
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

/// Sees that the system tools are there; installs them where that is ours to do.
fn tools() -> Result<()> {
    let missing: Vec<_> = TOOLS
        .iter()
        .filter(|tool| !works(tool.probe.0, tool.probe.1))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|tool| tool.name).collect();
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    println!("    missing: {}", names.join(", "));
    if works("sh", &["-c", "command -v apt-get && test \"$(id -u)\" = 0"]) {
        run(std::process::Command::new("apt-get").args(["update", "-qq"]))?;
        run(std::process::Command::new("apt-get")
            .args(["install", "-qq", "-y", "--no-install-recommends"])
            .args(packages))?;
    }
    match TOOLS.iter().find(|tool| !works(tool.probe.0, tool.probe.1)) {
        None => Ok(()),
        Some(tool) => bail!(
            "the tests need {}; install it (on Debian: apt-get install {}), then run `cargo xtask setup`",
            tool.name,
            tool.package
        ),
    }
}

fn npm(tree: &Tree, pins: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    for pin in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(pins.join(pin), into.join(pin))?;
    }
    run(tree
        .command("npm")
        .args(["ci", "--ignore-scripts", "--loglevel=error"])
        .current_dir(into))?;
    // The client scripts find their packages beside this link; see `testkit::clients`.
    let link = into.join("clients");
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    std::os::unix::fs::symlink(tree.root.join("crates/testkit/clients"), link)
        .context("linking the client scripts")
}

fn python(tree: &Tree, pins: &Path, into: &Path) -> Result<()> {
    run(tree
        .command("python3")
        .args(["-m", "venv", "--clear"])
        .arg(into))?;
    // The list is the whole tree, so pip has nothing to choose.
    run(tree
        .command(into.join("bin/pip"))
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--requirement",
        ])
        .arg(pins.join("requirements.txt")))
}
