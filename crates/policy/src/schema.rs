//! Holds arguments against an entry's JSON Schema, and says what is wrong so that a model can repair it.
//!
//! The one file that knows `jsonschema`. A schema comes from an upstream and is not trusted: it is bounded
//! before it is compiled, fetches nothing, and its patterns run in linear time. When to compile (off the
//! hot path) and what to do with a schema that does not compile is the gateway's.

use std::fmt::Write as _;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::nearest::nearest;

/// Largest schema that is compiled.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// Deepest schema that is compiled.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Most faults that are told at once.
pub const FAULTS_MAX: usize = 8;

/// Memory for one compiled pattern, and for the states it makes while it runs.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// Most patterns that are left out of one schema; each costs another try to compile it.
const SKIPPED_MAX: usize = 16;
/// Most characters of a value or a name that are quoted back.
const QUOTE_CHARS_MAX: usize = 40;
/// Most names or values that are listed.
const LIST_MAX: usize = 12;

/// Why a schema cannot be used. For the operator: it may quote the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// More bytes than the bound.
    #[error("the schema has {0} bytes, more than {SCHEMA_BYTES_MAX}")]
    Large(usize),
    /// Nested deeper than the bound.
    #[error("the schema is nested deeper than {SCHEMA_DEPTH_MAX} levels")]
    Deep,
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

/// One thing that is wrong with the arguments.
///
/// The message is for whoever sent them. It may quote them, so it belongs in a reply and not in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer into the arguments; empty means the whole.
    pub path: String,
    /// What was expected, what came, and what was perhaps meant.
    pub message: String,
}

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// The schema itself: messages look up which properties are known.
    root: Value,
    skipped: Vec<String>,
}

