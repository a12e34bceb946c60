//! HTTP+SSE, the transport of the first revision: one stream of messages to the client, and an address to which it
//! posts its own. Source: MCP 2024-11-05, "Transports".

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use gateway::{Conversation, HttpBody, HttpReply, Rejection, Visit};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_util::sync::{CancellationToken, DropGuard};
use wire::sse;

use super::{Body, Edge, Facts, Inbound, OUT_MAX, check_media, read};
use crate::config;

/// Where it posts its messages.
const MESSAGES: &str = "/messages";

const TRANSPORT: &str = "sse";
/// A stream that has nothing to say says so in these intervals, for the proxies on its way.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Messages that wait to be looked at, and how long one more may wait to be among them: a client that does not read
/// its answers is not read from either.
const IN_MAX: usize = 4;
const IN_TIMEOUT: Duration = Duration::from_secs(10);

/// The open streams, by what their clients repeat with each message.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Mutex<HashMap<String, Open>>,
}

/// Where the messages for a stream go. They are looked at on the stream's own thread, which is there for as long as
/// the stream is; that of the connection that brings a message may end before the answer is there.
#[derive(Debug, Clone)]
struct Open {
    visit: Visit,
    messages: mpsc::Sender<Bytes>,
}

impl Edge {
    /// Answers a GET: opens a stream, whose first event says where messages are to be posted.
    pub(super) fn open_stream(
        self: &Arc<Self>,
        facts: &Facts,
        visit: Visit,
    ) -> Result<Response<Body>, Rejection> {
        let (out, waiting) = mpsc::channel(OUT_MAX);
        let conversation = self.gate.converse(visit.clone(), TRANSPORT, out)?;
        let id = &conversation.id;
        let server = visit.server.as_ref();
        let server = server
            .map(|server| format!("/{server}"))
            .unwrap_or_default();
        let endpoint = format!("event: endpoint\ndata: {MESSAGES}{server}?session={id}\n\n");
        let gone = CancellationToken::new();
        let reply = HttpReply {
            status: 200,
            session: None,
            retry_after: None,
            challenge: None,
            body: HttpBody::Events(Box::pin(unfold(
                Stream {
                    first: Some(endpoint.into()),
                    waiting,
                    _gone: gone.clone().drop_guard(),
                },
                Stream::next,
            ))),
        };
        let (messages, posted) = mpsc::channel(IN_MAX);
        let principal = Arc::clone(&visit.principal);
        let open = Open { visit, messages };
        self.streams
            .open
            .lock()
            .insert(conversation.id.clone(), open);
        let edge = Arc::clone(self);
        facts.connection.tasks.spawn(async move {
            edge.keep(conversation, posted, gone).await;
        });
        Ok(self.into_response(reply, facts, &principal))
    }

    /// Answers a POST: takes one message, whose answer goes out on the stream.
    pub(super) async fn take_message(
        &self,
        visit: &Visit,
        settings: &config::Http,
        request: Request<Inbound>,
    ) -> Result<Response<Body>, Rejection> {
        let query = request.uri().query().unwrap_or_default();
        let id = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("session="));
        // Somebody else's stream looks unknown, and so does another server's.
        let open = id
            .and_then(|id| self.streams.open.lock().get(id).cloned())
            .filter(|open| {
                let (own, other) = (&open.visit.principal, &visit.principal);
                open.visit.server == visit.server
                    && own.continues(other)
                    && own.roles == other.roles
                    && own.scopes == other.scopes
            })
            .ok_or(Rejection::UnknownStream)?;
        let (head, body) = request.into_parts();
        check_media(&head.headers)?;
        let body = read(body, settings).await?;
        match open.messages.send_timeout(body, IN_TIMEOUT).await {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(_)) => {
                return Err(Rejection::Http {
                    status: 503,
                    reason: "The stream is not read; its messages wait",
                });
            }
            Err(SendTimeoutError::Closed(_)) => return Err(Rejection::UnknownStream),
        }
        Ok(self.plain_response(HttpReply {
            status: 202,
            session: None,
            retry_after: None,
            challenge: None,
            body: HttpBody::Empty,
        }))
    }

    /// Keeps a conversation until its client is gone, its credential is, or the gate drains.
    async fn keep(
        &self,
        conversation: Conversation,
        mut posted: mpsc::Receiver<Bytes>,
        gone: CancellationToken,
    ) {
        let pipe = &conversation.pipe;
        let taking = async {
            while let Some(message) = posted.recv().await {
                pipe.take(message).await;
            }
        };
        let drains = tokio::select! {
            () = taking => false,
            () = gone.cancelled() => false,
            () = self.disowned(&conversation.principal) => false,
            () = conversation.draining() => true,
        };
        // Whatever is posted from now on has no stream to be answered on.
        self.streams.open.lock().remove(&conversation.id);
        if drains {
            while let Ok(message) = posted.try_recv() {
                pipe.take(message).await;
            }
            pipe.finish(self.drain).await;
        } else {
            pipe.hang_up().await;
        }
        // With the conversation goes the last one who could write to the stream, which ends.
    }
}

/// The body of the answer to a GET.
struct Stream {
    first: Option<Bytes>,
    waiting: mpsc::Receiver<Bytes>,
    /// Dropped with the body: the client is gone.
    _gone: DropGuard,
}

impl Stream {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(first) = self.first.take() {
            return Some((first, self));
        }
        let chunk = tokio::select! {
            message = self.waiting.recv() => sse::message(&message?),
            () = tokio::time::sleep(KEEP_ALIVE_EVERY) => Bytes::from_static(sse::KEEP_ALIVE),
        };
        Some((chunk, self))
    }
}
