//! Describes a tool to clients: the MCP `Tool` object, with schemas from the types that are really used.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// What a client may expect of a tool. Hints only: what may be called is decided by rules.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "these are MCP's four")]
pub(super) struct Hints {
    read_only_hint: bool,
    destructive_hint: bool,
    idempotent_hint: bool,
    open_world_hint: bool,
}

/// Changes nothing.
pub(super) const READS: Hints = Hints {
    read_only_hint: true,
    destructive_hint: false,
    idempotent_hint: true,
    open_world_hint: false,
};
/// Changes nothing, and what it reads may be anybody's.
pub(super) const READS_WORLD: Hints = Hints {
    open_world_hint: true,
    ..READS
};
/// May replace or remove something; a second time changes nothing more.
pub(super) const REPLACES: Hints = Hints {
    read_only_hint: false,
    destructive_hint: true,
    idempotent_hint: true,
    open_world_hint: false,
};
/// May replace something, and a second time may change something again.
pub(super) const WRITES: Hints = Hints {
    idempotent_hint: false,
    ..REPLACES
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    name: &'a str,
    title: &'a str,
    description: &'a str,
    input_schema: Schema,
    output_schema: Schema,
    annotations: Hints,
}

/// A tool that takes an `I` and gives an `O`.
pub(super) fn tool<I: JsonSchema, O: JsonSchema>(
    name: &str,
    title: &str,
    description: &str,
    hints: Hints,
) -> Box<RawValue> {
    // One self-contained schema each: many clients do not follow references.
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut input_schema = settings
        .clone()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<I>();
    let mut output_schema = settings
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<O>();
    // The name and comment of a Rust type say nothing to a model.
    for schema in [&mut input_schema, &mut output_schema] {
        schema.remove("title");
        schema.remove("description");
        drop_rust_formats(schema.as_object_mut());
    }
    let tool = Tool {
        name,
        title,
        description,
        input_schema,
        output_schema,
        annotations: hints,
    };
    to_raw_value(&tool).expect("schemas and strings have a JSON form")
}

/// Takes out formats that only schemars knows (`uint16`, `double`): validators warn about what no draft defines, and
/// the bounds beside them say it already.
fn drop_rust_formats(schema: Option<&mut Map<String, Value>>) {
    let Some(schema) = schema else { return };
    let is_ours = |format: &str| {
        ["int", "uint", "float", "double"]
            .iter()
            .any(|name| format.starts_with(name))
    };
    if schema
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(is_ours)
    {
        schema.remove("format");
    }
    for value in schema.values_mut() {
        match value {
            Value::Array(items) => items
                .iter_mut()
                .for_each(|item| drop_rust_formats(item.as_object_mut())),
            value => drop_rust_formats(value.as_object_mut()),
        }
    }
}
