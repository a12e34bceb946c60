//! Runs the steps of a case in a world of its own, and holds what came against what is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use auth::{Peer, Presented};
use bytes::Bytes;
use gateway::Pipe;
use serde_json::{Value, json};
use store::Recorded;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::matching::{difference, format, mask};
use super::page::{Asking, Block, Expected, Form, Over, Step, rewrite, steps};
use crate::mcp;
use crate::world::{Exchange, PATIENCE, Reply, Session, World, until};

/// Messages from the gate that nobody has read yet.
const QUEUE_MAX: usize = 1024;

/// Runs a case; gives its text, written anew if `updates`.
pub(super) async fn run(text: &str, updates: bool) -> Result<String> {
    let steps = steps(text)?;
    let files: Vec<(&str, &str)> = steps
        .iter()
        .filter_map(|step| match step {
            Step::File { path, text } => Some((path.as_str(), text.as_str())),
            Step::Config(_) | Step::Advance(_) | Step::Ask(_) => None,
        })
        .collect();
    let mut configs = steps.iter().filter_map(|step| match step {
        Step::Config(block) => Some(block),
        Step::File { .. } | Step::Advance(_) | Step::Ask(_) => None,
    });
    let first = configs.next().context("no config")?;
    let world = World::with_files(&first.text, &files).await?;
    let mut runner = Runner {
        world,
        pipes: BTreeMap::new(),
        claimed: BTreeSet::new(),
        updates,
        fresh: Vec::new(),
        wrong: Vec::new(),
    };
    let mut open = Vec::new();
    for step in &steps {
        match step {
            Step::File { .. } => {}
            Step::Config(block) if block.line == first.line => {}
            Step::Config(block) => runner.world.reload(&block.text)?,
            Step::Advance(by) => runner.world.advance(*by),
            Step::Ask(asking) => {
                let sent = runner
                    .ask(asking, open.len())
                    .await
                    .with_context(|| format!("line {}", asking.line))?;
                open.extend(sent.map(|sent| (asking, sent)));
            }
        }
    }
    for (asking, sent) in open {
        runner
            .finish(asking, sent)
            .await
            .with_context(|| format!("line {}", asking.line))?;
    }
    runner.end(text).await
}

struct Runner {
    world: World,
    pipes: BTreeMap<(String, Option<String>), Line>,
    /// Records that belong to a request that is done with.
    claimed: BTreeSet<i64>,
    updates: bool,
    fresh: Vec<Block>,
    wrong: Vec<String>,
}

/// A pipe to the gate, and what came on it before it was asked for.
struct Line {
    pipe: Arc<Pipe>,
    out: mpsc::Receiver<Bytes>,
    unread: Vec<Value>,
    /// All that each side said.
    sent: Vec<Vec<u8>>,
    came: Vec<Vec<u8>>,
}

/// A request whose answer is still to be read.
enum Sent {
    Http(TcpStream),
    Stdio,
}

impl Runner {
    /// Sends what is asked, and unless the rest goes on meanwhile holds the answer against what is expected.
    async fn ask(&mut self, asking: &Asking, open: usize) -> Result<Option<Sent>> {
        for _ in 0..asking.ask.times {
            let sent = match &asking.ask.over {
                Over::Http(revision) => {
                    let bytes = self.bytes(asking, revision.as_deref()).await?;
                    let mut stream = Exchange::connect(self.world.address()).await?;
                    // The gate may answer and close before it has read everything.
                    drop(stream.write_all(&bytes).await);
                    Sent::Http(stream)
                }
                Over::Stdio(revision) => {
                    let message = whole(asking, revision.is_none())?;
                    self.line(asking).await?.tell(message).await;
                    Sent::Stdio
                }
            };
            if asking.ask.meanwhile {
                self.world.in_flight(u32::try_from(open + 1)?).await?;
                return Ok(Some(sent));
            }
            self.finish(asking, sent).await?;
        }
        Ok(None)
    }

