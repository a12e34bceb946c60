//! What counts as a pass, and what the lists let through.

use std::fs;
use std::path::PathBuf;

use super::baseline::Baseline;
use super::legs::{LEGS, Leg, Required};
use super::outcome::Outcome;

const SUITE: &str = r#"[
    {"id": "good", "status": "SUCCESS"},
    {"id": "bad", "status": "FAILURE", "errorMessage": "no answer"},
    {"id": "should", "status": "WARNING", "description": "hints"},
    {"id": "hidden", "status": "SKIPPED"},
    {"id": "told", "status": "INFO"}
]"#;

#[test]
fn a_warning_is_a_failure_and_a_required_scenario_that_left_nothing_too() {
    let outcome = outcome("counts");
    let ping = &outcome.scenarios["ping"];
    assert_eq!((ping.passed, ping.failed(), ping.skipped()), (1, 2, 1));
    assert!(ping.scored);
    let gone = &outcome.scenarios["tools-list"];
    assert_eq!((gone.good(), gone.scored), (false, false));
    // OAuth towards upstreams does not exist yet.
    assert!(!outcome.scenarios.contains_key("auth/basic-cimd"));
}

#[test]
fn what_the_lists_name_is_let_through() {
    let leg = leg();
    let expected = format!("{}: [\"ping:bad\", tools-list]", leg.name);
    let excused = "[{legs: [a], checks: [\"ping:sh*\", \"ping:hidden\"], reason: none}]";
    let verdict = judge("through", &expected, excused);
    assert!(verdict.unexpected.is_empty(), "{:?}", verdict.unexpected);
    assert!(verdict.stale.is_empty(), "{:?}", verdict.stale);
}

#[test]
fn a_skip_needs_an_excuse_and_an_expectation_is_none() {
    let expected = format!("{}: [ping, tools-list]", leg().name);
    let verdict = judge("skip", &expected, "[]");
    let unexpected: Vec<_> = verdict
        .unexpected
        .iter()
        .map(|(_, _, check)| check)
        .collect();
    assert_eq!(unexpected, ["hidden"]);
}

#[test]
fn an_entry_that_nothing_needs_is_stale() {
    let leg = leg();
    let expected = format!("{}: [ping, tools-list, \"ping:good\"]", leg.name);
    let excused = "[{legs: [a-2025-11-25], checks: [\"ping:hidden\"], words: other, reason: none}]";
    let verdict = judge("stale", &expected, excused);
    let both = ["ping:good", "ping:hidden"].map(|entry| format!("{}: {entry}", leg.name));
    assert_eq!(verdict.stale, both);
}

#[test]
fn a_wish_names_legs_up_to_a_hyphen() {
    assert!(leg().is("a") && leg().is("a-2025-11-25"));
    assert!(!leg().is("a-2025-1") && !leg().is(""));
}

#[test]
fn the_committed_lists_are_well_formed_and_name_legs_that_exist() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance"));
    let baseline = Baseline::read(&folder).expect("the lists");
    for wish in baseline.wishes() {
        assert!(LEGS.iter().any(|leg| leg.is(wish)), "no leg is `{wish}`");
    }
}

fn judge(name: &str, expected: &str, excused: &str) -> super::Verdict {
    let baseline = Baseline::parse(expected, excused).expect("lists");
    baseline.judge(&[(leg(), outcome(name))], true)
}

fn leg() -> &'static Leg {
    LEGS.iter()
        .find(|leg| leg.name == "a-2025-11-25")
        .expect("a leg")
}

/// Read from a folder as the suite leaves it.
fn outcome(name: &str) -> Outcome {
    let folder = std::env::temp_dir().join(format!(
        "portcullis-conformance-{}-{name}",
        std::process::id()
    ));
    let scenario = folder.join("server-ping-2026-01-02T03-04-05-678Z");
    fs::create_dir_all(&scenario).expect("a folder");
    fs::write(scenario.join("checks.json"), SUITE).expect("a file");
    let required = [("ping", true), ("tools-list", false)].map(|(name, scored)| Required {
        name: name.to_owned(),
        scored,
    });
    let outcome = Outcome::read(&folder, &required, None).expect("an outcome");
    fs::remove_dir_all(&folder).expect("its removal");
    outcome
}
