//! The legs: what is tested, against which of the suite's lists.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::rig::NATIVE;
use crate::steps::Tree;

/// One run of the suite.
pub(super) struct Leg {
    pub(super) name: &'static str,
    pub(super) upstream: Upstream,
    /// Whether the gate stands in front; else the upstream itself is tested.
    pub(super) gate: bool,
    pub(super) suite: Suite,
}

/// Who stands behind the gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Upstream {
    /// The Python fixture over Streamable HTTP.
    Http(Era),
    /// The Python fixture over stdio.
    Stdio,
    /// Our own fixture, in a gate of its own.
    Native,
    /// The suite's scripted servers, one a scenario.
    Suite,
    /// Nobody: the gate's authorization server is what is tested.
    Authority,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Era {
    Both,
    Legacy,
    Modern,
}

/// Which of the suite's lists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Suite {
    /// Server scenarios: what the revision requires, and what the suite runs beside it without scoring.
    Required(&'static str),
    /// Server scenarios: all that exist on the revision's wire.
    All(&'static str),
    /// Client scenarios.
    Client(&'static str),
    /// Client scenarios of a revision for which the suite has no list.
    Chosen(&'static str, &'static [&'static str]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

pub(super) const LEGS: &[Leg] = &[
    leg(
        "direct-2025-11-25",
        Upstream::Http(Era::Both),
        false,
        Suite::Required("2025-11-25"),
    ),
    leg(
        "direct-2026-07-28",
        Upstream::Http(Era::Both),
        false,
        Suite::Required("2026-07-28"),
    ),
    leg(
        "a-2025-11-25",
        Upstream::Http(Era::Both),
        true,
        Suite::Required("2025-11-25"),
    ),
    leg(
        "a-2026-07-28",
        Upstream::Http(Era::Both),
        true,
        Suite::Required("2026-07-28"),
    ),
    leg(
        "a-2025-06-18",
        Upstream::Http(Era::Both),
        true,
        Suite::All("2025-06-18"),
    ),
    leg(
        "a-2025-03-26",
        Upstream::Http(Era::Both),
        true,
        Suite::All("2025-03-26"),
    ),
    leg(
        "b-2025-11-25",
        Upstream::Stdio,
        true,
        Suite::Required("2025-11-25"),
    ),
    leg(
        "b-2026-07-28",
        Upstream::Stdio,
        true,
        Suite::Required("2026-07-28"),
    ),
    leg(
        "c-2025-11-25-on-modern",
        Upstream::Http(Era::Modern),
        true,
        Suite::Required("2025-11-25"),
    ),
    leg(
        "c-2026-07-28-on-legacy",
        Upstream::Http(Era::Legacy),
        true,
        Suite::Required("2026-07-28"),
    ),
    leg(
        "d-2025-03-26",
        Upstream::Suite,
        true,
        Suite::Chosen(
            "2025-03-26",
            &[
                "auth/2025-03-26-oauth-metadata-backcompat",
                "auth/2025-03-26-oauth-endpoint-fallback",
            ],
        ),
    ),
    leg(
        "d-2025-11-25",
        Upstream::Suite,
        true,
        Suite::Client("2025-11-25"),
    ),
    leg(
        "d-2026-07-28",
        Upstream::Suite,
        true,
        Suite::Client("2026-07-28"),
    ),
    leg(
        "e-2025-11-25",
        Upstream::Native,
        false,
        Suite::Required("2025-11-25"),
    ),
    leg(
        "e-2026-07-28",
        Upstream::Native,
        false,
        Suite::Required("2026-07-28"),
    ),
    leg(
        "f-2025-11-25",
        Upstream::Authority,
        true,
        Suite::All("2025-11-25"),
    ),
    leg(
        "f-2026-07-28",
        Upstream::Authority,
        true,
        Suite::All("2026-07-28"),
    ),
];

const fn leg(name: &'static str, upstream: Upstream, gate: bool, suite: Suite) -> Leg {
    Leg {
        name,
        upstream,
        gate,
        suite,
    }
}

impl Leg {
    /// Whether `wish` names this leg: whole, or up to a hyphen.
    pub(super) fn is(&self, wish: &str) -> bool {
        self.name
            .strip_prefix(wish)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

impl Upstream {
    /// Whether there is such a thing yet.
    pub(super) fn exists(self, tree: &Tree) -> bool {
        match self {
            Self::Native => tree
                .root
                .join(format!("crates/testkit/src/bin/{NATIVE}.rs"))
                .is_file(),
            Self::Http(_) | Self::Stdio | Self::Suite | Self::Authority => true,
        }
    }
}

/// A scenario that the suite will run in a leg.
pub(super) struct Required {
    pub(super) name: String,
    pub(super) scored: bool,
}

impl Suite {
    pub(super) fn revision(self) -> &'static str {
        match self {
            Self::Required(revision)
            | Self::All(revision)
            | Self::Client(revision)
            | Self::Chosen(revision, _) => revision,
        }
    }

    pub(super) fn side(self) -> Side {
        match self {
            Self::Required(_) | Self::All(_) => Side::Server,
            Self::Client(_) | Self::Chosen(..) => Side::Client,
        }
    }

    /// What the suite's frozen list has for this leg; nothing where there is no list, and all that runs counts.
    pub(super) fn required(self, folder: &Path) -> Result<Vec<Required>> {
        #[derive(Deserialize)]
        struct List {
            server: Vec<String>,
            client: Vec<String>,
            not_scored: Vec<Unscored>,
        }
        #[derive(Deserialize)]
        struct Unscored {
            scenario: String,
            leg: String,
        }
        let revision = match self {
            Self::All(_) => return Ok(Vec::new()),
            Self::Chosen(_, scenarios) => {
                let chosen = |name: &&str| Required {
                    name: (*name).to_owned(),
                    scored: true,
                };
                return Ok(scenarios.iter().map(chosen).collect());
            }
            Self::Required(revision) | Self::Client(revision) => revision,
        };
        let path = folder.join(format!("{revision}.yaml"));
        let list: List = serde_saphyr::from_str(&fs::read_to_string(&path)?)
            .with_context(|| format!("reading {}", path.display()))?;
        let (scored, side) = match self.side() {
            Side::Server => (list.server, "server"),
            Side::Client => (list.client, "client"),
        };
        let beside = list.not_scored.into_iter().filter(|one| one.leg == side);
        let scored = scored
            .into_iter()
            .map(|name| Required { name, scored: true });
        Ok(scored
            .chain(beside.map(|one| Required {
                name: one.scenario,
                scored: false,
            }))
            .collect())
    }
}
