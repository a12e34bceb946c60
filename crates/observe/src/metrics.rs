//! All metrics, in one list. Labels come from closed sets: methods, codes, limits, upstreams.

use std::sync::Arc;
use std::time::Duration;

use policy::UpstreamId;
use policy::screen::Found;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::health::Task;

use crate::Stages;

/// What [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of the duration buckets, in seconds.
const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0,
];

/// Stands for the principal in labels: naming each would make as many series as there are users.
const NOBODY: &str = "-";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    status_code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit_key: String,
    user_id: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScreenedLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    task: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// All metrics of one gate. Cloning is cheap, and clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    // Always `get_or_create_owned`: a guard of `get_or_create` that is still held when the same family is
    // asked again deadlocks.
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    limit_hits: Family<LimitLabels, Counter>,
    upstream_up: Family<UpstreamLabels, Gauge>,
    upstream_restarts: Family<UpstreamLabels, Counter>,
    pins_withheld: Family<UpstreamLabels, Gauge>,
    screened: Family<ScreenedLabels, Counter>,
    sessions: Gauge,
    calls_in_flight: Gauge,
    shared_up: Gauge,
    audit_waiting: Gauge,
    audit_refused: Counter,
    refusals_unrecorded: Counter,
    task_restarts: Family<TaskLabels, Counter>,
}

impl Metrics {
    /// All metrics at zero. `version` is the program's.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::default();
        let requests = Family::new_with_constructor(histogram as fn() -> Histogram);
        let stages = Family::new_with_constructor(histogram as fn() -> Histogram);
        let limit_hits = Family::default();
        let upstream_up = Family::default();
        let upstream_restarts = Family::default();
        let pins_withheld = Family::default();
        let screened = Family::default();
        let (sessions, calls_in_flight) = (Gauge::default(), Gauge::default());
        let audit_waiting = Gauge::default();
        let shared_up = Gauge::default();
        let (audit_refused, refusals_unrecorded) = (Counter::default(), Counter::default());
        let task_restarts = Family::default();

