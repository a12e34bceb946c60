//! What the families get: nothing they do not accept, and nothing narrower than what the upstream wrote.

use policy::Schema;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

const REWRITING: [Family; 3] = [Family::OpenAi, Family::Gemini, Family::Plain];

fn rewritten(schema: &Value, family: Family) -> Value {
    let definition = json!({ "name": "t", "inputSchema": schema, "x": 1 }).to_string();
    let out = tool(definition.into(), family);
    let out: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&out["name"], &out["x"]), (&json!("t"), &json!(1)));
    out["inputSchema"].clone()
}

/// The one property `p` of a tool, as the family sees it.
fn property(schema: &Value, family: Family) -> Value {
    let root = json!({ "type": "object", "properties": { "p": schema }, "required": ["p"] });
    rewritten(&root, family)["properties"]["p"].clone()
}

#[test]
fn a_faithful_client_gets_the_bytes_of_the_upstream() {
    let text = r#"{ "inputSchema" : {"$ref":"/x", "type":["null"]} , "name":"a" }"#;
    assert_eq!(tool(text.into(), Family::Faithful), text);
}

#[test]
fn only_the_schema_is_another() {
    let text = r#"{"z":1.0,"inputSchema":{"type":"object","$schema":"x"}, "name" : "a"}"#;
    let told = r#"{"z":1.0,"inputSchema":{"type":"object","properties":{}}, "name" : "a"}"#;
    assert_eq!(tool(text.into(), Family::Plain), told);
    assert_eq!(
        tool(r#"{"name":"a"}"#.into(), Family::Plain),
        r#"{"name":"a"}"#
    );
}

#[test]
fn references_are_written_out() {
    let schema = json!({
        "type": "object",
        "properties": { "user": { "$ref": "#/$defs/U~1ser%20A", "description": "Who" } },
        "$defs": { "U/ser A": { "type": "object", "description": "A user", "properties": { "id": { "$ref": "#id" } } },
                   "Id": { "$anchor": "id", "type": "integer" } },
    });
    for family in REWRITING {
        assert_eq!(
            rewritten(&schema, family)["properties"]["user"],
            json!({ "type": "object", "description": "Who", "properties": { "id": { "type": "integer" } } }),
        );
    }
}

#[test]
fn what_contains_itself_is_cut_and_says_so() {
    let schema = json!({
        "type": "object",
        "properties": { "tree": { "$ref": "#/$defs/Node" } },
        "$defs": { "Node": { "type": "object", "properties": {
            "name": { "type": "string" },
            "children": { "type": "array", "items": { "$ref": "#/$defs/Node" } },
        } } },
    });
    let tree = &rewritten(&schema, Family::Plain)["properties"]["tree"];
    assert_eq!(
        tree["properties"]["children"],
        json!({ "type": "array", "items": { "description": "The same again as `Node`." } })
    );
    let whole = json!({ "type": "object", "properties": { "again": { "$ref": "#" } } });
    let again = &rewritten(&whole, Family::OpenAi)["properties"]["again"];
    assert_eq!(
        again,
        &json!({ "description": "The same again as `the whole`." })
    );
}

#[test]
fn a_small_schema_cannot_become_a_large_one() {
    // Each definition is twice the next: 2^60 of them, were they all written out.
    let mut defs = Map::new();
    for n in 0..60 {
        let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
        defs.insert(
            format!("d{n}"),
            json!({ "properties": { "a": next, "b": next } }),
        );
    }
    let wide = json!({ "$ref": "#/$defs/d0", "$defs": defs });
    // And each `allOf` of unions as many as their product.
    let union =
        json!({ "anyOf": [{ "required": ["a"] }, { "required": ["b"] }, { "minProperties": 1 }] });
    let mut product = json!({ "type": "string", "description": "x".repeat(1000) });
    for _ in 0..30 {
        product = json!({ "allOf": [union, union, { "properties": { "p": product } }] });
    }
    let long = json!({ "properties": { "p": { "anyOf": vec![json!({ "description": "d".repeat(9000), "type": "string" }); 400] } } });
    for schema in [wide, product, long] {
        for family in REWRITING {
            let bytes = rewritten(&schema, family).to_string().len();
            assert!(bytes < 2 * 1024 * 1024, "{bytes} for {family:?}");
        }
    }
}

#[test]
fn who_may_leave_it_out_need_not_say_null() {
    let nullable = json!({ "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "null" }], "default": null });
    let root = json!({ "type": "object", "properties": { "p": nullable } });
    let p = |family| rewritten(&root, family)["properties"]["p"].clone();
    assert_eq!(
        p(Family::Plain),
        json!({ "type": "string", "description": "Default: null. With minLength 1." })
    );
    assert_eq!(
        p(Family::OpenAi),
        json!({ "type": ["string", "null"], "description": "Default: null. With minLength 1." })
    );
    assert_eq!(
        p(Family::Gemini),
        json!({ "type": "string", "nullable": true, "minLength": 1, "description": "Default: null." })
    );
    // Who may not has to be able to say it.
    assert_eq!(property(&nullable, Family::Plain)["type"], Value::Null);
}

#[test]
fn lists_of_values_become_one_list() {
    let union =
        json!({ "oneOf": [{ "const": "a", "description": "first" }, { "enum": ["b", "c"] }] });
    assert_eq!(
        property(&union, Family::Plain),
        json!({ "type": "string", "enum": ["a", "b", "c"], "description": "One of: \"a\" (first); or \"b\" or \"c\"." })
    );
    let mixed = json!({ "enum": ["a", 1, null] });
    assert_eq!(
        property(&mixed, Family::OpenAi),
        json!({ "anyOf": [{ "type": "string", "enum": ["a"] }, { "type": "integer", "enum": [1] }, { "type": "null" }] })
    );
    // Gemini enumerates nothing but texts, and no empty ones.
    let numbers = property(&json!({ "enum": [1, 2] }), Family::Gemini);
    assert_eq!(
        numbers,
        json!({ "type": "integer", "description": "One of: 1 or 2." })
    );
    let empty = property(&json!({ "enum": ["", "a"] }), Family::Gemini);
    assert_eq!(
        empty,
        json!({ "type": "string", "description": "One of: \"\" or \"a\"." })
    );
}

#[test]
fn a_union_is_told_as_far_as_the_family_goes() {
    let union = json!({ "description": "Where", "oneOf": [
        { "type": "string", "format": "uri", "description": "a link" },
        { "type": "object", "properties": { "id": { "type": "integer" } }, "required": ["id"], "additionalProperties": false },
    ] });
    assert_eq!(
        property(&union, Family::OpenAi),
        json!({ "description": "Where", "anyOf": [
            { "type": "string", "description": "a link With format \"uri\"." },
            { "type": "object", "properties": { "id": { "type": "integer" } }, "required": ["id"], "additionalProperties": false },
        ] })
    );
    assert_eq!(
        property(&union, Family::Gemini),
        json!({ "anyOf": [
            { "type": "string", "description": "Where With format \"uri\"." },
            { "type": "object", "properties": { "id": { "type": "integer" } }, "required": ["id"] },
        ] })
    );
    let plain = property(&union, Family::Plain);
    assert_eq!(plain["type"], Value::Null);
    let told = plain["description"].as_str().unwrap();
    assert!(
        told.contains("string (a link); or object with `id`"),
        "{told}"
    );
}

#[test]
fn the_root_is_one_object_whatever_it_was() {
    let schema = json!({ "oneOf": [
        { "type": "object", "properties": { "kind": { "const": "a" }, "x": { "type": "integer" } }, "required": ["kind", "x"], "additionalProperties": false },
        { "type": "object", "properties": { "kind": { "const": "b" }, "y": {} }, "required": ["kind"], "additionalProperties": false },
    ] });
    assert_eq!(
        rewritten(&schema, Family::Plain),
        json!({
            "type": "object",
            "description": "One of: object with `kind`, `x`; or object with `kind`, `y`.",
            "properties": {
                "kind": { "type": "string", "enum": ["a", "b"] },
                "x": { "type": "integer" },
                "y": {},
            },
            "required": ["kind"],
        })
    );
    for odd in [
        json!(true),
        json!(null),
        json!([]),
        json!({ "type": "string" }),
        json!(false),
    ] {
        for family in REWRITING {
            assert_eq!(
                rewritten(&odd, family),
                json!({ "type": "object", "properties": {} })
            );
        }
    }
}

#[test]
fn all_of_several_is_one_that_says_it_all() {
    let schema = json!({ "allOf": [
        { "type": "object", "properties": { "n": { "type": "number", "minimum": 1 } }, "required": ["n"] },
        { "properties": { "n": { "type": ["integer", "string"], "minimum": 3, "exclusiveMaximum": 9 } }, "required": ["m"] },
    ] });
    assert_eq!(
        property(&schema, Family::OpenAi),
        json!({ "type": "object", "properties": { "n": { "type": "integer", "minimum": 3, "exclusiveMaximum": 9 } }, "required": ["n"] })
    );
    // Where a bound cannot be excluded, it is included, and told.
    assert_eq!(
        property(&schema, Family::Gemini)["properties"]["n"],
        json!({ "type": "integer", "minimum": 3, "maximum": 9, "description": "With exclusiveMaximum 9." })
    );
}

#[test]
fn a_long_name_is_cut_and_stays_one_of_its_kind() {
    let long = "files__".to_owned() + &"x".repeat(80);
    let short = name(long.clone(), Names::Short);
    assert_eq!(short.len(), 64);
    assert_eq!(short, name(long.clone(), Names::Short));
    assert_ne!(short, name(long.clone() + "y", Names::Short));
    assert_eq!(name(long.clone(), Names::Full), long);
    assert_eq!(name("files__read".into(), Names::Short), "files__read");
    // As before in every version: clients keep names in their settings.
    assert_eq!(
        name("files.read".into(), Names::Short),
        "files_read_601e4eb6"
    );
    assert_ne!(
        name("a.b".into(), Names::Short),
        name("a/b".into(), Names::Short)
    );
    assert!(name("größe".into(), Names::Short).is_ascii());
}

/// Whether the family accepts every part of it.
fn check(schema: &Value, accepts: &Accepts, is_root: bool) -> Result<(), String> {
    let map = schema.as_object().ok_or("not an object")?;
    let has = |name: &str| map.contains_key(name);
    if is_root && (map["type"] != "object" || !has("properties") || has("anyOf") || has("enum")) {
        return Err("the root is no plain object".into());
    }
    let mut known = vec![
        "type",
        "description",
        "enum",
        "items",
        "properties",
        "required",
    ];
    known.extend(accepts.facts);
    known.extend((accepts.unions != Unions::Never).then_some("anyOf"));
    known.extend((accepts.null == Null::Flag).then_some("nullable"));
    known.extend(accepts.closed.then_some("additionalProperties"));
    if let Some(stranger) = map.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("`{stranger}`"));
    }
    if !accepts.untyped && !has("type") && !has("anyOf") {
        return Err("no type".into());
    }
    match map.get("type") {
        None | Some(Value::String(_)) => {}
        Some(Value::Array(two))
            if accepts.null == Null::Type && two.len() == 2 && two[1] == "null" => {}
        Some(other) => return Err(format!("type {other}")),
    }
    if map.get("type").is_some_and(|kind| *kind == "array") && !has("items") {
        return Err("an array of what?".into());
    }
    if accepts.unions == Unions::Alone && has("anyOf") && map.len() > 1 {
        return Err("more than a union".into());
    }
    if let Some(format) = map.get("format")
        && !accepts.formats.contains(&format.as_str().unwrap())
    {
        return Err(format!("format {format}"));
    }
    if has("additionalProperties") && map["additionalProperties"] != false {
        return Err("additionalProperties".into());
    }
    let listed = map.get("enum").and_then(Value::as_array);
    if listed.is_some_and(|values| {
        values.is_empty() || values.iter().any(|v| v.is_object() || v.is_array())
    }) {
        return Err("enum".into());
    }
    if accepts.enums_of_strings
        && listed.is_some_and(|v| !v.iter().all(|v| v.as_str().is_some_and(|v| !v.is_empty())))
    {
        return Err("an enum of more than texts".into());
    }
    let properties = map.get("properties").and_then(Value::as_object);
    let required = map.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten() {
        if !properties.is_some_and(|known| known.contains_key(name.as_str().unwrap())) {
            return Err(format!("required {name}"));
        }
    }
    let parts = properties.into_iter().flat_map(Map::values);
    let parts = parts.chain(map.get("items"));
    for part in parts.chain(
        map.get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten(),
    ) {
        check(part, accepts, false)?;
    }
    Ok(())
}

/// Without the members that are null: who may leave one out does so.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_nulls(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn undescribed(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| *name != "description")
            .map(|(name, value)| (name.clone(), undescribed(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(undescribed).collect(),
        other => other.clone(),
    }
}

/// Holds what the original lets through against the rewritten schemas. How often something was let through.
fn hold(schema: &Value, arguments: &[Value]) -> usize {
    let Ok(original) = Schema::compile(&schema.to_string()) else {
        return 0;
    };
    let mut passed = 0;
    for family in REWRITING {
        let told = rewritten(schema, family);
        let accepts = family.accepts().unwrap();
        if let Err(what) = check(&told, accepts, true) {
            panic!("{family:?} does not accept {what} in {told:#}\nof {schema:#}");
        }
        assert_eq!(told, rewritten(schema, family));
        if family == Family::Gemini {
            continue;
        }
        let again = rewritten(&told, family);
        assert_eq!(
            undescribed(&told),
            undescribed(&again),
            "what is rewritten stays what it is"
        );
        let wider = Schema::compile(&told.to_string()).unwrap();
        for value in arguments.iter().filter(|value| value.is_object()) {
            if !original.check(value).is_empty() {
                continue;
            }
            passed += 1;
            let fits = wider.check(value).is_empty()
                || family == Family::Plain && wider.check(&without_nulls(value)).is_empty();
            assert!(
                fits,
                "{value} fits\n{schema:#}\nbut for {family:?} not\n{told:#}"
            );
        }
    }
    passed
}

#[test]
fn what_real_servers_write_is_rewritten_wider_and_to_what_is_accepted() {
    let corpus = [
        // As pydantic writes it.
        (
            json!({
                "$defs": {
                    "Cat": { "properties": { "pet": { "const": "cat", "title": "Pet", "type": "string" }, "lives": { "default": 9, "type": "integer" } }, "required": ["pet"], "title": "Cat", "type": "object" },
                    "Dog": { "properties": { "pet": { "const": "dog", "title": "Pet", "type": "string" }, "name": { "anyOf": [{ "type": "string" }, { "type": "null" }], "default": null } }, "required": ["pet"], "title": "Dog", "type": "object" },
                    "Size": { "enum": ["s", "l"], "type": "string" },
                },
                "properties": {
                    "pet": { "discriminator": { "mapping": { "cat": "#/$defs/Cat", "dog": "#/$defs/Dog" }, "propertyName": "pet" }, "oneOf": [{ "$ref": "#/$defs/Cat" }, { "$ref": "#/$defs/Dog" }] },
                    "size": { "allOf": [{ "$ref": "#/$defs/Size" }], "default": "s" },
                    "tags": { "anyOf": [{ "items": { "type": "string" }, "type": "array" }, { "type": "null" }], "default": null },
                    "at": { "maxItems": 2, "minItems": 2, "prefixItems": [{ "type": "number" }, { "type": "string" }], "type": "array" },
                    "extra": { "additionalProperties": { "type": "integer" }, "type": "object" },
                },
                "required": ["pet"],
                "type": "object",
            }),
            vec![
                json!({ "pet": { "pet": "cat" } }),
                json!({ "pet": { "pet": "dog", "name": null }, "size": "l", "tags": null }),
                json!({ "pet": { "pet": "dog", "name": "x", "lives": "many" }, "tags": ["a"], "at": [1.5, "x"] }),
                json!({ "pet": { "pet": "cat", "name": 7 }, "extra": { "a": 1 }, "more": [] }),
            ],
        ),
        // As zod-to-json-schema writes it.
        (
            json!({
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {
                    "edits": { "type": "array", "items": { "type": "object", "properties": { "old": { "type": "string" }, "new": { "type": ["string", "null"] } }, "required": ["old", "new"], "additionalProperties": false } },
                    "same": { "$ref": "#/properties/edits", "type": "string" },
                    "level": { "type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5 },
                    "to": { "anyOf": [{ "type": "string", "format": "email" }, { "type": "array", "items": [{ "type": "string" }, { "type": "number" }] }] },
                },
                "required": ["edits"],
                "additionalProperties": false,
            }),
            vec![
                json!({ "edits": [] }),
                json!({ "edits": [{ "old": "a", "new": null }], "level": 0.5 }),
                json!({ "edits": [{ "old": "a", "new": "b" }], "same": [{ "old": "", "new": "" }], "to": ["a", 1, {}] }),
                json!({ "edits": [], "to": "a@b.c" }),
            ],
        ),
        // By hand, by somebody who knows the specification.
        (
            json!({
                "type": "object",
                "properties": { "mode": { "enum": ["a", 1, null, [2]] }, "n": { "type": ["integer", "boolean"] }, "no": false },
                "patternProperties": { "^x-": { "type": "string" } },
                "additionalProperties": false,
                "anyOf": [{ "required": ["mode"] }, { "required": ["n"], "not": { "required": ["x-a"] } }],
                "if": { "required": ["mode"] }, "then": { "minProperties": 2 }, "else": {},
                "dependentRequired": { "n": ["mode"] },
            }),
            vec![
                json!({ "mode": [2], "n": 1 }),
                json!({ "mode": null, "x-a": "" }),
                json!({ "mode": 1.0, "n": true, "x-b": "y" }),
            ],
        ),
    ];
    for (schema, arguments) in corpus {
        // Every one of them passes the original: else nothing would be held against the others.
        assert_eq!(hold(&schema, &arguments), 2 * arguments.len(), "{schema:#}");
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(1.0),
        json!(2.5),
        json!(""),
        json!("a"),
        json!("bb"),
    ])
}

fn arguments() -> impl Strategy<Value = Value> {
    let leaf = scalar().prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            members(inner, 0..3),
        ]
    });
    members(leaf, 0..4)
}

