//! The OpenAPI 3.1 document of this API, made from the table of operations.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Input, OPERATIONS};

/// The whole document.
pub(super) fn document() -> Value {
    let mut schemas = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let mut says = json!({
            "operationId": operation.record.trim_start_matches("admin/"),
            "summary": operation.summary,
            "responses": { "default": {
                "description": "Why not (RFC 9457)",
                "content": { "application/problem+json": {} },
            }},
        });
        let (body, is_needed) = match operation.input {
            Input::None => (None, false),
            Input::Optional(schema) => (Some(schema(&mut schemas)), false),
            Input::Needed(schema) => (Some(schema(&mut schemas)), true),
        };
        if let Some(schema) = body {
            says["requestBody"] = json!({
                "required": is_needed,
                "content": { "application/json": { "schema": schema } },
            });
        }
        says["responses"]["2XX"] = match operation.output {
            None => json!({ "description": "Done" }),
            Some(schema) => json!({
                "description": "Done",
                "content": { "application/json": { "schema": schema(&mut schemas) } },
            }),
        };
        if let Some(name) = parameter(operation.path) {
            says["parameters"] = json!([
                { "name": name, "in": "path", "required": true, "schema": { "type": "string" } }
            ]);
        }
        let verb = operation.method.as_str().to_ascii_lowercase();
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[verb] = says;
    }
    let definitions = schemas.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Portcullis admin API", "version": env!("CARGO_PKG_VERSION") },
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// The name of what a path leaves open.
fn parameter(path: &str) -> Option<&str> {
    path.split('/')
        .find_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}
