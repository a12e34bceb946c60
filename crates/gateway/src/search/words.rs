//! What a tool is found by: the words of its name, title, description and parameters, with weights.
//!
//! Words are what people write apart and programmers write together: `readFile`, `read_file` and "read files" have the
//! same two. Only their hashes are kept; a word that shares one with another ranks a tool wrongly, and nothing else.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use wire::json;

/// What a word in a name weighs beside one in a description.
const NAME_WEIGHT: f32 = 4.0;
const TITLE_WEIGHT: f32 = 2.0;
const TEXT_WEIGHT: f32 = 1.0;
const PARAMETER_WEIGHT: f32 = 1.0;
const PARAMETER_TEXT_WEIGHT: f32 = 0.5;

/// So much of a definition's text is looked at: a description that says everything is not to be found by everything.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Objects within objects whose properties are looked at.
const DEPTH_MAX: usize = 4;
/// A longer run of letters is no word.
const WORD_CHARS_MAX: usize = 64;

/// The words of one tool.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Hashes in their order, each with its weight over all places.
    terms: Box<[(u64, f32)]>,
    length: f32,
}

impl Words {
    /// The words of a tool that clients call `name`. `definition` is JSON text as they see it.
    pub(crate) fn of(name: &str, definition: &[u8]) -> Self {
        let mut bag = Bag::default();
        bag.add(name, NAME_WEIGHT);
        for (member, raw) in json::members(definition).unwrap_or_default() {
            match member.as_ref() {
                "title" => bag.add_text(raw, TITLE_WEIGHT),
                "description" => bag.add_text(raw, TEXT_WEIGHT),
                "inputSchema" => bag.add_schema(raw.get(), 0),
                _ => {}
            }
        }
        Self {
            length: bag.weights.values().sum(),
            terms: bag.weights.into_iter().collect(),
        }
    }

    /// What a word weighs; 0 if it is not there.
    pub(super) fn weight(&self, term: u64) -> f32 {
        let found = self.terms.binary_search_by_key(&term, |(hash, _)| *hash);
        let found = found.ok().and_then(|at| self.terms.get(at));
        found.map_or(0.0, |(_, weight)| *weight)
    }

    /// What all words weigh together.
    pub(super) fn length(&self) -> f32 {
        self.length
    }
}

#[derive(Debug, Default)]
struct Bag {
    weights: BTreeMap<u64, f32>,
    bytes: usize,
}

impl Bag {
    fn add(&mut self, text: &str, weight: f32) {
        let left = TEXT_BYTES_MAX.saturating_sub(self.bytes);
        let text = text
            .get(..text.floor_char_boundary(left))
            .unwrap_or_default();
        self.bytes += text.len();
        each(text, |word| {
            *self.weights.entry(hash(word)).or_default() += weight;
        });
    }

    fn add_text(&mut self, raw: &serde_json::value::RawValue, weight: f32) {
        if let Some(text) = json::unquote(raw) {
            self.add(&text, weight);
        }
    }

    /// Names and descriptions of the properties of a schema, and of those within them.
    fn add_schema(&mut self, schema: &str, depth: usize) {
        if depth == DEPTH_MAX || !schema.starts_with('{') {
            return;
        }
        for (member, raw) in json::members(schema.as_bytes()).unwrap_or_default() {
            match member.as_ref() {
                "description" if depth > 0 => self.add_text(raw, PARAMETER_TEXT_WEIGHT),
                "properties" => {
                    let properties = json::members(raw.get().as_bytes()).unwrap_or_default();
                    for (name, schema) in properties {
                        self.add(&name, PARAMETER_WEIGHT);
                        self.add_schema(schema.get(), depth + 1);
                    }
                }
                "items" => self.add_schema(raw.get(), depth + 1),
                _ => {}
            }
        }
    }
}

/// The words of a text that somebody looks for, each once, in their order; at most `max`.
pub(super) fn asked(text: &str, max: usize) -> Vec<u64> {
    let mut terms = Vec::new();
    each(text, |word| {
        let term = hash(word);
        if terms.len() < max && !terms.contains(&term) {
            terms.push(term);
        }
    });
    terms
}

fn hash(word: &str) -> u64 {
    // The same in every process: its keys are constants.
    let mut hasher = DefaultHasher::new();
    word.hash(&mut hasher);
    hasher.finish()
}

/// Calls `found` with each word, in lower case and without its plural.
fn each(text: &str, mut found: impl FnMut(&str)) {
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    let mut before = Kind::Other;
    while let Some(c) = chars.next() {
        let kind = Kind::of(c);
        let starts = match (before, kind) {
            (_, Kind::Other) => false,
            (_, Kind::Ideograph) | (Kind::Ideograph | Kind::Other, _) => true,
            (Kind::Lower, Kind::Upper) => true,
            // The last letter of `HTTPServer`'s first word belongs to its second.
            (Kind::Upper, Kind::Upper) => chars
                .peek()
                .is_some_and(|next| Kind::of(*next) == Kind::Lower),
            (Kind::Upper | Kind::Lower, Kind::Lower) => false,
        };
        if starts || kind == Kind::Other {
            end(&mut word, &mut found);
        }
        if kind != Kind::Other && word.len() < WORD_CHARS_MAX {
            word.extend(c.to_lowercase());
        }
        before = kind;
    }
    end(&mut word, &mut found);
}

fn end(word: &mut String, found: &mut impl FnMut(&str)) {
    if !word.is_empty() {
        found(singular(word));
        word.clear();
    }
}

/// `files` as `file`: by far the most common difference between a question and a name.
fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(rest) if rest.len() > 2 && !rest.ends_with(['s', 'u', 'i']) => rest,
        _ => word,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Small letters, digits, and letters of scripts that have no case.
    Lower,
    Upper,
    /// A word by itself, where words are not written apart.
    Ideograph,
    Other,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            'a'..='z' | '0'..='9' => Self::Lower,
            'A'..='Z' => Self::Upper,
            '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' => {
                Self::Ideograph
            }
            c if c.is_uppercase() => Self::Upper,
            c if c.is_alphanumeric() => Self::Lower,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
