//! Metrics: where events are counted, and the gathering of all numbers when somebody asks.
//!
//! Names, kinds and labels are one list ([`Metric`]), which `docs/reference/metrics.md` is made from. What happens on a
//! call's way is counted here, by atomics and without hashing ([`Metrics::call`]); what can be looked up is looked up when
//! somebody asks ([`Metrics::at_scrape`]). Labels come from closed sets: methods, codes, limits, upstreams. How it is
//! written down is [`Format`]'s, and serving that `server`'s; pushing it to a collector is [`Pusher`]'s.

mod cell;
mod labels;
mod otlp;
mod process;
mod push;
mod sample;
mod table;
mod text;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use policy::screen::{Found, Kind as ScreenedKind};
use policy::{Clock, Instant, UpstreamId};
use store::Outcome;
use wire::Revision;

use self::cell::{COUNTS, Counter, Family, Gauge, Histogram, LIVES, number};
use self::labels::{Carried, Operation};
use crate::health::Task;
use crate::{Stage, Stages};

pub use self::cell::Distribution;
pub use self::labels::{AuthOutcome, Decided, PushOutcome, UpstreamOutcome};
pub use self::push::{Pusher, Pushing};
pub use self::sample::{Group, Sample, Samples, Value};
pub use self::table::{Kind, Label, Metric, Row, reference};
pub use self::text::Format;

/// Stands for the principal in labels: naming each would make as many series as there are users.
const NOBODY: &str = "-";

/// A call that is over.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// A name from the table of methods, never the client's word.
    pub method: &'static str,
    /// How it came in; a word of the doors'.
    pub transport: &'static str,
    /// Of the protocol; anything that is none counts as not said.
    pub revision: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Of the JSON-RPC error, if it was one.
    pub code: Option<i64>,
    /// What the rules said.
    pub decided: Decided,
    /// Where it was.
    pub stages: &'a Stages,
    /// From its arrival to its end.
    pub took: Duration,
}

/// A request to an upstream that is over.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamRequest<'a> {
    /// Whose.
    pub upstream: &'a UpstreamId,
    /// A name from the table of methods.
    pub method: &'static str,
    /// What carries it: `http`, `sse`, `websocket`, `stdio`, or anything else for what is in this process.
    pub transport: &'static str,
    /// The revision that is spoken with it, if any is.
    pub revision: Option<Revision>,
    /// How it ended.
    pub outcome: UpstreamOutcome,
    /// Of the JSON-RPC error that it answered with.
    pub code: Option<i64>,
    /// From sending to the answer.
    pub took: Duration,
}

/// Somebody who knows numbers that need not be counted, because they can be looked up.
type Source = Box<dyn Fn(&mut Samples) + Send + Sync>;

