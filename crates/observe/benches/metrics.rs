//! What metrics cost a call: run with `cargo bench -p observe --bench metrics`; a plain test run only sees that it works.
//!
//! All that is counted on one call's way is to take less than 1 µs, on one thread and on as many as there are cores, which
//! count in the same places. `scrape` is what a look at everything costs, off the way.

use std::time::Duration;

use divan::{Bencher, black_box};
use observe::{Call, Decided, Format, Metrics, Stage, Stages, UpstreamOutcome, UpstreamRequest};
use policy::{Instant, UpstreamId};
use store::Outcome;
use wire::Revision;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// A call that went through all stages.
fn stages() -> Stages {
    let at = |nth: u64| Instant(Duration::from_micros(nth * 70));
    let mut stages = Stages::begin(at(0));
    for (nth, stage) in (0..).zip(Stage::ALL) {
        stages.enter(stage, at(nth));
    }
    stages.leave(at(9));
    stages
}

/// As `gateway` does for one call.
fn count(metrics: &Metrics, upstream: &UpstreamId, stages: &Stages) {
    let in_flight = metrics.call_in_flight();
    let asking = metrics.upstream_call(upstream);
    metrics.upstream_request(&UpstreamRequest {
        upstream,
        method: "tools/call",
        transport: "http",
        revision: Some(Revision::LATEST),
        outcome: UpstreamOutcome::Ok,
        code: None,
        took: Duration::from_micros(300),
    });
    drop(asking);
    let waiting = metrics.audit_waiting();
    metrics.call(&Call {
        method: "tools/call",
        transport: "http",
        revision: Revision::LATEST.as_str(),
        status: 200,
        outcome: Outcome::Ok,
        code: None,
        decided: Decided::Allow,
        stages,
        took: Duration::from_micros(700),
    });
    drop((waiting, in_flight));
}

/// A gate with as many series as a large one has.
fn busy() -> (Metrics, UpstreamId) {
    let (metrics, stages) = (Metrics::new("0"), stages());
    let named = |nth: usize| UpstreamId::parse(&format!("upstream-{nth}")).expect("an alias");
    for nth in 0..100 {
        count(&metrics, &named(nth), &stages);
    }
    for method in &wire::method::METHODS {
        for status in [200, 400, 429, 503] {
            metrics.call(&Call {
                method: method.name,
                transport: "http",
                revision: Revision::LATEST.as_str(),
                status,
                outcome: Outcome::Ok,
                code: None,
                decided: Decided::Allow,
                stages: &stages,
                took: Duration::ZERO,
            });
        }
    }
    (metrics, named(57))
}

#[divan::bench(threads = [1, 0])]
fn of_one_call(bencher: Bencher<'_, '_>) {
    let ((metrics, upstream), stages) = (busy(), stages());
    bencher.bench(|| count(black_box(&metrics), &upstream, &stages));
}

#[divan::bench]
fn scrape(bencher: Bencher<'_, '_>) {
    let (metrics, _) = busy();
    bencher.bench(|| metrics.encode(Format::OpenMetrics));
}
