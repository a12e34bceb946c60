//! An upstream over stdio that does on request what upstreams do by mistake: each misdeed is a tool.
//!
//! A server of the legacy era in its own words: it shares no code with what it tests. Flags set what it does
//! unasked.

#![expect(
    clippy::print_stderr,
    reason = "a program of its own, and one that behaves badly"
)]

use std::collections::BTreeSet;
use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

const TOOLS: [(&str, &str); 16] = [
    ("echo", "gives back `text`"),
    ("meta", "gives back the request's `_meta`"),
    ("slow", "answers after `ms` milliseconds"),
    ("silent", "never answers"),
    ("die", "ends the process instead of answering"),
    ("garbage", "writes lines that are not MCP, then an answer"),
    ("huge", "writes a line of 20 MiB, then an answer"),
    ("twice", "answers twice"),
    (
        "stranger",
        "answers requests that nobody made, then this one",
    ),
    ("progress", "tells of `steps` steps, then answers"),
    (
        "storm",
        "says `times` times that the list of tools changed, and adds one",
    ),
    ("flood", "writes `bytes` bytes to stderr, then answers"),
    ("cancelled", "tells which request ids were cancelled"),
    ("spawn", "starts a process that sleeps for ever"),
    ("fail", "fails in the tool's own way"),
    ("refuse", "answers with an error of the protocol"),
];

#[derive(Debug, Default)]
struct Flags {
    /// Entries in a page of a list; 0 is all.
    page: usize,
    /// Tools named `extra_000` and so on.
    extra: usize,
    /// Goes on when stdin is closed, and when asked to end.
    stubborn: bool,
    /// Says nothing at all.
    deaf: bool,
}

#[derive(Debug)]
struct Server {
    flags: Flags,
    added: AtomicUsize,
    cancelled: Mutex<BTreeSet<String>>,
}

fn main() {
    let mut flags = Flags::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let mut number = || {
            arguments
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        match flag.as_str() {
            "--page" => flags.page = number(),
            "--extra" => flags.extra = number(),
            "--stubborn" => flags.stubborn = true,
            "--deaf" => flags.deaf = true,
            _ => {
                eprintln!("flags: --page N, --extra N, --stubborn, --deaf; tools:");
                for (name, what) in TOOLS {
                    eprintln!("  {name}: {what}");
                }
                std::process::exit(2);
            }
        }
    }
    if flags.stubborn {
        ignore_polite_requests();
    }
    let server = Arc::new(Server {
        flags,
        added: AtomicUsize::new(0),
        cancelled: Mutex::default(),
    });
    for line in stdin().lock().lines() {
        let Ok(line) = line else { break };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            eprintln!("not JSON: {line}");
            continue;
        };
        if server.flags.deaf {
            continue;
        }
        let server = Arc::clone(&server);
        // A thread each: one that waits holds up nobody.
        thread::spawn(move || server.take(&message));
    }
    if server.flags.stubborn {
        thread::sleep(Duration::from_secs(100_000));
    }
}