impl Schema {
    /// Compiles a schema of the draft that its `$schema` names; without one, 2020-12.
    ///
    /// A `pattern` that cannot run in linear time is left out, and told by [`Self::skipped`]: common
    /// libraries write such patterns for e-mail addresses, and the rest of the schema is still worth holding
    /// the arguments against.
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
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options()
            .offline()
            .with_pattern_options(patterns);
        let mut skipped = Vec::new();
        let validator = loop {
            let error = match options.build(&root) {
                Ok(validator) => break validator,
                Err(error) => error,
            };
            let at = error.instance_path().to_string();
            if skipped.len() == SKIPPED_MAX || !remove_pattern(&mut root, &error, &at) {
                let reason = cut(&error.to_string(), 300);
                return Err(SchemaError::Unusable { at, reason });
            }
            skipped.push(at);
        };
        Ok(Self {
            validator,
            root,
            skipped,
        })
    }

    /// The patterns that are left to the upstream to check, as JSON pointers into the schema: they look
    /// ahead or back, so they cannot run in linear time. Worth a warning when the schema arrives.
    #[must_use]
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// What is wrong with the arguments; nothing if they may pass.
    #[must_use]
    pub fn check(&self, arguments: &Value) -> Vec<Fault> {
        if self.validator.is_valid(arguments) {
            return Vec::new();
        }
        let faults: Vec<Fault> = self
            .validator
            .iter_errors(arguments)
            .take(FAULTS_MAX)
            .map(|error| self.fault(&error))
            .collect();
        if faults.is_empty() {
            // Both say the same of every schema we know; if they ever differ, the stricter word counts.
            return vec![Fault {
                path: String::new(),
                message: "does not match the schema".to_owned(),
            }];
        }
        faults
    }

    fn fault(&self, error: &ValidationError<'_>) -> Fault {
        Fault {
            path: error.instance_path().to_string(),
            message: self.message(error),
        }
    }

    /// No `_` arm: a new kind of fault chooses its words.
    fn message(&self, error: &ValidationError<'_>) -> String {
        use ValidationErrorKind as Kind;
        let came = short(error.instance());
        match error.kind() {
            Kind::Type { kind } => format!("expected {}, got {came}", types(kind)),
            Kind::Required { property } => {
                self.missing(error, property.as_str().unwrap_or_default())
            }
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => self.unknown(error, unexpected),
            Kind::Enum { options } => match options.as_array() {
                Some(options) => format!(
                    "expected one of {}, got {came}{}",
                    list(options.iter().map(short)),
                    meant(error.instance(), options)
                ),
                None => format!("expected one of {}, got {came}", short(options)),
            },
            Kind::Constant { expected_value } => {
                format!("expected {}, got {came}", short(expected_value))
            }
            Kind::Minimum { limit } => format!("expected at least {limit}, got {came}"),
            Kind::Maximum { limit } => format!("expected at most {limit}, got {came}"),
            Kind::ExclusiveMinimum { limit } => format!("expected more than {limit}, got {came}"),
            Kind::ExclusiveMaximum { limit } => format!("expected less than {limit}, got {came}"),
            Kind::MultipleOf { multiple_of } => {
                format!("expected a multiple of {multiple_of}, got {came}")
            }
            Kind::MinLength { limit } => {
                format!("expected at least {limit} characters, got {came}")
            }
            Kind::MaxLength { limit } => format!(
                "expected at most {limit} characters, got {}",
                size(error.instance())
            ),
            Kind::MinItems { limit } => format!("expected at least {limit} items, got {came}"),
            Kind::MaxItems { limit } => format!("expected at most {limit} items, got {came}"),
            Kind::AdditionalItems { limit } => {
                format!("expected at most {limit} items, got {came}")
            }
            Kind::UnevaluatedItems { unexpected } => {
                format!("{} items more than expected", unexpected.len())
            }
            Kind::MinProperties { limit } => {
                format!("expected at least {limit} properties, got {came}")
            }
            Kind::MaxProperties { limit } => {
                format!("expected at most {limit} properties, got {came}")
            }
            Kind::UniqueItems => "expected items that all differ".to_owned(),
            Kind::Contains => "expected an item of another form among these".to_owned(),
            Kind::Pattern { pattern } => {
                format!("expected text like `{}`, got {came}", cut(pattern, 100))
            }
            Kind::Format { format } => format!(
                "expected text of the form `{}`, got {came}",
                cut(format, 40)
            ),
            Kind::ContentEncoding {
                content_encoding: form,
            }
            | Kind::ContentMediaType {
                content_media_type: form,
            } => {
                format!("expected content in `{}`", cut(form, 40))
            }
            Kind::FromUtf8 { .. } => "expected content that is UTF-8".to_owned(),
            Kind::PropertyNames { error } => {
                format!("a property's name is wrong: {}", self.message(error))
            }
            Kind::FalseSchema => "nothing is allowed here".to_owned(),
            Kind::Not { .. } => format!("{came} is excluded here"),
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.no_branch(error.instance(), context)
            }
            Kind::OneOfMultipleValid { .. } => {
                "matches several of the allowed forms; it must match exactly one".to_owned()
            }
            Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
                "cannot be held against its pattern".to_owned()
            }
            Kind::Custom { message, .. } => cut(message, 200),
            Kind::Referencing(_) => "the schema refers to something outside itself".to_owned(),
        }
    }

    fn missing(&self, error: &ValidationError<'_>, property: &str) -> String {
        let known = self.properties(error);
        let mut message = format!("missing property {}", quote(property));
        if let Some(kind) = known.and_then(|known| known.get(property)?.get("type")?.as_str()) {
            write_to(&mut message, format_args!(" ({})", cut(kind, 20)));
        }
        // Perhaps it is there, under a name of the sender's own making.
        let strangers = error
            .instance()
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str);
        let strangers =
            strangers.filter(|name| known.is_none_or(|known| !known.contains_key(*name)));
        if let Some(sent) = nearest(property, strangers) {
            write_to(
                &mut message,
                format_args!("; got {}, did you mean {}?", quote(sent), quote(property)),
            );
        }
        message
    }

    fn unknown(&self, error: &ValidationError<'_>, unexpected: &[String]) -> String {
        let names: Vec<&str> = self
            .properties(error)
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect();
        // What is given already cannot be what was meant.
        let given = error.instance().as_object();
        let free = |name: &&str| given.is_none_or(|given| !given.contains_key(*name));
        let stranger = |name: &String| match nearest(name, names.iter().copied().filter(free)) {
            Some(meant) => format!("{} (did you mean {}?)", quote(name), quote(meant)),
            None => quote(name),
        };
        let noun = if unexpected.len() == 1 {
            "property"
        } else {
            "properties"
        };
        let unknown = list(unexpected.iter().map(stranger));
        if names.is_empty() {
            return format!("unknown {noun} {unknown}; none is expected");
        }
        format!(
            "unknown {noun} {unknown}; known are {}",
            list(names.iter().map(|name| quote(name)))
        )
    }

    /// None of several forms fits: name the types if that is all they ask for, else tell of the nearest form.
    fn no_branch(&self, came: &Value, branches: &[Vec<ValidationError<'static>>]) -> String {
        let asked = |branch: &Vec<ValidationError<'static>>| match &branch[..] {
            [only] if only.instance().as_ref() == came => match only.kind() {
                ValidationErrorKind::Type { kind } => Some(types(kind)),
                _ => None,
            },
            _ => None,
        };
        if let Some(kinds) = branches
            .iter()
            .map(asked)
            .collect::<Option<Vec<_>>>()
            .filter(|kinds| !kinds.is_empty())
        {
            return format!("expected {}, got {}", kinds.join(" or "), short(came));
        }
        // A form of the right type is nearer than one of another, whatever else is wrong with it.
        let nearness =
            |branch: &&Vec<ValidationError<'static>>| (asked(branch).is_some(), branch.len());
        match branches
            .iter()
            .min_by_key(nearness)
            .and_then(|branch| branch.first())
        {
            Some(first) => format!(
                "matches none of {} allowed forms; the nearest: {}",
                branches.len(),
                self.message(first)
            ),
            None => "matches none of the allowed forms".to_owned(),
        }
    }

    /// The `properties` beside the keyword that failed.
    fn properties(&self, error: &ValidationError<'_>) -> Option<&Map<String, Value>> {
        let keyword = error.schema_path().as_str();
        let (parent, _) = keyword.rsplit_once('/')?;
        self.root.pointer(parent)?.get("properties")?.as_object()
    }
}

