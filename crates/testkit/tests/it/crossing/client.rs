//! One principal and its connections, of one of four kinds: HTTP/2, HTTP/1.1 with batches, a WebSocket, and both.
//!
//! Within a lane ids count from 1, in every lane of every principal; what is asked says whose question it is.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::{poll_fn, try_join_all};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use testkit::mcp::{call, call_with_progress, headers, initialize_with, modern_with, notification};
use testkit::world::{Exchange, Session, World};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::ears::{Ears, Watch};
use super::{IN_FLIGHT, UPSTREAMS};

/// Every third call wants to hear of its progress.
const TOLD_EVERY: u64 = 3;

/// A principal.
pub(super) struct Caller {
    world: Arc<World>,
    name: String,
    key: String,
    gate: SocketAddr,
    pub(super) watch: Arc<Watch>,
    connections: JoinSet<()>,
}

/// Questions of one kind over one connection.
#[derive(Debug, Clone)]
struct Lane {
    name: &'static str,
    era: Era,
}

#[derive(Debug, Clone)]
enum Era {
    Modern,
    /// Within this session.
    Legacy(Vec<(&'static str, String)>),
    /// On a conversation that began with a handshake: every other question is a modern one.
    Both,
}

/// A connection that takes requests.
#[derive(Clone)]
enum Http {
    /// One at a time.
    One(Arc<tokio::sync::Mutex<http1::SendRequest<String>>>),
    Two(http2::SendRequest<String>),
}

impl Caller {
    pub(super) fn new(world: &Arc<World>, name: &str) -> Result<Self> {
        Ok(Self {
            world: Arc::clone(world),
            name: name.to_owned(),
            key: world.key(name)?.context("no key")?,
            gate: world.untapped(),
            watch: Arc::new(Watch::new()),
            connections: JoinSet::new(),
        })
    }

    /// Makes all its calls; how many that were.
    pub(super) async fn call(mut self, at: usize, rounds: u64) -> Result<u64> {
        let all = rounds * IN_FLIGHT;
        match at % 4 {
            0 => {
                let http = self.http2().await?;
                let new = Lane::modern("h2");
                let old = self.session(&http, "2025-06-18").await?;
                tokio::try_join!(
                    self.one_by_one(&http, &new, rounds * 12, 12),
                    self.one_by_one(&http, &old, all - rounds * 12, 8),
                )?;
            }
            1 => {
                let (http, other) = (self.http1().await?, self.http1().await?);
                let new = Lane::modern("h1");
                let old = self.session(&other, "2025-03-26").await?;
                tokio::try_join!(
                    self.one_by_one(&http, &new, rounds, 1),
                    self.in_batches(&other, &old, all - rounds, rounds),
                )?;
            }
            2 => self.on_a_socket(all, IN_FLIGHT).await?,
            _ => {
                let http = self.http1().await?;
                let old = self.session(&http, "2025-11-25").await?;
                tokio::try_join!(
                    self.one_by_one(&http, &old, rounds, 1),
                    self.on_a_socket(all - rounds, IN_FLIGHT - 1),
                )?;
            }
        }
        self.world.owe(usize::try_from(all)?);
        self.connections.shutdown().await;
        Ok(all)
    }

    async fn ears(&self) -> Result<Ears<tokio::net::TcpStream>> {
        let stream = Exchange::connect(self.gate).await?;
        stream.set_nodelay(true)?;
        Ok(Ears::on(stream, &self.watch))
    }

    async fn http1(&mut self) -> Result<Http> {
        let (sender, connection) = http1::handshake(TokioIo::new(self.ears().await?)).await?;
        // How it ends is told to who sends.
        self.connections
            .spawn(async move { drop(connection.await) });
        Ok(Http::One(Arc::new(tokio::sync::Mutex::new(sender))))
    }

    async fn http2(&mut self) -> Result<Http> {
        let io = TokioIo::new(self.ears().await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        self.connections
            .spawn(async move { drop(connection.await) });
        Ok(Http::Two(sender))
    }

    /// Opens a legacy session.
    async fn session(&self, http: &Http, revision: &str) -> Result<Lane> {
        let hello = initialize_with(revision, &able());
        let (session, came) = self.post(http, &[], &hello).await?;
        ensure!(came.len() == 1, "no handshake: {came:?}");
        let session = Session {
            id: session.context("no session")?,
            who: self.name.clone(),
            revision: revision.to_owned(),
            server: None,
        };
        self.world.owe(1);
        let headers = session.headers();
        self.world.adopt(session);
        let done = notification("notifications/initialized", &json!({}));
        self.post(http, &headers, &done).await?;
        Ok(Lane {
            name: "session",
            era: Era::Legacy(headers),
        })
    }

    /// Asks questions 1 to `last`, so many at a time, each in a request of its own.
    async fn one_by_one(&self, http: &Http, lane: &Lane, last: u64, at_once: u64) -> Result<()> {
        let workers = (1..=at_once).map(|first| async move {
            for id in (first..=last).step_by(usize::try_from(at_once)?) {
                let message = self.question(lane, id);
                let more = match &lane.era {
                    Era::Legacy(headers) => headers.clone(),
                    Era::Modern | Era::Both => headers(&message),
                };
                let (_, came) = self.post(http, &more, &message).await?;
                let answered = self.hear(lane, &came)?;
                ensure!(answered == [id], "{id}: {came:?}");
            }
            anyhow::Ok(())
        });
        try_join_all(workers).await?;
        Ok(())
    }

    /// The same in so many batches.
    async fn in_batches(&self, http: &Http, lane: &Lane, last: u64, batches: u64) -> Result<()> {
        let Era::Legacy(headers) = &lane.era else {
            return Ok(());
        };
        let size = last / batches;
        for batch in 0..batches {
            let ids = batch * size + 1..=(batch + 1) * size;
            let questions: Vec<Value> = ids.clone().map(|id| self.question(lane, id)).collect();
            let (_, came) = self.post(http, headers, &questions.into()).await?;
            let mut answered = self.hear(lane, &came)?;
            answered.sort_unstable();
            ensure!(answered.iter().copied().eq(ids), "{came:?}");
        }
        Ok(())
    }

    /// The same on a WebSocket, the next as soon as one is answered.
    async fn on_a_socket(&self, last: u64, at_once: u64) -> Result<()> {
        let lane = Lane {
            name: "socket",
            era: Era::Both,
        };
        let mut asked = format!("ws://{}/ws", self.gate).into_client_request()?;
        let head = asked.headers_mut();
        head.insert("sec-websocket-protocol", "mcp".parse()?);
        head.insert("authorization", format!("Bearer {}", self.key).parse()?);
        let (mut socket, _) = client_async(asked, self.ears().await?).await?;
        let hello = initialize_with("2025-06-18", &able()).to_string();
        socket.send(hello.into()).await?;
        self.next(&mut socket).await?;
        self.world.owe(1);
        let done = notification("notifications/initialized", &json!({})).to_string();
        socket.send(done.into()).await?;
        let mut open = BTreeSet::new();
        let mut next = 1;
        while next <= last || !open.is_empty() {
            while next <= last && open.len() < usize::try_from(at_once)? {
                let question = self.question(&lane, next).to_string();
                socket.feed(question.into()).await?;
                open.insert(next);
                next += 1;
            }
            socket.flush().await?;
            let came = self.next(&mut socket).await?;
            for id in self.hear(&lane, &[came])? {
                ensure!(open.remove(&id), "{id} was answered unasked");
            }
        }
        socket.close(None).await?;
        while socket.next().await.transpose()?.is_some() {}
        Ok(())
    }

    async fn next(
        &self,
        socket: &mut WebSocketStream<Ears<tokio::net::TcpStream>>,
    ) -> Result<Value> {
        loop {
            match socket.next().await.context("the socket ended")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Ping(_) | Message::Pong(_) => {}
                other => anyhow::bail!("{other:?}"),
            }
        }
    }

    /// Posts a message; the session's id, if it is told, and all that comes.
    async fn post(
        &self,
        http: &Http,
        headers: &[(&str, String)],
        message: &Value,
    ) -> Result<(Option<String>, Vec<Value>)> {
        let mut request = Request::post(format!("http://{}/mcp", self.gate))
            .header("host", self.gate.to_string())
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(message.to_string())?;
        let response = match http {
            Http::One(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                let response = sender.send_request(request).await?;
                // Until its body is read the connection is taken.
                return self.read(response).await;
            }
            Http::Two(sender) => sender.clone().send_request(request).await?,
        };
        self.read(response).await
    }

    async fn read(&self, response: Response<Incoming>) -> Result<(Option<String>, Vec<Value>)> {
        let (head, mut body) = response.into_parts();
        // On HTTP/2 they are packed, and what is packed is not found in the bytes.
        self.watch.search(&format!("{:?}", head.headers));
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            if let Ok(data) = frame?.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        let text = String::from_utf8(bytes)?;
        ensure!(head.status.is_success(), "{}: {text}", head.status);
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let came: Vec<Value> = if header("content-type") == Some("text/event-stream") {
            let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
            events.map(serde_json::from_str).collect::<Result<_, _>>()?
        } else if text.is_empty() {
            Vec::new()
        } else {
            vec![serde_json::from_str(&text)?]
        };
        Ok((header("mcp-session-id").map(str::to_owned), came))
    }

    /// What is asked under this id, and so what must be answered.
    fn text(&self, lane: &Lane, id: u64) -> String {
        format!("{} {} {id}", self.watch.canary, lane.name)
    }

    fn question(&self, lane: &Lane, id: u64) -> Value {
        let arguments = json!({ "text": self.text(lane, id) });
        let upstream = usize::try_from(id).map_or(0, |id| id % UPSTREAMS.len());
        let tool = format!("{}.echo", UPSTREAMS[upstream]);
        let message = if id.is_multiple_of(TOLD_EVERY) {
            call_with_progress(id, &tool, &arguments, token(id))
        } else {
            call(id, &tool, &arguments)
        };
        match &lane.era {
            Era::Modern => modern_with(&message, &able()),
            Era::Legacy(_) => message,
            // Pairs, so that every upstream gets both.
            Era::Both if (id / 8).is_multiple_of(2) => modern_with(&message, &able()),
            Era::Both => message,
        }
    }

    /// Holds what came against what was asked; the ids that were answered.
    fn hear(&self, lane: &Lane, came: &[Value]) -> Result<Vec<u64>> {
        let mut answered = Vec::new();
        for message in came {
            if let Value::Array(batch) = message {
                answered.extend(self.hear(lane, batch)?);
            } else if message["method"] == "notifications/progress" {
                let params = &message["params"];
                let token_heard = &params["progressToken"];
                let id = token_heard
                    .as_u64()
                    .or_else(|| token_heard.as_str()?.strip_prefix('t')?.parse().ok())
                    .with_context(|| format!("whose progress is {message}"))?;
                self.compare(lane, id, &params["message"]);
                ensure!(*token_heard == token(id), "{message}");
            } else if message["method"] == "notifications/tools/list_changed" {
                // Upstreams have their say.
            } else {
                let id = message["id"].as_u64().context("an answer to nothing")?;
                let result = &message["result"];
                ensure!(result.is_object(), "{message}");
                self.compare(lane, id, &result["content"][0]["text"]);
                self.compare(lane, id, &result["structuredContent"]["text"]);
                answered.push(id);
            }
        }
        Ok(answered)
    }

    fn compare(&self, lane: &Lane, id: u64, heard: &Value) {
        let asked = self.text(lane, id);
        if heard.as_str() != Some(&asked) {
            let name = &self.name;
            self.watch
                .mark_wrong(&format!("{name} asked {asked}, and heard {heard}"));
        }
    }
}

impl Lane {
    fn modern(name: &'static str) -> Self {
        Self {
            name,
            era: Era::Modern,
        }
    }
}

/// What every client can do. Who can be asked something shares no session of an upstream with others.
fn able() -> Value {
    json!({ "roots": {} })
}

/// A token of either type.
fn token(id: u64) -> Value {
    if id.is_multiple_of(2) {
        format!("t{id}").into()
    } else {
        id.into()
    }
}
