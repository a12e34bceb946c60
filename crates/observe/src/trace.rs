//! Traces: one span for each call, in the words of OpenTelemetry, for whoever collects them.
//!
//! Here it is decided to which trace a call belongs, what its upstream is told of it, and whether its span is kept.
//! What is in a span is [`span`], its form on the wire [`encode`], the way to the collector [`export`]. How a trace
//! context is written is `wire::trace`.
//!
//! The upstream's part of a call hangs below the span of the call itself: the conventions also know a span of kind
//! CLIENT for it, but all that it would tell (when the upstream was asked and for how long) is the event `dispatch` here,
//! at half the price.

mod encode;
mod export;
mod ids;
mod reference;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use store::{AuditRow, Outcome};
use wire::trace::{Context, Parent, SpanId, TraceId};

use crate::otlp::Endpoint;
use crate::{Metric, Metrics, Stages};
use export::Queue;
use ids::Ids;
use span::Span;

pub use reference::reference;

/// A request's id that is longer is not in its span, in bytes.
const REQUEST_ID_MAX: usize = 64;

/// What is done with traces.
#[derive(Debug, Clone, Default)]
pub struct Tracing {
    /// Whether `baggage`, which a client fills as it likes, reaches upstreams.
    pub passes_baggage: bool,
    /// Where spans go; `None`: none are made.
    pub collector: Option<Collector>,
}

/// Where spans go, which of them, and what is in them.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Where they are posted, with what.
    pub endpoint: Endpoint,
    /// How many of the traces that begin here are kept.
    pub ratio: Ratio,
    /// Whether a caller's decision to keep a trace holds here.
    pub follows_parent: bool,
    /// Whether the span of a call that fails is kept, whatever was decided before.
    pub keeps_errors: bool,
    /// Whether a span says whose call it was, and from where it came.
    pub names_principal: bool,
}

/// How many traces are kept. Goes by the trace's id, so that all who see a trace and keep at least as many keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// Ids whose last 56 bits are less are not kept (OpenTelemetry, "Consistent probability sampling").
    threshold: u64,
}

impl Ratio {
    const ALL: u64 = 1 << 56;

    /// `None` if `ratio` is not between 0 and 1.
    #[must_use]
    pub fn new(ratio: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&ratio) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and 2^56; a ratio has no more digits than that"
        )]
        let threshold = ((1.0 - ratio) * Self::ALL as f64) as u64;
        Some(Self { threshold })
    }

    fn takes(self, trace: TraceId) -> bool {
        trace.randomness() >= self.threshold
    }
}

/// Makes spans and takes them to the collector. Cloning is cheap, and clones are the same.
#[derive(Debug, Clone)]
pub struct Tracer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: ArcSwap<Tracing>,
    ids: Ids,
    queue: Queue,
    counts: Arc<Counts>,
    version: &'static str,
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    fn sent(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    fn dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }
}

