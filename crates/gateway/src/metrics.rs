//! What the gate knows of numbers: those that it looks up when somebody asks, and the time that an upstream takes.
//!
//! Which metrics there are is `observe`'s, and so is counting what ends with a record.

use std::sync::Arc;

use auth::AuthError;
use observe::{AuthOutcome, Counted, Metric, Metrics, Samples, UpstreamOutcome, UpstreamRequest};
use policy::{Clock, Instant};
use upstream::{Link, Snapshot, State};
use wire::{Method, Outcome, json};

use crate::call::Yield;
use crate::{Gate, Rejection};

impl Gate {
    /// Has metrics look at this gate, for as long as it is there.
    pub(crate) fn tell_metrics(self: &Arc<Self>) {
        self.parts.store.watch(Arc::new(self.parts.metrics.clone()));
        let gate = Arc::downgrade(self);
        self.parts.metrics.at_scrape(move |samples| {
            if let Some(gate) = gate.upgrade() {
                gate.sample(samples);
            }
        });
    }

    fn sample(&self, samples: &mut Samples) {
        samples.flag(Metric::Ready, &[], self.is_ready());
        self.sample_upstreams(samples);
        let catalog = &self.view().catalog;
        let entries = [
            ("tool", catalog.tools.len()),
            ("prompt", catalog.prompts.len()),
            ("resource", catalog.resources.len()),
            ("resource_template", catalog.templates.len()),
        ];
        for (kind, count) in entries {
            samples.count(Metric::CatalogEntries, &[kind], count);
        }
        let cache = self.schemas.status();
        let (results, results_bytes) = self.desk.results.size();
        let counts = [
            (Metric::Parked, self.desk.parked()),
            (Metric::Results, results),
            (Metric::ResultsBytes, results_bytes),
            (Metric::SchemaCacheEntries, cache.entries),
            (Metric::SchemaCacheBytes, cache.bytes),
            (Metric::SchemaCacheHits, whole(cache.hits)),
            (Metric::SchemaCacheMisses, whole(cache.misses)),
            (Metric::ConsentsWaiting, self.consents.waiting()),
        ];
        for (metric, count) in counts {
            samples.count(metric, &[], count);
        }
        for (answer, count) in self.consents.tally() {
            samples.count(Metric::Consents, &[answer], whole(count));
        }
        self.counters.sample(samples);
        let store = &self.parts.store;
        samples.flag(Metric::AuditWritable, &[], store.is_writable());
        let backlog = store.backlog();
        samples.count(Metric::AuditQueue, &[], backlog.taken);
        let lag = backlog.oldest.unwrap_or_default().as_secs_f64();
        samples.set(Metric::AuditLag, &[], lag);
        let connections = self.parts.client.connections();
        samples.count(Metric::PoolIdle, &[], connections.idle);
        samples.count(Metric::PoolOpened, &[], whole(connections.opened));
        let issuers = self.parts.auth.issuers();
        let fetches = [
            ("ok", issuers.iter().map(|one| one.fetches).sum()),
            ("failed", issuers.iter().map(|one| one.failures).sum()),
        ];
        for (outcome, count) in fetches {
            samples.count(Metric::JwksFetches, &[outcome], whole(count));
        }
    }

    fn sample_upstreams(&self, samples: &mut Samples) {
        let pinned = self.pins.snapshot();
        for running in &*self.links.lock() {
            let (link, snapshot) = (&running.link, running.link.snapshot());
            let labels = [link.id().as_str()];
            // One that waits for somebody to connect is neither up nor down, and nobody is to be woken for it.
            if snapshot.state != State::Waiting {
                let is_up = snapshot.state == State::Ready;
                samples.flag(Metric::UpstreamUp, &labels, is_up);
            }
            let restarts = whole(snapshot.restarts.into());
            samples.count(Metric::UpstreamRestarts, &labels, restarts);
            samples.count(Metric::UpstreamLanes, &labels, link.lanes());
            let withheld = pinned.withheld(&running.known);
            samples.count(Metric::PinsWithheld, &labels, withheld);
        }
    }
}

