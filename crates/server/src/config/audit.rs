//! `[audit]`: how the audit log is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use observe::{AuditMode, Auditor, Keep, Keeping};
use policy::Pattern;
use policy::config::Complaints;
use schemars::JsonSchema;
use serde::Deserialize;

use super::check::{Checker, all, wait};
use super::raw::Span;
use super::sinks::RawSink;
use crate::audit::Upkeep;

/// How the audit log is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAudit {
    /// When a record counts as written: `durable`, once it is on the disk, so that no call has an effect and none is answered without its record, whatever becomes of the machine; `relaxed`, once it is on its way there, which is faster and loses the last records in a crash; `danger_off`, never: calls leave no trace, which is of use only for finding out what the log costs. Another one holds from the next start on.
    #[serde(default)]
    pub mode: RawMode,
    /// What is kept of a call's arguments besides their digest: `digest`, nothing; `redacted`, what is left of them without secrets and personal data, as far as these can be told, cut where they are long; `sealed`, all of them, so that only the `auditor` can read them.
    #[serde(default)]
    pub arguments: RawKeep,
    /// For whom arguments are sealed: the public key that `portcullis audit keygen` writes. The gate cannot open what it seals.
    pub auditor: Option<String>,
    /// Entries of whose arguments something else is kept; the first that fits holds.
    #[serde(default)]
    pub keep: Vec<RawKeepOf>,
    /// A folder where each signed checkpoint is written as well, as `NAME-SIZE.txt`: mount it from another machine, and nobody on this one can cut off the log's end unseen. While it cannot be written to, health says so.
    pub checkpoints_to: Option<String>,
    /// How long records are kept.
    #[serde(default)]
    pub retention: RawRetention,
    /// Where the log is sent on to, by name. Nothing of it is on a call's way: a receiver that is away gets what it missed once it is back, also after a start of the gate.
    #[serde(default)]
    pub sinks: BTreeMap<String, RawSink>,
}

/// How long records are kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetention {
    /// Records that are older are taken off the log's front, unless they are under a legal hold (`portcullis audit hold`), or a sink in this config has not sent them; what is left can be verified as before. For ever unless said; at least `1d`.
    pub keep: Option<Span>,
}

/// What is kept of the arguments of some entries.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKeepOf {
    /// Of which, as patterns: `pay.*`.
    pub of: Vec<String>,
    /// What.
    pub arguments: RawKeep,
}

/// What is kept of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawKeep {
    #[default]
    Digest,
    Redacted,
    Sealed,
}

impl RawKeep {
    fn keep(self) -> Keep {
        match self {
            Self::Digest => Keep::Digest,
            Self::Redacted => Keep::Redacted,
            Self::Sealed => Keep::Sealed,
        }
    }
}

/// When a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawMode {
    #[default]
    Durable,
    Relaxed,
    #[serde(rename = "danger_off")]
    Off,
}

impl RawAudit {
    pub(super) fn mode(&self) -> AuditMode {
        match self.mode {
            RawMode::Durable => AuditMode::Durable,
            RawMode::Relaxed => AuditMode::Relaxed,
            RawMode::Off => AuditMode::Off,
        }
    }
}

/// The shortest time that records may be kept for.
const KEPT_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What `[audit]` says of arguments.
pub(super) fn keeping(raw: &RawAudit, complaints: &mut Complaints) -> Option<Keeping> {
    complaints.at("audit", |complaints| {
        let auditor = match &raw.auditor {
            None => Some(None),
            Some(text) => complaints.at("auditor", |complaints| {
                complaints.keep(text.parse::<Auditor>(), "").map(Some)
            }),
        };
        let of = complaints.at("keep", |complaints| {
            let one = |(at, raw): (usize, &RawKeepOf)| {
                complaints.at(at.to_string(), |complaints| {
                    let patterns = complaints.at("of", |complaints| {
                        all(&raw.of, complaints, |text, complaints| {
                            complaints.keep(Pattern::parse(text), "")
                        })
                    });
                    let keep = raw.arguments.keep();
                    let pairs = patterns?.into_iter().map(|pattern| (pattern, keep));
                    Some(pairs.collect::<Vec<_>>())
                })
            };
            let lists: Vec<Option<Vec<_>>> = raw.keep.iter().enumerate().map(one).collect();
            lists.into_iter().collect::<Option<Vec<_>>>()
        });
        let seals = |keep: RawKeep| keep == RawKeep::Sealed;
        let is_sealed = seals(raw.arguments) || raw.keep.iter().any(|of| seals(of.arguments));
        if is_sealed && raw.auditor.is_none() {
            complaints.add(
                "nobody is named for whom arguments are sealed",
                "`portcullis audit keygen --out auditor` makes a key; put its public half here as `auditor`",
            );
            return None;
        }
        Some(Keeping::new(raw.arguments.keep(), of?.concat(), auditor?))
    })
}

impl Checker<'_> {
    /// What `[audit]` says of how the log is looked after.
    pub(super) fn upkeep(&self, raw: &RawAudit, complaints: &mut Complaints) -> Option<Upkeep> {
        complaints.at("audit", |complaints| {
            let checkpoints_to = raw.checkpoints_to.as_deref();
            let checkpoints_to = checkpoints_to.map(|text| self.path(text, "audit.checkpoints_to"));
            let kept_for = match &raw.retention.keep {
                None => Some(None),
                Some(raw) => complaints.at("retention", |complaints| {
                    let long = wait(raw, "keep", complaints)?;
                    if long < KEPT_MIN {
                        complaints.at("keep", |complaints| {
                            complaints.add(
                                "records are kept for a day at least",
                                "write for example \"365d\"",
                            );
                        });
                        return None;
                    }
                    Some(Some(long))
                }),
            };
            Some(Upkeep {
                checkpoints_to,
                kept_for: kept_for?,
                sinks: raw.sinks.keys().cloned().collect(),
            })
        })
    }
}
