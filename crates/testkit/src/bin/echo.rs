//! An upstream over stdio that gives bytes back: what it was sent, or what it is told to answer.
//!
//! It shares no code with what it tests. `--modern` makes it a server without a handshake.

use std::io::{BufRead as _, Write as _, stdin, stdout};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const CHUNK: usize = 1 << 20;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

fn main() {
    let is_modern = std::env::args().any(|flag| flag == "--modern");
    for line in stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Message<'_>>(&line) else {
            continue;
        };
        let (Some(id), Some(method)) = (message.id, message.method) else {
            continue;
        };
        let params = message.params.map_or("{}", RawValue::get);
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        let told = match method {
            "initialize" if !is_modern => json!({
                "protocolVersion": "2025-11-25",
                "capabilities": { "tools": {}, "prompts": {} },
                "serverInfo": { "name": "echo", "version": "1" },
            })
            .to_string(),
            "server/discover" if is_modern => json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {}, "prompts": {} },
                "ttlMs": 0,
                "cacheScope": "private",
            })
            .to_string(),
            "tools/list" => {
                let tool = |name| json!({ "name": name, "inputSchema": { "type": "object" } });
                let tools: Vec<Value> = ["mirror", "raw", "line"].into_iter().map(tool).collect();
                complete(is_modern, &json!({ "tools": tools }))
            }
            "prompts/list" => complete(is_modern, &json!({ "prompts": [{ "name": "mirror" }] })),
            "tools/call" | "prompts/get" => answer(is_modern, &line, &params),
            _ => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                say(&format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}"
                ));
                continue;
            }
        };
        say(&format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{told}}}"
        ));
    }
}

fn answer(is_modern: bool, line: &str, params: &Value) -> String {
    let arguments = &params["arguments"];
    match params["name"].as_str().unwrap_or_default() {
        "raw" => arguments["result"].as_str().unwrap_or_default().to_owned(),
        "line" => {
            endless(arguments["bytes"].as_u64().unwrap_or_default());
            complete(is_modern, &json!({ "content": [] }))
        }
        _ => {
            let text = json!({ "type": "text", "text": line });
            let told =
                json!({ "content": [text], "messages": [{ "role": "user", "content": text }] });
            complete(is_modern, &told)
        }
    }
}

fn complete(is_modern: bool, result: &Value) -> String {
    let mut result = result.clone();
    if is_modern {
        result["resultType"] = "complete".into();
        result["ttlMs"] = 0.into();
        result["cacheScope"] = "private".into();
    }
    result.to_string()
}

/// Writes one line that is this long, bit by bit.
fn endless(mut left: u64) {
    let mut out = stdout().lock();
    let chunk = vec![b'x'; CHUNK];
    while left > 0 {
        let size = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
        let Some(part) = chunk.get(..size) else {
            return;
        };
        // Nobody is left to tell if the other end is closed.
        if out.write_all(part).is_err() {
            return;
        }
        left -= size as u64;
    }
    drop(out.write_all(b"\n").and_then(|()| out.flush()));
}

fn say(message: &str) {
    let mut out = stdout().lock();
    drop(writeln!(out, "{message}").and_then(|()| out.flush()));
}
