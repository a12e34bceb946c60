//! Which calls have a span, what is in it, and what an upstream is told.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use policy::Instant;
use proptest::prelude::*;
use prost::Message as _;
use wire::trace::{BAGGAGE, TRACEPARENT, TRACESTATE};

use super::span::Attribute;
use super::*;
use crate::Stage;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn said(parent: &'static str, more: &'static [(&str, &str)]) -> Context {
    Context::read(|name| {
        let found = more.iter().find(|(one, _)| *one == name);
        let parent = (name == TRACEPARENT && !parent.is_empty()).then_some(parent);
        parent.or(found.map(|(_, text)| *text)).map(Cow::Borrowed)
    })
}

fn none() -> Context {
    Context::default()
}

fn collector(ratio: f64) -> Collector {
    Collector {
        endpoint: Endpoint {
            url: "http://127.0.0.1:1/v1/traces".parse().unwrap(),
            headers: HeaderMap::new(),
            resource: Vec::new(),
        },
        ratio: Ratio::new(ratio).unwrap(),
        follows_parent: true,
        keeps_errors: true,
        names_principal: false,
    }
}

fn tracer(collector: Option<Collector>) -> Tracer {
    let settings = Tracing {
        passes_baggage: false,
        collector,
    };
    Tracer::new(settings, "1.2.3", &Metrics::new("1.2.3"))
}

fn row() -> AuditRow {
    AuditRow {
        at_us: 1_000_000,
        call_id: "call-1".to_owned(),
        principal: "alice".to_owned(),
        credential: "key:CANARY-credential".to_owned(),
        client: "CANARY-client".to_owned(),
        actor: Some("CANARY-actor".to_owned()),
        address: Some("192.0.2.7".to_owned()),
        subject: Some("CANARY-subject".to_owned()),
        transport: "http".into(),
        revision: "2026-07-28".into(),
        method: "tools/call".into(),
        upstream: Some("files".to_owned()),
        entry: Some("files.read".to_owned()),
        arguments_digest: Some("CANARY-digest".to_owned()),
        decision: "allow".into(),
        rule: Some("reader".to_owned()),
        server: Some("desk".to_owned()),
        definition: Some("CANARY-definition".to_owned()),
        consent: Some("consent-1".to_owned()),
        screened: Some("bidi:2".to_owned()),
        trace_id: None,
        arguments: Some("CANARY-arguments".to_owned()),
        outcome: Outcome::Ok,
        code: None,
        reason: Some("CANARY-reason".to_owned()),
        duration_us: 7,
        bytes_in: 10,
        bytes_out: 20,
    }
}

/// The spans that wait, as the collector gets them.
fn sent(tracer: &Tracer, resource: &[(String, String)]) -> (Vec<KeyValue>, Vec<Sent>) {
    let batch = tracer.inner.queue.take();
    let body = encode::request(&batch, resource, "1.2.3");
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    let mut of = request.resource_spans.into_iter().next().unwrap();
    let resource = of.resource.unwrap().attributes;
    (resource, of.scope_spans.remove(0).spans)
}

fn ended(tracer: &Tracer, message: Context, row: &AuditRow) -> Option<Sent> {
    let trace = tracer.begin(message, none(), Some("7"))?;
    let mut stages = Stages::begin(Instant::default());
    stages.enter(
        Stage::Dispatch,
        Instant::default() + Duration::from_micros(5),
    );
    stages.leave(Instant::default() + Duration::from_micros(8));
    tracer
        .end(&trace, row)?
        .end(&stages, Duration::from_micros(9));
    let (_, mut spans) = sent(tracer, &[]);
    spans.pop()
}

