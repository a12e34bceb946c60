//! `portcullis stdio --connect`: a client that only speaks stdio, in front of a gate that runs elsewhere.
//!
//! Messages go through as they are. The bridge adds what HTTP wants beside them (session, revision, mirrored
//! headers) and opens the stream on which a legacy session hears of changes. A modern request is cancelled over HTTP
//! by closing its exchange, so that is what becomes of its cancellation.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use wire::header as mcp;
use wire::{Body, Frame, Lines, Notification, Outcome, Params, Request, json, method, sse};

use super::pipes;
use super::stdio::write;
use crate::config::{Environment, Loaded};

/// Messages that may wait to be written.
const OUT_MAX: usize = 256;
/// The largest answer taken, in bytes.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// How long an answer may take; the gate has its own, shorter deadlines.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3600);
/// The variable with the API key, if the gate wants one.
const KEY_VARIABLE: &str = "PORTCULLIS_API_KEY";

struct Bridge {
    client: net::Client,
    url: Url,
    key: Option<HeaderValue>,
    session: Mutex<Session>,
    /// The open exchanges of modern requests, by the raw id.
    open: Mutex<HashMap<String, CancellationToken>>,
    out: mpsc::Sender<Bytes>,
    tasks: TaskTracker,
    over: CancellationToken,
}

#[derive(Debug, Clone, Default)]
struct Session {
    id: Option<HeaderValue>,
    revision: Option<HeaderValue>,
}

/// The exchange of a modern request. Whoever drops it forgets it.
struct Open {
    bridge: Arc<Bridge>,
    id: String,
    cancelled: CancellationToken,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.bridge.open.lock().remove(&self.id);
    }
}

/// Carries messages both ways until stdin ends.
pub(super) async fn run(url: &Url, loaded: &Loaded) -> anyhow::Result<()> {
    let environment = Environment::of_process();
    let key = environment
        .get(KEY_VARIABLE)
        .map(|key| HeaderValue::try_from(format!("Bearer {key}")));
    let (out, waiting) = mpsc::channel(OUT_MAX);
    let bridge = Arc::new(Bridge {
        client: net::Client::new(net::Settings::default()),
        url: url.clone(),
        key: key
            .transpose()
            .with_context(|| format!("`{KEY_VARIABLE}` is no API key"))?,
        session: Mutex::default(),
        open: Mutex::default(),
        out,
        tasks: TaskTracker::new(),
        over: CancellationToken::new(),
    });
    bridge.greet().await?;
    let writer = write(waiting);
    tokio::pin!(writer);
    tokio::select! {
        () = bridge.read(loaded.http.body_max) => {}
        () = &mut writer => {}
    }
    bridge.tasks.close();
    let rest = async {
        bridge.tasks.wait().await;
        bridge.end_session().await;
        drop(bridge);
    };
    let over = async {
        // Streams have no end of their own; calls get the time that a drain gets.
        tokio::time::sleep(loaded.drain).await;
    };
    tokio::select! {
        ((), ()) = async { tokio::join!(rest, writer) } => {}
        () = over => {}
    }
    Ok(())
}

impl Bridge {
    /// Says at once if there is no gate, rather than at the first call.
    async fn greet(&self) -> anyhow::Result<()> {
        let mut url = self.url.clone();
        url.set_path("/readyz");
        let request = self.request(
            Method::GET,
            url,
            HeaderMap::new(),
            Bytes::new(),
            Duration::from_secs(10),
        );
        let response = self.client.send(request).await.with_context(|| {
            format!(
                "no gate answers at {}; start one with `portcullis serve`",
                self.url
            )
        })?;
        if !response.status.is_success() {
            bail!(
                "the gate at {} is not ready (HTTP {})",
                self.url,
                response.status.as_u16()
            );
        }
        Ok(())
    }

