//! What the suite found in a leg, read from the files that it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Error, Result};
use serde::Deserialize;

use super::legs::Required;

/// A leg's result.
#[derive(Default)]
pub(super) struct Outcome {
    /// By name.
    pub(super) scenarios: BTreeMap<String, Scenario>,
}

#[derive(Default)]
pub(super) struct Scenario {
    pub(super) scored: bool,
    pub(super) passed: usize,
    /// Checks that failed or were skipped.
    pub(super) missed: Vec<Missed>,
}

/// A check that did not pass.
pub(super) struct Missed {
    pub(super) check: String,
    pub(super) skipped: bool,
    pub(super) why: String,
}

#[derive(Deserialize)]
struct Check {
    id: String,
    status: String,
    #[serde(default)]
    description: String,
    #[serde(default, rename = "errorMessage")]
    error: Option<String>,
}

/// `2026-01-02T03-04-05-678Z` and the hyphen before it, at the end of a folder's name.
const TIMESTAMP: usize = 25;

impl Outcome {
    /// Reads `FOLDER/[SIDE-]SCENARIO-TIMESTAMP/checks.json`, also for `GROUP/SCENARIO`. A required scenario that left nothing has failed.
    pub(super) fn read(folder: &Path, required: &[Required], only: Option<&str>) -> Result<Self> {
        let mut outcome = Self::default();
        for one in required {
            if only.is_none_or(|only| only == one.name) {
                let scenario = outcome.scenarios.entry(one.name.clone()).or_default();
                scenario.scored = one.scored;
                scenario.missed.push(Missed {
                    check: "did-not-run".to_owned(),
                    skipped: false,
                    why: "the scenario threw, or never ended; see suite.log".to_owned(),
                });
            }
        }
        if folder.exists() {
            outcome.gather(folder, "", required)?;
        }
        Ok(outcome)
    }

    /// Takes in what is in a folder; scenarios of a group (`auth/…`) are in one of their own.
    fn gather(&mut self, folder: &Path, group: &str, required: &[Required]) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let file = entry.path().join("checks.json");
            let name = entry.file_name().to_string_lossy().into_owned();
            if !file.is_file() {
                if entry.path().is_dir() && group.is_empty() {
                    self.gather(&entry.path(), &format!("{name}/"), required)?;
                }
                continue;
            }
            let Some(name) = name.get(..name.len().saturating_sub(TIMESTAMP)) else {
                continue;
            };
            let sides = ["authorization-server-", "server-"];
            let scenario = sides.iter().find_map(|side| name.strip_prefix(side));
            // A scenario of a group may itself be called so.
            let scenario = scenario.filter(|_| group.is_empty());
            let name = format!("{group}{}", scenario.unwrap_or(name));
            let checks: Vec<Check> = serde_json::from_slice(&fs::read(&file)?)
                .with_context(|| format!("reading {}", file.display()))?;
            let scored = required
                .iter()
                .find(|one| one.name == name)
                .is_none_or(|one| one.scored);
            self.scenarios.insert(name, Scenario::of(scored, checks));
        }
        Ok(())
    }

    /// A leg that could not be run.
    pub(super) fn broken(error: &Error) -> Self {
        let mut outcome = Self::default();
        outcome.breaks(error);
        outcome
    }

    /// Notes what is wrong with the leg as a whole.
    pub(super) fn breaks(&mut self, error: &Error) {
        let leg = self.scenarios.entry("leg".to_owned()).or_default();
        leg.missed.push(Missed {
            check: "broke".to_owned(),
            skipped: false,
            why: format!("{error:#}"),
        });
    }

    /// Notes that the client that drove a scenario ended badly, which may be all that is wrong with it.
    pub(super) fn client_failed(&mut self, scenario: &str) {
        let scenario = self.scenarios.entry(scenario.to_owned()).or_default();
        if scenario.missed.iter().all(|missed| missed.skipped) {
            scenario.missed.push(Missed {
                check: "client-ended-badly".to_owned(),
                skipped: false,
                why: "the client behind the gate failed; see suite.log".to_owned(),
            });
        }
    }
}

impl Scenario {
    fn of(scored: bool, checks: Vec<Check>) -> Self {
        let mut scenario = Self {
            scored,
            ..Self::default()
        };
        for check in checks {
            match check.status.as_str() {
                "SUCCESS" => scenario.passed += 1,
                // A warning is a "should"; the suite's verdict counts those of clients alone, ours all.
                "FAILURE" | "WARNING" | "SKIPPED" => scenario.missed.push(Missed {
                    check: check.id,
                    skipped: check.status == "SKIPPED",
                    why: check.error.unwrap_or(check.description),
                }),
                _ => {}
            }
        }
        scenario
    }

    pub(super) fn good(&self) -> bool {
        self.failed() == 0
    }

    pub(super) fn failed(&self) -> usize {
        self.missed.iter().filter(|missed| !missed.skipped).count()
    }

    pub(super) fn skipped(&self) -> usize {
        self.missed.len() - self.failed()
    }
}
