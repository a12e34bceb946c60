//! What stands behind the gate: MCP servers over stdio, Streamable HTTP, HTTP+SSE and WebSockets, the built-in tool
//! packs, and providers of other rooms.
//!
//! A [`Link`] is one configured upstream and its whole life: start, probe of the era, lists, calls,
//! restart with back-off, end. Which call may be made is decided before it gets here.

mod credential;
mod error;
mod http;
mod http_sse;
mod inbox;
mod lanes;
mod link;
mod listing;
pub mod native;
mod peer;
mod provider;
mod request;
mod spec;
mod stdio;
mod stream;
mod subscriptions;
mod watching;
mod websocket;

pub use credential::{Credential, CredentialError, Credentials, For, Judging, Obtaining, Refusal};
pub use error::{Error, chain};
pub use inbox::Announced;
pub use link::{Link, Parts, Reply, Snapshot, State};
pub use listing::{Item, Listing};
pub use provider::{Answering, Provider};
pub use request::{Ask, Caller, Event, Events, Input, Logs, Notice, Request, Told};
pub use spec::{Http, Kind, Sharing, Spec, Stdio, Transport};
pub use stdio::SUPERVISE;
pub use subscriptions::{Subscription, Update, Updates};
