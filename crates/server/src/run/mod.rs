//! Commands that run a gate, or talk to one. The bodies come with the listeners.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::cli::{Common, Exit, Kind, Serve, Stdio};

/// What a command asks of the gate.
#[derive(Debug)]
pub enum Ask {
    /// Everything of one kind.
    List(Kind),
    /// A tool's answer.
    Call {
        /// The tool.
        name: String,
        /// Its arguments.
        arguments: Map<String, Value>,
    },
    /// A prompt's messages.
    Get {
        /// The prompt.
        name: String,
        /// Its arguments.
        arguments: BTreeMap<String, String>,
    },
    /// What a resource holds.
    Read {
        /// The resource.
        uri: String,
    },
}

/// `portcullis serve`.
///
/// # Errors
/// Why it could not serve.
pub fn serve(common: &Common, _serve: &Serve) -> anyhow::Result<Exit> {
    not_yet(common, "serve")
}

/// `portcullis stdio`.
///
/// # Errors
/// Why it could not serve.
pub fn stdio(common: &Common, _stdio: &Stdio) -> anyhow::Result<Exit> {
    not_yet(common, "stdio")
}

/// `portcullis check`.
///
/// # Errors
/// What stood in the way of checking.
pub fn check(common: &Common) -> anyhow::Result<Exit> {
    not_yet(common, "check")
}

/// `portcullis tools`, `prompts` and `resources`.
///
/// # Errors
/// Why there is no answer.
pub fn entries(common: &Common, _ask: &Ask) -> anyhow::Result<Exit> {
    not_yet(common, "tools, prompts and resources")
}

fn not_yet(common: &Common, command: &str) -> anyhow::Result<Exit> {
    common.load()?;
    anyhow::bail!("`{command}` is not built into this version")
}
