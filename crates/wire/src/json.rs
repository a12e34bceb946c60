//! Parts of JSON text, and new text from old parts.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// Nesting deeper than this is refused at the door: no tool needs it, and readers behind us may recurse.
pub const DEPTH_MAX: usize = 64;
/// Up to so many members are held against each other one by one, which is fastest. More are hashed: a body of a
/// million members must not cost a million times a million.
const MEMBERS_FEW: usize = 32;

/// Space that is made for an object at first: most that are made here are a `_meta`.
const OBJECT_LEN: usize = 256;

/// Where some readers think that a name ends.
const NUL: char = '\0';
const HOLDS_NUL: &str = "a member's name holds NUL";

/// A part of some bytes, by position. Bodies are far below 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `part` lies in `whole`; `None` if it does not lie there.
    #[must_use]
    pub fn of(part: &[u8], whole: &[u8]) -> Option<Self> {
        let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let end = start.checked_add(part.len())?;
        if end > whole.len() {
            return None;
        }
        Some(Self {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
        })
    }

    /// The part itself, out of the bytes it was made from.
    #[must_use]
    pub fn cut(self, whole: &[u8]) -> &[u8] {
        whole
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// As [`Span::cut`], as text. Spans are made from checked JSON text, so this is never lossy in practice.
    #[must_use]
    pub fn text(self, whole: &[u8]) -> &str {
        std::str::from_utf8(self.cut(whole)).unwrap_or_default()
    }

    /// Positions, for slicing a `Bytes`.
    #[must_use]
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// New text from old: some parts replaced, the rest byte for byte.
#[derive(Debug)]
pub struct Splice<'a> {
    whole: &'a [u8],
    edits: Vec<(Span, Cow<'a, [u8]>)>,
}

impl<'a> Splice<'a> {
    /// Nothing replaced yet.
    #[must_use]
    pub fn new(whole: &'a [u8]) -> Self {
        Self {
            whole,
            edits: Vec::new(),
        }
    }

    /// Puts `with` in the place of `part`. Parts must not overlap.
    pub fn replace(&mut self, part: Span, with: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.edits.push((part, with.into()));
        self
    }

    /// Puts `text` in front of `part`, which stays.
    pub fn insert_before(&mut self, part: Span, text: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.replace(
            Span {
                start: part.start,
                end: part.start,
            },
            text,
        )
    }

    /// The new text.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.edits.sort_by_key(|(part, _)| part.start);
        let grown: usize = self.edits.iter().map(|(_, with)| with.len()).sum();
        let mut out = Vec::with_capacity(self.whole.len() + grown);
        let mut at = 0;
        for (part, with) in &self.edits {
            out.extend_from_slice(self.whole.get(at..part.start as usize).unwrap_or_default());
            out.extend_from_slice(with);
            at = part.end as usize;
        }
        out.extend_from_slice(self.whole.get(at..).unwrap_or_default());
        out
    }
}

/// The members of a JSON object in their order, values unread.
///
/// # Errors
/// If the text is no object, or names a member twice or with NUL in its name.
pub fn members(text: &[u8]) -> Result<Vec<(Cow<'_, str>, &RawValue)>, serde_json::Error> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut out: Self::Value = Vec::with_capacity(8);
            let mut many = HashSet::new();
            while let Some(key) = map.next_key_seed(Key)? {
                if key.contains(NUL) {
                    return Err(A::Error::custom(HOLDS_NUL));
                }
                let is_twice = if out.len() < MEMBERS_FEW {
                    out.iter().any(|(seen, _)| *seen == key)
                } else {
                    if many.is_empty() {
                        many.extend(out.iter().map(|(seen, _)| seen.clone()));
                    }
                    !many.insert(key.clone())
                };
                if is_twice {
                    return Err(A::Error::custom(format_args!(
                        "member `{key}` stands twice"
                    )));
                }
                out.push((key, map.next_value()?));
            }
            Ok(out)
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(text);
    let out = reader.deserialize_map(Members)?;
    reader.end()?;
    Ok(out)
}

/// Keys without a copy where they hold no escape.
struct Key;
impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        d.deserialize_str(Text)
    }
}

/// Whether these letters stand anywhere in a text, found without reading it. A writer that escapes letters which need it
/// not is not seen through.
#[must_use]
pub fn mentions(text: &[u8], letters: &str) -> bool {
    memchr::memmem::find(text, letters.as_bytes()).is_some()
}

