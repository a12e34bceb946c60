//! Tasks that panic, return, or do not end; what health and metrics say of them; what components say of themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use policy::{Clock, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::tasks::Pace;
use super::*;
use crate::Metrics;

/// Stands still until it is moved.
#[derive(Debug, Default)]
struct Still(Mutex<Duration>);

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant(*self.0.lock())
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + *self.0.lock()
    }
}

fn world() -> (Arc<Still>, Health, Metrics, Tasks) {
    let clock = Arc::new(Still::default());
    let health = Health::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let metrics = Metrics::new("0");
    // Short, but for how long a task must go well: nothing here waits for that by chance.
    let pace = Pace {
        pause_min: Duration::from_millis(1),
        pause_max: Duration::from_millis(4),
        steady: Duration::from_millis(200),
    };
    let tasks = Tasks::at_pace(health.clone(), metrics.clone(), pace);
    (clock, health, metrics, tasks)
}

/// Waits for what must come about.
async fn until(mut is_so: impl FnMut() -> bool) {
    let come = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), come)
        .await
        .expect("it comes about");
}

fn only(health: &Health) -> Status {
    let mut tasks = health.tasks();
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    tasks.remove(0)
}

#[tokio::test]
async fn a_task_that_panics_or_returns_begins_anew_and_says_so() {
    let (_clock, health, metrics, tasks) = world();
    let (tell, mut told) = mpsc::channel(8);
    let runs = Arc::new(AtomicU32::new(0));
    tasks.supervise(Task::Pins, move |stop| {
        let (tell, run) = (tell.clone(), runs.fetch_add(1, Ordering::Relaxed));
        async move {
            tell.send(run).await.unwrap();
            match run {
                0 => panic!("injected"),
                1 => {}
                _ => stop.cancelled().await,
            }
        }
    });
    for run in 0..3 {
        assert_eq!(told.recv().await, Some(run));
    }
    let status = only(&health);
    assert_eq!(status.restarts, Some(2));
    let (why, _) = status.last_error.unwrap();
    assert_eq!(why, "it ended without having been told to");
    let text = metrics.encode(crate::Format::Text);
    assert!(
        text.contains("portcullis_task_restarts_total{task=\"pins\"} 2"),
        "{text}"
    );
    // It goes well now, and after a while that is believed.
    until(|| only(&health).state == State::Ok).await;
    tasks.stop(Order::Upkeep, Duration::from_secs(1)).await;
    assert_eq!(only(&health).state, State::Stopped);
}

#[tokio::test]
async fn a_panic_before_the_first_await_is_caught_too() {
    let (_clock, health, _metrics, tasks) = world();
    let runs = Arc::new(AtomicU32::new(0));
    let (tell, mut told) = mpsc::channel(1);
    tasks.supervise(Task::Pins, move |stop| {
        assert!(runs.fetch_add(1, Ordering::Relaxed) > 0, "injected");
        let tell = tell.clone();
        async move {
            tell.send(()).await.unwrap();
            stop.cancelled().await;
        }
    });
    told.recv().await.unwrap();
    let (why, _) = only(&health).last_error.unwrap();
    assert_eq!(why, "it ended in a panic");
}

#[tokio::test]
async fn tasks_end_in_order_and_the_last_hear_of_the_first() {
    let (_clock, health, _metrics, tasks) = world();
    let ended = Arc::new(Mutex::new(Vec::new()));
    for task in [
        Task::Metrics,
        Task::Checkpoints,
        Task::Sweep,
        Task::Upstream,
    ] {
        let ended = Arc::clone(&ended);
        tasks.supervise(task, move |stop| {
            let ended = Arc::clone(&ended);
            async move {
                stop.cancelled().await;
                ended.lock().push(task);
            }
        });
    }
    for order in [Order::Calls, Order::Upkeep, Order::Records, Order::Metrics] {
        tasks.stop(order, Duration::from_secs(1)).await;
    }
    let expected = [
        Task::Upstream,
        Task::Sweep,
        Task::Checkpoints,
        Task::Metrics,
    ];
    assert_eq!(*ended.lock(), expected);
    assert!(
        health
            .tasks()
            .iter()
            .all(|status| status.state == State::Stopped)
    );
    // Nothing begins any more.
    tasks.supervise(Task::Pins, |_| async { panic!("it was to be stopped") });
    assert_eq!(health.tasks().len(), 4);
}

