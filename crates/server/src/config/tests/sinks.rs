//! `[audit.sinks]`: what a short entry comes to, and what cannot work.

use ::store::SinkStart;
use observe::sinks::{Format, HttpProtocol, SinkKind};

use super::*;

const GOOD: &str = r#"
[audit.sinks.archive]
kind = "file"
path = "audit/audit.jsonl"
rotate_every = "off"
from = "start"
[audit.sinks.elastic]
kind = "elastic"
url = "https://elastic.example.com/base/"
token = { env = "ELASTIC" }
[audit.sinks.otel]
kind = "otlp"
url = "http://127.0.0.1:4318"
headers = { X-Tenant = "seven" }
[audit.sinks.siem]
kind = "syslog"
url = "tls://siem.example.com"
[audit.sinks.splunk]
kind = "splunk_hec"
url = "https://splunk.example.com:8088/"
token = "kestrel-anvil-0451"
format = "ocsf"
begun = true
batch = 50
"#;

#[test]
fn kind_and_place_are_enough() {
    let place = place(
        &[("portcullis.toml", GOOD)],
        &[("ELASTIC", "bXk6a2VzdHJlbA==")],
    );
    let [archive, elastic, otel, siem, splunk] =
        <[_; 5]>::try_from(place.load().unwrap().sinks).unwrap();
    let SinkKind::File(file) = &archive.kind else {
        panic!("{archive:?}");
    };
    assert!(file.path.ends_with("audit/audit.jsonl") && file.path.is_absolute());
    assert_eq!(
        (file.size_max, file.age_max, file.keep),
        (100 << 20, None, 10)
    );
    assert_eq!((archive.start, archive.batch), (SinkStart::Beginning, 500));
    let SinkKind::Http(http) = &elastic.kind else {
        panic!("{elastic:?}");
    };
    assert_eq!(
        http.url.as_str(),
        "https://elastic.example.com/base/logs-portcullis.audit-default/_bulk?filter_path=errors,items.*.status,items.*.error.type"
    );
    assert_eq!(
        http.protocol,
        HttpProtocol::ElasticBulk {
            format: Format::Ecs
        }
    );
    assert_eq!(http.headers["authorization"], "ApiKey bXk6a2VzdHJlbA==");
    let SinkKind::Http(http) = &otel.kind else {
        panic!("{otel:?}");
    };
    assert_eq!(http.url.as_str(), "http://127.0.0.1:4318/v1/logs");
    assert_eq!(http.headers["x-tenant"], "seven");
    let SinkKind::Syslog(syslog) = &siem.kind else {
        panic!("{siem:?}");
    };
    assert_eq!(
        (syslog.service.port, syslog.service.encrypted),
        (6514, true)
    );
    assert_eq!((syslog.format, siem.start), (None, SinkStart::Now));
    let SinkKind::Http(http) = &splunk.kind else {
        panic!("{splunk:?}");
    };
    assert_eq!(http.url.path(), "/services/collector/event");
    assert_eq!(http.headers["authorization"], "Splunk kestrel-anvil-0451");
    assert_eq!((splunk.begun, splunk.batch), (true, 50));
    for sink in [&elastic, &otel, &splunk] {
        let shown = format!("{sink:?}");
        for secret in ["kestrel", "bXk6a2", "seven"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn what_cannot_work_is_told() {
    let config = r#"
[audit.sinks."a b"]
kind = "file"
path = "x.jsonl"
[audit.sinks.b]
kind = "file"
format = "structured"
token = "0123456789"
rotate_size = "1KiB"
[audit.sinks.c]
kind = "file"
path = "same.jsonl"
[audit.sinks.d]
kind = "syslog"
url = "tcp://siem.example.com:601"
[audit.sinks.e]
kind = "syslog"
url = "udp://127.0.0.1:514"
path = "x"
[audit.sinks.f]
kind = "http"
url = "http://siem.example.com/in"
index = "x"
[audit.sinks.g]
kind = "elastic"
url = "https://me:secret@elastic.example.com"
index = "Upper"
[audit.sinks.h]
kind = "otlp"
url = "https://collector.example.com"
format = "ecs"
token = "changeme"
headers = { Content-Type = "text/plain" }
[audit.sinks.i]
kind = "splunk_hec"
[audit.sinks.j]
kind = "syslog"
url = "tcp://127.0.0.1"
ca = "missing.pem"
"#;
    let told = place(&[("portcullis.toml", config)], &[]).complaints();
    for part in [
        "a b: is no name of a sink",
        "b: has no `path`",
        "b.format: `structured` is a form of syslog's",
        "b.token: goes only with what speaks HTTP",
        "d.url: would send records to another machine in the clear",
        "e.url: is neither `tls` nor `tcp`",
        "e.path: goes only with `file`",
        "f.url: would send records to another machine in the clear",
        "f.index: goes only with `elastic` and `splunk_hec`",
        "g.url: has a user or password in it",
        "g.index: `Upper` is no name of an index",
        "h.format: goes only with what is no `otlp`",
        "h.token: holds a placeholder",
        "h.headers.Content-Type: is set by the gate itself",
        "i.url: is missing",
        "j.ca:",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    assert!(!told.contains("me:secret"), "{told}");
}

#[test]
fn two_sinks_do_not_share_a_file() {
    let config = "[audit.sinks.one]\nkind = \"file\"\npath = \"a.jsonl\"\nrotate_size = \"1KiB\"\n";
    check(
        config,
        "4: audit.sinks.one.rotate_size: is less than a few records; write at least \"64KiB\"",
    );
    let config = "[audit.sinks.one]\nkind = \"file\"\npath = \"a.jsonl\"\n[audit.sinks.two]\nkind = \"file\"\npath = \"./a.jsonl\"\n";
    let told = place(&[("portcullis.toml", config)], &[]).complaints();
    assert!(told.contains("two.path: is `one`'s, too"), "{told}");
}
