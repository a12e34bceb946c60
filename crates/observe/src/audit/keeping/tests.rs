//! What is kept of arguments: by entry, without secrets, never more than the measure, always JSON.

use super::super::sealing::AuditorKey;
use super::*;

const SECRET: &str = "AKIAIOSFODNN7EXAMPLF";

fn id(text: &str) -> UpstreamId {
    UpstreamId::parse(text).unwrap()
}

#[test]
fn nothing_is_kept_unless_the_config_says_so() {
    let keeping = Keeping::default();
    assert!(!keeping.keeps_any());
    assert_eq!(keeping.kept(Some((&id("pay"), "send")), "c", b"{}"), None);
}

#[test]
fn the_first_pattern_that_fits_an_entry_says_what_is_kept_of_it() {
    let key = AuditorKey::generate().unwrap();
    let pattern = |text| Pattern::parse(text).unwrap();
    let keeping = Keeping::new(
        Keep::Redacted,
        vec![
            (pattern("pay.list"), Keep::Digest),
            (pattern("pay.*"), Keep::Sealed),
        ],
        Some(key.auditor().clone()),
    );
    let kept = |name: &str| keeping.kept(Some((&id("pay"), name)), "c", br#"{"a":1}"#);
    assert_eq!(kept("list"), None);
    let sealed = kept("send").unwrap();
    assert_eq!(key.open("c", &sealed).unwrap().as_slice(), br#"{"a":1}"#);
    let other = keeping.kept(Some((&id("files"), "send")), "c", br#"{"a":1}"#);
    assert_eq!(other.as_deref(), Some(r#"{"a":1}"#));
    assert_eq!(keeping.kept(None, "c", b"{}").as_deref(), Some("{}"));
}

#[test]
fn secrets_and_personal_data_are_not_in_what_is_kept_redacted() {
    let keeping = Keeping::new(Keep::Redacted, Vec::new(), None);
    let arguments = json!({
        "key": SECRET,
        "password": "hunter22!",
        "text": format!("mail bob@example.com about {SECRET}"),
        "count": 3,
    });
    let kept = keeping.kept(None, "c", arguments.to_string().as_bytes());
    let kept = kept.unwrap();
    for secret in [SECRET, "hunter22!", "bob@example.com"] {
        assert!(!kept.contains(secret), "{kept}");
    }
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["count"], 3);
}

#[test]
fn what_is_too_long_is_cut_after_it_is_redacted_and_stays_json() {
    let keeping = Keeping::new(Keep::Redacted, Vec::new(), None);
    let kept = |arguments: &Value| {
        let kept = keeping.kept(None, "c", arguments.to_string().as_bytes());
        kept.unwrap()
    };
    // A secret that a cut would leave the half of.
    let text = format!("{}{SECRET}{}", "x ".repeat(94), " y".repeat(10_000));
    let shorter = kept(&json!({ "text": text, "n": 1 }));
    assert!(
        shorter.len() <= REDACTED_MAX && !shorter.contains("AKIA"),
        "{shorter}"
    );
    let read: Value = serde_json::from_str(&shorter).unwrap();
    assert_eq!(read["n"], 1);
    let many: Vec<String> = (0..20_000).map(|n| format!("item {n}")).collect();
    let read: Value = serde_json::from_str(&kept(&json!(many))).unwrap();
    assert_eq!(read.as_array().unwrap().len(), MEMBERS_MAX + 1);
    // Nothing that could be cut is long.
    let mut deep = json!("x".repeat(150));
    for _ in 0..2 {
        deep = Value::Array(vec![deep; 40]);
    }
    assert!(kept(&deep).starts_with(r#"{"omitted_bytes":"#));
    let huge = kept(&json!("x".repeat(REDACTING_MAX)));
    assert_eq!(
        huge,
        format!(r#"{{"omitted_bytes":{}}}"#, REDACTING_MAX + 2)
    );
}