#[tokio::test]
async fn a_task_that_does_not_end_is_dropped_after_its_time() {
    let (_clock, health, _metrics, tasks) = world();
    tasks.supervise(Task::Sweep, |_deaf| std::future::pending());
    until(|| only(&health).state == State::Ok).await;
    tasks.stop(Order::Upkeep, Duration::from_millis(50)).await;
    assert_eq!(only(&health).state, State::Stopped);
}

#[tokio::test]
async fn one_of_several_ends_alone_and_is_forgotten() {
    let (_clock, health, _metrics, tasks) = world();
    let stop = CancellationToken::new();
    let run = |stop: CancellationToken| async move { stop.cancelled().await };
    tasks.supervise_of(Task::Upstream, "a", stop.clone(), run);
    tasks.supervise_of(Task::Upstream, "b", CancellationToken::new(), run);
    assert_eq!(health.tasks().len(), 2);
    stop.cancel();
    until(|| health.tasks().len() == 1).await;
    assert_eq!(only(&health).of.as_deref(), Some("b"));
    tasks.stop(Order::Calls, Duration::from_secs(1)).await;
    assert!(health.tasks().is_empty());
}

#[test]
fn a_component_says_since_when_and_why_and_only_owners_hear_why() {
    let (clock, health, _metrics, _tasks) = world();
    let database = health.dependency(Dependency::Database);
    assert!(health.is_ready(), "nothing is known to be down");
    database.ok(Some(Duration::from_micros(1500)));
    *clock.0.lock() = Duration::from_secs(60);
    database.down(&"10.0.0.1 refused");
    *clock.0.lock() = Duration::from_secs(120);
    database.down(&"10.0.0.1 refused");
    assert!(!health.is_ready());
    let status = health.dependencies().remove(0);
    let whole = status.to_json(true);
    assert_eq!(whole["state"], "down");
    assert_eq!(whole["since"], "1970-01-01T00:01:00.000Z");
    assert_eq!(whole["latency_ms"], 1.5);
    assert_eq!(whole["last_error"], "10.0.0.1 refused");
    assert_eq!(whole["last_error_at"], "1970-01-01T00:02:00.000Z");
    let part = status.to_json(false).to_string();
    assert!(!part.contains("10.0.0.1"), "{part}");
    database.ok(None);
    assert!(health.is_ready());
}

#[test]
fn what_the_gate_can_do_without_does_not_make_it_unready() {
    let (_clock, health, _metrics, _tasks) = world();
    for what in Dependency::ALL.iter().filter(|what| !what.is_required()) {
        health.dependency(*what).down(&"gone");
    }
    assert!(health.is_ready());
}

#[tokio::test]
async fn one_that_is_still_ending_has_no_say_over_its_successor() {
    let (_clock, health, _metrics, tasks) = world();
    let (first, late) = (CancellationToken::new(), CancellationToken::new());
    let wait = late.clone();
    tasks.supervise_of(Task::Upstream, "a", first.clone(), move |stop| {
        let wait = wait.clone();
        async move {
            stop.cancelled().await;
            wait.cancelled().await;
        }
    });
    let run = |stop: CancellationToken| async move { stop.cancelled().await };
    first.cancel();
    tasks.supervise_of(Task::Upstream, "a", CancellationToken::new(), run);
    late.cancel();
    tasks.supervise_of(Task::Upstream, "b", late.clone(), run);
    until(|| {
        health
            .tasks()
            .iter()
            .all(|one| one.of.as_deref() != Some("b"))
    })
    .await;
    assert_eq!(only(&health).state, State::Ok);
}

#[test]
fn what_was_forgotten_stays_so() {
    let (_clock, health, _metrics, _tasks) = world();
    let gone = health.dependency_of(Dependency::Issuer, "a");
    health.dependency_of(Dependency::Issuer, "b").ok(None);
    health.keep_only(Dependency::Issuer, &["b"]);
    gone.down(&"late");
    let left = health.dependencies();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].of.as_deref(), Some("b"));
}

#[test]
fn of_two_of_one_name_the_one_that_came_last_has_the_say() {
    let (_clock, health, _metrics, _tasks) = world();
    let ending = health.new_dependency_of(Dependency::Sink, "siem");
    let begun = health.new_dependency_of(Dependency::Sink, "siem");
    begun.ok(None);
    ending.down(&"late");
    ending.forget();
    let left = health.dependencies();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].state, State::Ok);
}

#[test]
fn a_long_error_is_cut() {
    let (_clock, health, _metrics, _tasks) = world();
    let shared = health.dependency(Dependency::Shared);
    shared.degraded(&"é".repeat(ERROR_MAX));
    let (error, _) = health.dependencies().remove(0).last_error.unwrap();
    assert!(error.len() <= ERROR_MAX + '…'.len_utf8());
}