fn members(
    of: impl Strategy<Value = Value>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Value> {
    prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), of), count).prop_map(
        |pairs| {
            pairs
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<Map<_, _>>()
                .into()
        },
    )
}

fn kind() -> impl Strategy<Value = Value> {
    let names = vec![
        "null", "boolean", "integer", "number", "string", "array", "object",
    ];
    prop_oneof![
        prop::sample::select(names.clone()).prop_map(Value::from),
        prop::sample::subsequence(names, 1..4).prop_map(Value::from),
    ]
}

/// A few keywords at once, each with a value that it may have.
fn schemas() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({})),
        Just(json!(true)),
        Just(json!({ "$ref": "#" })),
        Just(json!({ "$ref": "#/$defs/d" })),
        kind().prop_map(|kind| json!({ "type": kind })),
        scalar().prop_map(|value| json!({ "const": value })),
        prop::collection::vec(scalar(), 1..4).prop_map(|values| json!({ "enum": values })),
    ];
    leaf.prop_recursive(4, 40, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..3);
        let keyword = prop_oneof![
            2 => kind().prop_map(|kind| ("type", kind)),
            1 => inner.clone().prop_map(|schema| ("items", schema)),
            1 => inner.clone().prop_map(|schema| ("not", schema)),
            1 => inner.clone().prop_map(|schema| ("additionalProperties", schema)),
            1 => Just(("additionalProperties", json!(false))),
            1 => inner.clone().prop_map(|schema| ("patternProperties", json!({ "^a": schema }))),
            1 => (prop::sample::select(vec!["anyOf", "oneOf", "allOf", "prefixItems"]), list).prop_map(|(k, v)| (k, v.into())),
            3 => members(inner, 1..3).prop_map(|schemas| ("properties", schemas)),
            1 => prop::sample::subsequence(vec!["a", "b"], 0..2).prop_map(|names| ("required", names.into())),
            1 => (prop::sample::select(vec!["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]), 1..3)
                .prop_map(|(k, v)| (k, json!(v))),
            1 => (prop::sample::select(vec!["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]), 0..3)
                .prop_map(|(k, v)| (k, json!(v))),
            1 => prop::sample::select(vec!["^a", "(?=a)"]).prop_map(|pattern| ("pattern", pattern.into())),
            1 => prop::sample::select(vec!["Some words.", "Others"]).prop_map(|words| ("description", words.into())),
            1 => scalar().prop_map(|value| ("default", value)),
        ];
        prop::collection::vec(keyword, 1..5).prop_map(|pairs| {
            let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
            pairs.collect::<Map<_, _>>().into()
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_schema_is_rewritten_wider_and_to_what_is_accepted(
        schema in schemas(),
        def in schemas(),
        is_old in any::<bool>(),
        arguments in prop::collection::vec(arguments(), 24),
    ) {
        let mut schema = schema;
        if let Value::Object(schema) = &mut schema {
            schema.insert("$defs".into(), json!({ "d": def }));
            let draft = if is_old { "http://json-schema.org/draft-07/schema#" } else { "https://json-schema.org/draft/2020-12/schema" };
            schema.insert("$schema".into(), draft.into());
        }
        hold(&schema, &arguments);
    }
}
