//! Other teams' MCP clients, run as processes: what each saw of a server.
//!
//! The scripts are in `crates/testkit/clients/`; the plan that they take and the object that they print are
//! described in `py_client.py`. Servers are [`crate::fixtures`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::fixtures::{Launch, Peers};
use crate::world::program;

/// How long a client may take over its whole plan.
const RUN_MAX: Duration = Duration::from_secs(60);

/// Whose client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sdk {
    /// `mcp` of the Python registry: both eras.
    Python,
    /// `@modelcontextprotocol/sdk` 1.x: legacy only, whatever the mode.
    TypeScript,
    /// `@modelcontextprotocol/client` 2.x: both eras.
    TypeScriptModern,
    /// `rmcp` 3.x: both eras.
    Rmcp,
    /// The command line of `@modelcontextprotocol/inspector`: both eras; it lists, calls, reads and gets prompts.
    Inspector,
}

impl Sdk {
    /// Those that can take every step.
    pub const ALL: [Self; 4] = [
        Self::Python,
        Self::TypeScript,
        Self::TypeScriptModern,
        Self::Rmcp,
    ];

    fn launch(self, peers: &Peers) -> Result<Launch> {
        match self {
            Self::Python => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/py_client.py");
                peers.python("python", &[script])
            }
            Self::TypeScript => peers.script("ts_client.mjs"),
            Self::TypeScriptModern => peers.script("ts_client_modern.mjs"),
            Self::Rmcp => Ok(Launch::new([program("rmcp_client")?.to_string_lossy()])),
            Self::Inspector => peers.script("inspector.mjs"),
        }
    }
}

/// How the client opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Mode {
    /// The handshake of the legacy revisions.
    #[serde(rename = "legacy")]
    Legacy,
    /// `server/discover`, then the handshake if that is not understood.
    #[serde(rename = "auto")]
    Auto,
    /// The modern revision or nothing.
    #[serde(rename = "2026-07-28")]
    Modern,
}

/// What carries messages to a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Streamable HTTP.
    Http,
    /// HTTP+SSE, the first revision's; neither in the TypeScript SDK 2.x nor in rmcp.
    Sse,
    /// A WebSocket; in the TypeScript SDK 1.x, and over rmcp's transport of sinks and streams.
    WebSocket,
}

