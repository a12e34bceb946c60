//! Every effective value with where it came from, for people to read. Secrets never get this far.

use aws_lc_rs::digest;
use store::audit::text::hex;
use toml::{Table, Value};

use super::layers::{Layer, Origin};
use super::{is_secret_name, schema};

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The dotted key.
    pub key: String,
    /// The value as TOML, or what stands for it.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

const HIDDEN: &str = "(hidden)";

pub(super) fn shown(layer: &Layer) -> Vec<Shown> {
    let mut all = Vec::new();
    descend(&layer.table, &mut Vec::new(), layer, &mut all);
    all
}

/// By which one config is told from another: over what is shown of it, in its order.
pub(super) fn digest(layer: &Layer) -> String {
    let mut text = String::new();
    for Shown { key, value, .. } in shown(layer) {
        text.extend([&key, " = ", &value, "\n"]);
    }
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn descend(table: &Table, path: &mut Vec<String>, layer: &Layer, all: &mut Vec<Shown>) {
    let mut entries: Vec<_> = table.iter().collect();
    // Single values first, as in a file; then sections by name.
    entries.sort_by_key(|(key, value)| (value.is_table(), *key));
    for (key, value) in entries {
        path.push(key.clone());
        match value {
            Value::Table(below) if !schema::is_secret(path) => {
                descend(below, path, layer, all);
            }
            value => {
                let key = path.join(".");
                let origin = layer.origins.of(&key).cloned().unwrap_or(Origin::Default);
                all.push(Shown {
                    value: in_text(path, value),
                    key,
                    origin,
                });
            }
        }
        path.pop();
    }
}

fn in_text(path: &[String], value: &Value) -> String {
    let hidden = || HIDDEN.to_owned();
    if schema::is_secret(path) {
        return match value {
            // A reference says where the secret is, not what it is.
            Value::Table(reference) => inline(reference),
            _ => hidden(),
        };
    }
    let last = path.last().map(String::as_str).unwrap_or_default();
    match (schema::at(path), last, value) {
        // A key that nobody knows may hold anything.
        (None, ..) => hidden(),
        (_, "hash", _) => hidden(),
        (_, "url", Value::String(text)) => url_without_secrets(text),
        // Other keys have addresses too: of a database, a collector, a webhook.
        (_, _, Value::String(text)) if text.contains("://") => url_without_secrets(text),
        (_, "stdio", Value::Array(words)) => Value::Array(words_without_secrets(words)).to_string(),
        (_, _, value) => value.to_string(),
    }
}

fn inline(table: &Table) -> String {
    let entries: Vec<String> = table
        .iter()
        .map(|(key, value)| match value {
            Value::Array(words) => {
                format!("{key} = {}", Value::Array(words_without_secrets(words)))
            }
            value => format!("{key} = {value}"),
        })
        .collect();
    format!("{{ {} }}", entries.join(", "))
}

// Addresses carry keys as user, password or query.
fn url_without_secrets(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else {
        return HIDDEN.to_owned();
    };
    let had_user = !url.username().is_empty() || url.password().is_some();
    if had_user && (url.set_password(None).is_err() || url.set_username("hidden").is_err()) {
        return HIDDEN.to_owned();
    }
    if url.query().is_some() {
        url.set_query(Some("hidden"));
    }
    format!("\"{url}\"")
}

// `--token=abc`, `--token abc` and `API_KEY=abc` among the words of a command.
fn words_without_secrets(words: &[Value]) -> Vec<Value> {
    let mut hide_next = false;
    let one = |word: &Value| {
        let text = word.as_str().unwrap_or_default();
        let hide = std::mem::replace(
            &mut hide_next,
            text.starts_with('-') && !text.contains('=') && is_secret_name(text),
        );
        match text.split_once('=') {
            _ if hide => Value::String(HIDDEN.to_owned()),
            Some((name, _)) if is_secret_name(name) => Value::String(format!("{name}={HIDDEN}")),
            _ => word.clone(),
        }
    };
    words.iter().map(one).collect()
}
