//! An MCP server behind Streamable HTTP: one POST a message, answers as JSON or as a stream of events.
//!
//! Legacy servers keep a session and may push on a GET stream; modern ones get mirrored headers and push on
//! `subscriptions/listen`. Sources: MCP 2025-11-25 and 2026-07-28, "Transports".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, StatusCode, header};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use wire::header as mcp;
use wire::{Era, Frame, Outcome, Revision, method, sse};

use crate::credential::Pass;
use crate::inbox::{Due, Inbox, Ticket};
use crate::request::Outgoing;
use crate::{Error, Http, Refusal};

/// The largest answer or event taken, in bytes.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// How often a request is sent: what lets it in may be out of date, and so may what comes in its place.
const TRIES_MAX: usize = 3;
/// How long a notification may take to be accepted.
const TELL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of a session may take to be told.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Cancellations and answers that wait to be posted.
const AFTERMATH_MAX: usize = 64;
/// Streams whose answer came and whose end is still to come, and how long it may take.
const TAILS_MAX: usize = 64;
const TAIL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long until a call's stream that broke off is taken up again, if the server names no time, and at most.
const RESUME_PAUSE: Duration = Duration::from_secs(1);
const RESUME_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long until a stream of changes that ended is opened again.
const WATCH_PAUSE: Duration = Duration::from_secs(2);
/// Headers of a request that are not the operator's, those of the connection and of a trace included: space for them is
/// made once.
const HEADERS_OWN: usize = 10;

/// One server, and the session with it if it is a legacy one.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) inbox: Inbox,
    client: net::Client,
    spec: Http,
    /// What lets us in, if that is obtained.
    pass: Option<Pass>,
    timeout: Duration,
    session: Mutex<Session>,
    /// Held while a lost session is made anew, so that many calls that lost it make one.
    pub(crate) renewal: tokio::sync::Mutex<()>,
    aftermath: mpsc::Sender<Due>,
    tails: mpsc::Sender<net::Body>,
    unreachable: Notify,
    /// The stream of what concerns no call was asked for.
    pub(crate) heard: Notify,
    /// The handshake was refused in a way in which servers of the first revision refuse it.
    is_refused: AtomicBool,
}

#[derive(Debug, Clone)]
struct Session {
    revision: Revision,
    id: Option<HeaderValue>,
    /// The server forgot it, and it has not been made anew yet.
    is_lost: bool,
}

/// Why nobody listens for changes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deaf {
    /// The server offers no stream for it.
    NoStream,
    /// The server forgot the session.
    SessionLost,
}

/// The side of a connection that its task runs.
#[derive(Debug)]
pub(crate) struct Driver {
    aftermath: mpsc::Receiver<Due>,
    tails: mpsc::Receiver<net::Body>,
}

/// Nothing is sent yet: the first exchange connects.
pub(crate) fn start(
    client: net::Client,
    spec: &Http,
    pass: Option<Pass>,
    timeout: Duration,
) -> (Connection, Driver) {
    let (aftermath, to_post) = mpsc::channel(AFTERMATH_MAX);
    let (tails, to_end) = mpsc::channel(TAILS_MAX);
    let connection = Connection {
        inbox: Inbox::default(),
        client,
        spec: spec.clone(),
        pass,
        timeout,
        session: Mutex::new(Session {
            revision: Revision::LATEST,
            id: None,
            is_lost: false,
        }),
        renewal: tokio::sync::Mutex::new(()),
        aftermath,
        tails,
        unreachable: Notify::new(),
        heard: Notify::new(),
        is_refused: AtomicBool::new(false),
    };
    (
        connection,
        Driver {
            aftermath: to_post,
            tails: to_end,
        },
    )
}

impl Connection {
    pub(crate) fn revision(&self) -> Revision {
        self.session.lock().revision
    }

    pub(crate) fn speak(&self, revision: Revision) {
        let mut session = self.session.lock();
        session.revision = revision;
    }

