//! Traces, as another team's collector understands them and as an upstream is told of them.
//!
//! What stands in a span is `observe`'s to test; here is what the gate makes of a real call, and that no call waits for a
//! collector.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::fixtures::{Rotel, Signal, Span};
use testkit::mcp::{MODERN, call, headers, modern, request};
use testkit::world::{Reply, World, until};

use crate::credentials::Scene;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ABOVE: &str = "00f067aa0ba902b7";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

async fn collector() -> Result<Rotel> {
    Rotel::start(Signal::Traces).await
}

/// A gate whose upstream `s` tells what it was told.
fn config(telemetry: &str) -> String {
    format!(
        r#"
builtins = []
limits.tool_call = {{ max = 1000000, per = "1s" }}
upstreams.s = {{ stdio = ["{{scripted}}"] }}
{telemetry}
"#
    )
}

fn to(rotel: &Rotel, more: &str) -> String {
    let endpoint = rotel.endpoint();
    format!("[telemetry.traces]\nendpoint = \"{endpoint}\"\n{more}\n")
}

/// A call of the tool that gives back its `_meta`, with this in it.
fn meta(said: &Value) -> Value {
    let mut message = modern(call(7, "s.meta", &json!({})));
    for (name, value) in said.as_object().into_iter().flatten() {
        message["params"]["_meta"][name.as_str()] = value.clone();
    }
    message
}

/// What the upstream was told, of its answer.
fn told(reply: &Reply) -> Result<Value> {
    Ok(serde_json::from_str(reply.text()?)?)
}

/// The trace and the span of a `traceparent`.
fn ids(parent: &Value) -> Result<(String, String)> {
    let parts: Vec<&str> = parent
        .as_str()
        .context("no traceparent")?
        .split('-')
        .collect();
    let ["00", trace, span, _flags] = parts.as_slice() else {
        anyhow::bail!("{parent}");
    };
    Ok(((*trace).to_owned(), (*span).to_owned()))
}

/// Waits for so many spans.
async fn spans(rotel: &Rotel, count: usize) -> Result<Vec<Span>> {
    until(&format!("{count} spans"), async || {
        Ok(rotel.spans()?.len() >= count)
    })
    .await
    .with_context(|| rotel.output().unwrap_or_default())?;
    let spans = rotel.spans()?;
    ensure!(spans.len() == count, "{spans:#?}");
    Ok(spans)
}

