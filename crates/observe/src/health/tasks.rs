//! The tasks that run beside the calls: each is run again when it ends without having been told to, and all are ended
//! in order.
//!
//! What a task does is its owner's; here is only that it does not end unnoticed. A task that panics or returns is down,
//! is counted, and begins anew after a pause that doubles; once it has gone well for a while it is well again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Component, Health};
use crate::Metrics;

/// How tasks that end are begun anew.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The first and the longest pause before a task begins anew.
    pub(super) pause_min: Duration,
    pub(super) pause_max: Duration,
    /// A task that has run for so long is well again, and its next pause is the shortest.
    pub(super) steady: Duration,
}

const PACE: Pace = Pace {
    pause_min: Duration::from_millis(100),
    pause_max: Duration::from_secs(30),
    steady: Duration::from_secs(60),
};
/// How long a task that is dropped may take to notice.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// What runs beside the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// The connection to an upstream, and its lists.
    Upstream,
    /// Old sessions, questions and consents.
    Sweep,
    /// Pins.
    Pins,
    /// Sessions of those who were revoked.
    Sever,
    /// Announcements of requests for consent.
    Announcements,
    /// Revocations by other processes, and uses of keys.
    Credentials,
    /// Quotas, and the store that gates share.
    Limits,
    /// How dependencies are.
    Probes,
    /// Records of what happens to the gate itself.
    Happenings,
    /// Checkpoints of the audit log.
    Checkpoints,
    /// Spans on their way to the collector.
    Traces,
    /// Metrics on theirs.
    Metrics,
    /// Records on their way to a sink, by its name.
    Sink,
    /// When the certificate ends that clients are shown.
    Certificates,
    /// Log filters that hold for a while.
    Logs,
    /// Whether somebody has to be told.
    Alerts,
}

/// When tasks are ended: one kind after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// What takes part in calls.
    Calls,
    /// What looks after the gate's state.
    Upkeep,
    /// What carries records away: late, so that nothing is lost of what the others said at their end.
    Records,
    /// What carries the numbers away, in which all of that is counted.
    Metrics,
}

impl Order {
    /// Its name on the reference page.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Upkeep => "upkeep",
            Self::Records => "records",
            Self::Metrics => "metrics",
        }
    }
}

impl Task {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Upstream,
        Self::Sweep,
        Self::Pins,
        Self::Sever,
        Self::Announcements,
        Self::Credentials,
        Self::Limits,
        Self::Probes,
        Self::Happenings,
        Self::Checkpoints,
        Self::Traces,
        Self::Metrics,
        Self::Sink,
        Self::Certificates,
        Self::Logs,
        Self::Alerts,
    ];

    /// Its name in health, logs and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Sweep => "sweep",
            Self::Pins => "pins",
            Self::Sever => "sever",
            Self::Announcements => "announcements",
            Self::Credentials => "credentials",
            Self::Limits => "limits",
            Self::Probes => "probes",
            Self::Happenings => "happenings",
            Self::Checkpoints => "checkpoints",
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Sink => "sink",
            Self::Certificates => "certificates",
            Self::Logs => "logs",
            Self::Alerts => "alerts",
        }
    }

    /// What it does, for the reference page.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Upstream => "connects to an upstream, by its alias, and keeps its lists",
            Self::Sweep => "ends sessions that nobody uses, questions and consents that are over",
            Self::Pins => "pins definitions, and takes over what was approved elsewhere",
            Self::Sever => "ends the sessions of those whose credentials were revoked",
            Self::Announcements => "tells people that somebody waits for their consent",
            Self::Credentials => {
                "takes over what was revoked elsewhere, and notes which keys were used"
            }
            Self::Limits => {
                "writes what was used of quotas, and keeps in touch with the shared store"
            }
            Self::Probes => "tries what the gate depends on",
            Self::Happenings => "records what happens to the gate itself",
            Self::Checkpoints => "signs for the audit log",
            Self::Traces => "takes spans to the collector",
            Self::Metrics => "pushes metrics to the collector",
            Self::Sink => "takes records of the audit log to a sink, by its name",
            Self::Certificates => "looks when the certificate ends that clients are shown",
            Self::Logs => "ends a log filter that was set for a while",
            Self::Alerts => "looks whether the gate is as it should be, and tells of it",
        }
    }

    /// When it is ended.
    #[must_use]
    pub fn order(self) -> Order {
        match self {
            Self::Upstream => Order::Calls,
            Self::Sweep
            | Self::Pins
            | Self::Sever
            | Self::Announcements
            | Self::Credentials
            | Self::Limits
            | Self::Probes
            | Self::Certificates
            | Self::Happenings
            | Self::Logs
            | Self::Alerts => Order::Upkeep,
            Self::Checkpoints | Self::Traces | Self::Sink => Order::Records,
            Self::Metrics => Order::Metrics,
        }
    }
}

/// All tasks of one gate. Cloning is cheap, and clones are the same.
#[derive(Debug, Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    health: Health,
    metrics: Metrics,
    pace: Pace,
    groups: [Group; 4],
}

/// Tasks that are ended together.
#[derive(Debug, Default)]
struct Group {
    /// Ends all, and keeps new ones from beginning.
    stop: CancellationToken,
    /// Of those that are not over yet: what ends each by force, and what it is called.
    running: Mutex<Vec<Running>>,
    tracker: TaskTracker,
}

