//! A WebSocket to a server: one connection that stays, whole text messages both ways.
//!
//! Through the same guard and the same TLS as a request. When to ping, and how long silence is borne, is for whoever
//! holds the two halves.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, header};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::{Position, Url};

use crate::client::{Client, TIMEOUT_MAX};
use crate::connect::{Origin, Stream, connect};
use crate::{Error, Reach, Sent, Stage};

#[cfg(test)]
mod tests;

/// Bytes read from a socket, and collected for it, at once.
const BUFFER: usize = 32 * 1024;

/// Where a WebSocket is to lead.
#[derive(Clone)]
pub struct Dial {
    /// Where: ws or wss. A user name or password in it is not sent.
    pub url: Url,
    /// Headers of the request for it, except those of HTTP and of the WebSocket, which are ours.
    pub headers: HeaderMap,
    /// The subprotocol that the server has to agree to.
    pub protocol: &'static str,
    /// Who chose the URL, and so which addresses it may lead to.
    pub reach: Reach,
    /// How long until the socket must be open.
    pub timeout: Duration,
    /// The largest message taken, in bytes.
    pub message_max: usize,
}

/// The half that sends.
pub struct WebSocketSender {
    sink: SplitSink<WebSocketStream<Stream>, Message>,
}

/// The half that receives. It answers pings by itself.
pub struct WebSocketReceiver {
    stream: SplitStream<WebSocketStream<Stream>>,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Bytes),
    /// A sign of life without a message.
    Beat,
}

impl Client {
    /// Opens a WebSocket.
    ///
    /// # Errors
    /// See [`Error`]; no message has left.
    pub async fn websocket(
        &self,
        dial: Dial,
    ) -> Result<(WebSocketSender, WebSocketReceiver), Error> {
        let now = Instant::now();
        let deadline = now + dial.timeout.min(TIMEOUT_MAX);
        let origin = Origin::of_socket(&dial.url, dial.reach, &self.tls)?;
        let request = request(&dial)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_message_size(Some(dial.message_max))
            .max_frame_size(Some(dial.message_max));
        let stream = connect(&origin, deadline.min(now + self.timeout_connect)).await?;
        let opening = Box::pin(client_async_with_config(request, stream, Some(config)));
        match timeout_at(deadline, opening).await {
            Ok(Ok((socket, _))) => {
                let (sink, stream) = socket.split();
                Ok((WebSocketSender { sink }, WebSocketReceiver { stream }))
            }
            Ok(Err(tungstenite::Error::Http(response))) => Err(Error::NoWebSocket {
                status: response.status().as_u16(),
            }),
            Ok(Err(source)) => Err(failed(source, Sent::No)),
            Err(_) => Err(Error::Timeout { stage: Stage::Head }),
        }
    }
}

impl WebSocketSender {
    /// Sends messages as text, those of a batch together. Waits for a server that does not read.
    ///
    /// # Errors
    /// [`Error::WebSocket`] when the connection is gone.
    pub async fn send(&mut self, messages: impl IntoIterator<Item = Bytes>) -> Result<(), Error> {
        let sending = async {
            for message in messages {
                let text = Utf8Bytes::try_from(message)?;
                self.sink.feed(Message::Text(text)).await?;
            }
            self.sink.flush().await
        };
        sending
            .await
            .map_err(|source| failed(source, Sent::Unknown))
    }

    /// Asks the server for a sign of life.
    ///
    /// # Errors
    /// As [`WebSocketSender::send`].
    pub async fn ping(&mut self) -> Result<(), Error> {
        let ping = self.sink.send(Message::Ping(Bytes::new()));
        ping.await.map_err(|source| failed(source, Sent::Unknown))
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// As [`WebSocketSender::send`].
    pub async fn close(&mut self) -> Result<(), Error> {
        let closing = self.sink.close();
        closing
            .await
            .map_err(|source| failed(source, Sent::Unknown))
    }
}

impl WebSocketReceiver {
    /// What comes next; `None` once the server has closed. Dropped while it waits, it loses nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a message over the bound, else [`Error::WebSocket`].
    pub async fn next(&mut self) -> Result<Option<Heard>, Error> {
        match self.stream.next().await {
            None => Ok(None),
            Some(Ok(Message::Text(text))) => Ok(Some(Heard::Message(text.into()))),
            Some(Ok(Message::Binary(data))) => Ok(Some(Heard::Message(data))),
            Some(Ok(
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_),
            )) => Ok(Some(Heard::Beat)),
            Some(Err(tungstenite::Error::Capacity(
                tungstenite::error::CapacityError::MessageTooLong { max_size: max, .. },
            ))) => Err(Error::TooLarge { max }),
            Some(Err(source)) => Err(failed(source, Sent::Unknown)),
        }
    }
}

// Headers may hold credentials.
impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial")
            .field("url", &&self.url[..Position::AfterPath])
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WebSocketSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketSender").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WebSocketReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketReceiver").finish_non_exhaustive()
    }
}

fn failed(source: tungstenite::Error, sent: Sent) -> Error {
    Error::WebSocket {
        sent,
        source: Box::new(source),
    }
}

/// The request for the upgrade.
fn request(dial: &Dial) -> Result<http::Request<()>, Error> {
    let url = &dial.url;
    let host = &url[Position::BeforeHost..Position::AfterPort];
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let mut request = http::Request::new(());
    *request.uri_mut() = format!("{}://{host}{target}", url.scheme())
        .parse()
        .map_err(|_bad| Error::Url("it cannot be sent"))?;
    *request.headers_mut() = dial.headers.clone();
    let value = |text: &str| {
        HeaderValue::try_from(text).map_err(|_bad| Error::Url("its host cannot be sent"))
    };
    let ours = [
        (header::HOST, value(host)?),
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        ),
        (header::SEC_WEBSOCKET_KEY, value(&generate_key())?),
        (
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(dial.protocol),
        ),
    ];
    for (name, value) in ours {
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}
