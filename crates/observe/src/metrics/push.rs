//! Pushing: all numbers to a collector, once in each interval and a last time when the gate ends.
//!
//! What is sent is the sum since the beginning. A push that fails loses nothing, because the next one says all that it
//! would have said; so nothing is kept for later, and nothing is tried again before its time. What numbers look like on
//! the wire is `otlp`, the way there [`crate::otlp`].

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use policy::Clock;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::otlp::{self, History};
use super::{Metrics, PushOutcome};
use crate::health::{Dependency, Health};
use crate::otlp::{Endpoint, Tried};

/// How long a push may take.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last one may take, when the gate stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);

/// Where metrics are pushed, and how often.
#[derive(Debug, Clone)]
pub struct Pushing {
    /// Where they are posted, with what.
    pub endpoint: Endpoint,
    /// From one push to the next.
    pub interval: Duration,
}

/// Takes metrics to the collector. Cloning is cheap, and clones are the same.
#[derive(Debug, Clone)]
pub struct Pusher {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    /// `None`: nothing is pushed.
    settings: ArcSwapOption<Pushing>,
    changed: Notify,
    history: Mutex<History>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Pusher {
    /// Pushes nothing until it is told where. `metrics` count from now on.
    #[must_use]
    pub fn new(metrics: Metrics, clock: Arc<dyn Clock>) -> Self {
        let history = Mutex::new(History::new(nanos(&*clock)));
        Self {
            inner: Arc::new(Inner {
                metrics,
                clock,
                settings: ArcSwapOption::empty(),
                changed: Notify::new(),
                history,
            }),
        }
    }

    /// Takes over other settings. `None`: nothing is pushed from now on.
    pub fn set(&self, settings: Option<Pushing>) {
        self.inner.settings.store(settings.map(Arc::new));
        self.inner.changed.notify_one();
    }

    /// Pushes until `stop`, and then a last time, if that does not take long. Says in `health` how it goes.
    pub async fn run(&self, client: &net::Client, health: &Health, stop: &CancellationToken) {
        let inner = &*self.inner;
        // What the collector wants to be left alone for.
        let (mut last, mut pause) = (Instant::now(), Duration::ZERO);
        loop {
            let settings = inner.settings.load_full();
            let component = health.dependency(Dependency::Metrics);
            let due = async {
                let Some(pushing) = &settings else {
                    component.forget();
                    return pending().await;
                };
                sleep_until(last + pushing.interval.max(pause)).await;
                pushing
            };
            let pushing = tokio::select! {
                () = stop.cancelled() => break,
                () = inner.changed.notified() => {
                    pause = Duration::ZERO;
                    continue;
                }
                pushing = due => pushing,
            };
            last = Instant::now();
            let push = self.push(client, health, pushing, PUSH_TIMEOUT);
            // What one says that is given up here, the last one says as well.
            match stop.run_until_cancelled(push).await {
                Some(wait) => pause = wait.unwrap_or_default(),
                None => break,
            }
        }
        if let Some(pushing) = inner.settings.load_full() {
            self.push(client, health, &pushing, LAST_TIMEOUT).await;
        }
    }

    /// Pushes once; for how long the collector wants to be left alone.
    async fn push(
        &self,
        client: &net::Client,
        health: &Health,
        pushing: &Pushing,
        within: Duration,
    ) -> Option<Duration> {
        let metrics = &self.inner.metrics;
        let component = health.dependency(Dependency::Metrics);
        let body = self.body(&pushing.endpoint);
        let began = Instant::now();
        let post = pushing.endpoint.post(client, body, otlp::rejected);
        let silent = |_elapsed| Tried::Later("it does not answer".to_owned(), None);
        let tried = timeout(within, post).await.unwrap_or_else(silent);
        let (why, wait) = match tried {
            Tried::Taken => {
                metrics.pushed(PushOutcome::Ok);
                component.ok(Some(began.elapsed()));
                return None;
            }
            Tried::Partly(lost, why) => {
                metrics.pushed(PushOutcome::Partly);
                component.degraded(&format_args!("it did not take {lost} numbers: {why}"));
                return None;
            }
            Tried::Later(why, wait) => (why, wait),
            Tried::Never(why) => (why, None),
        };
        metrics.pushed(PushOutcome::Failed);
        component.down(&why);
        wait
    }

    fn body(&self, endpoint: &Endpoint) -> Vec<u8> {
        let inner = &*self.inner;
        let groups = inner.metrics.snapshot();
        let mut history = inner.history.lock();
        let looked = history.look(&groups, nanos(&*inner.clock));
        otlp::request(&looked, &endpoint.resource, inner.metrics.inner.version)
    }
}

impl Pushing {
    /// Tries the collector, with no number at all.
    ///
    /// # Errors
    /// Why it takes none.
    pub async fn probe(&self, client: &net::Client) -> Result<(), String> {
        let mut nothing = History::new(0);
        let looked = nothing.look(&[], 0);
        let body = otlp::request(&looked, &self.endpoint.resource, env!("CARGO_PKG_VERSION"));
        let tried = self.endpoint.post(client, body, otlp::rejected).await;
        tried.probed()
    }
}

/// In nanoseconds since 1970.
fn nanos(clock: &dyn Clock) -> u64 {
    let since = clock.wall().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
