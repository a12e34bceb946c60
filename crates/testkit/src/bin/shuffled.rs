//! An upstream over stdio that gives back what it is told, many calls at a time and in an order of its own.
//!
//! It shares no code with what it tests. `--modern` makes it a server without a handshake; `--crossed` one that now and
//! then gives the answer of one call to another, as a gate would that mixes up ids; whose a call is, the first word that
//! it is told says.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufWriter, Write, stdin, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// So many calls wait for each other before the first of them is answered.
const WAITING: usize = 64;
/// Who waits for others that do not come is answered after this.
const QUIET: Duration = Duration::from_millis(2);
/// One answer in so many is another call's.
const CROSSED_EVERY: usize = 100;

#[derive(Deserialize)]
struct Message {
    id: Option<Box<RawValue>>,
    #[serde(default)]
    method: String,
    #[serde(default)]
    params: Value,
}

/// A call that waits: who asked, and what it is told.
struct Call {
    id: Box<RawValue>,
    text: String,
}

#[derive(Default)]
struct Shuffle {
    waiting: Vec<Call>,
    picks: usize,
    /// Answers that were nobody else's since the last that was.
    honest: usize,
    is_modern: bool,
    is_crossed: bool,
    /// What each asker was told last. Those who wait may all be one asker's; these are not.
    last: BTreeMap<String, String>,
}

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let shuffle = Shuffle {
        is_modern: has("--modern"),
        is_crossed: has("--crossed"),
        ..Shuffle::default()
    };
    let (sender, came) = channel();
    let answering = thread::spawn(move || shuffle.answer(&came));
    for line in stdin().lock().lines() {
        let Ok(line) = line else { break };
        if let Ok(message) = serde_json::from_str(&line)
            && sender.send(message).is_err()
        {
            break;
        }
    }
    drop(sender);
    // A panic there was told by the runtime.
    drop(answering.join());
}

impl Shuffle {
    fn answer(mut self, came: &Receiver<Message>) {
        let mut out = BufWriter::new(stdout().lock());
        loop {
            match came.recv_timeout(QUIET) {
                Ok(message) => self.take(message, &mut out),
                Err(RecvTimeoutError::Timeout) if self.waiting.is_empty() => {
                    // Nobody is left to tell if the other end is closed.
                    drop(out.flush());
                }
                Err(RecvTimeoutError::Timeout) => {
                    while !self.waiting.is_empty() {
                        self.pick(&mut out);
                    }
                    drop(out.flush());
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, message: Message, out: &mut impl Write) {
        let Message {
            id: Some(id),
            method,
            params,
        } = message
        else {
            return;
        };
        let told = match method.as_str() {
            "initialize" if !self.is_modern => json!({
                "protocolVersion": "2025-11-25",
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "shuffled", "version": "1" },
            }),
            "server/discover" if self.is_modern => json!({
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": { "tools": {} },
                "ttlMs": 0,
                "cacheScope": "private",
            }),
            "tools/list" => {
                let schema =
                    json!({ "type": "object", "properties": { "text": { "type": "string" } } });
                let tool = json!({ "name": "echo", "inputSchema": schema });
                self.whole(json!({ "tools": [tool] }))
            }
            "tools/call" => {
                let text = params["arguments"]["text"].as_str().unwrap_or_default();
                let token = &params["_meta"]["progressToken"];
                if !token.is_null() {
                    let told = json!({ "progressToken": token, "progress": 1, "message": text });
                    let note = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": told });
                    drop(writeln!(out, "{note}"));
                }
                let text = text.to_owned();
                self.waiting.push(Call { id, text });
                if self.waiting.len() > WAITING {
                    self.pick(out);
                }
                return;
            }
            _ => {
                let error = json!({ "code": -32601, "message": "Method not found" });
                drop(writeln!(
                    out,
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}"
                ));
                drop(out.flush());
                return;
            }
        };
        drop(writeln!(
            out,
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{told}}}"
        ));
        drop(out.flush());
    }

    /// Answers one of those who wait, neither the first nor the last.
    fn pick(&mut self, out: &mut impl Write) {
        self.picks += 1;
        let at = self.picks.wrapping_mul(0x9E37_79B9) % self.waiting.len();
        self.honest += 1;
        let Call { id, mut text } = self.waiting.swap_remove(at);
        if self.is_crossed {
            let asker = text.split(' ').next().unwrap_or_default().to_owned();
            self.last.insert(asker.clone(), text.clone());
            let mut others = self.last.iter().filter(|(other, _)| **other != asker);
            if self.honest >= CROSSED_EVERY
                && let Some((_, others)) = others.next()
            {
                self.honest = 0;
                text.clone_from(others);
            }
        }
        let content = json!([{ "type": "text", "text": text }]);
        let told = self.whole(json!({ "content": content, "structuredContent": { "text": text } }));
        drop(writeln!(
            out,
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{told}}}"
        ));
    }

    /// A result with what a modern one needs beside its own.
    fn whole(&self, mut own: Value) -> Value {
        if self.is_modern {
            own["resultType"] = "complete".into();
            own["ttlMs"] = 0.into();
            own["cacheScope"] = "private".into();
        }
        own
    }
}
