//! The protocol's own JSON Schemas, and what a message from the gate has to look like under each of them.
//!
//! `cargo xtask setup` puts them beside the peers. What was said on a connection and what an answer belongs to is
//! [`traffic`]; here is one message at a time. The first revision has no schema that is published as JSON: its messages
//! are held against the second one's.

mod http;
#[cfg(test)]
mod tests;
pub(crate) mod traffic;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::fixtures::Peers;
use crate::mcp::{MODERN, is_answer};

/// The revisions that are there, oldest first.
pub(crate) const REVISIONS: [&str; 5] = [
    "2024-11-05",
    "2025-03-26",
    "2025-06-18",
    "2025-11-25",
    MODERN,
];
/// The first that lets an error go without an id.
const NO_NULL_ID: &str = "2025-11-25";
/// The last that has batches.
const LAST_BATCHES: &str = "2025-03-26";
/// How much of a message is shown with what is wrong with it.
const SHOWN_MAX: usize = 600;

/// Results, by the method that they answer. What is not here is an extension's, and has an envelope only.
const RESULTS: &[(&str, &str)] = &[
    ("initialize", "InitializeResult"),
    ("server/discover", "DiscoverResult"),
    ("ping", "EmptyResult"),
    ("logging/setLevel", "EmptyResult"),
    ("resources/subscribe", "EmptyResult"),
    ("resources/unsubscribe", "EmptyResult"),
    ("subscriptions/listen", "SubscriptionsListenResult"),
    ("tools/list", "ListToolsResult"),
    ("tools/call", "CallToolResult"),
    ("prompts/list", "ListPromptsResult"),
    ("prompts/get", "GetPromptResult"),
    ("resources/list", "ListResourcesResult"),
    ("resources/templates/list", "ListResourceTemplatesResult"),
    ("resources/read", "ReadResourceResult"),
    ("completion/complete", "CompleteResult"),
    ("tasks/get", "GetTaskResult"),
    ("tasks/list", "ListTasksResult"),
    ("tasks/cancel", "CancelTaskResult"),
    ("tasks/result", "GetTaskPayloadResult"),
];

/// What a server may say or ask unasked.
const SAID: &[(&str, &str)] = &[
    ("notifications/cancelled", "CancelledNotification"),
    ("notifications/progress", "ProgressNotification"),
    ("notifications/message", "LoggingMessageNotification"),
    (
        "notifications/tools/list_changed",
        "ToolListChangedNotification",
    ),
    (
        "notifications/prompts/list_changed",
        "PromptListChangedNotification",
    ),
    (
        "notifications/resources/list_changed",
        "ResourceListChangedNotification",
    ),
    (
        "notifications/resources/updated",
        "ResourceUpdatedNotification",
    ),
    ("notifications/tasks/status", "TaskStatusNotification"),
    (
        "notifications/elicitation/complete",
        "ElicitationCompleteNotification",
    ),
    (
        "notifications/subscriptions/acknowledged",
        "SubscriptionsAcknowledgedNotification",
    ),
    ("ping", "PingRequest"),
    ("roots/list", "ListRootsRequest"),
    ("sampling/createMessage", "CreateMessageRequest"),
    ("elicitation/create", "ElicitRequest"),
];

/// Errors that have a shape of their own, from this revision on.
const ERRORS: &[(i64, &str, &str)] = &[
    (-32042, "2025-11-25", "URLElicitationRequiredError"),
    (-32020, MODERN, "HeaderMismatchError"),
    (-32021, MODERN, "MissingRequiredClientCapabilityError"),
    (-32022, MODERN, "UnsupportedProtocolVersionError"),
];

/// A request that a message may be the answer to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ask {
    pub(crate) id: Value,
    pub(crate) method: String,
    pub(crate) revision: String,
    /// Whether it asked for a task instead of a result, as 2025-11-25 does.
    pub(crate) as_task: bool,
}

/// The schemas; each definition is compiled when it is first needed.
#[derive(Debug)]
pub(crate) struct Schemas {
    folder: PathBuf,
    documents: BTreeMap<String, Value>,
    validators: BTreeMap<(String, String), Option<Validator>>,
}

impl Schemas {
    /// Finds them.
    ///
    /// # Errors
    /// With the command that installs them, if they are not there.
    pub(crate) fn locate() -> Result<Self> {
        Ok(Self {
            folder: Peers::locate()?.schemas()?,
            documents: BTreeMap::new(),
            validators: BTreeMap::new(),
        })
    }

