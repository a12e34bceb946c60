//! The way of a call: stages, catalog, sessions, and the one table from our errors to the protocol's.
//!
//! No sockets: listeners hand in bytes and facts and carry replies away.

mod admin;
mod call;
mod catalog;
mod connecting;
mod credentials;
mod dialect;
mod door;
mod exchange;
mod gate;
mod heartbeat;
mod limits;
mod lists;
mod record;
pub mod rejection;
mod results;
mod seal;
mod session;
mod settings;
mod subscriptions;
mod tasks;
mod translate;
mod uri;

pub use admin::{AdminRecord, SessionEntry};
pub use dialect::{Dialect, Family, Names};
pub use door::{AskError, Conversation, EventStream, HttpBody, HttpReply, Pipe, Refused};
pub use gate::{Gate, Loaded, Parts, Reply, StartError};
pub use rejection::{Challenge, Rejection, Response};
pub use settings::{CallSettings, CatalogSettings, Limits, Prefix, SessionSettings, Settings};
