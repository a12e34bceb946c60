//! The members of `params` that decisions need; the rest stays unread.

use bytes::Bytes;

use crate::json::{self, Splice};
use crate::method::Subject;
use crate::{Meta, Span};

/// Members whose names nothing else may look like to who reads upper and lower case alike.
const KNOWN: [&str; 13] = [
    "name",
    "uri",
    "cursor",
    "arguments",
    "_meta",
    "ref",
    "argument",
    "context",
    "inputResponses",
    "requestState",
    "taskId",
    "task",
    "level",
];

/// The parameters of one request: their text, and where the members that we know lie in it.
#[derive(Debug, Clone)]
pub struct Params {
    text: Bytes,
    name_at: Option<Span>,
    /// `name`: which tool or prompt.
    pub name: Option<String>,
    /// `uri`: which resource.
    pub uri: Option<String>,
    /// `cursor`: where a list goes on.
    pub cursor: Option<String>,
    /// `ref`: what is to be completed.
    pub reference: Option<Reference>,
    reference_name_at: Option<Span>,
    arguments: Option<Span>,
    meta: Option<Span>,
    /// `requestState`: what a retry gives back (2026-07-28, multi round-trip requests).
    pub request_state: Option<String>,
    request_state_at: Option<Span>,
    input_responses: Option<Span>,
    /// `taskId`: which task.
    pub task_id: Option<String>,
    task_id_at: Option<Span>,
    /// `task`: the client wishes the call to become a task (2025-11-25).
    pub wants_task: bool,
    /// `level`: how much is to be logged.
    pub level: Option<String>,
}

/// What is to be different in a rewritten text; what is `None` stays as it was written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rewrite<'a> {
    /// Another name, for what the [`Subject`] says.
    pub name: Option<&'a str>,
    /// Another `taskId`.
    pub task_id: Option<&'a str>,
    /// Another `requestState`, where there is one.
    pub request_state: Option<&'a str>,
    /// Members to put in front, as JSON text without braces: `"a":1,"b":2`.
    pub extra: Option<&'a str>,
}

impl<'a> Rewrite<'a> {
    /// Only another name.
    #[must_use]
    pub fn named(name: &'a str) -> Self {
        Self {
            name: Some(name),
            ..Self::default()
        }
    }
}

/// What `completion/complete` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `ref/prompt`, by name.
    Prompt(String),
    /// `ref/resource`, by URI or URI template.
    Resource(String),
}

impl Params {
    /// Reads the text of `params`.
    ///
    /// # Errors
    /// If it is no object, names a member twice, or has a member of the wrong type.
    pub fn read(text: Bytes) -> Result<Self, String> {
        let (mut name_at, mut name, mut uri, mut cursor) = (None, None, None, None);
        let (mut reference, mut reference_name_at, mut arguments, mut meta) =
            (None, None, None, None);
        let (mut request_state, mut request_state_at, mut input_responses) = (None, None, None);
        let (mut task_id, mut task_id_at, mut wants_task, mut level) = (None, None, false, None);
        for (key, raw) in json::members(&text).map_err(|error| error.to_string())? {
            let span = Span::of(raw.get().as_bytes(), &text);
            let string = || json::unquote(raw).map(std::borrow::Cow::into_owned);
            match key.as_ref() {
                "name" => {
                    name = Some(string().ok_or("`name` must be a string")?);
                    name_at = span;
                }
                "uri" => uri = Some(string().ok_or("`uri` must be a string")?),
                "cursor" if raw.get() != "null" => {
                    cursor = Some(string().ok_or("`cursor` must be a string")?);
                }
                "arguments" if raw.get() == "null" => {}
                "arguments" if !raw.get().starts_with('{') => {
                    return Err("`arguments` must be an object".into());
                }
                "arguments" => arguments = span,
                "_meta" if !raw.get().starts_with('{') => {
                    return Err("`_meta` must be an object".into());
                }
                "_meta" => meta = span,
                "ref" => {
                    let (found, at) = read_reference(raw.get().as_bytes(), &text)?;
                    (reference, reference_name_at) = (Some(found), at);
                }
                "inputResponses" if !raw.get().starts_with('{') => {
                    return Err("`inputResponses` must be an object".into());
                }
                "inputResponses" => input_responses = span,
                "requestState" => {
                    request_state = Some(string().ok_or("`requestState` must be a string")?);
                    request_state_at = span;
                }
                "taskId" => {
                    task_id = Some(string().ok_or("`taskId` must be a string")?);
                    task_id_at = span;
                }
                "task" => wants_task = raw.get().starts_with('{'),
                "level" => level = string(),
                // Readers behind us may not look at case: for them it would stand twice, or where we see nothing.
                other => {
                    let meant = KNOWN
                        .iter()
                        .find(|one| json::is_same_but_for_case(one, other));
                    if let Some(meant) = meant {
                        return Err(format!("a member is written otherwise than `{meant}`"));
                    }
                }
            }
        }
        Ok(Self {
            text,
            name_at,
            name,
            uri,
            cursor,
            reference,
            reference_name_at,
            arguments,
            meta,
            request_state,
            request_state_at,
            input_responses,
            task_id,
            task_id_at,
            wants_task,
            level,
        })
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// `arguments` as it was written.
    #[must_use]
    pub fn arguments(&self) -> Option<Bytes> {
        self.arguments.map(|span| self.text.slice(span.range()))
    }

    /// The same with other arguments, everything else byte for byte.
    ///
    /// # Errors
    /// If `arguments` is no object.
    pub fn with_arguments(&self, arguments: &[u8]) -> Result<Self, String> {
        let text = match self.arguments {
            Some(at) => {
                let mut splice = Splice::new(&self.text);
                splice.replace(at, arguments);
                splice.finish()
            }
            None => {
                let added = [b"\"arguments\":", arguments].concat();
                let added = String::from_utf8(added).map_err(|error| error.to_string())?;
                let without = json::without(&self.text, "arguments");
                json::with_members_behind(&without, &added)
            }
        };
        Self::read(text.into())
    }

    /// The same with other arguments that are known already to what is completed (`context.arguments`).
    ///
    /// # Errors
    /// If `context` is no object.
    pub fn with_completed(&self, arguments: &[u8]) -> Result<Self, String> {
        let told = |error: serde_json::Error| format!("`context`: {error}");
        let context = json::member(&self.text, "context").map_err(told)?;
        let context = context.map_or("{}", |raw| raw.get());
        json::members(context.as_bytes()).map_err(told)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| error.to_string());
        let added = format!("\"arguments\":{}", text(arguments.to_vec())?);
        let context = json::without(context.as_bytes(), "arguments");
        let context = text(json::with_members_behind(&context, &added))?;
        let without = json::without(&self.text, "context");
        let added = format!("\"context\":{context}");
        Self::read(json::with_members_behind(&without, &added).into())
    }

