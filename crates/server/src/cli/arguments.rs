//! Arguments of tools and prompts as people type them: one JSON object, or name=value pairs.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::{Map, Value};

/// Most bytes of arguments that are read from stdin.
const STDIN_BYTES_MAX: u64 = 4 << 20;

/// A command line that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(pub(super) String);

/// The arguments of a tool. Values that are JSON are taken as JSON, all others as text.
pub(super) fn object(
    words: &[String],
    stdin: &mut dyn Read,
) -> Result<Map<String, Value>, Unusable> {
    match words {
        [only] if only == "-" => {
            let mut text = String::new();
            let read = stdin.take(STDIN_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|error| Unusable(format!("stdin cannot be read: {error}")))?;
            parse(&text)
        }
        [only] if only.trim_start().starts_with('{') => parse(only),
        words => {
            let mut object = Map::new();
            for word in words {
                let (name, text) = pair(word)?;
                let value =
                    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
                once(object.insert(name.to_owned(), value).is_some(), name)?;
            }
            Ok(object)
        }
    }
}

/// The arguments of a prompt, which are texts.
pub(super) fn texts(words: &[String]) -> Result<BTreeMap<String, String>, Unusable> {
    let mut texts = BTreeMap::new();
    for word in words {
        let (name, text) = pair(word)?;
        once(
            texts.insert(name.to_owned(), text.to_owned()).is_some(),
            name,
        )?;
    }
    Ok(texts)
}

fn parse(text: &str) -> Result<Map<String, Value>, Unusable> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Unusable(
            "arguments are a JSON object, for example '{\"name\": 1}'".to_owned(),
        )),
        Err(error) => Err(Unusable(format!("the arguments are not JSON: {error}"))),
    }
}

fn pair(word: &str) -> Result<(&str, &str), Unusable> {
    word.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| {
            Unusable(format!(
                "`{word}` is not an argument; write name=value, or all of them as one JSON object"
            ))
        })
}

fn once(again: bool, name: &str) -> Result<(), Unusable> {
    if again {
        Err(Unusable(format!("the argument `{name}` is there twice")))
    } else {
        Ok(())
    }
}
