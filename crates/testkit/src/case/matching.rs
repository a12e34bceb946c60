//! What is written down against what came: where they differ, and what to write down instead.

use serde_json::{Map, Value};

/// Any value.
const ANY: &str = "*";
/// Any other members.
const OTHERS: &str = "...";
/// Longer values are broken into lines.
const WIDTH: usize = 110;

/// Where the two differ, in words; `None` if they do not.
pub(super) fn difference(expected: &Value, actual: &Value) -> Option<String> {
    compare(expected, actual, "")
}

fn compare(expected: &Value, actual: &Value, at: &str) -> Option<String> {
    match (expected, actual) {
        (Value::String(any), _) if any == ANY => None,
        (Value::Object(expected), Value::Object(actual)) => {
            let is_open = expected.contains_key(OTHERS);
            let wrong = expected
                .iter()
                .filter(|(name, _)| *name != OTHERS)
                .find_map(|(name, value)| match actual.get(name) {
                    Some(found) => compare(value, found, &format!("{at}/{name}")),
                    None => Some(format!("{at}/{name} is missing")),
                });
            wrong.or_else(|| {
                let more = actual
                    .keys()
                    .find(|name| !is_open && !expected.contains_key(*name))?;
                Some(format!("{at}/{more} is not expected: {}", actual[more]))
            })
        }
        (Value::Array(expected), Value::Array(actual)) => {
            if expected.len() != actual.len() {
                return Some(format!(
                    "{at} has {} elements, not {}",
                    actual.len(),
                    expected.len()
                ));
            }
            expected
                .iter()
                .zip(actual)
                .enumerate()
                .find_map(|(index, (expected, actual))| {
                    compare(expected, actual, &format!("{at}/{index}"))
                })
        }
        _ if expected == actual => None,
        _ => Some(format!("{at} is {actual}, not {expected}")),
    }
}

/// What came, with the freedom that the old text left. What differs per run is left free anyway.
pub(super) fn mask(expected: &Value, actual: &Value) -> Value {
    match (expected, actual) {
        (Value::String(any), _) if any == ANY => expected.clone(),
        (Value::Object(expected), Value::Object(actual)) => {
            let is_open = expected.contains_key(OTHERS);
            let mut out: Map<String, Value> = actual
                .iter()
                .filter(|(name, _)| !is_open || expected.contains_key(*name))
                .map(|(name, value)| {
                    let before = expected.get(name).unwrap_or(&Value::Null);
                    (name.clone(), mask(before, value))
                })
                .collect();
            if is_open {
                out.insert(OTHERS.to_owned(), ANY.into());
            }
            Value::Object(out)
        }
        (Value::Array(expected), Value::Array(actual)) => actual
            .iter()
            .enumerate()
            .map(|(at, value)| mask(expected.get(at).unwrap_or(&Value::Null), value))
            .collect(),
        (_, Value::Object(actual)) => actual
            .iter()
            .map(|(name, value)| {
                // The id of a call in the audit log.
                let value = if name == "call" {
                    ANY.into()
                } else {
                    mask(&Value::Null, value)
                };
                (name.clone(), value)
            })
            .collect(),
        (_, Value::Array(actual)) => actual
            .iter()
            .map(|value| mask(&Value::Null, value))
            .collect(),
        _ => actual.clone(),
    }
}

/// JSON as people write it: on one line if it fits, else a member a line.
pub(super) fn format(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, indent: usize, out: &mut String) {
    let short = value.to_string();
    let pad = "  ".repeat(indent + 1);
    let parts: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (format!("{}:", Value::from(name.as_str())), value))
            .collect(),
        Value::Array(elements) => elements
            .iter()
            .map(|value| (String::new(), value))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    if parts.is_empty() || short.len() + 2 * indent <= WIDTH {
        out.push_str(&short);
        return;
    }
    let (open, close) = if value.is_object() {
        ('{', '}')
    } else {
        ('[', ']')
    };
    out.push(open);
    for (at, (name, value)) in parts.iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        out.push_str(&pad);
        out.push_str(name);
        write(value, indent + 1, out);
    }
    out.push('\n');
    out.push_str(&"  ".repeat(indent));
    out.push(close);
}
