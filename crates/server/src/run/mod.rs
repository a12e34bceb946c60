//! Commands that run a gate: each builds a runtime, brings up what it needs, and takes it down again.

mod bridge;
mod check;
mod entries;
mod logging;
mod pipes;
mod serve;
mod stdio;

pub use check::check;
pub use entries::{Ask, entries};
pub use serve::serve;
pub use stdio::stdio;

use anyhow::Context as _;
use tokio::runtime::Runtime;

/// For a gate in service: many clients, upstreams that must not wait for each other.
fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no threads could be started")
}

/// For one client: everything on one thread, so that no message changes threads on its way.
fn runtime_of_one() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no threads could be started")
}
