//! Metrics that are pushed, as another team's collector understands them: that they say what `/metrics` says, and that
//! neither a collector that is away nor the end of the gate costs a number.
//!
//! What a push is made of is `observe`'s to test; that the names and numbers are right is `metrics`'.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result, ensure};
use observe::metrics::{Group, Kind, Metric, Value as Seen};
use serde_json::{Value, json};
use testkit::fixtures::{Point, Rotel, Signal};
use testkit::mcp::{call, modern};
use testkit::world::{Exchange, World, until};

use crate::program::{Program, post};

/// OpenTelemetry's name for the time that clients' requests take.
const OPERATIONS: &str = "mcp.server.operation.duration";
const CUMULATIVE: &str = "AGGREGATION_TEMPORALITY_CUMULATIVE";

async fn collector() -> Result<Rotel> {
    Rotel::start(Signal::Metrics).await
}

fn to(rotel: &Rotel, more: &str) -> String {
    let endpoint = rotel.endpoint();
    format!("[telemetry.metrics]\nendpoint = \"{endpoint}\"\n{more}\n")
}

fn config(telemetry: &str) -> String {
    format!(
        "builtins = [\"time\"]\nlimits.tool_call = {{ max = 1000000, per = \"1s\" }}\n{telemetry}"
    )
}

fn now() -> Value {
    modern(call(7, "time.now", &json!({})))
}

/// Of the last push that has it: a metric's point with this among its attributes.
fn last(rotel: &Rotel, name: &str, attribute: (&str, &str)) -> Result<Option<Point>> {
    let mut points = rotel.points()?;
    points.retain(|point| {
        let said = point.attributes.get(attribute.0);
        point.name == name && said.is_some_and(|said| said == attribute.1)
    });
    Ok(points.pop())
}

fn calls(rotel: &Rotel) -> Result<Option<Point>> {
    last(rotel, OPERATIONS, ("mcp.method.name", "tools/call"))
}

/// Waits until the collector knows of so many calls.
async fn knows(rotel: &Rotel, count: f64) -> Result<Point> {
    until(
        &format!("the collector knows of {count} calls"),
        async || {
            // Its last line is there, and not only its first.
            let calls = calls(rotel)?;
            Ok(calls.is_some_and(|calls| calls.value == count && whole(&calls)))
        },
    )
    .await
    .with_context(|| rotel.output().unwrap_or_default())?;
    calls(rotel)?.context("it was there")
}

/// Whether all lines of a histogram were printed.
fn whole(point: &Point) -> bool {
    point.buckets.len() == point.bounds.len() + 1
}

fn health(world: &World) -> Value {
    let status = world.gate().status();
    let mut all = status["dependencies"].as_array().into_iter().flatten();
    let found = all.find(|one| one["name"] == "metrics");
    found.cloned().unwrap_or_default()
}

/// `GET /metrics`, as the person at the machine.
async fn page(gate: &Program) -> Result<String> {
    let address = gate.address();
    let head = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = Exchange::send(address, head.as_bytes()).await?;
    ensure!(answer.status == 200, "{}", answer.status);
    Ok(String::from_utf8(answer.body().await?)?)
}

