//! What no schema names is refused where the config asks for it, and prompts are held against their lists.

use serde_json::json;

use super::super::*;

/// The explanation, or `ok`.
fn strictly(schema: &Value, value: &Value) -> String {
    let schema = Schema::compile(&schema.to_string()).unwrap();
    assert_eq!(schema.check(value), [], "it is open");
    told(&schema.check_strictly(value))
}

fn told(faults: &[Fault]) -> String {
    match faults {
        [] => "ok".to_owned(),
        faults => explain(faults),
    }
}

#[test]
fn an_unknown_member_is_refused_where_the_schema_is_open() {
    let schema = json!({
        "properties": { "path": {}, "where": { "properties": { "city": {} } } },
    });
    assert_eq!(
        strictly(&schema, &json!({ "path": 1, "where": { "city": 2 } })),
        "ok"
    );
    assert_eq!(
        strictly(&schema, &json!({ "pth": 1 })),
        "arguments: unknown property \"pth\" (did you mean \"path\"?); known are \"path\", \"where\"",
    );
    assert_eq!(
        strictly(&schema, &json!({ "where": { "citty": 2 } })),
        "/where: unknown property \"citty\" (did you mean \"city\"?); known are \"city\"",
    );
    // Said to be open is open as well.
    let open = json!({ "properties": { "path": {} }, "additionalProperties": true });
    assert!(strictly(&open, &json!({ "x": 1 })).starts_with("arguments: unknown property \"x\""));
}

#[test]
fn arguments_are_never_free_in_form() {
    assert_eq!(
        strictly(&json!({ "type": "object" }), &json!({ "x": 1 })),
        "arguments: unknown property \"x\"; none is expected",
    );
    assert_eq!(strictly(&json!({ "type": "object" }), &json!({})), "ok");
}

#[test]
fn a_value_of_which_nothing_is_named_is_free_in_form() {
    let schema = json!({
        "properties": {
            "labels": { "type": "object" },
            "counts": { "additionalProperties": { "properties": { "n": {} } } },
        },
    });
    assert_eq!(
        strictly(
            &schema,
            &json!({ "labels": { "any": { "thing": [{ "at": 1 }] } } })
        ),
        "ok"
    );
    assert_eq!(
        strictly(&schema, &json!({ "counts": { "any": { "n": 1 } } })),
        "ok"
    );
    assert_eq!(
        strictly(&schema, &json!({ "counts": { "any": { "other": 1 } } })),
        "/counts/any: unknown property \"other\"; known are \"n\"",
    );
}

#[test]
fn whatever_part_of_the_schema_knows_a_name_knows_it() {
    let schema = json!({
        "allOf": [{ "properties": { "a": {} } }, { "$ref": "#/$defs/b" }],
        "anyOf": [{ "properties": { "c": {} } }, { "patternProperties": { "^x-": { "properties": { "d": {} } } } }],
        "$defs": { "b": { "properties": { "b": { "items": { "$ref": "#/$defs/b" } } } } },
    });
    assert_eq!(
        strictly(
            &schema,
            &json!({ "a": 1, "b": [{ "b": [] }], "c": 1, "x-y": { "d": 1 } })
        ),
        "ok"
    );
    assert_eq!(
        strictly(
            &schema,
            &json!({ "b": [{ "b": [{ "e/~": 1 }] }], "y-x": 1 })
        ),
        "/b/0/b/0: unknown property \"e/~\"; known are \"b\"\n\
         arguments: unknown property \"y-x\"; known are \"a\", \"b\", \"c\"",
    );
}

#[test]
fn what_is_closed_is_closed_anyhow() {
    let schema = json!({ "properties": { "a": {} }, "additionalProperties": false });
    let schema = Schema::compile(&schema.to_string()).unwrap();
    let value = json!({ "b": 1 });
    assert_eq!(schema.check(&value), schema.check_strictly(&value));
    assert_eq!(schema.check(&value).len(), 1);
}

#[test]
fn a_prompt_takes_what_its_list_names() {
    let takes = r#"[{"name":"topic","required":true},{"name":"tone","description":"how"},{"required":true}]"#;
    let takes = PromptArguments::read(takes).unwrap();
    for (arguments, expect) in [
        (json!({ "topic": "rust" }), "ok"),
        (json!({ "topic": "rust", "tone": "dry" }), "ok"),
        (
            json!({ "tone": "dry" }),
            "arguments: missing property \"topic\" (string)",
        ),
        (
            json!({ "topik": "rust" }),
            "arguments: unknown property \"topik\" (did you mean \"topic\"?); known are \"topic\", \"tone\"\n\
             arguments: missing property \"topic\" (string); got \"topik\", did you mean \"topic\"?",
        ),
        (json!({ "topic": 7 }), "/topic: expected string, got 7"),
        (json!([]), "arguments: expected object, got an array of 0"),
    ] {
        assert_eq!(told(&takes.check(&arguments)), expect, "{arguments}");
    }
    assert_eq!(told(&PromptArguments::default().check(&json!({}))), "ok");
    assert_eq!(
        told(&PromptArguments::default().check(&json!({ "a": "b" }))),
        "arguments: unknown property \"a\"; none is expected",
    );
    assert_eq!(PromptArguments::check_texts(&json!({ "a": "b" })), []);
    assert_eq!(
        told(&PromptArguments::check_texts(
            &json!({ "a": "b", "c": null })
        )),
        "/c: expected string, got null",
    );
    assert!(PromptArguments::read("{}").is_err());
    let many: serde_json::Map<String, Value> =
        (0..1_000).map(|n| (format!("n{n}"), n.into())).collect();
    assert_eq!(takes.check(&Value::Object(many)).len(), FAULTS_MAX);
}
