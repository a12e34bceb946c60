//! Two definitions, member by member, for people: what came, what went, what changed, and nothing in it that acts on a
//! terminal or hides from the eye.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// Characters of one value that are shown.
const VALUE_CHARS_MAX: usize = 2_000;

/// One member that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Where it stands: a JSON Pointer (RFC 6901); empty for the whole.
    pub at: String,
    /// What it was; `None` if it was not there.
    pub before: Option<Value>,
    /// What it is; `None` if it is not there any more.
    pub after: Option<Value>,
}

/// What differs, in the order of places. Without a `before` all of it came.
#[must_use]
pub fn compare(before: Option<&Value>, after: &Value) -> Vec<Change> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    if let Some(before) = before {
        leaves(before, String::new(), &mut old);
    }
    leaves(after, String::new(), &mut new);
    let mut places: Vec<&String> = old.keys().chain(new.keys()).collect();
    places.sort();
    places.dedup();
    places
        .into_iter()
        .filter(|at| old.get(*at) != new.get(*at))
        .map(|at| Change {
            at: at.clone(),
            before: old.get(at).map(|value| (*value).clone()),
            after: new.get(at).map(|value| (*value).clone()),
        })
        .collect()
}

/// Every value without members, by its place; an object or array that is empty is one.
fn leaves<'v>(value: &'v Value, at: String, out: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(value, format!("{at}/{name}"), out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (nth, value) in items.iter().enumerate() {
                leaves(value, format!("{at}/{nth}"), out);
            }
        }
        leaf => {
            out.insert(at, leaf);
        }
    }
}

impl Change {
    /// Lines as people know them: `-` what it was, `+` what it is, under the place.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let place = if self.at.is_empty() { "/" } else { &self.at };
        let word = match (&self.before, &self.after) {
            (None, _) => "added",
            (Some(_), None) => "removed",
            (Some(_), Some(_)) => "changed",
        };
        let mut lines = vec![format!("{word} {}", visible(place))];
        let value = |sign: char, value: &Value| format!("  {sign} {}", visible(&value.to_string()));
        lines.extend(self.before.as_ref().map(|before| value('-', before)));
        lines.extend(self.after.as_ref().map(|after| value('+', after)));
        lines
    }
}

/// A text with everything escaped that cannot be seen or that moves what stands around it, cut where it gets too long.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(VALUE_CHARS_MAX) {
        if is_hidden(c) {
            // Writing to a String cannot fail.
            let _written = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    let rest = text.chars().count().saturating_sub(VALUE_CHARS_MAX);
    if rest > 0 {
        let _written = write!(out, "… and {rest} characters more");
    }
    out
}

/// Controls, format characters (bidirectional, zero-width, tags), line and paragraph separators, variation selectors, fillers,
/// odd spaces, and code points for private use.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
            | '\u{2800}' | '\u{3000}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
            | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests;
