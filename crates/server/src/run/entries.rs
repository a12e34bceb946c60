//! `portcullis tools`, `prompts`, `resources`: the gate from a shell, through the same stages as any client.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;

use anyhow::Context as _;
use auth::{Peer, Presented};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway::{AskError, Gate};
use indicatif::{ProgressBar, ProgressStyle};
use policy::{Clock, Principal};
use serde_json::{Map, Value, json};

use super::{logging, runtime_of_one};
use crate::SystemClock;
use crate::cli::output::{self, say};
use crate::cli::{Common, Exit, Kind};
use crate::serve::Core;

/// Characters of a description that fit into a table.
const DESCRIPTION_MAX: usize = 88;

/// What a command asks of the gate.
#[derive(Debug)]
pub enum Ask {
    /// Everything of one kind.
    List(Kind),
    /// The tools that fit some words.
    Search {
        /// What they should do.
        words: String,
        /// How many of them at most.
        limit: usize,
    },
    /// A tool's answer.
    Call {
        /// The tool.
        name: String,
        /// Its arguments.
        arguments: Map<String, Value>,
    },
    /// A prompt's messages.
    Get {
        /// The prompt.
        name: String,
        /// Its arguments.
        arguments: BTreeMap<String, String>,
    },
    /// What a resource holds.
    Read {
        /// The resource.
        uri: String,
    },
}

/// `portcullis tools`, `prompts` and `resources`.
///
/// # Errors
/// Why there is no answer.
pub fn entries(common: &Common, ask: &Ask) -> anyhow::Result<Exit> {
    let loaded = common.load()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    logging::quiet(&loaded.log, &clock);
    let runtime = runtime_of_one()?;
    runtime.block_on(async {
        let core = Core::start(&loaded, &[], clock)?;
        let shell = Shell::new(core.gate(), common.json).await?;
        let answered = Box::pin(shell.answer(ask)).await;
        core.stop().await;
        answered
    })
}

struct Shell<'a> {
    gate: &'a Arc<Gate>,
    principal: Arc<Principal>,
    json: bool,
}

impl<'a> Shell<'a> {
    async fn new(gate: &'a Arc<Gate>, json: bool) -> anyhow::Result<Self> {
        let principal = gate
            .authenticate(&Presented::nothing(Peer::InProcess))
            .await
            .context("the local user is not let in")?;
        Ok(Self {
            gate,
            principal,
            json,
        })
    }

    async fn answer(&self, ask: &Ask) -> anyhow::Result<Exit> {
        let done = match ask {
            Ask::List(Kind::Tools) => self.list("tools/list", "tools", "name").await,
            Ask::List(Kind::Prompts) => self.list("prompts/list", "prompts", "name").await,
            Ask::List(Kind::Resources) => self.resources().await,
            Ask::Search { words, limit } => self.search(words, *limit).await,
            Ask::Call { name, arguments } => {
                let asked = self
                    .ask(
                        "tools/call",
                        json!({ "name": name, "arguments": arguments }),
                    )
                    .await;
                match asked {
                    Ok(result) => self.print_content(&result),
                    Err(error) => self.unknown(error, "tools/list", "tools", name).await,
                }
            }
            Ask::Get { name, arguments } => {
                let asked = self
                    .ask(
                        "prompts/get",
                        json!({ "name": name, "arguments": arguments }),
                    )
                    .await;
                match asked {
                    Ok(result) => self.print_messages(&result),
                    Err(error) => self.unknown(error, "prompts/list", "prompts", name).await,
                }
            }
            Ask::Read { uri } => {
                let result = self.ask("resources/read", json!({ "uri": uri })).await;
                result
                    .map_err(Into::into)
                    .and_then(|result| self.print_contents(&result))
            }
        };
        match done {
            Ok(exit) => Ok(exit),
            Err(error) => match error.downcast_ref::<AskError>() {
                Some(refusal) if refusal.is_refusal() => {
                    output::error(&error);
                    Ok(Exit::Refused)
                }
                _ => Err(error),
            },
        }
    }

