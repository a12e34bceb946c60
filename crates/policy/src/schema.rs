//! Holds arguments and results against a JSON Schema, and says what is wrong so that a model can repair it.
//!
//! The one room that knows `jsonschema`. A schema comes from an upstream and is not trusted: it fetches nothing, its
//! patterns run in linear time, and what it may cost is counted before it is compiled ([`graph`]) and again before a value
//! is held against it ([`price`]), because the library would go on for as long as it takes. When to compile (off the hot
//! path), where to keep what was compiled, and what to do with a schema that cannot be used is the gateway's.

mod graph;
mod patterns;
mod price;
mod prompt;
mod strict;
mod words;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

pub use self::prompt::PromptArguments;
pub use self::words::explain;

use self::graph::Graph;
use self::patterns::Allowance;
use self::price::Purpose;
use self::words::{Words, cut};

/// Largest schema that is compiled.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// Deepest schema that is compiled.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Most faults that are told at once.
pub const FAULTS_MAX: usize = 8;

/// Most objects and lists in a schema.
const PARTS_MAX: usize = 8 * 1024;
/// Memory for one compiled pattern, and for the states it makes while it runs.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// Most patterns that are left out of one schema.
const SKIPPED_MAX: usize = 16;

/// Why a schema cannot be used. For the operator: it may quote the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// More bytes than the bound.
    #[error("the schema has {0} bytes, more than {SCHEMA_BYTES_MAX}")]
    Large(usize),
    /// Nested deeper than the bound.
    #[error("the schema is nested deeper than {SCHEMA_DEPTH_MAX} levels")]
    Deep,
    /// It would cost too much to compile, or to hold even the least of values against.
    #[error("the schema is too complex: more than {max} {what}")]
    Complex {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// Not JSON at all.
    #[error("the schema is not JSON: {0}")]
    Json(String),
    /// JSON, but no schema that can be used: malformed, a reference outside itself, an unknown dialect.
    #[error("the schema cannot be used, at `{at}`: {reason}")]
    Unusable {
        /// JSON pointer into the schema.
        at: String,
        /// What is wrong there.
        reason: String,
    },
}

/// One thing that is wrong with a value.
///
/// The message is for whoever sent it. It may quote the value, so it belongs in a reply and not in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer into the value; empty means the whole.
    pub path: String,
    /// What was expected, what came, and what was perhaps meant.
    pub message: String,
}

impl Fault {
    fn whole(message: &str) -> Self {
        Self {
            path: String::new(),
            message: message.to_owned(),
        }
    }

    fn too_much() -> Self {
        Self::whole("too much to be held against the schema; send less at once")
    }
}

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    graph: Graph,
    /// The schema itself: messages look up which properties are known.
    root: Value,
    skipped: Vec<String>,
}

impl Schema {
    /// Compiles a schema of the draft that its `$schema` names; without one, 2020-12. Takes some milliseconds at the
    /// bounds, so not on a thread that others wait for.
    ///
    /// `format` says what a text is like and checks nothing, as the drafts have it by default. A `pattern` that cannot run
    /// in linear time is left out, and told by [`Self::skipped`]: common libraries write such patterns for e-mail
    /// addresses, and the rest of the schema is still worth holding the arguments against.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(text: &str) -> Result<Self, SchemaError> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(SchemaError::Large(text.len()));
        }
        let mut root: Value =
            serde_json::from_str(text).map_err(|error| SchemaError::Json(error.to_string()))?;
        if depth_exceeds(&root, SCHEMA_DEPTH_MAX) {
            return Err(SchemaError::Deep);
        }
        if parts(&root) > PARTS_MAX {
            return Err(SchemaError::Complex {
                what: "objects and lists",
                max: PARTS_MAX,
            });
        }
        let mut allowance = Allowance::new();
        let skipped = patterns::take_out(&mut root, &mut allowance);
        if skipped.len() > SKIPPED_MAX {
            return Err(SchemaError::Complex {
                what: "patterns that cannot be checked in linear time",
                max: SKIPPED_MAX,
            });
        }
        let graph = Graph::new(&root, allowance)?;
        price::compilable(&graph)?;
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        let validator = jsonschema::options()
            .offline()
            .should_validate_formats(false)
            .with_pattern_options(patterns)
            .build(&root)
            .map_err(|error| SchemaError::Unusable {
                at: error.instance_path().to_string(),
                reason: cut(&error.to_string(), 300),
            })?;
        Ok(Self {
            validator,
            graph,
            root,
            skipped,
        })
    }

    /// The patterns that are left to the upstream to check, as JSON pointers into the schema: they look
    /// ahead or back, so they cannot run in linear time, or are too large. Worth a warning when the schema arrives.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// What is wrong with a value; nothing if it may pass. What would take too long to find out may not.
    #[must_use]
    pub fn check(&self, value: &Value) -> Vec<Fault> {
        if price::visits(&self.graph, value, Purpose::Answer).is_err() {
            return vec![Fault::too_much()];
        }
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        if price::visits(&self.graph, value, Purpose::Reasons).is_err() {
            return vec![Fault::whole(
                "does not match the schema; too large for details",
            )];
        }
        let words = Words { root: &self.root };
        let errors = self.validator.iter_errors(value).take(FAULTS_MAX);
        let faults: Vec<Fault> = errors.map(|error| words.fault(&error)).collect();
        if faults.is_empty() {
            // Both say the same of every schema we know; if they ever differ, the stricter word counts.
            return vec![Fault::whole("does not match the schema")];
        }
        faults
    }

    /// As [`Self::check`], and every member counts as wrong that the schema does not name, also where it is open. Where it
    /// names no member at all, a value below the outermost is free in form.
    #[must_use]
    pub fn check_strictly(&self, value: &Value) -> Vec<Fault> {
        let faults = self.check(value);
        if faults.is_empty() {
            return strict::unknown(&self.graph, value);
        }
        faults
    }
}

/// Levels deeper than `left`? Ends at the bound, whatever lies below.
fn depth_exceeds(value: &Value, left: usize) -> bool {
    match (value, left.checked_sub(1)) {
        (Value::Array(items), Some(left)) => items.iter().any(|item| depth_exceeds(item, left)),
        (Value::Object(members), Some(left)) => {
            members.values().any(|member| depth_exceeds(member, left))
        }
        (Value::Array(_) | Value::Object(_), None) => true,
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => false,
    }
}

/// How many objects and lists.
fn parts(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(parts).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(parts).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests;
