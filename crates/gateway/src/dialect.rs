//! Rewrites tool definitions for clients that read less than all of JSON Schema, and shortens names for those that
//! take no long ones.
//!
//! Pure: a definition goes in, one comes out. The catalog does it once, when it is merged. Arguments are always held
//! against the schema that the upstream wrote; the rewritten one only has to lead a model there, so it may allow
//! more, and (`gemini` and `null` aside, see [`Accepts`]) never less.
//!
//! A schema is read into a [`Shape`](shape::Shape) by `read`, which knows JSON Schema, and written by `write`, which
//! knows what a family accepts. In between, `shape` knows what "both" and "either" mean.

mod read;
mod shape;
mod write;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use serde_json::Value;
use wire::{Span, Splice, json};

/// How tools are presented to clients. Of the whole gate for now; of a virtual server, once there are some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// What their schemas may consist of.
    pub schemas: Family,
    /// How long their names may be, and of which characters.
    pub names: Names,
}

/// Clients that read the same part of JSON Schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// All of it: definitions pass byte for byte.
    Faithful,
    /// What the functions of `OpenAI` accept, in their strict mode as far as it can say it.
    OpenAi,
    /// What Gemini's function declarations accept: a part of OpenAPI 3.0.
    Gemini,
    /// Types, descriptions, properties, items and enums; no unions. What every client reads.
    Plain,
}

/// Which names clients accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Any.
    Full,
    /// Up to 64 letters, digits, `_` and `-`.
    Short,
}

/// Longest short name.
const NAME_MAX: usize = 64;
/// `_` and eight hex digits.
const SUFFIX_LEN: usize = 9;

/// What a family accepts below the root. The root is an object with properties in all of them.
///
/// No family gets `$ref`, `allOf`, `oneOf`, `not`, conditions, tuples or patterns for property names.
#[derive(Debug)]
struct Accepts {
    unions: Unions,
    null: Null,
    /// A schema that names no type. Where it is not accepted, "any value" becomes a list of types.
    untyped: bool,
    /// `additionalProperties: false`.
    closed: bool,
    /// Whether only strings can be enumerated.
    enums_of_strings: bool,
    formats: &'static [&'static str],
    /// The [`FACTS`](shape::FACTS) that may be told.
    facts: &'static [&'static str],
}

/// Whether a family has `anyOf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unions {
    Described,
    /// With nothing beside it, not even a description.
    Alone,
    Never,
}

/// How a family says that a value may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Null {
    /// By the type `null`.
    Type,
    /// By `nullable: true`.
    Flag,
    /// Not at all. Who may leave a property out does not need to say null; otherwise the type stays unsaid.
    Unsaid,
}

impl Family {
    /// `None`: everything.
    fn accepts(self) -> Option<&'static Accepts> {
        match self {
            Self::Faithful => None,
            Self::OpenAi => Some(&OPEN_AI),
            Self::Gemini => Some(&GEMINI),
            Self::Plain => Some(&PLAIN),
        }
    }
}

// The keywords of "Supported schemas" in OpenAI's guide to structured outputs. Strict mode also wants every object
// closed and every property required; whoever turns it on does that himself, and neither would be true here.
const OPEN_AI: Accepts = Accepts {
    unions: Unions::Described,
    null: Null::Type,
    untyped: true,
    closed: true,
    enums_of_strings: false,
    formats: &[
        "date-time",
        "time",
        "date",
        "duration",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "uuid",
    ],
    facts: &[
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "pattern",
        "format",
        "minItems",
        "maxItems",
    ],
};

// The fields of `Schema` in the Gemini API, less what one of its two endpoints refuses.
const GEMINI: Accepts = Accepts {
    unions: Unions::Alone,
    null: Null::Flag,
    untyped: false,
    closed: false,
    enums_of_strings: true,
    formats: &["date-time"],
    facts: &[
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    ],
};

const PLAIN: Accepts = Accepts {
    unions: Unions::Never,
    null: Null::Unsaid,
    untyped: true,
    closed: false,
    enums_of_strings: false,
    formats: &[],
    facts: &[],
};

/// A tool's definition as the family reads it: another `inputSchema`, everything else byte for byte.
pub(crate) fn tool(definition: Bytes, family: Family) -> Bytes {
    let Some(accepts) = family.accepts() else {
        return definition;
    };
    let Ok(Some(schema)) = json::member(&definition, "inputSchema") else {
        return definition;
    };
    let Some(span) = Span::of(schema.get().as_bytes(), &definition) else {
        return definition;
    };
    // What cannot be read as a value (it is nested too deep) has no schema that could be told.
    let original = serde_json::from_str(schema.get()).unwrap_or(Value::Bool(true));
    let rewritten = write::root(read::schema(&original), accepts).to_string();
    let mut splice = Splice::new(&definition);
    splice.replace(span, rewritten.into_bytes());
    splice.finish().into()
}

/// A tool's public name as clients accept it. One that is changed ends in a hash of the full name: the same in every
/// run, and another for every other name.
pub(crate) fn name(full: String, names: Names) -> String {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let fits = full.len() <= NAME_MAX && full.chars().all(is_fine);
    if names == Names::Full || fits {
        return full;
    }
    let kept: String = full
        .chars()
        .map(|c| if is_fine(c) { c } else { '_' })
        .take(NAME_MAX - SUFFIX_LEN)
        .collect();
    let hash = digest(&SHA256, full.as_bytes());
    let hash = hash.as_ref().first_chunk().copied().unwrap_or_default();
    format!("{kept}_{:08x}", u32::from_be_bytes(hash))
}

#[cfg(test)]
mod tests;
