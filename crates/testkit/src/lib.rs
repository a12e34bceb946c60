//! The harness for tests (never shipped).
//!
//! A [`world::World`] is a real gate on a free port with a clock that a test moves; a [`case`] is behaviour
//! written down as a Markdown file and run in such a world. Servers of other teams are [`fixtures`], their
//! clients [`clients`]; our own server is the [`fixture`]. Whatever leaves a gate is held against the protocol's own
//! schemas.

pub mod case;
pub mod certificates;
pub mod clients;
pub mod clock;
pub mod fixture;
pub mod fixtures;
pub mod mcp;
mod schema;
pub mod world;
