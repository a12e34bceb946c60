//! What the config says about the way of a call, checked. An immutable snapshot: a reload makes a new one.

mod consent;
mod limits;
mod pins;
mod screening;
mod search;
mod servers;
mod validation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use observe::Keeping;
use policy::screen::Screen;
use policy::{Rules, UpstreamId};

use crate::dialect::Dialect;

pub use consent::{ConsentSettings, Webhook};
pub use limits::{Concurrency, Limits};
pub use pins::{ChangedEntry, NewEntry, PinPolicy, PinSettings};
pub use screening::FlowSettings;
pub use search::SearchSettings;
pub use servers::{Edit, EntryId, EntryKind, Pick, ServerSettings, VirtualServer};
pub use validation::{OutputCheck, Validation, ValidationSettings};

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
    /// Definitions that nobody has looked at, and those that change.
    pub pins: PinSettings,
    /// Asking people.
    pub consent: ConsentSettings,
    /// How arguments and results are checked.
    pub validation: ValidationSettings,
    /// Which data may flow where.
    pub flows: FlowSettings,
    /// Virtual servers.
    pub servers: ServerSettings,
    /// Tool search, where there is no virtual server.
    pub search: SearchSettings,
    /// What of arguments is kept in records.
    pub keeping: Arc<Keeping>,
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
    /// What is looked for in what passes, and what is done about it.
    pub screen: Arc<Screen>,
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
