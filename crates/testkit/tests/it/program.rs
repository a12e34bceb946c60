//! The gate as people run it: the real program, on a real clock, with a config file and a data folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::fixtures::{Launch, Peers, Process, free_address};
use testkit::mcp::headers;
use testkit::world::{Exchange, program, until};
use tokio::process::Command;

/// A gate; ends when dropped.
pub(crate) struct Program {
    folder: TempDir,
    env: BTreeMap<String, String>,
    process: Option<Process>,
    address: SocketAddr,
}

impl Program {
    /// Starts one, and waits until it accepts connections.
    pub(crate) async fn start(config: &str) -> Result<Self> {
        Self::start_at(free_address()?, config).await
    }

    /// The same at an address that others had to know first.
    pub(crate) async fn start_at(address: SocketAddr, config: &str) -> Result<Self> {
        let mut gate = Self::prepare(&[])?;
        gate.address = address;
        fs::write(gate.folder().join("portcullis.toml"), config)?;
        gate.serve("debug").await?;
        Ok(gate)
    }

    /// A folder for a config and data, and an environment; nothing runs yet.
    pub(crate) fn prepare(env: &[(&str, &str)]) -> Result<Self> {
        let pairs = env.iter();
        Ok(Self {
            folder: TempDir::with_prefix("portcullis-program-")?,
            env: pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            process: None,
            address: free_address()?,
        })
    }

    /// Starts it with logs of this level, and waits until it accepts connections.
    pub(crate) async fn serve(&mut self, level: &str) -> Result<()> {
        self.serve_within(&[], level).await
    }

    /// The same as the last words of another command.
    pub(crate) async fn serve_within(&mut self, words: &[&str], level: &str) -> Result<()> {
        let launch = self.launch(&["serve"])?;
        let launch = within(words, launch).env("PORTCULLIS__LOG__LEVEL", level);
        let mut process = Process::start(&launch)?;
        process.accepts(self.address).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it with nothing but its config, and waits until it accepts connections.
    pub(crate) async fn serve_as_configured(&mut self) -> Result<()> {
        let mut process = Process::start(&self.launch(&["serve"])?)?;
        process.accepts(self.address).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("it does not run")?;
        process.signal(signal)
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("it does not run")?;
        process.signal(Signal::SIGTERM)?;
        let status = process.ended()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }

    /// Ends it at once, whatever it is at.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        process.signal(Signal::SIGKILL)?;
        process.ended().map(drop)
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

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }

