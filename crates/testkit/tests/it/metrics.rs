//! Metrics from outside: what a real Prometheus makes of them, that the list of them is the whole, that no label is a
//! word of a client's, and that rules and dashboard speak of what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observe::metrics::{Group, Kind, Value as Seen};
use observe::{Format, Metric};
use serde_json::{Value, json};
use testkit::fixtures::Prometheus;
use testkit::mcp::{call, modern, request};
use testkit::world::{World, until};

use crate::program::{Program, post};

/// Alice may call everything but one tool, and twenty times an hour at that.
const CONFIG: &str = r#"
builtins = ["time"]
upstreams.one = { stdio = ["{scripted}"] }
upstreams.two = { stdio = ["{scripted}"] }
limits.tool_call = { max = 20, per = "1h" }
roles.reader = { members = ["alice"], allow = ["*"], deny = ["two.echo"] }
"#;
/// A name that would break the text, were it in there.
const HOSTILE: &str = "evil\"} 1\n# HELP x\nportcullis_ready 7\n{\\";

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(path)
}

fn echo(upstream: &str) -> Value {
    call(1, &format!("{upstream}.echo"), &json!({ "text": "here" }))
}

async fn scraping(world: &World) -> Result<Prometheus> {
    let key = world.key("alice")?.context("alice has a key")?;
    Prometheus::start(world.untapped(), &key, &deploy("prometheus/alerts.yml")).await
}

/// Waits until an expression comes to so much.
async fn comes_to(prometheus: &Prometheus, expression: &str, wanted: f64) -> Result<()> {
    until(&format!("`{expression}` is {wanted}"), async || {
        Ok(prometheus.number(expression).await? == Some(wanted))
    })
    .await
}

