//! Finds and reads the sources of a config: files of three formats, environment variables, flags.
//!
//! What the values mean is not looked at here, only that they can be read, and where each one stands.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jsonc_parser::ast::Value as JsonAst;
use policy::config::Complaint;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::layers::{Layer, Origin};
use super::{Environment, Sources, Trouble, schema};

/// Largest config file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
const FORMATS: [&str; 4] = ["toml", "yaml", "yml", "json"];
const VARIABLE_PREFIX: &str = "PORTCULLIS__";

/// The files to read, lowest first.
pub(super) fn files(sources: &Sources, environment: &Environment) -> Result<Vec<PathBuf>, Trouble> {
    let base = match &sources.config {
        Some(named) => {
            if !environment.folder.join(named).is_file() {
                return Err(missing(
                    named,
                    "name a file with --config, or leave it out for the defaults",
                ));
            }
            Some(named.clone())
        }
        None => found(environment)?,
    };
    let Some(name) = &sources.env else {
        return Ok(base.into_iter().collect());
    };
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    {
        return Err(plain(
            "--env",
            &format!("`{name}` is not a name of an environment"),
            "use letters, digits, - and _",
        ));
    }
    let Some(base) = base else {
        return Err(plain(
            "--env",
            "there is no config file to lay it over",
            "create portcullis.toml first",
        ));
    };
    let stem = base
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let beside = |extension: &str| base.with_file_name(format!("{stem}.{name}.{extension}"));
    let own = base
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut overlays = std::iter::once(own.as_str()).chain(FORMATS).map(beside);
    match overlays.find(|path| environment.folder.join(path).is_file()) {
        Some(overlay) => Ok(vec![base, overlay]),
        None => Err(missing(&beside(&own), "create it, or leave out --env")),
    }
}

fn found(environment: &Environment) -> Result<Option<PathBuf>, Trouble> {
    let folders = [
        Some(PathBuf::new()),
        environment
            .config_home()
            .map(|home| home.join("portcullis")),
    ];
    for folder in folders.into_iter().flatten() {
        let there = |extension: &&str| {
            environment
                .folder
                .join(&folder)
                .join(format!("portcullis.{extension}"))
                .is_file()
        };
        let mut formats = FORMATS.into_iter().filter(|extension| there(extension));
        match (formats.next(), formats.next()) {
            (Some(one), None) => return Ok(Some(folder.join(format!("portcullis.{one}")))),
            (Some(one), Some(two)) => {
                let reason = format!("portcullis.{one} and portcullis.{two} stand side by side");
                return Err(plain(
                    "config",
                    &reason,
                    "keep one, or name one with --config",
                ));
            }
            (None, _) => {}
        }
    }
    Ok(None)
}

/// Reads one file into a layer.
pub(super) fn read(path: &Path, environment: &Environment) -> Result<Layer, Vec<Trouble>> {
    let whole = environment.folder.join(path);
    let at = |line| Origin::File {
        path: Arc::from(path),
        line,
    };
    let trouble = |line, reason: String, hint: &str| {
        vec![Trouble {
            origin: Some(at(line)),
            complaint: complaint("", &reason, hint),
        }]
    };
    let text = match std::fs::metadata(&whole) {
        Ok(about) if about.len() > FILE_BYTES_MAX => {
            return Err(trouble(
                None,
                "the file is larger than 4 MiB".to_owned(),
                "",
            ));
        }
        _ => std::fs::read_to_string(&whole)
            .map_err(|error| trouble(None, format!("cannot be read: {error}"), ""))?,
    };
    let mut layer = Layer::default();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => {
            let value: serde_json::Value = serde_saphyr::from_str(&text).map_err(|error| {
                let line = error
                    .location()
                    .and_then(|at| usize::try_from(at.line()).ok());
                trouble(
                    line,
                    format!("is not YAML: {}", error.without_snippet()),
                    "",
                )
            })?;
            let serde_json::Value::Object(object) = value else {
                return Err(trouble(None, "holds no mapping of settings".to_owned(), ""));
            };
            let table = from_json(serde_json::Value::Object(object))
                .map_err(|key| trouble(None, format!("`{key}` is null"), "leave the key out"))?;
            place(&table, &mut Vec::new(), &mut layer, &at(None));
            layer.table = table;
        }
        Some("json") => {
            let parsed =
                jsonc_parser::parse_to_ast(&text, &Default::default(), &Default::default())
                    .map_err(|error| {
                        trouble(
                            Some(error.line_display()),
                            format!("is not JSON: {}", error.kind()),
                            "",
                        )
                    })?;
            let Some(JsonAst::Object(object)) = &parsed.value else {
                return Err(trouble(None, "holds no object of settings".to_owned(), ""));
            };
            let value: serde_json::Value =
                jsonc_parser::parse_to_serde_value(&text, &Default::default())
                    .ok()
                    .flatten()
                    .unwrap_or_default();
            layer.table = from_json(value)
                .map_err(|key| trouble(None, format!("`{key}` is null"), "leave the key out"))?;
            place_json(object, &mut Vec::new(), &mut layer, &|offset| {
                at(Some(line_of(&text, offset)))
            });
        }
        _ => {
            let (table, errors) = DeTable::parse_recoverable(&text);
            if !errors.is_empty() {
                let tell = |error: &toml::de::Error| Trouble {
                    origin: Some(at(error.span().map(|span| line_of(&text, span.start)))),
                    complaint: complaint("", &format!("is not TOML: {}", error.message()), ""),
                };
                return Err(errors.iter().map(tell).collect());
            }
            place_toml(table.get_ref(), &mut Vec::new(), &mut layer, &|offset| {
                at(Some(line_of(&text, offset)))
            });
            layer.table = text
                .parse()
                .map_err(|error: toml::de::Error| trouble(None, error.message().to_owned(), ""))?;
        }
    }
    Ok(layer)
}

