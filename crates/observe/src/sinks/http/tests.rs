//! Requests as the receivers' manuals have them, and every kind of answer.

use super::super::format::tests::{record, source};
use super::*;

fn poster(protocol: HttpProtocol) -> Poster {
    let settings = HttpSettings {
        protocol,
        url: "https://siem.example.com/".parse().unwrap(),
        headers: HeaderMap::new(),
        tls: None,
    };
    Poster::new(settings, &net::Client::new(net::Settings::default()))
}

fn sent(protocol: HttpProtocol) -> (Vec<Value>, &'static str) {
    let (body, content_type) = poster(protocol).body(&[record(7), record(8)], &source());
    let text = std::str::from_utf8(&body).unwrap();
    assert!(
        text.ends_with('\n'),
        "the bulk API wants the last line to end"
    );
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.collect(), content_type)
}

#[test]
fn splunk_gets_an_event_for_each_record() {
    let (lines, content_type) = sent(HttpProtocol::SplunkHec {
        format: Format::Native,
        index: Some("audit".to_owned()),
    });
    assert_eq!((lines.len(), content_type), (2, "application/json"));
    let event = &lines[0];
    assert_eq!(event["time"], json!(1_767_323_045.123_456));
    assert_eq!(event["host"], "gate.example");
    assert_eq!(event["source"], "portcullis/0011");
    assert_eq!(event["sourcetype"], "portcullis:audit");
    assert_eq!(event["index"], "audit");
    assert_eq!(event["event"]["seq"], 7);
}

#[test]
fn elastic_gets_a_create_and_a_document_for_each_record() {
    let (lines, content_type) = sent(HttpProtocol::ElasticBulk {
        format: Format::Ecs,
    });
    assert_eq!((lines.len(), content_type), (4, "application/x-ndjson"));
    assert_eq!(
        lines[0],
        json!({ "create": { "_id": "portcullis/0011/7/01890000-0000-7000-8000-000000000001/failed" } })
    );
    assert_eq!(lines[1]["event"]["sequence"], 7);
    assert_eq!(
        lines[2],
        json!({ "create": { "_id": "portcullis/0011/8/01890000-0000-7000-8000-000000000001/failed" } })
    );
}

#[test]
fn a_number_that_a_restored_log_gives_again_names_another_document() {
    let before = record(7);
    let mut settled = record(7);
    settled.row.outcome = store::Outcome::Unknown;
    let mut another = record(7);
    another.row.call_id = "01890000-0000-7000-8000-000000000002".to_owned();
    let ids = [before, settled, another].map(|record| source().id(&record));
    let names: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(names.len(), 3, "{ids:?}");
}

#[test]
fn splunks_answer_counts_and_not_the_status_alone() {
    let ok = splunk(StatusCode::OK, br#"{"text":"Success","code":0}"#);
    assert_eq!(ok.unwrap(), Taken::default());
    let busy = splunk(StatusCode::OK, br#"{"text":"Server is busy","code":9}"#);
    assert!(matches!(busy, Err(SinkError::Status { code: Some(9), .. })));
    let proxy = splunk(StatusCode::OK, b"<html>");
    assert!(matches!(proxy, Err(SinkError::Answer)));
}

fn items(statuses: &[u16]) -> Vec<u8> {
    let items: Vec<Value> = statuses
        .iter()
        .map(|status| {
            let mut item = json!({ "create": { "_id": "x", "status": status } });
            if *status >= 400 {
                item["create"]["error"] =
                    json!({ "type": "mapper_parsing_exception", "reason": "failed to parse [secret]" });
            }
            item
        })
        .collect();
    json!({ "took": 1, "errors": true, "items": items })
        .to_string()
        .into()
}

#[test]
fn each_item_of_elastics_answer_is_looked_at() {
    let records = [record(7), record(8), record(9)];
    let all = elastic(&records, br#"{"took":3,"errors":false,"items":[]}"#);
    assert_eq!(all.unwrap(), Taken::default());
    // Sent before, and there: nothing is wrong.
    let twice = elastic(&records, &items(&[201, 409, 409]));
    assert_eq!(twice.unwrap(), Taken::default());
    let some = elastic(&records, &items(&[201, 400, 409])).unwrap();
    assert_eq!((some.refused, some.which), (1, vec![8]));
    assert_eq!(some.why.as_deref(), Some("mapper_parsing_exception"));
    // The cluster is busy: all again, and what it has it will say.
    let busy = elastic(&records, &items(&[201, 400, 429]));
    assert!(matches!(busy, Err(SinkError::Status { status: 429, .. })));
    // Refused one and all: nothing moves on, and the reason is not the receiver's sentence.
    let none = elastic(&records, &items(&[400, 403, 400])).unwrap_err();
    assert!(
        none.to_string().contains("mapper_parsing_exception"),
        "{none}"
    );
    assert!(!none.to_string().contains("secret"), "{none}");
    // An answer about other records than ours.
    let other = elastic(&records, &items(&[201]));
    assert!(matches!(other, Err(SinkError::Answer)));
}

#[test]
fn a_receiver_can_have_itself_left_alone_for_a_while() {
    let after = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static(value));
        retry_after(&headers, AFTER_MAX)
    };
    assert_eq!(after("7"), Some(Duration::from_secs(7)));
    assert_eq!(after("999999"), Some(AFTER_MAX));
    assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
}
