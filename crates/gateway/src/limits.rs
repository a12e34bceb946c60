//! Counting calls: how often (rate limits), how much (quotas), and how many at once (places).
//!
//! Rates are counted where gates may share them ([`store::shared`]), quotas in the database ([`quotas`]), places here
//! ([`places`]). Which counters a call is counted in says [`policy::Selector`]. Within each of the three a call is
//! counted in all or in none. A rate counts what was tried, so it comes first; quotas and places are for calls that are
//! about to leave: what a stage before refuses, or a person thinks about, uses up neither. All counters outlive a reload:
//! a new config does not hand out a fresh allowance.

mod places;
mod quotas;
mod watching;

use std::sync::Arc;

use observe::{Metric, Samples};
use policy::{Bucket, Clock, Counted, Instant, PrincipalId, UpstreamId};
use serde_json::{Value, json};
use store::Store;
use store::shared::{Shared, Take, TakeError, Taking};
use tokio_util::sync::CancellationToken;
use wire::method::LimitKey;

use crate::Rejection;
use crate::rejection::Measure;
use crate::settings::Limits;
use places::{Ending, Places};
use quotas::{Charge, FLUSH_EVERY, Ledger};

use watching::Watching;

pub(crate) use places::Place;
pub(crate) use watching::Watched;

/// All counters of a gate.
#[derive(Debug)]
pub(crate) struct Counters {
    shared: Arc<dyn Shared>,
    ledger: Arc<Ledger>,
    places: Arc<Places>,
    watching: Arc<Watching>,
    clock: Arc<dyn Clock>,
}

/// A call that was charged and has its place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    place: Place,
    charge: Charge,
}

impl Counters {
    pub(crate) fn new(
        limits: &Limits,
        shared: Arc<dyn Shared>,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            shared,
            ledger: Ledger::new(store),
            places: Places::new(limits, Arc::clone(&clock)),
            watching: Arc::default(),
            clock,
        }
    }

    /// Takes over other bounds on calls in flight.
    pub(crate) fn resize(&self, limits: &Limits) {
        self.places.resize(limits);
    }

    /// Charges a call that goes to an upstream, and finds it a place. `bytes` are the request's.
    pub(crate) async fn admit(
        &self,
        limits: &Limits,
        counted: &Counted<'_>,
        bytes: usize,
    ) -> Result<Permit, Rejection> {
        let charge = self
            .ledger
            .charge(limits, counted, bytes, self.clock.wall())?;
        let upstream = counted.entry.map(|entry| entry.upstream);
        let place = self.places.enter(&counted.principal.id, upstream).await?;
        Ok(Permit { place, charge })
    }

    /// Counts a call against all rate limits that speak of it, or none.
    pub(crate) async fn count(
        &self,
        limits: &Limits,
        counted: &Counted<'_>,
        key: Option<LimitKey>,
    ) -> Result<(), Rejection> {
        // A call's own start may lie before another's that was counted already.
        let now = self.clock.now();
        let mut buckets = Vec::new();
        match key {
            Some(LimitKey::ToolCall) => limits.tool_call.buckets(counted, &mut buckets),
            Some(LimitKey::ResourceAccess) => limits.resource_access.buckets(counted, &mut buckets),
            None => {}
        }
        for rule in &limits.rules {
            rule.buckets(counted, &mut buckets);
        }
        // Most calls are counted once.
        let taken = match &*buckets {
            [bucket] => self.take(&[take(bucket)], now).await,
            buckets => {
                let takes: Vec<Take<'_>> = buckets.iter().map(take).collect();
                self.take(&takes, now).await
            }
        };
        taken.map_err(|error| match error {
            TakeError::Full { at, wait } => match buckets.get(at) {
                Some(bucket) => Rejection::TooMany {
                    limit: bucket.rule.name.clone(),
                    measure: Measure::Rate,
                    retry_after: wait,
                },
                None => Rejection::Uncounted,
            },
            TakeError::Unavailable => Rejection::Uncounted,
        })
    }

    async fn take(&self, takes: &[Take<'_>], now: Instant) -> Result<(), TakeError> {
        match self.shared.take(takes, now.0) {
            Taking::Done(taken) => taken,
            Taking::Asked(taking) => taking.await,
        }
    }

    /// A place for something of a principal's that has upstreams asked.
    pub(crate) async fn enter(&self, principal: &PrincipalId) -> Result<Place, Rejection> {
        self.places.enter(principal, None).await
    }

    /// Counts one more resource that a principal watches, until what is returned is dropped; `None` if that is too many.
    pub(crate) fn watch(&self, principal: &PrincipalId, upstream: &UpstreamId) -> Option<Watched> {
        self.watching.enter(principal, upstream)
    }

    /// What has to be done beside calls, until `stop`.
    pub(crate) async fn keep(&self, stop: &CancellationToken) {
        let write = async {
            while !stop.is_cancelled() {
                let _stopped = tokio::time::timeout(FLUSH_EVERY, stop.cancelled()).await;
                self.flush().await;
            }
        };
        tokio::join!(write, self.shared.keep(stop));
    }

    /// Writes what was used of quotas.
    pub(crate) async fn flush(&self) {
        self.ledger.flush(self.clock.wall()).await;
    }

    /// What there is to count, for metrics.
    pub(crate) fn sample(&self, samples: &mut Samples) {
        let shared = self.shared.status();
        samples.flag(Metric::SharedUp, &[], shared.is_up);
        let without = usize::try_from(shared.without).unwrap_or(usize::MAX);
        samples.count(Metric::SharedWithout, &[], without);
        samples.count(Metric::LimiterKeys, &[], shared.keys);
        samples.count(Metric::QuotaKeys, &[], self.ledger.len());
        samples.count(Metric::CallsWaiting, &[], self.places.waiting());
        samples.count(Metric::Subscriptions, &[], self.watching.len());
    }

    /// How the store that gates share is doing.
    pub(crate) fn shared_status(&self) -> store::shared::Status {
        self.shared.status()
    }

    /// How counting is doing, for health.
    pub(crate) fn status(&self) -> Value {
        let shared = self.shared.status();
        let mut status = self.places.status();
        status["shared"] = json!({
            "kind": shared.kind,
            "state": if shared.is_up { "up" } else { "down" },
            "counted_alone": shared.without,
            "last_error": shared.last_error,
        });
        status
    }
}