    /// Holds an answer against what was asked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn answer(&mut self, ask: &Ask, answer: &Value) -> Result<()> {
        let revision = match answer["result"]["protocolVersion"].as_str() {
            Some(agreed) if ask.method == "initialize" => agreed,
            _ => &ask.revision,
        };
        if answer.get("error").is_some() {
            return self.error(revision, answer);
        }
        let envelope = if revision < "2025-11-25" {
            "JSONRPCResponse"
        } else {
            "JSONRPCResultResponse"
        };
        self.hold(revision, envelope, answer)?;
        let result = &answer["result"];
        let definition = match result["resultType"].as_str() {
            _ if revision < MODERN => legacy_result(ask, result),
            Some("complete") => known(RESULTS, &ask.method),
            Some("input_required") => Some(input_required(&ask.method, result)?),
            // Of the extension that has no schema here.
            Some("task") => None,
            other => return Err(anyhow!("no result is of the type {other:?}: {answer}")),
        };
        // What tasks answer in the modern revision is the extension's.
        match definition {
            Some(definition) if !(revision == MODERN && ask.method.starts_with("tasks/")) => {
                self.hold(revision, definition, result)
            }
            _ => Ok(()),
        }
    }

    /// Holds a message that answers nothing, or nothing known, against a revision.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn unasked(&mut self, revision: &str, message: &Value) -> Result<()> {
        if message.get("error").is_some() {
            return self.error(revision, message);
        }
        let Some(method) = message["method"].as_str() else {
            return Err(anyhow!(
                "answers nothing that was asked: {}",
                shown(message)
            ));
        };
        let is_request = message.get("id").is_some();
        if is_request && revision == MODERN {
            return Err(anyhow!("{MODERN} has no such requests: {}", shown(message)));
        }
        let envelope = if is_request {
            "JSONRPCRequest"
        } else {
            "JSONRPCNotification"
        };
        self.hold(revision, envelope, message)?;
        match known(SAID, method) {
            Some(definition) => self.hold(revision, definition, message),
            None if revision == MODERN && method.starts_with("notifications/tasks") => Ok(()),
            None => Err(anyhow!("no server says `{method}`: {}", shown(message))),
        }
    }

    /// Whether a revision lets several messages go as one.
    pub(crate) fn has_batches(revision: &str) -> bool {
        revision <= LAST_BATCHES
    }

    fn error(&mut self, revision: &str, answer: &Value) -> Result<()> {
        let code = answer["error"]["code"].as_i64().unwrap_or_default();
        if revision < NO_NULL_ID {
            // Where an id cannot be read JSON-RPC wants null, and these schemas an id: JSON-RPC is right.
            let mut answer = answer.clone();
            if answer["id"].is_null() {
                answer["id"] = json!(0);
            }
            return self.hold(revision, "JSONRPCError", &answer);
        }
        self.hold(revision, "JSONRPCErrorResponse", answer)?;
        if revision == MODERN && matches!(code, -32002 | -32042) {
            return Err(anyhow!("{MODERN} has no {code}: {}", shown(answer)));
        }
        let special = ERRORS
            .iter()
            .find(|(special, since, _)| *special == code && revision >= *since);
        match special {
            Some((_, _, definition)) => self.hold(revision, definition, answer),
            None => Ok(()),
        }
    }

    fn hold(&mut self, revision: &str, definition: &str, value: &Value) -> Result<()> {
        let validator = self
            .validator(revision, definition)?
            .with_context(|| format!("{revision} has no {definition}: {}", shown(value)))?;
        let wrong: Vec<String> = validator
            .iter_errors(value)
            .map(|error| {
                format!(
                    "{revision} {definition}: `{}` {error:.300} ({})",
                    error.instance_path(),
                    error.schema_path()
                )
            })
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        Err(anyhow!("{}\n    in {}", wrong.join("\n    "), shown(value)))
    }

    /// The validator of a definition; `None` if the revision has none of that name.
    fn validator(&mut self, revision: &str, definition: &str) -> Result<Option<&Validator>> {
        let revision = if revision == "2024-11-05" {
            "2025-03-26"
        } else {
            revision
        };
        let key = (revision.to_owned(), definition.to_owned());
        if !self.validators.contains_key(&key) {
            let compiled = self.compile(revision, definition)?;
            self.validators.insert(key.clone(), compiled);
        }
        Ok(self.validators.get(&key).and_then(Option::as_ref))
    }

    fn compile(&mut self, revision: &str, definition: &str) -> Result<Option<Validator>> {
        if !self.documents.contains_key(revision) {
            let file = self.folder.join(format!("{revision}.json"));
            let text = fs::read(&file).with_context(|| file.display().to_string())?;
            self.documents
                .insert(revision.to_owned(), serde_json::from_slice(&text)?);
        }
        let document = &self.documents[revision];
        let below = ["$defs", "definitions"]
            .into_iter()
            .find(|below| document.get(below).is_some())
            .context("a schema without definitions")?;
        if document[below].get(definition).is_none() {
            return Ok(None);
        }
        let mut schema = document.clone();
        schema["$ref"] = format!("#/{below}/{definition}").into();
        jsonschema::options()
            .offline()
            .build(&schema)
            .map(Some)
            .map_err(|error| anyhow!("{revision} {definition}: {error}"))
    }
}

fn known(table: &[(&str, &'static str)], method: &str) -> Option<&'static str> {
    let row = table.iter().find(|(name, _)| *name == method)?;
    Some(row.1)
}

fn legacy_result(ask: &Ask, result: &Value) -> Option<&'static str> {
    if ask.as_task && result.get("task").is_some() {
        return Some("CreateTaskResult");
    }
    known(RESULTS, &ask.method)
}

fn input_required(method: &str, result: &Value) -> Result<&'static str> {
    let may = matches!(method, "tools/call" | "prompts/get" | "resources/read");
    let asks = result.get("inputRequests").is_some() || result.get("requestState").is_some();
    if may && asks {
        return Ok("InputRequiredResult");
    }
    Err(anyhow!("`{method}` cannot ask like this: {result}"))
}

/// A message, cut.
fn shown(message: &Value) -> String {
    let text = message.to_string();
    let cut: String = text.chars().take(SHOWN_MAX).collect();
    if cut.len() < text.len() {
        cut + "…"
    } else {
        cut
    }
}

/// The request in a message, if it is one.
pub(crate) fn ask(message: &Value, revision: &str) -> Option<Ask> {
    let id = message.get("id")?;
    let method = message.get("method")?.as_str()?;
    let params = &message["params"];
    let is_modern = params["_meta"]
        .get("io.modelcontextprotocol/protocolVersion")
        .is_some();
    (!is_answer(message)).then(|| Ask {
        id: id.clone(),
        method: method.to_owned(),
        revision: if is_modern { MODERN } else { revision }.to_owned(),
        as_task: params.get("task").is_some(),
    })
}
