//! An upstream over stdio that has one of everything, and keeps every byte that reaches it in a file.
//!
//! A server of 2025-11-25 in its own words: it shares no code with what it tests. The first argument is its name, with
//! which its URIs begin, the second the file; what it was told stands there before it answers. The third, if there is one,
//! is how it describes its tools. What it says of them is true of none: they give back the name of what was asked for.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, Write as _, stdin, stdout};

use serde_json::{Value, json};

/// Names of tools, and what hints say of them.
const TOOLS: [(&str, &str); 4] = [
    ("read", r#"{"readOnlyHint":true,"openWorldHint":false}"#),
    (
        "write",
        r#"{"readOnlyHint":false,"destructiveHint":false,"idempotentHint":true,"openWorldHint":false}"#,
    ),
    ("erase", r#"{"readOnlyHint":false,"destructiveHint":true}"#),
    ("job", r#"{"readOnlyHint":true}"#),
];
const PROMPTS: [&str; 2] = ["letter", "note"];
const RESOURCES: [&str; 2] = ["open", "closed"];
const TEMPLATES: [&str; 2] = ["page", "shelf"];
const WHEN: &str = "2026-01-02T03:04:05Z";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let open = |path| OpenOptions::new().create(true).append(true).open(path);
    let mut kept = arguments.next().and_then(|path| open(path).ok());
    let description = arguments.next().unwrap_or_default();
    let mut tasks = 0;
    let mut input = stdin().lock();
    let mut line = Vec::new();
    while let Ok(1..) = input.read_until(b'\n', &mut line) {
        if keep(kept.as_mut(), &line).is_none() {
            // Who cannot keep what it is told does not answer either.
            return;
        }
        if let Ok(message) = serde_json::from_slice::<Value>(&line)
            && let Some(id) = message.get("id")
        {
            let method = message["method"].as_str().unwrap_or_default();
            let answer = match told(&name, &description, method, &message["params"], &mut tasks) {
                Some(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
                None => {
                    let error = json!({ "code": -32601, "message": "Method not found" });
                    json!({ "jsonrpc": "2.0", "id": id, "error": error })
                }
            };
            let mut out = stdout().lock();
            // Nobody is left to tell if the other end is closed.
            drop(writeln!(out, "{answer}").and_then(|()| out.flush()));
        }
        line.clear();
    }
}

fn keep(kept: Option<&mut File>, line: &[u8]) -> Option<()> {
    kept?.write_all(line).ok()
}

/// The result; `None` if there is no such method.
fn told(
    name: &str,
    description: &str,
    method: &str,
    params: &Value,
    tasks: &mut u64,
) -> Option<Value> {
    Some(match method {
        "initialize" => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {
                "tools": {}, "prompts": {}, "resources": { "subscribe": true }, "completions": {},
                "tasks": { "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } },
            },
            "serverInfo": { "name": name, "version": "1" },
        }),
        "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => json!({}),
        "tools/list" => json!({ "tools": TOOLS.map(|it| tool(it, description)) }),
        "prompts/list" => {
            let arguments = json!([{ "name": "to" }, { "name": "tone" }]);
            let prompt = |name| json!({ "name": name, "arguments": arguments });
            json!({ "prompts": PROMPTS.map(prompt) })
        }
        "resources/list" => {
            let one = |path| json!({ "uri": format!("{name}://{path}"), "name": path });
            json!({ "resources": RESOURCES.map(one) })
        }
        "resources/templates/list" => {
            let one = |path| json!({ "uriTemplate": format!("{name}://{path}/{{number}}"), "name": path });
            json!({ "resourceTemplates": TEMPLATES.map(one) })
        }
        "tools/call" if params["task"].is_object() => {
            *tasks += 1;
            json!({ "task": task(&tasks.to_string().into(), "working") })
        }
        "tools/call" => json!({ "content": [{ "type": "text", "text": params["name"] }] }),
        "prompts/get" => {
            let content = json!({ "type": "text", "text": params["name"] });
            json!({ "messages": [{ "role": "user", "content": content }] })
        }
        "resources/read" => {
            json!({ "contents": [{ "uri": params["uri"], "text": params["uri"] }] })
        }
        "completion/complete" => json!({ "completion": { "values": ["one"] } }),
        "tasks/get" => task(&params["taskId"], "working"),
        "tasks/cancel" => task(&params["taskId"], "cancelled"),
        "tasks/list" => json!({ "tasks": [] }),
        _ => return None,
    })
}

fn tool((name, hints): (&str, &str), description: &str) -> Value {
    let hints: Value = serde_json::from_str(hints).unwrap_or_default();
    let mut tool = json!({
        "name": name,
        "inputSchema": { "type": "object", "properties": {
            "path": { "type": "string" }, "pages": { "type": "integer" },
        } },
        "annotations": hints,
    });
    if !description.is_empty() {
        tool["description"] = description.into();
    }
    if name == "job" {
        tool["execution"] = json!({ "taskSupport": "optional" });
    }
    tool
}

fn task(id: &Value, status: &str) -> Value {
    json!({
        "taskId": id, "status": status, "createdAt": WHEN, "lastUpdatedAt": WHEN, "ttl": 600_000,
    })
}
