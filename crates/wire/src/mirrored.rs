//! Arguments that a modern HTTP request repeats as `Mcp-Param-…` headers, where a tool's schema says so.
//!
//! Source: MCP 2026-07-28, "Streamable HTTP", "Custom Headers from Tool Parameters".

use std::collections::HashSet;

use serde_json::Value;

/// The member of a schema that names the header.
const ANNOTATION: &str = "x-mcp-header";
/// The largest integer that every reader of JSON takes for the same.
const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Members of a schema that hold data rather than schemas.
const DATA: [&str; 4] = ["default", "const", "enum", "examples"];

/// What of a tool's arguments goes into headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrored {
    params: Vec<Param>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Param {
    /// As annotated.
    name: String,
    path: Vec<String>,
}

impl Mirrored {
    /// Reads the annotations of an input schema.
    ///
    /// # Errors
    /// Why the definition is invalid: HTTP clients must leave such a tool out.
    pub fn read(schema: &str) -> Result<Self, String> {
        // Nearly no tool has one.
        if !schema.contains(ANNOTATION) {
            return Ok(Self::default());
        }
        let schema: Value = serde_json::from_str(schema).map_err(|error| error.to_string())?;
        let mut mirrored = Self::default();
        mirrored.walk(&schema, &mut Some(Vec::new()))?;
        let mut seen = HashSet::new();
        match mirrored
            .params
            .iter()
            .find(|param| !seen.insert(param.name.to_ascii_lowercase()))
        {
            Some(param) => Err(format!("two parameters share the header `{}`", param.name)),
            None => Ok(mirrored),
        }
    }

    /// `path` is how to get to the value from the root; `None` where that depends on the value.
    fn walk(&mut self, schema: &Value, path: &mut Option<Vec<String>>) -> Result<(), String> {
        match schema {
            Value::Array(items) => {
                for item in items {
                    self.walk(item, &mut None)?;
                }
            }
            Value::Object(members) => {
                if let Some(name) = members.get(ANNOTATION) {
                    self.annotate(name, members.get("type"), path.as_deref())?;
                }
                for (key, value) in members {
                    if key == "properties" {
                        self.walk_properties(value, path)?;
                    } else if key != ANNOTATION && !DATA.contains(&key.as_str()) {
                        self.walk(value, &mut None)?;
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    fn walk_properties(
        &mut self,
        properties: &Value,
        path: &mut Option<Vec<String>>,
    ) -> Result<(), String> {
        for (name, schema) in properties.as_object().into_iter().flatten() {
            if let Some(path) = path {
                path.push(name.clone());
            }
            self.walk(schema, path)?;
            if let Some(path) = path {
                path.pop();
            }
        }
        Ok(())
    }

    fn annotate(
        &mut self,
        name: &Value,
        kind: Option<&Value>,
        path: Option<&[String]>,
    ) -> Result<(), String> {
        let name = name
            .as_str()
            .filter(|name| !name.is_empty() && name.bytes().all(is_token))
            .ok_or_else(|| format!("`{name}` makes no header name"))?;
        let path = path
            .filter(|path| !path.is_empty())
            .ok_or_else(|| format!("the value for `{name}` is not reached by properties alone"))?;
        if !matches!(
            kind.and_then(Value::as_str),
            Some("string" | "integer" | "boolean")
        ) {
            return Err(format!(
                "the value for `{name}` is no string, integer or boolean"
            ));
        }
        self.params.push(Param {
            name: name.to_owned(),
            path: path.to_vec(),
        });
        Ok(())
    }

    /// Whether nothing is repeated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// The names and unencoded values of the headers that go with these arguments.
    #[must_use]
    pub fn values(&self, arguments: &Value) -> Vec<(String, String)> {
        self.params
            .iter()
            .filter_map(|param| {
                let text = header_text(at(arguments, &param.path)?)?;
                Some((param.name.clone(), text))
            })
            .collect()
    }

    /// Holds headers against arguments: `said` gives a header's decoded value by its annotated name; `Err` if it is
    /// there and cannot be read, or stands twice. Yields the name of the first that disagrees.
    ///
    /// # Errors
    /// That name.
    pub fn check<'s>(
        &'s self,
        arguments: &Value,
        said: impl Fn(&str) -> Result<Option<String>, ()>,
    ) -> Result<(), &'s str> {
        for param in &self.params {
            let value = at(arguments, &param.path);
            let agrees = match (said(&param.name), value) {
                (Ok(None), None) => true,
                (Ok(Some(said)), Some(value)) => is_same(&said, value),
                (Ok(Some(_)), None) | (Ok(None), Some(_)) | (Err(()), _) => false,
            };
            if !agrees {
                return Err(&param.name);
            }
        }
        Ok(())
    }
}

/// The value at a path; `null` is no value.
fn at<'v>(arguments: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter()
        .try_fold(arguments, |value, name| value.get(name))
        .filter(|value| !value.is_null())
}

fn header_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Number(_) => integer(value).map(|number| number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An integer that every reader takes for the same, also if it was written as `42.0`.
fn integer(value: &Value) -> Option<i64> {
    let is_safe = |number: &i64| number.unsigned_abs() <= INTEGER_MAX;
    if let Some(number) = value.as_i64() {
        return Some(number).filter(is_safe);
    }
    let text = value.to_string();
    let (whole, fraction) = text.split_once('.')?;
    fraction.bytes().all(|digit| digit == b'0').then_some(())?;
    whole.parse().ok().filter(is_safe)
}

fn is_same(said: &str, value: &Value) -> bool {
    match value {
        Value::Number(_) => serde_json::from_str(said)
            .ok()
            .and_then(|said| integer(&said))
            .is_some_and(|said| integer(value) == Some(said)),
        other => header_text(other).as_deref() == Some(said),
    }
}

/// A character of a header name (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(schema: &Value) -> Result<Mirrored, String> {
        Mirrored::read(&schema.to_string())
    }

    fn tool() -> Mirrored {
        read(&json!({ "type": "object", "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "page": { "type": "object", "properties": { "size": { "type": "integer", "x-mcp-header": "Size" } } },
            "x-mcp-header": { "type": "boolean" },
        } }))
        .expect("valid")
    }

