//! A limit lets through what it promises, and says exactly when to come back.

use proptest::prelude::*;

use super::*;

const ONE: NonZeroU32 = NonZeroU32::MIN;

fn limit(max: u32, per: Duration) -> Limit {
    Limit {
        max: NonZeroU32::new(max).unwrap(),
        per,
    }
}

fn at(nanos: u64) -> Instant {
    Instant(Duration::from_nanos(nanos))
}

#[test]
fn a_fresh_bucket_gives_max_at_once_and_then_one_every_interval() {
    let limit = limit(3, Duration::from_nanos(300));
    let mut arrival = None;
    for _ in 0..3 {
        arrival = Some(limit.take(arrival, at(1_000), ONE).unwrap());
    }
    assert_eq!(
        limit.take(arrival, at(1_000), ONE),
        Err(Duration::from_nanos(100))
    );
    assert!(limit.take(arrival, at(1_100), ONE).is_ok());
    // Long after, the bucket is full again, and no fuller.
    for _ in 0..3 {
        arrival = Some(limit.take(arrival, at(9_000), ONE).unwrap());
    }
    assert!(limit.take(arrival, at(9_000), ONE).is_err());
}

#[test]
fn a_cost_above_the_bucket_is_never_allowed() {
    let two = NonZeroU32::new(2).unwrap();
    assert_eq!(
        limit(1, Duration::from_secs(1)).take(None, at(0), two),
        Err(Duration::MAX)
    );
}

#[test]
fn the_ends_of_the_number_range_do_not_overflow() {
    let longest = limit(1, Duration::MAX);
    let arrival = longest.take(None, Instant(Duration::MAX), ONE).unwrap();
    assert_eq!(arrival, Instant(Duration::MAX));
    let widest = Limit {
        max: NonZeroU32::MAX,
        per: Duration::MAX,
    };
    assert!(
        widest
            .take(
                Some(Instant(Duration::MAX)),
                Instant(Duration::MAX),
                NonZeroU32::MAX
            )
            .is_ok()
    );
    assert!(
        limit(u32::MAX, Duration::ZERO)
            .take(None, at(0), ONE)
            .is_ok()
    );
}

prop_compose! {
    fn calls()(calls in prop::collection::vec((0_u64..400, 1_u32..4), 1..120)) -> Vec<(u64, NonZeroU32)> {
        let mut now = 0;
        calls.into_iter().map(|(gap, cost)| {
            now += gap;
            (now, NonZeroU32::new(cost).unwrap())
        }).collect()
    }
}

proptest! {
    /// In any stretch of time: no more than the bucket, and one for every interval that passed.
    #[test]
    fn no_window_gets_more_than_promised(max in 1_u32..9, per in 1_u64..2_000, calls in calls()) {
        let limit = limit(max, Duration::from_nanos(per));
        let interval = per.div_ceil(u64::from(max));
        let (mut arrival, mut let_in) = (None, Vec::new());
        for (now, cost) in calls {
            if let Ok(next) = limit.take(arrival, at(now), cost) {
                arrival = Some(next);
                let_in.push((now, u64::from(cost.get())));
            }
        }
        for from in 0..let_in.len() {
            let mut sum = 0;
            for (now, cost) in &let_in[from..] {
                sum += cost;
                let passed = (now - let_in[from].0) / interval;
                prop_assert!(sum <= u64::from(max) + passed, "{sum} in a window that allows {max} + {passed}");
            }
        }
    }

    #[test]
    fn retry_after_is_exact(max in 1_u32..9, per in 1_u64..2_000, calls in calls()) {
        let limit = limit(max, Duration::from_nanos(per));
        let mut arrival = None;
        for (now, cost) in calls {
            match limit.take(arrival, at(now), cost) {
                Ok(next) => arrival = Some(next),
                Err(wait) if wait == Duration::MAX => prop_assert!(cost.get() > max),
                Err(wait) => {
                    let wait = u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert!(wait > 0);
                    prop_assert!(limit.take(arrival, at(now + wait), cost).is_ok());
                    prop_assert_eq!(limit.take(arrival, at(now + wait - 1), cost), Err(Duration::from_nanos(1)));
                }
            }
        }
    }
}
