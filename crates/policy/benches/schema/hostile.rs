//! Schemas and values that were written to be dear: for the tests, which see that each is refused or soon done with, and
//! for the benchmark, which measures how soon.

use serde_json::{Map, Value, json};

/// A schema, and values to hold against it.
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    pub(crate) schema: String,
    pub(crate) values: Vec<Value>,
}

/// `kind` in `kind`, so deep.
fn nested(kind: &str, inner: Value, depth: usize) -> Value {
    (0..depth).fold(inner, |inner, _| json!({ kind: inner }))
}

/// Lists in lists.
fn lists(depth: usize) -> Value {
    (0..depth).fold(json!([]), |inner, _| json!([inner]))
}

/// Definitions `0..count`, each made from the name of the next; the last is `end`.
fn chain(count: usize, end: Value, link: impl Fn(&str) -> Value) -> Value {
    let mut defs = Map::new();
    for nth in 0..count {
        let next = format!("#/$defs/{}", nth + 1);
        defs.insert(nth.to_string(), link(&next));
    }
    defs.insert(count.to_string(), end);
    json!({ "$ref": "#/$defs/0", "$defs": defs })
}

fn named(count: usize, value: &Value) -> Map<String, Value> {
    (0..count)
        .map(|nth| (format!("p{nth}"), value.clone()))
        .collect()
}

/// Lists that are all different and all hash alike, as the library hashes them: shapes of brackets alone.
fn alike(count: usize) -> Value {
    let mut shapes = vec![json!([])];
    for nth in 0..count {
        let (left, right) = (&shapes[nth / 2], &shapes[nth]);
        let shape = match nth % 2 {
            0 => json!([left, []]),
            _ => json!([right]),
        };
        shapes.push(shape);
        if shapes.len() > 40 {
            break;
        }
    }
    // All pairs of the small ones.
    let pairs = shapes
        .iter()
        .flat_map(|one| shapes.iter().map(move |other| json!([one, other])));
    let triples = pairs.flat_map(|pair| shapes.iter().map(move |one| json!([pair, one])));
    Value::Array(triples.take(count).collect())
}

