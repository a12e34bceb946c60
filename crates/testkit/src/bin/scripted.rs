//! An upstream over stdio that does on request what upstreams do by mistake: each misdeed is a tool.
//!
//! A server of the legacy era in its own words: it shares no code with what it tests. Flags set what it does
//! unasked.

#![expect(
    clippy::print_stderr,
    reason = "a program of its own, and one that behaves badly"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

const TOOLS: [(&str, &str); 26] = [
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
    ("log", "logs `text` at `level`, then answers"),
    (
        "hold",
        "tells of `steps` steps, waits for `release`, tells of `times` more, then answers",
    ),
    ("release", "lets one `hold` go on"),
    (
        "ask_form",
        "asks the client's user for a name, and gives back what comes",
    ),
    (
        "ask_model",
        "asks the client's model, and gives back what comes",
    ),
    (
        "ask_roots",
        "asks for the client's roots, and gives back what comes",
    ),
    ("ask_twice", "asks for a name, then asks again"),
    ("ask_both", "asks user and model at once"),
    (
        "ask_briefly",
        "asks for a name, and takes the question back; answers after `release`",
    ),
    (
        "ask_nobody",
        "asks for a name, and answers without waiting for it",
    ),
];

/// What the client can be asked: methods and their parameters.
const FORM: (&str, &str) = (
    "elicitation/create",
    r#"{"message":"Who are you?","requestedSchema":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}}"#,
);
const MODEL: (&str, &str) = (
    "sampling/createMessage",
    r#"{"messages":[{"role":"user","content":{"type":"text","text":"Say something"}}],"maxTokens":10}"#,
);
const ROOTS: (&str, &str) = ("roots/list", "{}");

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
    asks: AtomicUsize,
    /// Where the client's answers go, by the ids of the questions.
    asked: Mutex<BTreeMap<String, mpsc::Sender<Value>>>,
    /// How many may be let go.
    releases: Mutex<usize>,
    released: Condvar,
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
        asks: AtomicUsize::new(0),
        asked: Mutex::default(),
        releases: Mutex::default(),
        released: Condvar::new(),
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
        if message.get("method").is_none() {
            if let Some(asker) = self.asked.lock().remove(&id.to_string()) {
                drop(asker.send(message.clone()));
            }
            return;
        }
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => result(
                id,
                &json!({
                    "protocolVersion": "2025-06-18",
                    "capabilities": {
                        "tools": { "listChanged": true }, "prompts": {}, "resources": {}, "completions": {},
                        "logging": {},
                    },
                    "serverInfo": { "name": "scripted", "version": "1" },
                }),
            ),
            "ping" | "logging/setLevel" => result(id, &json!({})),
            "skills/list" => result(id, &json!({ "skills": [], "asked": params })),
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
            "log" => {
                let told = json!({ "level": arguments["level"], "data": arguments["text"] });
                notify("notifications/message", &told);
                text(id, "logged");
            }
            "hold" => {
                let token = &params["_meta"]["progressToken"];
                let (steps, more) = (number("steps"), number("times"));
                let tell = |step: u64| {
                    let told = json!({ "progressToken": token, "progress": step });
                    notify("notifications/progress", &told);
                };
                (1..=steps).for_each(tell);
                self.wait_for_release();
                (steps + 1..=steps + more).for_each(tell);
                text(id, "let go");
            }
            "release" => {
                *self.releases.lock() += 1;
                self.released.notify_one();
                text(id, "released");
            }
            "ask_form" => text(id, &answered(&self.ask(&FORM))),
            "ask_model" => text(id, &answered(&self.ask(&MODEL))),
            "ask_roots" => text(id, &answered(&self.ask(&ROOTS))),
            "ask_twice" => {
                let first = answered(&self.ask(&FORM));
                let second = answered(&self.ask(&FORM));
                text(id, &[first, second].join(" "));
            }
            "ask_both" => {
                let (form, model) = (self.ask(&FORM), self.ask(&MODEL));
                text(id, &[answered(&form), answered(&model)].join(" "));
            }
            "ask_briefly" => {
                let (question, _answer) = self.ask(&FORM);
                notify("notifications/cancelled", &json!({ "requestId": question }));
                self.wait_for_release();
                text(id, "never mind");
            }
            "ask_nobody" => {
                let _unheard = self.ask(&FORM);
                text(id, "whatever");
            }
            name if name.starts_with("extra_") || name.starts_with("added_") => text(id, name),
            _ => error(id, -32602, "Unknown tool"),
        }
    }

    /// Asks the client; gives the question's id, and where the answer comes.
    fn ask(&self, (method, params): &(&str, &str)) -> (String, mpsc::Receiver<Value>) {
        let id = format!("q{}", self.asks.fetch_add(1, Ordering::Relaxed));
        let (sender, answer) = mpsc::channel();
        self.asked.lock().insert(json!(id).to_string(), sender);
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        line(
            &json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string(),
        );
        (id, answer)
    }

    fn wait_for_release(&self) {
        let mut releases = self.releases.lock();
        self.released
            .wait_while(&mut releases, |releases| *releases == 0);
        *releases -= 1;
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

/// What the client answered: the result, or the error.
fn answered((_, answer): &(String, mpsc::Receiver<Value>)) -> String {
    let answer = answer.recv().unwrap_or_default();
    let result = answer.get("result").unwrap_or(&answer["error"]);
    result.to_string()
}

fn tool(name: &str, what: &str) -> Value {
    let properties = json!({
        "text": { "type": "string" }, "ms": { "type": "integer" }, "steps": { "type": "integer" },
        "times": { "type": "integer" }, "bytes": { "type": "integer" }, "level": { "type": "string" },
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