/// The value on the page of the one series that begins so.
fn number(page: &str, series: &str) -> Result<f64> {
    let line = page.lines().find(|line| line.starts_with(series));
    let line = line.with_context(|| format!("no {series}:\n{page}"))?;
    let (_, value) = line.rsplit_once(' ').context("no value")?;
    Ok(value.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_what_the_page_says() -> Result<()> {
    let rotel = collector().await?;
    let resource = "telemetry.resource = { \"deployment.environment.name\" = \"test\" }\n";
    let telemetry = to(&rotel, "interval = \"1s\"");
    let gate = Program::start(&config(&format!("{resource}{telemetry}"))).await?;
    for _ in 0..5 {
        post(gate.address(), None, &now()).await?;
    }
    let seen = knows(&rotel, 5.0).await?;
    ensure!(seen.kind == "Histogram" && seen.unit == "s", "{seen:#?}");
    ensure!(seen.temporality == CUMULATIVE, "{seen:#?}");
    ensure!(seen.since > 0 && seen.since < seen.at, "{seen:#?}");
    for (name, value) in [
        ("gen_ai.operation.name", "execute_tool"),
        ("network.transport", "tcp"),
    ] {
        let said = seen.attributes.get(name).map(String::as_str);
        ensure!(said == Some(value), "{name}: {seen:#?}");
    }
    for (name, value) in [
        ("service.name", "portcullis"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("deployment.environment.name", "test"),
    ] {
        let said = seen.resource.get(name).map(String::as_str);
        ensure!(said == Some(value), "{name}: {seen:#?}");
    }
    ensure!(seen.resource.contains_key("service.instance.id"));

    let page = page(&gate).await?;
    let series = "mcp_server_operation_duration_seconds";
    let of = "{mcp_method_name=\"tools/call\"";
    ensure!(number(&page, &format!("{series}_count{of}"))? == seen.value);
    ensure!(number(&page, &format!("{series}_sum{of}"))? == seen.sum);
    // There a bucket has all that lies below its end, here it is alone.
    let buckets = page
        .lines()
        .filter(|line| line.starts_with(&format!("{series}_bucket{of}")));
    let mut below = 0;
    let mut pushed = seen.buckets.iter();
    for line in buckets {
        below += pushed.next().context("too few buckets")?;
        ensure!(line.ends_with(&format!(" {below}")), "{line}: {seen:#?}");
    }
    ensure!(pushed.next().is_none() && below == 5, "{seen:#?}");

    let allowed = last(&rotel, "portcullis_decisions", ("decision", "allow"))?;
    let allowed = allowed.context("decisions")?;
    ensure!(
        allowed.kind == "Sum" && allowed.is_monotonic,
        "{allowed:#?}"
    );
    ensure!(allowed.value == number(&page, "portcullis_decisions_total{decision=\"allow\"}")?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_push_has_every_number_of_the_gate() -> Result<()> {
    let rotel = collector().await?;
    let world = World::of(&config(&to(&rotel, "interval = \"1h\""))).await?;
    for _ in 0..3 {
        world.post("local", &now()).await?.answer()?;
    }
    let nothing = modern(call(8, "nowhere.nothing", &json!({})));
    world.post("local", &nothing).await?.code()?;
    let metrics = world.gate().metrics().clone();
    world.end().await?;
    let points = last_push(&rotel).await?;
    let groups = metrics.snapshot();
    // What counts calls moves no more after the last of them.
    for metric in [
        Metric::RequestDuration,
        Metric::ServerOperationDuration,
        Metric::ClientOperationDuration,
        Metric::StageDuration,
        Metric::UpstreamRequestDuration,
        Metric::Decisions,
        Metric::Rejections,
        Metric::AuthAttempts,
        Metric::Screened,
    ] {
        let group = groups.iter().find(|group| group.metric == metric);
        same(group.context("it is in the list")?, &points)?;
    }
    let names: BTreeSet<&str> = points.iter().map(|point| point.name.as_str()).collect();
    for group in groups.iter().filter(|group| !group.samples.is_empty()) {
        let name = group.metric.instrument();
        ensure!(names.contains(name), "{name} is not pushed");
    }
    // What the gate was it is no more, and that is not the same as being down.
    for point in &points {
        ensure!(point.has_value == (point.kind != "Gauge"), "{point:#?}");
    }
    Ok(())
}

/// All of what a gate pushed at its end, when gauges have no value.
async fn last_push(rotel: &Rotel) -> Result<Vec<Point>> {
    let ready = Metric::Ready.row().name;
    let end = Metric::ProcessStart.row().name;
    // Every push begins with the same metric, and ends with one.
    let last = || -> Result<Option<Vec<Point>>> {
        let mut points = rotel.points()?;
        let first = points.first().map(|point| point.name.clone());
        let start = points
            .iter()
            .rposition(|point| Some(&point.name) == first.as_ref());
        let last = points.split_off(start.unwrap_or_default());
        let is_end = last
            .iter()
            .any(|point| point.name == ready && !point.has_value);
        let is_whole = last.last().is_some_and(|point| point.name == end);
        Ok((is_end && is_whole).then_some(last))
    };
    // It was taken before the gate ended; that it is printed as well may take a moment.
    until("all of it is printed", async || Ok(last()?.is_some())).await?;
    last()?.context("it was there")
}

/// Each series of a metric has one point, with the same number.
fn same(group: &Group, points: &[Point]) -> Result<()> {
    let row = group.metric.row();
    let name = group.metric.instrument();
    let of = points.iter().filter(|point| point.name == name);
    ensure!(of.count() == group.samples.len(), "{name}: {points:#?}");
    for sample in &group.samples {
        let pairs = row.labels.iter().zip(&sample.labels);
        let attributes: BTreeMap<String, String> = pairs
            .filter(|(_, value)| !value.is_empty())
            .map(|(label, value)| {
                let name = label.attribute.unwrap_or(label.name);
                (name.to_owned(), value.clone())
            })
            .collect();
        let point = points
            .iter()
            .find(|point| point.name == name && point.attributes == attributes);
        let point = point.with_context(|| format!("{name} of {attributes:?}"))?;
        match &sample.value {
            Seen::Number(value) => ensure!(point.value == *value, "{point:#?}, not {value}"),
            Seen::Distribution(seen) => {
                ensure!(point.kind == "Histogram", "{point:#?}");
                ensure!(point.buckets == seen.counts, "{point:#?}, not {seen:?}");
                ensure!(point.bounds == seen.bounds, "{point:#?}, not {seen:?}");
                ensure!(point.sum == seen.sum, "{point:#?}, not {seen:?}");
            }
        }
        ensure!(
            row.kind != Kind::Counter || point.is_monotonic,
            "{point:#?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_comes_late_gets_all_that_was_counted_and_one_that_goes_is_told_once()
-> Result<()> {
    let mut rotel = collector().await?;
    rotel.stop()?;
    let gate = Program::start(&config(&to(&rotel, "interval = \"1s\""))).await?;
    for _ in 0..3 {
        post(gate.address(), None, &now()).await?;
    }
    let failed = "portcullis_metric_pushes_total{outcome=\"failed\"}";
    let fails = async |wanted: f64| {
        until("pushes failed", async || {
            Ok(number(&page(&gate).await?, failed)? >= wanted)
        })
        .await
    };
    fails(3.0).await?;
    let told = |text: &str| -> Result<usize> {
        let output = gate.output()?;
        let lines = output.lines().filter(|line| line.contains(text));
        Ok(lines.filter(|line| line.contains("metrics")).count())
    };
    ensure!(told("something is down")? == 1, "{}", gate.output()?);

    rotel.start_again().await?;
    let first = knows(&rotel, 3.0).await?;
    until("it is well again", async || Ok(told("well again")? == 1)).await?;
    let taken = "portcullis_metric_pushes_total{outcome=\"ok\"}";
    ensure!(number(&page(&gate).await?, taken)? > 0.0);

    // It goes, and comes back: what was counted meanwhile is in the sum, which is still the same one.
    rotel.stop()?;
    post(gate.address(), None, &now()).await?;
    let before = number(&page(&gate).await?, failed)?;
    fails(before + 1.0).await?;
    rotel.start_again().await?;
    let second = knows(&rotel, 4.0).await?;
    ensure!(second.since == first.since, "{first:#?}{second:#?}");
    ensure!(second.at > first.at, "{first:#?}{second:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_is_told_to_end_pushes_its_last_numbers_first() -> Result<()> {
    let rotel = collector().await?;
    let mut gate = Program::start(&config(&to(&rotel, "interval = \"1h\""))).await?;
    post(gate.address(), None, &now()).await?;
    gate.stop()?;
    let points = last_push(&rotel).await?;
    let allowed = |point: &&Point| point.name == "portcullis_decisions" && point.value == 1.0;
    ensure!(points.iter().any(|point| allowed(&point)), "{points:#?}");
    // The number that no scrape would have seen: nobody is woken because a gate was stopped.
    let ready = points.iter().find(|point| point.name == "portcullis_ready");
    ensure!(ready.is_some_and(|ready| !ready.has_value), "{ready:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_first_push_nor_that_to_another_collector_waits_for_the_interval() -> Result<()>
{
    let (first, second) = (collector().await?, collector().await?);
    let world = World::of(&config(&to(&first, "interval = \"1h\""))).await?;
    world.post("local", &now()).await?.answer()?;
    knows(&first, 1.0).await?;
    world.post("local", &now()).await?.answer()?;
    world.reload(&config(&to(&second, "interval = \"1h\"")))?;
    knows(&second, 2.0).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_serves_one_command_pushes_nothing() -> Result<()> {
    let rotel = collector().await?;
    let mut gate = Program::prepare(&[])?;
    let file = gate.folder().join("portcullis.toml");
    fs::write(file, config(&to(&rotel, "interval = \"1h\"")))?;
    gate.run(&["tools", "call", "time.now"]).await?;
    // One that stays pushes after it: what the collector has by then is its own.
    gate.serve("debug").await?;
    post(gate.address(), None, &now()).await?;
    gate.stop()?;
    knows(&rotel, 1.0).await?;
    let points = rotel.points()?;
    let ids = points
        .iter()
        .map(|point| point.resource.get("service.instance.id"));
    let ids: BTreeSet<_> = ids.collect();
    ensure!(ids.len() == 1, "{ids:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_begins_and_ends_it() -> Result<()> {
    let rotel = collector().await?;
    let world = World::of(&config("")).await?;
    world.post("local", &now()).await?.answer()?;
    ensure!(health(&world).is_null(), "{}", health(&world));
    world.reload(&config(&to(&rotel, "interval = \"1s\"")))?;
    knows(&rotel, 1.0).await?;
    until("it is well", async || Ok(health(&world)["state"] == "ok")).await?;

    world.reload(&config(""))?;
    until("it is no more", async || Ok(health(&world).is_null())).await?;
    let metrics = world.gate().metrics().clone();
    let pushes = || {
        let groups = metrics.snapshot().into_iter();
        let mut groups = groups.filter(|group| group.metric == Metric::MetricPushes);
        groups.next().map(|group| group.samples)
    };
    let before = pushes().context("pushes are counted")?;
    ensure!(before.iter().any(|one| one.value != Seen::Number(0.0)));
    world.end().await?;
    // Not even at the end.
    ensure!(pushes() == Some(before), "{:?}", pushes());
    Ok(())
}
