//! What stands behind the gate: MCP servers over stdio and Streamable HTTP, and the built-in tool packs.
//!
//! A [`Link`] is one configured upstream and its whole life: start, probe of the era, lists, calls,
//! restart with back-off, end. Which call may be made is decided before it gets here.

mod error;
mod http;
mod inbox;
mod lanes;
mod link;
mod listing;
pub mod native;
mod peer;
mod request;
mod spec;
mod stdio;
mod stream;

pub use error::{Error, chain};
pub use link::{Link, Parts, Reply, Snapshot, State};
pub use listing::{Item, Listing};
pub use request::{Ask, Caller, Event, Events, Input, Logs, Notice, Request};
pub use spec::{Http, Kind, Sharing, Spec, Stdio};
pub use stdio::SUPERVISE;
