//! A task in the words of either era, and the ids in what is said about it.
//!
//! In 2025-11-25 a task is an object with `ttl` and `pollInterval`, and its result is fetched by a request of its own.
//! In the Tasks extension of 2026-07-28 it has `ttlMs` and `pollIntervalMs`, and holds result, error and questions.

use std::time::Duration;

use bytes::Bytes;
use upstream::Reply;
use wire::{Era, Outcome, Span, Splice, json};

/// The key of `_meta` that names the task a message belongs to (2025-11-25).
const RELATED: &str = "io.modelcontextprotocol/related-task";
/// How long to wait between two looks at a task that says nothing of it, and what we take of what it says.
const POLL_DEFAULT: Duration = Duration::from_secs(1);
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(10);
/// An id of fewer characters is not looked for in the words of an error.
const ID_IN_WORDS_MIN: usize = 8;

/// How a task is doing; the words are the same in both eras.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "working" => Self::Working,
            "input_required" => Self::InputRequired,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) const fn is_over(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::Working | Self::InputRequired => false,
        }
    }
}

/// A task as its upstream describes it, in either form.
#[derive(Debug)]
pub(super) struct Seen {
    /// The upstream's id for it.
    pub(super) id: String,
    pub(super) status: Status,
    members: Vec<(String, Bytes)>,
}

impl Seen {
    /// Reads a description.
    pub(super) fn read(object: &Bytes) -> Result<Self, String> {
        let members: Vec<(String, Bytes)> = json::members(object)
            .map_err(|error| error.to_string())?
            .into_iter()
            .map(|(key, raw)| (key.into_owned(), object.slice_ref(raw.get().as_bytes())))
            .collect();
        let id = json::text(object, "taskId").ok_or("a task without `taskId`")?;
        let status = json::text(object, "status")
            .and_then(|word| Status::parse(&word))
            .ok_or("a task without a known `status`")?;
        Ok(Self {
            id,
            status,
            members,
        })
    }

    /// The task that a call came to, and what else the answer says; `None` if it came to something else.
    pub(super) fn created(reply: &Reply) -> Option<Result<(Self, Option<Bytes>), String>> {
        let Outcome::Result(text) = &reply.outcome else {
            return None;
        };
        match reply.era {
            Era::Legacy => {
                let raw = json::member(text, "task").ok()??;
                let task = text.slice_ref(raw.get().as_bytes());
                json::text(&task, "taskId")?;
                let meta = json::member(text, "_meta").ok()?;
                let meta = meta.map(|raw| text.slice_ref(raw.get().as_bytes()));
                Some(Self::read(&task).map(|seen| (seen, meta)))
            }
            Era::Modern => {
                let is_task = json::text(text, "resultType").as_deref() == Some("task");
                is_task.then(|| {
                    Self::read(text).map(|seen| {
                        let meta = seen.member("_meta").cloned();
                        (seen, meta)
                    })
                })
            }
        }
    }

