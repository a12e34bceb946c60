//! The developer's commands: `cargo xtask check | test | soak | conformance | ci | bless | bench | readme | dev |
//! setup`.
//!
//! Each step says what it runs and how long it took. What the tests need from outside is [`setup`]; what clippy
//! cannot say is [`tidy`]; the measurements are the package `bench`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a developer's tool talks on stdout and reads the clock and the environment itself"
)]

mod bench;
mod check;
mod conformance;
mod dev;
mod readme;
mod setup;
mod steps;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::check::Strictness;
use self::steps::Tree;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The developer's commands",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, tidy, clippy, generated pages: what to run before a commit
    Check,
    /// Set up what the tests need, then run them all; with a filter, only the tests whose name contains it
    Test {
        /// A part of a test's name
        filter: Option<String>,
    },
    /// The tests that have a long form, in that form, optimized: a hundred thousand calls of two hundred principals, a gate that is killed two hundred times
    Soak,
    /// What CI runs: check with warnings as errors, and every test
    Ci,
    /// Write the generated pages in docs/reference anew
    Bless,
    /// Measure the gate beside the bare upstream and a blind byte-forwarding proxy
    Bench {
        /// A few seconds instead of a minute: does it run, not how fast
        #[arg(long)]
        quick: bool,
        /// One thing alone
        #[arg(long)]
        only: Option<bench::Subject>,
    },
    /// Run the protocol's own conformance suite through the gate, and print one table
    Conformance(conformance::Options),
    /// Run the README's commands, as `test` does
    Readme,
    /// Start the gate with a sample upstream
    Dev,
    /// Install the other teams' servers and clients that the tests talk to
    Setup,
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    match run(&command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    let tree = Tree::find()?;
    match command {
        Command::Check => check::check(&tree, Strictness::of_environment()),
        Command::Test {
            filter: Some(filter),
        } => check::test_matching(&tree, filter),
        Command::Test { filter: None } => match Strictness::of_environment() {
            Strictness::Strict => check::ci(&tree),
            Strictness::Lenient => check::test(&tree),
        },
        Command::Soak => check::soak(&tree),
        Command::Ci => check::ci(&tree),
        Command::Bless => steps::step("generated pages", || tidy::pages::bless(&tree)),
        Command::Bench { quick, only } => bench::bench(&tree, *quick, *only),
        Command::Conformance(options) => conformance::conformance(&tree, options),
        Command::Readme => steps::step("README", || readme::check(&tree)),
        Command::Dev => dev::dev(&tree),
        Command::Setup => setup::setup(&tree),
    }
}