        // The encoder adds `_total` to counters and `_info` to the build's.
        let build = Info::new(BuildLabels { version });
        registry.register("portcullis_build", "Version of this program", build);
        registry.register(
            "mcp_request_duration_seconds",
            "Time from a request's arrival to the end of its reply",
            Family::clone(&requests),
        );
        registry.register(
            "portcullis_stage_duration_seconds",
            "Time that calls spend in each stage of their way",
            Family::clone(&stages),
        );
        registry.register(
            "mcp_rate_limit_hits",
            "Calls refused by a rate limit",
            Family::clone(&limit_hits),
        );
        registry.register(
            "portcullis_upstream_up",
            "Whether the upstream is connected",
            Family::clone(&upstream_up),
        );
        registry.register(
            "portcullis_upstream_restarts",
            "How often the upstream was started again",
            Family::clone(&upstream_restarts),
        );
        registry.register(
            "portcullis_pins_withheld",
            "Definitions that nobody has approved as they are",
            Family::clone(&pins_withheld),
        );
        registry.register(
            "portcullis_screened",
            "What screening found, by kind",
            Family::clone(&screened),
        );
        registry.register(
            "portcullis_sessions",
            "Sessions of legacy clients",
            Gauge::clone(&sessions),
        );
        registry.register(
            "portcullis_calls_in_flight",
            "Calls that came and are not answered yet",
            Gauge::clone(&calls_in_flight),
        );
        registry.register(
            "portcullis_shared_up",
            "Whether rate limits are counted where they should be: in the shared store, or in memory if there is none",
            Gauge::clone(&shared_up),
        );
        registry.register(
            "portcullis_audit_waiting",
            "Calls that wait for their record to be on the disk",
            Gauge::clone(&audit_waiting),
        );
        registry.register(
            "portcullis_audit_refused",
            "Calls refused because the audit log had no place",
            Counter::clone(&audit_refused),
        );
        registry.register(
            "portcullis_refusals_unrecorded",
            "Refused requests of strangers that were too many to be recorded one by one",
            Counter::clone(&refusals_unrecorded),
        );
        registry.register(
            "portcullis_task_restarts",
            "How often a task that runs beside the calls ended and was begun anew",
            Family::clone(&task_restarts),
        );
        Self {
            inner: Arc::new(Inner {
                registry,
                requests,
                stages,
                limit_hits,
                upstream_up,
                upstream_restarts,
                pins_withheld,
                screened,
                sessions,
                calls_in_flight,
                shared_up,
                audit_waiting,
                audit_refused,
                refusals_unrecorded,
                task_restarts,
            }),
        }
    }

    /// A request was answered. `method` is a name from the table of methods, never the client's word.
    pub fn request(&self, method: &'static str, status_code: u16, took: Duration) {
        let labels = RequestLabels {
            method,
            status_code,
        };
        self.inner
            .requests
            .get_or_create_owned(&labels)
            .observe(took.as_secs_f64());
    }

    /// A call is over, and went through these stages.
    pub fn stages(&self, stages: &Stages) {
        for (stage, visit) in stages.iter() {
            let stage = stage.as_str();
            self.inner
                .stages
                .get_or_create_owned(&StageLabels { stage })
                .observe(visit.spent.as_secs_f64());
        }
    }

    /// A call was refused by the limit of this name.
    pub fn limit_hit(&self, limit_key: &str) {
        let labels = LimitLabels {
            limit_key: limit_key.to_owned(),
            user_id: NOBODY,
        };
        self.inner.limit_hits.get_or_create_owned(&labels).inc();
    }

    /// An upstream came up or went down.
    pub fn upstream_up(&self, upstream: &UpstreamId, up: bool) {
        self.inner
            .upstream_up
            .get_or_create_owned(&upstream_labels(upstream))
            .set(i64::from(up));
    }

    /// An upstream was started again.
    pub fn upstream_restarted(&self, upstream: &UpstreamId) {
        self.inner
            .upstream_restarts
            .get_or_create_owned(&upstream_labels(upstream))
            .inc();
    }

    /// So many definitions of an upstream are withheld.
    pub fn pins_withheld(&self, upstream: &UpstreamId, definitions: usize) {
        self.inner
            .pins_withheld
            .get_or_create_owned(&upstream_labels(upstream))
            .set(i64::try_from(definitions).unwrap_or(i64::MAX));
    }

    /// Screening found something.
    pub fn screened(&self, found: &Found) {
        for (kind, count) in found.iter() {
            let kind = kind.word();
            self.inner
                .screened
                .get_or_create_owned(&ScreenedLabels { kind })
                .inc_by(count.into());
        }
    }

    /// Counts a session until the guard is dropped.
    #[must_use]
    pub fn session(&self) -> Counted {
        Counted::new(&self.inner.sessions)
    }

    /// Counts a call in flight until the guard is dropped.
    #[must_use]
    pub fn call_in_flight(&self) -> Counted {
        Counted::new(&self.inner.calls_in_flight)
    }

    /// Counts a call that waits for the disk until the guard is dropped.
    #[must_use]
    pub fn audit_waiting(&self) -> Counted {
        Counted::new(&self.inner.audit_waiting)
    }

    /// The shared counters are there, or are not.
    pub fn shared_up(&self, up: bool) {
        self.inner.shared_up.set(i64::from(up));
    }

    /// A call was refused because the audit log had no place.
    pub fn audit_refused(&self) {
        self.inner.audit_refused.inc();
    }

    /// A stranger was refused, and it was not recorded.
    pub fn refusal_unrecorded(&self) {
        self.inner.refusals_unrecorded.inc();
    }

    /// A task beside the calls ended and begins anew.
    pub fn task_restarted(&self, task: Task) {
        let task = task.word();
        self.inner
            .task_restarts
            .get_or_create_owned(&TaskLabels { task })
            .inc();
    }

    /// All of them as OpenMetrics text; see [`CONTENT_TYPE`].
    ///
    /// # Panics
    /// Never: only a writer could fail, and a `String` does not.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.inner.registry).expect("writing to a String cannot fail");
        text
    }
}

/// Counts one, as long as it lives.
#[derive(Debug)]
pub struct Counted {
    gauge: Gauge,
}

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self {
            gauge: gauge.clone(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

fn upstream_labels(upstream: &UpstreamId) -> UpstreamLabels {
    UpstreamLabels {
        upstream: upstream.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests;
