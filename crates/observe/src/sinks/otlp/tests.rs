//! What is encoded, decoded again; that a real receiver understands it is in testkit.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;

use super::super::format::tests::{record, source};
use super::*;

fn text_of(attributes: &[KeyValue], name: &str) -> Option<Value> {
    let found = attributes.iter().find(|one| one.key == name)?;
    found.value.clone()?.value
}

#[test]
fn a_request_says_everything() {
    let bytes = request(&[record(7)], &source());
    let request = ExportLogsServiceRequest::decode(bytes).unwrap();
    let resource = &request.resource_logs[0];
    let about = &resource.resource.as_ref().unwrap().attributes;
    let text = |text: &str| Some(Value::StringValue(text.to_owned()));
    assert_eq!(text_of(about, "service.name"), text("portcullis"));
    assert_eq!(text_of(about, "host.name"), text("gate.example"));
    let record = &resource.scope_logs[0].log_records[0];
    assert_eq!(record.time_unix_nano, 1_767_323_045_123_456_000);
    assert_eq!(record.observed_time_unix_nano, 1_767_323_046_623_706_000);
    assert_eq!(record.severity_number, i32::from(SeverityNumber::Error));
    assert_eq!(record.event_name, "portcullis.audit");
    assert_eq!(record.trace_id.len(), 16);
    assert_eq!(record.trace_id[..2], [0x0a, 0xf7]);
    let attributes = &record.attributes;
    assert_eq!(text_of(attributes, "mcp.method.name"), text("tools/call"));
    assert_eq!(text_of(attributes, "user.name"), text("alice"));
    assert_eq!(
        text_of(attributes, "log.record.uid"),
        text("portcullis/0011/7/01890000-0000-7000-8000-000000000001/failed")
    );
    assert_eq!(
        text_of(attributes, "portcullis.seq"),
        Some(Value::IntValue(7))
    );
    assert_eq!(text_of(attributes, "portcullis.outcome"), text("failed"));
    let mut names: Vec<&str> = attributes.iter().map(|one| one.key.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), attributes.len(), "a name stands twice");
}

#[test]
fn what_the_receiver_refused_is_heard() {
    let partly = |rejected_log_records| ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records,
            error_message: "too old".to_owned(),
        }),
    };
    let refused = |of, count| answer(of, &partly(count).encode_to_vec()).map(|taken| taken.refused);
    assert_eq!(answer(5, &[]).unwrap(), Taken::default());
    // A warning: everything was taken.
    assert_eq!(refused(5, 0).unwrap(), 0);
    assert_eq!(refused(5, 3).unwrap(), 3);
    assert_eq!(refused(5, -3).unwrap(), 0);
    // All of them, or more than there were: nothing moves on.
    for count in [5, i64::MAX] {
        let all = refused(5, count);
        assert!(matches!(all, Err(SinkError::Refused { records: 5, .. })));
    }
    assert!(matches!(answer(5, b"<html>"), Err(SinkError::Answer)));
}

#[test]
fn an_id_of_another_length_is_none() {
    assert_eq!(bytes_of("0af7"), None);
    assert_eq!(bytes_of(&"zz".repeat(16)), None);
    assert_eq!(bytes_of(&"ff".repeat(16)), Some(vec![255; 16]));
}
