//! What the checks accept, and the words they find for the rest.

mod hostile;
mod strict;

use serde_json::{Map, json};

use super::*;

/// The explanation, or `ok`.
fn check(schema: &Value, arguments: &Value) -> String {
    let faults = Schema::compile(&schema.to_string())
        .unwrap()
        .check(arguments);
    if faults.is_empty() {
        "ok".to_owned()
    } else {
        explain(&faults)
    }
}

fn search() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {"type": "string", "minLength": 1},
            "limit": {"type": "integer", "minimum": 1, "maximum": 100},
            "mode": {"enum": ["fast", "thorough"]},
            "filter": {"anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"glob": {"type": "string"}}, "required": ["glob"]},
            ]},
            "depth": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["path"],
        "additionalProperties": false,
    })
}

#[test]
fn fitting_arguments_pass() {
    assert_eq!(
        check(
            &search(),
            &json!({"path": "/", "limit": 5, "mode": "fast", "depth": null})
        ),
        "ok"
    );
    assert_eq!(check(&json!({}), &json!({"any": "thing"})), "ok");
}

#[test]
fn each_fault_says_what_was_expected_and_what_came() {
    for (arguments, expect) in [
        (json!({"path": 7}), "/path: expected string, got 7"),
        (
            json!({"path": ""}),
            "/path: expected at least 1 characters, got \"\"",
        ),
        (
            json!({"path": "/", "limit": 0}),
            "/limit: expected at least 1, got 0",
        ),
        (
            json!({"path": "/", "limit": "10"}),
            "/limit: expected integer, got \"10\"",
        ),
        (
            json!({"path": "/", "depth": "x"}),
            "/depth: expected integer or null, got \"x\"",
        ),
        (
            json!({"path": "/", "mode": "fsat"}),
            "/mode: expected one of \"fast\", \"thorough\", got \"fsat\"; did you mean \"fast\"?",
        ),
        (
            json!({"path": "/", "filter": {"globb": "*"}}),
            "/filter: matches none of 2 allowed forms; the nearest: missing property \"glob\" (string); \
             got \"globb\", did you mean \"glob\"?",
        ),
        (
            json!([1, 2]),
            "arguments: expected object, got an array of 2",
        ),
    ] {
        assert_eq!(check(&search(), &arguments), expect, "{arguments}");
    }
}

#[test]
fn a_wrong_name_finds_the_right_one() {
    let text = check(&search(), &json!({"pth": "/"}));
    assert!(
        text.contains("missing property \"path\" (string); got \"pth\", did you mean \"path\"?"),
        "{text}"
    );
    assert!(
        text.contains(
            "unknown property \"pth\" (did you mean \"path\"?); known are \"path\", \"limit\""
        ),
        "{text}"
    );

    let text = check(&search(), &json!({"path": "/", "colour": 1}));
    assert!(
        text.contains("unknown property \"colour\"; known are"),
        "{text}"
    );
    assert!(!text.contains("did you mean"), "{text}");
}

#[test]
fn nobody_meant_a_property_that_is_given_already() {
    assert_eq!(
        check(
            &json!({"properties": {"path": {}, "paths": {}}, "additionalProperties": false}),
            &json!({"path": "/", "pathz": 1}),
        ),
        "arguments: unknown property \"pathz\" (did you mean \"paths\"?); known are \"path\", \"paths\"",
    );
    assert_eq!(
        check(
            &json!({"properties": {"path": {}}, "additionalProperties": false}),
            &json!({"path": "/", "pth": "/"}),
        ),
        "arguments: unknown property \"pth\"; known are \"path\"",
    );
}

#[test]
fn names_are_found_behind_a_reference() {
    let schema = json!({
        "type": "object",
        "properties": {"where": {"$ref": "#/$defs/place"}},
        "$defs": {"place": {"type": "object", "properties": {"city": {}}, "additionalProperties": false}},
    });
    assert_eq!(
        check(&schema, &json!({"where": {"citty": 1}})),
        "/where: unknown property \"citty\" (did you mean \"city\"?); known are \"city\"",
    );
}

#[test]
fn faults_are_bounded_in_number_and_length() {
    let schema = json!({"additionalProperties": {"type": "integer"}});
    let many: Map<String, Value> = (0..100)
        .map(|nth| (format!("p{nth}"), "x".repeat(10_000).into()))
        .collect();
    let faults = Schema::compile(&schema.to_string())
        .unwrap()
        .check(&Value::Object(many));
    assert_eq!(faults.len(), FAULTS_MAX);
    assert!(explain(&faults).len() < 1_000);
}

