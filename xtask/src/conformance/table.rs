//! The table: a leg a line, and below it what failed outside the lists.

use super::baseline::Verdict;
use super::legs::Leg;
use super::outcome::{Outcome, Scenario};

/// How much of the suite's words about a check is shown.
const WHY_MAX: usize = 150;

/// The whole text, ending with a line break.
pub(super) fn table(outcomes: &[(&Leg, Outcome)], verdict: &Verdict) -> String {
    let mut lines = vec![row(
        "leg",
        ["scored", "checks: ok", "failed", "skipped", "unscored"].map(str::to_owned),
    )];
    lines.extend(outcomes.iter().map(|(leg, outcome)| counts(leg, outcome)));
    for (leg, outcome) in outcomes {
        let failures = failures(leg, outcome, verdict);
        if !failures.is_empty() {
            lines.push(format!("\n{}", leg.name));
            lines.extend(failures);
        }
    }
    lines.extend(
        verdict
            .stale
            .iter()
            .map(|entry| format!("\nno longer needed in the lists: {entry}")),
    );
    lines.push(String::new());
    lines.join("\n")
}

fn row(leg: &str, [scored, passed, failed, skipped, unscored]: [String; 5]) -> String {
    format!("{leg:<24} {scored:>9} {passed:>12} {failed:>7} {skipped:>7} {unscored:>8}")
}

fn counts(leg: &Leg, outcome: &Outcome) -> String {
    let scenarios = || outcome.scenarios.values();
    let share = |scored: bool| {
        let of = scenarios().filter(|scenario| scenario.scored == scored);
        let good = of.clone().filter(|scenario| scenario.good()).count();
        format!("{good}/{}", of.count())
    };
    let sum = |count: fn(&Scenario) -> usize| scenarios().map(count).sum::<usize>().to_string();
    row(
        leg.name,
        [
            share(true),
            sum(|scenario| scenario.passed),
            sum(Scenario::failed),
            sum(Scenario::skipped),
            share(false),
        ],
    )
}

fn failures(leg: &Leg, outcome: &Outcome, verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, scenario) in &outcome.scenarios {
        for missed in &scenario.missed {
            let is_it = |(of, on, check): &(String, String, String)| {
                of == leg.name && on == name && *check == missed.check
            };
            if verdict.unexpected.iter().any(is_it) {
                let how = if missed.skipped { "SKIPPED " } else { "" };
                let why = first_words(&missed.why);
                lines.push(format!("  {name}:{}  {how}{why}", missed.check));
            }
        }
    }
    lines
}

fn first_words(why: &str) -> String {
    let flat = why.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(WHY_MAX) {
        Some((end, _)) => format!("{}…", flat.get(..end).unwrap_or_default()),
        None => flat,
    }
}