impl Tracer {
    /// `version` is the program's. What becomes of spans is told in `metrics`.
    #[must_use]
    pub fn new(settings: Tracing, version: &'static str, metrics: &Metrics) -> Self {
        let counts = Arc::<Counts>::default();
        let told = Arc::clone(&counts);
        metrics.at_scrape(move |samples| {
            let all = [
                (Metric::SpansSent, &told.sent),
                (Metric::SpansDropped, &told.dropped),
            ];
            for (metric, count) in all {
                let count = usize::try_from(count.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
                samples.count(metric, &[], count);
            }
        });
        Self {
            inner: Arc::new(Inner {
                settings: ArcSwap::from_pointee(settings),
                ids: Ids::new(),
                queue: Queue::default(),
                counts,
                version,
            }),
        }
    }

    /// Takes over other settings. Calls that have begun end by the old ones; what waits goes where the new ones say.
    pub fn reload(&self, settings: Tracing) {
        self.inner.settings.store(Arc::new(settings));
        self.inner.queue.wake();
    }

    /// A call begins. `message` is what it says of traces itself, `carrier` what its HTTP request says; `request_id` is
    /// its id as it was written. `None`: it belongs to no trace.
    #[must_use]
    pub fn begin(
        &self,
        message: Context,
        carrier: Context,
        request_id: Option<&str>,
    ) -> Option<Box<Trace>> {
        let settings = self.inner.settings.load();
        let (of_message, of_carrier) = (message.parent(), carrier.parent());
        let mut said = message.or(carrier);
        if !settings.passes_baggage {
            said = said.without_baggage();
        }
        let Some(collector) = &settings.collector else {
            return (!said.is_empty()).then(|| {
                Box::new(Trace {
                    told: Arc::new(said),
                    own: None,
                })
            });
        };
        let above = said.parent();
        let ((trace, span), is_random) = match above {
            Some(above) => ((above.trace, self.inner.ids.span()), above.is_random),
            None => (self.inner.ids.trace(), true),
        };
        let is_sampled = match above {
            Some(above) if collector.follows_parent => above.is_sampled,
            Some(_) | None => collector.ratio.takes(trace),
        };
        let here = Parent {
            trace,
            span,
            is_sampled,
            is_random,
        };
        // What carried the message belongs to a trace as well, and not always to the same.
        let link = of_message.and(of_carrier);
        let own = Own {
            keeps_errors: collector.keeps_errors,
            names_principal: collector.names_principal,
            here,
            above: above.map(|above| above.span),
            link: link.filter(|link| Some(*link) != above),
            state: said.state().map(str::to_owned),
            request_id: request_id.and_then(plain),
        };
        Some(Box::new(Trace {
            told: Arc::new(said.below(here)),
            own: Some(own),
        }))
    }

    /// The call of a trace that began here is over, and `row` says how. `None` if its span is not kept.
    #[must_use]
    pub fn end(&self, trace: &Trace, row: &AuditRow) -> Option<Ending> {
        let own = trace.own.as_ref()?;
        let is_error = match row.outcome {
            Outcome::ToolError | Outcome::Refused | Outcome::Failed => true,
            Outcome::Ok | Outcome::Cancelled | Outcome::Pending | Outcome::Unknown => false,
        };
        let is_kept = own.here.is_sampled || (is_error && own.keeps_errors);
        is_kept.then(|| Ending {
            span: Span::of(own, row),
            tracer: self.clone(),
        })
    }
}

/// The id as a text: without the quotes of a string.
fn plain(id: &str) -> Option<Box<str>> {
    let id = id.trim_matches('"');
    (id.len() <= REQUEST_ID_MAX && !id.contains('\\')).then(|| id.into())
}

/// To which trace a call belongs.
#[derive(Debug)]
pub struct Trace {
    /// What its upstream is told.
    told: Arc<Context>,
    /// `None`: no spans are made here.
    own: Option<Own>,
}

/// The call's own span, before anything is in it.
#[derive(Debug)]
struct Own {
    keeps_errors: bool,
    names_principal: bool,
    here: Parent,
    above: Option<SpanId>,
    link: Option<Parent>,
    state: Option<String>,
    request_id: Option<Box<str>>,
}

impl Trace {
    /// The trace; `None` if there is only baggage.
    #[must_use]
    pub fn id(&self) -> Option<TraceId> {
        self.told.parent().map(|parent| parent.trace)
    }

    /// What its upstream is told.
    #[must_use]
    pub fn told(&self) -> Arc<Context> {
        Arc::clone(&self.told)
    }

    /// What the upstream is told of a call that a person agreed to: only what we say ourselves. The rest comes from the
    /// client, and nobody agreed to it.
    #[must_use]
    pub fn told_of_agreed(&self) -> Option<Arc<Context>> {
        let own = self.own.as_ref()?;
        Some(Arc::new(Context::bare(own.here)))
    }
}

/// A span that lacks only its end.
#[derive(Debug)]
pub struct Ending {
    span: Span,
    tracer: Tracer,
}

impl Ending {
    /// The caller got an error with that code in the place of what the record says.
    pub fn failed(&mut self, code: i64) {
        self.span.fail(code);
    }

    /// The call took so long, and was in these stages.
    pub fn end(mut self, stages: &Stages, taken: std::time::Duration) {
        self.span.end(stages, taken);
        if !self.tracer.inner.queue.put(self.span) {
            self.tracer.inner.counts.dropped(1);
        }
    }
}

#[cfg(test)]
mod tests;
