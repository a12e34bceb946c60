//! One spelling for what means the same: the JSON Canonicalization Scheme (RFC 8785), and digests over it.
//!
//! Two texts that differ in the order of members, in white space or in how a number or a character is spelled have the
//! same canonical form, so a consent or a pin holds for both. In one thing it is stricter than the RFC: an integer that
//! a double cannot hold keeps all its digits. The RFC would round it, and a yes to one number would be a yes to its
//! neighbour.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest as sha};
use serde_json::{Map, Number, Value};

/// The canonical form, as UTF-8.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut out = String::with_capacity(256);
    write_value(&mut out, value);
    out
}

/// SHA-256 over the canonical form: 64 digits, hex.
#[must_use]
pub fn digest(value: &Value) -> String {
    let hash = sha(&SHA256, canonical(value).as_bytes());
    hash.as_ref()
        .iter()
        .fold(String::with_capacity(64), |mut out, byte| {
            put(&mut out, format_args!("{byte:02x}"));
            out
        })
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (nth, item) in items.iter().enumerate() {
                if nth > 0 {
                    out.push(',');
                }
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => write_object(out, members),
    }
}

/// Members stand in the order of their names' UTF-16 units (section 3.2.3).
fn write_object(out: &mut String, members: &Map<String, Value>) {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push('{');
    for (nth, (name, value)) in sorted.into_iter().enumerate() {
        if nth > 0 {
            out.push(',');
        }
        write_string(out, name);
        out.push(':');
        write_value(out, value);
    }
    out.push('}');
}

/// As ECMAScript writes numbers (section 3.2.2.3).
fn write_number(out: &mut String, number: &Number) {
    if number.is_f64() {
        out.push_str(ryu_js::Buffer::new().format(number.as_f64().unwrap_or_default()));
    } else {
        put(out, format_args!("{number}"));
    }
}

/// With the fewest escapes (section 3.2.2.2).
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => put(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Text takes whatever is written to it.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a text refused text");
}

#[cfg(test)]
mod tests;
