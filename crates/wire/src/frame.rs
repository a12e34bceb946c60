//! From bytes to one message: its kind and where its parts lie.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::code::{self, Code};
use crate::method::{self, Method};
use crate::{Params, Span, json};

/// More messages than this in one batch are refused.
pub const BATCH_MAX: usize = 100;

/// A method as the sender named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MethodName {
    /// A row of the table.
    Known(&'static Method),
    /// Some other text.
    Unknown(String),
}

impl MethodName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(method) => method.name,
            Self::Unknown(name) => name,
        }
    }
}

/// One message.
#[derive(Debug, Clone)]
pub enum Frame {
    /// Wants a reply.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Is a reply.
    Response(Response),
}

/// A message that wants a reply.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Bytes,
    id: Span,
    /// What is asked.
    pub method: MethodName,
    params: Option<Span>,
    /// Read at most once, however many stages ask.
    read: OnceLock<Result<Box<Params>, String>>,
}

/// A message that wants no reply.
#[derive(Debug, Clone)]
pub struct Notification {
    bytes: Bytes,
    /// What is told.
    pub method: String,
    params: Option<Span>,
}

/// A reply. `id` is `null` or absent only in an error about an unreadable request.
#[derive(Debug, Clone)]
pub struct Response {
    bytes: Bytes,
    id: Option<Span>,
    outcome: Outcome<Span>,
}

/// What a reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It worked.
    Result(T),
    /// It did not.
    Error(T),
}

/// A body of one message, or of several.
#[derive(Debug)]
pub enum Body {
    /// One.
    One(Result<Frame, Fault>),
    /// A JSON array of them, each judged alone.
    Batch(Vec<Result<Frame, Fault>>),
}

/// Why bytes are no message. Carries the id if it could be read, so that the sender knows which one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What JSON-RPC calls it.
    pub code: Code,
    /// What is wrong, for the sender.
    pub message: String,
    /// The raw id of the refused request.
    pub id: Option<Bytes>,
}

impl Fault {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            id: None,
        }
    }
}

/// `Option<&RawValue>` reads `null` as absent; here the difference matters.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(d).map(Some)
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Envelope<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

impl Body {
    /// Reads a body that may be a batch. Whether the revision has batches is the caller's to know.
    ///
    /// # Errors
    /// A fault of the whole: not JSON, nested too deep, an empty or overlong batch.
    pub fn decode(bytes: &Bytes) -> Result<Self, Fault> {
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
            return Ok(Self::One(Frame::decode(bytes)));
        }
        let items: Vec<&RawValue> =
            serde_json::from_slice(bytes).map_err(|error| not_json(&error))?;
        match items.len() {
            0 => Err(Fault::new(
                code::INVALID_REQUEST,
                "Invalid Request: an empty batch",
            )),
            1..=BATCH_MAX => Ok(Self::Batch(
                items
                    .into_iter()
                    .map(|item| Frame::decode(&bytes.slice_ref(item.get().as_bytes())))
                    .collect(),
            )),
            count => Err(Fault::new(
                code::INVALID_REQUEST,
                format!(
                    "Invalid Request: {count} messages in one batch, at most {BATCH_MAX} are taken"
                ),
            )),
        }
    }
}

fn not_json(error: &serde_json::Error) -> Fault {
    Fault::new(
        code::PARSE_ERROR,
        format!(
            "Parse error: line {} column {}",
            error.line(),
            error.column()
        ),
    )
}