/// The layer that environment variables make: `PORTCULLIS__LIMITS__TOOL_CALL__MAX=5`.
///
/// Names come in capitals; a name that the layers below know in another case is the one that is meant.
pub(super) fn variables(environment: &Environment, below: &Table) -> Layer {
    let mut layer = Layer::default();
    for (name, text) in &environment.variables {
        let Some(key) = name.strip_prefix(VARIABLE_PREFIX) else {
            continue;
        };
        let mut path: Vec<String> = Vec::new();
        let mut table = Some(below);
        for part in key.split("__") {
            let known =
                table.and_then(|table| table.keys().find(|known| known.eq_ignore_ascii_case(part)));
            let part = known.cloned().unwrap_or_else(|| part.to_ascii_lowercase());
            table = table.and_then(|table| table.get(&part)?.as_table());
            path.push(part);
        }
        let wants_text = schema::at(&path)
            .is_some_and(|node| node.get("type").is_some_and(|kind| kind == "string"));
        let value = match text.parse::<Value>() {
            Ok(value) if !wants_text || value.is_str() => value,
            _ => Value::String(text.clone()),
        };
        layer.set(&path, value, &Origin::Variable(name.clone()));
    }
    layer
}

/// The layer that flags make.
pub(super) fn flags(sources: &Sources) -> Layer {
    let mut layer = Layer::default();
    if !sources.listen.is_empty() {
        let addresses = sources.listen.iter().cloned().map(Value::String).collect();
        layer.set(
            &["listen".to_owned()],
            Value::Array(addresses),
            &Origin::Flag("--listen"),
        );
    }
    layer
}

fn place(table: &Table, path: &mut Vec<String>, layer: &mut Layer, origin: &Origin) {
    for (key, value) in table {
        path.push(key.clone());
        layer.origins.set(path, origin.clone());
        if let Value::Table(table) = value {
            place(table, path, layer, origin);
        }
        path.pop();
    }
}

fn place_toml(
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    layer: &mut Layer,
    at: &dyn Fn(usize) -> Origin,
) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        layer.origins.set(path, at(key.span().start));
        if let DeValue::Table(table) = value.get_ref() {
            place_toml(table, path, layer, at);
        }
        path.pop();
    }
}

fn place_json(
    object: &jsonc_parser::ast::Object<'_>,
    path: &mut Vec<String>,
    layer: &mut Layer,
    at: &dyn Fn(usize) -> Origin,
) {
    for property in &object.properties {
        path.push(property.name.as_str().to_owned());
        layer.origins.set(path, at(property.range.start));
        if let JsonAst::Object(object) = &property.value {
            place_json(object, path, layer, at);
        }
        path.pop();
    }
}

// `Err` is the key of a null, which TOML has no word for.
fn from_json(value: serde_json::Value) -> Result<Table, String> {
    fn convert(value: serde_json::Value, key: &str) -> Result<Value, String> {
        use serde_json::Value as Json;
        Ok(match value {
            Json::Null => return Err(key.to_owned()),
            Json::Bool(yes) => Value::Boolean(yes),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Value::Integer(number),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::String(text),
            Json::Array(list) => Value::Array(
                list.into_iter()
                    .map(|value| convert(value, key))
                    .collect::<Result<_, _>>()?,
            ),
            Json::Object(object) => {
                let entry =
                    |(key, value): (String, Json)| convert(value, &key).map(|value| (key, value));
                Value::Table(object.into_iter().map(entry).collect::<Result<_, _>>()?)
            }
        })
    }
    match convert(value, "")? {
        Value::Table(table) => Ok(table),
        _ => Ok(Table::new()),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

fn complaint(key: &str, reason: &str, hint: &str) -> Complaint {
    Complaint {
        key: key.to_owned(),
        reason: reason.to_owned(),
        hint: hint.to_owned(),
    }
}

fn plain(key: &str, reason: &str, hint: &str) -> Trouble {
    Trouble {
        origin: None,
        complaint: complaint(key, reason, hint),
    }
}

fn missing(path: &Path, hint: &str) -> Trouble {
    plain(&path.display().to_string(), "there is no such file", hint)
}
