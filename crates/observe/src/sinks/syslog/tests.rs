//! Messages byte by byte. That real receivers understand them is in testkit.

use super::super::Format;
use super::super::format::tests::{record, source};
use super::*;

#[test]
fn a_message_is_one_of_rfc_5424() {
    let text = message(&record(7), &source(), None);
    let head = format!(
        "<107>1 2026-01-02T03:04:05.123456Z gate.example portcullis {} tools/call [portcullis@32473 seq=\"7\" code=\"-32603\"",
        std::process::id()
    );
    assert!(text.starts_with(&head), "{text}");
    assert!(
        text.ends_with("] alice tools/call files.read: failed (upstream `files` was silent)"),
        "{text}"
    );
}

#[test]
fn outcomes_have_their_severities() {
    // Facility 13, log audit: 13 * 8 and the severity.
    for (outcome, priority) in [
        (Outcome::Ok, "<110>1 "),
        (Outcome::Pending, "<110>1 "),
        (Outcome::ToolError, "<109>1 "),
        (Outcome::Cancelled, "<109>1 "),
        (Outcome::Refused, "<108>1 "),
        (Outcome::Failed, "<107>1 "),
        (Outcome::Unknown, "<107>1 "),
    ] {
        let mut record = record(1);
        record.row.outcome = outcome;
        assert!(message(&record, &source(), None).starts_with(priority));
    }
}

#[test]
fn values_cannot_leave_their_quotes() {
    assert_eq!(param("a\"b\\c]d[e"), "a\\\"b\\\\c\\]d[e");
    assert_eq!(param("a\n\u{0}b\u{85}"), "a#012#000b#302#205");
    assert_eq!(param("grün"), "grün");
}

#[test]
fn words_of_the_header_have_no_spaces_and_an_end() {
    assert_eq!(field("tools/call", 32), "tools/call");
    assert_eq!(field("a b\n", 32), "a_b_");
    assert_eq!(field("", 32), "-");
    assert_eq!(field(&"x".repeat(99), 32).len(), 32);
}

#[test]
fn a_sentence_that_is_not_ascii_says_so_and_json_always_is() {
    let mut record = record(1);
    record.row.principal = "jürgen 🗝".to_owned();
    let text = message(&record, &source(), None);
    assert!(text.contains("] \u{feff}jürgen"), "{text}");
    let text = message(&record, &source(), Some(Format::Native));
    let (_, json) = text.split_once(" - ").unwrap();
    assert!(json.is_ascii(), "{json}");
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(value["principal"], "jürgen 🗝");
}
