//! Each change of an upstream is recorded once; of one that flaps, some, and the last.

use std::sync::Arc;

use super::*;

fn at(seconds: u64) -> Instant {
    Instant(Duration::from_secs(seconds))
}

fn life() -> Lifecycle {
    Lifecycle::new(UpstreamId::parse("files").unwrap(), at(0))
}

fn is(state: State, restarts: u32, error: Option<&str>) -> Snapshot {
    Snapshot {
        state,
        since: at(0),
        listing: Arc::default(),
        announced: upstream::Announced::default(),
        revision: None,
        latency: None,
        restarts,
        last_error: error.map(str::to_owned),
    }
}

fn seen(life: &mut Lifecycle, snapshot: &Snapshot) -> Option<(&'static str, Option<String>)> {
    let happened = life.see(snapshot, at(1))?;
    assert_eq!(happened.upstream.unwrap().as_str(), "files");
    Some((happened.what, happened.reason))
}

#[test]
fn each_change_is_recorded_once_and_with_its_reason() {
    let mut life = life();
    let some = |what, reason: Option<&str>| Some((what, reason.map(str::to_owned)));
    let ready = is(State::Ready, 0, None);
    assert_eq!(seen(&mut life, &ready), some("upstream/connected", None));
    assert_eq!(seen(&mut life, &ready), None);
    let down = is(State::Down, 0, Some("gone"));
    assert_eq!(seen(&mut life, &down), some("upstream/lost", Some("gone")));
    assert_eq!(seen(&mut life, &down), None);
    let refused = is(State::Down, 1, Some("refused"));
    let failed = some("upstream/failed", Some("refused"));
    assert_eq!(seen(&mut life, &refused), failed);
    assert_eq!(seen(&mut life, &is(State::Down, 2, Some("refused"))), None);
    let back = some("upstream/connected", Some("restarts so far: 2"));
    assert_eq!(seen(&mut life, &is(State::Ready, 2, None)), back);
    // Away and back between two looks.
    let again = some("upstream/connected", Some("restarts so far: 3"));
    assert_eq!(seen(&mut life, &is(State::Ready, 3, None)), again);
    assert_eq!(seen(&mut life, &is(State::Stopped, 3, None)), None);
}

#[test]
fn of_an_upstream_that_flaps_some_changes_are_recorded_and_the_last() {
    let mut life = life();
    let mut told = 0;
    for nth in 0..50 {
        let (up, down) = (is(State::Ready, nth, None), is(State::Down, nth, None));
        told += u32::from(life.see(&up, at(1)).is_some());
        told += u32::from(life.see(&down, at(1)).is_some());
    }
    assert_eq!(told, RECORDS_MAX);
    assert!(life.due(at(1)).is_some());
    assert_eq!(life.release(at(30)), None);
    let last = life.release(at(61)).unwrap();
    assert_eq!(last.what, "upstream/lost");
    let count = 100 - RECORDS_MAX - 1;
    let reason = format!("{count} changes before this are not recorded one by one");
    assert_eq!(last.reason, Some(reason));
    assert_eq!(life.due(at(61)), None);
    // The next minute has its own measure.
    assert!(life.see(&is(State::Ready, 99, None), at(62)).is_some());
}