    /// Asks, showing progress on a terminal for as long as it takes.
    async fn ask(&self, method: &str, params: Value) -> Result<Value, AskError> {
        let Value::Object(params) = params else {
            unreachable!("every caller passes an object")
        };
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
            bar.set_message(method.to_owned());
            bar
        });
        let heard = |event: &upstream::Notice| {
            let Ok(params) = serde_json::from_slice::<Value>(&event.params) else {
                return;
            };
            let number = |name: &str| params.get(name).and_then(Value::as_f64);
            let (Some(bar), Some(progress)) = (&bar, number("progress")) else {
                return;
            };
            let of = number("total")
                .map(|total| format!(" of {total}"))
                .unwrap_or_default();
            let words = params
                .get("message")
                .and_then(Value::as_str)
                .map(output::printable)
                .unwrap_or_default();
            bar.set_message(format!("{progress}{of} {words}"));
        };
        let answer = self.gate.ask(&self.principal, method, params, heard).await;
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        answer
    }

    /// All pages of a list.
    async fn all(&self, method: &str, member: &str) -> Result<Vec<Value>, AskError> {
        let (mut all, mut cursor) = (Vec::new(), None::<Value>);
        loop {
            let params = cursor
                .take()
                .map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
            let mut page = self.ask(method, params).await?;
            if let Some(Value::Array(items)) = page.get_mut(member).map(Value::take) {
                all.extend(items);
            }
            if let Some(missing) = page
                .pointer("/_meta/dev.portcullis~1incomplete")
                .and_then(Value::as_array)
            {
                let names: Vec<&str> = missing.iter().filter_map(Value::as_str).collect();
                say(format!(
                    "not listed, because not there (see `portcullis check`): {}",
                    names.join(", ")
                ));
            }
            match page.get("nextCursor").cloned() {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    async fn list(&self, method: &str, member: &str, key: &str) -> anyhow::Result<Exit> {
        let all = self.all(method, member).await?;
        if self.json {
            output::json(&json!({ member: all }))?;
            return Ok(Exit::Done);
        }
        if all.is_empty() {
            say(format!(
                "no {member} on offer; `portcullis check` tells why, `portcullis import` adds servers"
            ));
            return Ok(Exit::Done);
        }
        output::data(output::table(&[key, "description"], &rows(&all, key)).as_bytes())?;
        Ok(Exit::Done)
    }

    /// The list, ranked as `search_tools` would.
    async fn search(&self, words: &str, limit: usize) -> anyhow::Result<Exit> {
        let all = self.all("tools/list", "tools").await?;
        let places = gateway::Searchable::of(&all).fitting(words, limit);
        let found: Vec<Value> = places
            .into_iter()
            .filter_map(|at| all.get(at).cloned())
            .collect();
        if self.json {
            output::json(&json!({ "tools": found }))?;
            return Ok(Exit::Done);
        }
        if found.is_empty() {
            say("no tool has any of these words; `portcullis tools list` shows all");
            return Ok(Exit::Done);
        }
        let rows = rows(&found, "name");
        output::data(output::table(&["name", "description"], &rows).as_bytes())?;
        Ok(Exit::Done)
    }

    async fn resources(&self) -> anyhow::Result<Exit> {
        let resources = self.all("resources/list", "resources").await?;
        let templates = self
            .all("resources/templates/list", "resourceTemplates")
            .await?;
        if self.json {
            output::json(&json!({ "resources": resources, "resourceTemplates": templates }))?;
            return Ok(Exit::Done);
        }
        if resources.is_empty() && templates.is_empty() {
            say(
                "no resources on offer; `portcullis check` tells why, `portcullis import` adds servers",
            );
            return Ok(Exit::Done);
        }
        let mut all = rows(&resources, "uri");
        all.extend(rows(&templates, "uriTemplate"));
        output::data(output::table(&["uri", "description"], &all).as_bytes())?;
        Ok(Exit::Done)
    }

    /// Adds to "unknown" what was probably meant.
    async fn unknown(
        &self,
        error: AskError,
        method: &str,
        member: &str,
        name: &str,
    ) -> anyhow::Result<Exit> {
        if error.code == wire::code::INVALID_PARAMS && error.message.starts_with("Unknown ") {
            let all = self.all(method, member).await?;
            let names = all.iter().filter_map(|entry| entry.get("name")?.as_str());
            let last = name.rsplit(['.', '_']).next().unwrap_or(name);
            let near: Vec<&str> = names.filter(|known| known.contains(last)).take(3).collect();
            if !near.is_empty() {
                say(format!("perhaps you meant: {}", near.join(", ")));
            }
        }
        Err(error.into())
    }

    /// The answer of a tool: text on stdout, what is no text described; a tool's own failure on stderr.
    fn print_content(&self, result: &Value) -> anyhow::Result<Exit> {
        let failed = result.get("isError") == Some(&Value::Bool(true));
        let exit = if failed { Exit::Failed } else { Exit::Done };
        if self.json {
            output::json(result)?;
            return Ok(exit);
        }
        let blocks = result
            .get("content")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for block in blocks {
            let text = describe(block);
            if failed {
                say(output::printable(&text));
            } else {
                output::line(output::printable(&text))?;
            }
        }
        Ok(exit)
    }

    fn print_messages(&self, result: &Value) -> anyhow::Result<Exit> {
        if self.json {
            output::json(result)?;
            return Ok(Exit::Done);
        }
        for message in result
            .get("messages")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            let role = message.get("role").and_then(Value::as_str).unwrap_or("?");
            let text = message.get("content").map(describe).unwrap_or_default();
            output::line(output::printable(&format!("{role}: {text}")))?;
        }
        Ok(Exit::Done)
    }

    /// What a resource holds: text as text, bytes as bytes.
    fn print_contents(&self, result: &Value) -> anyhow::Result<Exit> {
        if self.json {
            output::json(result)?;
            return Ok(Exit::Done);
        }
        for content in result
            .get("contents")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            if let Some(text) = content.get("text").and_then(Value::as_str) {
                output::line(output::printable(text))?;
            } else if let Some(blob) = content.get("blob").and_then(Value::as_str) {
                output::data(
                    &STANDARD
                        .decode(blob)
                        .context("the resource is not base64")?,
                )?;
            }
        }
        Ok(Exit::Done)
    }
}

fn rows(entries: &[Value], key: &str) -> Vec<Vec<String>> {
    let text = |entry: &Value, name: &str| {
        entry
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    entries
        .iter()
        .map(|entry| vec![text(entry, key), shorten(&text(entry, "description"))])
        .collect()
}

/// The first line, as far as it fits.
fn shorten(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    if line.chars().count() <= DESCRIPTION_MAX {
        return line.to_owned();
    }
    line.chars()
        .take(DESCRIPTION_MAX - 1)
        .chain(['\u{2026}'])
        .collect()
}

/// A content block for a person.
fn describe(block: &Value) -> String {
    let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "text" => text("text").to_owned(),
        kind @ ("image" | "audio") => {
            format!(
                "[{kind}, {}, {} bytes; --json has it]",
                text("mimeType"),
                text("data").len() / 4 * 3
            )
        }
        "resource_link" => format!("[resource {}]", text("uri")),
        "resource" => {
            let inner = |name: &str| {
                block
                    .pointer(&format!("/resource/{name}"))
                    .and_then(Value::as_str)
            };
            inner("text").map_or_else(
                || format!("[resource {}]", inner("uri").unwrap_or_default()),
                str::to_owned,
            )
        }
        _ => block.to_string(),
    }
}