    /// One member as JSON text.
    pub(super) fn member(&self, name: &str) -> Option<&Bytes> {
        self.members
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, raw)| raw)
    }

    /// When to look again.
    pub(super) fn poll_interval(&self) -> Duration {
        let said = self
            .member("pollIntervalMs")
            .or_else(|| self.member("pollInterval"));
        said.and_then(|raw| std::str::from_utf8(raw).ok()?.parse().ok())
            .map_or(POLL_DEFAULT, Duration::from_millis)
            .clamp(POLL_MIN, POLL_MAX)
    }

    /// The description for a legacy client, under our id.
    pub(super) fn legacy(&self, id: &str) -> String {
        // In 2025-11-25 a tool's own failure is a failure of the task.
        let is_failure = self.member("result").is_some_and(|result| {
            matches!(json::member(result, "isError"), Ok(Some(raw)) if raw.get() == "true")
        });
        let status = if is_failure {
            Status::Failed
        } else {
            self.status
        };
        self.common(id, status, ("ttl", "pollInterval"))
    }

    /// The description for a modern client, under our id, as it stands; `extra` are members beside.
    pub(super) fn modern(&self, id: &str, status: Status, extra: &str) -> String {
        let text = self.common(id, status, ("ttlMs", "pollIntervalMs"));
        let text = json::with_members(text.as_bytes(), extra);
        String::from_utf8(text).unwrap_or_default()
    }

    fn common(&self, id: &str, status: Status, names: (&str, &str)) -> String {
        let said = |name: &str| {
            self.member(name)
                .and_then(|raw| std::str::from_utf8(raw).ok())
        };
        let (id, status) = (json::string(id), json::string(status.as_str()));
        let ttl = said("ttlMs").or_else(|| said("ttl")).unwrap_or("null");
        let poll = said("pollIntervalMs").or_else(|| said("pollInterval"));
        let members = [
            ("taskId", Some(id.as_str())),
            ("status", Some(status.as_str())),
            ("statusMessage", said("statusMessage")),
            ("createdAt", said("createdAt")),
            ("lastUpdatedAt", said("lastUpdatedAt")),
            (names.0, Some(ttl)),
            (names.1, poll),
        ];
        let there = members
            .into_iter()
            .filter_map(|(name, raw)| Some((name, raw?)));
        json::object(there)
    }
}

/// The text with one task id in the place of another wherever a message names its task: as `taskId`, in `task`, or as
/// the related task in `_meta`. Everything else stays byte for byte.
pub(super) fn renamed(text: &Bytes, from: &str, to: &str) -> Bytes {
    let mut splice = Splice::new(text);
    let mut is_changed = false;
    for path in [
        &["taskId"][..],
        &["task", "taskId"],
        &["_meta", RELATED, "taskId"],
    ] {
        let Some(raw) = at(text, path) else { continue };
        let is_it = json::unquote(raw).is_some_and(|id| id == from);
        if let Some(span) = Span::of(raw.get().as_bytes(), text).filter(|_| is_it) {
            splice.replace(span, json::string(to).into_bytes());
            is_changed = true;
        }
    }
    if is_changed {
        splice.finish().into()
    } else {
        text.clone()
    }
}

fn at<'a>(object: &'a [u8], path: &[&str]) -> Option<&'a serde_json::value::RawValue> {
    let (name, rest) = path.split_first()?;
    let raw = json::member(object, name).ok()??;
    if rest.is_empty() {
        Some(raw)
    } else {
        at(raw.get().as_bytes(), rest)
    }
}

/// An error object whose message speaks of one task by another id.
pub(super) fn renamed_error(error: &Bytes, from: &str, to: &str) -> Bytes {
    // A short id may be part of any word.
    if from.len() < ID_IN_WORDS_MIN {
        return error.clone();
    }
    let Some(raw) = at(error, &["message"]) else {
        return error.clone();
    };
    let (message, span) = (json::unquote(raw), Span::of(raw.get().as_bytes(), error));
    let (Some(message), Some(span)) = (message.filter(|text| text.contains(from)), span) else {
        return error.clone();
    };
    let mut splice = Splice::new(error);
    splice.replace(span, json::string(&message.replace(from, to)).into_bytes());
    splice.finish().into()
}

/// The text as one that belongs to a task, as legacy clients want to be told.
pub(super) fn related(text: &Bytes, id: &str) -> Bytes {
    let task = json::object([("taskId", json::string(id).as_str())]);
    let member = format!("{}:{task}", json::string(RELATED));
    let (meta, rest) = match json::member(text, "_meta") {
        Ok(Some(raw)) if raw.get().starts_with('{') => {
            let others = json::without(raw.get().as_bytes(), RELATED);
            (
                json::with_members(&others, &member),
                json::without(text, "_meta"),
            )
        }
        Ok(_) | Err(_) => (format!("{{{member}}}").into_bytes(), text.to_vec()),
    };
    let meta = String::from_utf8(meta).unwrap_or_default();
    json::with_members(&rest, &format!("\"_meta\":{meta}")).into()
}
