//! The harness for tests (never shipped).
//!
//! Servers of other teams are [`fixtures`], their clients [`clients`].

pub mod clients;
pub mod fixtures;
