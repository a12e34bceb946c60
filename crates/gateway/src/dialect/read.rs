//! Reads JSON Schema, of any draft, into what it allows.
//!
//! A keyword that is not known here is left out, which allows more. So does a reference that leads outside the
//! schema or back to where it came from.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::shape::{
    ANY, FACTS, Form, Fuel, Kinds, Members, Said, Shape, VALUES_MAX, length, shorten,
};
use crate::uri;

/// So many bytes are read, references followed included; what comes after is any value.
const BYTES_MAX: usize = 128 * 1024;
/// So deep, references followed included.
const DEPTH_MAX: usize = 32;
/// Longer defaults are not told.
const DEFAULT_CHARS_MAX: usize = 100;

/// Reads a whole schema.
pub(super) fn schema(root: &Value) -> Shape {
    let draft = root.get("$schema").and_then(Value::as_str).unwrap_or("");
    let is_old = ["draft-03", "draft-04", "draft-06", "draft-07"]
        .iter()
        .any(|old| draft.contains(old));
    let mut reader = Reader {
        root,
        refs_stand_alone: is_old,
        open: vec![String::new()],
        depth: 0,
        fuel: Fuel::new(BYTES_MAX),
    };
    reader.shape(root)
}

struct Reader<'a> {
    root: &'a Value,
    /// Up to draft 7 what stands beside a `$ref` does not count.
    refs_stand_alone: bool,
    /// JSON pointers of the references that are being followed.
    open: Vec<String>,
    depth: usize,
    fuel: Fuel,
}

impl<'a> Reader<'a> {
    fn shape(&mut self, schema: &'a Value) -> Shape {
        let keywords = match schema {
            Value::Object(keywords) => keywords,
            Value::Bool(false) => return Shape::default(),
            _ => return Shape::any(),
        };
        if self.depth == DEPTH_MAX || !self.fuel.burn(cost(keywords)) {
            return Shape::cut("Not described further.".to_owned());
        }
        self.depth += 1;
        let shape = self.keywords(keywords);
        self.depth -= 1;
        shape
    }

    fn keywords(&mut self, keywords: &'a Map<String, Value>) -> Shape {
        let mut said = said(keywords);
        let target = keywords.get("$ref").and_then(Value::as_str);
        if let (Some(target), true) = (target, self.refs_stand_alone) {
            let mut shape = self.reference(target);
            shape.said.about = said.about.or(shape.said.about);
            return shape;
        }
        if let Some(rest) = keywords
            .get("additionalProperties")
            .filter(|r| r.is_object())
        {
            let words = self.shape(rest).in_words();
            if words != ANY {
                said.notes.push(format!("Further members: {words}."));
            }
        }
        let mut shape = Shape::of(self.form(keywords));
        shape.said = said;
        if let Some(target) = target {
            let target = self.reference(target);
            shape = shape.and(target, &mut self.fuel);
        }
        for part in list(keywords, "allOf") {
            let part = self.shape(part);
            shape = shape.and(part, &mut self.fuel);
        }
        for union in ["anyOf", "oneOf"] {
            if !keywords.contains_key(union) {
                continue;
            }
            let mut either = Shape::default();
            for part in list(keywords, union) {
                let part = self.shape(part);
                either = either.or(part);
            }
            shape = shape.and(either, &mut self.fuel);
        }
        shape
    }

    /// What the keywords say that have no schema of the same value in them.
    fn form(&mut self, keywords: &'a Map<String, Value>) -> Form {
        let mut form = Form {
            kinds: kinds(keywords.get("type")),
            ..Form::any()
        };
        let constant = keywords.get("const").map(std::slice::from_ref);
        let values = keywords.get("enum").and_then(Value::as_array);
        if let Some(values) = constant.or(values.map(Vec::as_slice)) {
            let told = values
                .iter()
                .fold(Kinds::NONE, |kinds, value| kinds | Kinds::of(value));
            form.kinds = form.kinds & told;
            let mut kept: Vec<Value> = Vec::new();
            for value in values.iter().take(VALUES_MAX + 1) {
                let is_told = form.kinds.without(Kinds::NULL).has(Kinds::of(value));
                if is_told && !kept.contains(value) {
                    kept.push(value.clone());
                }
            }
            let is_whole = !kept.is_empty() && values.len() <= VALUES_MAX;
            form.values = is_whole.then_some(kept);
        }
        for fact in &FACTS {
            let is_text = matches!(fact.name, "pattern" | "format");
            let value = keywords.get(fact.name).filter(|value| match value {
                Value::String(_) => is_text,
                Value::Number(_) => !is_text,
                _ => false,
            });
            form.facts
                .extend(value.map(|value| (fact.name, value.clone())));
        }
        form.items = self.items(keywords).map(Box::new);
        form.members = self.members(keywords);
        form
    }