    async fn read(self: &Arc<Self>, line_max: usize) {
        let mut stdin = pipes::stdin();
        let mut lines = Lines::new(line_max);
        loop {
            while let Some(line) = lines.next_line() {
                match line {
                    Ok(line) => self.take(line).await,
                    Err(error) => {
                        let code = wire::code::INVALID_REQUEST;
                        self.say(wire::encode::error(None, code, &error.to_string(), None).into())
                            .await;
                    }
                }
            }
            if !matches!(stdin.read_buf(lines.buffer()).await, Ok(1..)) {
                self.over.cancel();
                return;
            }
        }
    }

    async fn take(self: &Arc<Self>, line: Bytes) {
        let request = match Body::decode(&line) {
            Ok(Body::One(Ok(Frame::Notification(note)))) if self.cancels(&note) => return,
            Ok(Body::One(Ok(Frame::Request(request)))) => Some(request),
            _ => None,
        };
        let is_handshake = request
            .as_ref()
            .is_some_and(|r| r.method.as_str() == method::INITIALIZE.name);
        if is_handshake || request.is_none() {
            // In order: what follows a handshake needs its session, and a cancellation follows its call.
            self.exchange(line, request).await;
            if is_handshake && self.session.lock().id.is_some() {
                let bridge = Arc::clone(self);
                self.tasks.spawn(async move { bridge.hear_changes().await });
            }
        } else {
            let bridge = Arc::clone(self);
            // Here and not in the task: the next line may cancel it.
            let open = request.as_ref().and_then(|request| bridge.enter(request));
            let listens = request
                .as_ref()
                .is_some_and(|request| request.method.as_str() == method::LISTEN.name);
            self.tasks.spawn(async move {
                let Some(open) = open else {
                    return bridge.exchange(line, request).await;
                };
                tokio::select! {
                    biased;
                    () = open.cancelled.cancelled() => {}
                    () = bridge.exchange(line, request) => {}
                    // It has no end of its own, and nobody listens any more.
                    () = bridge.over.cancelled(), if listens => {}
                }
            });
        }
    }

