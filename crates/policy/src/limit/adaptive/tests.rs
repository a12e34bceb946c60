//! The number of places falls once per overload, rises slowly, and stays within its bounds.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn bounds(min: u32, max: u32) -> Bounds {
    Bounds {
        min: NonZeroU32::new(min).unwrap(),
        max: NonZeroU32::new(max).unwrap(),
    }
}

fn at(millis: u64) -> Instant {
    Instant(Duration::from_millis(millis))
}

#[test]
fn an_overload_takes_a_third_and_a_busy_round_gives_one_back() {
    let mut upstream = Adaptive::new(bounds(2, 30));
    assert_eq!(upstream.places(), 30);
    upstream.was_overloaded(at(1), at(5));
    assert_eq!(upstream.places(), 20);
    for _ in 0..21 {
        upstream.went_well(20);
    }
    assert_eq!(upstream.places(), 21);
}

#[test]
fn many_failures_of_one_overload_are_one_cut() {
    let mut upstream = Adaptive::new(bounds(2, 30));
    for _ in 0..10 {
        upstream.was_overloaded(at(1), at(5));
    }
    assert_eq!(upstream.places(), 20);
    upstream.was_overloaded(at(6), at(9));
    assert_eq!(upstream.places(), 13);
}

#[test]
fn idle_places_are_no_reason_for_more() {
    let mut upstream = Adaptive::new(bounds(2, 30));
    upstream.was_overloaded(at(1), at(5));
    for _ in 0..1_000 {
        upstream.went_well(3);
    }
    assert_eq!(upstream.places(), 20);
}

#[test]
fn new_bounds_hold_at_once() {
    let mut upstream = Adaptive::new(bounds(2, 30));
    upstream.set_bounds(bounds(1, 8));
    assert_eq!(upstream.places(), 8);
    upstream.set_bounds(bounds(1, 30));
    assert_eq!(upstream.places(), 8, "what was found out holds");
}

proptest! {
    #[test]
    fn it_never_leaves_its_bounds(events in prop::collection::vec(any::<(bool, u32)>(), 0..400)) {
        let mut upstream = Adaptive::new(bounds(3, 12));
        for (now, (well, in_flight)) in (1_u64..).zip(events) {
            match well {
                true => upstream.went_well(in_flight),
                false => upstream.was_overloaded(at(now), at(now)),
            }
            prop_assert!((3..=12).contains(&upstream.places()));
        }
    }
}
