//! What is counted is exported, under the names of the list and in both formats.

use std::time::SystemTime;

use super::*;

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
struct Still(parking_lot::Mutex<Duration>);

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant(*self.0.lock())
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

fn call<'a>(method: &'static str, stages: &'a Stages, took: Duration) -> Call<'a> {
    Call {
        method,
        transport: "http",
        revision: "2026-07-28",
        status: 200,
        outcome: Outcome::Ok,
        code: None,
        decided: Decided::Allow,
        stages,
        took,
    }
}

/// These lines are there.
fn has(text: &str, lines: &[&str]) {
    for line in lines {
        let found = text.lines().any(|found| found == *line);
        assert!(found, "{line} is not in\n{text}");
    }
}

#[test]
fn what_is_counted_is_exported_under_its_name() {
    let metrics = Metrics::new("1.2.3");
    let files = UpstreamId::parse("files").unwrap();
    let mut stages = Stages::begin(Instant::default());
    stages.enter(Stage::Dispatch, Instant::default());
    stages.leave(Instant(Duration::from_millis(2)));
    metrics.call(&call("tools/call", &stages, Duration::from_millis(3)));
    metrics.call(&call("tools/call", &stages, Duration::from_secs(90)));
    metrics.rejected("busy");
    metrics.limit_hit("tool_call");
    metrics.audit_refused();
    metrics.upstream_request(&UpstreamRequest {
        upstream: &files,
        method: "tools/call",
        transport: "stdio",
        revision: Some(Revision::LATEST),
        outcome: UpstreamOutcome::Timeout,
        code: None,
        took: Duration::from_secs(60),
    });
    let calls = (metrics.call_in_flight(), metrics.call_in_flight());

    let text = metrics.encode(Format::OpenMetrics);
    has(
        &text,
        &[
            "portcullis_build_info{version=\"1.2.3\"} 1",
            "mcp_request_duration_seconds_count{method=\"tools/call\",status_code=\"200\"} 2",
            "mcp_request_duration_seconds_bucket{method=\"tools/call\",status_code=\"200\",le=\"0.0025\"} 0",
            "mcp_request_duration_seconds_bucket{method=\"tools/call\",status_code=\"200\",le=\"0.005\"} 1",
            "mcp_request_duration_seconds_bucket{method=\"tools/call\",status_code=\"200\",le=\"60.0\"} 1",
            "mcp_request_duration_seconds_bucket{method=\"tools/call\",status_code=\"200\",le=\"+Inf\"} 2",
            "mcp_request_duration_seconds_sum{method=\"tools/call\",status_code=\"200\"} 90.003",
            "mcp_server_operation_duration_seconds_count{mcp_method_name=\"tools/call\",gen_ai_operation_name=\"execute_tool\",mcp_protocol_version=\"2026-07-28\",network_protocol_name=\"http\",network_transport=\"tcp\"} 2",
            "mcp_client_operation_duration_seconds_count{mcp_method_name=\"tools/call\",error_type=\"timeout\",gen_ai_operation_name=\"execute_tool\",mcp_protocol_version=\"2026-07-28\",network_transport=\"pipe\"} 1",
            "portcullis_upstream_request_duration_seconds_bucket{upstream=\"files\",outcome=\"timeout\",le=\"60.0\"} 1",
            "portcullis_stage_duration_seconds_bucket{stage=\"dispatch\",le=\"0.001\"} 0",
            "portcullis_stage_duration_seconds_bucket{stage=\"dispatch\",le=\"0.0025\"} 2",
            "portcullis_decisions_total{decision=\"allow\"} 2",
            "portcullis_rejections_total{reason=\"busy\"} 1",
            "mcp_rate_limit_hits_total{limit_key=\"tool_call\",user_id=\"-\"} 1",
            "portcullis_calls_in_flight 2",
            "portcullis_audit_refused_total 1",
            "# TYPE portcullis_audit_refused counter",
            "# UNIT mcp_request_duration_seconds seconds",
        ],
    );
    assert!(text.ends_with("# EOF\n"));

    drop(calls);
    let text = metrics.encode(Format::Text);
    has(
        &text,
        &[
            "portcullis_calls_in_flight 0",
            "# TYPE portcullis_audit_refused_total counter",
            "portcullis_audit_refused_total 1",
            "# TYPE portcullis_build_info gauge",
        ],
    );
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
}

#[test]
fn a_session_is_counted_while_it_lasts_and_measured_when_it_ends() {
    let (metrics, still) = (Metrics::new("0"), Arc::new(Still::default()));
    let clock = Arc::clone(&still) as Arc<dyn Clock>;
    let session = metrics.session("websocket", &clock);
    let before = metrics.encode(Format::Text);
    has(&before, &["portcullis_sessions 1"]);
    assert!(!before.contains("mcp_server_session_duration_seconds_count"));
    *still.0.lock() = Duration::from_secs(45);
    drop(session);
    let labels = "network_protocol_name=\"websocket\",network_transport=\"tcp\"";
    has(
        &metrics.encode(Format::Text),
        &[
            "portcullis_sessions 0",
            &format!("mcp_server_session_duration_seconds_bucket{{{labels},le=\"10.0\"}} 0"),
            &format!("mcp_server_session_duration_seconds_bucket{{{labels},le=\"60.0\"}} 1"),
        ],
    );
}

