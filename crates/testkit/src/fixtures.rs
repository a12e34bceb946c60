//! Other teams' MCP servers, as upstreams for tests: how each is started, and one over HTTP that runs.
//!
//! `cargo xtask setup` puts them under `target/peers/`; nothing here installs anything. What is not there is an
//! error that says so, never a skipped test. Clients are [`crate::clients`].

mod alertmanager;
mod hook;
mod mail;
mod postgres;
mod process;
mod prometheus;
mod redis;
mod rotel;
mod syslog;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

pub use self::alertmanager::Alertmanager;
pub use self::hook::{Announced, Hook};
pub use self::mail::{MailServer, Protection};
pub use self::postgres::{DATABASE, Encrypted, Postgres, USER};
pub use self::process::Process;
pub use self::prometheus::Prometheus;
pub use self::redis::Redis;
pub use self::rotel::{Point, Rotel, Signal, Span};
pub use self::syslog::SyslogNg;

/// A command line with what it wants in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables to add to the environment.
    pub env: BTreeMap<String, String>,
}

impl Launch {
    /// A command line that wants nothing else.
    #[must_use]
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
        }
    }

    /// The same with one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }
}

/// Where the peers are installed.
#[derive(Debug, Clone)]
pub struct Peers {
    folder: PathBuf,
}

impl Peers {
    /// Finds the folder beside the build that the running test is a part of, wherever the target folder is.
    ///
    /// # Errors
    /// With the command that installs the peers, if they are not there.
    pub fn locate() -> Result<Self> {
        let test = env::current_exe().context("where is this test?")?;
        let found = test
            .ancestors()
            .map(|folder| folder.join("peers"))
            .find(|peers| peers.join("stamp").is_file());
        match found {
            Some(folder) => Ok(Self { folder }),
            None => bail!(
                "the other teams' servers and clients are not installed; run: cargo xtask setup"
            ),
        }
    }

