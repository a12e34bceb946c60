//! What stands behind the gate: MCP servers over stdio and Streamable HTTP, and the built-in tool packs.
//!
//! A [`Link`] is one configured upstream and its whole life: start, probe of the era, lists, calls,
//! restart with back-off, end. Which call may be made is decided before it gets here.

pub mod native;
mod spec;

pub use spec::{Http, Kind, Spec, Stdio};