    /// A whole HTTP request.
    async fn bytes(&self, asking: &Asking, revision: Option<&str>) -> Result<Vec<u8>> {
        let who = asking.ask.who.as_str();
        if asking.ask.form == Form::Request {
            let text = self.filled(&asking.text).await?;
            let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
            let mut head = head.replace('\n', "\r\n");
            head.push_str("\r\n");
            return self.world.complete(who, &head, body.as_bytes());
        }
        let body = whole(asking, revision.is_none())?;
        let server = asking.ask.server.as_deref();
        let headers = match (revision, serde_json::from_slice::<Value>(&body)) {
            (Some(revision), _) => {
                let session = self.world.session_at(server, who, revision).await?;
                session.headers()
            }
            (None, Ok(message)) => mcp::headers(&message),
            (None, Err(_)) => Vec::new(),
        };
        self.world.request_at("POST", server, who, &headers, &body)
    }

    /// Replaces what a file cannot know: session ids, and long texts.
    async fn filled(&self, text: &str) -> Result<String> {
        let mut text = text.to_owned();
        while let Some((before, rest)) = text.split_once("{session ") {
            let (words, after) = rest.split_once('}').context("an open brace")?;
            let (who, revision) = words.split_once(' ').context("{session WHO REVISION}")?;
            let session = self.world.session(who, revision).await?;
            text = format!("{before}{}{after}", session.id);
        }
        while let Some((before, rest)) = text.split_once("{fill ") {
            let (count, after) = rest.split_once('}').context("an open brace")?;
            text = format!("{before}{}{after}", "x".repeat(count.parse()?));
        }
        Ok(text)
    }

    /// The pipe of a principal, after the handshake if its revision has one.
    async fn line(&mut self, asking: &Asking) -> Result<&mut Line> {
        let Over::Stdio(revision) = &asking.ask.over else {
            bail!("not a pipe");
        };
        ensure!(
            asking.ask.who == "local",
            "at the other end of a pipe is `local`, whoever that is"
        );
        let key = (asking.ask.who.clone(), revision.clone());
        if !self.pipes.contains_key(&key) {
            let presented = Presented::nothing(Peer::Stdio);
            let gate = Arc::clone(self.world.gate());
            let principal = gate
                .authenticate(&presented)
                .await
                .map_err(anyhow::Error::msg)?;
            let (sender, out) = mpsc::channel(QUEUE_MAX);
            let mut line = Line {
                pipe: Pipe::new(gate, principal, "stdio", sender),
                out,
                unread: Vec::new(),
                sent: Vec::new(),
                came: Vec::new(),
            };
            if let Some(revision) = revision {
                let hello = mcp::initialize(revision).to_string();
                line.tell(hello.into()).await;
                line.answer(Some(&json!(0))).await?;
                let note = mcp::notification("notifications/initialized", &json!({}));
                line.tell(note.to_string().into()).await;
                self.world.owe(1);
                self.claim(1).await?;
            }
            self.pipes.insert(key.clone(), line);
        }
        self.pipes.get_mut(&key).context("it was just inserted")
    }

    /// The newest records that no other request has claimed. Where nothing is answered they may take a moment.
    async fn claim(&mut self, count: usize) -> Result<Vec<Recorded>> {
        let mut records = Vec::new();
        until(&format!("{count} records"), async || {
            records = self.world.records().await?;
            records.retain(|record| !self.claimed.contains(&record.seq));
            Ok(records.len() >= count)
        })
        .await?;
        let records = records.split_off(records.len().saturating_sub(count));
        self.claimed.extend(records.iter().map(|record| record.seq));
        Ok(records)
    }

