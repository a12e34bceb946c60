//! An upstream over stdio whose definitions stand in a file, so that a test can change them under the gate's eyes, and
//! which writes down whatever is asked of it.
//!
//! `shifting DEFINITIONS LOG`: a JSON object with `server`, `instructions`, `tools`, `prompts`, `resources` and
//! `templates`, read anew for every list; a line in the log for each call. It shares no code with what it tests.

#![expect(
    clippy::infinite_loop,
    clippy::exit,
    clippy::print_stderr,
    reason = "a program of its own, run by a test that shows what it says"
)]

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How often it looks whether its definitions are others.
const LOOK: Duration = Duration::from_millis(10);

fn main() {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(definitions), Some(log)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: shifting DEFINITIONS LOG");
        std::process::exit(2);
    };
    let watched = definitions.clone();
    thread::spawn(move || watch(&watched));
    for line in stdin().lock().lines() {
        let Ok(line) = line else { break };
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(id) = message.get("id") else {
            continue;
        };
        let method = message["method"].as_str().unwrap_or_default();
        let answer = match method {
            "initialize" => greeting(&read(&definitions)),
            "ping" => json!({}),
            "tools/list" => list(&definitions, "tools", "tools"),
            "prompts/list" => list(&definitions, "prompts", "prompts"),
            "resources/list" => list(&definitions, "resources", "resources"),
            "resources/templates/list" => list(&definitions, "templates", "resourceTemplates"),
            "tools/call" | "prompts/get" | "resources/read" | "completion/complete" => {
                note(&log, &message);
                answer(method, &message["params"])
            }
            _ => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                say(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
                continue;
            }
        };
        say(&json!({ "jsonrpc": "2.0", "id": id, "result": answer }));
    }
}

fn read(definitions: &PathBuf) -> Value {
    let text = fs::read_to_string(definitions).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn greeting(definitions: &Value) -> Value {
    let mut greeting = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {
            "tools": { "listChanged": true },
            "prompts": { "listChanged": true },
            "resources": { "listChanged": true },
            "completions": {},
        },
        "serverInfo": definitions["server"],
    });
    if definitions["instructions"].is_string() {
        greeting["instructions"] = definitions["instructions"].clone();
    }
    greeting
}

fn list(definitions: &PathBuf, section: &str, member: &str) -> Value {
    let mut items = read(definitions)[section].take();
    if items.is_null() {
        items = json!([]);
    }
    json!({ member: items })
}

fn answer(method: &str, params: &Value) -> Value {
    let text = json!({ "type": "text", "text": "done" });
    match method {
        "tools/call" => json!({ "content": [text] }),
        "prompts/get" => json!({ "messages": [{ "role": "user", "content": text }] }),
        "resources/read" => json!({ "contents": [{ "uri": params["uri"], "text": "read" }] }),
        _ => json!({ "completion": { "values": ["one"] } }),
    }
}

fn note(log: &PathBuf, message: &Value) {
    let file = OpenOptions::new().create(true).append(true).open(log);
    let written = file.and_then(|mut file| writeln!(file, "{}", message["method"]));
    if let Err(error) = written {
        eprintln!("the log: {error}");
    }
}

/// Says that all lists changed whenever the file is another.
fn watch(definitions: &PathBuf) {
    let mut known = read(definitions);
    loop {
        thread::sleep(LOOK);
        let now = read(definitions);
        if now != known {
            known = now;
            for list in ["tools", "prompts", "resources"] {
                let method = format!("notifications/{list}/list_changed");
                say(&json!({ "jsonrpc": "2.0", "method": method }));
            }
        }
    }
}

fn say(message: &Value) {
    let mut out = stdout().lock();
    let said = writeln!(out, "{message}").and_then(|()| out.flush());
    if said.is_err() {
        std::process::exit(0);
    }
}
