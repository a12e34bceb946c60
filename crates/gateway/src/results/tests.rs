//! What a reader gets of a long result, and who gets the rest.

use serde_json::{Value, json};

use super::*;

const START: Instant = Instant(Duration::ZERO);

fn alice() -> PrincipalId {
    PrincipalId::new("alice").unwrap()
}

fn shortened(results: &Results, result: &Value, max: usize) -> Value {
    let result = Bytes::from(result.to_string());
    let short = results.shortened(result, max, &alice(), "s.dump", START);
    serde_json::from_slice(&short).unwrap()
}

fn long(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

fn uri(short: &Value) -> String {
    short["content"][1]["uri"].as_str().unwrap().to_owned()
}

#[test]
fn a_result_that_is_not_too_long_stays_as_it_is() {
    let results = Results::new(BYTES_MAX);
    for text in [
        r#"{ "content" : [{"type":"text","text":"0123456789"}] }"#,
        r#"{"content":[{"type":"image","data":"0123456789012"}]}"#,
        r#"{"structuredContent":"01234567890123456789"}"#,
        r#"{"content":"01234567890123456789"}"#,
        r#"{"content":[{"type":"text","text":{"a":"01234567"}}]}"#,
    ] {
        assert_eq!(
            results.shortened(text.into(), 10, &alice(), "t", START),
            text
        );
    }
    assert!(results.kept.lock().by_uri.is_empty());
}

#[test]
fn a_long_text_is_kept_and_linked_to() {
    let results = Results::new(BYTES_MAX);
    let text = "äöü\n".repeat(1000);
    let short = shortened(&results, &long(&text), 4096);
    let told = short["content"][0]["text"].as_str().unwrap();
    assert!(told.starts_with("äöü\nä") && told.len() < 2300, "{told}");
    let uri = uri(&short);
    assert!(told.contains(&uri));
    assert_eq!(
        short["content"][1],
        json!({ "type": "resource_link", "uri": uri, "name": "Result of s.dump", "mimeType": "text/plain", "size": 7000 }),
    );
    let read = results.read(&uri, &alice(), START).unwrap();
    let read: Value = serde_json::from_slice(&read).unwrap();
    assert_eq!(
        read,
        json!({ "contents": [{ "uri": uri, "mimeType": "text/plain", "text": text }] })
    );
}

#[test]
fn all_that_is_no_text_stays() {
    let results = Results::new(BYTES_MAX);
    let image = json!({ "type": "image", "data": "AAAA", "mimeType": "image/png" });
    let result = json!({
        "content": [image, { "type": "text", "text": "[1".to_owned() + &" ".repeat(50) }, image, { "type": "text", "text": "2]" }],
        "structuredContent": { "n": 1 },
        "isError": true,
    });
    let short = shortened(&results, &result, 40);
    let content = short["content"].as_array().unwrap();
    let kinds: Vec<&str> = content.iter().filter_map(|b| b["type"].as_str()).collect();
    assert_eq!(kinds, ["image", "text", "resource_link", "image"]);
    assert_eq!((&content[0], &content[3]), (&image, &image));
    assert_eq!(
        (&short["structuredContent"], &short["isError"]),
        (&json!({ "n": 1 }), &json!(true))
    );
    // Each text is one of the contents.
    let uri = content[2]["uri"].as_str().unwrap();
    let read = results.read(uri, &alice(), START).unwrap();
    let read: Value = serde_json::from_slice(&read).unwrap();
    assert_eq!(read["contents"][1]["text"], "2]");
    assert_eq!(read["contents"][1]["mimeType"], "text/plain");
}

#[test]
fn a_text_that_is_json_says_so() {
    let results = Results::new(BYTES_MAX);
    let text = json!({ "a": "x".repeat(100) }).to_string();
    let short = shortened(&results, &long(&text), 50);
    assert_eq!(short["content"][1]["mimeType"], "application/json");
}

#[test]
fn a_link_is_for_one_principal_and_for_ten_minutes() {
    let results = Results::new(BYTES_MAX);
    let uri = uri(&shortened(&results, &long(&"x".repeat(100)), 10));
    let mallory = PrincipalId::new("mallory").unwrap();
    assert_eq!(results.read(&uri, &mallory, START), None);
    let last = START + (KEPT_FOR - Duration::from_millis(1));
    assert!(results.read(&uri, &alice(), last).is_some());
    assert_eq!(results.read(&uri, &alice(), START + KEPT_FOR), None);
    results.sweep(last);
    assert_eq!(results.kept.lock().by_uri.len(), 1);
    results.sweep(START + KEPT_FOR);
    let kept = results.kept.lock();
    assert_eq!((kept.by_uri.len(), kept.order.len(), kept.bytes), (0, 0, 0));
}

#[test]
fn no_two_links_are_the_same() {
    let results = Results::new(BYTES_MAX);
    let result = long(&"x".repeat(100));
    let links = [0, 1].map(|_| uri(&shortened(&results, &result, 10)));
    assert_ne!(links[0], links[1]);
    assert_eq!(links[0].len(), URI.len() + 22);
}

#[test]
fn the_oldest_go_when_there_is_too_much() {
    let results = Results::new(1000);
    let third = long(&"x".repeat(300));
    let links = [0, 1, 2].map(|_| uri(&shortened(&results, &third, 10)));
    let is_kept = links.map(|uri| results.read(&uri, &alice(), START).is_some());
    assert_eq!(is_kept, [false, true, true]);
    assert!(results.kept.lock().bytes <= 1000);
    // What would push out everything and not fit then is not kept at all.
    let huge = long(&"x".repeat(1000));
    assert_eq!(shortened(&results, &huge, 10), huge);
    assert_eq!(results.kept.lock().by_uri.len(), 2);
}