/// A connection to an upstream that ended between two snapshots, for metrics.
pub(crate) fn tell_of_end(metrics: &Metrics, link: &Link, before: &Snapshot, now: &Snapshot) {
    let was_up = before.state == State::Ready && !link.is_in_process();
    let is_another = now.state != State::Ready || before.restarts != now.restarts;
    if was_up && is_another {
        let lasted = now.since.since(before.since);
        metrics.upstream_ended(before.revision, link.transport_word(), lasted);
    }
}

fn whole(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// How a try to prove who is calling ended, for metrics.
pub(crate) fn attempted<T>(tried: &Result<T, AuthError>) -> AuthOutcome {
    match tried {
        Ok(_) => AuthOutcome::Ok,
        Err(AuthError::Missing) => AuthOutcome::Missing,
        Err(AuthError::Malformed(_)) => AuthOutcome::Malformed,
        Err(AuthError::Unknown) => AuthOutcome::Unknown,
        Err(AuthError::Invalid(_)) => AuthOutcome::Invalid,
        Err(AuthError::Expired) => AuthOutcome::Expired,
        Err(AuthError::Revoked) => AuthOutcome::Revoked,
        Err(AuthError::Proof(_) | AuthError::Nonce(_)) => AuthOutcome::Proof,
        Err(AuthError::Unavailable(_)) => AuthOutcome::Unavailable,
    }
}

/// A call that an upstream is at. Metrics are told when it is dropped.
#[derive(Debug)]
pub(crate) struct Asking {
    link: Arc<Link>,
    method: &'static Method,
    began: Instant,
    ended: Option<Instant>,
    outcome: UpstreamOutcome,
    code: Option<i64>,
    /// Until the answer is here.
    counted: Option<Counted>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

impl Asking {
    /// It leaves for its upstream.
    pub(crate) fn begin(
        link: &Arc<Link>,
        method: &'static Method,
        metrics: &Metrics,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        Self {
            link: Arc::clone(link),
            method,
            began: clock.now(),
            ended: None,
            outcome: UpstreamOutcome::Cancelled,
            code: None,
            counted: Some(metrics.upstream_call(link.id())),
            metrics: metrics.clone(),
            clock: Arc::clone(clock),
        }
    }

    /// The answer is here, or the reason why there is none.
    pub(crate) fn end(&mut self, answer: &Result<upstream::Reply, Rejection>) {
        self.ended = Some(self.clock.now());
        self.counted = None;
        self.outcome = match answer {
            Ok(reply) => match &reply.outcome {
                Outcome::Result(_) => UpstreamOutcome::Ok,
                Outcome::Error(error) => {
                    let code = json::member(error, "code").ok().flatten();
                    self.code = code.and_then(|code| code.get().parse().ok());
                    UpstreamOutcome::Error
                }
            },
            Err(Rejection::Upstream { cause, .. }) => outcome(cause),
            // The client was asked something on the way, and did not answer; or its answer was not good.
            Err(_) => UpstreamOutcome::Cancelled,
        };
    }

    /// What the answer came to.
    pub(crate) fn came_to(&mut self, yielded: &Yield) {
        if let Yield::Result {
            is_tool_error: true,
            ..
        } = yielded
        {
            self.outcome = UpstreamOutcome::ToolError;
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let ended = self.ended.unwrap_or_else(|| self.clock.now());
        self.metrics.upstream_request(&UpstreamRequest {
            upstream: self.link.id(),
            method: self.method.name,
            transport: self.link.transport_word(),
            revision: self.link.snapshot().revision,
            outcome: self.outcome,
            code: self.code,
            took: ended.since(self.began),
        });
    }
}

fn outcome(cause: &upstream::Error) -> UpstreamOutcome {
    use upstream::Error;
    match cause {
        Error::Silent { .. } | Error::Net(net::Error::Timeout { .. }) => UpstreamOutcome::Timeout,
        Error::Down { .. } | Error::Full | Error::Spawn { .. } | Error::Net(_) => {
            UpstreamOutcome::Unavailable
        }
        Error::Gone => UpstreamOutcome::Gone,
        Error::Credential(_) => UpstreamOutcome::Credential,
        Error::Protocol(_) | Error::Status { .. } | Error::Refused { .. } => {
            UpstreamOutcome::Protocol
        }
        Error::Native(_) => UpstreamOutcome::Error,
    }
}
