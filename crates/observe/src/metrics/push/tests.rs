//! When it is time for a push, and what health says of one. What is in it is `otlp`'s, and the rest of a push's life is in
//! testkit, with a real collector.

use policy::Instant as Now;

use super::*;
use crate::health::State;
use crate::otlp::tests::{Peer, answer, promised};

const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

fn pushing(url: &str, interval: Duration) -> Pushing {
    Pushing {
        endpoint: Endpoint {
            url: url.parse().unwrap(),
            headers: http::HeaderMap::new(),
            resource: Vec::new(),
        },
        interval,
    }
}

fn to(url: &str, interval: Duration) -> Option<Arc<Pushing>> {
    Some(Arc::new(pushing(url, interval)))
}

const HERE: &str = "http://127.0.0.1:4318/v1/metrics";
const THERE: &str = "http://127.0.0.1:4319/v1/metrics";

#[tokio::test]
async fn the_first_push_is_soon() {
    let began = Instant::now();
    let mut schedule = Schedule::new(began);
    assert_eq!(schedule.due(), None);
    assert!(schedule.set(to(HERE, HOUR)));
    assert_eq!(schedule.due(), Some(began + FIRST_WAIT));
    assert!(!schedule.set(to(HERE, SECOND)));
    assert_eq!(schedule.due(), Some(began + SECOND));
    assert!(!schedule.set(None));
    assert_eq!(schedule.due(), None);
}

#[tokio::test]
async fn only_another_place_ends_the_time_for_which_a_collector_wants_to_be_left_alone() {
    let began = Instant::now();
    let pushed = began + HOUR;
    let minute = Duration::from_secs(60);
    let mut schedule = Schedule::new(began);
    schedule.set(to(HERE, SECOND));
    schedule.pushed(pushed, Some(minute));
    // A reload of the same, and of another interval.
    assert!(!schedule.set(to(HERE, SECOND)));
    assert_eq!(schedule.due(), Some(pushed + minute));
    assert!(!schedule.set(to(HERE, HOUR)));
    assert_eq!(schedule.due(), Some(pushed + HOUR));
    // Another address, and another credential: there and then.
    assert!(schedule.set(to(THERE, HOUR)));
    assert!(schedule.due() < Some(pushed));
    schedule.pushed(pushed, Some(minute));
    let mut other = pushing(THERE, HOUR);
    let key = http::HeaderValue::from_static("new");
    other.endpoint.headers.insert("api-key", key);
    assert!(schedule.set(Some(Arc::new(other))));
    assert!(schedule.due() < Some(pushed));
}

/// Stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Now {
        Now(SECOND)
    }

    fn wall(&self) -> std::time::SystemTime {
        UNIX_EPOCH + SECOND
    }
}

/// What became of one push: how health has it, why, and for how long the collector is left alone.
async fn pushed(answer: Vec<u8>) -> (State, Option<String>, Option<Duration>) {
    let peer = Peer::start(answer).await;
    let clock: Arc<dyn Clock> = Arc::new(Still);
    let health = Health::new(Arc::clone(&clock));
    let pusher = Pusher::new(Metrics::new("0"), clock);
    let client = net::Client::new(net::Settings::default());
    let pushing = Pushing {
        endpoint: peer.endpoint(),
        interval: HOUR,
    };
    let wait = pusher.push(&client, &health, &pushing, Then::Ends).await;
    let status = health.dependencies().remove(0);
    (status.state, status.last_error.map(|(why, _)| why), wait)
}

#[tokio::test]
async fn a_login_page_is_no_collector() {
    let (state, why, _) = pushed(answer("200 OK", b"<html>Log in</html>")).await;
    assert_eq!(state, State::Down, "{why:?}");
    let (state, why, _) = pushed(answer("200 OK", b"")).await;
    assert_eq!(state, State::Ok, "{why:?}");
}

#[tokio::test]
async fn a_refusal_that_stalls_has_the_collector_left_alone_all_the_same() {
    let stalled = promised("503 Busy\r\nRetry-After: 30", 100, b"");
    let (state, why, wait) = pushed(stalled).await;
    assert_eq!(state, State::Down);
    assert_eq!(why.as_deref(), Some("it answers with status 503"));
    assert_eq!(wait, Some(Duration::from_secs(30)));
}
