//! Running commands, and saying what runs and how long it took.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// Where the working tree and its build folder are.
pub(crate) struct Tree {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever the environment or a config put it.
    pub(crate) target: PathBuf,
}

impl Tree {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            workspace_root: PathBuf,
            target_directory: PathBuf,
        }
        let mut command = Command::new(cargo());
        command.args([
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--manifest-path",
        ]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let found: Metadata =
            serde_json::from_slice(&output(&mut command)?).context("cargo metadata")?;
        Ok(Self {
            root: found.workspace_root,
            target: found.target_directory,
        })
    }

    /// A command that runs in the root.
    pub(crate) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command.current_dir(&self.root);
        command
    }

    /// Cargo, run in the root. Where nothing will be built a second time it keeps nothing for that: it is gigabytes.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = self.command(cargo());
        if env::var_os("CI").is_some() {
            command.env("CARGO_INCREMENTAL", "0");
        }
        command
    }
}

fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Does `work` between a line that says what and a line that says how long.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("==> {what}");
    let start = Instant::now();
    let done = work().with_context(|| what.to_owned());
    let verdict = if done.is_ok() { "done" } else { "FAILED" };
    println!(
        "<== {what}: {verdict} in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    done
}

/// Runs a command whose output is for the developer.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("    {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command whose output is for us; what it says on stderr is told when it fails.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let out = command
        .output()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !out.status.success() {
        bail!(
            "`{}` ended with {}\n{}",
            shown(command),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(out.stdout)
}

/// Whether a command can be started and ends well; quiet.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|out| out.status.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}
