//! What a schema allows, in a form in which "both" and "either" can be worked out.
//!
//! A [`Shape`] is a choice of [`Form`]s. Each operation allows at least what it should, sometimes more: where the
//! exact answer has no form here, a constraint falls. It never allows less.

use std::collections::BTreeMap;
use std::ops::{BitAnd, BitOr};

use serde_json::Value;

/// More forms than this of one value become one.
const FORMS_MAX: usize = 16;
/// Of more values than this none is listed.
pub(super) const VALUES_MAX: usize = 512;
/// More remarks than this are not repeated.
const NOTES_MAX: usize = 4;

/// A set of JSON types. Whole numbers and others are told apart, so that `integer` is a part of `number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const INTEGER: Self = Self(4);
    pub(super) const FRACTION: Self = Self(8);
    pub(super) const NUMBER: Self = Self(4 | 8);
    pub(super) const STRING: Self = Self(16);
    pub(super) const ARRAY: Self = Self(32);
    pub(super) const OBJECT: Self = Self(64);
    pub(super) const SOME: Self = Self(126);
    pub(super) const ALL: Self = Self(127);

    /// The names that schemas use, the wider of two overlapping ones first.
    pub(super) const NAMED: [(Self, &'static str); 7] = [
        (Self::STRING, "string"),
        (Self::NUMBER, "number"),
        (Self::INTEGER, "integer"),
        (Self::BOOLEAN, "boolean"),
        (Self::OBJECT, "object"),
        (Self::ARRAY, "array"),
        (Self::NULL, "null"),
    ];

    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(n) if n.as_f64().is_some_and(|n| n.fract() != 0.0) => Self::FRACTION,
            Value::Number(_) => Self::INTEGER,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::NAMED
            .iter()
            .find_map(|(kinds, known)| (*known == name).then_some(*kinds))
    }

    /// The fewest names that together say all of it.
    pub(super) fn names(self) -> Vec<&'static str> {
        let mut left = self;
        let mut names = Vec::new();
        for (kinds, name) in Self::NAMED {
            // A fraction alone is told as `number`: there is no narrower name.
            let is_told = if kinds == Self::NUMBER {
                left.has(Self::FRACTION)
            } else {
                left.has(kinds)
            };
            if is_told {
                names.push(name);
                left = left.without(kinds);
            }
        }
        names
    }

    /// Whether any of `other` is in it.
    pub(super) fn has(self, other: Self) -> bool {
        self & other != Self::NONE
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitAnd for Kinds {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Kinds {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A keyword with a plain value that bounds values of one kind.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) name: &'static str,
    /// Whose values it bounds.
    pub(super) of: Kinds,
    bound: Bound,
    /// What to say where it cannot be said: another keyword that allows a little more.
    pub(super) wider: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Lower,
    Upper,
    /// Two different ones cannot be compared.
    Exact,
}

const fn fact(name: &'static str, of: Kinds, bound: Bound) -> Fact {
    Fact {
        name,
        of,
        bound,
        wider: None,
    }
}

/// All that are kept.
pub(super) const FACTS: [Fact; 13] = [
    fact("minimum", Kinds::NUMBER, Bound::Lower),
    fact("maximum", Kinds::NUMBER, Bound::Upper),
    Fact {
        wider: Some("minimum"),
        ..fact("exclusiveMinimum", Kinds::NUMBER, Bound::Lower)
    },
    Fact {
        wider: Some("maximum"),
        ..fact("exclusiveMaximum", Kinds::NUMBER, Bound::Upper)
    },
    fact("multipleOf", Kinds::NUMBER, Bound::Exact),
    fact("minLength", Kinds::STRING, Bound::Lower),
    fact("maxLength", Kinds::STRING, Bound::Upper),
    fact("pattern", Kinds::STRING, Bound::Exact),
    fact("format", Kinds::STRING, Bound::Exact),
    fact("minItems", Kinds::ARRAY, Bound::Lower),
    fact("maxItems", Kinds::ARRAY, Bound::Upper),
    fact("minProperties", Kinds::OBJECT, Bound::Lower),
    fact("maxProperties", Kinds::OBJECT, Bound::Upper),
];

impl Fact {
    /// Of two values the one that allows more; `None` if that cannot be said.
    fn looser(&self, a: Value, b: Value) -> Option<Value> {
        if a == b {
            return Some(a);
        }
        let a_is_less = a.as_f64()? < b.as_f64()?;
        let b_is_less = b.as_f64()? < a.as_f64()?;
        match self.bound {
            Bound::Lower if a_is_less => Some(a),
            Bound::Lower if b_is_less => Some(b),
            Bound::Upper if a_is_less => Some(b),
            Bound::Upper if b_is_less => Some(a),
            Bound::Lower | Bound::Upper | Bound::Exact => None,
        }
    }

    /// Of two values that both hold the one that allows less, or either.
    fn tighter(&self, a: Value, b: Value) -> Value {
        let looser = self.looser(a.clone(), b.clone());
        if looser.as_ref() == Some(&a) { b } else { a }
    }
}

/// What is said of a value to people and models.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Said {
    /// Its description.
    pub(super) about: Option<String>,
    /// What it was bound to, and no keyword says any more.
    pub(super) notes: Vec<String>,
}

