//! A bucket lets through what it promises, says exactly when to come back, and takes nothing when another refuses.

use std::num::{NonZeroU32, NonZeroU64};

use proptest::prelude::*;

use super::*;

fn take(key: &str, interval: u64, max: u32, cost: u32) -> Take<'_> {
    Take {
        key,
        interval: NonZeroU64::new(interval).unwrap(),
        max: NonZeroU32::new(max).unwrap(),
        cost: NonZeroU32::new(cost).unwrap(),
    }
}

fn at(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

#[test]
fn a_fresh_bucket_gives_max_at_once_and_then_one_every_interval() {
    let memory = Memory::new();
    let one = [take("a", 100, 3, 1)];
    for _ in 0..3 {
        memory.take_now(&one, at(1_000)).unwrap();
    }
    assert_eq!(memory.take_now(&one, at(1_000)), Err(full(0, at(100))));
    assert_eq!(memory.take_now(&one, at(1_100)), Ok(()));
    // Long after, the bucket holds as much as at first, and no more.
    for _ in 0..3 {
        memory.take_now(&one, at(9_000)).unwrap();
    }
    assert!(memory.take_now(&one, at(9_000)).is_err());
}

#[test]
fn what_one_bucket_refuses_is_taken_from_none() {
    let memory = Memory::new();
    let both = [take("wide", 100, 10, 1), take("narrow", 100, 1, 1)];
    memory.take_now(&both, at(0)).unwrap();
    for _ in 0..50 {
        assert_eq!(memory.take_now(&both, at(0)), Err(full(1, at(100))));
    }
    for _ in 0..9 {
        memory.take_now(&both[..1], at(0)).unwrap();
    }
    assert!(memory.take_now(&both[..1], at(0)).is_err());
}

#[test]
fn of_two_that_refuse_the_longer_wait_is_told() {
    let memory = Memory::new();
    let both = [take("short", 10, 1, 1), take("long", 500, 1, 1)];
    memory.take_now(&both, at(0)).unwrap();
    assert_eq!(memory.take_now(&both, at(0)), Err(full(1, at(500))));
    let turned = [both[1], both[0]];
    assert_eq!(memory.take_now(&turned, at(0)), Err(full(0, at(500))));
}

#[test]
fn a_cost_above_the_bucket_is_never_allowed() {
    let memory = Memory::new();
    let greedy = [take("a", 1, 1, 2)];
    assert_eq!(memory.take_now(&greedy, at(0)), Err(full(0, Duration::MAX)));
}

#[test]
fn the_ends_of_the_number_range_do_not_overflow() {
    let memory = Memory::new();
    let widest = [take("a", u64::MAX, u32::MAX, u32::MAX)];
    assert_eq!(memory.take_now(&widest, Duration::MAX), Ok(()));
    assert_eq!(memory.take_now(&widest, Duration::ZERO), Ok(()));
}

#[test]
fn empty_buckets_make_room_and_full_ones_do_not() {
    let memory = Memory::new();
    let names: Vec<String> = (0..SHARDS * SHARD_MAX * 2)
        .map(|at| at.to_string())
        .collect();
    let outcomes = |now| {
        let took = |name: &&String| memory.take_now(&[take(name, 100, 1, 1)], at(now)).is_ok();
        names.iter().filter(took).count()
    };
    assert_eq!(outcomes(0), SHARDS * SHARD_MAX);
    let second = u64::try_from(CROWDED_WAIT.as_nanos()).unwrap();
    let late = [take("late", 100, 1, 1)];
    assert_eq!(
        memory.take_now(&late, at(second - 1)),
        Err(full(0, at(1))),
        "empty ones are not looked for at every call"
    );
    assert_eq!(memory.take_now(&late, at(second)), Ok(()));
    let kept = |shard: &Mutex<Shard>| shard.lock().buckets.len();
    assert!(memory.shards.iter().map(kept).min() <= Some(1));
}

#[test]
fn many_threads_get_no_more_than_the_bucket_holds() {
    let memory = Memory::new();
    let crossed = [
        [take("a", 1_000_000, 500, 1), take("b", 1_000_000, 400, 1)],
        [take("b", 1_000_000, 400, 1), take("a", 1_000_000, 500, 1)],
    ];
    let let_in: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (memory, takes) = (&memory, &crossed[thread % 2]);
                scope.spawn(move || {
                    (0..500)
                        .filter(|_| memory.take_now(takes, at(0)).is_ok())
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(let_in, 400);
}

prop_compose! {
    fn calls()(calls in prop::collection::vec((0_u64..400, 1_u32..4), 1..120)) -> Vec<(u64, u32)> {
        let mut now = 0;
        calls.into_iter().map(|(gap, cost)| {
            now += gap;
            (now, cost)
        }).collect()
    }
}

proptest! {
    /// In any stretch of time: no more than the bucket, and one for every interval that passed.
    #[test]
    fn no_window_gets_more_than_promised(max in 1_u32..9, interval in 1_u64..400, calls in calls()) {
        let memory = Memory::new();
        let mut let_in = Vec::new();
        for (now, cost) in calls {
            if memory.take_now(&[take("a", interval, max, cost)], at(now)).is_ok() {
                let_in.push((now, u64::from(cost)));
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
    fn the_wait_is_exact(max in 1_u32..9, interval in 1_u64..400, calls in calls()) {
        let mut empty_at = 0;
        for (now, cost) in calls {
            let take = take("a", interval, max, cost);
            match sum(empty_at, &take, now) {
                Ok(next) => empty_at = next,
                Err(wait) if wait == Duration::MAX => prop_assert!(cost > max),
                Err(wait) => {
                    let wait = u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert!(wait > 0);
                    prop_assert!(sum(empty_at, &take, now + wait).is_ok());
                    prop_assert_eq!(sum(empty_at, &take, now + wait - 1), Err(at(1)));
                }
            }
        }
    }
}