    /// Reads the answer and holds it against what is expected.
    async fn finish(&mut self, asking: &Asking, sent: Sent) -> Result<()> {
        let expected = asking.reply.as_ref().map(|(expected, _)| expected);
        let none = expected.is_some_and(|expected| expected.is_none);
        let reply = match sent {
            Sent::Http(stream) => {
                let exchange = Exchange::receive(stream).await?;
                let reply = self.world.whole(exchange).await?;
                if let Some(id) = reply.header("mcp-session-id") {
                    let revision = reply.answer()?["result"]["protocolVersion"].as_str();
                    self.world.adopt(Session {
                        id: id.to_owned(),
                        who: asking.ask.who.clone(),
                        revision: revision.unwrap_or_default().to_owned(),
                        server: asking.ask.server.clone(),
                    });
                }
                Some(reply)
            }
            Sent::Stdio if expected.is_none() || none => None,
            Sent::Stdio => {
                let id = serde_json::from_str::<Value>(&asking.text)
                    .ok()
                    .and_then(|message| message.get("id").cloned());
                let message = self.line(asking).await?.answer(id.as_ref()).await?;
                self.world.owe(message.as_array().map_or(1, Vec::len));
                Some(Reply {
                    status: 0,
                    headers: Vec::new(),
                    is_stream: false,
                    messages: vec![message],
                })
            }
        };
        let is_only_recorded = none && asking.record.is_some();
        if is_only_recorded {
            self.world.owe(1);
        }
        match (&asking.reply, &reply) {
            (Some((_, block)), Some(reply)) => {
                let expected = expected.context("a reply without its info")?;
                self.hold_reply(asking.line, expected, block, reply)?;
            }
            (None, Some(reply)) => ensure!(
                asking.ask.meanwhile || reply.messages.is_empty(),
                "a reply that no block expects: {:?}",
                reply.messages
            ),
            (_, None) => {}
        }
        let count = reply
            .as_ref()
            .map_or(usize::from(is_only_recorded), Reply::answers);
        let records = self.claim(count).await?;
        if let Some(block) = &asking.record {
            self.hold_records(block, &records)?;
        }
        Ok(())
    }

    fn hold_reply(
        &mut self,
        line: usize,
        expected: &Expected,
        block: &Block,
        reply: &Reply,
    ) -> Result<()> {
        let actual = match (reply.is_stream, reply.messages.as_slice()) {
            (true, messages) => Some(Value::from(messages.to_vec())),
            (false, [message]) => Some(message.clone()),
            (false, _) => None,
        };
        let written: Option<Value> = if block.text.is_empty() {
            None
        } else {
            Some(serde_json::from_str(&block.text).context("the reply is not JSON")?)
        };
        if self.updates {
            let text = actual
                .map(|actual| format(&mask(written.as_ref().unwrap_or(&Value::Null), &actual)));
            let headers = expected.headers.iter().map(|(name, value)| {
                let fresh = reply.header(name).filter(|_| value != "*");
                (name.clone(), fresh.unwrap_or(value).to_owned())
            });
            let info = Expected {
                status: reply.status,
                headers: headers.collect(),
                is_stream: reply.is_stream,
                is_none: false,
            };
            self.fresh.push(Block {
                line: block.line,
                info: info.info(),
                text: text.unwrap_or_default(),
            });
            return Ok(());
        }
        let mut wrong = Vec::new();
        if (expected.status, expected.is_stream) != (reply.status, reply.is_stream) {
            wrong.push(format!(
                "the status is {}{}, not {}{}",
                reply.status,
                if reply.is_stream { " events" } else { "" },
                expected.status,
                if expected.is_stream { " events" } else { "" },
            ));
        }
        for (name, value) in &expected.headers {
            let found = reply.header(name);
            if found.is_none() || value != "*" && found != Some(value) {
                wrong.push(format!("the header {name} is {found:?}, not {value:?}"));
            }
        }
        match (&written, &actual) {
            (Some(written), Some(actual)) => wrong.extend(difference(written, actual)),
            (None, None) => {}
            (Some(_), None) => wrong.push("the body is empty".to_owned()),
            (None, Some(actual)) => wrong.push(format!("the body is not empty: {actual}")),
        }
        self.wrong.extend(
            wrong
                .into_iter()
                .map(|wrong| format!("line {line}: {wrong}")),
        );
        Ok(())
    }