impl Said {
    /// The description of the outer of two, and the remarks of both.
    pub(super) fn and(mut self, inner: Self) -> Self {
        self.about = self.about.or(inner.about);
        for note in inner.notes {
            if self.notes.len() < NOTES_MAX && !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        self
    }

    /// What is said of either, when it is one: no description that fits only one of them.
    fn or(mut self, other: Self) -> Self {
        if self.about != other.about {
            self.about = None;
        }
        let other = Self {
            about: None,
            ..other
        };
        self.and(other)
    }

    fn weight(&self) -> usize {
        self.about.iter().chain(&self.notes).map(String::len).sum()
    }
}

/// What one value may be: any of the forms. Without forms, nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Shape {
    pub(super) said: Said,
    pub(super) forms: Vec<Form>,
}

/// One way a value may look.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    pub(super) said: Said,
    pub(super) kinds: Kinds,
    /// Besides null, only these.
    pub(super) values: Option<Vec<Value>>,
    /// By the name of the [`Fact`].
    pub(super) facts: BTreeMap<&'static str, Value>,
    /// The elements, if it is an array.
    pub(super) items: Option<Box<Shape>>,
    /// The members, if it is an object.
    pub(super) members: Members,
}

/// The members of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Members {
    pub(super) named: Vec<(String, Shape)>,
    pub(super) required: Vec<String>,
    /// Whether it has no others.
    pub(super) is_closed: bool,
}

/// How much may still be copied. A small schema can stand for a huge one.
#[derive(Debug)]
pub(super) struct Fuel(usize);

