//! Tool search: three tools in the place of a list that is too long for a model to read.
//!
//! `search_tools` ranks what its caller may see, `describe_tool` shows one definition, and `call_tool` is another way to
//! write a call: it becomes the call of the tool that it names before anything is decided, so that rules, limits,
//! validation, consent and records know nothing of it. Whoever knows a tool's name calls it directly.

mod rank;
mod words;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use wire::{Frame, Method, MethodName, Params, json as text, method};

use crate::call::{Asked, View, Yield, may_see};
use crate::catalog::Entry;
use crate::dialect::{self, Family};
use crate::record::CallRecord;
use crate::{Rejection, translate};

pub(crate) use words::Words;

const SEARCH: &str = "search_tools";
const DESCRIBE: &str = "describe_tool";
const CALL: &str = "call_tool";
/// The names of the three, which no other tool can have where there is tool search.
pub(crate) const NAMES: [&str; 3] = [SEARCH, DESCRIBE, CALL];

/// A question of more bytes is refused.
const QUERY_BYTES_MAX: usize = 1024;
/// Tools in one answer to a search: unless said otherwise, and at most.
const RESULTS: usize = 10;
const RESULTS_MAX: usize = 50;
/// So much of a description stands in the answer to a search.
const SUMMARY_CHARS_MAX: usize = 240;

/// How the three are listed.
const DEFINITIONS: [&str; 3] = [
    r#"{"name":"search_tools","title":"Search tools","description":"Finds tools by what they do: there are too many to list. Say in a few words what you want to do, then look at the definition of what fits with describe_tool, and call it with call_tool.","inputSchema":{"type":"object","properties":{"query":{"type":"string","description":"Words that say what the tool should do, such as \"create calendar event\"."},"limit":{"type":"integer","minimum":1,"maximum":50,"description":"How many tools to name, best first; 10 unless said."},"offset":{"type":"integer","minimum":0,"description":"How many to leave out at the beginning, to see further ones."}},"required":["query"],"additionalProperties":false},"annotations":{"readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}}"#,
    r#"{"name":"describe_tool","title":"Describe a tool","description":"Shows the whole definition of a tool that search_tools named, with the schema of its arguments. Read it before call_tool.","inputSchema":{"type":"object","properties":{"name":{"type":"string","description":"The tool's name, as search_tools gave it."}},"required":["name"],"additionalProperties":false},"annotations":{"readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}}"#,
    r#"{"name":"call_tool","title":"Call a tool","description":"Calls a tool that search_tools named, with arguments that fit the schema describe_tool shows.","inputSchema":{"type":"object","properties":{"name":{"type":"string","description":"The tool's name, as search_tools gave it."},"arguments":{"type":"object","description":"The tool's own arguments."}},"required":["name"],"additionalProperties":false}}"#,
];

/// The three as they are listed, for clients of that family.
pub(crate) fn definitions(family: Family) -> impl Iterator<Item = Bytes> {
    DEFINITIONS
        .into_iter()
        .map(move |definition| dialect::tool(Bytes::from_static(definition.as_bytes()), family))
}

/// Whether somebody who `may` see so many tools gets the three instead.
pub(crate) fn replaces_list(view: &View, may: impl Fn(&Entry) -> bool) -> bool {
    let Some(above) = view.search().above else {
        return false;
    };
    let tools = &view.catalog.tools;
    let mut visible = tools
        .after(None)
        .iter()
        .filter_map(|entry| tools.visible(entry, &may));
    visible.nth(above).is_some()
}

/// What a request means.
#[derive(Debug)]
pub(crate) enum Meant {
    /// What it says.
    Itself,
    /// The call that a `call_tool` stands for.
    Call(Box<Asked>),
    /// It is a `call_tool` that cannot be understood; this is for the model.
    Told(Yield),
}

