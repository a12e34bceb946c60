//! The way to the collector: spans wait in a bounded queue and leave in batches. A call never waits for it; what does
//! not fit, or is not taken in time, is dropped and counted.
//! What an answer means is [`crate::otlp`]'s.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::span::Span;
use super::{Collector, Tracer, encode};
use crate::health::{Dependency, Health};
use crate::otlp::{ANSWER_TIMEOUT, Tried, because};

/// Spans that wait.
const QUEUE_MAX: usize = 4096;
/// Spans that leave together.
const BATCH_MAX: usize = 512;
/// How long the first of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(2);
/// How long a batch is tried; then it is dropped.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// The pauses between tries, doubled from one to the other.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long the last spans may take when the gate stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);

/// Spans that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    spans: Mutex<VecDeque<Span>>,
    /// A batch is full, or the settings changed.
    woken: Notify,
}

impl Queue {
    /// Whether there was a place.
    pub(super) fn put(&self, span: Span) -> bool {
        let count = {
            let mut spans = self.spans.lock();
            if spans.len() >= QUEUE_MAX {
                return false;
            }
            spans.push_back(span);
            spans.len()
        };
        if count == 1 || count == BATCH_MAX {
            self.woken.notify_one();
        }
        true
    }

    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    fn len(&self) -> usize {
        self.spans.lock().len()
    }

    pub(super) fn take(&self) -> Vec<Span> {
        let mut spans = self.spans.lock();
        let count = spans.len().min(BATCH_MAX);
        spans.drain(..count).collect()
    }

    /// Waits until there is a batch: a full one, or one whose first span has waited long enough.
    async fn ready(&self) {
        while self.len() == 0 {
            self.woken.notified().await;
        }
        let full = async {
            while self.len() < BATCH_MAX {
                self.woken.notified().await;
            }
        };
        // Not full is fine.
        drop(timeout(BATCH_WAIT, full).await);
    }
}

impl Tracer {
    /// Takes spans to the collector until `stop`; then the last of them, if that does not take long. Says in `health` how
    /// it goes.
    pub async fn export(&self, client: &net::Client, health: &Health, stop: &CancellationToken) {
        while stop
            .run_until_cancelled(self.inner.queue.ready())
            .await
            .is_some()
        {
            let deadline = Instant::now() + BATCH_TIMEOUT;
            let batch = self.inner.queue.take();
            self.carry(client, health, stop, batch, deadline).await;
        }
        let deadline = Instant::now() + LAST_TIMEOUT;
        loop {
            let batch = self.inner.queue.take();
            if batch.is_empty() {
                return;
            }
            self.carry(client, health, stop, batch, deadline).await;
        }
    }

    /// Takes one batch there, or drops it. Once the gate stops, it is tried once.
    async fn carry(
        &self,
        client: &net::Client,
        health: &Health,
        stop: &CancellationToken,
        batch: Vec<Span>,
        deadline: Instant,
    ) {
        let inner = &self.inner;
        let component = health.dependency(Dependency::Traces);
        let count = batch.len() as u64;
        let mut pause = PAUSE_MIN;
        loop {
            let settings = inner.settings.load_full();
            let Some(collector) = &settings.collector else {
                // Switched off while they waited.
                inner.counts.dropped(count);
                return component.forget();
            };
            let endpoint = &collector.endpoint;
            let body = encode::request(&batch, &endpoint.resource, inner.version);
            let began = Instant::now();
            let within = deadline
                .saturating_duration_since(began)
                .min(ANSWER_TIMEOUT);
            let tried = endpoint.post(client, body, within, encode::read).await;
            let (why, wait) = match tried {
                Tried::Taken => {
                    inner.counts.sent(count);
                    return component.ok(Some(began.elapsed()));
                }
                Tried::Partly(lost, why) => {
                    // It cannot lose more than it was sent, whatever it says.
                    let lost = lost.min(count);
                    inner.counts.sent(count.saturating_sub(lost));
                    inner.counts.dropped(lost);
                    let what = format!("it did not take {lost} spans");
                    return component.degraded(&because(what, &why));
                }
                Tried::Never(why) => {
                    inner.counts.dropped(count);
                    return component.down(&why);
                }
                Tried::Later(why, wait) => (why, wait),
            };
            component.down(&why);
            // Half of it is left to chance, so that gates which lost a collector together do not come back together.
            let half = u64::try_from(pause.as_millis()).unwrap_or_default() / 2;
            let chance = Duration::from_millis(half + inner.ids.below(half.max(1)));
            let again = Instant::now() + wait.unwrap_or(chance);
            pause = (pause * 2).min(PAUSE_MAX);
            if stop.is_cancelled() || again >= deadline {
                inner.counts.dropped(count);
                return;
            }
            drop(timeout_at(again, stop.cancelled()).await);
        }
    }
}

impl Collector {
    /// Tries it, with a batch of nothing.
    ///
    /// # Errors
    /// Why it takes no spans.
    pub async fn probe(&self, client: &net::Client) -> Result<(), String> {
        let endpoint = &self.endpoint;
        let body = encode::request(&[], &endpoint.resource, env!("CARGO_PKG_VERSION"));
        let tried = endpoint.post(client, body, ANSWER_TIMEOUT, encode::read);
        tried.await.probed()
    }
}
