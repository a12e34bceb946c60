//! Leg `f`: the gate's own authorization server. The suite prints an address for somebody with a browser; that is
//! `crates/testkit/clients/person.mjs`, who also makes the first account with the link that the gate prints.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::Options;
use super::install::Installed;
use super::legs::Required;
use super::outcome::Outcome;
use super::rig::{Process, free_address, ready};
use crate::steps::Tree;

/// The suite's client, which the config names.
const CLIENT: &str = "conformance";
/// How long the gate may take to print its link.
const LINK_MAX: Duration = Duration::from_secs(10);
/// What the suite tests of an authorization server.
const SCENARIOS: [&str; 2] = [
    "authorization-server-metadata-endpoint",
    "authorization-code-grant",
];

/// Runs the leg in `folder`.
pub(super) fn run(
    tree: &Tree,
    installed: &Installed,
    revision: &str,
    folder: &Path,
    options: &Options,
) -> Result<Outcome> {
    let (address, port) = (free_address()?, free_address()?.port());
    let data = folder.join("data");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    let config = json!({
        "listen": address.to_string(),
        "data_dir": "data",
        "builtins": ["time"],
        "auth": {
            "loopback": "off",
            "server": { "clients": { CLIENT: { "redirect_uris": ["http://127.0.0.1/callback"] } } },
        },
    });
    fs::write(
        folder.join("gate.json"),
        serde_json::to_vec_pretty(&config)?,
    )?;
    let log = folder.join("gate.log");
    let mut command = Command::new(tree.target.join("debug/portcullis"));
    command
        .args(["serve", "--config", "gate.json"])
        .current_dir(folder);
    let mut gate = Process::start(&mut command, "gate", &log)?;
    gate.wait_until(|| ready(address))?;
    person(tree, &setup_link(&log)?, "/console/account")?;

    let checks = folder.join("checks");
    let url = format!("http://{address}");
    let mut suite = Command::new(&installed.node);
    suite.arg(&installed.suite).args(["authorization", "--url"]);
    suite.args([url.as_str(), "--client-id", CLIENT, "--resource"]);
    suite.arg(format!("{url}/mcp"));
    suite.args(["--port", &port.to_string(), "--spec-version", revision]);
    suite.arg("-o").arg(&checks);
    if let Some(scenario) = &options.scenario {
        suite.args(["--scenario", scenario]);
    }
    suite.current_dir(folder).stdin(Stdio::null());
    suite.stdout(Stdio::piped());
    suite.stderr(fs::File::create(folder.join("suite.err"))?);
    let mut running = suite.spawn().context("starting the suite")?;
    let said = running.stdout.take().context("the suite says nothing")?;
    let mut all = String::new();
    for line in BufReader::new(said).lines() {
        let line = line?;
        if line.starts_with(&format!("{url}/oauth/authorize?")) {
            person(tree, &line, "/callback")?;
        }
        if options.verbose || options.scenario.is_some() {
            println!("{line}");
        }
        all.push_str(&line);
        all.push('\n');
    }
    running.wait()?;
    fs::write(folder.join("suite.log"), all)?;
    gate.alive()?;
    let required = SCENARIOS.map(|name| Required {
        name: name.to_owned(),
        scored: true,
    });
    Outcome::read(&checks, &required, options.scenario.as_deref())
}

/// The link for the first account, which the gate prints when it is ready.
fn setup_link(log: &Path) -> Result<String> {
    let deadline = Instant::now() + LINK_MAX;
    loop {
        let text = fs::read_to_string(log)?;
        let mut words = text.split_whitespace();
        if let Some(link) = words.find(|word| word.contains("/console/setup?")) {
            return Ok(link.to_owned());
        }
        if Instant::now() > deadline {
            bail!("the gate printed no link; see {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Has a person go where `url` leads, up to a page below `until`.
fn person(tree: &Tree, url: &str, until: &str) -> Result<()> {
    let password = "quartz-conformance-lantern-42-orbit";
    let who = json!({ "name": "olga", "email": "", "password": password, "until": until });
    let script = tree.target.join("peers/npm/clients/person.mjs");
    let out = Command::new("node")
        .args(["--preserve-symlinks", "--preserve-symlinks-main"])
        .arg(&script)
        .args([url, &who.to_string()])
        .output()
        .context("starting node")?;
    let said = String::from_utf8_lossy(&out.stdout);
    ensure!(
        out.status.success() && said.contains(until),
        "the person did not get there: {said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(())
}