/// All metrics of one gate. Cloning is cheap, and clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    version: &'static str,
    sources: RwLock<Vec<Source>>,
    requests: Family<(&'static str, u16), Histogram>,
    operations: Family<Operation, Histogram>,
    sessions_ended: Family<Carried, Histogram>,
    stages: [Histogram; Stage::ALL.len()],
    decisions: [Counter; Decided::ALL.len()],
    rejections: Family<&'static str, Counter>,
    limit_hits: Family<String, Counter>,
    screened: [Counter; ScreenedKind::ALL.len()],
    upstream_requests: Family<(UpstreamId, UpstreamOutcome), Histogram>,
    upstream_calls: Family<UpstreamId, Gauge>,
    upstream_operations: Family<Operation, Histogram>,
    upstream_lives: Family<(Option<Revision>, Carried), Histogram>,
    auth_attempts: Family<(&'static str, AuthOutcome), Counter>,
    task_restarts: [Counter; Task::ALL.len()],
    sink_lags: Family<String, Gauge>,
    sink_errors: Family<String, Counter>,
    sink_refused: Family<String, Counter>,
    pushes: [Counter; PushOutcome::ALL.len()],
    sessions: Gauge,
    streams: Gauge,
    calls_in_flight: Gauge,
    connections: Gauge,
    connections_failed: Counter,
    handshakes_failed: Counter,
    audit_waiting: Gauge,
    audit_size: Gauge,
    audit_unsigned: Gauge,
    audit_signed_at: Gauge,
    audit_records: Counter,
    audit_refused: Counter,
    refusals_unrecorded: Counter,
    commits: Histogram,
    commit_sizes: Histogram,
    commit_failures: Counter,
    journal: Histogram,
    journal_failures: Counter,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All metrics at zero. `version` is the program's.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let inner = Inner {
            version,
            sources: RwLock::default(),
            requests: Family::default(),
            operations: Family::default(),
            sessions_ended: Family::default(),
            stages: std::array::from_fn(|_| Histogram::default()),
            decisions: std::array::from_fn(|_| Counter::default()),
            rejections: Family::default(),
            limit_hits: Family::default(),
            screened: std::array::from_fn(|_| Counter::default()),
            upstream_requests: Family::default(),
            upstream_calls: Family::default(),
            upstream_operations: Family::default(),
            upstream_lives: Family::default(),
            auth_attempts: Family::default(),
            task_restarts: std::array::from_fn(|_| Counter::default()),
            sink_lags: Family::default(),
            sink_errors: Family::default(),
            sink_refused: Family::default(),
            pushes: std::array::from_fn(|_| Counter::default()),
            sessions: Gauge::default(),
            streams: Gauge::default(),
            calls_in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_failed: Counter::default(),
            handshakes_failed: Counter::default(),
            audit_waiting: Gauge::default(),
            audit_size: Gauge::default(),
            audit_unsigned: Gauge::default(),
            audit_signed_at: Gauge::default(),
            audit_records: Counter::default(),
            audit_refused: Counter::default(),
            refusals_unrecorded: Counter::default(),
            commits: Histogram::default(),
            commit_sizes: Histogram::new(&COUNTS),
            commit_failures: Counter::default(),
            journal: Histogram::default(),
            journal_failures: Counter::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Has `source` asked whenever somebody wants to know the numbers, for as long as the gate lives. It looks things up
    /// and waits for nothing.
    pub fn at_scrape(&self, source: impl Fn(&mut Samples) + Send + Sync + 'static) {
        self.inner.sources.write().push(Box::new(source));
    }

    /// A call was answered, or given up.
    pub fn call(&self, call: &Call<'_>) {
        let inner = &*self.inner;
        let took = |histogram: &Histogram| histogram.took(call.took);
        let key = (call.method, call.status);
        inner.requests.at(&key, Histogram::default, took);
        let operation = Operation {
            method: labels::mcp_method(call.method),
            error: labels::error(call.outcome, call.code),
            revision: Revision::parse(call.revision),
            carried: Carried::by(call.transport),
        };
        inner.operations.at(&operation, Histogram::default, took);
        for (stage, visit) in call.stages.iter() {
            if let Some(histogram) = inner.stages.get(stage as usize) {
                histogram.took(visit.spent);
            }
        }
        if let Some(decisions) = inner.decisions.get(call.decided as usize) {
            decisions.add(1);
        }
    }

    /// A request got no answer; `reason` is a row's name in the table of errors.
    pub fn rejected(&self, reason: &'static str) {
        let rejections = &self.inner.rejections;
        rejections.at(&reason, Counter::default, |count| count.add(1));
    }

    /// A call was refused by the limit of this name, which is built in or the config's.
    pub fn limit_hit(&self, limit_key: &str) {
        let hits = &self.inner.limit_hits;
        hits.at(&limit_key.to_owned(), Counter::default, |count| {
            count.add(1);
        });
    }

    /// Screening found something.
    pub fn screened(&self, found: &Found) {
        for (kind, count) in found.iter() {
            if let Some(counter) = self.inner.screened.get(kind as usize) {
                counter.add(count.into());
            }
        }
    }

    /// Counts a call that an upstream is at, until the guard is dropped.
    #[must_use]
    pub fn upstream_call(&self, upstream: &UpstreamId) -> Counted {
        let mut counted = None;
        self.inner
            .upstream_calls
            .at(upstream, Gauge::default, |gauge| {
                counted = Some(Counted::new(gauge));
            });
        counted.unwrap_or_else(|| Counted::new(&Gauge::default()))
    }

    /// An upstream was asked something, and that is over.
    pub fn upstream_request(&self, request: &UpstreamRequest<'_>) {
        let inner = &*self.inner;
        let took = |histogram: &Histogram| histogram.took(request.took);
        let key = (request.upstream.clone(), request.outcome);
        inner.upstream_requests.at(&key, Histogram::default, took);
        let operation = Operation {
            method: labels::mcp_method(request.method),
            error: request.outcome.error(request.code),
            revision: request.revision,
            carried: Carried::by(request.transport),
        };
        inner
            .upstream_operations
            .at(&operation, Histogram::default, took);
    }

    /// A connection to an upstream ended, which lasted so long.
    pub fn upstream_ended(
        &self,
        revision: Option<Revision>,
        transport: &'static str,
        lasted: Duration,
    ) {
        let key = (revision, Carried::by(transport));
        let new = || Histogram::new(&LIVES);
        let lives = &self.inner.upstream_lives;
        lives.at(&key, new, |life| life.took(lasted));
    }

    /// The config has these upstreams from now on: others have no series any more.
    pub fn upstreams_are(&self, is_known: impl Fn(&UpstreamId) -> bool) {
        let inner = &*self.inner;
        inner.upstream_requests.retain(|(id, _)| is_known(id));
        inner.upstream_calls.retain(is_known);
    }

    /// Somebody said who they are; `kind` is the credential's form.
    pub fn auth_attempt(&self, kind: &'static str, outcome: AuthOutcome) {
        let attempts = &self.inner.auth_attempts;
        attempts.at(&(kind, outcome), Counter::default, |count| count.add(1));
    }

    /// A task beside the calls ended and begins anew.
    pub fn task_restarted(&self, task: Task) {
        if let Some(restarts) = self.inner.task_restarts.get(task as usize) {
            restarts.add(1);
        }
    }

    /// So many records of the audit log are not at a sink's receiver.
    pub fn audit_sink_lag(&self, sink: &str, records: u64) {
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        let lags = &self.inner.sink_lags;
        lags.at(&sink.to_owned(), Gauge::default, |lag| lag.set(records));
        // So that there is a series before there is anything to count.
        for counters in [&self.inner.sink_errors, &self.inner.sink_refused] {
            counters.at(&sink.to_owned(), Counter::default, |_counter| {});
        }
    }

    /// A sink's receiver did not take a batch.
    pub fn audit_sink_error(&self, sink: &str) {
        let errors = &self.inner.sink_errors;
        errors.at(&sink.to_owned(), Counter::default, |count| count.add(1));
    }

    /// A sink's receiver will never take these records.
    pub fn audit_sink_refused(&self, sink: &str, records: u64) {
        let refused = &self.inner.sink_refused;
        refused.at(&sink.to_owned(), Counter::default, |count| {
            count.add(records);
        });
    }

    /// There is no such sink any more.
    pub fn audit_sink_gone(&self, sink: &str) {
        self.inner.sink_lags.retain(|name| name != sink);
        self.inner.sink_errors.retain(|name| name != sink);
        self.inner.sink_refused.retain(|name| name != sink);
    }

    /// All of them were sent to the collector, or were to be.
    pub fn pushed(&self, outcome: PushOutcome) {
        if let Some(pushes) = self.inner.pushes.get(outcome as usize) {
            pushes.add(1);
        }
    }

    /// Counts a session until the guard is dropped, and how long it lasted then.
    #[must_use]
    pub fn session(&self, transport: &'static str, clock: &Arc<dyn Clock>) -> Counted {
        let mut counted = Counted::new(&self.inner.sessions);
        counted.life = Some(Life {
            metrics: self.clone(),
            carried: Carried::by(transport),
            began: clock.now(),
            clock: Arc::clone(clock),
        });
        counted
    }

    /// Counts a stream on which a client is told of changes, until the guard is dropped.
    #[must_use]
    pub fn stream(&self) -> Counted {
        Counted::new(&self.inner.streams)
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

    /// Counts a client's connection until the guard is dropped.
    #[must_use]
    pub fn connection(&self) -> Counted {
        Counted::new(&self.inner.connections)
    }

    /// A client's connection could not be accepted.
    pub fn connection_failed(&self) {
        self.inner.connections_failed.add(1);
    }

    /// A client's TLS handshake failed.
    pub fn handshake_failed(&self) {
        self.inner.handshakes_failed.add(1);
    }

    /// A call was refused because the audit log had no place.
    pub fn audit_refused(&self) {
        self.inner.audit_refused.add(1);
    }

    /// A stranger was refused, and it was not recorded.
    pub fn refusal_unrecorded(&self) {
        self.inner.refusals_unrecorded.add(1);
    }

    /// The audit log has so many records, and a checkpoint covers so many of them.
    pub fn audit_log(&self, records: u64, signed: u64) {
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.inner.audit_size.set(whole(records));
        let unsigned = records.saturating_sub(signed);
        self.inner.audit_unsigned.set(whole(unsigned));
    }

    /// A checkpoint of the audit log was signed.
    pub fn audit_signed(&self, at: SystemTime) {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        self.inner.audit_signed_at.set(at);
    }

    /// All numbers of this moment, in the order of the table; metrics without a sample are there as well.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Group> {
        let mut samples = Samples::default();
        self.inner.sample(&mut samples);
        process::sample(&mut samples);
        for source in &*self.inner.sources.read() {
            source(&mut samples);
        }
        samples.groups()
    }

    /// All of them as text.
    #[must_use]
    pub fn encode(&self, format: Format) -> String {
        text::encode(&self.snapshot(), format)
    }
}

impl store::Watch for Metrics {
    fn committed(&self, changes: usize, records: usize, took: Duration) {
        self.inner.commits.took(took);
        self.inner.commit_sizes.saw(changes as u64);
        self.inner.audit_records.add(records as u64);
    }

    fn failed(&self) {
        self.inner.commit_failures.add(1);
    }

    fn journaled(&self, took: Duration) {
        self.inner.journal.took(took);
    }

    fn journal_failed(&self) {
        self.inner.journal_failures.add(1);
    }
}

impl Inner {
    /// What was counted here.
    fn sample(&self, samples: &mut Samples) {
        samples.set(Metric::Build, &[self.version], 1.0);
        self.requests.each(|(method, status), seen| {
            let labels = [method, &*status.to_string()];
            samples.distribution(Metric::RequestDuration, &labels, seen);
        });
        for (operations, metric) in [
            (&self.operations, Metric::ServerOperationDuration),
            (&self.upstream_operations, Metric::ClientOperationDuration),
        ] {
            operations.each(|operation, seen| {
                samples.distribution(metric, &operation.labels(), seen);
            });
        }
        self.sessions_ended.each(|carried, seen| {
            let labels = [carried.protocol(), carried.transport()];
            samples.distribution(Metric::ServerSessionDuration, &labels, seen);
        });
        self.upstream_lives.each(|(revision, carried), seen| {
            let revision = revision.map_or("", Revision::as_str);
            let labels = [revision, carried.protocol(), carried.transport()];
            samples.distribution(Metric::ClientSessionDuration, &labels, seen);
        });
        for (stage, seen) in Stage::ALL.iter().zip(&self.stages) {
            samples.distribution(Metric::StageDuration, &[stage.as_str()], seen);
        }
        self.upstream_requests.each(|(upstream, outcome), seen| {
            let labels = [upstream.as_str(), outcome.word()];
            samples.distribution(Metric::UpstreamRequestDuration, &labels, seen);
        });
        samples.distribution(Metric::CommitDuration, &[], &self.commits);
        samples.distribution(Metric::JournalDuration, &[], &self.journal);
        samples.distribution(Metric::CommitSize, &[], &self.commit_sizes);
        self.sample_counters(samples);
        self.sink_lags.each(|sink, gauge| {
            samples.set(Metric::SinkLag, &[sink], level(gauge.get()));
        });
        self.upstream_calls.each(|upstream, gauge| {
            samples.set(
                Metric::UpstreamCalls,
                &[upstream.as_str()],
                level(gauge.get()),
            );
        });
        for (metric, gauge) in [
            (Metric::Sessions, &self.sessions),
            (Metric::Streams, &self.streams),
            (Metric::CallsInFlight, &self.calls_in_flight),
            (Metric::Connections, &self.connections),
            (Metric::AuditWaiting, &self.audit_waiting),
            (Metric::AuditSize, &self.audit_size),
            (Metric::AuditUnsigned, &self.audit_unsigned),
            (Metric::AuditCheckpoint, &self.audit_signed_at),
        ] {
            samples.set(metric, &[], level(gauge.get()));
        }
    }

    fn sample_counters(&self, samples: &mut Samples) {
        let mut add = |metric, labels: &[&str], counter: &Counter| {
            samples.set(metric, labels, number(counter.get()));
        };
        for (decided, counter) in Decided::ALL.iter().zip(&self.decisions) {
            add(Metric::Decisions, &[decided.word()], counter);
        }
        for (kind, counter) in ScreenedKind::ALL.iter().zip(&self.screened) {
            add(Metric::Screened, &[kind.word()], counter);
        }
        self.rejections
            .each(|reason, counter| add(Metric::Rejections, &[reason], counter));
        self.limit_hits
            .each(|limit, counter| add(Metric::LimitHits, &[limit, NOBODY], counter));
        self.auth_attempts.each(|(kind, outcome), counter| {
            add(Metric::AuthAttempts, &[kind, outcome.word()], counter);
        });
        for (task, counter) in Task::ALL.iter().zip(&self.task_restarts) {
            add(Metric::TaskRestarts, &[task.word()], counter);
        }
        for (outcome, counter) in PushOutcome::ALL.iter().zip(&self.pushes) {
            add(Metric::MetricPushes, &[outcome.word()], counter);
        }
        self.sink_errors
            .each(|sink, counter| add(Metric::SinkErrors, &[sink], counter));
        self.sink_refused
            .each(|sink, counter| add(Metric::SinkRefused, &[sink], counter));
        for (metric, counter) in [
            (Metric::ConnectionsFailed, &self.connections_failed),
            (Metric::HandshakesFailed, &self.handshakes_failed),
            (Metric::AuditRefused, &self.audit_refused),
            (Metric::RefusalsUnrecorded, &self.refusals_unrecorded),
            (Metric::CommitFailures, &self.commit_failures),
            (Metric::JournalFailures, &self.journal_failures),
            (Metric::AuditRecords, &self.audit_records),
        ] {
            add(metric, &[], counter);
        }
    }
}

/// Counts one, as long as it lives.
#[derive(Debug)]
pub struct Counted {
    gauge: Gauge,
    life: Option<Life>,
}

/// What is told of a session when it ends.
#[derive(Debug)]
struct Life {
    metrics: Metrics,
    carried: Carried,
    began: Instant,
    clock: Arc<dyn Clock>,
}

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.add(1);
        Self {
            gauge: gauge.clone(),
            life: None,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.add(-1);
        if let Some(life) = self.life.take() {
            let lasted = life.clock.now().since(life.began);
            let ended = &life.metrics.inner.sessions_ended;
            let new = || Histogram::new(&LIVES);
            ended.at(&life.carried, new, |seen| seen.took(lasted));
        }
    }
}

/// What a gauge stands at, as it is exported.
fn level(value: i64) -> f64 {
    let size = number(value.unsigned_abs());
    if value < 0 { -size } else { size }
}

#[cfg(test)]
mod tests;
