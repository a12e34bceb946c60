//! The way of a call: stages, catalog, sessions, and the one table from our errors to the protocol's.
//!
//! No sockets: listeners hand in bytes and facts and carry replies away.

mod settings;

pub use settings::{CatalogSettings, Limits, Prefix, SessionSettings, Settings};
