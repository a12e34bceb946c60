//! Writes what is allowed as a schema that a family accepts.

use serde_json::{Map, Value, json};

use super::shape::{FACTS, Form, Kinds, Members, Said, Shape, shorten};
use super::{Accepts, Null, Unions};

/// More forms than this are not told one by one.
const UNION_MAX: usize = 8;
/// More remarks, and longer ones, are cut.
const REMARKS_CHARS_MAX: usize = 800;
/// Longer bounds are not told.
const BOUND_CHARS_MAX: usize = 100;

/// The schema of a tool's arguments: always an object with properties.
pub(super) fn root(mut shape: Shape, accepts: &'static Accepts) -> Value {
    shape.forms.retain(|form| form.kinds.has(Kinds::OBJECT));
    let mut said = std::mem::take(&mut shape.said);
    if shape.forms.len() > 1 {
        said.notes.push(format!("One of: {}.", shape.in_words()));
    }
    shape.merge();
    let form = shape.forms.pop().unwrap_or_else(Form::any);
    let form = Form {
        said: said.and(form.said),
        kinds: Kinds::OBJECT,
        values: None,
        ..form
    };
    let writer = Writer(accepts);
    let mut out = writer.form(writer.tellable(form), Some("object"), false);
    out.entry("properties").or_insert_with(|| json!({}));
    Value::Object(out)
}