    /// A number that it tells, of a metric without labels.
    pub(crate) async fn number(&self, metric: &str) -> Result<f64> {
        let address = self.address;
        let bytes =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let mut exchange = Exchange::send(address, bytes.as_bytes()).await?;
        let text = String::from_utf8(exchange.body().await?)?;
        let mut numbers = text.lines().filter_map(|line| line.split_once(' '));
        let found = numbers.find(|(name, _)| *name == metric);
        let (_, number) = found.with_context(|| format!("no {metric}"))?;
        Ok(number.parse()?)
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> Result<String> {
        self.process.as_ref().context("it does not run")?.output()
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

    /// Makes the first owner as a person would.
    pub(crate) async fn first_owner(&self, peers: &Peers, name: &str) -> Result<()> {
        let link = self.setup_link().await?;
        self.follow_link(peers, &link, name).await
    }

    /// Has a person follow a link that asks for a password.
    pub(crate) async fn follow_link(&self, peers: &Peers, link: &str, name: &str) -> Result<()> {
        let mut who = person(name);
        who["until"] = "/console/account".into();
        let end = self.person(peers, link, &who).await?;
        let asks_on = end["text"]
            .as_str()
            .is_some_and(|text| text.contains("type=\"password\""));
        let is_there = end["url"]
            .as_str()
            .is_some_and(|url| url.ends_with("/console/account"));
        ensure!(
            end["status"] == 200 && (is_there || !asks_on),
            "the link ended at {end}"
        );
        Ok(())
    }

    /// Has a person go where a link leads; see `person.mjs`.
    pub(crate) async fn person(&self, peers: &Peers, link: &str, who: &Value) -> Result<Value> {
        node(peers, "person.mjs", &[link, &who.to_string()]).await
    }

    /// Runs another command of the program on the same config and data.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<String> {
        output(&self.launch(words)?).await
    }

    /// The same, however it ends, with both of its outputs.
    pub(crate) async fn run_either(&self, words: &[&str]) -> Result<String> {
        let (_, said, told) = run(&self.launch(words)?).await?;
        Ok(said + &told)
    }

    /// The same as the last words of another command.
    pub(crate) async fn run_within(&self, words: &[&str], command: &[&str]) -> Result<String> {
        output(&within(words, self.launch(command)?)).await
    }

    /// How a command of the program is started.
    pub(crate) fn launch(&self, words: &[&str]) -> Result<Launch> {
        let gate = program("gate")?.to_string_lossy().into_owned();
        let config = self.folder().join("portcullis.toml");
        let config = config.to_string_lossy().into_owned();
        let words = words.iter().map(|word| (*word).to_owned());
        let argv = [gate].into_iter().chain(words);
        let mut launch = Launch::new(argv.chain(["--config".to_owned(), config]));
        launch.env = self.env.clone();
        let data = self.folder().join("data").to_string_lossy().into_owned();
        Ok(launch
            .env("PORTCULLIS__DATA_DIR", data)
            .env("PORTCULLIS__LISTEN", self.address.to_string()))
    }
}

/// Posts a modern message, with a key if there is one; the answer.
pub(crate) async fn post(address: SocketAddr, key: Option<&str>, message: &Value) -> Result<Value> {
    let body = message.to_string();
    let mut head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    if let Some(key) = key {
        head.push_str(&["Authorization: Bearer ", key, "\r\n"].concat());
    }
    for (name, value) in headers(message) {
        head.push_str(&[name, ": ", &value, "\r\n"].concat());
    }
    let bytes = format!("{head}\r\n{body}");
    let mut exchange = Exchange::send(address, bytes.as_bytes()).await?;
    Ok(serde_json::from_slice(&exchange.body().await?)?)
}

/// A command as the last words of another.
fn within(words: &[&str], mut launch: Launch) -> Launch {
    let words = words.iter().map(|word| (*word).to_owned());
    launch.argv.splice(0..0, words);
    launch
}

/// Whom the pages are filled in for: every name that a field has on our pages or on those of `oidc-provider`.
pub(crate) fn person(name: &str) -> Value {
    json!({
        "name": name,
        "login": name,
        "email": format!("{name}@example.com"),
        "password": password(name),
    })
}

/// A password that the policy takes.
pub(crate) fn password(name: &str) -> String {
    format!("quartz-{name}-lantern-42-orbit")
}

/// What a script of `crates/testkit/clients` prints last.
pub(crate) async fn node(peers: &Peers, script: &str, arguments: &[&str]) -> Result<Value> {
    let mut launch = peers.script(script)?;
    let arguments = arguments.iter().map(|&text| text.to_owned());
    launch.argv.extend(arguments);
    let said = output(&launch).await?;
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("{script} printed: {said}"))
}

/// What it prints, if it ends well.
pub(crate) async fn output(launch: &Launch) -> Result<String> {
    let (good, said, told) = run(launch).await?;
    ensure!(good, "{:?}: {said}{told}", launch.argv.get(1..));
    Ok(said)
}

async fn run(launch: &Launch) -> Result<(bool, String, String)> {
    let (program, arguments) = launch.argv.split_first().context("an empty command line")?;
    let out = Command::new(program)
        .args(arguments)
        .envs(&launch.env)
        .kill_on_drop(true)
        .output()
        .await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((out.status.success(), text(&out.stdout), text(&out.stderr)))
}
