//! Nobody waits who could go, principals take turns, and no place is ever lost.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use policy::{Limit, LimitRule, Selector};
use tokio::task::JoinSet;

use super::*;

/// A clock that a test moves.
#[derive(Debug, Default)]
struct HandClock(Mutex<Duration>);

impl Clock for HandClock {
    fn now(&self) -> Instant {
        Instant(*self.0.lock())
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

impl HandClock {
    fn tick(&self) {
        *self.0.lock() += Duration::from_millis(1);
    }
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn limits(total: usize, change: impl FnOnce(&mut Concurrency)) -> Limits {
    let rule = LimitRule {
        name: name("r"),
        selector: Selector::per_principal(),
        limit: Limit {
            max: number(1),
            per: Duration::from_secs(1),
        },
        cost: number(1),
    };
    let mut concurrency = Concurrency {
        per_principal: number(1_000),
        per_upstream: number(1_000),
        upstreams: BTreeMap::new(),
        adaptive_min: None,
        queue_max: 2_000,
        // Nothing here is decided by time.
        queue_wait: Duration::from_secs(3_600),
    };
    change(&mut concurrency);
    Limits {
        tool_call: rule.clone(),
        resource_access: rule,
        rules: Vec::new(),
        quotas: Vec::new(),
        costs: Vec::new(),
        in_flight_max: total,
        concurrency,
    }
}

fn places(total: usize, change: impl FnOnce(&mut Concurrency)) -> (Arc<Places>, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    let places = Places::new(&limits(total, change), Arc::clone(&clock) as Arc<dyn Clock>);
    (places, clock)
}

fn who(name: &str) -> PrincipalId {
    PrincipalId::new(name).unwrap()
}

fn at(name: &str) -> UpstreamId {
    UpstreamId::parse(name).unwrap()
}

/// A place at once, or why not.
fn now(places: &Arc<Places>, principal: &str, upstream: &str) -> Option<Result<Place, Rejection>> {
    let (principal, upstream) = (who(principal), at(upstream));
    places.enter(&principal, Some(&upstream)).now_or_never()
}

/// A call that waits for its place as a task of its own, and says who it was when it has it.
fn queue(
    tasks: &mut JoinSet<(String, Place)>,
    places: &Arc<Places>,
    principal: &str,
    upstream: &str,
) {
    let (places, name) = (Arc::clone(places), principal.to_owned());
    let upstream = at(upstream);
    tasks.spawn(async move {
        let place = places.enter(&who(&name), Some(&upstream)).await.unwrap();
        (name, place)
    });
}

/// Lets every task come as far as it can.
async fn settle() {
    for _ in 0..4_000 {
        tokio::task::yield_now().await;
    }
}

fn waiting(places: &Places) -> usize {
    places.state.lock().waiting
}

#[tokio::test]
async fn principals_take_turns_however_many_calls_wait() {
    let (places, _clock) = places(1, |_| {});
    let first = now(&places, "a", "u").unwrap().unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        queue(&mut tasks, &places, "a", "u");
    }
    settle().await;
    queue(&mut tasks, &places, "b", "u");
    queue(&mut tasks, &places, "c", "u");
    settle().await;
    drop(first);
    let mut order = Vec::new();
    while order.len() < 6 {
        let (name, place) = tasks.join_next().await.unwrap().unwrap();
        order.push(name);
        drop(place);
    }
    assert_eq!(order, ["a", "b", "c", "a", "a", "a"]);
}

/// Calls take `LONG` ticks, and one place becomes free at each. What one principal's flood adds to another's only call
/// is the wait for the next place.
#[tokio::test]
async fn a_flood_does_not_double_what_anothers_call_takes() {
    const LONG: usize = 8;
    let (places, _clock) = places(LONG, |_| {});
    let mut running: VecDeque<(usize, String, Place)> = VecDeque::new();
    let mut flood = JoinSet::new();
    for _ in 0..1_000 {
        queue(&mut flood, &places, "flood", "u");
    }
    let mut took = Vec::new();
    let mut came_at = None;
    for tick in 0..400 {
        // The flood never ends, and the other makes its next call whenever the last one is done.
        queue(&mut flood, &places, "flood", "u");
        if came_at.is_none() && tick > 3 * LONG {
            queue(&mut flood, &places, "other", "u");
            came_at = Some(tick);
        }
        settle_some().await;
        while let Some(Ok((name, place))) = flood.try_join_next() {
            running.push_back((tick, name, place));
        }
        // At the beginning the places are let go one by one.
        let is_done = |began: usize| tick >= began + LONG || tick < LONG;
        if running.front().is_some_and(|(began, ..)| is_done(*began)) {
            let (_, name, place) = running.pop_front().unwrap();
            if name == "other" {
                took.push(tick - came_at.take().unwrap());
            }
            drop(place);
        }
    }
    assert!(took.len() > 20, "{took:?}");
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    assert!(p99 <= 2 * LONG, "{took:?}");
}

async fn settle_some() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_cannot_go_steps_aside_for_who_can() {
    let (places, _clock) = places(3, |shares| {
        shares.per_principal = number(2);
        shares.upstreams.insert(at("small"), number(1));
    });
    let held = [
        now(&places, "a", "small").unwrap().unwrap(),
        now(&places, "a", "u").unwrap().unwrap(),
        now(&places, "b", "u").unwrap().unwrap(),
    ];
    let mut tasks = JoinSet::new();
    queue(&mut tasks, &places, "a", "u"); // has two already
    queue(&mut tasks, &places, "b", "small"); // its upstream is taken
    queue(&mut tasks, &places, "b", "u");
    settle().await;
    assert_eq!(waiting(&places), 3);
    let [small, of_a, of_b] = held;
    drop(of_b);
    let (name, _place) = tasks.join_next().await.unwrap().unwrap();
    assert_eq!((name.as_str(), waiting(&places)), ("b", 2));
    drop(of_a);
    let (name, _place_of_a) = tasks.join_next().await.unwrap().unwrap();
    assert_eq!((name.as_str(), waiting(&places)), ("a", 1));
    drop(small);
    let (name, _place_at_small) = tasks.join_next().await.unwrap().unwrap();
    assert_eq!((name.as_str(), waiting(&places)), ("b", 0));
}

#[tokio::test]
async fn a_full_queue_is_shared_too() {
    let (places, _clock) = places(1, |shares| shares.queue_max = 3);
    let place = now(&places, "a", "u").unwrap().unwrap();
    let mut tasks = JoinSet::new();
    let mut refused = JoinSet::new();
    for _ in 0..3 {
        let places = Arc::clone(&places);
        refused.spawn(async move { places.enter(&who("a"), None).await.map(drop) });
    }
    settle().await;
    // The flood's own next call is refused at once; another principal's takes the place of its newest.
    let again = places.enter(&who("a"), None).now_or_never();
    assert!(matches!(again, Some(Err(Rejection::Busy))));
    queue(&mut tasks, &places, "b", "u");
    settle().await;
    assert!(matches!(
        refused.try_join_next(),
        Some(Ok(Err(Rejection::Busy)))
    ));
    assert_eq!(waiting(&places), 3);
    drop(place);
    let (name, place) = tasks.join_next().await.unwrap().unwrap();
    assert_eq!(name, "b");
    drop(place);
    while let Some(waited) = refused.join_next().await {
        assert!(waited.unwrap().is_ok());
    }
}

#[tokio::test]
async fn what_is_in_the_way_is_named() {
    let (places, _clock) = places(4, |shares| {
        shares.queue_wait = Duration::ZERO;
        shares.per_principal = number(2);
        shares.upstreams.insert(at("small"), number(1));
    });
    let told = async |principal: &str, upstream: &str| {
        let upstream = at(upstream);
        match places.enter(&who(principal), Some(&upstream)).await {
            Ok(_) => "none".to_owned(),
            Err(Rejection::TooMany { limit, .. }) => limit.to_string(),
            Err(other) => other.to_string(),
        }
    };
    let _held = [
        now(&places, "a", "small").unwrap().unwrap(),
        now(&places, "a", "u").unwrap().unwrap(),
        now(&places, "b", "u").unwrap().unwrap(),
    ];
    assert_eq!(told("a", "u").await, "in_flight_per_principal");
    assert_eq!(told("c", "small").await, "in_flight_per_upstream");
    let _last = now(&places, "c", "u").unwrap().unwrap();
    assert_eq!(told("d", "u").await, Rejection::Busy.to_string());
    assert_eq!(waiting(&places), 0);
}

#[tokio::test]
async fn no_place_is_lost_with_those_who_give_up() {
    let (places, _clock) = places(2, |_| {});
    let mut tasks = JoinSet::new();
    for round in 0..50 {
        let name = format!("p{}", round % 7);
        queue(&mut tasks, &places, &name, "u");
    }
    settle().await;
    // Some have a place, some wait, some were just given one: all go.
    drop(tasks.join_next().await);
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    let state = places.state.lock();
    assert_eq!((state.in_flight, state.waiting), (0, 0));
    assert!(state.principals.is_empty() && state.turns.is_empty());
}

#[tokio::test]
async fn an_overloaded_upstream_gets_fewer_places_until_it_bears_more() {
    let (places, clock) = places(100, |shares| {
        shares.upstreams.insert(at("u"), number(9));
        shares.adaptive_min = Some(number(2));
    });
    clock.tick();
    let end = |ending| {
        let mut place = now(&places, "a", "u").unwrap().unwrap();
        place.note(ending);
        clock.tick();
    };
    end(Ending::Overloaded);
    assert_eq!(places.status()["reduced_upstreams"]["u"], 6);
    let held: Vec<Place> = (0..6)
        .map(|_| now(&places, "a", "u").unwrap().unwrap())
        .collect();
    assert!(now(&places, "a", "u").is_none(), "the seventh waits");
    for mut place in held {
        place.note(Ending::Well);
    }
    // Only one of these ended while all places were taken: a sixth of a place.
    assert_eq!(places.status()["reduced_upstreams"]["u"], 6);
    // Without adapting, the config's number holds at once.
    places.resize(&limits(100, |_| {}));
    assert_eq!(places.status()["reduced_upstreams"], json!({}));
}

#[tokio::test]
async fn more_places_are_handed_out_at_a_reload() {
    let (places, _clock) = places(1, |_| {});
    let _place = now(&places, "a", "u").unwrap().unwrap();
    let mut tasks = JoinSet::new();
    queue(&mut tasks, &places, "b", "u");
    settle().await;
    places.resize(&limits(2, |_| {}));
    let (name, _place) = tasks.join_next().await.unwrap().unwrap();
    assert_eq!(name, "b");
}
