//! HTTP+SSE, the transport of the first revision: one stream of messages to the client, and an address to which it
//! posts its own. Source: MCP 2024-11-05, "Transports".

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use gateway::{Conversation, HttpBody, HttpReply, Rejection};
use hyper::body::Incoming;
use parking_lot::Mutex;
use policy::Principal;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use wire::sse;

use super::{Body, Edge, Facts, OUT_MAX, check_media, into_response, plain_response, read};
use crate::config;

/// Where a client opens its stream.
pub(super) const STREAM: &str = "/sse";
/// Where it posts its messages.
pub(super) const MESSAGES: &str = "/messages";

const TRANSPORT: &str = "sse";
/// A stream that has nothing to say says so in these intervals, for the proxies on its way.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How long a message may wait for a client that does not read its answers.
const TAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The open streams, by what their clients repeat with each message.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Mutex<HashMap<String, Arc<Conversation>>>,
}

impl Edge {
    /// Answers a GET: opens a stream, whose first event says where messages are to be posted.
    pub(super) fn open_stream(
        self: &Arc<Self>,
        facts: &Arc<Facts>,
        principal: &Arc<Principal>,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Rejection> {
        let (out, waiting) = mpsc::channel(OUT_MAX);
        let conversation = Arc::new(self.gate.converse(principal, TRANSPORT, out)?);
        let id = &conversation.id;
        let endpoint = format!("event: endpoint\ndata: {MESSAGES}?session={id}\n\n");
        let gone = CancellationToken::new();
        let reply = HttpReply {
            status: 200,
            session: None,
            retry_after: None,
            body: HttpBody::Events(Box::pin(unfold(
                Stream {
                    first: Some(endpoint.into()),
                    waiting,
                    _gone: gone.clone().drop_guard(),
                },
                Stream::next,
            ))),
        };
        self.streams
            .open
            .lock()
            .insert(conversation.id.clone(), Arc::clone(&conversation));
        facts.tasks.spawn(keep(
            Arc::clone(self),
            Arc::clone(facts),
            headers.clone(),
            conversation,
            gone,
        ));
        Ok(into_response(reply, facts))
    }

    /// Answers a POST: takes one message, whose answer goes out on the stream.
    pub(super) async fn take_message(
        &self,
        principal: &Principal,
        settings: &config::Http,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Rejection> {
        let query = request.uri().query().unwrap_or_default();
        let id = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("session="));
        // Somebody else's stream looks unknown. The same principal with another credential counts as somebody else:
        // the records of the stream would name the wrong one.
        let conversation = id
            .and_then(|id| self.streams.open.lock().get(id).cloned())
            .filter(|conversation| *conversation.principal == *principal)
            .ok_or(Rejection::UnknownSession)?;
        let (head, body) = request.into_parts();
        check_media(&head.headers)?;
        let body = read(body, settings).await?;
        tokio::time::timeout(TAKE_TIMEOUT, conversation.pipe.take(body))
            .await
            .map_err(|_elapsed| Rejection::Busy)?;
        Ok(plain_response(HttpReply {
            status: 202,
            session: None,
            retry_after: None,
            body: HttpBody::Empty,
        }))
    }
}

/// Keeps a conversation until its client is gone, its credential is, or the gate drains.
async fn keep(
    edge: Arc<Edge>,
    facts: Arc<Facts>,
    headers: HeaderMap,
    conversation: Arc<Conversation>,
    gone: CancellationToken,
) {
    let drains = tokio::select! {
        () = gone.cancelled() => false,
        () = edge.disowned(&facts, &headers, &conversation.principal) => false,
        () = conversation.draining() => true,
    };
    // Whatever is posted from now on has no stream to be answered on.
    edge.streams.open.lock().remove(&conversation.id);
    if drains {
        conversation.pipe.finish(edge.drain).await;
    } else {
        conversation.pipe.hang_up().await;
    }
    // The last one who holds the conversation ends the stream.
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