    #[test]
    fn values_are_found_by_their_path() {
        let values = |arguments: Value| tool().values(&arguments);
        assert_eq!(
            values(json!({ "region": "eu", "page": { "size": 7 } })),
            [
                ("Region".to_owned(), "eu".to_owned()),
                ("Size".to_owned(), "7".to_owned())
            ]
        );
        assert_eq!(values(json!({ "region": null, "page": 3 })), []);
    }

    #[test]
    fn headers_must_say_what_the_arguments_say() {
        let check = |arguments: Value, region: Option<&str>, size: Option<&str>| {
            let said = |name: &str| {
                let said = if name == "Region" { region } else { size };
                Ok(said.map(str::to_owned))
            };
            tool().check(&arguments, said).is_ok()
        };
        let both = json!({ "region": "eu", "page": { "size": 42 } });
        assert!(check(both.clone(), Some("eu"), Some("42")));
        assert!(check(both.clone(), Some("eu"), Some("42.0")));
        assert!(!check(both.clone(), Some("EU"), Some("42")));
        assert!(!check(both.clone(), Some("eu"), Some("43")));
        assert!(!check(both, None, Some("42")));
        assert!(check(json!({ "region": null }), None, None));
        assert!(!check(json!({}), Some("eu"), None));
    }

    #[test]
    fn what_is_annotated_wrongly_makes_the_tool_invalid() {
        let property = |schema: Value| json!({ "properties": { "p": schema } });
        for schema in [
            property(json!({ "type": "string", "x-mcp-header": "" })),
            property(json!({ "type": "string", "x-mcp-header": "a b" })),
            property(json!({ "type": "string", "x-mcp-header": 7 })),
            property(json!({ "type": "number", "x-mcp-header": "A" })),
            property(json!({ "type": "object", "x-mcp-header": "A" })),
            property(
                json!({ "type": "array", "items": { "type": "string", "x-mcp-header": "A" } }),
            ),
            property(json!({ "anyOf": [{ "type": "string", "x-mcp-header": "A" }] })),
            json!({ "$defs": { "d": { "type": "string", "x-mcp-header": "A" } } }),
            json!({ "type": "string", "x-mcp-header": "A" }),
            json!({ "properties": {
                "p": { "type": "string", "x-mcp-header": "A" }, "q": { "type": "string", "x-mcp-header": "a" },
            } }),
        ] {
            assert!(read(&schema).is_err(), "{schema}");
        }
        assert!(
            read(&json!({ "properties": { "p": { "default": { "x-mcp-header": "" } } } })).is_ok()
        );
    }
}
