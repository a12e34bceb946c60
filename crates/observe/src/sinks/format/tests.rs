//! Field by field. Whether the OCSF form is one is held against the framework's own schema in testkit; of ECS there is no
//! schema to be had from a registry, so what it requires is listed here from its text.

use store::AuditRow;

use super::*;

pub(in crate::sinks) fn source() -> Source {
    Source {
        log: "portcullis/0011".to_owned(),
        version: "1.2.3",
        host: Some("gate.example".to_owned()),
    }
}

/// A record that has everything.
pub(in crate::sinks) fn record(seq: i64) -> Recorded {
    Recorded {
        seq,
        row: AuditRow {
            at_us: 1_767_323_045_123_456,
            call_id: "01890000-0000-7000-8000-000000000001".to_owned(),
            principal: "alice".to_owned(),
            credential: "key:k1".to_owned(),
            client: "probe 1.0".to_owned(),
            transport: "http".into(),
            revision: "2026-07-28".into(),
            method: "tools/call".into(),
            upstream: Some("files".to_owned()),
            entry: Some("files.read".to_owned()),
            arguments_digest: Some("ab".repeat(32)),
            decision: "allow".into(),
            rule: Some("clerk.allow".to_owned()),
            server: Some("support".to_owned()),
            definition: Some("cd".repeat(32)),
            consent: Some("c-1".to_owned()),
            screened: Some("bidi:2".to_owned()),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
            arguments: Some("{\"path\":\"/a\"}".to_owned()),
            address: Some("203.0.113.7".to_owned()),
            actor: Some("app-1".to_owned()),
            subject: Some("bob".to_owned()),
            outcome: Outcome::Failed,
            code: Some(-32603),
            reason: Some("upstream `files` was silent".to_owned()),
            duration_us: 1_500_250,
            bytes_in: 120,
            bytes_out: 98,
        },
    }
}

/// One that has as little as can be.
fn bare(outcome: Outcome) -> Recorded {
    let mut record = record(9);
    let row = &mut record.row;
    for text in [
        &mut row.upstream,
        &mut row.entry,
        &mut row.arguments_digest,
        &mut row.rule,
        &mut row.server,
        &mut row.definition,
        &mut row.consent,
        &mut row.screened,
        &mut row.trace_id,
        &mut row.arguments,
        &mut row.address,
        &mut row.actor,
        &mut row.subject,
        &mut row.reason,
    ] {
        *text = None;
    }
    row.client = String::new();
    row.code = None;
    row.decision = "-".into();
    row.outcome = outcome;
    record
}

#[test]
fn our_own_form_has_every_column() {
    let value = native(&record(7));
    assert_eq!(value["seq"], 7);
    assert_eq!(value["at"], "2026-01-02T03:04:05.123456Z");
    assert_eq!(value["principal"], "alice");
    assert_eq!(value["arguments"], "{\"path\":\"/a\"}");
    assert_eq!(native(&bare(Outcome::Ok))["reason"], Value::Null);
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&value), names(&native(&bare(Outcome::Ok))));
}

#[test]
fn ecs_has_each_column_in_its_field() {
    let value = ecs(&record(7), &source());
    for (pointer, expected) in [
        ("/@timestamp", json!("2026-01-02T03:04:05.123456Z")),
        ("/ecs/version", json!("8.17.0")),
        ("/event/kind", json!("event")),
        ("/event/category", json!(["api"])),
        ("/event/type", json!(["access", "end", "allowed"])),
        ("/event/outcome", json!("failure")),
        ("/event/action", json!("tools/call")),
        (
            "/event/id",
            json!("portcullis/0011/7/01890000-0000-7000-8000-000000000001/failed"),
        ),
        ("/event/sequence", json!(7)),
        ("/event/code", json!("-32603")),
        ("/event/reason", json!("upstream `files` was silent")),
        ("/event/start", json!("2026-01-02T03:04:05.123456Z")),
        ("/event/end", json!("2026-01-02T03:04:06.623706Z")),
        ("/event/duration", json!(1_500_250_000_u64)),
        ("/event/dataset", json!("portcullis.audit")),
        ("/event/module", json!("portcullis")),
        ("/event/provider", json!("portcullis")),
        ("/user/name", json!("alice")),
        ("/user/target/name", json!("bob")),
        ("/source/ip", json!("203.0.113.7")),
        ("/source/address", json!("203.0.113.7")),
        ("/portcullis/actor", json!("app-1")),
        ("/user_agent/original", json!("probe 1.0")),
        ("/rule/name", json!("clerk.allow")),
        ("/trace/id", json!("0af7651916cd43dd8448eb211c80319c")),
        (
            "/transaction/id",
            json!("01890000-0000-7000-8000-000000000001"),
        ),
        ("/service/name", json!("portcullis")),
        ("/service/version", json!("1.2.3")),
        ("/host/name", json!("gate.example")),
        ("/portcullis/upstream", json!("files")),
        ("/portcullis/entry", json!("files.read")),
        ("/portcullis/outcome", json!("failed")),
        ("/portcullis/credential", json!("key:k1")),
        ("/portcullis/arguments", json!("{\"path\":\"/a\"}")),
        ("/portcullis/bytes_out", json!(98)),
        (
            "/message",
            json!("alice tools/call files.read: failed (upstream `files` was silent)"),
        ),
    ] {
        assert_eq!(value.pointer(pointer), Some(&expected), "{pointer}");
    }
}