impl Frame {
    /// Reads one message.
    ///
    /// # Errors
    /// `PARSE_ERROR` for what is not JSON, `INVALID_REQUEST` for what JSON-RPC or MCP forbid: a wrong `jsonrpc`,
    /// a member twice, an id that is neither text nor number, params that are no object, a mix of kinds.
    pub fn decode(bytes: &Bytes) -> Result<Self, Fault> {
        let envelope: Envelope<'_> =
            serde_json::from_slice(bytes).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => {
                    let text = error.to_string();
                    let text = text.split(" at line").next().unwrap_or_default();
                    Fault::new(code::INVALID_REQUEST, format!("Invalid Request: {text}"))
                }
                _ => not_json(&error),
            })?;
        // serde reads an array as the fields of a struct in their order.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Fault::new(
                code::INVALID_REQUEST,
                "Invalid Request: a JSON-RPC message is an object",
            ));
        }
        // After the envelope, whose reader only skips over what is nested: so the sender learns which one it was.
        let read = if json::depth_within(bytes, json::DEPTH_MAX) {
            Self::from_envelope(bytes, &envelope)
        } else {
            Err("nested too deep")
        };
        read.map_err(|message| Fault {
            code: code::INVALID_REQUEST,
            message: format!("Invalid Request: {message}"),
            id: envelope
                .id
                .filter(|id| is_id(id.get()))
                .map(|id| bytes.slice_ref(id.get().as_bytes())),
        })
    }

    fn from_envelope(bytes: &Bytes, envelope: &Envelope<'_>) -> Result<Self, &'static str> {
        if envelope
            .jsonrpc
            .is_none_or(|version| version.get() != "\"2.0\"")
        {
            return Err("`jsonrpc` must be \"2.0\"");
        }
        let span = |raw: &RawValue| Span::of(raw.get().as_bytes(), bytes).ok_or("too large");
        let params = match envelope.params {
            Some(raw) if !raw.get().starts_with('{') => return Err("`params` must be an object"),
            Some(raw) => Some(span(raw)?),
            None => None,
        };
        let Some(name) = envelope.method else {
            let outcome = match (envelope.result, envelope.error) {
                (Some(result), None) => Outcome::Result(span(result)?),
                (None, Some(error)) => Outcome::Error(span(error)?),
                (Some(_), Some(_)) => return Err("`result` and `error` exclude each other"),
                (None, None) => return Err("`method` is missing"),
            };
            let id = envelope
                .id
                .filter(|id| id.get() != "null")
                .map(span)
                .transpose()?;
            return Ok(Self::Response(Response {
                bytes: bytes.clone(),
                id,
                outcome,
            }));
        };
        if envelope.result.is_some() || envelope.error.is_some() {
            return Err("`method` excludes `result` and `error`");
        }
        let name = json::unquote(name).ok_or("`method` must be a string")?;
        let Some(id) = envelope.id else {
            return Ok(Self::Notification(Notification {
                bytes: bytes.clone(),
                method: name.into_owned(),
                params,
            }));
        };
        if !is_id(id.get()) {
            return Err("`id` must be a string or a whole number");
        }
        let method = method::find(&name)
            .map_or_else(|| MethodName::Unknown(name.into_owned()), MethodName::Known);
        Ok(Self::Request(Request {
            bytes: bytes.clone(),
            id: span(id)?,
            method,
            params,
            read: OnceLock::new(),
        }))
    }
}

/// A text that can be read, or a whole number however it is written: `1.0` is one, `1.5` and half a character are
/// not, and no answer could name them.
fn is_id(raw: &str) -> bool {
    match raw.as_bytes() {
        [b'"', ..] => !raw.contains('\\') || serde_json::from_str::<String>(raw).is_ok(),
        [b'-' | b'0'..=b'9', ..] => {
            !raw.contains(['.', 'e', 'E'])
                || raw
                    .parse()
                    .is_ok_and(|number: f64| number.is_finite() && number.fract() == 0.0)
        }
        _ => false,
    }
}

impl Request {
    /// All of its bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The id exactly as it was written: `1`, `1.0` and `"1"` are three.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.text(&self.bytes)
    }

    /// The parameters as they were written; `{}` if there are none.
    #[must_use]
    pub fn params(&self) -> Bytes {
        self.params.map_or_else(
            || Bytes::from_static(b"{}"),
            |span| self.bytes.slice(span.range()),
        )
    }

    /// The members of the parameters that decisions need.
    ///
    /// # Errors
    /// `INVALID_PARAMS` if one of them has a wrong type or stands twice.
    pub fn read_params(&self) -> Result<&Params, Fault> {
        let read = self
            .read
            .get_or_init(|| Params::read(self.params()).map(Box::new));
        read.as_deref().map_err(|message| Fault {
            code: code::INVALID_PARAMS,
            message: format!("Invalid params: {message}"),
            id: Some(self.bytes.slice(self.id.range())),
        })
    }
}

impl Notification {
    /// The parameters as they were written; `{}` if there are none.
    #[must_use]
    pub fn params(&self) -> Bytes {
        self.params.map_or_else(
            || Bytes::from_static(b"{}"),
            |span| self.bytes.slice(span.range()),
        )
    }
}

impl Response {
    /// The id exactly as it was written; `None` if absent or null.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.map(|span| span.text(&self.bytes))
    }

    /// The result or the error object, as it was written.
    #[must_use]
    pub fn outcome(&self) -> Outcome<Bytes> {
        match self.outcome {
            Outcome::Result(span) => Outcome::Result(self.bytes.slice(span.range())),
            Outcome::Error(span) => Outcome::Error(self.bytes.slice(span.range())),
        }
    }
}

#[cfg(test)]
mod tests;
