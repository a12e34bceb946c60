//! JSON-RPC 2.0 and MCP on raw bytes: what came in is kept as it came, and only what a decision needs is read.
//!
//! A message is cut into [`Span`]s of its own bytes; a reply is spliced together from such parts. Nothing is
//! parsed into typed structs and written out again, so unknown members, key order, number spelling and ids
//! survive. No I/O, no clock. Start at [`Frame::decode`]; the table of methods is [`method`].
//!
//! Sources: JSON-RPC 2.0; MCP revisions 2024-11-05 to 2026-07-28; the WHATWG server-sent events format.

mod abilities;
pub mod code;
pub mod encode;
mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod header;
pub mod json;
mod level;
mod lines;
pub mod meta;
pub mod method;
mod mirrored;
mod params;
mod revision;
pub mod sse;
mod template;
pub mod trace;

pub use abilities::Abilities;
pub use frame::{
    BATCH_MAX, Body, Fault, Frame, MethodName, Notification, Outcome, Request, Response,
};
pub use json::{Span, Splice};
pub use level::Level;
pub use lines::{LineTooLong, Lines};
pub use meta::Meta;
pub use method::Method;
pub use mirrored::Mirrored;
pub use params::{Params, Reference, Rewrite};
pub use revision::{Era, Revision};
pub use template::Template;
