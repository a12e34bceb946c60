//! What happens to definitions that nobody has looked at, and to those that change.

use std::collections::BTreeMap;

use policy::UpstreamId;

/// For all upstreams.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PinSettings {
    /// What holds where nothing else is said.
    pub default: PinPolicy,
    /// Upstreams with a policy of their own.
    pub of: BTreeMap<UpstreamId, PinPolicy>,
}

/// For one upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PinPolicy {
    /// What becomes of an entry that was never seen.
    pub new: NewEntry,
    /// What becomes of an entry whose definition is not the one that was approved.
    pub changed: ChangedEntry,
}

/// What becomes of an entry that was never seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewEntry {
    /// Its definition is pinned as it is: trust on first use.
    #[default]
    Approve,
    /// It is withheld until an owner approves it.
    Quarantine,
}

/// What becomes of an entry whose definition is not the one that was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChangedEntry {
    /// It is withheld until an owner approves it.
    #[default]
    Withhold,
    /// The new definition is pinned in the place of the old one, and told of.
    Accept,
}

impl PinSettings {
    /// What holds for an upstream.
    #[must_use]
    pub fn of(&self, upstream: &UpstreamId) -> PinPolicy {
        self.of.get(upstream).copied().unwrap_or(self.default)
    }
}