impl Server {
    fn take(&self, message: &Value) {
        let params = &message["params"];
        let Some(id) = message.get("id") else {
            if message["method"] == "notifications/cancelled" {
                self.cancelled
                    .lock()
                    .insert(params["requestId"].to_string());
            }
            return;
        };
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => result(
                id,
                &json!({
                    "protocolVersion": "2025-06-18",
                    "capabilities": {
                        "tools": { "listChanged": true }, "prompts": {}, "resources": {}, "completions": {},
                    },
                    "serverInfo": { "name": "scripted", "version": "1" },
                }),
            ),
            "ping" => result(id, &json!({})),
            "tools/list" => self.page(id, params, "tools", &self.tools()),
            "prompts/list" => {
                let greet =
                    json!({ "name": "greet", "arguments": [{ "name": "who", "required": true }] });
                self.page(id, params, "prompts", &[greet]);
            }
            "resources/list" => {
                let one = json!({ "uri": "scripted://one", "name": "one" });
                self.page(id, params, "resources", &[one]);
            }
            "resources/templates/list" => {
                let item = json!({ "uriTemplate": "scripted://item/{id}", "name": "item" });
                self.page(id, params, "resourceTemplates", &[item]);
            }
            "prompts/get" => {
                let text = format!(
                    "Greet {}",
                    params["arguments"]["who"].as_str().unwrap_or("?")
                );
                let message =
                    json!({ "role": "user", "content": { "type": "text", "text": text } });
                result(id, &json!({ "messages": [message] }));
            }
            "resources/read" if params["uri"] == "scripted://item/lost" => {
                error(id, -32002, "Resource not found");
            }
            "resources/read" => {
                result(
                    id,
                    &json!({ "contents": [{ "uri": params["uri"], "text": "read" }] }),
                );
            }
            "completion/complete" => {
                result(id, &json!({ "completion": { "values": ["world"] } }));
            }
            "tools/call" => self.call(id, params),
            _ => error(id, -32601, "Method not found"),
        }
    }

    fn call(&self, id: &Value, params: &Value) {
        let arguments = &params["arguments"];
        let number = |name: &str| arguments[name].as_u64().unwrap_or_default();
        match params["name"].as_str().unwrap_or_default() {
            "echo" => text(id, arguments["text"].as_str().unwrap_or_default()),
            "meta" => text(id, &params["_meta"].to_string()),
            "slow" => {
                thread::sleep(Duration::from_millis(number("ms")));
                text(id, "at last");
            }
            "silent" => {}
            "die" => std::process::abort(),
            "garbage" => {
                line("Server started on port 3000!");
                line("{\"jsonrpc\":\"2.0\"");
                line("[]");
                line("{\"id\":1}");
                line("\u{1b}[31mred\u{1b}[0m \u{0}");
                text(id, "after garbage");
            }
            "huge" => {
                line(&"x".repeat(20 * 1024 * 1024));
                text(id, "after a huge line");
            }
            "twice" => {
                text(id, "first");
                text(id, "second");
            }
            "stranger" => {
                let taken = id.as_u64().unwrap_or_default();
                for id in [
                    json!(taken + 1),
                    json!(taken + 1000),
                    json!("x"),
                    json!(-1),
                    json!(null),
                ] {
                    text(&id, "for nobody");
                }
                text(id, "for you");
            }
            "progress" => {
                let token = &params["_meta"]["progressToken"];
                for step in 1..=number("steps") {
                    let told = json!({ "progressToken": token, "progress": step, "total": number("steps") });
                    notify("notifications/progress", &told);
                }
                text(id, "done");
            }
            "storm" => {
                self.added.fetch_add(1, Ordering::Relaxed);
                for _ in 0..number("times") {
                    notify("notifications/tools/list_changed", &json!({}));
                }
                text(id, "it blew");
            }
            "flood" => {
                let mut left = usize::try_from(number("bytes")).unwrap_or_default();
                while left > 0 {
                    let size = left.min(64 * 1024);
                    eprint!("{}", "e".repeat(size));
                    left -= size;
                }
                text(id, "flooded");
            }
            "cancelled" => {
                let ids: Vec<String> = self.cancelled.lock().iter().cloned().collect();
                text(id, &ids.join(","));
            }
            "spawn" => match std::process::Command::new("sleep").arg("100000").spawn() {
                Ok(child) => text(id, &child.id().to_string()),
                Err(error) => text(id, &error.to_string()),
            },
            "fail" => result(
                id,
                &json!({ "content": [{ "type": "text", "text": "no luck" }], "isError": true }),
            ),
            "refuse" => error(id, -32000, "not today"),
            name if name.starts_with("extra_") || name.starts_with("added_") => text(id, name),
            _ => error(id, -32602, "Unknown tool"),
        }
    }

    fn tools(&self) -> Vec<Value> {
        let named = TOOLS.iter().map(|(name, what)| tool(name, what));
        let extra = (0..self.flags.extra).map(|at| tool(&format!("extra_{at:03}"), "one of many"));
        let added = (0..self.added.load(Ordering::Relaxed))
            .map(|at| tool(&format!("added_{at}"), "came later"));
        named.chain(extra).chain(added).collect()
    }

    /// One page of a list. The cursor is where the next one begins.
    fn page(&self, id: &Value, params: &Value, name: &str, items: &[Value]) {
        let start = params["cursor"]
            .as_str()
            .and_then(|cursor| cursor.parse().ok())
            .unwrap_or(0);
        let size = if self.flags.page == 0 {
            items.len()
        } else {
            self.flags.page
        };
        let end = items.len().min(start + size);
        let mut page = json!({ name: items.get(start..end).unwrap_or_default() });
        if end < items.len() {
            page["nextCursor"] = end.to_string().into();
        }
        result(id, &page);
    }
}

fn tool(name: &str, what: &str) -> Value {
    let properties = json!({
        "text": { "type": "string" }, "ms": { "type": "integer" }, "steps": { "type": "integer" },
        "times": { "type": "integer" }, "bytes": { "type": "integer" },
    });
    let schema = json!({ "type": "object", "properties": properties });
    json!({ "name": name, "description": what, "inputSchema": schema })
}

fn text(id: &Value, text: &str) {
    result(
        id,
        &json!({ "content": [{ "type": "text", "text": text }] }),
    );
}

fn result(id: &Value, result: &Value) {
    line(&json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string());
}

fn error(id: &Value, code: i32, message: &str) {
    let error = json!({ "code": code, "message": message });
    line(&json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string());
}

fn notify(method: &str, params: &Value) {
    line(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string());
}

/// Writes a whole line, whatever the other threads write.
fn line(text: &str) {
    let mut out = stdout().lock();
    // Nobody is left to tell if the other end is closed.
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

fn ignore_polite_requests() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    #[expect(unsafe_code, reason = "the only way to ignore a signal")]
    // SAFETY: no handler of ours runs; the signal is ignored by the kernel.
    let ignored = unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) };
    if let Err(error) = ignored {
        eprintln!("SIGTERM cannot be ignored: {error}");
    }
}