    /// `inputResponses` as it was written: an object, answers by the keys of what was asked.
    #[must_use]
    pub fn input_responses(&self) -> Option<Bytes> {
        self.input_responses
            .map(|span| self.text.slice(span.range()))
    }

    /// Whether this is a retry that brings answers along (2026-07-28, multi round-trip requests).
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.input_responses.is_some() || self.request_state.is_some()
    }

    /// `_meta`, its members read.
    ///
    /// # Errors
    /// If a member stands twice.
    pub fn meta(&self) -> Result<Meta<'_>, String> {
        self.meta.map_or_else(
            || Ok(Meta::default()),
            |span| Meta::read(span.cut(&self.text)).map_err(|e| e.to_string()),
        )
    }

    /// The text again with what `wanted` names and another `_meta` (`None` leaves it out). For `Subject::Reference` the
    /// name is that of the prompt to be completed, for all others the tool's or prompt's: what was authorized is what
    /// is renamed, whatever else stands beside it.
    #[must_use]
    pub fn rewrite(&self, subject: Subject, wanted: Rewrite<'_>, meta: Option<&str>) -> Bytes {
        let name_at = match subject {
            Subject::Reference => self.reference_name_at,
            Subject::Gate
            | Subject::Tool
            | Subject::Prompt
            | Subject::Resource
            | Subject::Task
            | Subject::Method => self.name_at,
        };
        let texts = [
            (wanted.name, name_at),
            (wanted.task_id, self.task_id_at),
            (wanted.request_state, self.request_state_at),
        ];
        let mut splice = Splice::new(&self.text);
        let mut changed = false;
        for (text, at) in texts {
            if let (Some(text), Some(at)) = (text, at) {
                splice.replace(at, json::string(text).into_bytes());
                changed = true;
            }
        }
        let mut in_front = wanted.extra.map(str::to_owned);
        match (self.meta, meta) {
            (Some(at), meta) => {
                splice.replace(at, meta.unwrap_or("{}").as_bytes().to_vec());
                changed = true;
            }
            (None, Some(meta)) => {
                let extra = in_front.map(|extra| format!(",{extra}"));
                in_front = Some(format!("\"_meta\":{meta}{}", extra.unwrap_or_default()));
            }
            (None, None) => {}
        }
        let text = if changed {
            Bytes::from(splice.finish())
        } else {
            self.text.clone()
        };
        match in_front {
            Some(extra) => Bytes::from(json::with_members(&text, &extra)),
            None => text,
        }
    }
}

fn read_reference(raw: &[u8], whole: &[u8]) -> Result<(Reference, Option<Span>), String> {
    let members = json::members(raw).map_err(|error| format!("`ref`: {error}"))?;
    let find = |name: &str| {
        members
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, raw)| *raw)
    };
    let text = |name: &str| {
        find(name)
            .and_then(json::unquote)
            .map(std::borrow::Cow::into_owned)
    };
    match text("type").as_deref() {
        Some("ref/prompt") => {
            let name = text("name").ok_or("`ref.name` must be a string")?;
            let at = find("name").and_then(|raw| Span::of(raw.get().as_bytes(), whole));
            Ok((Reference::Prompt(name), at))
        }
        Some("ref/resource") => Ok((
            Reference::Resource(text("uri").ok_or("`ref.uri` must be a string")?),
            None,
        )),
        _ => Err("`ref.type` must be \"ref/prompt\" or \"ref/resource\"".into()),
    }
}

#[cfg(test)]
mod tests;