fn texts(span: &Sent) -> Vec<(String, String)> {
    let text = |pair: &KeyValue| match pair.value.clone().unwrap().value.unwrap() {
        any_value::Value::StringValue(text) => text,
        any_value::Value::IntValue(count) => count.to_string(),
        other => panic!("{other:?}"),
    };
    let pairs = span.attributes.iter();
    pairs.map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn find(span: &Sent, attribute: Attribute) -> Option<String> {
    let name = attribute.about().name;
    let found = texts(span).into_iter().find(|(key, _)| key == name);
    found.map(|(_, text)| text)
}

#[test]
fn without_a_collector_a_trace_is_passed_on_as_it_came_and_baggage_is_not() {
    let tracer = tracer(None);
    assert!(tracer.begin(none(), none(), None).is_none());
    let baggage = said("", &[(BAGGAGE, "a=1")]);
    assert!(tracer.begin(baggage.clone(), none(), None).is_none());

    let whole = said(PARENT, &[(TRACESTATE, "a=1"), (BAGGAGE, "b=2")]);
    let trace = tracer.begin(whole.clone(), none(), None).unwrap();
    assert_eq!(*trace.told(), whole.clone().without_baggage());
    assert!(trace.told_of_agreed().is_none(), "it is not ours");
    assert!(tracer.end(&trace, &row()).is_none());

    tracer.reload(Tracing {
        passes_baggage: true,
        collector: None,
    });
    let trace = tracer.begin(whole.clone(), none(), None).unwrap();
    assert_eq!(*trace.told(), whole);
    let trace = tracer.begin(baggage, none(), None).unwrap();
    assert_eq!(trace.id(), None);
}

#[test]
fn a_call_joins_the_trace_of_its_message_before_that_of_its_carrier() {
    let tracer = tracer(Some(collector(0.0)));
    let message = said(PARENT, &[(TRACESTATE, "a=1")]);
    let carrier = said(OTHER, &[(TRACESTATE, "b=2")]);
    let trace = tracer.begin(message, carrier.clone(), None).unwrap();
    let told = trace.told();
    let (parent, above) = (told.parent().unwrap(), Parent::parse(PARENT).unwrap());
    assert_eq!(parent.trace, above.trace);
    assert_ne!(parent.span, above.span);
    assert!(parent.is_sampled);
    assert_eq!(told.state(), Some("a=1"));
    assert_eq!(trace.id(), Some(above.trace));

    let trace = tracer.begin(none(), carrier, None).unwrap();
    assert_eq!(trace.id(), Some(Parent::parse(OTHER).unwrap().trace));
    assert_eq!(trace.told().state(), Some("b=2"));
}

#[test]
fn a_span_hangs_below_its_caller_and_is_linked_to_its_carrier() {
    let tracer = tracer(Some(collector(0.0)));
    let state = &[(TRACESTATE, "a=1")];
    let trace = tracer
        .begin(said(PARENT, state), said(OTHER, &[]), Some("\"req\""))
        .unwrap();
    let here = trace.told().parent().unwrap();
    let stages = Stages::begin(Instant::default());
    tracer
        .end(&trace, &row())
        .unwrap()
        .end(&stages, Duration::ZERO);
    let (_, spans) = sent(&tracer, &[]);
    let [span] = spans.as_slice() else {
        panic!("{spans:?}")
    };
    let (above, link) = (
        Parent::parse(PARENT).unwrap(),
        Parent::parse(OTHER).unwrap(),
    );
    assert_eq!(span.trace_id, above.trace.bytes());
    assert_eq!(span.parent_span_id, above.span.bytes());
    assert_eq!(span.span_id, here.span.bytes());
    assert_eq!(span.trace_state, "a=1");
    assert_eq!(span.flags, 0x301);
    assert_eq!(span.links.len(), 1);
    assert_eq!(span.links[0].trace_id, link.trace.bytes());
    assert_eq!(find(span, Attribute::RequestId).as_deref(), Some("req"));
}

#[test]
fn a_callers_decision_holds_only_where_the_config_says_so() {
    let strangers = Collector {
        follows_parent: false,
        ..collector(0.0)
    };
    for (collector, parent, kept) in [
        (collector(0.0), PARENT, true),
        (collector(1.0), UNSAMPLED, false),
        (strangers.clone(), PARENT, false),
        (strangers, UNSAMPLED, false),
    ] {
        let tracer = tracer(Some(collector));
        let trace = tracer.begin(said(parent, &[]), none(), None).unwrap();
        let told = trace.told().parent().unwrap();
        assert_eq!(told.is_sampled, kept, "the upstream is told as well");
        assert_eq!(tracer.end(&trace, &row()).is_some(), kept, "{parent}");
    }
}

#[test]
fn an_error_is_kept_whatever_was_decided_unless_the_config_says_otherwise() {
    let forgetful = Collector {
        keeps_errors: false,
        ..collector(0.0)
    };
    for (outcome, kept) in [
        (Outcome::Ok, false),
        (Outcome::ToolError, true),
        (Outcome::Refused, true),
        (Outcome::Failed, true),
        (Outcome::Cancelled, false),
    ] {
        let row = AuditRow { outcome, ..row() };
        for (collector, kept) in [(collector(0.0), kept), (forgetful.clone(), false)] {
            let tracer = tracer(Some(collector));
            let trace = tracer.begin(none(), none(), None).unwrap();
            assert!(!trace.told().parent().unwrap().is_sampled);
            assert_eq!(tracer.end(&trace, &row).is_some(), kept, "{outcome:?}");
        }
    }
}

#[test]
fn of_what_a_person_agreed_to_the_upstream_is_told_our_own_words_alone() {
    let tracer = tracer(Some(collector(1.0)));
    let message = said(PARENT, &[(TRACESTATE, "a=1"), (BAGGAGE, "b=2")]);
    let trace = tracer.begin(message, none(), None).unwrap();
    let told = trace.told_of_agreed().unwrap();
    let names: Vec<&str> = told.members().map(|(name, _)| name).collect();
    assert_eq!(names, [TRACEPARENT]);
    assert_eq!(told.parent(), trace.told().parent());
}

#[test]
fn a_span_says_what_the_list_says_and_nothing_else() {
    let tracer = tracer(Some(Collector {
        names_principal: true,
        ..collector(1.0)
    }));
    let prompt = AuditRow {
        method: "prompts/get".into(),
        outcome: Outcome::Failed,
        code: Some(-32603),
        ..row()
    };
    let mut seen = BTreeSet::new();
    for row in [row(), prompt] {
        let span = ended(&tracer, none(), &row).unwrap();
        let events = span.events.iter();
        let of_events = events.flat_map(|event| event.attributes.clone());
        seen.extend(of_events.map(|pair| pair.key));
        seen.extend(texts(&span).into_iter().map(|(key, _)| key));
        assert!(!format!("{span:?}").contains("CANARY"), "{span:?}");
    }
    let listed = Attribute::ALL.iter();
    let listed: BTreeSet<String> = listed.map(|one| one.about().name.to_owned()).collect();
    assert_eq!(seen, listed);
    let page = reference();
    for name in listed {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
    }
}

#[test]
fn a_span_is_named_by_what_was_called_and_timed_as_the_call_was() {
    let span = ended(&tracer(Some(collector(1.0))), none(), &row()).unwrap();
    assert_eq!(span.name, "tools/call files.read");
    assert_eq!(span.kind, 2, "SERVER");
    assert_eq!(span.start_time_unix_nano, 1_000_000_000);
    assert_eq!(span.end_time_unix_nano, 1_000_009_000);
    assert_eq!(span.status.as_ref().unwrap().code, 0);
    let [event] = span.events.as_slice() else {
        panic!("{span:?}")
    };
    assert_eq!(event.name, "dispatch");
    assert_eq!(event.time_unix_nano, 1_000_005_000);
    assert_eq!(find(&span, Attribute::Tool).as_deref(), Some("files.read"));
    assert_eq!(find(&span, Attribute::Principal), None);
    assert_eq!(find(&span, Attribute::ClientAddress), None);
    assert_eq!(find(&span, Attribute::ErrorType), None);
}

#[test]
fn a_name_that_a_client_made_up_is_in_no_span() {
    let tracer = tracer(Some(collector(1.0)));
    let unseen = AuditRow {
        decision: "unseen".into(),
        entry: Some("CANARY".to_owned()),
        outcome: Outcome::Refused,
        code: Some(-32602),
        ..row()
    };
    let span = ended(&tracer, none(), &unseen).unwrap();
    assert_eq!(span.name, "tools/call");
    assert!(!format!("{span:?}").contains("CANARY"), "{span:?}");
    assert_eq!(
        find(&span, Attribute::StatusCode).as_deref(),
        Some("-32602")
    );
    assert_eq!(find(&span, Attribute::ErrorType).as_deref(), Some("-32602"));
    assert_eq!(span.status.as_ref().unwrap().code, 2, "ERROR");
    let resource = AuditRow {
        method: "resources/read".into(),
        entry: Some("file:///CANARY".to_owned()),
        ..row()
    };
    let span = ended(&tracer, none(), &resource).unwrap();
    assert!(!format!("{span:?}").contains("CANARY"), "{span:?}");
}

#[test]
fn an_answer_that_could_not_be_recorded_is_an_error_in_its_span() {
    let tracer = tracer(Some(collector(1.0)));
    let trace = tracer.begin(none(), none(), None).unwrap();
    let mut ending = tracer.end(&trace, &row()).unwrap();
    ending.failed(-32603);
    ending.end(&Stages::begin(Instant::default()), Duration::ZERO);
    let (_, spans) = sent(&tracer, &[]);
    assert_eq!(
        find(&spans[0], Attribute::ErrorType).as_deref(),
        Some("-32603")
    );
}

#[test]
fn what_the_config_says_of_the_gate_stands_beside_what_it_says_itself() {
    let tracer = tracer(Some(collector(1.0)));
    let said = [
        ("service.name".to_owned(), "ours".to_owned()),
        ("team".to_owned(), "tools".to_owned()),
    ];
    let (resource, _) = sent(&tracer, &said);
    let names: Vec<&str> = resource.iter().map(|pair| pair.key.as_str()).collect();
    assert_eq!(
        names,
        [
            "service.version",
            "service.instance.id",
            "service.name",
            "team"
        ]
    );
}

#[test]
fn spans_that_nobody_takes_are_bounded_and_counted() {
    let metrics = Metrics::new("1.2.3");
    let settings = Tracing {
        passes_baggage: false,
        collector: Some(collector(1.0)),
    };
    let tracer = Tracer::new(settings, "1.2.3", &metrics);
    let stages = Stages::begin(Instant::default());
    for _ in 0..5000 {
        let trace = tracer.begin(none(), none(), None).unwrap();
        tracer
            .end(&trace, &row())
            .unwrap()
            .end(&stages, Duration::ZERO);
    }
    assert_eq!(tracer.inner.counts.dropped.load(Ordering::Relaxed), 904);
    let text = metrics.encode(crate::Format::OpenMetrics);
    assert!(
        text.contains("portcullis_spans_dropped_total 904"),
        "{text}"
    );
}

#[test]
fn a_collector_has_itself_left_alone_no_longer_than_a_batch_is_tried() {
    let after = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
        crate::otlp::retry_after(&headers, Duration::from_secs(60))
    };
    assert_eq!(after("7"), Some(Duration::from_secs(7)));
    assert_eq!(after("18446744073709551615"), Some(Duration::from_secs(60)));
    assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
}

