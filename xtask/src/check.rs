//! `check`, `test` and `ci`: which steps they are made of.

use std::env;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::steps::{Tree, run, step, works};
use crate::{readme, setup, tidy};

/// Whether a warning fails the run. A half-finished edit should compile; what is merged should be clean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    Lenient,
    Strict,
}

impl Strictness {
    /// Strict where `CI=true`.
    pub(crate) fn of_environment() -> Self {
        if env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1") {
            Self::Strict
        } else {
            Self::Lenient
        }
    }
}

/// Format, tidy, clippy, pages: all of them, so that one run tells everything.
pub(crate) fn check(tree: &Tree, strictness: Strictness) -> Result<()> {
    let mut clippy = tree.cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--locked"]);
    if strictness == Strictness::Strict {
        clippy.args(["--", "-D", "warnings"]);
    }
    let results = [
        step("format", || {
            run(tree.cargo().args(["fmt", "--all", "--check"]))
        }),
        step("tidy", || tidy::tidy(tree)),
        step("clippy", || run(&mut clippy)),
        step("generated pages", || tidy::pages::check(tree)),
    ];
    let failures: Vec<_> = results
        .into_iter()
        .filter_map(Result::err)
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n       "));
    Ok(())
}

/// Set-up, then every test.
pub(crate) fn test(tree: &Tree) -> Result<()> {
    step("set-up", || setup::setup(tree))?;
    step("tidy", || tidy::tidy(tree))?;
    step("generated pages", || tidy::pages::check(tree))?;
    step("tests", || run(&mut tests(tree, "default", None)))?;
    step("README", || readme::check(tree))
}

/// Set-up, then the tests whose name contains `filter`.
pub(crate) fn test_matching(tree: &Tree, filter: &str) -> Result<()> {
    step("set-up", || setup::setup(tree))?;
    step("tests", || run(&mut tests(tree, "default", Some(filter))))
}

/// The tests that have a long form, in that form.
pub(crate) fn soak(tree: &Tree) -> Result<()> {
    step("set-up", || setup::setup(tree))?;
    let mut command = tree.cargo();
    command.args(["test", "--locked", "--release", "--package", "testkit"]);
    command.args([
        "--test",
        "it",
        "--",
        "crossing::",
        "killed::",
        "growth::",
        "--nocapture",
    ]);
    step("long tests", || run(command.env("TESTKIT_LONG", "1")))
}

/// Everything, warnings as errors.
pub(crate) fn ci(tree: &Tree) -> Result<()> {
    check(tree, Strictness::Strict)?;
    step("set-up", || setup::setup(tree))?;
    step("README", || readme::check(tree))?;
    // Last, so that the log ends with the summary line of the tests.
    step("tests", || run(&mut tests(tree, "ci", None)))
}

/// The test runner: nextest, or cargo's own where nextest is not installed.
fn tests(tree: &Tree, profile: &str, filter: Option<&str>) -> Command {
    let mut command = tree.cargo();
    if works("cargo-nextest", &["nextest", "--version"]) {
        command.args([
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--profile",
            profile,
        ]);
    } else {
        println!("    cargo-nextest is not installed, so this is `cargo test`: slower, same tests");
        command.args(["test", "--workspace", "--locked"]);
    }
    command.args(filter);
    command
}