pub(crate) fn all() -> Vec<Hostile> {
    let case = |name, schema: Value, values| Hostile {
        name,
        schema: schema.to_string(),
        values,
    };
    let long = "a".repeat(1_000_000);
    let deep_x = nested("x", json!(1), 60);
    let deep_items = lists(60);
    let many = Value::Object(named(20_000, &json!(1)));
    let numbers: Vec<Value> = (0..100_000).map(Value::from).collect();
    let mut cases = vec![
        case("deep", nested("not", json!({}), 62), vec![json!(1)]),
        case("too deep", nested("not", json!({}), 100), vec![]),
        case(
            "wide",
            json!({ "properties": named(8_000, &json!({ "type": "string" })) }),
            vec![many.clone()],
        ),
        case(
            "wide, with booleans",
            json!({ "properties": named(20_000, &json!(true)) }),
            vec![many.clone()],
        ),
        case(
            "many in many",
            json!({ "properties": named(80, &json!({ "properties": named(80, &json!({})) })) }),
            vec![json!({ "p1": many })],
        ),
        case(
            "branches that double",
            chain(40, json!({ "type": "string" }), |next| {
                json!({ "anyOf": [{ "$ref": next }, { "$ref": next }] })
            }),
            vec![json!(1)],
        ),
        case(
            "branches that double and fit",
            chain(40, json!(true), |next| {
                json!({ "allOf": [{ "$ref": next }, { "$ref": next }] })
            }),
            vec![json!(1)],
        ),
        case(
            "branches that double where nothing is evaluated",
            {
                let mut schema = chain(40, json!(true), |next| {
                    json!({ "allOf": [{ "$ref": next }, { "$ref": next }] })
                });
                schema["unevaluatedProperties"] = json!(false);
                schema
            },
            vec![json!({ "a": 1 })],
        ),
        case(
            "unevaluated within unevaluated",
            (0..20).fold(json!({ "properties": { "a": true } }), |inner, _| {
                json!({ "anyOf": [inner], "unevaluatedProperties": { "type": "string" } })
            }),
            vec![json!({ "a": 1, "b": 2 })],
        ),
        case(
            "branches that double a level deeper",
            chain(40, json!({ "type": "string" }), |next| {
                let branch = json!({ "properties": { "x": { "$ref": next } } });
                json!({ "anyOf": [branch.clone(), branch] })
            }),
            vec![deep_x.clone()],
        ),
        case(
            "a circle with two ways",
            json!({
                "type": "object",
                "anyOf": [
                    { "properties": { "x": { "$ref": "#" } }, "required": ["y"] },
                    { "properties": { "x": { "$ref": "#" } }, "required": ["z"] },
                ],
            }),
            vec![deep_x.clone()],
        ),
        case(
            "a circle of items, looked at three times",
            json!({ "items": { "$ref": "#" }, "contains": { "$ref": "#" }, "not": { "items": { "$ref": "#" } } }),
            vec![deep_items.clone(), Value::Array(vec![lists(30); 300])],
        ),
        case(
            "a circle of nothing",
            json!({ "allOf": [{ "$ref": "#" }, { "$ref": "#/allOf/0" }, { "anyOf": [{ "$ref": "#" }] }] }),
            vec![json!({ "a": [1] })],
        ),
        case(
            "a thousand kinds that hold each other",
            json!({
                "oneOf": (0..1_000).map(|_| json!({ "items": { "$ref": "#" } })).collect::<Vec<_>>(),
            }),
            vec![deep_items.clone()],
        ),
        case(
            "a chain of references",
            chain(2_000, json!({ "type": "string" }), |next| json!({ "$ref": next })),
            vec![json!(1)],
        ),
        case(
            "a dynamic circle",
            json!({
                "$id": "https://a.example/tree",
                "$dynamicAnchor": "node",
                "properties": { "x": { "$dynamicRef": "#node" } },
                "anyOf": [{ "$dynamicRef": "#node" }, { "properties": { "x": { "$dynamicRef": "#node" } } }],
            }),
            vec![deep_x.clone()],
        ),
        case(
            "an if that doubles",
            chain(40, json!({ "type": "string" }), |next| {
                json!({ "if": { "$ref": next }, "else": { "$ref": next }, "then": { "$ref": next } })
            }),
            vec![json!(1)],
        ),
        case(
            "a repetition of repetitions",
            json!({ "pattern": "^(a+)+$" }),
            vec![json!(format!("{long}!"))],
        ),
        case(
            "a pattern that must remember",
            json!({ "pattern": "[ab]*a[ab]{500}c" }),
            vec![json!("ab".repeat(500_000)), json!("ab".repeat(10_000))],
        ),
        case(
            "a huge pattern",
            json!({ "pattern": "((a{1,100}){1,100}){1,100}" }),
            vec![json!(long)],
        ),
        case(
            "patterns of many letters",
            json!({ "allOf": (1..500).map(|nth| json!({ "pattern": format!("\\p{{L}}{{{nth}}}(?:\\p{{Lu}}|\\p{{N}})*") })).collect::<Vec<_>>() }),
            vec![json!(long)],
        ),
        case(
            "many patterns for names",
            json!({ "patternProperties": (0..1_000).map(|nth| (format!("^.*a{nth}[a-z]*$"), json!({ "type": "string" }))).collect::<Map<_, _>>() }),
            vec![many.clone()],
        ),
        case(
            "a pattern for all names",
            json!({ "propertyNames": { "pattern": "^(p|q)*[a-z0-9]{1,200}$" } }),
            vec![many.clone()],
        ),
        case(
            "items that must differ",
            json!({ "uniqueItems": true }),
            vec![Value::Array(numbers.clone()), alike(20_000), alike(2_000)],
        ),
        case(
            "items that contain items that must differ",
            json!({ "contains": { "contains": { "uniqueItems": true } }, "minContains": 100 }),
            vec![json!([[numbers.clone()]]), Value::Array(vec![json!([alike(500)]); 20])],
        ),
        case(
            "a huge enum",
            json!({ "items": { "enum": (0..30_000).collect::<Vec<_>>() } }),
            vec![Value::Array(vec![json!(-1); 10_000])],
        ),
        case(
            "an enum too many",
            json!({ "items": { "enum": (0..45_000).collect::<Vec<_>>() }, "contains": { "enum": (0..45_000).collect::<Vec<_>>() } }),
            vec![],
        ),
        case(
            "a huge constant",
            json!({ "items": { "const": (0..30_000).collect::<Vec<_>>() } }),
            vec![Value::Array(vec![json!((0..30_000).collect::<Vec<_>>()); 30])],
        ),
        case(
            "all is required, many times",
            json!({ "items": { "required": (0..20_000).map(|nth| format!("p{nth}")).collect::<Vec<_>>() } }),
            vec![Value::Array(vec![json!({}); 10_000])],
        ),
        case(
            "a text that is counted again and again",
            json!({ "allOf": (0..4_000).map(|nth| json!({ "maxLength": 2_000_000 + nth })).collect::<Vec<_>>() }),
            vec![json!(long)],
        ),
        case(
            "long names with many within",
            json!({ "properties": { "x".repeat(100_000): { "properties": named(6_000, &json!({})) } } }),
            vec![json!({})],
        ),
        case(
            "numbers far apart",
            json!({ "items": { "multipleOf": 1e-300 } }),
            vec![Value::Array(vec![json!(1e308); 20_000]), Value::Array(vec![json!(0.1); 20_000])],
        ),
        case(
            "a large value and little to say of it",
            json!({ "items": { "properties": { "a": { "type": "integer" } } } }),
            vec![Value::Array(vec![json!({ "a": "x", "b": [1, 2, 3] }); 60_000])],
        ),
    ];
    cases.push(many_scopes());
    cases.push(many_resources());
    cases
}