#[test]
fn ids_are_all_different() {
    let ids = Ids::new();
    let (mut traces, mut spans) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..1000 {
        traces.insert(ids.trace().0.bytes());
        spans.insert(ids.span().bytes());
    }
    assert_eq!((traces.len(), spans.len()), (1000, 1000));
    let others = Ids::new();
    assert!(!traces.contains(&others.trace().0.bytes()));
}

#[test]
fn about_as_many_traces_are_kept_as_the_ratio_says() {
    let (ids, tenth) = (Ids::new(), Ratio::new(0.1).unwrap());
    let kept = (0..10_000).filter(|_| tenth.takes(ids.trace().0)).count();
    assert!((800..1200).contains(&kept), "{kept}");
    assert_eq!(Ratio::new(1.1), None);
    assert_eq!(Ratio::new(f64::NAN), None);
}

proptest! {
    #[test]
    fn who_keeps_more_keeps_what_others_keep(
        id in any::<u128>(), less in 0.0..=1.0_f64, more in 0.0..=1.0_f64,
    ) {
        let (less, more) = (less.min(more), less.max(more));
        let Some(id) = TraceId::new(id.to_be_bytes()) else { return Ok(()) };
        let takes = |ratio| Ratio::new(ratio).unwrap().takes(id);
        prop_assert!(!takes(less) || takes(more));
        prop_assert!(takes(1.0) && !takes(0.0));
    }
}
