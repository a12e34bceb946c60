//! The reader of case files, shown good ones and bad ones.

use serde_json::{Value, json};

use super::matching::{difference, format, mask};
use super::page::{Block, rewrite, steps};

fn with(blocks: &str) -> String {
    format!("# Title\nWhy.\n```toml config\n```\n{blocks}")
}

fn refuses(text: &str, why: &str) {
    let error = format!("{:#}", steps(text).expect_err("nothing was refused"));
    assert!(error.contains(why), "{error}");
}

#[test]
fn a_block_that_nobody_understands_is_refused() {
    refuses(&with("```json form alice\n{}\n```\n"), "nobody understands");
    refuses(&with("```yaml\n```\n"), "nobody understands");
    refuses(
        &with("```json from alice over ftp\n{}\n```\n"),
        "nobody understands",
    );
    refuses(
        &with("```json from alice\n{}\n```\n```json reply two\n```\n"),
        "nobody understands",
    );
    refuses(
        &with("```http from alice at desk\nGET / HTTP/1.1\n```\n"),
        "nobody understands",
    );
    refuses(
        &with("```json from local at desk over stdio\n{}\n```\n"),
        "a pipe",
    );
}

#[test]
fn a_case_has_a_title_and_a_reason_and_begins_with_a_config() {
    refuses("Title\n", "title");
    refuses("# Title\n```toml config\n```\n", "why");
    refuses(
        "# Title\nWhy.\n```json from alice\n{}\n```\n",
        "toml config",
    );
}

#[test]
fn what_is_expected_belongs_to_one_request() {
    refuses(&with("```json reply 200\n```\n"), "no request");
    let twice = "```json from a\n{}\n```\n```json reply 200\n```\n```json reply 200\n```\n";
    refuses(&with(twice), "second reply");
    refuses(&with("```json from a\n{}\n"), "not closed");
}

#[test]
fn a_wildcard_fits_any_value_but_not_none() {
    let check = |expected: Value, actual: Value| difference(&expected, &actual).is_none();
    assert!(check(json!({"a": "*"}), json!({"a": [1]})));
    assert!(!check(json!({"a": "*"}), json!({})));
    assert!(!check(json!({"a": 1}), json!({"a": 1, "b": 2})));
    assert!(check(json!({"a": 1, "...": "*"}), json!({"a": 1, "b": 2})));
    assert!(!check(json!([1]), json!([1, 2])));
    assert!(!check(json!({"a": {"b": "x"}}), json!({"a": {"b": "y"}})));
}

#[test]
fn an_update_keeps_what_was_left_open() {
    let before = json!({"id": "*", "list": [{"a": 1, "...": "*"}]});
    let after = mask(
        &before,
        &json!({"id": 7, "list": [{"a": 2, "b": 3}, 4], "call": "x"}),
    );
    assert_eq!(
        after,
        json!({"id": "*", "list": [{"a": 2, "...": "*"}, 4], "call": "x"})
    );
    assert_eq!(
        mask(&Value::Null, &json!({"call": "x"})),
        json!({"call": "*"})
    );
}

#[test]
fn an_update_replaces_the_blocks_and_nothing_else() {
    let text = with("```json from a\n{}\n```\nWords.\n```json reply 200\nold\nold\n```\nEnd.\n");
    let line = text
        .lines()
        .position(|line| line == "```json reply 200")
        .unwrap()
        + 1;
    let fresh = Block {
        line,
        info: "json reply 404".to_owned(),
        text: "new".to_owned(),
    };
    assert_eq!(
        rewrite(&text, &[fresh]),
        text.replace("200\nold\nold\n", "404\nnew\n")
    );
}

#[test]
fn long_json_is_broken_into_lines_and_stays_the_same() {
    let value = json!({"list": ["x".repeat(60), {"y": "z".repeat(60)}], "n": 1});
    let text = format(&value);
    assert!(text.lines().count() > 3, "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    assert_eq!(format(&json!({"a": 1})), "{\"a\":1}");
}
