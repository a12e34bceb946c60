//! What the config says about the way of a call, checked. An immutable snapshot: a reload makes a new one.

use std::collections::BTreeMap;
use std::time::Duration;

use policy::{Limit, Rules, UpstreamId};

use crate::dialect::Dialect;

/// Everything the stages read.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may do what.
    pub rules: Rules,
    /// How often.
    pub limits: Limits,
    /// How upstreams become one catalog.
    pub catalog: CatalogSettings,
    /// Legacy sessions.
    pub sessions: SessionSettings,
    /// Calls that take long or yield much.
    pub calls: CallSettings,
}

/// Rate limits per principal, and the bound on calls at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `tools/call`.
    pub tool_call: Limit,
    /// `resources/read`.
    pub resource_access: Limit,
    /// Calls in flight, over all principals.
    pub in_flight_max: usize,
}

/// How upstreams become one catalog.
#[derive(Debug, Clone)]
pub struct CatalogSettings {
    /// When a name gets its upstream's alias in front.
    pub prefix: Prefix,
    /// Upstreams with a policy of their own.
    pub prefix_of: BTreeMap<UpstreamId, Prefix>,
    /// What stands between alias and name: `.` or `__`.
    pub separator: &'static str,
    /// Entries in one page of a list.
    pub page_size: usize,
    /// How long a list waits for upstreams that are still starting.
    pub list_deadline: Duration,
    /// How tools are presented to clients.
    pub dialect: Dialect,
}

/// When a name gets its upstream's alias in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Always: `files.read`.
    Always,
    /// Only if two upstreams offer the same name.
    OnCollision,
    /// Never; of two with the same name the upstream first in order keeps it.
    Never,
}

/// Calls that take long or yield much.
#[derive(Debug, Clone)]
pub struct CallSettings {
    /// How long an upstream may say nothing before the gate tells the client that the call is under way; `None`: for
    /// ever.
    pub heartbeat: Option<Duration>,
    /// A tool's result with more bytes of text is kept for its reader, who gets a link; `None`: none is.
    pub result_max: Option<usize>,
    /// How long clients of a name wait at most for an answer; they get an error in its place then.
    pub deadlines: BTreeMap<String, Duration>,
}

impl CallSettings {
    /// The deadline for a client, by its name and version as they stand in records.
    pub(crate) fn deadline(&self, client: &str) -> Option<Duration> {
        let name = client.rsplit_once('/').map_or(client, |(name, _)| name);
        self.deadlines.get(name).copied()
    }
}

/// Bounds on legacy sessions.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// Over all principals.
    pub max: usize,
    /// For one principal.
    pub per_principal: usize,
    /// A session nobody used for so long ends.
    pub idle: Duration,
}
