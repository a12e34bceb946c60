//! What validation costs: run with `cargo bench -p policy --bench schema`; a plain test run only sees that it works.
//!
//! Ten fields are to take less than 2 µs; a schema or value that was written to be dear less than 50 ms, whether it is
//! refused or not.

mod hostile;

use divan::Bencher;
use hostile::Hostile;
use policy::Schema;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler<mimalloc::MiMalloc> =
    divan::AllocProfiler::new(mimalloc::MiMalloc);

fn main() {
    divan::main();
}

fn ten_fields() -> (Schema, Value) {
    let schema = json!({
        "type": "object",
        "properties": {
            "path": { "type": "string", "minLength": 1, "maxLength": 4096 },
            "query": { "type": "string", "pattern": "^[a-z0-9 ]*$" },
            "mode": { "enum": ["fast", "thorough", "exact"] },
            "limit": { "type": "integer", "minimum": 1, "maximum": 100 },
            "offset": { "type": "integer", "minimum": 0 },
            "ratio": { "type": "number", "exclusiveMaximum": 1 },
            "recursive": { "type": "boolean" },
            "depth": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
            "tags": { "type": "array", "items": { "type": "string" }, "maxItems": 10 },
            "filter": { "type": "object", "properties": { "glob": { "type": "string" } }, "additionalProperties": false },
        },
        "required": ["path", "query"],
        "additionalProperties": false,
    });
    let value = json!({
        "path": "/srv/docs", "query": "annual report", "mode": "exact", "limit": 20, "offset": 0, "ratio": 0.5,
        "recursive": true, "depth": null, "tags": ["a", "b"], "filter": { "glob": "*.md" },
    });
    let schema = Schema::compile(&schema.to_string()).expect("a schema");
    (schema, value)
}

#[divan::bench]
fn ten_fields_that_fit(bencher: Bencher<'_, '_>) {
    let (schema, value) = ten_fields();
    bencher.bench(|| assert!(schema.check(&value).is_empty()));
}

#[divan::bench]
fn ten_fields_strictly(bencher: Bencher<'_, '_>) {
    let (schema, value) = ten_fields();
    bencher.bench(|| assert!(schema.check_strictly(&value).is_empty()));
}

#[divan::bench]
fn ten_fields_of_which_two_are_wrong(bencher: Bencher<'_, '_>) {
    let (schema, mut value) = ten_fields();
    value["limit"] = json!(1000);
    value["pth"] = json!("/");
    bencher.bench(|| assert_eq!(schema.check(&value).len(), 2));
}

impl std::fmt::Debug for Hostile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[divan::bench(args = hostile::all(), sample_count = 3)]
fn hostile_schema(bencher: Bencher<'_, '_>, case: &Hostile) {
    bencher.bench(|| Schema::compile(&case.schema));
}

#[divan::bench(args = hostile::all(), sample_count = 3)]
fn hostile_values(bencher: Bencher<'_, '_>, case: &Hostile) {
    let Ok(schema) = Schema::compile(&case.schema) else {
        return;
    };
    // Each value on its own is to be within the bound, so the dearest says most.
    bencher.bench(|| {
        for value in &case.values {
            divan::black_box(schema.check_strictly(value));
        }
    });
}
