//! Why a request got no (whole) response, and whether it may have been acted upon.

use std::io;
use std::net::IpAddr;

/// Why a request got no response, or not all of it.
#[derive(Debug, thiserror::Error)]
#[expect(
    clippy::error_impl_error,
    reason = "each room has one, and others call it by its room"
)]
pub enum Error {
    /// The URL cannot be asked for: another scheme, or no host.
    #[error("this URL cannot be asked for: {0}")]
    Url(&'static str),
    /// The guard keeps this address closed for a URL from outside.
    #[error("`{host}` is at {address} ({kind}), which a URL from outside may not reach")]
    Refused {
        /// The host in the URL.
        host: String,
        /// The address it has.
        address: IpAddr,
        /// What kind of address that is.
        kind: &'static str,
    },
    /// The name has no address, or nobody could say.
    #[error("`{host}` could not be resolved")]
    Resolve {
        /// The host in the URL.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No address of the host took the connection.
    #[error("`{host}` took no connection")]
    Connect {
        /// The host in the URL.
        host: String,
        /// What the last address said.
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("no TLS session with `{host}`")]
    Tls {
        /// The host in the URL.
        host: String,
        /// What TLS said.
        source: io::Error,
    },
    /// The deadline passed.
    #[error("out of time while waiting for the {stage}")]
    Timeout {
        /// What was being waited for.
        stage: Stage,
    },
    /// The peer closed the connection before the response was whole.
    #[error("the connection closed early")]
    Closed {
        /// Whether the request may have left.
        sent: Sent,
        /// What HTTP said.
        source: hyper::Error,
    },
    /// The peer does not speak HTTP/1.1 as it should.
    #[error("the response is not good HTTP")]
    Protocol {
        /// What HTTP said.
        source: hyper::Error,
    },
    /// The server was asked for a WebSocket and opened none.
    #[error("the server answered HTTP {status} and opened no WebSocket")]
    NoWebSocket {
        /// The status.
        status: u16,
    },
    /// A WebSocket broke, or is none.
    #[error("the WebSocket failed")]
    WebSocket {
        /// Whether a message may have left.
        sent: Sent,
        /// What the protocol said.
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// The response body is larger than the caller wants.
    #[error("the response is larger than {max} bytes")]
    TooLarge {
        /// The bound that was passed.
        max: usize,
    },
}

/// Whether the peer may have seen a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte left: it may be sent again.
    No,
    /// Some of it left, and nobody knows what came of it: sending it again could do it twice.
    Unknown,
}

/// What a request was waiting for when its time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// An address for the name.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The head of the response.
    Head,
    /// The rest of the body.
    Body,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolve => "address",
            Self::Connect => "connection",
            Self::Tls => "TLS handshake",
            Self::Head => "response head",
            Self::Body => "response body",
        })
    }
}

impl Error {
    /// Whether the peer may have seen the request. When in doubt, it may have.
    #[must_use]
    pub fn sent(&self) -> Sent {
        match self {
            Self::Url(_)
            | Self::Refused { .. }
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::NoWebSocket { .. }
            | Self::Timeout {
                stage: Stage::Resolve | Stage::Connect | Stage::Tls,
            } => Sent::No,
            Self::Closed { sent, .. } | Self::WebSocket { sent, .. } => *sent,
            Self::Timeout {
                stage: Stage::Head | Stage::Body,
            }
            | Self::Protocol { .. }
            | Self::TooLarge { .. } => Sent::Unknown,
        }
    }

    /// Sorts what HTTP says into ours.
    pub(crate) fn from_http(source: hyper::Error, sent: Sent) -> Self {
        if source.is_parse() {
            return Self::Protocol { source };
        }
        Self::Closed { sent, source }
    }
}
