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
    /// Where one check id stands for many checks: what the suite must say about the one that is excused.
    #[serde(default)]
    words: String,
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
        Self::parse(&read("expected-failures.yaml")?, &read("excused.yaml")?)
    }

    pub(super) fn parse(expected: &str, excused: &str) -> Result<Self> {
        Ok(Self {
            expected: serde_saphyr::from_str(expected)
                .context("conformance/expected-failures.yaml")?,
            excused: serde_saphyr::from_str(excused).context("conformance/excused.yaml")?,
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

    /// Every name of a leg that the lists use.
    #[cfg(test)]
    pub(super) fn wishes(&self) -> impl Iterator<Item = &str> {
        let excused = self.excused.iter().flat_map(|excuse| &excuse.legs);
        self.expected.keys().chain(excused).map(String::as_str)
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
        self.excused_in(leg)
            .any(|(excuse, entry)| excuse.covers(entry, scenario, missed))
    }

    fn stale(&self, outcomes: &[(&Leg, Outcome)]) -> Vec<String> {
        let mut stale = Vec::new();
        for (leg, outcome) in outcomes {
            let unneeded =
                |entry: &str, needed: bool| (!needed).then(|| format!("{}: {entry}", leg.name));
            let expected = self.expected.get(leg.name).into_iter().flatten();
            stale.extend(expected.filter_map(|entry| {
                let needed = missed(outcome).any(|(scenario, missed)| {
                    !missed.skipped && names(entry, scenario, &missed.check)
                });
                unneeded(entry, needed)
            }));
            stale.extend(self.excused_in(leg).filter_map(|(excuse, entry)| {
                let needed = missed(outcome)
                    .any(|(scenario, missed)| excuse.covers(entry, scenario, missed));
                unneeded(entry, needed)
            }));
        }
        stale
    }

    fn excused_in<'a>(&'a self, leg: &'a Leg) -> impl Iterator<Item = (&'a Excuse, &'a str)> {
        let excuses = self
            .excused
            .iter()
            .filter(|excuse| excuse.legs.iter().any(|wish| leg.is(wish)));
        excuses.flat_map(|excuse| {
            excuse
                .checks
                .iter()
                .map(move |entry| (excuse, entry.as_str()))
        })
    }
}

impl Excuse {
    fn covers(&self, entry: &str, scenario: &str, missed: &Missed) -> bool {
        names(entry, scenario, &missed.check) && missed.why.contains(&self.words)
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
