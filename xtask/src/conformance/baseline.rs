//! The two lists in `conformance/`: gaps of ours, which should be none, and what no gate could pass, with the reason.
//!
//! Both are strict: an entry that is no longer needed fails the run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::legs::Leg;
use super::outcome::{Missed, Outcome};

/// The lists as they are written.
pub(super) struct Baseline {
    /// By leg: `scenario` or `scenario:check`.
    expected: BTreeMap<String, Vec<String>>,
    excused: Vec<Excuse>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Excuse {
    legs: Vec<String>,
    checks: Vec<String>,
    /// For people; reading it sees to it that there is one.
    #[serde(rename = "reason")]
    _reason: String,
}

/// What stands between the run and success.
pub(super) struct Verdict {
    /// Leg, scenario and check.
    pub(super) unexpected: Vec<(String, String, String)>,
    /// Entries of the lists, with the leg.
    pub(super) stale: Vec<String>,
}

impl Baseline {
    /// Reads both.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            fs::read_to_string(folder.join(name)).with_context(|| format!("reading {name}"))
        };
        Ok(Self {
            expected: serde_saphyr::from_str(&read("expected-failures.yaml")?)
                .context("conformance/expected-failures.yaml")?,
            excused: serde_saphyr::from_str(&read("excused.yaml")?)
                .context("conformance/excused.yaml")?,
        })
    }

    /// Holds the outcomes against the lists. Entries are called stale only when `whole` legs were run.
    pub(super) fn judge(&self, outcomes: &[(&Leg, Outcome)], whole: bool) -> Verdict {
        let mut unexpected = Vec::new();
        for (leg, outcome) in outcomes {
            for (scenario, missed) in missed(outcome) {
                if !self.expects(leg, scenario, missed) && !self.excuses(leg, scenario, missed) {
                    unexpected.push((
                        leg.name.to_owned(),
                        scenario.to_owned(),
                        missed.check.clone(),
                    ));
                }
            }
        }
        let stale = if whole {
            self.stale(outcomes)
        } else {
            Vec::new()
        };
        Verdict { unexpected, stale }
    }

    fn expects(&self, leg: &Leg, scenario: &str, missed: &Missed) -> bool {
        let entries = self.expected.get(leg.name);
        // A hidden capability turns a failure into a skip, so a skip needs an excuse.
        !missed.skipped
            && entries.is_some_and(|entries| {
                entries
                    .iter()
                    .any(|entry| names(entry, scenario, &missed.check))
            })
    }

    fn excuses(&self, leg: &Leg, scenario: &str, missed: &Missed) -> bool {
        self.excused
            .iter()
            .filter(|excuse| excuse.legs.iter().any(|wish| leg.is(wish)))
            .flat_map(|excuse| &excuse.checks)
            .any(|entry| names(entry, scenario, &missed.check))
    }

    fn stale(&self, outcomes: &[(&Leg, Outcome)]) -> Vec<String> {
        let needed = |leg: &Leg, outcome: &Outcome, entry: &str| {
            let needed =
                missed(outcome).any(|(scenario, missed)| names(entry, scenario, &missed.check));
            (!needed).then(|| format!("{}: {entry}", leg.name))
        };
        let mut stale = Vec::new();
        for (leg, outcome) in outcomes {
            let expected = self.expected.get(leg.name).into_iter().flatten();
            stale.extend(expected.filter_map(|entry| needed(leg, outcome, entry)));
            let excuses = self
                .excused
                .iter()
                .filter(|excuse| excuse.legs.iter().any(|wish| leg.is(wish)));
            let excused = excuses.flat_map(|excuse| &excuse.checks);
            stale.extend(excused.filter_map(|entry| needed(leg, outcome, entry)));
        }
        stale
    }
}

fn missed(outcome: &Outcome) -> impl Iterator<Item = (&str, &Missed)> {
    outcome.scenarios.iter().flat_map(|(name, scenario)| {
        let missed = scenario.missed.iter();
        missed.map(|missed| (name.as_str(), missed))
    })
}

/// Whether an entry names a check: `scenario` or `scenario:check`, where a final `*` stands for any rest.
fn names(entry: &str, scenario: &str, check: &str) -> bool {
    let whole = format!("{scenario}:{check}");
    match entry.strip_suffix('*') {
        Some(beginning) => whole.starts_with(beginning),
        None => entry == scenario || entry == whole,
    }
}
