//! The gate as people run it: the real program, on a real clock, with a config file and a data folder of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use testkit::fixtures::{Launch, Peers, Process, free_address};
use testkit::world::{program, until};
use tokio::process::Command;

/// A running gate; ends when dropped.
pub(crate) struct Program {
    folder: TempDir,
    process: Process,
    address: SocketAddr,
}

impl Program {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(config: &str) -> Result<Self> {
        Self::start_at(free_address()?, config).await
    }

    /// The same at an address that others had to know first.
    pub(crate) async fn start_at(address: SocketAddr, config: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-program-")?;
        fs::write(folder.path().join("portcullis.toml"), config)?;
        let process = Process::start(&launch(folder.path(), address, &["serve"])?)?;
        let mut gate = Self {
            folder,
            process,
            address,
        };
        gate.process.accepts(address).await?;
        Ok(gate)
    }

    /// Ends it and starts it again on the same data.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.ended()?;
        let again = launch(self.folder.path(), self.address, &["serve"])?;
        self.process = Process::start(&again)?;
        self.process.accepts(self.address).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> Result<String> {
        self.process.output()
    }

    /// The link for the first owner, which it prints when there is nobody yet.
    pub(crate) async fn setup_link(&self) -> Result<String> {
        let found = || -> Result<Option<String>> {
            let output = self.output()?;
            let link = output
                .split_whitespace()
                .find(|word| word.contains("/console/setup?"));
            Ok(link.map(str::to_owned))
        };
        until("the link for the first owner is printed", async || {
            Ok(found()?.is_some())
        })
        .await?;
        found()?.context("no link")
    }

    /// Makes the first owner as a person would, who then also has the roles of the config.
    pub(crate) async fn first_owner(&self, peers: &Peers, name: &str) -> Result<()> {
        let link = self.setup_link().await?;
        self.follow_link(peers, &link, name).await
    }

    /// Has a person follow a link that asks for a password.
    pub(crate) async fn follow_link(&self, peers: &Peers, link: &str, name: &str) -> Result<()> {
        let mut who = person(name);
        who["until"] = "/console/account".into();
        let end = node(peers, "person.mjs", &[link, &who.to_string()]).await?;
        ensure!(end["status"] == 200, "the link ended at {end}");
        Ok(())
    }

    /// Runs another command of the program on the same config and data.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<String> {
        let launch = launch(self.folder.path(), self.address, words)?;
        output(&launch).await
    }
}

/// Whom the pages are filled in for: every name that a field has on our pages or on those of `oidc-provider`.
pub(crate) fn person(name: &str) -> Value {
    let password = password(name);
    serde_json::json!({ "name": name, "login": name, "password": password, "again": password })
}

/// A password that the policy takes.
pub(crate) fn password(name: &str) -> String {
    format!("quartz-{name}-lantern-42-orbit")
}

/// What a script of `crates/testkit/clients` prints last.
pub(crate) async fn node(peers: &Peers, script: &str, arguments: &[&str]) -> Result<Value> {
    let mut launch = peers.script(script)?;
    launch
        .argv
        .extend(arguments.iter().map(|&text| text.to_owned()));
    let said = output(&launch).await?;
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("{script} printed: {said}"))
}

/// What it prints, if it ends well.
pub(crate) async fn output(launch: &Launch) -> Result<String> {
    let (program, arguments) = launch.argv.split_first().context("an empty command line")?;
    let out = Command::new(program)
        .args(arguments)
        .envs(&launch.env)
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let told = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{arguments:?}: {said}{told}");
    Ok(said)
}

fn launch(folder: &Path, address: SocketAddr, words: &[&str]) -> Result<Launch> {
    let gate = program("gate")?.to_string_lossy().into_owned();
    let config = folder
        .join("portcullis.toml")
        .to_string_lossy()
        .into_owned();
    let words = words.iter().map(|word| (*word).to_owned());
    let argv = [gate].into_iter().chain(words);
    Ok(Launch::new(argv.chain(["--config".to_owned(), config]))
        .env(
            "PORTCULLIS__DATA_DIR",
            folder.join("data").to_string_lossy(),
        )
        .env("PORTCULLIS__LISTEN", address.to_string())
        .env("PORTCULLIS__LOG__LEVEL", "debug"))
}