    fn hold_records(&mut self, block: &Block, records: &[Recorded]) -> Result<()> {
        let mut written: Value = if block.text.is_empty() {
            json!({ "principal": 0, "method": 0, "entry": 0, "decision": 0, "outcome": 0 })
        } else {
            serde_json::from_str(&block.text).context("the record is not JSON")?
        };
        if block.text.is_empty() && records.len() > 1 {
            written = Value::from(vec![written; records.len()]);
        }
        let one = |written: &Value, record: &Recorded| -> Value {
            let all = told(record);
            let members = written.as_object().into_iter().flatten();
            members
                .map(|(name, _)| (name.clone(), all[name].clone()))
                .collect()
        };
        let actual = match (&written, records) {
            (Value::Array(written), records) => {
                ensure!(
                    written.len() == records.len(),
                    "{} records, not {}",
                    records.len(),
                    written.len()
                );
                written
                    .iter()
                    .zip(records)
                    .map(|(written, record)| one(written, record))
                    .collect()
            }
            (written, [record]) => one(written, record),
            (_, records) => bail!("{} records, not one", records.len()),
        };
        if self.updates {
            self.fresh.push(Block {
                text: format(&mask(&written, &actual)),
                ..block.clone()
            });
            return Ok(());
        }
        let wrong = difference(&written, &actual);
        self.wrong
            .extend(wrong.map(|wrong| format!("line {}: in the record, {wrong}", block.line)));
        Ok(())
    }

    async fn end(self, text: &str) -> Result<String> {
        for (_, mut line) in self.pipes {
            timeout(PATIENCE, line.pipe.finish(Duration::ZERO))
                .await
                .context("a pipe does not end")?;
            while let Ok(message) = line.out.try_recv() {
                let message = line.heard(&message)?;
                line.unread.push(message);
            }
            self.world.overheard(&line.sent, &line.came)?;
            let answers: Vec<&Value> = line
                .unread
                .iter()
                .filter(|message| mcp::is_answer(message))
                .collect();
            ensure!(
                answers.is_empty(),
                "answers that no block expects: {answers:?}"
            );
        }
        let ended = self.world.end().await;
        ensure!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        ended?;
        Ok(if self.updates {
            rewrite(text, &self.fresh)
        } else {
            text.to_owned()
        })
    }
}

impl Line {
    async fn tell(&mut self, message: Vec<u8>) {
        self.sent.push(message.clone());
        self.pipe.take(message.into()).await;
    }

    fn heard(&mut self, message: &[u8]) -> Result<Value> {
        self.came.push(message.to_vec());
        Ok(serde_json::from_slice(message)?)
    }

    /// The answer to `id`, or the next one if that is not known.
    async fn answer(&mut self, id: Option<&Value>) -> Result<Value> {
        let fits = |message: &Value| {
            message.is_array()
                || mcp::is_answer(message)
                    && id.is_none_or(|id| id.is_null() || message["id"] == *id)
        };
        if let Some(at) = self.unread.iter().position(fits) {
            return Ok(self.unread.remove(at));
        }
        loop {
            let message = timeout(PATIENCE, self.out.recv())
                .await
                .context("no answer in time")?
                .context("the pipe was closed")?;
            let message = self.heard(&message)?;
            if fits(&message) {
                return Ok(message);
            }
            self.unread.push(message);
        }
    }
}

/// The body as it is sent.
fn whole(asking: &Asking, is_modern: bool) -> Result<Vec<u8>> {
    if asking.ask.form == Form::Body {
        return Ok(asking.text.clone().into_bytes());
    }
    let message: Value = serde_json::from_str(&asking.text).context("the request is not JSON")?;
    let message = if is_modern {
        mcp::modern(message)
    } else {
        message
    };
    Ok(message.to_string().into_bytes())
}

/// A record as JSON.
fn told(record: &Recorded) -> Value {
    let row = &record.row;
    json!({
        "principal": row.principal,
        "credential": row.credential,
        "client": row.client,
        "transport": row.transport,
        "revision": row.revision,
        "method": row.method,
        "upstream": row.upstream,
        "entry": row.entry,
        "arguments_digest": row.arguments_digest,
        "decision": row.decision,
        "rule": row.rule,
        "outcome": row.outcome.as_str(),
        "code": row.code,
        "reason": row.reason,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "server": row.server,
        "consent": row.consent,
        "screened": row.screened,
    })
}