#[derive(Debug)]
struct Running {
    task: Task,
    of: Option<String>,
    kill: CancellationToken,
    /// Gone when the task is.
    alive: std::sync::Weak<()>,
}

impl Tasks {
    /// None yet.
    #[must_use]
    pub fn new(health: Health, metrics: Metrics) -> Self {
        Self::at_pace(health, metrics, PACE)
    }

    pub(super) fn at_pace(health: Health, metrics: Metrics, pace: Pace) -> Self {
        Self {
            inner: Arc::new(Inner {
                health,
                metrics,
                pace,
                groups: Default::default(),
            }),
        }
    }

    /// Where they say how they are.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.inner.health
    }

    /// Runs a task until it is told to stop: `run` is called anew with the same token whenever what it returned ends
    /// before. Needs a runtime.
    pub fn supervise<F, R>(&self, task: Task, run: F)
    where
        F: FnMut(CancellationToken) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let stop = self.group(task).stop.child_token();
        self.spawn(task, None, stop, run);
    }

    /// The same for one of several, which also ends with `stop`, and is then no longer in health.
    pub fn supervise_of<F, R>(&self, task: Task, of: &str, stop: CancellationToken, run: F)
    where
        F: FnMut(CancellationToken) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.spawn(task, Some(of), stop, run);
    }

    fn group(&self, task: Task) -> &Group {
        self.of_order(task.order())
    }

    fn of_order(&self, order: Order) -> &Group {
        let [calls, upkeep, records, metrics] = &self.inner.groups;
        match order {
            Order::Calls => calls,
            Order::Upkeep => upkeep,
            Order::Records => records,
            Order::Metrics => metrics,
        }
    }

    fn spawn<F, R>(&self, task: Task, of: Option<&str>, stop: CancellationToken, run: F)
    where
        F: FnMut(CancellationToken) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let group = self.group(task);
        if group.stop.is_cancelled() {
            return;
        }
        let (kill, alive) = (CancellationToken::new(), Arc::new(()));
        {
            let mut running = group.running.lock();
            running.retain(|one| one.alive.strong_count() > 0);
            running.push(Running {
                task,
                of: of.map(str::to_owned),
                kill: kill.clone(),
                alive: Arc::downgrade(&alive),
            });
        }
        let watch = Watch {
            task,
            of: of.map(str::to_owned),
            component: self.inner.health.task(task, of),
            metrics: self.inner.metrics.clone(),
            pace: self.inner.pace,
            _alive: alive,
        };
        let all = group.stop.clone();
        group.tracker.spawn(async move {
            let told = stop.clone();
            let relay = async {
                all.cancelled().await;
                told.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = watch.keep(&stop, run) => {}
                () = relay => {}
                () = kill.cancelled() => {}
            }
        });
    }

    /// Tells the tasks of one kind to end, and gives them so long; those that do not are dropped and named. No new ones
    /// begin.
    pub async fn stop(&self, order: Order, within: Duration) {
        let group = self.of_order(order);
        group.stop.cancel();
        group.tracker.close();
        if timeout(within, group.tracker.wait()).await.is_ok() {
            return;
        }
        for one in std::mem::take(&mut *group.running.lock()) {
            if one.alive.strong_count() > 0 {
                let task = one.task.word();
                tracing::warn!(task, of = one.of, waited = ?within, "a task did not end in time");
                one.kill.cancel();
            }
        }
        // What blocks its thread cannot be dropped either; it was named.
        drop(timeout(KILL_TIMEOUT, group.tracker.wait()).await);
    }
}

/// What looks after one task.
struct Watch {
    task: Task,
    of: Option<String>,
    component: Component,
    metrics: Metrics,
    pace: Pace,
    _alive: Arc<()>,
}

impl Watch {
    async fn keep<F, R>(&self, stop: &CancellationToken, mut run: F)
    where
        F: FnMut(CancellationToken) -> R,
        R: Future<Output = ()>,
    {
        let mut pause = self.pace.pause_min;
        self.component.ok(None);
        loop {
            // Making the future may panic as well as running it. What either leaves behind is in the hands of those
            // whose state it is: locks here do not poison, and a task begins anew from what it finds.
            let attempt = AssertUnwindSafe(async { run(stop.clone()).await }).catch_unwind();
            let mut attempt = Box::pin(attempt);
            let ended = tokio::select! {
                ended = &mut attempt => ended,
                () = sleep(self.pace.steady) => {
                    self.component.ok(None);
                    pause = self.pace.pause_min;
                    attempt.await
                }
            };
            let why = match ended {
                Ok(()) if stop.is_cancelled() => break,
                Ok(()) => "it ended without having been told to",
                Err(_panic) => "it ended in a panic",
            };
            let (task, of) = (self.task.word(), self.of.as_deref());
            tracing::error!(task, of, why, again_in = ?pause, "a task ended and begins anew");
            self.component.down(&why);
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
            pause = (pause * 2).min(self.pace.pause_max);
            self.component.restarted();
            self.metrics.task_restarted(self.task);
            self.component.degraded(&why);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.of.is_some() {
            self.component.clone().forget();
        } else {
            self.component.stopped();
        }
    }
}