#[test]
fn numbers_are_looked_up_when_somebody_asks() {
    let metrics = Metrics::new("0");
    let level = Arc::new(parking_lot::Mutex::new(3.0));
    let asked = Arc::clone(&level);
    metrics.at_scrape(move |samples| {
        samples.set(Metric::SinkLag, &["to \"here\"\n"], *asked.lock());
    });
    let line = |lag: &str| {
        format!("portcullis_audit_sink_lag_records{{sink=\"to \\\"here\\\"\\n\"}} {lag}")
    };
    has(&metrics.encode(Format::Text), &[&line("3")]);
    *level.lock() = 4.5;
    has(&metrics.encode(Format::Text), &[&line("4.5")]);
}

#[test]
fn every_metric_of_the_list_is_there_before_anything_happens() {
    let text = Metrics::new("0").encode(Format::Text);
    for metric in Metric::ALL {
        let row = metric.row();
        let help = format!("# HELP {} {}", row.name, row.help);
        has(&text, &[&help]);
    }
    let families = text.lines().filter(|line| line.starts_with("# TYPE "));
    assert_eq!(families.count(), Metric::ALL.len());
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    for metric in Metric::ALL {
        let row = metric.row();
        let is_counter = row.kind == Kind::Counter;
        assert_eq!(row.name.ends_with("_total"), is_counter, "{}", row.name);
        let has_unit = row.name.ends_with("_seconds") || row.name.ends_with("_size");
        assert!(row.kind != Kind::Histogram || has_unit, "{}", row.name);
        assert!(
            !row.help.ends_with('.') && !row.help.is_empty(),
            "{}",
            row.name
        );
        let mut labels: Vec<_> = row.labels.iter().map(|label| label.name).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), row.labels.len(), "{}", row.name);
    }
}

#[test]
fn a_made_up_code_or_method_is_no_label_of_its_own() {
    let metrics = Metrics::new("0");
    let stages = Stages::begin(Instant::default());
    for code in [i64::MIN, -31_337, 7] {
        metrics.call(&Call {
            outcome: Outcome::Failed,
            code: Some(code),
            revision: "1900-01-01",
            transport: "carrier pigeon",
            ..call("other", &stages, Duration::ZERO)
        });
    }
    let labels = "mcp_method_name=\"other\",error_type=\"_OTHER\"";
    let line = format!("mcp_server_operation_duration_seconds_count{{{labels}}} 3");
    has(&metrics.encode(Format::Text), &[&line]);
}

#[test]
fn an_upstream_that_is_gone_has_no_series() {
    let metrics = Metrics::new("0");
    let files = UpstreamId::parse("files").unwrap();
    drop(metrics.upstream_call(&files));
    has(
        &metrics.encode(Format::Text),
        &["portcullis_upstream_calls_in_flight{upstream=\"files\"} 0"],
    );
    metrics.upstreams_are(|_| false);
    assert!(!metrics.encode(Format::Text).contains("\"files\""));
}

#[test]
fn the_format_is_the_one_that_is_wanted() {
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (accept, format) in [
        (prometheus, Format::OpenMetrics),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("", Format::Text),
        ("*/*", Format::Text),
        ("text/plain", Format::Text),
        ("text/html, */*;q=0.8", Format::Text),
        ("application/openmetrics-text;q=0", Format::Text),
        (
            "application/openmetrics-text;q=0.2, text/plain;q=0.9",
            Format::Text,
        ),
    ] {
        assert_eq!(Format::wanted(accept), format, "{accept}");
    }
}

#[test]
fn a_histogram_is_as_exact_as_its_buckets() {
    let histogram = Histogram::default();
    for micros in [10, 50, 51, 100, 70_000_000] {
        histogram.took(Duration::from_micros(micros));
    }
    let seen = histogram.get();
    assert_eq!(seen.counts[..3], [2, 2, 0]);
    assert_eq!(seen.counts.last(), Some(&1));
    assert_eq!(seen.count(), 5);
    assert_eq!(seen.counts.len(), seen.bounds.len() + 1);
    assert!(seen.bounds.len() <= 20 && seen.bounds.is_sorted());
}

#[test]
fn what_is_counted_in_a_row_has_its_own_place_there() {
    fn places(all: impl Iterator<Item = usize>) {
        for (place, index) in all.enumerate() {
            assert_eq!(place, index);
        }
    }
    places(Stage::ALL.iter().map(|one| *one as usize));
    places(Decided::ALL.iter().map(|one| *one as usize));
    places(ScreenedKind::ALL.iter().map(|one| *one as usize));
    places(PushOutcome::ALL.iter().map(|one| *one as usize));
    places(Task::ALL.iter().map(|one| *one as usize));
}
