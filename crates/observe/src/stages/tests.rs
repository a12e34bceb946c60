//! Times add up, and a stage with two parts is one.

use std::time::Duration;

use policy::Instant;

use super::{Stage, Stages, Visit};

fn at(millis: u64) -> Instant {
    Instant(Duration::from_millis(millis))
}

#[test]
fn a_stage_that_is_entered_twice_has_the_first_moment_and_both_times() {
    let mut stages = Stages::begin(at(100));
    stages.enter(Stage::Limit, at(101));
    stages.enter(Stage::Consent, at(103));
    stages.enter(Stage::Limit, at(110));
    stages.enter(Stage::Dispatch, at(111));
    stages.leave(at(131));
    let visit = |after, spent| Visit {
        after: Duration::from_millis(after),
        spent: Duration::from_millis(spent),
    };
    assert_eq!(
        stages.iter().collect::<Vec<_>>(),
        [
            (Stage::Limit, visit(1, 3)),
            (Stage::Consent, visit(3, 7)),
            (Stage::Dispatch, visit(11, 20)),
        ]
    );
}

#[test]
fn a_stage_that_was_not_left_is_not_told() {
    let mut stages = Stages::begin(at(0));
    stages.enter(Stage::Resolve, at(1));
    assert_eq!(stages.iter().count(), 0);
}