/// All faults as one text, a line each.
#[must_use]
pub fn explain(faults: &[Fault]) -> String {
    let mut text = String::new();
    for (nth, fault) in faults.iter().enumerate() {
        let gap = if nth == 0 { "" } else { "\n" };
        let at = if fault.path.is_empty() {
            "arguments"
        } else {
            &fault.path
        };
        write_to(&mut text, format_args!("{gap}{at}: {}", fault.message));
    }
    text
}

/// Removes the keyword at `at`, if it is a pattern that the error is about.
fn remove_pattern(root: &mut Value, error: &ValidationError<'_>, at: &str) -> bool {
    let ValidationErrorKind::Format { format } = error.kind() else {
        return false;
    };
    let (Some(parent), "regex") = (at.strip_suffix("/pattern"), format.as_str()) else {
        return false;
    };
    let schema = root.pointer_mut(parent).and_then(Value::as_object_mut);
    schema.is_some_and(|schema| schema.shift_remove("pattern").is_some())
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

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(kind) => kind.to_string(),
        TypeKind::Multiple(kinds) => kinds
            .iter()
            .map(|kind| kind.to_string())
            .collect::<Vec<_>>()
            .join(" or "),
    }
}

/// A value in a few words: its text if short, else its kind and size.
fn short(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => cut(&value.to_string(), QUOTE_CHARS_MAX),
        Value::String(text) => quote(text),
        Value::Array(_) | Value::Object(_) => size(value),
    }
}

fn size(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{}", text.chars().count()),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(members) => format!("an object of {}", members.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => short(value),
    }
}

fn meant(came: &Value, options: &[Value]) -> String {
    let near = came
        .as_str()
        .and_then(|came| nearest(came, options.iter().filter_map(Value::as_str)));
    near.map_or_else(String::new, |near| {
        format!("; did you mean {}?", quote(near))
    })
}

fn quote(text: &str) -> String {
    Value::String(cut(text, QUOTE_CHARS_MAX)).to_string()
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", text.split_at(end).0),
        None => text.to_owned(),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.take(LIST_MAX + 1).collect();
    if items.len() > LIST_MAX {
        items.truncate(LIST_MAX);
        items.push("…".to_owned());
    }
    items.join(", ")
}

fn write_to(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words)
        .expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests;