#[test]
fn ecs_uses_none_but_the_words_that_the_schema_allows() {
    // "ECS Categorization Fields", the expected types of `event.category: api`, and the values of `event.outcome`.
    const TYPES: [&str; 11] = [
        "access", "admin", "allowed", "change", "creation", "deletion", "denied", "end", "info",
        "start", "user",
    ];
    for outcome in [
        Outcome::Ok,
        Outcome::ToolError,
        Outcome::Refused,
        Outcome::Failed,
        Outcome::Cancelled,
        Outcome::Pending,
        Outcome::Unknown,
    ] {
        for record in [bare(outcome), {
            let mut record = bare(outcome);
            record.row.method = "admin/keys.create".into();
            record
        }] {
            let value = ecs(&record, &source());
            // "ECS Base Fields": the two that every event must have.
            assert!(value["@timestamp"].is_string() && value["ecs"]["version"].is_string());
            let types = value["event"]["type"].as_array().unwrap();
            for kind in types {
                assert!(TYPES.contains(&kind.as_str().unwrap()), "{kind}");
            }
            let told = value["event"]["outcome"].as_str().unwrap();
            assert!(["success", "failure", "unknown"].contains(&told));
        }
    }
    assert_eq!(
        ecs(&bare(Outcome::Ok), &source())["event"]["outcome"],
        "success"
    );
    let pending = ecs(&bare(Outcome::Pending), &source());
    assert_eq!(pending["event"]["type"], json!(["access", "start"]));
    assert_eq!(pending["event"]["outcome"], "unknown");
    let refused = ecs(&bare(Outcome::Refused), &source());
    assert_eq!(refused["event"]["type"], json!(["access", "end", "denied"]));
}

#[test]
fn what_a_row_does_not_have_is_left_out() {
    fn has_nothing(value: &Value, path: &str) {
        match value {
            Value::Null => panic!("{path} is null"),
            Value::Object(members) => {
                assert!(!members.is_empty(), "{path} is empty");
                for (name, value) in members {
                    has_nothing(value, &format!("{path}.{name}"));
                }
            }
            _ => {}
        }
    }
    for format in [Format::Ecs, Format::Ocsf] {
        has_nothing(&format.value(&bare(Outcome::Ok), &source()), "");
    }
}

#[test]
fn ocsf_has_each_column_in_its_attribute() {
    let value = ocsf(&record(7), &source());
    for (pointer, expected) in [
        ("/category_uid", json!(6)),
        ("/class_uid", json!(6003)),
        ("/activity_id", json!(99)),
        ("/activity_name", json!("tools/call")),
        ("/type_uid", json!(600_399)),
        ("/severity_id", json!(3)),
        ("/time", json!(1_767_323_045_123_i64)),
        ("/end_time", json!(1_767_323_046_623_i64)),
        ("/duration", json!(1500)),
        ("/status_id", json!(2)),
        ("/status", json!("Failure")),
        ("/status_code", json!("-32603")),
        ("/status_detail", json!("upstream `files` was silent")),
        ("/metadata/version", json!("1.5.0")),
        (
            "/metadata/uid",
            json!("portcullis/0011/7/01890000-0000-7000-8000-000000000001/failed"),
        ),
        ("/metadata/sequence", json!(7)),
        (
            "/metadata/correlation_uid",
            json!("0af7651916cd43dd8448eb211c80319c"),
        ),
        ("/metadata/log_name", json!("portcullis/0011")),
        ("/metadata/product/version", json!("1.2.3")),
        ("/actor/user/name", json!("alice")),
        ("/actor/user/credential_uid", json!("key:k1")),
        ("/actor/app_name", json!("probe 1.0")),
        ("/actor/app_uid", json!("app-1")),
        ("/src_endpoint/ip", json!("203.0.113.7")),
        ("/unmapped/subject", json!("bob")),
        ("/src_endpoint/svc_name", json!("probe 1.0")),
        ("/api/operation", json!("tools/call")),
        ("/api/version", json!("2026-07-28")),
        ("/api/service/name", json!("files")),
        (
            "/api/request/uid",
            json!("01890000-0000-7000-8000-000000000001"),
        ),
        ("/api/response/code", json!(-32603)),
        ("/resources/0/name", json!("files.read")),
        ("/unmapped/rule", json!("clerk.allow")),
        ("/unmapped/arguments", json!("{\"path\":\"/a\"}")),
    ] {
        assert_eq!(value.pointer(pointer), Some(&expected), "{pointer}");
    }
    let mut reading = bare(Outcome::Ok);
    reading.row.method = "resources/read".into();
    let value = ocsf(&reading, &source());
    assert_eq!(
        (&value["activity_id"], &value["type_uid"]),
        (&json!(2), &json!(600_302))
    );
    assert_eq!(value["status_id"], 1);
    assert_eq!(value["src_endpoint"]["svc_name"], "http");
    assert_eq!(ocsf(&bare(Outcome::Unknown), &source())["status_id"], 0);
}

#[test]
fn a_sentence_has_one_line() {
    let mut record = record(1);
    record.row.entry = Some("a\nfake\u{7f}line".to_owned());
    assert!(!summary(&record.row).contains(char::is_control));
}
