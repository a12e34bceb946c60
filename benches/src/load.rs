//! Closed-loop load: each session is one connection that sends its next call when the last one is answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memchr::memmem;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Connection, delete, post};
use crate::rpc::{LEGACY, MODERN};

/// How the sessions speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Era {
    Legacy,
    Modern,
}

/// How long the handshakes of all sessions may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(10);

/// What one stretch of load saw.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) calls: usize,
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Vec<Duration>,
}

impl Sample {
    /// The same with what another stretch saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.elapsed += other.elapsed;
        self.latencies.extend(other.latencies);
    }
}

/// Opened sessions, ready to call.
pub(crate) struct Load {
    sessions: Vec<Session>,
}

struct Session {
    connection: Connection,
    call: Vec<u8>,
    /// The text that only the answer to our call holds.
    mark: String,
    /// How it is ended, if it is one that is kept.
    end: Option<Vec<u8>>,
}

impl Load {
    /// Opens the sessions, each with its handshake and its list of tools.
    pub(crate) async fn open(
        to: SocketAddr,
        sessions: usize,
        era: Era,
        tool: &str,
    ) -> Result<Self> {
        let open = async {
            let mut opened = Vec::with_capacity(sessions);
            for number in 0..sessions {
                let session = Session::open(to, number, era, tool).await;
                opened.push(session.with_context(|| format!("opening session {number} at {to}"))?);
            }
            anyhow::Ok(opened)
        };
        let sessions = timeout(HANDSHAKE_MAX, open)
            .await
            .context("the handshakes took too long")??;
        Ok(Self { sessions })
    }

    /// Calls until `length` has passed; a wrong answer ends the run.
    pub(crate) async fn run(self, length: Duration) -> Result<(Self, Sample)> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for session in self.sessions {
            tasks.spawn(session.run(start + length));
        }
        let mut sample = Sample::default();
        let mut sessions = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            let (session, latencies) = ended.context("a session panicked")??;
            sample.latencies.extend(latencies);
            sessions.push(session);
        }
        sample.elapsed = start.elapsed();
        sample.calls = sample.latencies.len();
        Ok((Self { sessions }, sample))
    }

    /// Ends the sessions: a gate keeps so many and no more.
    pub(crate) async fn close(self) -> Result<()> {
        for mut session in self.sessions {
            if let Some(end) = &session.end {
                let ended = timeout(CALL_MAX, session.connection.exchange(end)).await;
                ended.context("ending a session took too long")??;
            }
        }
        Ok(())
    }
}

impl Session {
    async fn open(to: SocketAddr, number: usize, era: Era, tool: &str) -> Result<Self> {
        let mut connection = Connection::open(to).await?;
        let headers = match era {
            Era::Legacy => shake_hands(&mut connection, to).await?,
            Era::Modern => format!("MCP-Protocol-Version: {MODERN}\r\n"),
        };
        let tool = find(&mut connection, to, &headers, era, tool).await?;
        let mark = format!("session {number} says hello");
        let params = format!(r#""name":"{tool}","arguments":{{"message":"{mark}"}}"#);
        let call = request(to, &headers, era, "tools/call", Some(&tool), &params);
        let end = headers
            .contains("Mcp-Session-Id")
            .then(|| delete(to, &headers));
        Ok(Self {
            connection,
            call,
            mark,
            end,
        })
    }

    async fn run(mut self, end: Instant) -> Result<(Self, Vec<Duration>)> {
        let mut latencies = Vec::with_capacity(1 << 16);
        let mut now = Instant::now();
        while now < end {
            let answer = timeout(CALL_MAX, self.connection.exchange(&self.call))
                .await
                .context("a call took too long")??;
            let body = self.connection.body(&answer);
            if answer.status != 200 || memmem::find(body, self.mark.as_bytes()).is_none() {
                bail!(
                    "wrong answer, status {}: {}",
                    answer.status,
                    String::from_utf8_lossy(body)
                );
            }
            let sent = std::mem::replace(&mut now, Instant::now());
            latencies.push(now - sent);
        }
        Ok((self, latencies))
    }
}

/// The legacy handshake; yields the headers that later requests carry.
async fn shake_hands(connection: &mut Connection, to: SocketAddr) -> Result<String> {
    let hello = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1"}}}}}}"#
    );
    let answer = connection.exchange(&post(to, "", &hello)).await?;
    if answer.status != 200 {
        bail!(
            "initialize: status {}: {}",
            answer.status,
            String::from_utf8_lossy(connection.body(&answer))
        );
    }
    let session = answer
        .session
        .map(|id| format!("Mcp-Session-Id: {id}\r\n"))
        .unwrap_or_default();
    let headers = format!("MCP-Protocol-Version: {LEGACY}\r\n{session}");
    let done = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let answer = connection.exchange(&post(to, &headers, done)).await?;
    if answer.status != 202 {
        bail!("initialized: status {}", answer.status);
    }
    Ok(headers)
}

/// The name under which the tool is on offer: a gate may put the upstream's name before it.
async fn find(
    connection: &mut Connection,
    to: SocketAddr,
    headers: &str,
    era: Era,
    tool: &str,
) -> Result<String> {
    #[derive(Deserialize)]
    struct Listed {
        result: Tools,
    }
    #[derive(Deserialize)]
    struct Tools {
        tools: Vec<Tool>,
    }
    #[derive(Deserialize)]
    struct Tool {
        name: String,
    }
    let answer = connection
        .exchange(&request(to, headers, era, "tools/list", None, ""))
        .await?;
    let body = String::from_utf8_lossy(connection.body(&answer)).into_owned();
    // From the first brace on: what stands before it is a chunk's size, or `data:` of an event.
    let json = body
        .find('{')
        .and_then(|start| body.get(start..))
        .with_context(|| format!("no list in {body:?}"))?;
    let first = serde_json::Deserializer::from_str(json)
        .into_iter::<Listed>()
        .next();
    let listed = first
        .context("no list")?
        .with_context(|| format!("tools/list: {body}"))?;
    let found = listed
        .result
        .tools
        .into_iter()
        .map(|tool| tool.name)
        .find(|name| name.ends_with(tool));
    found.with_context(|| format!("no tool `{tool}` on offer"))
}

fn request(
    to: SocketAddr,
    headers: &str,
    era: Era,
    method: &str,
    name: Option<&str>,
    params: &str,
) -> Vec<u8> {
    let comma = if params.is_empty() { "" } else { "," };
    let (headers, meta) = match era {
        Era::Legacy => (headers.to_owned(), String::new()),
        Era::Modern => {
            let name = name
                .map(|name| format!("Mcp-Name: {name}\r\n"))
                .unwrap_or_default();
            let meta = format!(
                r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}}}}{comma}"#
            );
            (format!("{headers}Mcp-Method: {method}\r\n{name}"), meta)
        }
    };
    post(
        to,
        &headers,
        &format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{{meta}{params}}}}}"#),
    )
}