/// Runs `promtool` with this on its standard input; what it printed.
fn promtool(arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("promtool is not installed; run: cargo xtask setup")?;
    let mut stdin = child.stdin.take().context("its standard input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(output.status.success(), "promtool {arguments:?}: {text}");
    Ok(text)
}

/// `GET /metrics` as somebody who accepts this.
async fn get(world: &World, accept: &str) -> Result<(String, String)> {
    let head = format!("GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n");
    let mut answer = world
        .send_raw(&world.complete("alice", &head, b"")?)
        .await?;
    ensure!(answer.status == 200, "{}", answer.status);
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    Ok((kind, String::from_utf8(answer.body().await?)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_scrapes_the_gate_knows_its_numbers() -> Result<()> {
    let world = World::of(CONFIG).await?;
    for _ in 0..6 {
        world.post("alice", &echo("one")).await?;
    }
    world.post("alice", &echo("nowhere")).await?;
    world.post("alice", &echo("two")).await?;
    // Of ten calls, one takes three seconds by the gate's clock.
    let slow = call(2, "one.slow", &json!({ "ms": 300 }));
    let advance = async {
        until("the upstream is at it", async || {
            let groups = world.gate().metrics().snapshot();
            Ok(count(&groups, Metric::UpstreamCalls, &["one"]) > 0.0)
        })
        .await?;
        world.advance(Duration::from_secs(3));
        anyhow::Ok(())
    };
    tokio::try_join!(world.post("alice", &slow), advance)?;
    let failing = call(3, "one.fail", &json!({}));
    world.post("alice", &failing).await?;

    let prometheus = scraping(&world).await?;
    comes_to(&prometheus, "up{job=\"portcullis\"}", 1.0).await?;
    let calls = "mcp_request_duration_seconds_count{method=\"tools/call\"}";
    comes_to(&prometheus, &format!("sum({calls})"), 10.0).await?;
    for (expression, wanted) in [
        ("sum(mcp_request_duration_seconds_sum)", 3.0),
        ("portcullis_decisions_total{decision=\"allow\"}", 8.0),
        ("portcullis_decisions_total{decision=\"unseen\"}", 1.0),
        ("portcullis_decisions_total{decision=\"deny\"}", 1.0),
        ("portcullis_rejections_total{reason=\"unknown_tool\"}", 2.0),
        (
            "portcullis_upstream_request_duration_seconds_count{upstream=\"one\",outcome=\"ok\"}",
            7.0,
        ),
        (
            "portcullis_upstream_request_duration_seconds_count{upstream=\"one\",outcome=\"tool_error\"}",
            1.0,
        ),
        (
            "mcp_server_operation_duration_seconds_count{mcp_method_name=\"tools/call\",error_type=\"\"}",
            7.0,
        ),
        (
            "mcp_server_operation_duration_seconds_count{error_type=\"tool_error\",network_transport=\"tcp\"}",
            1.0,
        ),
        (
            "mcp_server_operation_duration_seconds_count{error_type=\"-32602\"}",
            2.0,
        ),
        (
            "sum(mcp_client_operation_duration_seconds_count{network_transport=\"pipe\"})",
            8.0,
        ),
        ("sum(portcullis_upstream_up)", 3.0),
        ("portcullis_ready", 1.0),
        ("portcullis_calls_in_flight", 0.0),
        (
            "portcullis_stage_duration_seconds_count{stage=\"dispatch\"}",
            8.0,
        ),
        (
            "portcullis_stage_duration_seconds_sum{stage=\"dispatch\"}",
            3.0,
        ),
        // One of ten is among the slowest thousandth: between 2.5 and 5 seconds, where its bucket is.
        (
            "histogram_quantile(0.999, sum by (le) (mcp_request_duration_seconds_bucket{method=\"tools/call\"})) > bool 2.5",
            1.0,
        ),
        (
            "histogram_quantile(0.999, sum by (le) (mcp_request_duration_seconds_bucket{method=\"tools/call\"})) <= bool 5",
            1.0,
        ),
        (
            "histogram_quantile(0.5, sum by (le) (mcp_request_duration_seconds_bucket{method=\"tools/call\"})) <= bool 0.00005",
            1.0,
        ),
        ("process_resident_memory_bytes > bool 1000000", 1.0),
        ("process_open_fds > bool 10", 1.0),
        ("process_threads > bool 2", 1.0),
        ("time() - process_start_time_seconds < bool 3600", 1.0),
        ("portcullis_build_info", 1.0),
    ] {
        comes_to(&prometheus, expression, wanted).await?;
    }

    // It knows the kinds, and takes the rules.
    let metadata = prometheus.ask("metadata", None).await?;
    for metric in Metric::ALL {
        let row = metric.row();
        // In OpenMetrics, a family's name has no such end.
        let end = match row.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        let name = row.name.strip_suffix(end).unwrap_or(row.name);
        let told = &metadata[name][0];
        ensure!(told["type"] == row.kind.word(), "{name}: {told}");
        ensure!(told["help"] == row.help, "{name}: {told}");
    }
    until("the rules are judged", async || {
        let rules = prometheus.ask("rules", None).await?;
        let groups = rules["groups"].as_array().context("no groups")?;
        let rules: Vec<_> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().into_iter().flatten())
            .collect();
        ensure!(rules.len() > 20, "{rules:?}");
        ensure!(
            !rules.iter().any(|rule| rule["health"] == "err"),
            "{rules:?}"
        );
        Ok(rules.iter().all(|rule| rule["health"] == "ok"))
    })
    .await?;
    drop(prometheus);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_takes_the_text_and_each_client_gets_the_format_that_it_wants() -> Result<()> {
    let world = World::of(CONFIG).await?;
    world.post("alice", &echo("one")).await?;
    let (kind, text) = get(&world, "*/*").await?;
    ensure!(kind == Format::Text.content_type(), "{kind}");
    let said = promtool(&["check", "metrics"], &text)?;
    ensure!(said.is_empty(), "{said}");
    let (kind, text) = get(&world, "application/openmetrics-text; version=1.0.0").await?;
    ensure!(kind == Format::OpenMetrics.content_type(), "{kind}");
    ensure!(text.ends_with("# EOF\n"), "{text}");
    world.end().await
}

/// What is not there unless the config has it: sinks, and a certificate.
const ELSEWHERE: &[Metric] = &[
    Metric::SinkLag,
    Metric::SinkErrors,
    Metric::SinkRefused,
    Metric::CertificateExpiry,
];

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_list_has_a_number_and_no_label_is_a_clients_word() -> Result<()> {
    let world = World::of(CONFIG).await?;
    world.post("alice", &echo("one")).await?;
    world.post("alice", &echo("two")).await?;
    // Words of all kinds where a client may put them.
    let session = world.session("alice", "2025-06-18").await?;
    for message in [
        call(HOSTILE, HOSTILE, &json!({ HOSTILE: HOSTILE })),
        request(1, HOSTILE, &json!({})),
        request(1, "resources/read", &json!({ "uri": HOSTILE })),
        request(1, "prompts/get", &json!({ "name": HOSTILE })),
    ] {
        world.post_in(&session, &message).await?;
    }
    let head = "POST /mcp HTTP/1.1\r\nAuthorization: Bearer evil\r\nMcp-Session-Id: evil\r\nUser-Agent: evil\r\nContent-Type: application/json\r\n";
    let stranger = world.complete("nobody", head, modern(echo("one")).to_string().as_bytes())?;
    let refused = world.send_raw(&stranger).await?;
    ensure!(refused.status == 401, "{}", refused.status);
    world.owe(1);
    // An upstream that dies, calls that are too many, and a session that ends.
    world.post("alice", &call(1, "one.die", &json!({}))).await?;
    world.ready("one", 1).await?;
    while world.post("alice", &echo("one")).await?.status != 429 {}
    world.close(&session).await?;
    until("the session is over", async || {
        Ok(world.metric("portcullis_sessions")? == 0.0)
    })
    .await?;

    let groups = world.gate().metrics().snapshot();
    for group in &groups {
        let is_elsewhere = ELSEWHERE.contains(&group.metric);
        ensure!(
            is_elsewhere == group.samples.is_empty(),
            "{:?} has {} samples",
            group.metric,
            group.samples.len()
        );
    }
    let listed: BTreeSet<Metric> = Metric::ALL.iter().copied().collect();
    let told: BTreeSet<Metric> = groups.iter().map(|group| group.metric).collect();
    assert_eq!(listed, told);
    are_of_closed_sets(&groups)?;
    let text = world.gate().metrics().encode(Format::Text);
    ensure!(!text.contains("evil") && !text.contains("alice"), "{text}");
    ensure!(count(&groups, Metric::AuthAttempts, &["key", "ok"]) > 5.0);
    world.end().await
}

/// All values of labels are words that the code or the config has.
fn are_of_closed_sets(groups: &[Group]) -> Result<()> {
    let mut methods: BTreeSet<&str> = wire::method::METHODS.iter().map(|one| one.name).collect();
    methods.extend(["other", "extension"]);
    let upstreams = BTreeSet::from(["one", "two", "time"]);
    for group in groups {
        let row = group.metric.row();
        for sample in &group.samples {
            assert_eq!(sample.labels.len(), row.labels.len(), "{}", row.name);
            for (label, value) in row.labels.iter().zip(&sample.labels) {
                let value = value.as_str();
                let is_known = match label.name {
                    "method" | "mcp_method_name" => {
                        // Operations of the admin API, and what happens to the gate itself.
                        methods.contains(value) || observe::is_act(value)
                    }
                    "upstream" => upstreams.contains(value),
                    "status_code" => value.parse::<u16>().is_ok(),
                    "limit_key" => value == "tool_call",
                    "version" => value == env!("CARGO_PKG_VERSION"),
                    "mcp_protocol_version" => {
                        value.is_empty() || wire::Revision::parse(value).is_some()
                    }
                    // Words that the reference lists one by one, or that an enum has.
                    _ => {
                        value.len() < 32
                            && value
                                .bytes()
                                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                    }
                };
                ensure!(is_known, "{}: {}={value}", row.name, label.name);
            }
        }
    }
    Ok(())
}

fn count(groups: &[Group], metric: Metric, labels: &[&str]) -> f64 {
    let samples = groups.iter().filter(|group| group.metric == metric);
    let mut values = samples
        .flat_map(|group| &group.samples)
        .filter(|sample| sample.labels == labels)
        .map(|sample| match &sample.value {
            Seen::Number(value) => *value,
            Seen::Distribution(seen) => seen.sum,
        });
    values.next().unwrap_or_default()
}

#[test]
fn each_alert_fires_when_it_should_and_says_what_to_do() -> Result<()> {
    let rules = deploy("prometheus/alerts.yml");
    let rules = rules.to_str().context("a path")?;
    promtool(&["check", "rules", rules], "")?;
    let tests = deploy("prometheus/alerts_test.yml");
    promtool(&["test", "rules", tests.to_str().context("a path")?], "")?;
    let config = deploy("prometheus/prometheus.yml");
    let config = config.to_str().context("a path")?;
    promtool(&["check", "config", "--syntax-only", config], "")?;

    let page = fs::read_to_string(deploy("../docs/concepts/alerts.md"))?;
    let (text, tests) = (fs::read_to_string(rules)?, fs::read_to_string(tests)?);
    let alerts: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    ensure!(alerts.len() > 15, "{alerts:?}");
    for alert in alerts {
        let anchor = format!("docs/concepts/alerts.md#{}", alert.to_lowercase());
        ensure!(text.contains(&anchor), "{alert} has no page");
        ensure!(
            page.contains(&format!("\n## {alert}\n")),
            "{alert} is not in the page"
        );
        for name in [format!("{alert} fires\n"), format!("{alert} is quiet\n")] {
            ensure!(tests.contains(&name), "no test says that {name}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboard_speak_of_metrics_that_there_are() -> Result<()> {
    let dashboard = fs::read_to_string(deploy("grafana/portcullis.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard)?;
    let mut expressions = Vec::new();
    gather(&dashboard, &mut expressions);
    ensure!(expressions.len() > 30, "{}", expressions.len());
    let rules = fs::read_to_string(deploy("prometheus/alerts.yml"))?;
    let known = series();
    for text in expressions.iter().map(String::as_str).chain([&*rules]) {
        for name in names(text) {
            ensure!(
                known.contains_key(name),
                "`{name}` is not in the list: {text}"
            );
        }
    }

    // A real Prometheus takes each of them.
    let world = World::of(
        "builtins = [\"time\"]\nroles.clerk = { members = [\"alice\"], allow = [\"*\"] }\n",
    )
    .await?;
    let prometheus = scraping(&world).await?;
    for expression in &expressions {
        let expression = expression
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".*");
        if !expression.starts_with("label_values(") {
            prometheus.query(&expression).await?;
        }
    }
    drop(prometheus);
    world.end().await
}

/// All `PromQL` in a dashboard.
fn gather(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("expr" | "definition", Value::String(text)) => into.push(text.clone()),
                    _ => gather(member, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The names that a query may use: each metric's series.
fn series() -> BTreeMap<String, Metric> {
    let mut known = BTreeMap::new();
    for metric in Metric::ALL {
        let row = metric.row();
        let ends: &[&str] = match row.kind {
            Kind::Histogram => &["_bucket", "_count", "_sum"],
            Kind::Counter | Kind::Gauge | Kind::Info => &[""],
        };
        for end in ends {
            known.insert(format!("{}{end}", row.name), *metric);
        }
    }
    known
}

/// What looks like a metric's name in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let labels: BTreeSet<&str> = Metric::ALL
        .iter()
        .flat_map(|metric| metric.row().labels)
        .map(|label| label.name)
        .collect();
    text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_' && char != ':')
        .filter(|word| {
            ["portcullis_", "mcp_", "process_"]
                .iter()
                .any(|start| word.starts_with(start))
        })
        .filter(move |word| !labels.contains(word))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_waits_for_somebody_to_connect_is_not_down() -> Result<()> {
    let there = Program::start("builtins = [\"time\"]\nauth.loopback = \"off\"\n").await?;
    let config = format!(
        "builtins = [\"time\"]\nupstreams.other = {{ url = \"{}\", credential = {{ oauth = \"per-user\" }} }}\n",
        there.url("/mcp")
    );
    let world = World::of(&config).await?;
    until("it waits", async || {
        Ok(world.upstream("other")?["state"] == "waiting for somebody to connect it")
    })
    .await?;
    let text = world.gate().metrics().encode(Format::Text);
    ensure!(
        text.contains("portcullis_upstream_restarts_total{upstream=\"other\"}"),
        "{text}"
    );
    ensure!(
        !text.contains("portcullis_upstream_up{upstream=\"other\"}"),
        "{text}"
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_before_a_restart_is_signed_after_it() -> Result<()> {
    let mut gate = Program::start("builtins = [\"time\"]\n").await?;
    let message = modern(call(1, "time.now", &json!({})));
    for _ in 0..5 {
        post(gate.address(), None, &message).await?;
    }
    // As it ends it signs for all that it has.
    gate.stop()?;
    gate.serve("info").await?;
    let signed_at = "portcullis_audit_checkpoint_timestamp_seconds";
    until("the last checkpoint is known", async || {
        Ok(gate.number(signed_at).await? > 0.0)
    })
    .await?;
    until("the log was looked at", async || {
        Ok(gate.number("portcullis_audit_log_records").await? >= 5.0)
    })
    .await?;
    // That it started, and what its upstreams do: not the five calls.
    let unsigned = gate.number("portcullis_audit_unsigned_records").await?;
    ensure!(unsigned < 5.0, "{unsigned} records are not signed for");
    gate.stop()
}
