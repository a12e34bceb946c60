//! All that clients and the gate said to one another, put into conversations and judged message by message.
//!
//! A conversation is what shares request ids: a session, a stream of the first revision's transport, a socket, a pipe,
//! or a single exchange. It knows which revisions it speaks and what was asked in it; an answer is held against what
//! it answers. Cutting bytes is [`http`](super::http)'s.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::http::{Exchange, cut, events};
use super::{Ask, REVISIONS, Schemas, ask};
use crate::mcp::{MODERN, is_answer};

/// What a client speaks that has not said so.
const ASSUMED: &str = "2025-03-26";

/// What shares request ids.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    /// What was agreed in it, beside what single requests say.
    revisions: BTreeSet<String>,
    asks: Vec<Ask>,
    came: Vec<Came>,
}

/// A message from the gate, with what was asked in the same exchange.
#[derive(Debug)]
struct Came {
    message: Value,
    beside: Vec<Ask>,
}

impl Conversation {
    /// One on a pipe: what each side said.
    pub(crate) fn on_pipe(sent: &[Vec<u8>], came: &[Vec<u8>]) -> Result<Self> {
        let mut conversation = Self::default();
        for message in sent {
            conversation.asks.extend(asks(message, ASSUMED));
        }
        for message in came {
            conversation.hear(message, &[])?;
        }
        conversation.agree();
        Ok(conversation)
    }

    fn hear(&mut self, message: &[u8], beside: &[Ask]) -> Result<()> {
        let Ok(message) = serde_json::from_slice(message) else {
            bail!("not JSON: {:.300}", String::from_utf8_lossy(message));
        };
        self.came.push(Came {
            message,
            beside: beside.to_vec(),
        });
        Ok(())
    }

    /// Finds out what the handshake agreed on; requests that say nothing are of that revision.
    fn agree(&mut self) {
        let agreed = self
            .came
            .iter()
            .filter_map(|came| came.message["result"]["protocolVersion"].as_str())
            .find(|agreed| REVISIONS.contains(agreed));
        if let Some(agreed) = agreed.map(str::to_owned) {
            let asks = self.asks.iter_mut();
            for ask in asks.filter(|ask| ask.revision == ASSUMED) {
                ask.revision.clone_from(&agreed);
            }
            self.revisions.insert(agreed);
        }
    }

    /// Holds every message against the schema of its revision.
    ///
    /// # Errors
    /// The first that does not fit.
    pub(crate) fn judge(&self, schemas: &mut Schemas) -> Result<()> {
        let mut revisions: Vec<&str> = self.revisions.iter().map(String::as_str).collect();
        let asked = self
            .asks
            .iter()
            .chain(self.came.iter().flat_map(|came| &came.beside));
        revisions.extend(asked.map(|ask| ask.revision.as_str()));
        revisions.sort_unstable();
        revisions.dedup();
        if revisions.is_empty() {
            revisions.push(ASSUMED);
        }
        for came in &self.came {
            let Value::Array(batch) = &came.message else {
                self.one(schemas, &revisions, &came.message, &came.beside)?;
                continue;
            };
            ensure!(
                !batch.is_empty()
                    && revisions
                        .iter()
                        .any(|revision| Schemas::has_batches(revision)),
                "no batch is sent under {revisions:?}: {batch:?}"
            );
            for message in batch {
                self.one(schemas, &revisions, message, &came.beside)?;
            }
        }
        Ok(())
    }

    fn one(
        &self,
        schemas: &mut Schemas,
        revisions: &[&str],
        message: &Value,
        beside: &[Ask],
    ) -> Result<()> {
        let fits = |ask: &&Ask| is_answer(message) && message.get("id") == Some(&ask.id);
        let mut asks: Vec<&Ask> = beside.iter().filter(fits).collect();
        if asks.is_empty() {
            asks = self.asks.iter().filter(fits).collect();
        }
        if asks.is_empty() {
            first_that_fits(revisions, |revision| schemas.unasked(revision, message))
        } else {
            first_that_fits(asks, |ask| schemas.answer(ask, message))
        }
    }
}

/// Tries one after another; the first complaint counts if all complain.
fn first_that_fits<T>(
    candidates: impl IntoIterator<Item = T>,
    mut judge: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let mut complaint = None;
    for candidate in candidates {
        match judge(candidate) {
            Ok(()) => return Ok(()),
            Err(error) => complaint = complaint.or(Some(error)),
        }
    }
    complaint.map_or(Ok(()), Err)
}

