//! The JSON Schema of what people write, and the reference page made from it.
//!
//! The schema comes from [`super::raw`] by derive and the defaults from `defaults.toml`; [`super::shape`]
//! checks against it, so what is published is what is enforced.

use std::fmt::Write as _;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};
use toml::{Table, Value};

use super::raw::Raw;

/// What holds where nobody says otherwise.
pub(super) static DEFAULTS: LazyLock<Table> = LazyLock::new(|| {
    include_str!("defaults.toml")
        .parse()
        .expect("a test parses defaults.toml")
});

static SCHEMA: LazyLock<Json> = LazyLock::new(|| {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<Raw>()
        .to_value();
    drop_nulls(&mut schema);
    state_defaults(&mut schema, &DEFAULTS);
    schema
});

/// The JSON Schema of `portcullis.toml`.
#[must_use]
pub fn schema() -> &'static Json {
    &SCHEMA
}

/// The reference page: every key with type, default and meaning, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         <!-- Made from crates/server/src/config/raw.rs; `cargo xtask bless` rewrites it. -->\n\n\
         Read from `portcullis.toml` (or `.yaml`, `.yml`, `.json` of the same shape), with `portcullis.{env}.toml` \
         laid over it,\nthen `PORTCULLIS__SECTION__KEY` variables, then flags. `portcullis config show` prints \
         what holds and where it came from.\n\n\
         Durations are written `250ms`, `30s`, `5m`, `1h`, `7d`; sizes `512B`, `64KiB`, `4MiB`, `1GiB`. A *value or \
         reference* is a text,\n`{ env = \"NAME\" }`, `{ file = \"PATH\" }` or `{ secret = \"NAME\" }`, which `portcullis secret set NAME` keeps. `NAME` stands for a name of your choice. \
         Relative paths start at the folder of the file they stand in.\n\n\
         | key | type | default | meaning |\n|---|---|---|---|\n",
    );
    rows(schema(), &mut Vec::new(), &mut page);
    page
}

/// The schema of the thing at `path`, if there may be one.
pub(super) fn at(path: &[String]) -> Option<&'static Json> {
    let mut node = schema();
    for key in path {
        node = node
            .get("properties")
            .and_then(|known| known.get(key))
            .or_else(|| {
                node.get("additionalProperties")
                    .filter(|any| any.is_object())
            })?;
    }
    Some(node)
}

/// Whether the thing at `path` may be secret, or says where one is: one value, whatever keys are in it.
pub(super) fn is_secret(path: &[String]) -> bool {
    at(path).is_some_and(|node| matches!(kind(node), Some("secret" | "source")))
}

/// `duration`, `size`, `time`, `address`, `secret` or `source`, for values with a meaning of their own.
pub(super) fn kind(node: &Json) -> Option<&str> {
    node.get("x-kind")?.as_str()
}

// Our formats have no null: a key is there or it is not.
fn drop_nulls(node: &mut Json) {
    match node {
        Json::Object(object) => {
            if let Some(Json::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Json::Array(choices)) = object.get_mut("enum") {
                choices.retain(|choice| !choice.is_null());
            }
            if let Some(Json::Array(variants)) = object.get_mut("anyOf") {
                variants.retain(|variant| variant.get("type").is_none_or(|name| name != "null"));
                if let [Json::Object(only)] = variants.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            for (key, value) in object.iter_mut() {
                if key != "default" {
                    drop_nulls(value);
                }
            }
            if object.get("default").is_some_and(Json::is_null) {
                object.remove("default");
            }
        }
        Json::Array(list) => list.iter_mut().for_each(drop_nulls),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

// A key with a default need not be written.
fn state_defaults(node: &mut Json, defaults: &Table) {
    let Some(object) = node.as_object_mut() else {
        return;
    };
    for (key, default) in defaults {
        if key == "*" {
            if let (Some(any), Value::Table(default)) =
                (object.get_mut("additionalProperties"), default)
            {
                state_defaults(any, default);
            }
            continue;
        }
        if let Some(Json::Array(required)) = object.get_mut("required") {
            required.retain(|name| name != key);
        }
        let Some(property) = object
            .get_mut("properties")
            .and_then(|known| known.get_mut(key))
        else {
            continue;
        };
        match default {
            Value::Table(default) => state_defaults(property, default),
            value => {
                if let (Some(property), Ok(value)) =
                    (property.as_object_mut(), serde_json::to_value(value))
                {
                    property.insert("default".to_owned(), value);
                }
            }
        }
    }
    if object
        .get("required")
        .and_then(Json::as_array)
        .is_some_and(Vec::is_empty)
    {
        object.remove("required");
    }
}

fn rows(node: &Json, path: &mut Vec<String>, page: &mut String) {
    if !path.is_empty() {
        let key = path.join(".");
        let default = node
            .get("default")
            .filter(|default| !default.as_object().is_some_and(Map::is_empty));
        let default = default
            .map(|default| format!("`{default}`"))
            .unwrap_or_default();
        let meaning = node
            .get("description")
            .and_then(Json::as_str)
            .unwrap_or_default();
        let (kind, meaning) = (cell(&type_of(node)), cell(meaning));
        writeln!(page, "| `{key}` | {kind} | {default} | {meaning} |")
            .expect("a String takes everything");
    }
    let properties = node.get("properties").and_then(Json::as_object);
    for (key, property) in properties.into_iter().flatten() {
        path.push(key.clone());
        rows(property, path, page);
        path.pop();
    }
    if let Some(any) = node
        .get("additionalProperties")
        .filter(|any| any.get("properties").is_some())
    {
        path.push("NAME".to_owned());
        rows(any, path, page);
        path.pop();
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn type_of(node: &Json) -> String {
    if let Some(choices) = node.get("enum").and_then(Json::as_array) {
        return choices
            .iter()
            .map(|choice| format!("`{choice}`"))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    if let Some(kind) = kind(node) {
        return match kind {
            "secret" => "value or reference".to_owned(),
            "source" => "reference".to_owned(),
            "address" => "address or list of them".to_owned(),
            kind => kind.to_owned(),
        };
    }
    if let Some(variants) = node.get("anyOf").and_then(Json::as_array) {
        return variants
            .iter()
            .map(type_of)
            .collect::<Vec<_>>()
            .join(" or ");
    }
    match node.get("type").and_then(Json::as_str) {
        Some("string") => "text".to_owned(),
        Some("integer") => "number".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("array") => format!(
            "list of {}",
            node.get("items").map(type_of).unwrap_or_default()
        ),
        Some("object") => match node.get("additionalProperties") {
            Some(any) if any.is_object() && any.get("properties").is_none() => {
                format!("table of {}", type_of(any))
            }
            _ => "table".to_owned(),
        },
        _ => "anything".to_owned(),
    }
}
