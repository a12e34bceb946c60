//! An upstream over stdio whose resources change on request, and which tells what it was asked for.
//!
//! A server in its own words, of the era that its flag says: it shares no code with what it tests. `touch` has it say
//! that a resource changed, whoever wants to know; a modern one says so on every stream that asked for the resource.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

const TOOLS: [&str; 6] = [
    "touch",
    "touch_lists",
    "history",
    "watched",
    "send_to_page",
    "page_done",
];
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

#[derive(Debug, Clone, Default)]
struct Server {
    is_modern: bool,
    /// How often its list of tools became another.
    lists: Arc<AtomicU64>,
    /// What it was asked for, in words.
    history: Vec<String>,
    /// What a legacy client subscribed to.
    subscribed: Vec<String>,
    /// What the streams of a modern client ask for, by the ids of their requests.
    streams: BTreeMap<String, Stream>,
    /// The call that waits for the client's word about a page.
    waiting: Option<Value>,
}

#[derive(Debug, Clone)]
struct Stream {
    id: Value,
    uris: Vec<String>,
    tools: bool,
}

fn main() {
    let mut server = Server {
        is_modern: std::env::args().any(|flag| flag == "--modern"),
        ..Server::default()
    };
    for line in stdin().lock().lines() {
        let Ok(line) = line else { break };
        if let Ok(message) = serde_json::from_str::<Value>(&line) {
            server.take(&message);
        }
    }
}

