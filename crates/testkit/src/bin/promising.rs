//! An upstream over stdio that defines what it is told to, and keeps its promises or not.
//!
//! `promising DEFINITIONS`: a JSON object with `tools` and `prompts`, and perhaps with `instructions`. A tool's
//! `answer` is what it answers every call with; it is not a part of its definition. It shares no code with what it tests.

use std::io::{BufRead as _, Write as _, stdin, stdout};

use serde_json::{Value, json};

fn main() {
    let definitions = std::env::args().nth(1).unwrap_or_default();
    let definitions: Value = serde_json::from_str(&definitions).unwrap_or_default();
    for line in stdin().lock().lines() {
        let Ok(line) = line else { break };
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(id) = message.get("id") else {
            continue;
        };
        let params = &message["params"];
        let answer = match message["method"].as_str().unwrap_or_default() {
            "initialize" => hello(&definitions),
            "ping" => json!({}),
            "tools/list" => json!({ "tools": list(&definitions["tools"]) }),
            "prompts/list" => json!({ "prompts": list(&definitions["prompts"]) }),
            "tools/call" => named(&definitions["tools"], params)["answer"].clone(),
            "prompts/get" => json!({
                "messages": [{ "role": "user", "content": { "type": "text", "text": params["arguments"].to_string() } }],
            }),
            _ => Value::Null,
        };
        let answer = match answer {
            Value::Null => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                json!({ "jsonrpc": "2.0", "id": id, "error": error })
            }
            answer => json!({ "jsonrpc": "2.0", "id": id, "result": answer }),
        };
        let mut out = stdout().lock();
        // Nobody is left to tell if the other end is closed.
        drop(writeln!(out, "{answer}").and_then(|()| out.flush()));
    }
}

fn hello(definitions: &Value) -> Value {
    let mut hello = json!({
        "protocolVersion": "2025-11-25",
        "capabilities": { "tools": {}, "prompts": {} },
        "serverInfo": { "name": "promising", "version": "1" },
    });
    if definitions["instructions"].is_string() {
        hello["instructions"] = definitions["instructions"].clone();
    }
    hello
}

/// The definitions without the answers.
fn list(definitions: &Value) -> Vec<Value> {
    let mut list = definitions.as_array().cloned().unwrap_or_default();
    for definition in &mut list {
        if let Some(definition) = definition.as_object_mut() {
            definition.remove("answer");
        }
    }
    list
}

fn named<'a>(definitions: &'a Value, params: &Value) -> &'a Value {
    let mut found = definitions.as_array().into_iter().flatten();
    found
        .find(|definition| definition["name"] == params["name"])
        .unwrap_or(&Value::Null)
}
