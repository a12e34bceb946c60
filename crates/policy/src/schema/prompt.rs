//! Holds the arguments of a prompt against the list that its definition gives: names, and which are required.
//!
//! The values are strings and nothing else (MCP, "Prompts", `GetPromptRequestParams`).

use serde_json::{Map, Value};

use super::words::{missing, pointed, short, strangers};
use super::{FAULTS_MAX, Fault};

/// What a prompt takes.
#[derive(Debug, Default)]
pub struct PromptArguments {
    arguments: Vec<Argument>,
}

#[derive(Debug)]
struct Argument {
    name: String,
    is_required: bool,
}

impl PromptArguments {
    /// Reads the `arguments` of a prompt's definition, which is a list in JSON. What has no name is none.
    ///
    /// # Errors
    /// If it is not that.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        let list: Vec<Value> = serde_json::from_str(text)?;
        let argument = |value: &Value| {
            Some(Argument {
                name: value.get("name")?.as_str()?.to_owned(),
                is_required: value.get("required").and_then(Value::as_bool) == Some(true),
            })
        };
        Ok(Self {
            arguments: list.iter().filter_map(argument).collect(),
        })
    }

    /// What is wrong with the arguments of a prompt that has no list: they must be texts.
    #[must_use]
    pub fn check_texts(arguments: &Value) -> Vec<Fault> {
        let Some(given) = arguments.as_object() else {
            return vec![no_object(arguments)];
        };
        no_texts(given).take(FAULTS_MAX).collect()
    }

    /// What is wrong with the arguments; nothing if they may pass.
    #[must_use]
    pub fn check(&self, arguments: &Value) -> Vec<Fault> {
        let Some(given) = arguments.as_object() else {
            return vec![no_object(arguments)];
        };
        let known: Vec<&str> = self.arguments.iter().map(|a| a.name.as_str()).collect();
        let (_, unknown): (Vec<&String>, Vec<&String>) = given
            .keys()
            .partition(|name| known.contains(&name.as_str()));
        let mut faults = Vec::new();
        if !unknown.is_empty() {
            let unknown: Vec<String> = unknown
                .iter()
                .take(FAULTS_MAX)
                .map(|n| (*n).clone())
                .collect();
            faults.push(Fault::whole(&strangers(&known, Some(given), &unknown)));
        }
        let absent = self
            .arguments
            .iter()
            .filter(|argument| argument.is_required && !given.contains_key(&argument.name));
        for argument in absent {
            let others = given.keys().map(String::as_str);
            let others = others.filter(|name| !known.contains(name));
            faults.push(Fault::whole(&missing(
                &argument.name,
                Some("string"),
                others,
            )));
        }
        faults.extend(no_texts(given));
        faults.truncate(FAULTS_MAX);
        faults
    }
}

fn no_object(arguments: &Value) -> Fault {
    Fault::whole(&format!("expected object, got {}", short(arguments)))
}

fn no_texts(given: &Map<String, Value>) -> impl Iterator<Item = Fault> {
    let no_texts = given.iter().filter(|(_, value)| !value.is_string());
    no_texts.map(|(name, value)| {
        let mut path = String::new();
        pointed(&mut path, name);
        Fault {
            path,
            message: format!("expected string, got {}", short(value)),
        }
    })
}
