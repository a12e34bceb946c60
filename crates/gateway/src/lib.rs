//! The way of a call: stages, catalog, sessions, and the one table from our errors to the protocol's.
//!
//! No sockets: listeners hand in bytes and facts and carry replies away.

mod admin;
mod call;
mod catalog;
mod connecting;
mod consents;
mod credentials;
mod dialect;
mod door;
mod exchange;
mod flows;
mod gate;
mod happened;
mod health;
mod heartbeat;
mod lifecycle;
mod limits;
mod lists;
mod metrics;
pub mod pins;
mod record;
pub mod rejection;
mod results;
mod schemas;
mod screening;
mod seal;
mod search;
mod session;
mod settings;
mod subscriptions;
mod tasks;
mod traces;
mod translate;
mod uri;
mod views;

pub use admin::{AdminRecord, SessionEntry};
pub use consents::{ConsentError, Consents, Unagreed, Yes};
pub use dialect::{Dialect, Family, Names};
pub use door::{AskError, Conversation, EventStream, HttpBody, HttpReply, Pipe, Refused, Visit};
pub use gate::{Gate, Loaded, Parts, Reply, StartError};
pub use happened::Happened;
pub use rejection::{Challenge, Rejection, Response};
pub use search::Searchable;
pub use settings::{
    CallSettings, CatalogSettings, ChangedEntry, Concurrency, ConsentSettings, Edit, EntryId,
    EntryKind, FlowSettings, Limits, NewEntry, OutputCheck, Pick, PinPolicy, PinSettings, Prefix,
    SearchSettings, ServerSettings, SessionSettings, Settings, Validation, ValidationSettings,
    VirtualServer, Webhook,
};
