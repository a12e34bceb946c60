//! Pushing: all numbers to a collector, soon after the start, once in each interval, and a last time when the gate ends.
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
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::otlp::{self, History, Then};
use super::{Metrics, PushOutcome};
use crate::health::{Dependency, Health};
use crate::otlp::{ANSWER_TIMEOUT, Endpoint, Tried, because};

/// How long after the start the first push is, if the interval is not shorter: whoever set it up wants to see it work, and
/// upstreams had time to begin.
const FIRST_WAIT: Duration = Duration::from_secs(5);
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
        let mut schedule = Schedule::new(Instant::now());
        loop {
            let settings = inner.settings.load_full();
            let component = health.dependency(Dependency::Metrics);
            if schedule.set(settings.clone()) {
                component.starting();
            }
            let due = async {
                let (Some(pushing), Some(due)) = (&settings, schedule.due()) else {
                    component.forget();
                    return pending().await;
                };
                sleep_until(due).await;
                pushing
            };
            let pushing = tokio::select! {
                () = stop.cancelled() => break,
                () = inner.changed.notified() => continue,
                pushing = due => pushing,
            };
            let began = Instant::now();
            let push = self.push(client, health, pushing, Then::GoesOn);
            // What one says that is given up here, the last one says as well.
            match stop.run_until_cancelled(push).await {
                Some(wait) => schedule.pushed(began, wait),
                None => break,
            }
        }
        if let Some(pushing) = inner.settings.load_full() {
            self.push(client, health, &pushing, Then::Ends).await;
        }
    }

    /// Pushes once; for how long the collector wants to be left alone.
    async fn push(
        &self,
        client: &net::Client,
        health: &Health,
        pushing: &Pushing,
        then: Then,
    ) -> Option<Duration> {
        let metrics = &self.inner.metrics;
        let component = health.dependency(Dependency::Metrics);
        let body = self.body(&pushing.endpoint, then);
        let began = Instant::now();
        let within = match then {
            Then::GoesOn => ANSWER_TIMEOUT,
            Then::Ends => LAST_TIMEOUT,
        };
        let post = pushing.endpoint.post(client, body, within, otlp::read);
        let (why, wait) = match post.await {
            Tried::Taken => {
                metrics.pushed(PushOutcome::Ok);
                component.ok(Some(began.elapsed()));
                return None;
            }
            Tried::Partly(lost, why) => {
                metrics.pushed(PushOutcome::Partly);
                let what = format!("it did not take {lost} numbers");
                component.degraded(&because(what, &why));
                return None;
            }
            Tried::Later(why, wait) => (why, wait),
            Tried::Never(why) => (why, None),
        };
        metrics.pushed(PushOutcome::Failed);
        component.down(&why);
        wait
    }

    fn body(&self, endpoint: &Endpoint, then: Then) -> Vec<u8> {
        let inner = &*self.inner;
        let groups = inner.metrics.snapshot();
        let mut history = inner.history.lock();
        let looked = history.look(&groups, nanos(&*inner.clock));
        let version = inner.metrics.inner.version;
        otlp::request(&looked, then, &endpoint.resource, version)
    }
}

/// When it is time for a push.
#[derive(Debug)]
struct Schedule {
    began: Instant,
    /// `None`: nowhere.
    to: Option<Arc<Pushing>>,
    /// When the last push there began, and how long the collector wanted to be left alone after it.
    last: Option<(Instant, Duration)>,
}

impl Schedule {
    fn new(began: Instant) -> Self {
        Self {
            began,
            to: None,
            last: None,
        }
    }

    /// Takes over settings. Whether they lead to another place: that is tried at once, for whoever set it waits to see it
    /// work, and nobody there asked to be left alone.
    fn set(&mut self, settings: Option<Arc<Pushing>>) -> bool {
        let is_another = match (&self.to, &settings) {
            (Some(before), Some(now)) => !now.endpoint.is_same_place(&before.endpoint),
            (None, to) => to.is_some(),
            (Some(_), None) => false,
        };
        self.to = settings;
        if is_another {
            self.last = None;
        }
        is_another
    }

    /// A push began then, after which the collector is to be left alone for so long.
    fn pushed(&mut self, began: Instant, wait: Option<Duration>) {
        self.last = Some((began, wait.unwrap_or_default()));
    }

    /// When the next is due, if anything is to be pushed.
    fn due(&self) -> Option<Instant> {
        let interval = self.to.as_ref()?.interval;
        Some(match self.last {
            Some((began, wait)) => began + interval.max(wait),
            None => self.began + interval.min(FIRST_WAIT),
        })
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
        let resource = &self.endpoint.resource;
        let body = otlp::request(&looked, Then::GoesOn, resource, env!("CARGO_PKG_VERSION"));
        let tried = self.endpoint.post(client, body, ANSWER_TIMEOUT, otlp::read);
        tried.await.probed()
    }
}

/// In nanoseconds since 1970.
fn nanos(clock: &dyn Clock) -> u64 {
    let since = clock.wall().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