    /// Makes a modern request one that can be cancelled. A second one with the same id cannot.
    fn enter(self: &Arc<Self>, request: &Request) -> Option<Open> {
        modern_revision(request.read_params().ok()?)?;
        match self.open.lock().entry(request.id().to_owned()) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => Some(Open {
                bridge: Arc::clone(self),
                id: request.id().to_owned(),
                cancelled: place.insert(CancellationToken::new()).clone(),
            }),
        }
    }

    /// Closes the exchange that a client cancels. False if it is none of ours to close.
    fn cancels(&self, note: &Notification) -> bool {
        if note.method != method::notification::CANCELLED {
            return false;
        }
        let params = note.params();
        let Ok(Some(id)) = json::member(&params, "requestId") else {
            return false;
        };
        let open = self.open.lock();
        let exchange = open.get(id.get());
        exchange.inspect(|exchange| exchange.cancel()).is_some()
    }

    /// Posts one message and passes on whatever comes back.
    async fn exchange(&self, message: Bytes, request: Option<Request>) {
        if let Err(error) = self.try_exchange(message, request.as_ref()).await {
            tracing::warn!("{error:#}");
            if let Some(request) = &request {
                let text = "The gate cannot be reached; is `portcullis serve` running?";
                let code = wire::code::UPSTREAM_UNAVAILABLE;
                self.say(wire::encode::error(Some(request.id()), code, text, None).into())
                    .await;
            }
        }
    }

    async fn try_exchange(&self, message: Bytes, request: Option<&Request>) -> anyhow::Result<()> {
        let mut headers = self.headers();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        if let Some(request) = request {
            mirror(&mut headers, request);
        }
        let request_out = self.request(
            Method::POST,
            self.url.clone(),
            headers,
            message,
            ANSWER_TIMEOUT,
        );
        let mut response = self.client.send(request_out).await?;
        if let Some(id) = response.headers.get(mcp::SESSION_ID) {
            self.session.lock().id = Some(id.clone());
        }
        let kind = response
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            return self.follow(&mut response.body).await;
        }
        let body = response
            .body
            .read_to_end(ANSWER_MAX, ANSWER_TIMEOUT)
            .await?;
        if body.is_empty() {
            return Ok(());
        }
        if request.is_some_and(|request| request.method.as_str() == method::INITIALIZE.name) {
            self.learn_revision(&body);
        }
        // An error about a notification has nobody who waits for it.
        if request.is_some()
            || !matches!(Frame::decode(&body), Ok(Frame::Response(r)) if r.id().is_none())
        {
            self.say(body).await;
        }
        Ok(())
    }

    /// From the handshake on every request names the revision.
    fn learn_revision(&self, body: &Bytes) {
        let Ok(Frame::Response(response)) = Frame::decode(body) else {
            return;
        };
        let Outcome::Result(result) = response.outcome() else {
            return;
        };
        let revision = json::member(&result, "protocolVersion")
            .ok()
            .flatten()
            .and_then(json::unquote);
        let value = revision.and_then(|revision| HeaderValue::try_from(revision.as_ref()).ok());
        self.session.lock().revision = value;
    }

    async fn follow(&self, body: &mut net::Body) -> anyhow::Result<()> {
        let mut events = sse::Decoder::new(ANSWER_MAX);
        while let Some(chunk) = body.chunk().await? {
            events.push(&chunk);
            while let Some(event) = events.next_event()? {
                if !event.data.is_empty() {
                    self.say(event.data).await;
                }
            }
        }
        Ok(())
    }

    async fn hear_changes(&self) {
        let mut headers = self.headers();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        let request = self.request(
            Method::GET,
            self.url.clone(),
            headers,
            Bytes::new(),
            ANSWER_TIMEOUT,
        );
        let hear = async {
            let mut response = self.client.send(request).await?;
            if response.status.is_success() {
                self.follow(&mut response.body).await
            } else {
                Ok(())
            }
        };
        tokio::select! {
            heard = hear => {
                if let Err(error) = heard {
                    tracing::debug!("list changes are not heard any more: {error:#}");
                }
            }
            () = self.over.cancelled() => {}
        }
    }

    async fn end_session(&self) {
        if self.session.lock().id.is_none() {
            return;
        }
        let wait = Duration::from_secs(1);
        let request = self.request(
            Method::DELETE,
            self.url.clone(),
            self.headers(),
            Bytes::new(),
            wait,
        );
        drop(self.client.send(request).await);
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let session = self.session.lock();
        if let Some(id) = &session.id {
            headers.insert(mcp::SESSION_ID, id.clone());
        }
        if let Some(revision) = &session.revision {
            headers.insert(mcp::PROTOCOL_VERSION, revision.clone());
        }
        headers
    }

    fn request(
        &self,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> net::Request {
        if let Some(key) = &self.key {
            headers.insert(header::AUTHORIZATION, key.clone());
        }
        net::Request {
            method,
            url,
            headers,
            body,
            reach: net::Reach::Operator,
            timeout,
        }
    }

    async fn say(&self, message: Bytes) {
        drop(self.out.send(message).await);
    }
}

/// The revision that a modern request names.
fn modern_revision(params: &Params) -> Option<String> {
    let meta = params.meta().ok()?;
    Some(meta.text(wire::meta::PROTOCOL_VERSION)?.into_owned())
}

/// What a modern request repeats in headers; a legacy one has none of it.
fn mirror(headers: &mut HeaderMap, request: &Request) {
    let Ok(params) = request.read_params() else {
        return;
    };
    let Some(revision) = modern_revision(params) else {
        return;
    };
    let mut set = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::try_from(mcp::encode(text).as_ref()) {
            headers.insert(name, value);
        }
    };
    set(mcp::PROTOCOL_VERSION, &revision);
    set(mcp::METHOD, request.method.as_str());
    let wire::MethodName::Known(method) = &request.method else {
        return;
    };
    let name = match method.mirror {
        Some(method::Mirror::Name) => params.name.as_deref(),
        Some(method::Mirror::Uri) => params.uri.as_deref(),
        Some(method::Mirror::TaskId) => params.task_id.as_deref(),
        None => None,
    };
    if let Some(name) = name {
        set(mcp::NAME, name);
    }
}
