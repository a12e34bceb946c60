//! What a regular expression costs, and which ones are too dear.
//!
//! The engine runs in time linear in the text, but a step costs as much as the expression has states. So states are
//! counted before anything is compiled; what counts as none at all (look-around, back-references) has no states here.

use std::collections::HashSet;

use regex_syntax::hir::{Class, Hir, HirKind};
use serde_json::Value;

use super::words::pointed;

/// Longest expression that is looked at.
const PATTERN_BYTES_MAX: usize = 1024;
/// Most states of one expression.
pub(super) const PATTERN_STATES_MAX: u64 = 4 * 1024;
/// Most states of all different expressions of a schema.
const STATES_MAX: u64 = 16 * 1024;
/// Most different expressions of a schema.
const PATTERNS_MAX: usize = 256;

/// What a schema may still spend on expressions.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u64,
    seen: HashSet<String>,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self {
            left: STATES_MAX,
            seen: HashSet::new(),
        }
    }

    /// Whether the expression may be compiled. One that stands twice is compiled once.
    pub(super) fn affords(&mut self, pattern: &str) -> bool {
        if self.seen.contains(pattern) {
            return true;
        }
        let Some(left) = states(pattern).and_then(|states| self.left.checked_sub(states)) else {
            return false;
        };
        if self.seen.len() == PATTERNS_MAX {
            return false;
        }
        self.left = left;
        self.seen.insert(pattern.to_owned())
    }
}

/// The expression as the engine understands it; `None` if it cannot run in linear time.
pub(super) fn translated(pattern: &str) -> Option<String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return None;
    }
    let text = jsonschema_regex::to_rust_regex(pattern).ok()?;
    Some(text.into_owned())
}

/// How many states the expression has at most; `None` if it is not to be run.
pub(super) fn states(pattern: &str) -> Option<u64> {
    let parsed = regex_syntax::parse(&translated(pattern)?).ok()?;
    Some(count(&parsed)).filter(|states| *states <= PATTERN_STATES_MAX)
}

fn count(part: &Hir) -> u64 {
    match part.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(letters) => letters.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => 2 * class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Capture(group) => count(&group.sub).saturating_add(2),
        HirKind::Repetition(repeated) => {
            let times = repeated.max.unwrap_or(repeated.min).max(1);
            count(&repeated.sub).saturating_mul(u64::from(times) + 1)
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(count).fold(1, u64::saturating_add)
        }
    }
}

/// Takes every `pattern` out of a schema that is not to be run, and says where it was, as JSON pointers.
pub(super) fn take_out(root: &mut Value, allowance: &mut Allowance) -> Vec<String> {
    let mut taken = Taken {
        at: String::new(),
        allowance,
        taken: Vec::new(),
    };
    taken.look(root, Place::Schema);
    taken.taken
}

/// What an object is: a schema, or names and the schemas they stand for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Schema,
    Names,
}

struct Taken<'a> {
    at: String,
    allowance: &'a mut Allowance,
    taken: Vec<String>,
}

impl Taken<'_> {
    fn look(&mut self, value: &mut Value, place: Place) {
        match value {
            Value::Object(members) => {
                if place == Place::Schema
                    && let Some(pattern) = members.get("pattern").and_then(Value::as_str)
                    && !self.allowance.affords(pattern)
                {
                    members.shift_remove("pattern");
                    self.taken.push(format!("{}/pattern", self.at));
                }
                for (name, member) in members {
                    let inside = match (place, name.as_str()) {
                        (Place::Names, _) => Place::Schema,
                        // Values, not schemas.
                        (Place::Schema, "enum" | "const" | "default" | "examples") => continue,
                        (
                            Place::Schema,
                            "properties" | "patternProperties" | "$defs" | "definitions"
                            | "dependentSchemas" | "dependencies",
                        ) => Place::Names,
                        (Place::Schema, _) => Place::Schema,
                    };
                    self.below(name, member, inside);
                }
            }
            Value::Array(items) => {
                for (nth, item) in items.iter_mut().enumerate() {
                    self.below(&nth.to_string(), item, Place::Schema);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn below(&mut self, name: &str, value: &mut Value, place: Place) {
        if !(value.is_object() || value.is_array()) {
            return;
        }
        let length = self.at.len();
        pointed(&mut self.at, name);
        self.look(value, place);
        self.at.truncate(length);
    }
}