#[test]
fn the_draft_is_the_one_the_schema_names() {
    // `items` as an array positions its schemas in draft 7, and is malformed in 2020-12.
    let tuple = json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]});
    assert_eq!(check(&tuple, &json!([1])), "/0: expected string, got 1");
    assert!(Schema::compile(r#"{"items": [{"type": "string"}]}"#).is_err());
    let prefix = json!({"prefixItems": [{"type": "string"}]});
    assert_eq!(check(&prefix, &json!([1])), "/0: expected string, got 1");
}

#[test]
fn a_schema_that_reaches_outside_is_refused() {
    for reference in [
        "http://127.0.0.1:1/x.json",
        "https://example.com/s",
        "file:///etc/passwd",
        "other.json",
    ] {
        let schema = json!({"properties": {"a": {"$ref": reference}}});
        let error = Schema::compile(&schema.to_string()).unwrap_err();
        assert!(
            matches!(error, SchemaError::Unusable { .. }),
            "{reference}: {error}"
        );
    }
}

#[test]
fn patterns_run_in_linear_time_or_not_at_all() {
    let hostile = json!({"type": "string", "pattern": "^(a+)+$"});
    let text = format!("{}!", "a".repeat(100_000));
    assert!(check(&hostile, &json!(text)).starts_with("arguments: expected text like `^(a+)+$`"));

    for pattern in ["(a)\\1", "^(?=a)b", "(((a{1000}){1000}){1000})"] {
        let schema = json!({"properties": {"x": {"type": "string", "pattern": pattern}}});
        let schema = Schema::compile(&schema.to_string()).unwrap();
        assert_eq!(schema.skipped(), ["/properties/x/pattern"], "{pattern}");
        // The rest of the schema still counts.
        assert_eq!(schema.check(&json!({"x": 1})).len(), 1);
        assert_eq!(schema.check(&json!({"x": "any"})), []);
    }
    let fine = Schema::compile(r#"{"pattern": "^a"}"#).unwrap();
    assert!(fine.skipped().is_empty());
}

#[test]
fn patterns_that_cannot_be_left_out_make_a_schema_unusable() {
    let names = json!({"patternProperties": {"^(?=a)b": {"type": "string"}}});
    let many: Map<String, Value> = (0..=SKIPPED_MAX)
        .map(|nth| (format!("p{nth}"), json!({"pattern": "(?=a)"})))
        .collect();
    let error = Schema::compile(&names.to_string()).unwrap_err();
    assert!(matches!(error, SchemaError::Unusable { .. }), "{error}");
    let error = Schema::compile(&json!({"properties": many}).to_string()).unwrap_err();
    assert!(matches!(error, SchemaError::Complex { .. }), "{error}");
}

#[test]
fn large_deep_and_broken_schemas_are_refused() {
    assert_eq!(
        Schema::compile(&" ".repeat(SCHEMA_BYTES_MAX + 1)).unwrap_err(),
        SchemaError::Large(SCHEMA_BYTES_MAX + 1)
    );
    let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(64), "}".repeat(64));
    assert_eq!(Schema::compile(&deep).unwrap_err(), SchemaError::Deep);
    assert!(matches!(
        Schema::compile("{").unwrap_err(),
        SchemaError::Json(_)
    ));
    assert!(matches!(
        Schema::compile(r#"{"type": 7}"#).unwrap_err(),
        SchemaError::Unusable { .. }
    ));
    assert!(matches!(
        Schema::compile("7").unwrap_err(),
        SchemaError::Unusable { .. }
    ));
}

#[test]
fn a_schema_that_refers_to_itself_ends() {
    let tree = json!({"type": "object", "properties": {"child": {"$ref": "#"}, "name": {"type": "string"}}});
    assert_eq!(
        check(&tree, &json!({"child": {"child": {"name": 1}}})),
        "/child/child/name: expected string, got 1"
    );
    // A pure loop may be refused or accepted, but must come back.
    for looped in [
        r##"{"$ref": "#"}"##,
        r##"{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}"##,
    ] {
        if let Ok(schema) = Schema::compile(looped) {
            assert!(schema.check(&json!({})).len() <= FAULTS_MAX);
        }
    }
}
