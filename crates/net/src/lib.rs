//! The only door out: HTTP client, TLS, DNS, address guard.
//!
//! Everything that talks to the network outside goes through [`Client::send`], or [`Client::websocket`] for a
//! connection that stays. Both resolve, check every address with [`guard`], and connect to an address that was
//! checked; the first speaks HTTP/1.1 over connections that it keeps alive. Content codings, cookies and retries of
//! calls are the caller's, and so are redirects but for [`Client::fetch`]: this room sends what it is given at most once.

mod body;
mod client;
mod connect;
mod error;
mod fetch;
pub mod guard;
mod link;
pub mod mail;
mod pool;
mod service;
mod tls;
mod websocket;

pub use body::Body;
pub use client::{Client, Request, Response, Settings};
pub use error::{Error, Sent, Stage};
pub use fetch::{Fetch, Fetched, REDIRECTS_MAX, is_here};
pub use guard::Reach;
pub use pool::Connections;
pub use service::{Service, connect_socket};
pub use tls::{Identity, Tls, TlsError, TlsSettings};
pub use websocket::{Dial, Heard, WebSocketReceiver, WebSocketSender};
