//! One client on any of the four transports, in any revision, whose bytes are those that the test wrote and whose
//! answers are read as they came.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use auth::{Peer, Presented};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use gateway::Pipe;
use serde_json::Value;
use testkit::mcp::{MODERN, headers, initialize, is_answer, notification};
use testkit::world::{Exchange, Session, World};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

const PATIENCE: Duration = Duration::from_secs(30);
const QUEUE_MAX: usize = 1024;

/// What carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Http,
    Sse,
    WebSocket,
    Stdio,
}

impl Carrier {
    pub(crate) const ALL: [Self; 4] = [Self::Http, Self::Sse, Self::WebSocket, Self::Stdio];
}

/// A client whose handshake, if its revision has one, is done.
pub(crate) struct Wire<'a> {
    world: &'a World,
    pub(crate) revision: &'static str,
    line: Line,
}

enum Line {
    Http(Option<Session>),
    Sse(Exchange, String),
    Socket(Box<WebSocketStream<TcpStream>>),
    Stdio(Stdio),
}

struct Stdio {
    pipe: Arc<Pipe>,
    out: mpsc::Receiver<Bytes>,
    sent: Vec<Vec<u8>>,
    came: Vec<Vec<u8>>,
}

impl<'a> Wire<'a> {
    pub(crate) async fn open(
        world: &'a World,
        carrier: Carrier,
        revision: &'static str,
    ) -> Result<Self> {
        let line = match carrier {
            Carrier::Http if revision == MODERN => Line::Http(None),
            Carrier::Http => Line::Http(Some(world.open("local", revision).await?)),
            Carrier::Sse => {
                let bytes = world.complete("local", "GET /sse HTTP/1.1\r\n", b"")?;
                let mut stream = world.send_raw(&bytes).await?;
                let (_, uri) = stream.named_event().await?.context("no first event")?;
                Line::Sse(stream, uri)
            }
            Carrier::WebSocket => {
                let mut asked = format!("ws://{}/ws", world.address()).into_client_request()?;
                let name = "sec-websocket-protocol";
                asked.headers_mut().insert(name, "mcp".parse()?);
                let stream = Exchange::connect(world.address()).await?;
                Line::Socket(Box::new(client_async(asked, stream).await?.0))
            }
            Carrier::Stdio => {
                let presented = Presented::nothing(Peer::Stdio);
                let gate = Arc::clone(world.gate());
                let principal = gate.authenticate(&presented).await?;
                let (sender, out) = mpsc::channel(QUEUE_MAX);
                Line::Stdio(Stdio {
                    pipe: Pipe::new(gate, principal, "stdio", sender),
                    out,
                    sent: Vec::new(),
                    came: Vec::new(),
                })
            }
        };
        let mut wire = Self {
            world,
            revision,
            line,
        };
        if revision != MODERN && carrier != Carrier::Http {
            wire.ask(&initialize(revision).to_string()).await?;
            let note = notification(
                "notifications/initialized",
                &Value::Object(Default::default()),
            );
            wire.tell(&note.to_string()).await?;
        }
        Ok(wire)
    }

    /// A request in the words of this revision; id, members of `params` and of `_meta` are put in as they are.
    pub(crate) fn request(&self, id: &str, method: &str, members: &str, meta: &str) -> String {
        let era = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;
        let era = if self.revision == MODERN { era } else { "" };
        let meta = [era, meta].into_iter().filter(|part| !part.is_empty());
        let meta = meta.collect::<Vec<_>>().join(",");
        let comma = if members.is_empty() { "" } else { "," };
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{members}{comma}"_meta":{{{meta}}}}}}}"#
        )
    }

    /// Sends it, and gives all that came up to the answer, which is the last.
    pub(crate) async fn ask(&mut self, text: &str) -> Result<Vec<String>> {
        let mut came = match &self.line {
            Line::Http(_) => self.posted(text).await?.1,
            Line::Sse(..) | Line::Socket(_) | Line::Stdio(_) => {
                self.tell(text).await?;
                Vec::new()
            }
        };
        while came.last().is_none_or(|last| answers(last) == 0) {
            came.push(self.hear().await?);
        }
        let owed = came.iter().map(|message| answers(message)).sum();
        self.world.owe(owed);
        Ok(came)
    }

    /// Sends what has no answer.
    pub(crate) async fn tell(&mut self, text: &str) -> Result<()> {
        match &mut self.line {
            Line::Http(_) => {
                let (status, came) = self.posted(text).await?;
                ensure!(status == 202 && came.is_empty(), "{status}: {came:?}");
            }
            Line::Sse(_, uri) => {
                let head = format!("POST {uri} HTTP/1.1\r\nContent-Type: application/json\r\n");
                let bytes = self.world.complete("local", &head, text.as_bytes())?;
                let status = self.world.send_raw(&bytes).await?.status;
                ensure!(status == 202, "{status}");
            }
            Line::Socket(socket) => socket.send(text.into()).await?,
            Line::Stdio(stdio) => {
                stdio.sent.push(text.as_bytes().to_vec());
                stdio.pipe.take(text.to_owned().into()).await;
            }
        }
        Ok(())
    }

    /// The status with which a body over HTTP was answered, and the messages.
    pub(crate) async fn posted(&self, text: &str) -> Result<(u16, Vec<String>)> {
        let mut exchange = self.world.send_raw(&self.posting(text)?).await?;
        let mut came = Vec::new();
        if exchange.is_stream() {
            while let Some((_, data)) = exchange.named_event().await? {
                came.push(data);
            }
        } else {
            let body = String::from_utf8(exchange.body().await?)?;
            came.extend(Some(body).filter(|body| !body.is_empty()));
        }
        Ok((exchange.status, came))
    }

    /// The HTTP request with this body.
    pub(crate) fn posting(&self, text: &str) -> Result<Vec<u8>> {
        let Line::Http(session) = &self.line else {
            bail!("nothing is posted here");
        };
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let headers = session
            .as_ref()
            .map_or_else(|| headers(&message), Session::headers);
        self.world
            .request("POST", "local", &headers, text.as_bytes())
    }

    /// The next message, where messages come unasked.
    pub(crate) async fn hear(&mut self) -> Result<String> {
        match &mut self.line {
            Line::Http(_) => bail!("no answer"),
            Line::Sse(stream, _) => {
                let event = stream.named_event().await?;
                Ok(event.context("the stream ended")?.1)
            }
            Line::Socket(socket) => loop {
                let next = timeout(PATIENCE, socket.next()).await?;
                if let Message::Text(text) = next.context("the socket was closed")?? {
                    return Ok(text.to_string());
                }
            },
            Line::Stdio(stdio) => {
                let next = timeout(PATIENCE, stdio.out.recv()).await?;
                let next = next.context("the pipe was closed")?;
                stdio.came.push(next.to_vec());
                Ok(String::from_utf8(next.to_vec())?)
            }
        }
    }

    /// Hangs up.
    pub(crate) async fn close(self) -> Result<()> {
        if let Line::Stdio(mut stdio) = self.line {
            stdio.pipe.finish(Duration::ZERO).await;
            while let Ok(message) = stdio.out.try_recv() {
                stdio.came.push(message.to_vec());
            }
            self.world.overheard(&stdio.sent, &stdio.came)?;
        }
        Ok(())
    }
}

/// How many answers are in a message.
fn answers(message: &str) -> usize {
    match serde_json::from_str::<Value>(message) {
        Ok(Value::Array(batch)) => batch.iter().filter(|one| is_answer(one)).count(),
        Ok(message) => usize::from(is_answer(&message)),
        Err(_) => 0,
    }
}
