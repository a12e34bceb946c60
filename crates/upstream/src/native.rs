//! The built-in tool packs: files, fetch, time, notes, status.
//!
//! Upstreams like all others, only in this process: the stages have passed a call before it gets here, and
//! no pack asks who may do what. Each pack is a file below; `tool` describes tools and `reply` makes
//! results. Start at [`Native::call`].

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use policy::Clock;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use store::Store;

mod fetch;
mod files;
mod notes;
mod reply;
mod status;
#[cfg(test)]
mod tests;
mod time;
mod tool;

use fetch::Fetch;
use files::Files;
use notes::Notes;
use status::Status;
use time::Time;

/// Which pack, and what the operator lets it do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// Files under the given folders.
    Files {
        /// The folders. A client sees the last part of each path as the root's name.
        roots: Vec<PathBuf>,
        /// Whether files may be written as well.
        write: bool,
    },
    /// Web pages.
    Fetch {
        /// Whether addresses that are not public, this machine included, may be fetched as well.
        private: bool,
    },
    /// Clocks and time zones.
    Time,
    /// A small memory per principal.
    Notes,
    /// How the gate is doing.
    Status,
}

/// Who calls, as far as a pack needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The principal's id.
    pub principal: &'a str,
}

/// What the packs are built from.
#[derive(Clone)]
pub struct Parts {
    /// The way out, for `fetch`.
    pub client: net::Client,
    /// Where notes are kept.
    pub store: Store,
    /// What `time` tells.
    pub clock: Arc<dyn Clock>,
    /// What `status` tells: an object.
    pub status: Arc<dyn Fn() -> Value + Send + Sync>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Why a pack cannot be set up, or has no answer. A tool's own failure is not here: it is a result.
#[derive(Debug, thiserror::Error)]
#[expect(
    clippy::error_impl_error,
    reason = "each room has one, and others call it by its room"
)]
pub enum Error {
    /// The pack has no such tool.
    #[error("the pack has no tool `{0}`")]
    UnknownTool(String),
    /// A root cannot be opened as a folder.
    #[error("the folder `{path}` cannot be opened")]
    Root {
        /// The folder as the operator wrote it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A pack at work.
#[derive(Debug)]
pub struct Native {
    tools: Vec<Box<RawValue>>,
    pack: Pack,
}

#[derive(Debug)]
enum Pack {
    Files(Files),
    Fetch(Fetch),
    Time(Time),
    Notes(Notes),
    Status(Status),
}

impl Native {
    /// Sets a pack up. Opens the roots of `files`, which blocks for a moment.
    ///
    /// # Errors
    /// When a root cannot be opened.
    pub fn new(spec: Spec, parts: &Parts) -> Result<Self, Error> {
        let (tools, pack) = match spec {
            Spec::Files { roots, write } => {
                let files = Files::open(&roots, Arc::clone(&parts.clock))?;
                (
                    files::tools(&files.root_names(), write),
                    Pack::Files(files.writable(write)),
                )
            }
            Spec::Fetch { private } => (
                fetch::tools(),
                Pack::Fetch(Fetch::new(parts.client.clone(), private)),
            ),
            Spec::Time => (
                time::tools(),
                Pack::Time(Time::new(Arc::clone(&parts.clock))),
            ),
            Spec::Notes => {
                let notes = Notes::new(parts.store.clone(), Arc::clone(&parts.clock));
                (notes::tools(), Pack::Notes(notes))
            }
            Spec::Status => (
                status::tools(),
                Pack::Status(Status::new(Arc::clone(&parts.status))),
            ),
        };
        Ok(Self { tools, pack })
    }

    /// The tools on offer, each a whole MCP `Tool` object.
    #[must_use]
    pub fn tools(&self) -> &[Box<RawValue>] {
        &self.tools
    }

    /// Runs a tool; the answer is a whole MCP `CallToolResult`.
    ///
    /// # Errors
    /// Only when the pack has no such tool.
    pub async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        caller: Caller<'_>,
    ) -> Result<Box<RawValue>, Error> {
        match &self.pack {
            Pack::Files(files) => files.call(tool, arguments).await,
            Pack::Fetch(fetch) => fetch.call(tool, arguments).await,
            Pack::Time(time) => time.call(tool, arguments),
            Pack::Notes(notes) => notes.call(tool, arguments, caller).await,
            Pack::Status(status) => status.call(tool, arguments),
        }
    }
}