fn take<'b>(bucket: &'b Bucket<'_>) -> Take<'b> {
    Take {
        key: &bucket.key,
        interval: bucket.rule.limit.interval(),
        max: bucket.rule.limit.max,
        cost: bucket.rule.cost,
    }
}

impl Permit {
    /// The call leaves for its upstream: from here on it has used up what it was charged.
    pub(crate) fn depart(&mut self) {
        self.charge.keep();
    }

    /// The upstream's answer is here, or the reason why there is none.
    pub(crate) fn arrive(&mut self, answer: &Result<upstream::Reply, Rejection>) {
        let ending = match answer {
            Ok(reply) => {
                self.charge.add_bytes(match &reply.outcome {
                    wire::Outcome::Result(text) | wire::Outcome::Error(text) => text.len(),
                });
                Ending::Well
            }
            Err(Rejection::Upstream { cause, .. }) if tells_of_load(cause) => Ending::Overloaded,
            Err(_) => Ending::Unknown,
        };
        self.place.note(ending);
    }
}

/// Whether an upstream says, or shows by its silence, that it has too much to do.
fn tells_of_load(cause: &upstream::Error) -> bool {
    match cause {
        upstream::Error::Full | upstream::Error::Silent { .. } => true,
        upstream::Error::Status { status } => matches!(status, 429 | 502..=504),
        upstream::Error::Net(error) => matches!(error, net::Error::Timeout { .. }),
        upstream::Error::Down { .. }
        | upstream::Error::Spawn { .. }
        | upstream::Error::Gone
        | upstream::Error::Protocol(_)
        | upstream::Error::Refused { .. }
        | upstream::Error::Credential(_)
        | upstream::Error::Native(_) => false,
    }
}

#[cfg(test)]
mod tests;
