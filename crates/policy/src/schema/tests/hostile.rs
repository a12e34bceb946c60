//! Schemas and values that were written to be dear cost little, in time and in memory, whether they are refused or not.
//!
//! The bound is 50 ms; `benches/schema` measures it. Unoptimised and beside other tests everything takes longer, so the
//! limit here is far above it, and far below what one of them would take if it were let go on.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::*;

#[path = "../../../benches/schema/hostile.rs"]
mod cases;

const TIME_MAX: Duration = Duration::from_secs(3);
const MEMORY_MAX_KB: usize = 128 * 1024;

#[expect(clippy::disallowed_methods, reason = "this is about real time")]
fn now() -> Instant {
    Instant::now()
}

/// The most memory that this process ever had, in kilobytes.
fn peak_kb() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What must not even be compiled.
const REFUSED: &[&str] = &[
    "too deep",
    "wide, with booleans",
    "branches that double",
    "branches that double and fit",
    "branches that double where nothing is evaluated",
    "unevaluated within unevaluated",
    "a chain of references",
    "an if that doubles",
    "patterns of many letters",
    "many patterns for names",
    "an enum too many",
    "long names with many within",
    "many dynamic scopes",
    "many resources",
];

#[test]
fn hostile_schemas_and_values_cost_little() {
    let mut wrong = Vec::new();
    let mut measured = |what: String, work: &mut dyn FnMut()| {
        let (peak, start) = (peak_kb(), now());
        work();
        let (time, memory) = (start.elapsed(), peak_kb() - peak);
        println!("{what}: {time:?}, {memory} kB");
        if time > TIME_MAX || memory > MEMORY_MAX_KB {
            wrong.push(format!("{what}: {time:?}, {memory} kB"));
        }
    };
    for case in cases::all() {
        let mut compiled = None;
        measured(case.name.to_owned(), &mut || {
            compiled = Some(Schema::compile(&case.schema));
        });
        let compiled = compiled.unwrap();
        let is_refused = REFUSED.contains(&case.name);
        assert_eq!(compiled.is_err(), is_refused, "{}: {compiled:?}", case.name);
        let Ok(schema) = compiled else { continue };
        for (nth, value) in case.values.iter().enumerate() {
            measured(format!("{} {nth}", case.name), &mut || {
                let faults = schema.check_strictly(value);
                assert!(faults.len() <= FAULTS_MAX, "{}", case.name);
                assert!(explain(&faults).len() < 8_000, "{}", case.name);
            });
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is refused as too much would fit, or not fit, if it were looked at: the refusal comes first.
#[test]
fn what_would_take_too_long_is_refused_and_not_let_through() {
    let schema = json!({ "pattern": "[ab]*a[ab]{500}c" }).to_string();
    let schema = Schema::compile(&schema).unwrap();
    assert_eq!(schema.check(&json!(format!("a{}c", "b".repeat(500)))), []);
    assert_eq!(
        schema.check(&json!("b".repeat(100_000))),
        [Fault::too_much()]
    );
    let fits = json!(format!("a{}c", "b".repeat(500)).repeat(100));
    assert_eq!(schema.check(&fits), [Fault::too_much()]);
}

/// A tree of conditions, eight kinds of them, each of which may hold others: common, and dear if it were tried blindly.
#[test]
fn honest_recursion_passes_and_is_explained() {
    let kind = |kind: usize| {
        json!({
            "type": "object",
            "properties": {
                "kind": { "const": format!("k{kind}") },
                "parts": { "type": "array", "items": { "$ref": "#/$defs/condition" } },
            },
            "required": ["kind"],
            "additionalProperties": false,
        })
    };
    let schema = json!({
        "properties": { "where": { "$ref": "#/$defs/condition" } },
        "$defs": { "condition": { "oneOf": (0..8).map(kind).collect::<Vec<_>>() } },
    });
    let schema = Schema::compile(&schema.to_string()).unwrap();
    let tree = |depth: usize, leaf: Value| {
        (0..depth).fold(
            leaf,
            |part, nth| json!({ "kind": format!("k{}", nth % 8), "parts": [part] }),
        )
    };
    assert_eq!(
        schema.check(&json!({ "where": tree(25, json!({ "kind": "k7" })) })),
        []
    );
    assert_eq!(
        schema.check_strictly(&json!({ "where": tree(25, json!({ "kind": "k7" })) })),
        []
    );
    let wrong = json!({ "where": tree(2, json!({ "kind": "k7", "x": 1 })) });
    let told = explain(&schema.check(&wrong));
    assert!(
        told.starts_with("/where: matches none of 8 allowed forms"),
        "{told}"
    );
    // Deeper down the reasons would be too many; that it does not fit is certain nevertheless.
    let wrong = json!({ "where": tree(25, json!({ "kind": "k9" })) });
    assert_eq!(schema.check(&wrong).len(), 1);
}
