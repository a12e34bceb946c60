//! CLI, config, listeners: builds the binary portcullis.
//!
//! The only room that knows files, flags, the environment and sockets that listen. What happens to a call is
//! `gateway`. Start at [`cli`].

mod alerts;
mod audit;
pub mod cli;
mod clock;
pub mod compliance;
pub mod config;
pub mod database;
mod expiry;
mod http;
mod metrics;
pub mod run;
pub mod serve;
pub mod shared;
mod sinks;
mod supervise;
mod telemetry;
pub mod tls;
pub mod vault;

pub use clock::SystemClock;
pub use http::{RouteRow, routes};