#[derive(Clone, Copy)]
struct Writer(&'static Accepts);

impl Writer {
    /// `is_optional`: who does not want to say null can say nothing.
    fn shape(self, mut shape: Shape, is_optional: bool) -> Value {
        let can_be_null = shape.forms.iter().any(|form| form.kinds.has(Kinds::NULL));
        let forms = std::mem::take(&mut shape.forms);
        let mut forms = self.simplified(forms, &mut shape.said);
        if forms.is_empty() && can_be_null && self.0.null == Null::Type {
            return self.described(json!({ "type": "null" }), &shape.said);
        }
        if forms.len() > UNION_MAX || self.0.unions == Unions::Never {
            shape.forms = forms;
            if shape.forms.len() > 1 {
                let words = shape.in_words();
                shape.said.notes.push(format!("One of: {words}."));
            }
            shape.merge();
            forms = shape.forms;
        }
        // What nothing fits is not told: there is no schema for it that all read.
        let Some(form) = forms.pop() else {
            return self.shape(
                Shape {
                    said: shape.said,
                    ..Shape::any()
                },
                is_optional,
            );
        };
        if self.0.unions == Unions::Never {
            return self.single(form, shape.said, can_be_null && !is_optional);
        }
        forms.push(form);
        self.union(forms, shape.said, can_be_null)
    }

    /// One form where there is no other way to tell of several types, or of null, than to name none.
    fn single(self, mut form: Form, said: Said, must_allow_null: bool) -> Value {
        form.said = said.and(form.said);
        if let ([name], false) = (&form.kinds.names()[..], must_allow_null) {
            return Value::Object(self.form(form, Some(name), false));
        }
        if must_allow_null {
            form.kinds = form.kinds | Kinds::NULL;
        }
        let is_listed = form.values.is_some();
        let is_of_some_types = form.kinds.without(Kinds::NULL) != Kinds::SOME;
        if is_listed && must_allow_null || !is_listed && is_of_some_types {
            let told = Form {
                said: Said::default(),
                ..form.clone()
            };
            form.said.notes.push(format!("Type: {}.", told.in_words()));
            form.values = None;
        }
        Value::Object(self.form(form, None, must_allow_null))
    }

    /// A schema for each form and type.
    fn union(self, forms: Vec<Form>, said: Said, can_be_null: bool) -> Value {
        let mut pieces: Vec<(Form, Option<&'static str>)> = Vec::new();
        for form in forms {
            if form.kinds == Kinds::SOME && self.0.untyped {
                pieces.push((form, None));
                continue;
            }
            let guessed = guess(&form);
            for name in guessed.names() {
                let kinds = guessed & Kinds::named(name).unwrap_or(Kinds::ALL);
                let form = form.clone();
                let piece = (self.tellable(Form { kinds, ..form }), Some(name));
                if !pieces.contains(&piece) {
                    pieces.push(piece);
                }
            }
        }
        if let [_] = pieces[..] {
            let only = pieces.pop().map(|(mut form, name)| {
                form.said = said.and(form.said);
                self.form(form, name, can_be_null)
            });
            return Value::Object(only.unwrap_or_default());
        }
        let mut said = Some(said);
        if self.0.unions == Unions::Alone
            && let Some((first, _)) = pieces.first_mut()
            && let Some(said) = said.take()
        {
            first.said = said.and(std::mem::take(&mut first.said));
        }
        let is_flagged = can_be_null && self.0.null == Null::Flag;
        let mut schemas: Vec<Value> = pieces
            .into_iter()
            .map(|(form, name)| Value::Object(self.form(form, name, is_flagged)))
            .collect();
        if can_be_null && self.0.null == Null::Type {
            schemas.push(json!({ "type": "null" }));
        }
        self.described(json!({ "anyOf": schemas }), &said.unwrap_or_default())
    }

    fn described(self, mut schema: Value, said: &Said) -> Value {
        if let (Some(text), Some(schema)) = (text(said), schema.as_object_mut()) {
            schema.insert("description".to_owned(), text.into());
        }
        schema
    }

    /// One form whose kinds have one name, or which names no type.
    fn form(self, form: Form, name: Option<&str>, can_be_null: bool) -> Map<String, Value> {
        let Form {
            mut said,
            kinds,
            values,
            facts,
            items,
            members,
        } = form;
        let mut out = Map::new();
        let is_null_typed = can_be_null && self.0.null == Null::Type;
        if let Some(name) = name {
            let kind = if is_null_typed {
                json!([name, "null"])
            } else {
                json!(name)
            };
            out.insert("type".to_owned(), kind);
        }
        if can_be_null && self.0.null == Null::Flag {
            out.insert("nullable".to_owned(), true.into());
        }
        if let Some(mut values) = values {
            values.retain(|value| kinds.has(Kinds::of(value)));
            if self.can_be_listed(&values) {
                if is_null_typed {
                    values.push(Value::Null);
                }
                out.insert("enum".to_owned(), values.into());
            } else {
                let listed = Form {
                    values: Some(values),
                    kinds,
                    ..Form::any()
                };
                said.notes.push(format!("One of: {}.", listed.in_words()));
            }
        }
        let mut untold = Vec::new();
        for fact in FACTS.iter().filter(|fact| kinds.has(fact.of)) {
            let Some(value) = facts.get(fact.name) else {
                continue;
            };
            if self.can_be_told(fact.name, value) {
                out.insert(fact.name.to_owned(), value.clone());
                continue;
            }
            untold.push(format!("{} {value}", fact.name));
            if let Some(wider) = fact.wider.filter(|wider| self.can_be_told(wider, value)) {
                out.entry(wider).or_insert_with(|| value.clone());
            }
        }
        untold.retain(|bound| bound.chars().count() <= BOUND_CHARS_MAX);
        if !untold.is_empty() {
            said.notes.push(format!("With {}.", untold.join(", ")));
        }
        if let Some(text) = text(&said) {
            out.insert("description".to_owned(), text.into());
        }
        // Without a type it need not be an array; with it, readers want to know of what.
        if let (true, Some(items)) = (kinds.has(Kinds::ARRAY), items) {
            out.insert("items".to_owned(), self.shape(*items, false));
        } else if name == Some("array") {
            out.insert("items".to_owned(), self.shape(Shape::any(), false));
        }
        if kinds.has(Kinds::OBJECT) {
            self.members(members, &mut out);
        }
        out
    }

    fn members(self, members: Members, out: &mut Map<String, Value>) {
        let Members {
            named,
            mut required,
            is_closed,
        } = members;
        required.retain(|name| named.iter().any(|(known, _)| known == name));
        let mut properties = Map::new();
        for (name, shape) in named {
            let is_optional = !required.contains(&name);
            properties.insert(name, self.shape(shape, is_optional));
        }
        if !properties.is_empty() {
            out.insert("properties".to_owned(), properties.into());
        }
        if !required.is_empty() {
            out.insert("required".to_owned(), required.into());
        }
        if is_closed {
            out.insert("additionalProperties".to_owned(), false.into());
        }
    }

    /// The forms without null and without what says nothing new. Lists of values become one list.
    fn simplified(self, forms: Vec<Form>, said: &mut Said) -> Vec<Form> {
        let mut kept: Vec<Form> = Vec::new();
        let mut listed: Vec<Form> = Vec::new();
        for form in forms {
            let kinds = form.kinds.without(Kinds::NULL);
            let form = self.tellable(Form { kinds, ..form });
            if form.kinds == Kinds::NONE {
                continue;
            }
            if form.is_any() {
                return vec![form];
            }
            let same = if form.values.is_some() {
                &mut listed
            } else {
                &mut kept
            };
            if !same.contains(&form) {
                same.push(form);
            }
        }
        if listed.iter().any(|form| form.said.about.is_some()) && listed.len() > 1 {
            let shape = Shape {
                said: Said::default(),
                forms: listed.clone(),
            };
            said.notes.push(format!("One of: {}.", shape.in_words()));
        }
        let mut all: Vec<Form> = listed.into_iter().reduce(Form::or).into_iter().collect();
        all.append(&mut kept);
        all
    }

    /// The form with nothing in it for which the family has no keyword. Bounds become words.
    fn tellable(self, mut form: Form) -> Form {
        let mut untold = Vec::new();
        for fact in &FACTS {
            let Some(value) = form.facts.remove(fact.name) else {
                continue;
            };
            if !form.kinds.has(fact.of) {
                continue;
            }
            if self.can_be_told(fact.name, &value) {
                form.facts.insert(fact.name, value);
                continue;
            }
            untold.push(format!("{} {value}", fact.name));
            if let Some(wider) = fact.wider.filter(|wider| self.can_be_told(wider, &value)) {
                form.facts.entry(wider).or_insert(value);
            }
        }
        untold.retain(|bound| bound.chars().count() <= BOUND_CHARS_MAX);
        if !untold.is_empty() {
            form.said.notes.push(format!("With {}.", untold.join(", ")));
        }
        if !form.kinds.has(Kinds::ARRAY) {
            form.items = None;
        }
        if !form.kinds.has(Kinds::OBJECT) {
            form.members = Members::default();
        }
        let Members {
            named,
            required,
            is_closed,
        } = &mut form.members;
        required.retain(|name| named.iter().any(|(known, _)| known == name));
        *is_closed &= self.0.closed;
        form
    }

    fn can_be_listed(self, values: &[Value]) -> bool {
        !values.is_empty()
            && values.iter().all(|value| match value {
                Value::String(text) => !text.is_empty() || !self.0.enums_of_strings,
                Value::Array(_) | Value::Object(_) => false,
                Value::Null | Value::Bool(_) | Value::Number(_) => !self.0.enums_of_strings,
            })
    }

    fn can_be_told(self, name: &str, value: &Value) -> bool {
        let text = value.as_str().unwrap_or_default();
        let is_fine = match name {
            "format" => self.0.formats.contains(&text),
            // Patterns that look around are refused where patterns are turned into grammars.
            "pattern" => !["(?=", "(?!", "(?<"].iter().any(|look| text.contains(look)),
            _ => true,
        };
        is_fine && self.0.facts.contains(&name)
    }
}

/// The types to name. Who names none but speaks of members means an object; of any value, those that are common.
fn guess(form: &Form) -> Kinds {
    if form.kinds != Kinds::SOME {
        return form.kinds;
    }
    if !form.members.named.is_empty() {
        return Kinds::OBJECT;
    }
    if form.items.is_some() {
        return Kinds::ARRAY;
    }
    Kinds::SOME.without(Kinds::ARRAY)
}

/// The description and the remarks.
fn text(said: &Said) -> Option<String> {
    let remarks = shorten(said.notes.join(" "), REMARKS_CHARS_MAX);
    match (&said.about, remarks.is_empty()) {
        (Some(about), true) => Some(about.clone()),
        (Some(about), false) => Some(format!("{} {remarks}", about.trim_end())),
        (None, true) => None,
        (None, false) => Some(remarks),
    }
}
