//! `[telemetry]`: where spans and metrics go, and what cannot be.

use super::*;

#[test]
fn everything_that_was_said_of_traces_holds_and_the_rest_is_as_usual() {
    let config = r#"
[telemetry]
baggage = "pass"
resource = { "deployment.environment.name" = "test" }
[telemetry.traces]
endpoint = "https://collector.example.com:4318/otlp/"
headers = { Authorization = { env = "COLLECTOR" } }
ratio = 0.01
parent = false
principal = "id"
"#;
    let place = place(
        &[("portcullis.toml", config)],
        &[("COLLECTOR", "kestrel-anvil-0451-marble")],
    );
    let tracing = place.load().unwrap().tracing;
    assert!(tracing.passes_baggage);
    assert!(!format!("{tracing:?}").contains("kestrel"), "{tracing:?}");
    let collector = tracing.collector.unwrap();
    let endpoint = &collector.endpoint;
    assert_eq!(
        endpoint.url.as_str(),
        "https://collector.example.com:4318/otlp/v1/traces"
    );
    assert_eq!(
        endpoint.headers["authorization"],
        "kestrel-anvil-0451-marble"
    );
    assert_eq!(collector.ratio, observe::trace::Ratio::new(0.01).unwrap());
    assert!(!collector.follows_parent && collector.names_principal);
    assert!(collector.keeps_errors);
    assert_eq!(
        endpoint.resource,
        [("deployment.environment.name".to_owned(), "test".to_owned())]
    );
}

#[test]
fn without_a_word_no_spans_are_made_no_metrics_pushed_and_no_baggage_is_passed_on() {
    let place = place(&[("portcullis.toml", "")], &[]);
    let loaded = place.load().unwrap();
    let tracing = loaded.tracing;
    assert!(tracing.collector.is_none() && !tracing.passes_baggage);
    assert!(loaded.pushing.is_none());
}

#[test]
fn a_whole_address_of_spans_is_taken_as_well_as_its_base() {
    for endpoint in [
        "http://127.0.0.1:4318",
        "http://127.0.0.1:4318/",
        "http://127.0.0.1:4318/v1/traces",
    ] {
        let config = format!("[telemetry.traces]\nendpoint = \"{endpoint}\"");
        let place = place(&[("portcullis.toml", &config)], &[]);
        let collector = place.load().unwrap().tracing.collector.unwrap();
        let url = &collector.endpoint.url;
        assert_eq!(url.as_str(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(collector.ratio, observe::trace::Ratio::new(1.0).unwrap());
    }
}

#[test]
fn everything_that_was_said_of_metrics_holds_and_the_rest_is_as_usual() {
    let config = r#"
[telemetry]
resource = { team = "tools" }
[telemetry.metrics]
endpoint = "https://collector.example.com/otlp"
headers = { Authorization = { env = "COLLECTOR" } }
interval = "10s"
"#;
    let secret = "kestrel-anvil-0451-marble";
    let place = place(&[("portcullis.toml", config)], &[("COLLECTOR", secret)]);
    let loaded = place.load().unwrap();
    assert!(loaded.tracing.collector.is_none());
    let pushing = loaded.pushing.unwrap();
    assert!(!format!("{pushing:?}").contains("kestrel"), "{pushing:?}");
    let endpoint = &pushing.endpoint;
    assert_eq!(
        endpoint.url.as_str(),
        "https://collector.example.com/otlp/v1/metrics"
    );
    assert_eq!(endpoint.headers["authorization"], secret);
    assert_eq!(endpoint.resource, [("team".to_owned(), "tools".to_owned())]);
    assert_eq!(pushing.interval, Duration::from_secs(10));
}

#[test]
fn metrics_are_pushed_once_a_minute_unless_said_and_within_bounds() {
    let loaded = |interval: &str| {
        let config = format!(
            "[telemetry.metrics]\nendpoint = \"http://127.0.0.1:4318/v1/metrics\"\n{interval}"
        );
        place(&[("portcullis.toml", &config)], &[]).load()
    };
    let pushing = loaded("").unwrap().pushing.unwrap();
    assert_eq!(pushing.interval, Duration::from_secs(60));
    assert_eq!(
        pushing.endpoint.url.as_str(),
        "http://127.0.0.1:4318/v1/metrics"
    );
    for good in ["1s", "1h"] {
        loaded(&format!("interval = \"{good}\"")).unwrap();
    }
    for bad in ["0s", "999ms", "61m", "60"] {
        let told = loaded(&format!("interval = \"{bad}\"")).unwrap_err();
        let told = told.to_string();
        assert!(told.contains("telemetry.metrics.interval"), "{bad}: {told}");
    }
}

#[test]
fn a_collector_that_cannot_be_is_told() {
    for (collector, reason) in [
        (
            "endpoint = \"http://collector.example.com:4318\"",
            "in the clear",
        ),
        (
            "endpoint = \"grpc://127.0.0.1:4317\"",
            "is neither `https` nor `http`",
        ),
        ("endpoint = \"collector\"", "is not the URL of a collector"),
        (
            "endpoint = \"http://u:p@127.0.0.1\"",
            "has a password in it",
        ),
        (
            "endpoint = \"http://127.0.0.1?a=1\"",
            "has more than host, port and path",
        ),
        (
            "endpoint = \"https://c.example.com\"\ndanger_plaintext = true",
            "goes ill with `danger_plaintext`",
        ),
        (
            "endpoint = \"http://127.0.0.1\"\nheaders = { Host = \"x\" }",
            "is set by the gate itself",
        ),
    ] {
        for section in ["telemetry.traces", "telemetry.metrics"] {
            let config = format!("[{section}]\n{collector}");
            let place = place(&[("portcullis.toml", &config)], &[]);
            let told = place.load().unwrap_err().to_string();
            assert!(told.contains(reason), "{config}: {told}");
            assert!(told.contains(section), "{told}");
        }
    }
}

#[test]
fn a_ratio_is_between_nothing_and_all() {
    let config = "[telemetry.traces]\nendpoint = \"http://127.0.0.1\"\nratio = 1.5";
    let told = place(&[("portcullis.toml", config)], &[]).load();
    let told = told.unwrap_err().to_string();
    assert!(told.contains("telemetry.traces.ratio"), "{told}");
    assert!(told.contains("is not between 0 and 1"), "{told}");
}

#[test]
fn all_that_is_wrong_with_telemetry_is_told_at_once() {
    let config = "[telemetry]\nresource = { a = \"\" }\n\
                  [telemetry.traces]\nendpoint = \"grpc://127.0.0.1\"\n\
                  [telemetry.metrics]\nendpoint = \"http://127.0.0.1\"\ninterval = \"2h\"";
    let told = place(&[("portcullis.toml", config)], &[]).load();
    let told = told.unwrap_err().to_string();
    for key in [
        "telemetry.resource.a",
        "telemetry.traces.endpoint",
        "telemetry.metrics.interval",
    ] {
        assert!(told.contains(key), "{key}: {told}");
    }
}