    /// `server-everything` over stdio: every feature of the legacy protocol.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn everything(&self) -> Result<Launch> {
        self.node("server-everything", &["stdio"])
    }

    /// `server-everything` over Streamable HTTP, running.
    ///
    /// # Errors
    /// If it is not installed, or is not ready in time.
    pub async fn everything_http(&self) -> Result<HttpPeer> {
        let address = free_address()?;
        let launch = self
            .node("server-everything", &["streamableHttp"])?
            .env("PORT", address.port().to_string());
        HttpPeer::start(&launch, address, "/mcp").await
    }

    /// `server-everything` over HTTP+SSE, running.
    ///
    /// # Errors
    /// If it is not installed, or is not ready in time.
    pub async fn everything_sse(&self) -> Result<HttpPeer> {
        let address = free_address()?;
        let launch = self
            .node("server-everything", &["sse"])?
            .env("PORT", address.port().to_string());
        HttpPeer::start(&launch, address, "/sse").await
    }

    /// A server of the Python SDK over HTTP+SSE, running: tools `shout` and `steps`.
    ///
    /// # Errors
    /// If the SDK is not installed, or the server is not ready in time.
    pub async fn python_sse(&self) -> Result<HttpPeer> {
        let address = free_address()?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/py/sse_server.py");
        let launch = self.python("python", &[script, &address.port().to_string()])?;
        HttpPeer::start(&launch, address, "/sse").await
    }

    /// The Python SDK's own fixture over stdio: every feature of both eras.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn fixture(&self) -> Result<Launch> {
        self.fixture_over(&["stdio"])
    }

    /// The Python SDK's own fixture over Streamable HTTP, running.
    ///
    /// # Errors
    /// If it is not installed, or is not ready in time.
    pub async fn fixture_http(&self) -> Result<HttpPeer> {
        let address = free_address()?;
        let launch = self.fixture_over(&["streamable-http", &address.port().to_string()])?;
        HttpPeer::start(&launch, address, "/mcp").await
    }

    /// The Python SDK's own fixture over HTTP+SSE, running.
    ///
    /// # Errors
    /// If it is not installed, or is not ready in time.
    pub async fn fixture_sse(&self) -> Result<HttpPeer> {
        let address = free_address()?;
        let launch = self.fixture_over(&["sse", &address.port().to_string()])?;
        HttpPeer::start(&launch, address, "/sse").await
    }

    fn fixture_over(&self, words: &[&str]) -> Result<Launch> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/py_server.py");
        let arguments: Vec<_> = [script].into_iter().chain(words.iter().copied()).collect();
        let sources = self.there("sdk/examples/servers/everything-server")?;
        let launch = self.python("python", &arguments)?;
        Ok(launch.env("PYTHONPATH", sources))
    }

    /// `server-filesystem` over stdio, on one folder.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn filesystem(&self, root: &Path) -> Result<Launch> {
        self.node("server-filesystem", &[text(root)?])
    }

    /// `server-memory` over stdio, keeping its graph in one file.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn memory(&self, file: &Path) -> Result<Launch> {
        Ok(self
            .node("server-memory", &[])?
            .env("MEMORY_FILE_PATH", text(file)?))
    }

    /// `mcp-server-time` over stdio, in UTC.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn time(&self) -> Result<Launch> {
        self.python("mcp-server-time", &["--local-timezone", "UTC"])
    }

    /// `mcp-server-git` over stdio, on one repository.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn git(&self, repository: &Path) -> Result<Launch> {
        self.python("mcp-server-git", &["--repository", text(repository)?])
    }

    /// npm `oidc-provider`, running: somebody else's authorization server. `options` are those of its script.
    ///
    /// # Errors
    /// If it is not installed, or is not ready in time.
    pub async fn oidc_provider(&self, options: &Value) -> Result<HttpPeer> {
        let address = free_address()?;
        self.oidc_provider_at(address, options).await
    }

    /// The same at an address that was chosen before, for those who must know it first.
    ///
    /// # Errors
    /// If it is not installed, or is not ready in time.
    pub async fn oidc_provider_at(&self, address: SocketAddr, options: &Value) -> Result<HttpPeer> {
        let mut launch = self.script("oidc_provider.mjs")?;
        launch
            .argv
            .extend([address.port().to_string(), options.to_string()]);
        HttpPeer::start(&launch, address, "").await
    }

    /// npm `smtp-server`, running: takes every mail and appends it to `mails`, a JSON object a line.
    ///
    /// # Errors
    /// If it is not installed, or is not ready in time.
    pub async fn smtp_server(&self, mails: &Path) -> Result<HttpPeer> {
        let address = free_address()?;
        let mut launch = self.script("smtp_server.mjs")?;
        launch
            .argv
            .extend([address.port().to_string(), text(mails)?.to_owned()]);
        HttpPeer::start(&launch, address, "").await
    }

    /// The folder with the protocol's JSON Schemas.
    pub(crate) fn schemas(&self) -> Result<PathBuf> {
        self.there("schemas").map(PathBuf::from)
    }

    /// The folder with the official JSON-Schema-Test-Suite: `tests/<draft>/*.json` and `remotes/`.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn json_schema_suite(&self) -> Result<PathBuf> {
        self.there("json-schema-suite/json").map(PathBuf::from)
    }

    /// A program of the Python environment.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn python(&self, program: &str, arguments: &[&str]) -> Result<Launch> {
        let program = self.there(&format!("py/bin/{program}"))?;
        Ok(Launch::new(
            [program.as_str()].iter().chain(arguments).copied(),
        ))
    }

    /// A script of `crates/testkit/clients`; the link beside the packages is what makes node find them.
    ///
    /// # Errors
    /// If the packages are not installed.
    pub fn script(&self, script: &str) -> Result<Launch> {
        let script = self.there(&format!("npm/clients/{script}"))?;
        Ok(Launch::new([
            "node",
            "--preserve-symlinks",
            "--preserve-symlinks-main",
            // Node 20 has it and does not show it.
            "--experimental-websocket",
            &script,
        ]))
    }

    fn node(&self, package: &str, arguments: &[&str]) -> Result<Launch> {
        let main = self.there(&format!(
            "npm/node_modules/@modelcontextprotocol/{package}/dist/index.js"
        ))?;
        Ok(Launch::new(
            ["node", &main].iter().chain(arguments).copied(),
        ))
    }

    fn there(&self, path: &str) -> Result<String> {
        let path = self.folder.join(path);
        if !path.exists() {
            bail!("{} is missing; run: cargo xtask setup", path.display());
        }
        Ok(text(&path)?.to_owned())
    }
}

/// A peer that serves over HTTP; ends when dropped.
#[derive(Debug)]
pub struct HttpPeer {
    process: Process,
    address: SocketAddr,
    path: &'static str,
}

impl HttpPeer {
    /// Starts it, and waits until it accepts connections.
    ///
    /// # Errors
    /// If it is not ready in time; with what it printed.
    pub async fn start(launch: &Launch, address: SocketAddr, path: &'static str) -> Result<Self> {
        let mut process = Process::start(launch)?;
        process.accepts(address).await?;
        Ok(Self {
            process,
            address,
            path,
        })
    }

    /// Its endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process, for tests that kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// An address that is free now. Whoever takes it next may be quicker; then the peer fails to start and says so.
///
/// # Errors
/// If there is none.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
