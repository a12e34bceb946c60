//! `[pins]`, and `pins` of an upstream: what becomes of definitions that nobody has looked at, and of those that change.

use std::collections::BTreeMap;

use gateway::{ChangedEntry, NewEntry, PinPolicy, PinSettings};
use policy::UpstreamId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::raw::RawUpstream;

/// What becomes of definitions that nobody has looked at, and of those that change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPins {
    /// What becomes of an entry that was never seen: `approve` takes its definition as it is, and holds the entry to it from then on; `quarantine` withholds it until an owner approves it (`portcullis pin approve`).
    pub new: RawNewEntry,
    /// What becomes of an entry whose definition is not the approved one any more: `withhold` until an owner approves it, or `accept`, with a word in the log and in the audit log.
    pub changed: RawChangedEntry,
}

/// What an upstream has in the place of that.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstreamPins {
    /// Replaces `pins.new`.
    pub new: Option<RawNewEntry>,
    /// Replaces `pins.changed`.
    pub changed: Option<RawChangedEntry>,
}

/// What becomes of an entry that was never seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawNewEntry {
    Approve,
    Quarantine,
}

/// What becomes of an entry whose definition is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawChangedEntry {
    Withhold,
    Accept,
}

impl RawPins {
    /// What holds for everybody, and for upstreams that have a word of their own.
    pub(super) fn settings(&self, upstreams: &BTreeMap<String, RawUpstream>) -> PinSettings {
        let own = |(alias, raw): (&String, &RawUpstream)| {
            // An alias that is none was complained of where upstreams are read.
            let id = UpstreamId::parse(alias).ok()?;
            let own = raw.pins?;
            let new = own.new.unwrap_or(self.new);
            Some((id, policy(new, own.changed.unwrap_or(self.changed))))
        };
        PinSettings {
            default: policy(self.new, self.changed),
            of: upstreams.iter().filter_map(own).collect(),
        }
    }
}

fn policy(new: RawNewEntry, changed: RawChangedEntry) -> PinPolicy {
    PinPolicy {
        new: match new {
            RawNewEntry::Approve => NewEntry::Approve,
            RawNewEntry::Quarantine => NewEntry::Quarantine,
        },
        changed: match changed {
            RawChangedEntry::Withhold => ChangedEntry::Withhold,
            RawChangedEntry::Accept => ChangedEntry::Accept,
        },
    }
}
