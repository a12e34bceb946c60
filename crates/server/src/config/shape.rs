//! Holds what people wrote against the schema: unknown keys, wrong types, missing keys, all of them at once.
//!
//! What is wrong is complained about and taken out, so that the rest can still be checked for its meaning.

use policy::config::Complaints;
use serde_json::Value as Json;
use toml::{Table, Value};

use super::schema::{kind, schema};

/// Complains about everything in `table` that does not fit the schema, and takes it out.
pub(super) fn fit(table: &mut Table, complaints: &mut Complaints) {
    fit_table(schema(), table, complaints);
}

fn fit_table(node: &Json, table: &mut Table, complaints: &mut Complaints) -> bool {
    let known = node.get("properties").and_then(Json::as_object);
    let any = node
        .get("additionalProperties")
        .filter(|any| any.is_object());
    let written: Vec<String> = table.keys().cloned().collect();
    table.retain(|key, value| {
        let Some(node) = known.and_then(|known| known.get(key)).or(any) else {
            let names: Vec<&str> = known
                .into_iter()
                .flat_map(|known| known.keys().map(String::as_str))
                .collect();
            complaints.at(key, |complaints| {
                complaints.add("there is no such key", unknown_key(key, &names));
            });
            return false;
        };
        complaints.at(key, |complaints| fit_value(node, value, complaints))
    });
    let mut whole = true;
    for key in node
        .get("required")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
    {
        if !table.contains_key(key) {
            whole = false;
            // What was there and fell out was complained about already.
            if written.iter().any(|written| written == key) {
                continue;
            }
            let meaning = known
                .and_then(|known| known.get(key)?.get("description")?.as_str())
                .unwrap_or_default();
            complaints.at(key, |complaints| complaints.add("is missing", meaning));
        }
    }
    whole
}

fn fit_value(node: &Json, value: &mut Value, complaints: &mut Complaints) -> bool {
    if kind(node) == Some("anything") {
        return true;
    }
    if let Some(variants) = node.get("anyOf").and_then(Json::as_array) {
        return match variants.iter().find(|variant| is_of_type(variant, value)) {
            Some(variant) => fit_value(variant, value, complaints),
            None => {
                let wanted = variants
                    .iter()
                    .map(type_in_words)
                    .collect::<Vec<_>>()
                    .join(" or ");
                let (found, hint) = match (kind(node), &*value) {
                    // A secret may have been written as a number: it is not repeated.
                    (Some("secret"), _) => {
                        ("something else".to_owned(), "write it in quotes".to_owned())
                    }
                    (Some("address"), Value::Integer(port)) => {
                        (in_words(value), format!("write \"127.0.0.1:{port}\""))
                    }
                    _ => (in_words(value), String::new()),
                };
                complaints.add(format!("{found} stands where {wanted} is wanted"), hint);
                false
            }
        };
    }
    // TOML writes dates without quotes; the other formats cannot.
    if let (Some("time"), Value::Datetime(when)) = (kind(node), &*value) {
        *value = Value::String(when.to_string());
    }
    if !is_of_type(node, value) {
        complaints.add(
            format!(
                "{} stands where {} is wanted",
                in_words(value),
                type_in_words(node)
            ),
            retyped(node, value),
        );
        return false;
    }
    match value {
        Value::Table(table) => {
            let (min, max) = (bound(node, "minProperties"), bound(node, "maxProperties"));
            let known = node.get("properties").and_then(Json::as_object);
            let count = i64::try_from(table.len()).unwrap_or(i64::MAX);
            if table
                .keys()
                .all(|key| known.is_some_and(|known| known.contains_key(key)))
                && (min.is_some_and(|min| count < min) || max.is_some_and(|max| count > max))
            {
                let names: Vec<&str> = known
                    .into_iter()
                    .flat_map(|known| known.keys().map(String::as_str))
                    .collect();
                let names = list_or(&names, '`').replace(" or ", " and ");
                complaints.add(format!("exactly one of {names} is needed"), "");
                return false;
            }
            let before = table.len();
            // A map of names loses the bad ones only; a value made of one key is lost with it.
            fit_table(node, table, complaints) && (min.is_none() || table.len() == before)
        }
        Value::Array(list) => {
            let count = i64::try_from(list.len()).unwrap_or(i64::MAX);
            if bound(node, "minItems").is_some_and(|min| count < min) {
                complaints.add("the list is empty", "");
                return false;
            }
            if let Some(max) = bound(node, "maxItems").filter(|max| count > *max) {
                complaints.add(
                    format!("the list has {count} elements"),
                    format!("at most {max} are possible"),
                );
                return false;
            }
            let Some(items) = node.get("items") else {
                return true;
            };
            let mut whole = true;
            for (index, item) in list.iter_mut().enumerate() {
                whole &= complaints.at(index.to_string(), |complaints| {
                    fit_value(items, item, complaints)
                });
            }
            whole
        }
        Value::Integer(number) => {
            let (min, max) = (bound(node, "minimum"), bound(node, "maximum"));
            let fits = min.is_none_or(|min| *number >= min) && max.is_none_or(|max| *number <= max);
            if !fits {
                let hint = match (min, max) {
                    (Some(min), Some(max)) => format!("write a number from {min} to {max}"),
                    (Some(min), None) => format!("write a number from {min} up"),
                    (None, Some(max)) => format!("write a number up to {max}"),
                    (None, None) => String::new(),
                };
                complaints.add(format!("`{number}` is out of range"), hint);
            }
            fits
        }
        Value::String(text) => {
            let Some(choices) = node.get("enum").and_then(Json::as_array) else {
                return true;
            };
            let choices: Vec<&str> = choices.iter().filter_map(Json::as_str).collect();
            if choices.contains(&text.as_str()) {
                return true;
            }
            let hint = match nearest(text, &choices) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("write {}", list_or(&choices, '"')),
            };
            complaints.add(format!("`{text}` is not possible here"), hint);
            false
        }
        Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => true,
    }
}