/// Reads a request: everything but `call_tool` means itself.
pub(crate) fn meant(asked: &Asked, view: &View) -> Result<Meant, Rejection> {
    let MethodName::Known(known) = &asked.request.method else {
        return Ok(Meant::Itself);
    };
    if known.name != method::TOOLS_CALL.name || !view.search().is_on() {
        return Ok(Meant::Itself);
    }
    let params = asked.request.read_params().map_err(Rejection::NotMcp)?;
    if params.name.as_deref() != Some(CALL) {
        return Ok(Meant::Itself);
    }
    match unfold(params) {
        Ok(inner) => {
            let message = wire::encode::request(asked.request.id(), known.name, inner.as_bytes());
            match Frame::decode(&message.into()) {
                Ok(Frame::Request(request)) => Ok(Meant::Call(Box::new(Asked {
                    request,
                    // Headers repeat the arguments of what was called, which is another.
                    mirrored: None,
                    ..asked.clone()
                }))),
                Ok(Frame::Notification(_) | Frame::Response(_)) => Ok(Meant::Itself),
                Err(fault) => Err(Rejection::NotMcp(fault)),
            }
        }
        Err(why) => told(asked, known, &why).map(Meant::Told),
    }
}

/// The parameters of the call that a `call_tool` stands for.
fn unfold(params: &Params) -> Result<String, String> {
    let bad = |why: &str| format!("{CALL}: {why}");
    let arguments = params.arguments().unwrap_or_default();
    let members = text::members(&arguments).map_err(|_unreadable| bad("`name` is missing"))?;
    let find = |name: &str| members.iter().find(|(key, _)| key == name);
    let is_own = |key: &str| key == "name" || key == "arguments";
    if let Some((other, _)) = members.iter().find(|(key, _)| !is_own(key)) {
        return Err(bad(&format!(
            "there is no argument `{other}`; the tool's own stand in `arguments`"
        )));
    }
    let name = match find("name") {
        Some((_, raw)) if raw.get().starts_with('"') => raw.get(),
        _ => return Err(bad("`name` must be a string")),
    };
    let own = match find("arguments") {
        Some((_, raw)) if raw.get().starts_with('{') => raw.get(),
        None => "{}",
        Some(_) => return Err(bad("`arguments` must be an object")),
    };
    let outer = text::members(params.text()).map_err(|error| bad(&error.to_string()))?;
    let outer = outer
        .iter()
        .filter(|(key, _)| !is_own(key))
        .map(|(key, raw)| (key.as_ref(), raw.get()));
    Ok(text::object(
        [("name", name), ("arguments", own)]
            .into_iter()
            .chain(outer),
    ))
}

/// Whether a call is of `search_tools` or `describe_tool`.
pub(crate) fn is_one(method: &Method, params: &Params, view: &View) -> bool {
    method.name == method::TOOLS_CALL.name
        && matches!(params.name.as_deref(), Some(SEARCH | DESCRIBE))
        && view.search().is_on()
}

/// Answers such a call.
pub(crate) fn answer(
    asked: &Asked,
    method: &'static Method,
    params: &Params,
    view: &View,
    record: &mut CallRecord,
) -> Result<Yield, Rejection> {
    let answer = if params.name.as_deref() == Some(SEARCH) {
        search
    } else {
        describe
    };
    record.note(|row| (row.entry, row.decision) = (params.name.clone(), "allow".into()));
    let arguments = params.arguments();
    let arguments = arguments.as_deref().unwrap_or(b"{}");
    match answer(asked, arguments, view) {
        Ok(found) => {
            let said = text::string(&found.to_string());
            let said = format!(
                "{{\"content\":[{{\"type\":\"text\",\"text\":{said}}}],\"structuredContent\":{found}}}"
            );
            Ok(Yield::Result {
                text: translate::result(asked.revision.era(), method, said.into()),
                is_tool_error: false,
            })
        }
        Err(why) => told(asked, method, &why),
    }
}

