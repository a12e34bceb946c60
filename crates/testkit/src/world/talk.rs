//! What is said to a [`World`] as one of its principals, and what comes back: messages of both eras, sessions, the admin
//! API, and requests byte for byte.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Exchange, World};
use crate::mcp;

/// A legacy session over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub who: String,
    /// What is spoken.
    pub revision: String,
    /// The virtual server that it is with; `None`: the whole catalog.
    pub server: Option<String>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status; 0 on a pipe.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whether it came as a stream of events.
    pub is_stream: bool,
    /// The messages: one, or those of a stream in their order. A batch is one array.
    pub messages: Vec<Value>,
}

impl Reply {
    /// One header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The last message: the answer.
    ///
    /// # Errors
    /// If there is none.
    pub fn answer(&self) -> Result<&Value> {
        self.messages.last().context("an empty reply")
    }

    /// The text of a tool's result.
    ///
    /// # Errors
    /// If this is no such result.
    pub fn text(&self) -> Result<&str> {
        let answer = self.answer()?;
        answer["result"]["content"][0]["text"]
            .as_str()
            .with_context(|| format!("no text in {answer}"))
    }

    /// The error's code.
    ///
    /// # Errors
    /// If this is no error.
    pub fn code(&self) -> Result<i64> {
        let answer = self.answer()?;
        answer["error"]["code"]
            .as_i64()
            .with_context(|| format!("no error in {answer}"))
    }

    /// How many records it owes.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.messages
            .iter()
            .map(|message| match message {
                Value::Array(batch) => batch.len(),
                // A subscription is recorded when it begins.
                message if message["method"] == "notifications/subscriptions/acknowledged" => 1,
                message => {
                    let tag = &message["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
                    usize::from(mcp::is_answer(message) && tag.is_null())
                }
            })
            .sum()
    }
}

