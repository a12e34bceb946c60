//! MCP over a WebSocket: a message in each text frame, both eras on one socket, subprotocol `mcp`.
//!
//! Not in the specification's list of transports; it is the one that the TypeScript SDK's WebSocket client speaks.
//! Framing is tungstenite's; the conversation is a [`gateway::Conversation`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::header::{self, HeaderValue};
use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use gateway::{Conversation, Pipe, Rejection, Visit};
use http_body_util::{Either, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::{Body, Connection, Edge, Facts, Inbound, OUT_MAX};
use crate::config;

const TRANSPORT: &str = "websocket";
const SUBPROTOCOL: &str = "mcp";
/// How often a client is asked whether it is still there; it has twice as long to answer, and to read.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long the two sides may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes read from a socket, and collected for it, at once.
const BUFFER: usize = 16 * 1024;

/// Why a conversation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client closed the socket or is gone.
    Gone,
    /// The gate has nothing more to say.
    Said,
    /// The gate drains.
    Draining,
    /// The credential is no longer valid.
    Disowned,
    /// The client does not answer pings or does not read.
    Silent,
    /// A binary frame.
    Binary,
    /// A message over the bound.
    TooLarge,
    /// Frames that no WebSocket has.
    Malformed,
}

impl End {
    /// What the client is told.
    fn close(self) -> Option<(CloseCode, &'static str)> {
        match self {
            Self::Gone => None,
            Self::Said | Self::Draining => Some((CloseCode::Away, "the gate is shutting down")),
            Self::Disowned => Some((CloseCode::Policy, "the credential is no longer valid")),
            Self::Silent => Some((CloseCode::Policy, "no pong in time")),
            Self::Binary => Some((CloseCode::Unsupported, "send messages as text frames")),
            Self::TooLarge => Some((CloseCode::Size, "the message is too large")),
            Self::Malformed => Some((CloseCode::Protocol, "not a WebSocket frame")),
        }
    }
}

impl Edge {
    /// Answers an upgrade, and leaves the conversation to a task.
    pub(super) fn upgrade(
        self: &Arc<Self>,
        facts: &Facts,
        visit: Visit,
        settings: &config::Http,
        mut request: Request<Inbound>,
    ) -> Result<Response<Body>, Rejection> {
        let refused = |reason| Rejection::Http {
            status: 400,
            reason,
        };
        let mut response =
            create_response_with_body(&request, || Either::Left(Full::new(Bytes::new()))).map_err(
                |_unfit| refused("This path takes WebSocket upgrades (version 13) only"),
            )?;
        if !offers_subprotocol(request.headers()) {
            return Err(refused("Offer the WebSocket subprotocol `mcp`"));
        }
        response.headers_mut().insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
        let (out, waiting) = mpsc::channel(OUT_MAX);
        let conversation = self.gate.converse(visit, TRANSPORT, out)?;
        let upgraded = hyper::upgrade::on(&mut request);
        let (within, bound) = (settings.header_timeout, bounds(settings.body_max));
        let (edge, connection) = (Arc::clone(self), Arc::clone(&facts.connection));
        let tasks = connection.tasks.clone();
        tasks.spawn(async move {
            // The connection may break before it is one.
            let Ok(Ok(upgraded)) = timeout(within, upgraded).await else {
                return;
            };
            let io = TokioIo::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(bound)).await;
            edge.talk(&connection, conversation, socket, waiting).await;
        });
        Ok(response)
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: &Connection,
        conversation: Conversation,
        socket: WebSocketStream<S>,
        waiting: mpsc::Receiver<Bytes>,
    ) {
        let (mut sink, mut stream) = socket.split();
        let is_there = AtomicBool::new(true);
        let is_owned = || self.is_owned(&conversation.principal);
        let mut writing = Box::pin(write(&mut sink, waiting, &is_there, PING_EVERY));
        let end = tokio::select! {
            end = hear(&mut stream, &conversation.pipe, &is_there, is_owned) => end,
            end = &mut writing => end,
            () = self.disowned(&conversation.principal) => End::Disowned,
            () = self.disproved(connection) => End::Disowned,
            () = conversation.draining() => End::Draining,
        };
        tracing::debug!(principal = %conversation.principal.id, ?end, "a WebSocket ends");
        if end == End::Draining {
            // The writer ends when the last answer is out: with the conversation goes the queue's other end.
            let finished = async move {
                conversation.pipe.finish(self.drain).await;
                drop(conversation);
            };
            tokio::join!(finished, writing);
        } else {
            // First the queue, then those who wait for a place in it.
            drop(writing);
            conversation.pipe.hang_up().await;
            drop(conversation);
        }
        if let Some((code, reason)) = end.close() {
            let frame = CloseFrame {
                code,
                reason: Utf8Bytes::from_static(reason),
            };
            let goodbye = async {
                if sink.send(Message::Close(Some(frame))).await.is_ok() {
                    while let Some(Ok(_)) = stream.next().await {}
                }
            };
            drop(timeout(CLOSE_TIMEOUT, goodbye).await);
        }
    }
}

/// Hands the client's messages to its pipe until there is a reason to end. A socket authenticates once, each message
/// on it proves its principal anew.
async fn hear(
    stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    pipe: &Arc<Pipe>,
    is_there: &AtomicBool,
    is_owned: impl Fn() -> bool,
) -> End {
    loop {
        let message = match stream.next().await {
            Some(Ok(message)) => message,
            Some(Err(Error::Capacity(_))) => return End::TooLarge,
            Some(Err(Error::Protocol(_) | Error::Utf8(_))) => return End::Malformed,
            Some(Err(_)) | None => return End::Gone,
        };
        is_there.store(true, Ordering::Relaxed);
        match message {
            Message::Text(_) if !is_owned() => return End::Disowned,
            Message::Text(text) => pipe.take(text.into()).await,
            Message::Binary(_) => return End::Binary,
            // Pings and a goodbye are answered by the next read.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
}

/// Sends what is waiting, and a ping now and then, until nobody has anything to say any more.
async fn write(
    sink: &mut (impl Sink<Message, Error = Error> + Unpin),
    mut waiting: mpsc::Receiver<Bytes>,
    is_there: &AtomicBool,
    every: Duration,
) -> End {
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is due at once.
    beat.tick().await;
    let mut unanswered = 0;
    loop {
        let message = tokio::select! {
            message = waiting.recv() => match message {
                Some(message) => text(&message),
                None => return End::Said,
            },
            _ = beat.tick() => {
                unanswered = if is_there.swap(false, Ordering::Relaxed) { 0 } else { unanswered + 1 };
                if unanswered == 2 {
                    return End::Silent;
                }
                Message::Ping(Bytes::new())
            }
        };
        let sending = async {
            sink.feed(message).await?;
            // What waits together leaves together.
            for _ in 0..OUT_MAX {
                let Ok(message) = waiting.try_recv() else {
                    break;
                };
                sink.feed(text(&message)).await?;
            }
            sink.flush().await
        };
        match timeout(every * 2, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Gone,
            Err(_) => return End::Silent,
        }
    }
}

fn text(message: &Bytes) -> Message {
    // Every message was written by us or read as JSON, so it is UTF-8.
    let text = Utf8Bytes::try_from(message.clone())
        .unwrap_or_else(|_never| String::from_utf8_lossy(message).into_owned().into());
    Message::Text(text)
}

/// A client may offer several; each header may hold several.
fn offers_subprotocol(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|offered| offered.trim() == SUBPROTOCOL)
}

fn bounds(message_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(message_max))
        .max_frame_size(Some(message_max))
}

#[cfg(test)]
mod tests;
