//! `conformance`: the protocol's own suite, run against what stands behind the gate and then through the gate.
//!
//! A leg is one run of the suite: which upstream ([`rig`] starts it), with the gate in front or not, and which of the
//! suite's lists. [`outcome`] reads what the suite found, [`baseline`] holds it against the two lists in
//! `conformance/`, and the table goes to stdout and to `target/conformance/latest.txt`. What is run comes from
//! [`install`].

mod authority;
mod baseline;
mod install;
mod legs;
mod outcome;
mod rig;
mod table;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::stdin;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use self::baseline::{Baseline, Verdict};
use self::install::Installed;
use self::legs::{LEGS, Leg, Side, Suite, Upstream};
use self::outcome::Outcome;
use self::rig::Rig;
use crate::steps::{Tree, run, step};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Legs to run, by name or by the beginning of it (`a`, `a-2026-07-28`, `direct`); all that can run, if none
    legs: Vec<String>,
    /// Only this scenario, with everything that the suite says about it
    #[arg(long)]
    scenario: Option<String>,
    /// Show what the suite prints
    #[arg(long)]
    verbose: bool,
    /// Leave upstream and gate running after each leg until Enter is pressed
    #[arg(long)]
    keep: bool,
    /// Use the gate as it was last built
    #[arg(long)]
    no_build: bool,
}

/// Runs the legs and prints the table; fails if anything failed that the lists do not name.
pub(crate) fn conformance(tree: &Tree, options: &Options) -> Result<()> {
    let installed = step("suite", || install::install(tree))?;
    let baseline = Baseline::read(&tree.root.join("conformance"))?;
    let legs = chosen(tree, &options.legs)?;
    if !options.no_build {
        step("build", || {
            run(tree.cargo().args(["build", "--package", "server"]))
        })?;
        if legs.iter().any(|leg| leg.upstream == Upstream::Native) {
            step("build the native fixture", || {
                run(tree
                    .cargo()
                    .args(["build", "--package", "testkit", "--bin", rig::NATIVE]))
            })?;
        }
    }
    let mut outcomes = Vec::new();
    for leg in legs {
        // A leg that breaks is told in the table; the others run all the same.
        let found = step(leg.name, || one(tree, &installed, leg, options));
        outcomes.push((leg, found.unwrap_or_else(|error| Outcome::broken(&error))));
    }
    let verdict = baseline.judge(&outcomes, options.scenario.is_none());
    let text = table::table(&outcomes, &verdict);
    println!("\n{text}");
    if options.scenario.is_none() {
        fs::write(tree.target.join("conformance/latest.txt"), &text)?;
    }
    match verdict {
        Verdict { unexpected, stale } if unexpected.is_empty() && stale.is_empty() => Ok(()),
        Verdict { unexpected, stale } => bail!(
            "{} checks outside the lists, {} entries that the lists no longer need",
            unexpected.len(),
            stale.len()
        ),
    }
}

/// The legs that were asked for. Without a wish: those whose programs exist.
fn chosen(tree: &Tree, wishes: &[String]) -> Result<Vec<&'static Leg>> {
    if let Some(wish) = wishes
        .iter()
        .find(|wish| !LEGS.iter().any(|leg| leg.is(wish)))
    {
        let names: Vec<_> = LEGS.iter().map(|leg| leg.name).collect();
        bail!("no leg is called `{wish}`; there are {}", names.join(", "));
    }
    let wished = |leg: &&Leg| wishes.is_empty() || wishes.iter().any(|wish| leg.is(wish));
    let (can, cannot): (Vec<_>, Vec<_>) = LEGS
        .iter()
        .filter(wished)
        .partition(|leg| leg.upstream.exists(tree));
    for leg in &cannot {
        println!(
            "    {}: not run, because testkit has no program `{}` yet",
            leg.name,
            rig::NATIVE
        );
    }
    if !wishes.is_empty() && can.is_empty() {
        bail!("nothing to run");
    }
    Ok(can)
}

/// One leg from end to end, in `target/conformance/LEG/`.
fn one(tree: &Tree, installed: &Installed, leg: &Leg, options: &Options) -> Result<Outcome> {
    let folder = tree.target.join("conformance").join(leg.name);
    fs::create_dir_all(&folder)?;
    let lock = fs::File::create(folder.join("lock"))?;
    lock.lock().context("another run of this leg")?;
    let checks = folder.join("checks");
    if checks.exists() {
        fs::remove_dir_all(&checks)?;
    }
    if leg.upstream == Upstream::Authority {
        return authority::run(tree, installed, leg.suite.revision(), &folder, options);
    }
    let mut rig = Rig::start(tree, installed, leg, &folder)?;
    let required = leg.suite.required(&installed.requirements)?;
    let mut runs = Vec::new();
    match (leg.suite.side(), &options.scenario) {
        (Side::Server, None) => runs.push(whole(leg, &rig.url)),
        (_, Some(scenario)) => runs.push(single(leg, &rig, scenario)),
        // One after another: the suite itself would start a gate for every scenario at once.
        (Side::Client, None) => {
            runs.extend(required.iter().map(|one| single(leg, &rig, &one.name)));
        }
    }
    let log = fs::File::create(folder.join("suite.log"))?;
    let loud = options.verbose || options.scenario.is_some();
    let mut ended = Vec::new();
    for arguments in &runs {
        let mut suite = Command::new(&installed.node);
        suite
            .arg(&installed.suite)
            .args(arguments)
            .arg("-o")
            .arg(&checks);
        if options.scenario.is_some() {
            suite.arg("--verbose");
        }
        rig.environment(&mut suite);
        suite.current_dir(&folder).stdin(Stdio::null());
        if !loud {
            suite.stdout(log.try_clone()?).stderr(log.try_clone()?);
        }
        let status = suite.status().context("starting the suite")?;
        ended.push((arguments, status.success()));
    }
    let mut outcome = Outcome::read(&checks, &required, options.scenario.as_deref())?;
    if leg.suite.side() == Side::Client {
        for (arguments, good) in ended {
            if let (Some(scenario), false) = (arguments.get(2), good) {
                outcome.client_failed(scenario);
            }
        }
    }
    if let Err(error) = rig.alive() {
        outcome.breaks(&error);
    }
    if outcome.scenarios.is_empty() {
        bail!("the suite has no such scenario in this leg");
    }
    if options.keep {
        println!("    {rig}\n    Enter ends this leg");
        stdin().read_line(&mut String::new())?;
    }
    Ok(outcome)
}

fn whole(leg: &Leg, url: &str) -> Vec<String> {
    let list = match leg.suite {
        Suite::Required(revision) | Suite::Client(revision) => vec!["--requirements", revision],
        Suite::All(revision) | Suite::Chosen(revision, _) => {
            vec!["--suite", "all", "--spec-version", revision]
        }
    };
    let mut arguments = vec!["server", "--url", url];
    arguments.extend(list);
    arguments.into_iter().map(str::to_owned).collect()
}

fn single(leg: &Leg, rig: &Rig, scenario: &str) -> Vec<String> {
    let (side, flag, target) = match leg.suite.side() {
        Side::Server => ("server", "--url", rig.url.as_str()),
        Side::Client => ("client", "--command", rig.url.as_str()),
    };
    let revision = leg.suite.revision();
    let arguments = [side, "--scenario", scenario, flag, target];
    let rest = ["--spec-version", revision, "--force"];
    arguments
        .into_iter()
        .chain(rest)
        .map(str::to_owned)
        .collect()
}

/// A path as text, for a config or a command line.
fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