impl World {
    /// Sends a modern message, made whole, and waits for the whole answer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn post(&self, who: &str, message: &Value) -> Result<Reply> {
        let exchange = self.begin(who, message).await?;
        self.whole(exchange).await
    }

    /// As [`World::post`], to a virtual server.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn post_at(&self, server: &str, who: &str, message: &Value) -> Result<Reply> {
        let exchange = self.begin_at(Some(server), who, message).await?;
        self.whole(exchange).await
    }

    /// As [`World::post`], and leaves the answer to be read.
    ///
    /// # Errors
    /// If there is none.
    pub async fn begin(&self, who: &str, message: &Value) -> Result<Exchange> {
        self.begin_at(None, who, message).await
    }

    /// As [`World::begin`], to a virtual server or to the whole catalog.
    ///
    /// # Errors
    /// If there is none.
    pub async fn begin_at(
        &self,
        server: Option<&str>,
        who: &str,
        message: &Value,
    ) -> Result<Exchange> {
        let message = mcp::modern(message.clone());
        let headers = mcp::headers(&message);
        let body = message.to_string();
        self.send("POST", server, who, &headers, body.as_bytes())
            .await
    }

    /// Opens a legacy session.
    ///
    /// # Errors
    /// If that is refused.
    pub async fn open(&self, who: &str, revision: &str) -> Result<Session> {
        self.open_with(who, revision, &json!({})).await
    }

    /// Opens a legacy session of a client that can do more.
    ///
    /// # Errors
    /// If that is refused.
    pub async fn open_with(
        &self,
        who: &str,
        revision: &str,
        capabilities: &Value,
    ) -> Result<Session> {
        self.open_at(None, who, revision, capabilities).await
    }

    /// As [`World::open_with`], with a virtual server or with the whole catalog.
    ///
    /// # Errors
    /// If that is refused.
    pub async fn open_at(
        &self,
        server: Option<&str>,
        who: &str,
        revision: &str,
        capabilities: &Value,
    ) -> Result<Session> {
        let body = mcp::initialize_with(revision, capabilities).to_string();
        let exchange = self.send("POST", server, who, &[], body.as_bytes()).await?;
        let reply = self.whole(exchange).await?;
        let id = reply
            .header("mcp-session-id")
            .with_context(|| format!("no session: {:?}", reply.messages))?
            .to_owned();
        let session = Session {
            id,
            who: who.to_owned(),
            revision: revision.to_owned(),
            server: server.map(str::to_owned),
        };
        self.sessions.lock().push(session.clone());
        self.post_in(
            &session,
            &mcp::notification("notifications/initialized", &json!({})),
        )
        .await?;
        Ok(session)
    }

    /// The first session of this principal and revision; opened if there is none.
    ///
    /// # Errors
    /// If that is refused.
    pub async fn session(&self, who: &str, revision: &str) -> Result<Session> {
        self.session_at(None, who, revision).await
    }

    /// As [`World::session`], with a virtual server or with the whole catalog.
    ///
    /// # Errors
    /// If that is refused.
    pub async fn session_at(
        &self,
        server: Option<&str>,
        who: &str,
        revision: &str,
    ) -> Result<Session> {
        let is_it = |session: &&Session| {
            (session.who.as_str(), session.revision.as_str()) == (who, revision)
                && session.server.as_deref() == server
        };
        let open = self.sessions.lock().iter().find(is_it).cloned();
        match open {
            Some(session) => Ok(session),
            None => self.open_at(server, who, revision, &json!({})).await,
        }
    }

    /// Sends a message within a session and waits for the whole answer.
    ///
    /// # Errors
    /// If there is none.
    pub async fn post_in(&self, session: &Session, message: &Value) -> Result<Reply> {
        let exchange = self.begin_in(session, message).await?;
        self.whole(exchange).await
    }

    /// As [`World::post_in`], and leaves the answer to be read.
    ///
    /// # Errors
    /// If there is none.
    pub async fn begin_in(&self, session: &Session, message: &Value) -> Result<Exchange> {
        self.send_in("POST", session, &session.headers(), &message.to_string())
            .await
    }

    /// Opens a session's stream of changes.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn listen_in(&self, session: &Session) -> Result<Exchange> {
        self.send_in("GET", session, &session.headers(), "").await
    }

    /// Asks for the rest of a stream of a session.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn resume(&self, session: &Session, last_event_id: &str) -> Result<Exchange> {
        let mut headers = session.headers();
        headers.push(("Last-Event-ID", last_event_id.to_owned()));
        self.send_in("GET", session, &headers, "").await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn close(&self, session: &Session) -> Result<u16> {
        let exchange = self
            .send_in("DELETE", session, &session.headers(), "")
            .await?;
        self.sessions.lock().retain(|open| open != session);
        Ok(self.whole(exchange).await?.status)
    }

    /// Ends a session that was opened by other means when the world ends.
    pub fn adopt(&self, session: Session) {
        self.sessions.lock().push(session);
    }

    async fn send(
        &self,
        verb: &str,
        server: Option<&str>,
        who: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Exchange> {
        self.send_raw(&self.request_at(verb, server, who, headers, body)?)
            .await
    }

    async fn send_in(
        &self,
        verb: &str,
        session: &Session,
        headers: &[(&str, String)],
        body: &str,
    ) -> Result<Exchange> {
        let server = session.server.as_deref();
        self.send(verb, server, &session.who, headers, body.as_bytes())
            .await
    }

    /// A whole request to the endpoint.
    ///
    /// # Errors
    /// If nobody of that name is known.
    pub fn request(
        &self,
        verb: &str,
        who: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Vec<u8>> {
        self.request_at(verb, None, who, headers, body)
    }

    /// As [`World::request`], to a virtual server or to the whole catalog.
    ///
    /// # Errors
    /// If nobody of that name is known.
    pub fn request_at(
        &self,
        verb: &str,
        server: Option<&str>,
        who: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let (slash, server) = server.map_or(("", ""), |server| ("/", server));
        let mut head = format!("{verb} /mcp{slash}{server} HTTP/1.1\r\n");
        for (name, value) in headers {
            head.push_str(&[*name, ": ", value, "\r\n"].concat());
        }
        let accept = if verb == "GET" {
            "text/event-stream"
        } else {
            "application/json, text/event-stream"
        };
        head.push_str(&["Accept: ", accept, "\r\n"].concat());
        if !body.is_empty() {
            head.push_str("Content-Type: application/json\r\n");
        }
        self.complete(who, &head, body)
    }

    /// A whole request from a head without its last line, with what every request needs and this one lacks.
    ///
    /// # Errors
    /// If nobody of that name is known.
    pub fn complete(&self, who: &str, head: &str, body: &[u8]) -> Result<Vec<u8>> {
        let mut head = head.to_owned();
        let lower = head.to_ascii_lowercase();
        let mut add = |name: &str, value: &str| {
            if !lower.contains(&format!("\n{}:", name.to_ascii_lowercase())) {
                head.push_str(&[name, ": ", value, "\r\n"].concat());
            }
        };
        add("Host", &self.address().to_string());
        add("Content-Length", &body.len().to_string());
        add("Connection", "close");
        if let Some(key) = self.key(who)?
            && !lower.contains("\nx-api-key:")
        {
            add("Authorization", &format!("Bearer {key}"));
        }
        head.push_str("\r\n");
        Ok([head.as_bytes(), body].concat())
    }

    /// Asks the admin API: the status, and the body, `null` if there is none. The record of it is owed.
    ///
    /// # Errors
    /// If there is no answer, or it is not JSON.
    pub async fn admin(
        &self,
        who: &str,
        verb: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let mut head = format!("{verb} {path} HTTP/1.1\r\n");
        if body.is_some() {
            head.push_str("Content-Type: application/json\r\n");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let bytes = self.complete(who, &head, body.as_bytes())?;
        let mut answer = self.send_raw(&bytes).await?;
        self.owe(1);
        let body = answer.body().await?;
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body)?
        };
        Ok((answer.status, body))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send_raw(&self, bytes: &[u8]) -> Result<Exchange> {
        Exchange::send(self.address(), bytes).await
    }

    /// Reads an answer to its end, and owes the audit log its records.
    ///
    /// # Errors
    /// If it breaks off, or is not JSON.
    pub async fn whole(&self, mut exchange: Exchange) -> Result<Reply> {
        let is_stream = exchange.is_stream();
        let mut messages = Vec::new();
        if is_stream {
            while let Some(message) = exchange.event().await? {
                messages.push(message);
            }
        } else {
            let body = exchange.body().await?;
            if !body.is_empty() && exchange.header("content-type") == Some("application/json") {
                messages.push(
                    serde_json::from_slice(&body).with_context(|| {
                        format!("not JSON: {:?}", String::from_utf8_lossy(&body))
                    })?,
                );
            }
        }
        let reply = Reply {
            status: exchange.status,
            headers: exchange.headers,
            is_stream,
            messages,
        };
        self.owe(reply.answers());
        Ok(reply)
    }
}

impl Session {
    /// The headers of a request within it.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("Mcp-Session-Id", self.id.clone())];
        // The first revision with sessions over HTTP has no such header yet.
        if self.revision.as_str() > "2025-03-26" {
            headers.push(("MCP-Protocol-Version", self.revision.clone()));
        }
        headers
    }
}
