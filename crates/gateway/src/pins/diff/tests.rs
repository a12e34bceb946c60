//! Member by member, and nothing that hides.

use serde_json::json;

use super::*;

#[test]
fn what_came_went_and_changed_is_told_by_its_place() {
    let before = json!({ "name": "read", "title": "Read", "inputSchema": { "properties": { "a/b": {}, "c": [1, 2] } } });
    let after = json!({ "name": "read", "annotations": {}, "inputSchema": { "properties": { "a/b": {}, "c": [1, 3] } } });
    let told: Vec<String> = compare(Some(&before), &after)
        .iter()
        .flat_map(Change::lines)
        .collect();
    let expected = [
        "added /annotations",
        "  + {}",
        "changed /inputSchema/properties/c/1",
        "  - 2",
        "  + 3",
        "removed /title",
        "  - \"Read\"",
    ];
    assert_eq!(told, expected);
    assert_eq!(compare(Some(&before), &before), []);
}

#[test]
fn of_something_new_all_is_told() {
    let told = compare(
        None,
        &json!({ "name": "read", "inputSchema": { "a/b": {} } }),
    );
    let places: Vec<&str> = told.iter().map(|change| change.at.as_str()).collect();
    assert_eq!(places, ["/inputSchema/a~1b", "/name"]);
    assert!(told.iter().all(|change| change.before.is_none()));
}

#[test]
fn what_cannot_be_seen_is_shown() {
    let hidden = "a\u{1b}[31m\u{202e}b\u{200b}\u{e0041}\u{feff}\u{2028}\u{fe0f}\u{e000}";
    assert_eq!(
        visible(hidden),
        "a\\u{1b}[31m\\u{202e}b\\u{200b}\\u{e0041}\\u{feff}\\u{2028}\\u{fe0f}\\u{e000}"
    );
    let plain = "Grüße, 世界 🙂 \"quoted\"";
    assert_eq!(visible(plain), plain);
    let place = Change {
        at: "/\u{202e}".to_owned(),
        before: None,
        after: Some(json!("\n")),
    };
    assert_eq!(place.lines(), ["added /\\u{202e}", "  + \"\\n\""]);
}

#[test]
fn a_long_text_is_cut_and_says_so() {
    let long = "x".repeat(VALUE_CHARS_MAX + 5);
    let shown = visible(&long);
    assert!(shown.ends_with("x… and 5 characters more"), "{shown}");
}