    /// The elements of an array. Of a tuple each may be what any of them may be.
    fn items(&mut self, keywords: &'a Map<String, Value>) -> Option<Shape> {
        let tuple = keywords.get("prefixItems").and_then(Value::as_array);
        let (tuple, rest) = match (tuple, keywords.get("items")) {
            (None, Some(Value::Array(tuple))) => (Some(tuple), keywords.get("additionalItems")),
            (tuple, rest) => (tuple, rest),
        };
        let Some(tuple) = tuple else {
            return rest.map(|rest| self.shape(rest));
        };
        let mut either = self.shape(rest?);
        for place in tuple {
            let place = self.shape(place);
            either = place.or(either);
        }
        Some(either)
    }

    fn members(&mut self, keywords: &'a Map<String, Value>) -> Members {
        let mut named = Vec::new();
        let properties = keywords.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            named.push((name.clone(), self.shape(schema)));
        }
        let required = list(keywords, "required").filter_map(Value::as_str);
        let required = required.map(str::to_owned).collect();
        let has_patterns = keywords.contains_key("patternProperties");
        let no_others = keywords.get("additionalProperties") == Some(&Value::Bool(false));
        Members {
            named,
            required,
            is_closed: no_others && !has_patterns,
        }
    }

    /// What a `$ref` leads to.
    fn reference(&mut self, target: &str) -> Shape {
        let name = target.rsplit('/').next().unwrap_or_default();
        let Some((pointer, schema)) = self.find(target) else {
            return Shape::cut(format!(
                "Described elsewhere, as `{}`.",
                shorten(name.to_owned(), 60)
            ));
        };
        if self.open.contains(&pointer) {
            let whole = if pointer.is_empty() {
                "the whole"
            } else {
                name
            };
            return Shape::cut(format!(
                "The same again as `{}`.",
                shorten(whole.to_owned(), 60)
            ));
        }
        self.open.push(pointer);
        let shape = self.shape(schema);
        self.open.pop();
        shape
    }

    /// The pointer that a reference stands for, and what is there. Only within the schema.
    fn find(&self, target: &str) -> Option<(String, &'a Value)> {
        let fragment = target.strip_prefix('#')?;
        let fragment = uri::decode(fragment).map_or(Cow::Borrowed(fragment), Cow::Owned);
        if fragment.is_empty() || fragment.starts_with('/') {
            let found = self.root.pointer(&fragment)?;
            return Some((fragment.into_owned(), found));
        }
        let found = anchored(self.root, &fragment)?;
        Some((fragment.into_owned(), found))
    }
}

/// The schema with that `$anchor`. Definitions are where anchors are.
fn anchored<'a>(root: &'a Value, anchor: &str) -> Option<&'a Value> {
    ["$defs", "definitions"]
        .iter()
        .filter_map(|defs| root.get(defs)?.as_object())
        .flat_map(Map::values)
        .find(|schema| schema.get("$anchor").and_then(Value::as_str) == Some(anchor))
}

fn list<'a>(keywords: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> {
    keywords
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn kinds(named: Option<&Value>) -> Kinds {
    let one = |name: &Value| name.as_str().and_then(Kinds::named);
    match named {
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| one(name).unwrap_or(Kinds::ALL))
            .fold(Kinds::NONE, |all, kinds| all | kinds),
        named => named.and_then(one).unwrap_or(Kinds::ALL),
    }
}

/// What is there for people to read.
fn said(keywords: &Map<String, Value>) -> Said {
    let text = |name: &str| keywords.get(name).and_then(Value::as_str);
    let about = text("description").or_else(|| text("title"));
    let default = keywords.get("default").map(ToString::to_string);
    let default = default.filter(|default| default.chars().count() <= DEFAULT_CHARS_MAX);
    Said {
        about: about.map(str::to_owned),
        notes: default
            .map(|default| format!("Default: {default}."))
            .into_iter()
            .collect(),
    }
}

/// About how many bytes of this schema are kept, those of the schemas in it aside.
fn cost(keywords: &Map<String, Value>) -> usize {
    let kept = [
        "description",
        "title",
        "enum",
        "const",
        "pattern",
        "format",
        "required",
    ];
    let kept = kept
        .iter()
        .filter_map(|name| keywords.get(*name))
        .map(length);
    let names = keywords.get("properties").and_then(Value::as_object);
    let names = names.into_iter().flat_map(Map::keys).map(String::len);
    32 + kept.sum::<usize>() + names.sum::<usize>()
}