/// What a client is told to do: where to go, and what to ask there.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    #[serde(flatten)]
    to: To,
    mode: Mode,
    steps: Vec<Step>,
    seconds: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum To {
    Http {
        url: String,
        headers: BTreeMap<String, String>,
        transport: Transport,
    },
    Stdio {
        stdio: Vec<String>,
        env: BTreeMap<String, String>,
    },
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Step {
    Call { call: String, arguments: Value },
    Cancel { cancel: String, arguments: Value },
    Prompt { prompt: String, arguments: Value },
    Read { read: String },
    Complete { complete: Value },
}

impl Plan {
    /// To an endpoint.
    #[must_use]
    pub fn http(url: impl Into<String>, mode: Mode) -> Self {
        Self::over(Transport::Http, url, mode)
    }

    /// To an endpoint of any kind.
    #[must_use]
    pub fn over(transport: Transport, url: impl Into<String>, mode: Mode) -> Self {
        Self::to(
            To::Http {
                url: url.into(),
                headers: BTreeMap::new(),
                transport,
            },
            mode,
        )
    }

    /// To a command that speaks on its stdin and stdout.
    #[must_use]
    pub fn stdio(launch: Launch, mode: Mode) -> Self {
        Self::to(
            To::Stdio {
                stdio: launch.argv,
                env: launch.env,
            },
            mode,
        )
    }

    fn to(to: To, mode: Mode) -> Self {
        Self {
            to,
            mode,
            steps: Vec::new(),
            seconds: RUN_MAX.as_secs() / 3,
        }
    }

    /// With `Authorization: Bearer …` on every request; means nothing over stdio.
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        if let To::Http { headers, .. } = &mut self.to {
            headers.insert("Authorization".to_owned(), format!("Bearer {token}"));
        }
        self
    }

    /// Then calls a tool.
    #[must_use]
    pub fn call(self, tool: &str, arguments: Value) -> Self {
        self.then(Step::Call {
            call: tool.to_owned(),
            arguments,
        })
    }

    /// Then calls a tool, and gives it up at its first progress.
    #[must_use]
    pub fn cancel(self, tool: &str, arguments: Value) -> Self {
        self.then(Step::Cancel {
            cancel: tool.to_owned(),
            arguments,
        })
    }

    /// Then gets a prompt.
    #[must_use]
    pub fn prompt(self, prompt: &str, arguments: Value) -> Self {
        self.then(Step::Prompt {
            prompt: prompt.to_owned(),
            arguments,
        })
    }

    /// Then reads a resource.
    #[must_use]
    pub fn read(self, uri: &str) -> Self {
        self.then(Step::Read {
            read: uri.to_owned(),
        })
    }

    /// Then asks for completions: an object with `ref` and `argument`.
    #[must_use]
    pub fn complete(self, ask: Value) -> Self {
        self.then(Step::Complete { complete: ask })
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Lets a client carry it out.
    ///
    /// # Errors
    /// If the client cannot connect or list, takes too long, or is not installed; with what it printed.
    pub async fn run(&self, sdk: Sdk, peers: &Peers) -> Result<Seen> {
        let launch = sdk.launch(peers)?;
        let (program, arguments) = launch.argv.split_first().context("an empty command line")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(serde_json::to_string(self)?)
            .envs(&launch.env);
        command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .process_group(0);
        let out = timeout(RUN_MAX, command.output());
        let out = out
            .await
            .with_context(|| format!("{sdk:?} took longer than {RUN_MAX:?}"))??;
        let said = String::from_utf8_lossy(&out.stdout);
        let told = || {
            format!(
                "{sdk:?} {:?}, {}: {said}{}",
                self.mode,
                out.status,
                String::from_utf8_lossy(&out.stderr)
            )
        };
        if !out.status.success() {
            bail!(told());
        }
        serde_json::from_str(&said).with_context(told)
    }
}

/// What a client saw, as it was on the wire or as near to that as its SDK keeps it.
#[derive(Debug, Clone, Deserialize)]
pub struct Seen {
    /// The revision that was agreed on.
    pub revision: String,
    /// `serverInfo`.
    pub server: Option<Value>,
    /// The server's capabilities.
    pub capabilities: Value,
    /// The server's instructions.
    pub instructions: Option<String>,
    /// Every tool, from every page.
    pub tools: Vec<Value>,
    /// Every prompt.
    pub prompts: Vec<Value>,
    /// Every resource.
    pub resources: Vec<Value>,
    /// Every resource template.
    pub templates: Vec<Value>,
    /// What became of each step.
    pub steps: Vec<Taken>,
}

impl Seen {
    /// The names of the tools, in the order in which they were listed.
    #[must_use]
    pub fn tool_names(&self) -> Vec<&str> {
        self.tools
            .iter()
            .filter_map(|tool| tool["name"].as_str())
            .collect()
    }
}

/// What became of one step.
#[derive(Debug, Clone, Deserialize)]
pub struct Taken {
    /// The result.
    pub result: Option<Value>,
    /// The protocol's error: `code`, `message`, `data`; without a code it is the SDK's own.
    pub error: Option<Value>,
    /// Progress notifications that came before it. The TypeScript clients lose one that arrives together with
    /// the result, so a test can ask for all but one.
    pub progress: usize,
    /// Given up, as it was to be.
    #[serde(default)]
    pub cancelled: bool,
}

impl Taken {
    /// The text of a tool's result, its blocks joined; empty if there is none.
    #[must_use]
    pub fn text(&self) -> String {
        let content = self
            .result
            .as_ref()
            .and_then(|result| result["content"].as_array());
        content
            .into_iter()
            .flatten()
            .filter_map(|block| block["text"].as_str())
            .collect()
    }
}