fn bound(node: &Json, name: &str) -> Option<i64> {
    node.get(name)?.as_i64()
}

fn is_of_type(node: &Json, value: &Value) -> bool {
    match node.get("type").and_then(Json::as_str) {
        Some("string") => value.is_str(),
        Some("integer") => value.is_integer(),
        Some("boolean") => value.is_bool(),
        Some("array") => value.is_array(),
        Some("object") => value.is_table(),
        _ => true,
    }
}

fn type_in_words(node: &Json) -> &'static str {
    match node.get("type").and_then(Json::as_str) {
        Some("string") => match kind(node) {
            Some("duration") => "a duration",
            Some("size") => "a size",
            Some("time") => "a date and time",
            _ => "a text",
        },
        Some("integer") => "a whole number",
        Some("boolean") => "true or false",
        Some("array") => "a list",
        Some("object") => "a table",
        _ => "something else",
    }
}

fn in_words(value: &Value) -> String {
    match value {
        Value::String(_) => "a text".to_owned(),
        Value::Integer(number) => format!("the number `{number}`"),
        Value::Float(number) => format!("the number `{number}`"),
        Value::Boolean(yes) => format!("`{yes}`"),
        Value::Datetime(when) => format!("the date `{when}`"),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

// How the same thing is written in the type that is wanted.
fn retyped(node: &Json, value: &Value) -> String {
    match (node.get("type").and_then(Json::as_str), value) {
        (Some("string"), Value::Integer(number)) => match kind(node) {
            Some("duration") if *number < 1000 => format!("say the unit: \"{number}s\""),
            Some("duration") => format!("say the unit: \"{number}ms\""),
            Some("size") if *number < 1024 => format!("say the unit: \"{number}MiB\""),
            Some("size") => format!("say the unit: \"{number}B\""),
            _ => format!("write it in quotes: \"{number}\""),
        },
        (Some("string"), Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) => {
            format!(
                "write it in quotes: \"{}\"",
                value.to_string().trim_matches('"')
            )
        }
        (Some("integer"), Value::String(text)) if text.parse::<i64>().is_ok() => {
            format!("write it without quotes: {text}")
        }
        (Some("boolean"), Value::String(text)) if text == "true" || text == "false" => {
            format!("write it without quotes: {text}")
        }
        (Some("boolean"), _) => "write true or false, without quotes".to_owned(),
        (Some("array"), Value::String(text)) => {
            let words: Vec<String> = text
                .split_whitespace()
                .map(|word| format!("\"{word}\""))
                .collect();
            format!("write it as a list: [{}]", words.join(", "))
        }
        _ => String::new(),
    }
}

// Words that people know from elsewhere, and how they are said here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("command", "write stdio = [\"command\", \"argument\", …]"),
    ("cmd", "write stdio = [\"command\", \"argument\", …]"),
    (
        "args",
        "arguments follow the command: stdio = [\"command\", \"argument\", …]",
    ),
    ("serverUrl", "write url = \"…\""),
    ("endpoint", "write url = \"…\""),
    ("disabled", "write enabled = false"),
    ("type", "the kind follows from `stdio`, `url` or `native`"),
    (
        "transport",
        "the kind follows from `stdio`, `url` or `native`",
    ),
    (
        "mcpServers",
        "`portcullis import FILE` makes upstreams of it",
    ),
    (
        "servers",
        "`portcullis import FILE` makes upstreams of an mcp.json",
    ),
    ("port", "write listen = \"127.0.0.1:PORT\""),
    ("host", "write listen = \"ADDRESS:8080\""),
    ("bind", "write listen = \"127.0.0.1:8080\""),
    ("address", "write listen = \"127.0.0.1:8080\""),
];

fn unknown_key(key: &str, known: &[&str]) -> String {
    if let Some((_, hint)) = ELSEWHERE.iter().find(|(word, _)| *word == key) {
        return (*hint).to_owned();
    }
    match nearest(key, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "possible are {}",
            list_or(known, '`').replace(" or ", " and ")
        ),
    }
}

fn list_or(words: &[&str], quote: char) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| format!("{quote}{word}{quote}"))
        .collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The known word that a mistyped one most likely was meant to be.
pub(crate) fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    // In two letters nearly everything is near everything.
    let far = match word.chars().count() {
        0..3 => 0,
        letters => letters / 3 + 1,
    };
    known
        .iter()
        .map(|candidate| {
            (
                distance(&word.to_lowercase().replace('-', "_"), candidate),
                *candidate,
            )
        })
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, candidate)| candidate)
}

// Levenshtein's, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
