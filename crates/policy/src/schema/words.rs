//! What is wrong with arguments, in words that a model can repair them from: where, what was expected, what came, and
//! what was perhaps meant.
//!
//! Quotes are cut and lists are bounded: both the schema and the arguments are somebody else's.

use std::fmt::Write as _;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::{Map, Value};

use super::Fault;
use crate::nearest::nearest;

/// Most characters of a value or a name that are quoted back.
const QUOTE_CHARS_MAX: usize = 40;
/// Most names or values that are listed.
const LIST_MAX: usize = 12;
/// Most known names that one unknown name is held against.
const KNOWN_MAX: usize = 256;

/// Puts the errors of a check into words; looks up in the schema which properties are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) root: &'a Value,
}

impl Words<'_> {
    pub(super) fn fault(&self, error: &ValidationError<'_>) -> Fault {
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
        let kind = known.and_then(|known| known.get(property)?.get("type")?.as_str());
        // Perhaps it is there, under a name of the sender's own making.
        let given = error.instance().as_object().into_iter().flat_map(Map::keys);
        let given = given.map(String::as_str);
        let strangers = given.filter(|name| known.is_none_or(|known| !known.contains_key(*name)));
        missing(property, kind, strangers)
    }

    fn unknown(&self, error: &ValidationError<'_>, unexpected: &[String]) -> String {
        let known = self.properties(error).into_iter().flat_map(Map::keys);
        let known: Vec<&str> = known.map(String::as_str).collect();
        strangers(&known, error.instance().as_object(), unexpected)
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

/// What is missing, of which kind, and which of the unknown names was perhaps meant to be it.
pub(super) fn missing<'a>(
    name: &str,
    kind: Option<&str>,
    strangers: impl Iterator<Item = &'a str>,
) -> String {
    let mut message = format!("missing property {}", quote(name));
    if let Some(kind) = kind {
        write_to(&mut message, format_args!(" ({})", cut(kind, 20)));
    }
    if let Some(sent) = nearest(name, strangers.take(KNOWN_MAX)) {
        write_to(
            &mut message,
            format_args!("; got {}, did you mean {}?", quote(sent), quote(name)),
        );
    }
    message
}

/// Which names are unknown, what each was perhaps meant to be, and which are known.
pub(super) fn strangers(
    known: &[&str],
    given: Option<&Map<String, Value>>,
    unknown: &[String],
) -> String {
    // What is given already cannot be what was meant.
    let free = |name: &&str| given.is_none_or(|given| !given.contains_key(*name));
    let free: Vec<&str> = known.iter().copied().filter(free).take(KNOWN_MAX).collect();
    let stranger = |name: &String| match nearest(name, free.iter().copied()) {
        Some(meant) => format!("{} (did you mean {}?)", quote(name), quote(meant)),
        None => quote(name),
    };
    let noun = if unknown.len() == 1 {
        "property"
    } else {
        "properties"
    };
    let unknown = list(unknown.iter().map(stranger));
    if known.is_empty() {
        return format!("unknown {noun} {unknown}; none is expected");
    }
    format!(
        "unknown {noun} {unknown}; known are {}",
        list(known.iter().map(|name| quote(name)))
    )
}

/// Adds a name to a JSON pointer.
pub(super) fn pointed(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
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
pub(super) fn short(value: &Value) -> String {
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

pub(super) fn cut(text: &str, chars_max: usize) -> String {
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