/// One member of an object, unread; `None` if it is not there.
///
/// # Errors
/// As [`members`].
pub fn member<'a>(text: &'a [u8], name: &str) -> Result<Option<&'a RawValue>, serde_json::Error> {
    Ok(members(text)?
        .into_iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value))
}

/// One member of an object that is a string; `None` if it is not there, or the text is no object.
#[must_use]
pub fn text(object: &[u8], name: &str) -> Option<String> {
    member(object, name)
        .ok()
        .flatten()
        .and_then(unquote)
        .map(Cow::into_owned)
}

/// Writes members as an object.
#[must_use]
pub fn object<K: AsRef<str>, V: AsRef<str>>(members: impl IntoIterator<Item = (K, V)>) -> String {
    let mut out = String::with_capacity(OBJECT_LEN);
    out.push('{');
    for (key, value) in members {
        if out.len() > 1 {
            out.push(',');
        }
        push_string(&mut out, key.as_ref());
        out.push(':');
        out.push_str(value.as_ref());
    }
    out.push('}');
    out
}

/// Puts `extra` (`"key":value,"key":value`) in front of the members of the object `text`.
#[must_use]
pub fn with_members(text: &[u8], extra: &str) -> Vec<u8> {
    let Some(open) = text.iter().position(|b| *b == b'{') else {
        return text.to_vec();
    };
    let (head, rest) = text.split_at(open + 1);
    let is_empty = rest.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'}');
    let mut out = Vec::with_capacity(text.len() + extra.len() + 1);
    out.extend_from_slice(head);
    out.extend_from_slice(extra.as_bytes());
    if !is_empty && !extra.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(rest);
    out
}

/// Puts `extra` (`"key":value,"key":value`) behind the members of the object `text`: of names that a reader takes for one
/// many count the last.
#[must_use]
pub fn with_members_behind(text: &[u8], extra: &str) -> Vec<u8> {
    let Some(close) = text.iter().rposition(|b| *b == b'}') else {
        return text.to_vec();
    };
    let (head, tail) = text.split_at(close);
    let is_empty = head.iter().rfind(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let mut out = Vec::with_capacity(text.len() + extra.len() + 1);
    out.extend_from_slice(head);
    if !is_empty && !extra.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(extra.as_bytes());
    out.extend_from_slice(tail);
    out
}

/// Whether some readers take two different names of members for one: those that do not look at upper and lower case.
#[must_use]
pub fn is_same_but_for_case(one: &str, other: &str) -> bool {
    let fold = |text: &str| -> String {
        // Down, up and down again: `ſ` comes to `s`, the Kelvin sign to `k`, and both sigmas to one.
        text.chars()
            .flat_map(char::to_lowercase)
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .collect()
    };
    one != other && fold(one) == fold(other)
}

/// The object `text` without one of its members; as it is if it has none of that name, or is no object.
#[must_use]
pub fn without(text: &[u8], name: &str) -> Vec<u8> {
    match members(text) {
        Ok(members) if members.iter().any(|(key, _)| key == name) => {
            let kept = members.iter().filter(|(key, _)| key != name);
            object(kept.map(|(key, raw)| (key, raw.get()))).into_bytes()
        }
        Ok(_) | Err(_) => text.to_vec(),
    }
}

/// Adds a JSON string literal. Most names are as they are.
fn push_string(out: &mut String, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&string(text));
    }
}

/// A JSON string literal.
#[must_use]
pub fn string(text: &str) -> String {
    // Serialising a `str` cannot fail; the fallback keeps this total.
    serde_json::to_string(text).unwrap_or_else(|_| String::from("\"\""))
}

/// The text of a JSON string literal; `None` if it is something else.
#[must_use]
pub fn unquote(raw: &RawValue) -> Option<Cow<'_, str>> {
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    Key.deserialize(&mut reader).ok()
}

/// Whether nesting stays within `max`, in one pass over the bytes.
#[must_use]
pub fn depth_within(text: &[u8], max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Reads a value and refuses what two readers could understand differently: an object member that stands twice, a name with
/// NUL in it, half a surrogate pair, a number that is none to most.
///
/// # Errors
/// Where and why the text was refused.
pub fn strict_value(text: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

struct Strict;
impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}
impl<'de> Visitor<'de> for Strict {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if key.contains(NUL) {
                return Err(A::Error::custom(HOLDS_NUL));
            }
            let value = map.next_value_seed(Self)?;
            if out.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "member `{key}` stands twice"
                )));
            }
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests;
