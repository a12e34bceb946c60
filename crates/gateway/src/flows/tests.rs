//! What a principal has seen decides what it may send.

use super::*;

const PRIVATE: Taint = Taint {
    private: true,
    untrusted: false,
};
const UNTRUSTED: Taint = Taint {
    private: false,
    untrusted: true,
};
const WINDOW: Duration = Duration::from_secs(900);

fn at(seconds: u64) -> Instant {
    Instant(Duration::from_secs(seconds))
}

fn who(name: &str) -> PrincipalId {
    PrincipalId::new(name).unwrap()
}

#[test]
fn both_in_one_window_are_toxic_in_whatever_order() {
    for order in [[PRIVATE, UNTRUSTED], [UNTRUSTED, PRIVATE]] {
        let flows = Flows::default();
        flows.note(&who("ann"), order[0], at(0), WINDOW);
        assert!(!flows.taint(&who("ann"), at(1)).is_toxic());
        flows.note(&who("ann"), order[1], at(899), WINDOW);
        assert!(flows.taint(&who("ann"), at(899)).is_toxic());
        assert_eq!(flows.taint(&who("bob"), at(899)), Taint::default());
        // The first has faded by now.
        assert_eq!(flows.taint(&who("ann"), at(900)), order[1]);
    }
}

#[test]
fn seeing_it_again_keeps_it() {
    let flows = Flows::default();
    flows.note(&who("ann"), PRIVATE, at(0), WINDOW);
    flows.note(&who("ann"), PRIVATE, at(800), WINDOW);
    assert_eq!(flows.taint(&who("ann"), at(1_000)), PRIVATE);
    assert_eq!(flows.taint(&who("ann"), at(1_700)), Taint::default());
}

#[test]
fn a_shorter_window_of_a_new_config_forgets_nothing() {
    let flows = Flows::default();
    flows.note(&who("ann"), PRIVATE, at(0), WINDOW);
    flows.note(&who("ann"), PRIVATE, at(1), Duration::from_secs(1));
    assert_eq!(flows.taint(&who("ann"), at(500)), PRIVATE);
}

#[test]
fn a_full_table_makes_nobody_look_harmless() {
    let flows = Flows::default();
    for number in 0..PRINCIPALS_MAX {
        flows.note(&who(&format!("p{number}")), PRIVATE, at(0), WINDOW);
    }
    flows.note(&who("late"), UNTRUSTED, at(1), WINDOW);
    assert!(flows.taint(&who("late"), at(2)).is_toxic());
    assert_eq!(flows.taint(&who("p0"), at(2)), PRIVATE);
    flows.sweep(at(900));
    assert_eq!(flows.taint(&who("late"), at(901)), Taint::default());
}