impl Fuel {
    pub(super) fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// Whether so much was left, which is then used up.
    pub(super) fn burn(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

impl Shape {
    pub(super) fn of(form: Form) -> Self {
        let forms = if form.kinds == Kinds::NONE {
            Vec::new()
        } else {
            vec![form]
        };
        Self {
            said: Said::default(),
            forms,
        }
    }

    pub(super) fn any() -> Self {
        Self::of(Form::any())
    }

    /// Any value, and why nothing more is said of it.
    pub(super) fn cut(why: String) -> Self {
        let mut any = Self::any();
        any.said.notes.push(why);
        any
    }

    /// What one or the other allows.
    pub(super) fn or(self, other: Self) -> Self {
        let mut forms: Vec<Form> = self.into_forms().collect();
        for form in other.into_forms() {
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        let mut both = Self {
            said: Said::default(),
            forms,
        };
        if both.forms.len() > FORMS_MAX {
            both.merge();
        }
        both
    }

    /// What both allow. What is said of the first goes before what is said of the second.
    pub(super) fn and(mut self, mut other: Self, fuel: &mut Fuel) -> Self {
        let (n, m) = (self.forms.len(), other.forms.len());
        if n * m > 1 {
            let copied = self.weight() * m.saturating_sub(1) + other.weight() * n.saturating_sub(1);
            if n * m > FORMS_MAX || !fuel.burn(copied) {
                self.merge();
                other.merge();
            }
        }
        let said = self.said.and(other.said);
        let mut forms = Vec::new();
        let mut others = other.forms;
        while let Some(form) = self.forms.pop() {
            // The last one needs no copy.
            let round = if self.forms.is_empty() {
                std::mem::take(&mut others)
            } else {
                others.clone()
            };
            for other in round.into_iter().rev() {
                let both = form.clone().and(other, fuel);
                if both.kinds != Kinds::NONE {
                    forms.push(both);
                }
            }
        }
        forms.reverse();
        Self { said, forms }
    }

    /// Makes one form of all.
    pub(super) fn merge(&mut self) {
        let forms = std::mem::take(&mut self.forms);
        self.forms.extend(forms.into_iter().reduce(Form::or));
    }

    /// The forms, each with what was said of all of them.
    fn into_forms(self) -> impl Iterator<Item = Form> {
        let Self { said, forms } = self;
        forms.into_iter().map(move |mut form| {
            form.said = std::mem::take(&mut form.said).and(said.clone());
            form
        })
    }

    /// About how many bytes it takes to write down.
    fn weight(&self) -> usize {
        self.said.weight() + self.forms.iter().map(Form::weight).sum::<usize>()
    }
}

impl Form {
    pub(super) fn any() -> Self {
        Self {
            said: Said::default(),
            kinds: Kinds::ALL,
            values: None,
            facts: BTreeMap::new(),
            items: None,
            members: Members::default(),
        }
    }

    /// Whether all values fit but null, which is told apart from the others.
    pub(super) fn is_any(&self) -> bool {
        (self.kinds | Kinds::NULL) == Kinds::ALL
            && self.values.is_none()
            && self.facts.is_empty()
            && self.items.is_none()
            && self.members == Members::default()
    }

    /// What one or the other allows.
    pub(super) fn or(self, other: Self) -> Self {
        let (mine, theirs) = (self.kinds, other.kinds);
        let both = |kinds: Kinds| mine.has(kinds) && theirs.has(kinds);
        let values = match (self.values, other.values) {
            (values, _) if theirs == Kinds::NULL => values,
            (_, values) if mine == Kinds::NULL => values,
            (Some(mut values), Some(others)) => {
                for value in others {
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                (values.len() <= VALUES_MAX).then_some(values)
            }
            _ => None,
        };
        let (mut facts, mut others) = (self.facts, other.facts);
        let mut kept = BTreeMap::new();
        for fact in &FACTS {
            let (a, b) = (facts.remove(fact.name), others.remove(fact.name));
            let value = match (a, b) {
                (Some(a), Some(b)) => fact.looser(a, b),
                // Who cannot be of that kind has nothing to say of it.
                (a, b) if !both(fact.of) => a.or(b),
                _ => None,
            };
            kept.extend(value.map(|value| (fact.name, value)));
        }
        let items = match (self.items, other.items) {
            (Some(a), Some(b)) => Some(Box::new(a.or(*b))),
            (a, b) if !both(Kinds::ARRAY) => a.or(b),
            _ => None,
        };
        let members = if both(Kinds::OBJECT) {
            self.members.or(other.members)
        } else if mine.has(Kinds::OBJECT) {
            self.members
        } else {
            other.members
        };
        Self {
            said: self.said.or(other.said),
            kinds: mine | theirs,
            values,
            facts: kept,
            items,
            members,
        }
    }

    /// What both allow.
    fn and(self, other: Self, fuel: &mut Fuel) -> Self {
        let mut kinds = self.kinds & other.kinds;
        let mut values = match (self.values, other.values) {
            // One of the two holds; which are in both is not worked out, for 1 and 1.0 are the same.
            (Some(a), Some(b)) => Some(if a.len() <= b.len() { a } else { b }),
            (a, b) => a.or(b),
        };
        if let Some(values) = &mut values {
            values.retain(|value| kinds.has(Kinds::of(value)));
            let told = values.iter().fold(Kinds::NULL, |all, v| all | Kinds::of(v));
            kinds = kinds & told;
        }
        if !kinds.has(Kinds::SOME) {
            values = None;
        }
        let mut facts = self.facts;
        for (name, theirs) in other.facts {
            let mine = facts.remove(name);
            let fact = FACTS.iter().find(|fact| fact.name == name);
            let value = match (mine, fact) {
                (Some(mine), Some(fact)) => fact.tighter(mine, theirs),
                _ => theirs,
            };
            facts.insert(name, value);
        }
        let items = match (self.items, other.items) {
            (Some(a), Some(b)) => Some(Box::new(a.and(*b, fuel))),
            (a, b) => a.or(b),
        };
        Self {
            said: self.said.and(other.said),
            kinds,
            values,
            facts,
            items,
            members: self.members.and(other.members, fuel),
        }
    }

    fn weight(&self) -> usize {
        let values = self.values.iter().flatten();
        let items = self.items.iter().map(|items| items.weight());
        32 + self.said.weight()
            + self.facts.len() * 32
            + values.map(length).sum::<usize>()
            + items.sum::<usize>()
            + self.members.weight()
    }
}

impl Members {
    fn or(self, mut other: Self) -> Self {
        let mut named = Vec::new();
        for (name, mine) in self.named {
            let shape = match other.take(&name) {
                Some(theirs) => mine.or(theirs),
                None => mine.unless(other.is_closed),
            };
            named.push((name, shape));
        }
        for (name, theirs) in other.named {
            named.push((name, theirs.unless(self.is_closed)));
        }
        let mut required = self.required;
        required.retain(|name| other.required.contains(name));
        Self {
            named,
            required,
            is_closed: self.is_closed && other.is_closed,
        }
    }

    fn and(self, mut other: Self, fuel: &mut Fuel) -> Self {
        let mut named = Vec::new();
        for (name, mine) in self.named {
            let shape = match other.take(&name) {
                Some(theirs) => mine.and(theirs, fuel),
                None => mine,
            };
            named.push((name, shape));
        }
        named.append(&mut other.named);
        let mut required = self.required;
        for name in other.required {
            if !required.contains(&name) {
                required.push(name);
            }
        }
        Self {
            named,
            required,
            is_closed: self.is_closed || other.is_closed,
        }
    }

    fn take(&mut self, name: &str) -> Option<Shape> {
        let at = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.remove(at).1)
    }

    fn weight(&self) -> usize {
        let named = self.named.iter().map(|(n, shape)| n.len() + shape.weight());
        named.sum::<usize>() + self.required.iter().map(String::len).sum::<usize>()
    }
}

impl Shape {
    /// As it is if the member cannot occur in the other form; else that form allows any value there, and what this
    /// one would have is only told.
    fn unless(self, other_is_closed: bool) -> Self {
        if other_is_closed {
            return self;
        }
        let words = self.in_words();
        let mut any = Self::any();
        any.said = self.said;
        if any.said.notes.len() < NOTES_MAX && words != ANY {
            any.said
                .notes
                .push(format!("In one of the forms: {words}."));
        }
        any
    }
}

/// What is said of a value of which nothing is known.
pub(super) const ANY: &str = "any value";
/// More names, values or forms than this are not told.
const TOLD_MAX: usize = 8;
/// Longer words are cut.
const WORDS_MAX: usize = 400;

impl Shape {
    /// What the value may be, for a description.
    pub(super) fn in_words(&self) -> String {
        let forms = self.forms.iter().take(TOLD_MAX);
        let words: Vec<String> = forms.map(Form::in_words).collect();
        if words.is_empty() {
            return ANY.to_owned();
        }
        shorten(words.join("; or "), WORDS_MAX)
    }
}

impl Form {
    pub(super) fn in_words(&self) -> String {
        let mut words = match &self.values {
            Some(values) => {
                let told: Vec<String> = values
                    .iter()
                    .take(TOLD_MAX)
                    .map(ToString::to_string)
                    .collect();
                let rest = if values.len() > TOLD_MAX { ", …" } else { "" };
                let null = if self.kinds.has(Kinds::NULL) {
                    " or null"
                } else {
                    ""
                };
                format!("{}{rest}{null}", told.join(" or "))
            }
            None if self.kinds == Kinds::ALL => ANY.to_owned(),
            None => self.kinds.names().join(" or "),
        };
        let names = self.members.named.iter().take(TOLD_MAX);
        let names: Vec<String> = names.map(|(name, _)| format!("`{name}`")).collect();
        if self.kinds.has(Kinds::OBJECT) && !names.is_empty() {
            words = format!("{words} with {}", names.join(", "));
        }
        if let Some(about) = &self.said.about {
            words = format!("{words} ({})", about.trim_end_matches('.'));
        }
        shorten(words, WORDS_MAX / 2)
    }
}

pub(super) fn shorten(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", text.split_at(end).0),
        None => text,
    }
}

/// How many bytes a value takes to write down, about.
pub(super) fn length(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(length).sum::<usize>(),
        Value::Object(members) => members.iter().map(|(k, v)| k.len() + 4 + length(v)).sum(),
    }
}