/// The requests in what a client sent; nothing where it is no JSON.
fn asks(message: &[u8], revision: &str) -> Vec<Ask> {
    match serde_json::from_slice(message) {
        Ok(Value::Array(batch)) => batch.iter().filter_map(|one| ask(one, revision)).collect(),
        Ok(message) => ask(&message, revision).into_iter().collect(),
        Err(_) => Vec::new(),
    }
}

/// Conversations over HTTP, from the bytes of all connections.
///
/// # Errors
/// If the gate sent something as a message that is no JSON.
pub(crate) fn conversations<'a>(
    connections: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<Vec<Conversation>> {
    let mut found = Vec::new();
    let mut exchanges = Vec::new();
    for (sent, came) in connections {
        let (cut, frames) = cut(sent, came);
        exchanges.extend(cut);
        if let Some([sent, came]) = frames {
            found.push(Conversation::on_pipe(&sent, &came)?);
        }
    }
    let sessions = sessions(&exchanges);
    let mut shared: BTreeMap<String, Conversation> = BTreeMap::new();
    for exchange in &exchanges {
        let path = exchange.ask.word();
        let key = match (path.split_once("session="), session(exchange)) {
            (Some((_, stream)), _) => Some(stream),
            (None, session) => session,
        };
        let messages = messages(exchange);
        let endpoint = messages.iter().find(|(kind, _)| kind == "endpoint");
        let key = match endpoint {
            Some((_, uri)) => uri.split_once("session=").map(|(_, stream)| stream),
            None => key,
        };
        let revision = revision(exchange, &sessions);
        let mut alone = Conversation::default();
        let conversation = match key {
            Some(key) => shared.entry(key.to_owned()).or_default(),
            None => &mut alone,
        };
        let asks = asks(&exchange.ask.body, revision);
        conversation.revisions.insert(revision.to_owned());
        conversation.asks.extend(asks.iter().cloned());
        for (_, data) in messages.iter().filter(|(kind, _)| kind == "message") {
            conversation.hear(data.as_bytes(), &asks)?;
        }
        found.extend(key.is_none().then_some(alone));
    }
    for (_, mut conversation) in shared {
        conversation.agree();
        found.push(conversation);
    }
    Ok(found)
}

/// What was agreed in each session.
fn sessions(exchanges: &[Exchange]) -> BTreeMap<String, String> {
    let session = |exchange: &Exchange| {
        let id = exchange.answer.header("mcp-session-id")?;
        let (_, data) = messages(exchange).pop()?;
        let answer: Value = serde_json::from_str(&data).ok()?;
        let agreed = answer["result"]["protocolVersion"].as_str()?;
        Some((id.to_owned(), agreed.to_owned()))
    };
    exchanges.iter().filter_map(session).collect()
}

fn session(exchange: &Exchange) -> Option<&str> {
    let given = exchange.answer.header("mcp-session-id");
    given.or_else(|| exchange.ask.header("mcp-session-id"))
}

/// The revision of an exchange, as MCP.md section 6 decides it.
fn revision<'a>(exchange: &'a Exchange, sessions: &'a BTreeMap<String, String>) -> &'a str {
    let named = exchange.ask.header("mcp-protocol-version");
    let agreed = session(exchange).and_then(|id| sessions.get(id));
    match (named, agreed) {
        (Some(MODERN), _) => MODERN,
        (_, Some(agreed)) => agreed,
        (Some(named), None) if REVISIONS.contains(&named) => named,
        (_, None) => ASSUMED,
    }
}

/// The messages of an answer, each with the kind of its event.
fn messages(exchange: &Exchange) -> Vec<(String, String)> {
    let path = exchange.ask.word();
    let answer = &exchange.answer;
    if !["/mcp", "/sse", "/messages"]
        .iter()
        .any(|ours| path.starts_with(ours))
    {
        return Vec::new();
    }
    match answer.header("content-type") {
        Some("text/event-stream") => events(&answer.body),
        Some("application/json") if answer.is_whole && !answer.body.is_empty() => {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            vec![("message".to_owned(), text)]
        }
        _ => Vec::new(),
    }
}