async fn only(rotel: &Rotel) -> Result<Span> {
    spans(rotel, 1).await?.pop().context("one")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_span_with_each_stage_in_it() -> Result<()> {
    let rotel = collector().await?;
    let world = World::of(&config(&to(&rotel, ""))).await?;
    world.ready("s", 0).await?;
    let reply = world.post("local", &meta(&json!({}))).await?;
    let (trace, id) = ids(&told(&reply)?["traceparent"])?;

    let span = only(&rotel).await?;
    ensure!((&span.trace, &span.id) == (&trace, &id), "{span:#?}");
    ensure!(span.parent.is_empty(), "{span:#?}");
    ensure!(span.name == "tools/call s.meta", "{span:#?}");
    ensure!(span.kind == "SPAN_KIND_SERVER", "{span:#?}");
    let stages = [
        "resolve",
        "limit",
        "validate",
        "authorize",
        "consent",
        "record",
        "dispatch",
        "screen",
    ];
    let mut events = span.events.clone();
    events.sort();
    let mut all = stages.map(str::to_owned);
    all.sort();
    ensure!(events == all, "{span:#?}");
    let durations = &span.event_attributes;
    ensure!(durations.contains_key("portcullis.stage.duration_us"));

    let record = world.records().await?.pop().context("a record")?.row;
    ensure!(record.trace_id.as_deref() == Some(trace.as_str()));
    for (name, value) in [
        ("mcp.method.name", "tools/call"),
        ("mcp.protocol.version", MODERN),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "s.meta"),
        ("jsonrpc.request.id", "7"),
        ("network.transport", "tcp"),
        ("network.protocol.name", "http"),
        ("portcullis.call.id", record.call_id.as_str()),
        ("portcullis.upstream", "s"),
        ("portcullis.decision", "allow"),
        ("portcullis.outcome", "ok"),
    ] {
        let said = span.attributes.get(name).map(String::as_str);
        ensure!(said == Some(value), "{name}: {span:#?}");
    }
    for name in ["enduser.id", "client.address", "error.type"] {
        ensure!(!span.attributes.contains_key(name), "{name}: {span:#?}");
    }
    let resource = |name: &str| span.resource.get(name).map(String::as_str);
    ensure!(resource("service.name") == Some("portcullis"));
    ensure!(resource("service.version") == Some(env!("CARGO_PKG_VERSION")));
    ensure!(resource("service.instance.id").is_some());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_joined_from_headers_and_from_meta_and_passed_on_in_both() -> Result<()> {
    let rotel = collector().await?;
    let scene = Scene::of(&to(&rotel, "")).await?;
    let key = scene.world.key("alice")?.context("alice has a key")?;
    let from_headers = format!(
        "Authorization: Bearer {key}\r\ntraceparent: {PARENT}\r\ntracestate: a=1\r\nTraceState: b=2\r\nbaggage: user=CANARY\r\n"
    );
    let reply = scene.call(&from_headers).await?;
    reply.answer()?;
    let span = only(&rotel).await?;
    ensure!(span.trace == TRACE && span.parent == ABOVE, "{span:#?}");
    let heard = String::from_utf8(scene.relay.heard())?;
    let here = format!("00-{TRACE}-{}-01", span.id);
    for text in [
        format!("traceparent: {here}\r\n"),
        "tracestate: a=1,b=2\r\n".to_owned(),
        format!("\"traceparent\":\"{here}\""),
        "\"tracestate\":\"a=1,b=2\"".to_owned(),
    ] {
        ensure!(heard.contains(&text), "{text}: {heard}");
    }
    // What a client says to whoever listens behind us ends here, unless the config passes it on.
    ensure!(!heard.contains("CANARY"), "{heard}");

    // A message says itself to which trace it belongs; what carries it is another matter.
    let mut message = call(2, "clock.time.now", &json!({}));
    message["params"]["_meta"] = json!({ "traceparent": OTHER });
    let message = with_era(message);
    let exchange = scene.begin(message, &from_headers).await?;
    scene.world.whole(exchange).await?.answer()?;
    let spans = spans(&rotel, 2).await?;
    let span = spans.iter().find(|span| span.trace == OTHER_TRACE);
    let span = span.with_context(|| format!("{spans:#?}"))?;
    ensure!(span.links == [TRACE], "{span:#?}");
    let heard = String::from_utf8(scene.relay.heard())?;
    let here = format!("00-{OTHER_TRACE}-{}-01", span.id);
    ensure!(
        heard.contains(&format!("traceparent: {here}\r\n")),
        "{heard}"
    );
    ensure!(
        heard.contains(&format!("\"traceparent\":\"{here}\"")),
        "{heard}"
    );
    ensure!(heard.matches("tracestate: ").count() == 1, "{heard}");
    scene.end().await
}

/// With what the modern revision demands, where there is something in `_meta` already.
fn with_era(mut message: Value) -> Value {
    let mut whole = modern(request(1, "tools/list", &json!({})));
    let demanded = whole["params"]["_meta"].take();
    for (name, value) in demanded.as_object().into_iter().flatten() {
        message["params"]["_meta"][name.as_str()] = value.clone();
    }
    ensure_headers(&message);
    message
}

/// Headers can be made of it.
fn ensure_headers(message: &Value) {
    assert!(!headers(message).is_empty(), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn baggage_is_passed_on_where_the_config_says_so() -> Result<()> {
    let said = json!({ "baggage": "user=alice" });
    let world = World::of(&config("")).await?;
    let reply = world.post("local", &meta(&said)).await?;
    ensure!(told(&reply)?["baggage"].is_null(), "{:?}", told(&reply)?);
    world.reload(&config("telemetry.baggage = \"pass\""))?;
    let reply = world.post("local", &meta(&said)).await?;
    ensure!(told(&reply)?["baggage"] == "user=alice");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_a_trace_is_passed_on_as_it_came_and_is_in_the_record() -> Result<()> {
    let world = World::of(&config("")).await?;
    world.ready("s", 0).await?;
    let said = json!({ "traceparent": PARENT, "tracestate": "a=1" });
    let reply = world.post("local", &meta(&said)).await?;
    let got = told(&reply)?;
    ensure!(
        got["traceparent"] == PARENT && got["tracestate"] == "a=1",
        "{got}"
    );
    let record = world.records().await?.pop().context("a record")?.row;
    ensure!(record.trace_id.as_deref() == Some(TRACE));
    world.post("local", &meta(&json!({}))).await?.answer()?;
    let record = world.records().await?;
    ensure!(
        record
            .iter()
            .filter(|one| one.row.trace_id.is_some())
            .count()
            == 1
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_trace_is_ignored_and_not_passed_on() -> Result<()> {
    let rotel = collector().await?;
    let world = World::of(&config(&format!(
        "telemetry.baggage = \"pass\"\n{}",
        to(&rotel, "")
    )))
    .await?;
    world.ready("s", 0).await?;
    let long = "x".repeat(10_000);
    let hostile = [
        json!({ "traceparent": "00-0-0-00", "tracestate": "a=1" }),
        json!({ "traceparent": PARENT.to_uppercase() }),
        json!({ "traceparent": 7, "tracestate": [], "baggage": {} }),
        json!({ "traceparent": format!("{PARENT}\r\nX-Evil: CANARY"), "baggage": "a=1\r\nX-Evil: CANARY" }),
        json!({ "traceparent": format!("00-{}-{ABOVE}-01", "0".repeat(32)), "baggage": "CANARY" }),
        json!({ "traceparent": long, "tracestate": format!("CANARY={long}"), "baggage": format!("k={long}") }),
    ];
    for said in &hostile {
        let reply = world.post("local", &meta(said)).await?;
        let got = told(&reply)?;
        let (trace, _) = ids(&got["traceparent"])?;
        ensure!(trace != TRACE, "{got}");
        for name in ["tracestate", "baggage"] {
            ensure!(got[name].is_null(), "{name} of {said}: {got}");
        }
        ensure!(!got.to_string().contains("CANARY"), "{got}");
    }
    let spans = spans(&rotel, hostile.len()).await?;
    ensure!(
        spans.iter().all(|span| span.parent.is_empty()),
        "{spans:#?}"
    );
    ensure!(!rotel.output()?.contains("CANARY"));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_sampled_is_not_sent_but_one_that_fails_is() -> Result<()> {
    let rotel = collector().await?;
    let world = World::of(&config(&to(&rotel, "ratio = 0"))).await?;
    world.ready("s", 0).await?;
    let reply = world.post("local", &meta(&json!({}))).await?;
    let told_flags = told(&reply)?["traceparent"].clone();
    ensure!(
        told_flags
            .as_str()
            .is_some_and(|parent| parent.ends_with("-02")),
        "{told_flags}"
    );
    let nothing = modern(call(8, "s.nothing", &json!({})));
    world.post("local", &nothing).await?.code()?;
    let span = only(&rotel).await?;
    ensure!(
        span.name == "tools/call",
        "the client made the name up: {span:#?}"
    );
    ensure!(span.status == "STATUS_CODE_ERROR", "{span:#?}");
    ensure!(span.attributes.get("error.type").map(String::as_str) == Some("-32602"));
    ensure!(
        span.attributes
            .get("portcullis.outcome")
            .map(String::as_str)
            == Some("refused")
    );

    // A caller that keeps its trace has this part of it kept as well.
    let said = json!({ "traceparent": PARENT });
    world.post("local", &meta(&said)).await?.answer()?;
    spans(&rotel, 2).await?;

    // A reload takes all of it over.
    world.reload(&config(&to(
        &rotel,
        "ratio = 1\nerrors = false\nparent = false",
    )))?;
    world.post("local", &nothing).await?.code()?;
    world.post("local", &meta(&json!({}))).await?.answer()?;
    let found = spans(&rotel, 4).await?;
    ensure!(
        found
            .iter()
            .filter(|span| span.name == "tools/call")
            .count()
            == 2
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_costs_no_call_and_gets_what_waited_when_it_is_back() -> Result<()>
{
    let mut rotel = collector().await?;
    let world = World::of(&config(&to(&rotel, ""))).await?;
    world.ready("s", 0).await?;
    rotel.stop()?;
    for _ in 0..3 {
        world.post("local", &meta(&json!({}))).await?.answer()?;
    }
    let health = || {
        let status = world.gate().status();
        let traces = status["dependencies"]
            .as_array()
            .and_then(|all| all.iter().find(|one| one["name"] == "traces").cloned());
        traces.unwrap_or_default()
    };
    until("the collector is down", async || {
        Ok(health()["state"] == "down")
    })
    .await?;
    ensure!(world.gate().is_ready(), "calls are taken all the same");
    world.post("local", &meta(&json!({}))).await?.answer()?;
    rotel.start_again().await?;
    spans(&rotel, 4).await?;
    until("it is well again", async || Ok(health()["state"] == "ok")).await?;
    ensure!(world.metric("portcullis_spans_sent_total")? == 4.0);
    ensure!(world.metric("portcullis_spans_dropped_total")? == 0.0);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_are_sent_when_the_gate_stops() -> Result<()> {
    let rotel = collector().await?;
    let world = World::of(&config(&to(&rotel, ""))).await?;
    world.ready("s", 0).await?;
    world.post("local", &meta(&json!({}))).await?.answer()?;
    world.end().await?;
    only(&rotel).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_word_of_a_client_is_in_a_span() -> Result<()> {
    let rotel = collector().await?;
    let more = format!(
        "{}headers = {{ Authorization = \"Bearer CANARY-collector\" }}",
        to(&rotel, "")
    );
    let world = World::of(&config(&more)).await?;
    world.ready("s", 0).await?;
    let argument = json!({ "text": "CANARY-argument" });
    let resource = json!({ "uri": "file:///CANARY-resource" });
    for message in [
        call(1, "s.echo", &argument),
        call(2, "CANARY-tool", &argument),
        request(3, "resources/read", &resource),
        request(4, "prompts/get", &json!({ "name": "CANARY-prompt" })),
        request(5, "CANARY/method", &json!({})),
    ] {
        world.post("local", &modern(message)).await?;
    }
    let spans = spans(&rotel, 5).await?;
    ensure!(spans.len() == 5);
    ensure!(!rotel.output()?.contains("CANARY"), "{}", rotel.output()?);
    world.advance(Duration::from_secs(1));
    world.end().await
}