/// What is wrong with the arguments, for the model where its revision has it so.
fn told(asked: &Asked, method: &'static Method, why: &str) -> Result<Yield, Rejection> {
    if !asked.revision.tells_bad_arguments_to_the_model() {
        return Err(Rejection::BadArguments(why.to_owned()));
    }
    let said = text::string(why);
    let said = format!("{{\"content\":[{{\"type\":\"text\",\"text\":{said}}}],\"isError\":true}}");
    Ok(Yield::Result {
        text: translate::result(asked.revision.era(), method, said.into()),
        is_tool_error: true,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search<'a> {
    #[serde(borrow)]
    query: Cow<'a, str>,
    limit: Option<usize>,
    offset: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Describe<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

fn search(asked: &Asked, arguments: &[u8], view: &View) -> Result<Value, String> {
    let question: Search<'_> =
        serde_json::from_slice(arguments).map_err(|error| format!("{SEARCH}: {error}"))?;
    if question.query.len() > QUERY_BYTES_MAX {
        return Err(format!(
            "{SEARCH}: `query` has more than {QUERY_BYTES_MAX} bytes; a few words do"
        ));
    }
    let limit = question.limit.unwrap_or(RESULTS);
    if limit == 0 || limit > RESULTS_MAX {
        return Err(format!("{SEARCH}: `limit` is from 1 to {RESULTS_MAX}"));
    }
    let offset = question.offset.unwrap_or_default();
    let tools = &view.catalog.tools;
    let facts = asked.facts(None);
    let may = |entry: &Entry| may_see(&asked.principal, entry, &entry.item.key, &facts, view);
    let visible = tools
        .after(None)
        .iter()
        .filter_map(|entry| tools.visible(entry, may));
    let found = rank::rank(&question.query, visible.map(|entry| (entry, entry.words())));
    let named: Vec<Value> = found
        .iter()
        .skip(offset)
        .take(limit)
        .map(|entry| json!({ "name": entry.key, "description": summary(&entry.text) }))
        .collect();
    let mut answer = json!({ "tools": named, "total": found.len() });
    let next = offset.saturating_add(limit);
    if next < found.len() {
        answer["next_offset"] = next.into();
    }
    Ok(answer)
}

fn describe(asked: &Asked, arguments: &[u8], view: &View) -> Result<Value, String> {
    let question: Describe<'_> =
        serde_json::from_slice(arguments).map_err(|error| format!("{DESCRIBE}: {error}"))?;
    let tools = &view.catalog.tools;
    let facts = asked.facts(None);
    let may = |entry: &Entry| may_see(&asked.principal, entry, &entry.item.key, &facts, view);
    // Unknown, not forbidden, as everywhere.
    let unknown = || format!("Unknown tool: {}", question.name);
    let entry = tools
        .get(&question.name)
        .and_then(|entry| tools.visible(entry, may))
        .ok_or_else(unknown)?;
    let definition: Value = serde_json::from_slice(&entry.text).map_err(|_unreadable| unknown())?;
    Ok(json!({ "tool": definition }))
}

/// The first words of a description.
fn summary(definition: &[u8]) -> String {
    let description = text::text(definition, "description").unwrap_or_default();
    let line = description.trim();
    if line.chars().count() <= SUMMARY_CHARS_MAX {
        return line.to_owned();
    }
    line.chars()
        .take(SUMMARY_CHARS_MAX - 1)
        .chain(['\u{2026}'])
        .collect()
}

/// A list of tools that can be searched, for callers that have one in hand.
#[derive(Debug)]
pub struct Searchable(Vec<Words>);

impl Searchable {
    /// Tools as a client sees them.
    #[must_use]
    pub fn of(tools: &[Value]) -> Self {
        let words = |tool: &Value| {
            let name = tool.get("name").and_then(Value::as_str);
            Words::of(name.unwrap_or_default(), tool.to_string().as_bytes())
        };
        Self(tools.iter().map(words).collect())
    }

    /// Which of them fit a question: their places in the list, best first, at most `limit`.
    #[must_use]
    pub fn fitting(&self, question: &str, limit: usize) -> Vec<usize> {
        let mut found = rank::rank(question, self.0.iter().enumerate());
        found.truncate(limit);
        found
    }
}