    /// Forgets the session, unless another call did so since; whether there was one to forget.
    pub(crate) fn lose_session(&self, seen: Option<&HeaderValue>) -> bool {
        let mut session = self.session.lock();
        if seen.is_some() && session.id.as_ref() == seen {
            session.id = None;
            session.is_lost = true;
        }
        seen.is_some()
    }

    /// Whether the server may be one of the first revision, which has another transport.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    pub(crate) fn is_session_lost(&self) -> bool {
        self.session.lock().is_lost
    }

    /// A new session is there, its handshake done.
    pub(crate) fn session_renewed(&self) {
        self.session.lock().is_lost = false;
        self.inbox.session_began();
    }

    pub(crate) fn session_id(&self) -> Option<HeaderValue> {
        self.session.lock().id.clone()
    }

    /// Posts a request and waits for its answer. Dropped while waiting: the stream closes, which cancels in the
    /// modern era; a legacy server is told.
    pub(crate) async fn exchange(&self, outgoing: Outgoing<'_>) -> Result<Outcome<Bytes>, Error> {
        let Outgoing {
            id,
            method,
            params,
            named,
            mirrored,
            trace,
            principal,
            line,
        } = outgoing;
        let whose = principal.clone();
        let mut ticket = self
            .inbox
            .open(id, principal, line)
            .ok_or(Error::Down { state: "down" })?;
        let message = wire::encode::request(&id.to_string(), method, &params);
        let era = self.revision().era();
        let mut headers = self.headers();
        if method == method::INITIALIZE.name {
            headers.remove(mcp::SESSION_ID);
        }
        if era == Era::Modern {
            mirror(&mut headers, method, named)?;
            for (name, value) in mirrored {
                mirror_param(&mut headers, name, value)?;
            }
        }
        if let Some(trace) = trace {
            for (name, value) in trace.members() {
                // Printable ASCII, which fits.
                if let Ok(value) = HeaderValue::from_str(value.text()) {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
        }
        let mut cancel = Cancel {
            connection: self,
            id,
            is_open: era == Era::Legacy && method != method::INITIALIZE.name,
        };
        let answer = self
            .answer(
                method,
                (message.into(), headers),
                whose.as_deref(),
                &mut ticket,
            )
            .await;
        cancel.is_open = false;
        if let Err(Error::Net(error)) = &answer
            && error.sent() == net::Sent::No
        {
            self.unreachable.notify_one();
        }
        answer
    }

    async fn answer(
        &self,
        method: &str,
        (message, headers): (Bytes, HeaderMap),
        principal: Option<&str>,
        ticket: &mut Ticket<'_>,
    ) -> Result<Outcome<Bytes>, Error> {
        let has_session = headers.contains_key(mcp::SESSION_ID);
        let mut response = self.post(message, headers, principal, self.timeout).await?;
        if has_session && response.status == StatusCode::NOT_FOUND {
            // Whatever the body says, and servers say all sorts of things: the session is unknown.
            drop(response.body.read_to_end(64 * 1024, TELL_TIMEOUT).await);
            return Err(Error::Status { status: 404 });
        }
        if method == method::INITIALIZE.name
            && let Some(id) = response.headers.get(mcp::SESSION_ID)
        {
            self.session.lock().id = Some(id.clone());
        }
        if method == method::INITIALIZE.name {
            let is_refused = matches!(response.status.as_u16(), 400 | 404 | 405);
            self.is_refused.store(is_refused, Ordering::Relaxed);
        }
        if is_event_stream(&response.headers) && response.status.is_success() {
            return self.follow(response.body, ticket).await;
        }
        let body = response.body.read_to_end(ANSWER_MAX, self.timeout).await?;
        let status = response.status.as_u16();
        match Frame::decode(&body) {
            // An error about a request it could not read has no id; on this exchange it can only be ours.
            Ok(Frame::Response(reply)) if reply.id().is_none() => Ok(reply.outcome()),
            Ok(frame) => {
                if let Some(outcome) = self.take(frame, Some(ticket.id)) {
                    return Ok(outcome);
                }
                ticket.reply.try_recv().unwrap_or_else(|_nothing| {
                    Err(Error::Protocol("it answered something else".to_owned()))
                })
            }
            Err(_) if !response.status.is_success() => Err(Error::Status { status }),
            Err(fault) => Err(Error::Protocol(fault.to_string())),
        }
    }

    /// Reads events until the answer comes. A stream that ends before, and gave its events ids, goes on in another one
    /// (2025-03-26 to 2025-11-25, "Resumability and redelivery").
    async fn follow(
        &self,
        mut body: net::Body,
        ticket: &mut Ticket<'_>,
    ) -> Result<Outcome<Bytes>, Error> {
        let mut last_id: Option<String> = None;
        loop {
            let mut events = sse::Decoder::new(ANSWER_MAX);
            let broke = loop {
                let chunk = match body.chunk().await {
                    Ok(Some(chunk)) => chunk,
                    Ok(None) => break Error::Gone,
                    Err(error) => break error.into(),
                };
                events.push(&chunk);
                let answer = self.hear(&mut events, Some(ticket.id))?;
                if let Some(answer) = answer.map(Ok).or_else(|| ticket.reply.try_recv().ok()) {
                    self.finish(body);
                    return answer;
                }
            };
            last_id = events.last_id().map(str::to_owned).or(last_id);
            let Some(id) = last_id
                .as_deref()
                .filter(|_| self.revision().era() == Era::Legacy)
            else {
                return Err(broke);
            };
            let pause = events
                .retry_ms()
                .map_or(RESUME_PAUSE, Duration::from_millis);
            tokio::time::sleep(pause.min(RESUME_PAUSE_MAX)).await;
            match self.open_get_stream(Some(id)).await? {
                Opened::Stream(rest) => body = rest,
                Opened::Not(_) => return Err(broke),
            }
        }
    }

    /// A stream that ends with the answer, as it should, gives its connection back. If its end is not here yet, the
    /// driver waits for it: the caller has the answer.
    fn finish(&self, mut body: net::Body) {
        if body.chunk().now_or_never().is_none() {
            // If too many of them wait, this one is closed.
            drop(self.tails.try_send(body));
        }
    }

    /// Reads what came; yields the answer to the request `own` if it is there.
    fn hear(
        &self,
        events: &mut sse::Decoder,
        own: Option<u64>,
    ) -> Result<Option<Outcome<Bytes>>, Error> {
        let mut answer = None;
        while let Some(event) = events
            .next_event()
            .map_err(|error| Error::Protocol(error.to_string()))?
        {
            // A prime event has an id and no data.
            if event.data.is_empty() || event.kind != "message" {
                continue;
            }
            match Frame::decode(&event.data) {
                Ok(frame) => answer = self.take(frame, own).or(answer),
                Err(fault) => {
                    self.inbox.refuse(&event.data, &fault);
                    tracing::warn!("the upstream sent an event that is not MCP: {fault}");
                }
            }
        }
        Ok(answer)
    }

    /// Takes in one message; yields it if it is the answer to the request `own`, which is waited for right here and
    /// so needs no inbox (which closes when the server cannot be reached for others).
    fn take(&self, frame: Frame, own: Option<u64>) -> Option<Outcome<Bytes>> {
        if let (Frame::Response(response), Some(own)) = (&frame, own)
            && response.id().and_then(|id| id.parse().ok()) == Some(own)
        {
            return Some(response.outcome());
        }
        if let Some(due) = self.inbox.take(frame, own) {
            // If the queue is full there is nothing better to do with the answer to its request.
            drop(self.aftermath.try_send(due));
        }
        None
    }

    /// Posts a notification or an answer.
    pub(crate) async fn tell(&self, message: Vec<u8>) -> Result<(), Error> {
        let mut response = self
            .post(message.into(), self.headers(), None, TELL_TIMEOUT)
            .await?;
        // Read, so that the connection can serve the next exchange.
        drop(response.body.read_to_end(64 * 1024, TELL_TIMEOUT).await);
        if response.status.is_success() {
            Ok(())
        } else {
            Err(Error::Status {
                status: response.status.as_u16(),
            })
        }
    }

    async fn post(
        &self,
        body: Bytes,
        mut headers: HeaderMap,
        principal: Option<&str>,
        timeout: Duration,
    ) -> Result<net::Response, Error> {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        let url = self.spec.url.clone();
        let request = net::Request {
            method: Verb::POST,
            url,
            headers,
            body,
            reach: net::Reach::Operator,
            timeout,
        };
        self.send(request, principal).await
    }

    /// Sends a request with what lets it in, and once more if the server refused that and there is a better one: a
    /// request that was not let in was not acted upon.
    async fn send(
        &self,
        mut request: net::Request,
        principal: Option<&str>,
    ) -> Result<net::Response, Error> {
        let Some(pass) = &self.pass else {
            return Ok(self.client.send(request).await?);
        };
        let mut used = pass.add(&mut request.headers, principal).await?;
        let mut tries = 0;
        loop {
            let mut response = self.client.send(request.clone()).await?;
            tries += 1;
            if tries == TRIES_MAX || !Pass::concerns(response.status, &response.headers) {
                return Ok(response);
            }
            // Read, so that the connection can serve the next exchange.
            drop(response.body.read_to_end(64 * 1024, TELL_TIMEOUT).await);
            let refusal = Refusal {
                used: used.as_ref(),
                status: response.status,
                headers: &response.headers,
            };
            let better = pass.refused(principal, refusal).await?;
            request
                .headers
                .insert(header::AUTHORIZATION, better.clone());
            used = Some(better);
        }
    }

    /// The operator's headers, then ours, which they cannot override.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.spec.headers.len() + HEADERS_OWN);
        for (name, value) in &self.spec.headers {
            headers.append(name, value.clone());
        }
        let session = self.session.lock();
        headers.insert(
            mcp::PROTOCOL_VERSION,
            HeaderValue::from_static(session.revision.as_str()),
        );
        if let Some(id) = &session.id {
            headers.insert(mcp::SESSION_ID, id.clone());
        }
        headers
    }

    /// Carries cancellations out and changes in, until the server cannot be reached or `stop` comes.
    pub(crate) async fn run(
        self: &Arc<Self>,
        driver: Driver,
        stop: impl Future<Output = ()>,
    ) -> String {
        let Driver {
            mut aftermath,
            mut tails,
        } = driver;
        let post = async {
            let mut open = FuturesUnordered::new();
            let tell = async |message| {
                if let Err(error) = self.tell(message).await {
                    tracing::debug!(%error, "a message did not reach the upstream");
                }
            };
            loop {
                tokio::select! {
                    Some(due) = aftermath.recv() => match due {
                        // In the order in which they were said.
                        Due::Message(message) => tell(message).await,
                        Due::Answer(answering) => open.push(async move {
                            if let Some(message) = answering.message().await {
                                tell(message).await;
                            }
                        }),
                    },
                    Some(()) = open.next() => {}
                    else => return,
                }
            }
        };
        let finish = async {
            let mut ending = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Some(mut body) = tails.recv(), if ending.len() < TAILS_MAX => {
                        ending.push(async move { drop(body.read_to_end(1024, TAIL_TIMEOUT).await) });
                    }
                    Some(()) = ending.next() => {}
                    else => return,
                }
            }
        };
        let why = tokio::select! {
            () = post => "closed".to_owned(),
            () = finish => "closed".to_owned(),
            () = self.unreachable.notified() => "it cannot be reached".to_owned(),
            () = stop => "stopped".to_owned(),
        };
        self.inbox.close();
        self.end_session().await;
        why
    }

    /// Tells a legacy server that its session is over; most servers keep it in memory until then.
    async fn end_session(&self) {
        let Some(id) = self.session_id() else { return };
        self.lose_session(Some(&id));
        let mut headers = self.headers();
        headers.insert(mcp::SESSION_ID, id);
        let request = net::Request {
            method: Verb::DELETE,
            url: self.spec.url.clone(),
            headers,
            body: Bytes::new(),
            reach: net::Reach::Operator,
            timeout: GOODBYE_TIMEOUT,
        };
        drop(tokio::time::timeout(GOODBYE_TIMEOUT, self.send(request, None)).await);
    }

    /// Listens to what a legacy server tells outside of calls, for as long as it offers a stream for it.
    pub(crate) async fn watch(&self) -> Deaf {
        let mut was_open = false;
        loop {
            let seen = self.session_id();
            let opened = self.open_get_stream(None).await;
            self.heard.notify_one();
            match opened {
                Ok(Opened::Stream(mut body)) => {
                    was_open = true;
                    let mut events = sse::Decoder::new(ANSWER_MAX);
                    while let Ok(Some(chunk)) = body.chunk().await {
                        events.push(&chunk);
                        if self.hear(&mut events, None).is_err() {
                            break;
                        }
                    }
                    // Changes may have come while nobody listened.
                    self.inbox.changed.notify_one();
                    self.inbox.missed.notify_one();
                }
                // Without a stream before it, 404 is how some servers say that they have none.
                Ok(Opened::Not(StatusCode::NOT_FOUND))
                    if was_open && self.lose_session(seen.as_ref()) =>
                {
                    return Deaf::SessionLost;
                }
                Ok(Opened::Not(_)) => return Deaf::NoStream,
                Err(Error::Net(error)) if error.sent() == net::Sent::No => {
                    self.unreachable.notify_one();
                    return Deaf::NoStream;
                }
                Err(error) => tracing::debug!(%error, "the stream of changes could not be opened"),
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    /// Opens a stream: of what concerns no call, or the rest of the one that gave an event that id.
    async fn open_get_stream(&self, last_id: Option<&str>) -> Result<Opened, Error> {
        let mut headers = self.headers();
        if let Some(id) = last_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(mcp::LAST_EVENT_ID, id);
        }
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        let request = net::Request {
            method: Verb::GET,
            url: self.spec.url.clone(),
            headers,
            body: Bytes::new(),
            reach: net::Reach::Operator,
            timeout: TELL_TIMEOUT,
        };
        // Some servers send the head only with the first event: a late head is a stream that is silent so far,
        // and asking again would only take it away.
        let response = self.send(request, None).await?;
        Ok(Opened::of(response))
    }
}

/// What came of asking for a stream of changes.
enum Opened {
    Stream(net::Body),
    Not(StatusCode),
}

impl Opened {
    fn of(response: net::Response) -> Self {
        if response.status == StatusCode::OK && is_event_stream(&response.headers) {
            Self::Stream(response.body)
        } else {
            Self::Not(response.status)
        }
    }
}

/// Tells a legacy server that an answer is no longer wanted, unless it came.
struct Cancel<'a> {
    connection: &'a Connection,
    id: u64,
    is_open: bool,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if self.is_open {
            let params = format!(
                "{{\"requestId\":{},\"reason\":\"the client cancelled\"}}",
                self.id
            );
            let message =
                wire::encode::notification(method::notification::CANCELLED, params.as_bytes());
            drop(self.connection.aftermath.try_send(Due::Message(message)));
        }
    }
}

fn mirror(headers: &mut HeaderMap, method: &str, mirrored: Option<&str>) -> Result<(), Error> {
    let value = |text: &str| {
        HeaderValue::from_str(&mcp::encode(text))
            .map_err(|_invalid| Error::Protocol("its name fits no header".to_owned()))
    };
    headers.insert(mcp::METHOD, value(method)?);
    if let Some(name) = mirrored {
        headers.insert(mcp::NAME, value(name)?);
    }
    Ok(())
}

/// `Mcp-Param-<name>` (2026-07-28, Streamable HTTP, "Custom headers").
fn mirror_param(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Error> {
    let unfit = || Error::Protocol(format!("`{name}` makes no header"));
    let header = format!("{}{name}", mcp::PARAM_PREFIX);
    let header = HeaderName::from_bytes(header.as_bytes()).map_err(|_invalid| unfit())?;
    let value = HeaderValue::from_str(&mcp::encode(value)).map_err(|_invalid| unfit())?;
    headers.insert(header, value);
    Ok(())
}

pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| {
            kind.trim_start()
                .to_ascii_lowercase()
                .starts_with("text/event-stream")
        })
}

#[cfg(test)]
mod tests;