/// Two resources that refer to each other in each of many steps: each way through is a dynamic scope of its own.
fn many_scopes() -> Hostile {
    let side = |id: &str, other: &str| {
        let mut defs = Map::new();
        for nth in 0..30 {
            let (here, there) = (
                format!("#/$defs/{}", nth + 1),
                format!("{other}#/$defs/{}", nth + 1),
            );
            let ways = json!({ "anyOf": [{ "$ref": here }, { "$ref": there }] });
            defs.insert(nth.to_string(), json!({ "properties": { "x": ways } }));
        }
        defs.insert(
            "30".to_owned(),
            json!({ "$dynamicAnchor": "end", "$dynamicRef": "#end" }),
        );
        json!({ "$id": id, "$defs": defs })
    };
    let schema = json!({
        "$id": "https://a.example/root",
        "$defs": { "a": side("a", "b"), "b": side("b", "a") },
        "$ref": "a#/$defs/0",
    });
    Hostile {
        name: "many dynamic scopes",
        schema: schema.to_string(),
        values: vec![nested("x", json!(1), 60)],
    }
}

/// A resource in each definition, each of which refers to all the others.
fn many_resources() -> Hostile {
    let ids: Vec<String> = (0..40).map(|nth| format!("r{nth}")).collect();
    let refs: Vec<Value> = ids.iter().map(|id| json!({ "$ref": id })).collect();
    let resource = |id: &String| {
        let of = json!({ "$id": id, "$dynamicAnchor": "node", "items": { "anyOf": refs } });
        (id.clone(), of)
    };
    let schema = json!({
        "$id": "https://a.example/root",
        "$defs": ids.iter().map(resource).collect::<Map<_, _>>(),
        "$ref": "r0",
    });
    Hostile {
        name: "many resources",
        schema: schema.to_string(),
        values: vec![lists(60)],
    }
}
