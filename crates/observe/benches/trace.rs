//! What a trace costs a call: run with `cargo bench -p observe --bench trace`; a plain test run only sees that it works.
//!
//! `off` is a gate without a collector and a call without a trace: nothing but a look. `joined` has a trace and no
//! collector. `unsampled` is what nearly every call pays with a small ratio, `sampled` what the others do, the queue
//! full or not.

use std::time::Duration;

use divan::{Bencher, black_box};
use observe::otlp::Endpoint;
use observe::trace::{Collector, Ratio, Tracer, Tracing};
use observe::{Metrics, Stage, Stages};
use policy::Instant;
use store::{AuditRow, Outcome};
use wire::trace::{Context, TRACEPARENT};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

fn tracer(ratio: Option<f64>) -> Tracer {
    let collector = ratio.map(|ratio| Collector {
        endpoint: Endpoint {
            url: "http://127.0.0.1:4318/v1/traces".parse().expect("a URL"),
            headers: http::HeaderMap::new(),
            resource: Vec::new(),
        },
        ratio: Ratio::new(ratio).expect("a ratio"),
        follows_parent: true,
        keeps_errors: true,
        names_principal: false,
    });
    let settings = Tracing {
        passes_baggage: false,
        collector,
    };
    Tracer::new(settings, "0", &Metrics::new("0"))
}

fn row() -> AuditRow {
    AuditRow {
        at_us: 1,
        call_id: "0198c0de-0000-7000-8000-000000000000".to_owned(),
        principal: "somebody@example.com".to_owned(),
        credential: "local".to_owned(),
        client: "bench/1".to_owned(),
        transport: "http".into(),
        revision: "2026-07-28".into(),
        method: "tools/call".into(),
        upstream: Some("files".to_owned()),
        entry: Some("files.read".to_owned()),
        arguments_digest: None,
        decision: "allow".into(),
        rule: Some("reader".to_owned()),
        server: None,
        definition: None,
        consent: None,
        screened: None,
        trace_id: None,
        arguments: None,
        address: None,
        actor: None,
        subject: None,
        outcome: Outcome::Ok,
        code: None,
        reason: None,
        duration_us: 1,
        bytes_in: 1,
        bytes_out: 1,
    }
}

fn traced(bencher: Bencher<'_, '_>, ratio: Option<f64>, said: &Context) {
    let (tracer, row) = (tracer(ratio), row());
    let mut stages = Stages::begin(Instant::default());
    for (at, stage) in Stage::ALL.into_iter().enumerate() {
        let at = Duration::from_micros(at as u64);
        stages.enter(stage, Instant::default() + at);
    }
    stages.leave(Instant::default() + Duration::from_micros(9));
    bencher.bench_local(|| {
        let trace = tracer.begin(
            black_box(said).clone(),
            Context::default(),
            black_box(Some("7")),
        );
        let told = trace.as_ref().map(|trace| trace.told());
        let ending = trace.as_ref().and_then(|trace| tracer.end(trace, &row));
        if let Some(ending) = ending {
            ending.end(&stages, Duration::from_micros(9));
        }
        told
    });
}

#[divan::bench]
fn off(bencher: Bencher<'_, '_>) {
    traced(bencher, None, &Context::default());
}

#[divan::bench]
fn joined(bencher: Bencher<'_, '_>) {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let said = Context::read(|name| (name == TRACEPARENT).then(|| parent.into()));
    traced(bencher, None, &said);
}

#[divan::bench]
fn unsampled(bencher: Bencher<'_, '_>) {
    traced(bencher, Some(0.0), &Context::default());
}

#[divan::bench]
fn sampled(bencher: Bencher<'_, '_>) {
    traced(bencher, Some(1.0), &Context::default());
}