impl Server {
    fn take(&mut self, message: &Value) {
        let params = &message["params"];
        let method = message["method"].as_str().unwrap_or_default();
        let Some(id) = message.get("id") else {
            let request = params["requestId"].to_string();
            if method == "notifications/cancelled" && self.streams.remove(&request).is_some() {
                self.history.push("unlisten".to_owned());
            }
            return;
        };
        let uri = params["uri"].as_str().unwrap_or_default();
        match (method, self.is_modern) {
            ("", _) => {
                if let Some(call) = self.waiting.take() {
                    self.text(&call, &message["result"]["action"].to_string());
                }
            }
            ("server/discover", true) => self.discover(id),
            ("initialize", false) => result(
                id,
                &json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": capabilities(),
                    "serverInfo": { "name": "watched", "version": "1" },
                }),
            ),
            ("subscriptions/listen", true) => self.listen(id, &params["notifications"]),
            ("resources/subscribe" | "resources/read", _) if uri.contains("refused") => {
                error(id, -32602, "that one is not watched");
            }
            ("resources/subscribe", false) => {
                self.history.push(format!("subscribe {uri}"));
                self.subscribed.push(uri.to_owned());
                result(id, &json!({}));
            }
            ("resources/unsubscribe", false) => {
                self.history.push(format!("unsubscribe {uri}"));
                self.subscribed.retain(|other| other != uri);
                result(id, &json!({}));
            }
            ("tools/list", _) => {
                let schema = json!({ "type": "object" });
                let version = format!("version_{}", self.lists.load(Ordering::Relaxed));
                let names = TOOLS.into_iter().chain([version.as_str()]);
                let tools: Vec<Value> = names
                    .map(|name| json!({ "name": name, "inputSchema": schema }))
                    .collect();
                self.whole(id, json!({ "tools": tools }));
            }
            ("resources/list", _) => {
                let resources: Vec<Value> = ["a", "b", "secret", "refused"]
                    .iter()
                    .map(|name| json!({ "uri": format!("watched://{name}"), "name": name }))
                    .collect();
                self.whole(id, json!({ "resources": resources }));
            }
            ("resources/templates/list", _) => {
                let item = json!({ "uriTemplate": "watched://item/{id}", "name": "item" });
                self.whole(id, json!({ "resourceTemplates": [item] }));
            }
            ("tools/call", _) => self.call(id, params),
            _ => error(id, -32601, "Method not found"),
        }
    }

    fn discover(&self, id: &Value) {
        let meta =
            json!({ "io.modelcontextprotocol/serverInfo": { "name": "watched", "version": "1" } });
        let found = json!({
            "supportedVersions": ["2026-07-28"], "capabilities": capabilities(), "_meta": meta,
        });
        self.whole(id, found);
    }

    fn listen(&mut self, id: &Value, wanted: &Value) {
        let uris: Vec<String> = wanted["resourceSubscriptions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|uri| !uri.contains("refused"))
            .map(str::to_owned)
            .collect();
        self.history.push(format!("listen {}", uris.join(" ")));
        let tools = wanted["toolsListChanged"] == true;
        let honoured = json!({ "toolsListChanged": tools, "resourceSubscriptions": uris });
        let params = json!({ "_meta": { SUBSCRIPTION_ID: id }, "notifications": honoured });
        notify("notifications/subscriptions/acknowledged", &params);
        let stream = Stream {
            id: id.clone(),
            uris,
            tools,
        };
        self.streams.insert(id.to_string(), stream);
    }

    fn call(&mut self, id: &Value, params: &Value) {
        let arguments = &params["arguments"];
        match params["name"].as_str().unwrap_or_default() {
            "touch" => {
                self.touch(arguments["uri"].as_str().unwrap_or_default());
                self.text(id, "touched");
            }
            "touch_lists" => {
                // On a thread of its own: lists are asked for meanwhile.
                let (server, id) = (self.clone(), id.clone());
                let times = arguments["times"].as_u64().unwrap_or(1);
                let lists = Arc::clone(&self.lists);
                thread::spawn(move || {
                    for _ in 0..times {
                        lists.fetch_add(1, Ordering::Relaxed);
                        server.touch_lists();
                        thread::sleep(Duration::from_millis(2));
                    }
                    server.text(&id, "touched");
                });
            }
            "history" => self.text(id, &self.history.join(", ")),
            "watched" => {
                let streams = self.streams.values().flat_map(|stream| &stream.uris);
                let mut all: Vec<&str> = self
                    .subscribed
                    .iter()
                    .chain(streams)
                    .map(String::as_str)
                    .collect();
                all.sort_unstable();
                self.text(id, &all.join(" "));
            }
            "send_to_page" => {
                self.waiting = Some(id.clone());
                let page = json!({
                    "mode": "url", "elicitationId": "page-1", "url": "https://example.com/", "message": "Look here",
                });
                line(
                    &json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": page }),
                );
            }
            "page_done" => {
                notify(
                    "notifications/elicitation/complete",
                    &json!({ "elicitationId": "page-1" }),
                );
                self.text(id, "done");
            }
            _ => error(id, -32602, "Unknown tool"),
        }
    }

    fn touch(&self, uri: &str) {
        if !self.is_modern {
            return notify("notifications/resources/updated", &json!({ "uri": uri }));
        }
        for stream in self.streams.values() {
            if stream
                .uris
                .iter()
                .any(|wanted| uri.starts_with(wanted.as_str()))
            {
                let params = json!({ "_meta": { SUBSCRIPTION_ID: stream.id }, "uri": uri });
                notify("notifications/resources/updated", &params);
            }
        }
    }

    fn touch_lists(&self) {
        if !self.is_modern {
            return notify("notifications/tools/list_changed", &json!({}));
        }
        for stream in self.streams.values().filter(|stream| stream.tools) {
            let params = json!({ "_meta": { SUBSCRIPTION_ID: stream.id } });
            notify("notifications/tools/list_changed", &params);
        }
    }

    fn text(&self, id: &Value, text: &str) {
        self.whole(id, json!({ "content": [{ "type": "text", "text": text }] }));
    }

    /// A result with what a modern one needs beside its own.
    fn whole(&self, id: &Value, mut own: Value) {
        if self.is_modern {
            own["resultType"] = "complete".into();
            own["ttlMs"] = 0.into();
            own["cacheScope"] = "private".into();
        }
        result(id, &own);
    }
}

fn capabilities() -> Value {
    json!({ "tools": { "listChanged": true }, "resources": { "subscribe": true } })
}

fn result(id: &Value, result: &Value) {
    line(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
}

fn error(id: &Value, code: i32, message: &str) {
    let error = json!({ "code": code, "message": message });
    line(&json!({ "jsonrpc": "2.0", "id": id, "error": error }));
}

fn notify(method: &str, params: &Value) {
    line(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
}

fn line(message: &Value) {
    let mut out = stdout().lock();
    // Nobody is left to tell if the other end is closed.
    drop(writeln!(out, "{message}").and_then(|()| out.flush()));
}
