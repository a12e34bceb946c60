//! `[telemetry]`: where spans go, and what cannot be.

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
    assert_eq!(
        collector.url.as_str(),
        "https://collector.example.com:4318/otlp/v1/traces"
    );
    assert_eq!(
        collector.headers["authorization"],
        "kestrel-anvil-0451-marble"
    );
    assert_eq!(collector.ratio, observe::trace::Ratio::new(0.01).unwrap());
    assert!(!collector.follows_parent && collector.names_principal);
    assert!(collector.keeps_errors);
    assert_eq!(
        collector.resource,
        [("deployment.environment.name".to_owned(), "test".to_owned())]
    );
}

#[test]
fn without_a_word_no_spans_are_made_and_no_baggage_is_passed_on() {
    let place = place(&[("portcullis.toml", "")], &[]);
    let tracing = place.load().unwrap().tracing;
    assert!(tracing.collector.is_none() && !tracing.passes_baggage);
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
        assert_eq!(collector.url.as_str(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(collector.ratio, observe::trace::Ratio::new(1.0).unwrap());
    }
}

#[test]
fn a_collector_that_cannot_be_is_told() {
    for (traces, reason) in [
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
            "endpoint = \"http://127.0.0.1\"\nratio = 1.5",
            "is not between 0 and 1",
        ),
        (
            "endpoint = \"http://127.0.0.1\"\nheaders = { Host = \"x\" }",
            "is set by the gate itself",
        ),
    ] {
        let config = format!("[telemetry.traces]\n{traces}");
        let place = place(&[("portcullis.toml", &config)], &[]);
        let told = place.load().unwrap_err().to_string();
        assert!(told.contains(reason), "{traces}: {told}");
        assert!(told.contains("telemetry.traces"), "{told}");
    }
}
