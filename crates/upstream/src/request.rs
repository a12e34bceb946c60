//! One call on its way out: what the gate knows, put into the words of the upstream's era.

use std::sync::Arc;

use crate::inbox::Line;
use bytes::Bytes;
use policy::UpstreamId;
use tokio::sync::{mpsc, oneshot};
use wire::trace::Context;
use wire::{Abilities, Era, Level, Method, Outcome, Params, Revision, Rewrite, json, meta};

/// A call that may be made, for one upstream.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked.
    pub method: &'static Method,
    /// The method's name on the wire, where [`method`](Self::method) stands for any.
    pub extension: Option<String>,
    /// The parameters as the client wrote them.
    pub params: Params,
    /// The upstream's own name for the tool or prompt; `None` leaves the parameters' name alone.
    pub name: Option<String>,
    /// The upstream's own id for the task; `None` leaves the parameters' alone.
    pub task_id: Option<String>,
    /// What a modern upstream is told beside the parameters when the client was asked on its behalf.
    pub input: Option<Input>,
    /// Arguments that a modern HTTP request repeats as `Mcp-Param-<name>`: names and values.
    pub mirrored: Vec<(String, String)>,
    /// The trace that it belongs to: in `_meta`, and over HTTP in headers as well.
    pub trace: Option<Arc<Context>>,
    /// Who is asking.
    pub caller: Caller,
}

/// What a retry carries (2026-07-28, multi round-trip requests).
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// `inputResponses` as JSON text. `None`: as the client wrote them.
    pub responses: Option<String>,
    /// The upstream's own `requestState`.
    pub state: Option<String>,
}

/// What a client says of itself with a request (modern form: with each of them).
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The principal, for built-in tools that keep data apart.
    pub principal: Arc<str>,
    /// `{"name":…,"version":…}` as JSON text.
    pub client_info: Option<String>,
    /// What the client can do, as JSON text.
    pub capabilities: Option<String>,
    /// The same, as far as it can be asked something. Only that may be asked of it.
    pub abilities: Abilities,
    /// What it wants to hear of logs.
    pub logs: Logs,
    /// The era that it speaks. An upstream that speaks both is spoken to in the same.
    pub era: Era,
}

/// What a client wants to hear of an upstream's logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Logs {
    /// Nothing: a modern request that names no level.
    #[default]
    Off,
    /// Whatever there is: a legacy client that has set no level.
    Unset,
    /// From this level on.
    From(Level),
}

impl Logs {
    /// Whether a message of that level is told; one without a level counts as the quietest.
    #[must_use]
    pub fn hears(self, level: Option<Level>) -> bool {
        match self {
            Self::Off => false,
            Self::Unset => true,
            Self::From(least) => level.unwrap_or(Level::Debug) >= least,
        }
    }

    /// The level that a modern upstream is asked for.
    fn wished(self) -> Option<Level> {
        match self {
            Self::Off => None,
            Self::Unset => Some(Level::Info),
            Self::From(level) => Some(level),
        }
    }
}

/// What an upstream tells, or asks, while a call is open.
#[derive(Debug)]
pub enum Event {
    /// A notification that belongs to the call (progress, log), the client's own token in it.
    Told(Notice),
    /// Something it wants of the client.
    Asked(Ask),
}

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The method.
    pub method: String,
    /// The parameters as JSON text.
    pub params: Bytes,
}

impl Notice {
    /// A notification.
    #[must_use]
    pub fn new(method: impl Into<String>, params: Bytes) -> Self {
        Self {
            method: method.into(),
            params,
        }
    }
}

/// What an upstream tells outside of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Who tells it; a connection does not know its own name.
    pub upstream: Option<UpstreamId>,
    /// Whom it concerns, if that is one principal.
    pub principal: Option<Arc<str>>,
    /// What is told.
    pub notice: Notice,
}

/// Something an upstream wants of the client: sampling, elicitation, roots. Dropped without an answer, the upstream is
/// told that there is none.
#[derive(Debug)]
pub struct Ask {
    /// `sampling/createMessage`, `elicitation/create` or `roots/list`.
    pub method: String,
    /// The parameters as JSON text.
    pub params: Bytes,
    answer: oneshot::Sender<Outcome<Bytes>>,
}

impl Ask {
    /// A question, and where its answer comes.
    #[must_use]
    pub fn new(
        method: impl Into<String>,
        params: Bytes,
    ) -> (Self, oneshot::Receiver<Outcome<Bytes>>) {
        let (answer, receiver) = oneshot::channel();
        let method = method.into();
        (
            Self {
                method,
                params,
                answer,
            },
            receiver,
        )
    }

    /// The client's answer: a result or an error object.
    pub fn answer(self, outcome: Outcome<Bytes>) {
        // The upstream no longer wants to know if this fails.
        drop(self.answer.send(outcome));
    }

    /// Whether the answer is no longer wanted.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.answer.is_closed()
    }

    /// Ends when the answer is no longer wanted.
    pub async fn withdrawn(&mut self) {
        self.answer.closed().await;
    }
}

/// Where the events of a call go. Bounded: a client that does not read loses notifications, never the answer.
pub type Events = mpsc::Sender<Event>;

/// What the gate calls itself towards upstreams.
pub(crate) const OUR_INFO: &str = concat!(
    "{\"name\":\"portcullis\",\"title\":\"Portcullis\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"}"
);

impl Request {
    /// The parameters for an upstream of that era, with `token` in the place of the client's progress token.
    ///
    /// # Errors
    /// If `_meta` cannot be read.
    pub(crate) fn params_for(&self, era: Era, token: u64) -> Result<Bytes, String> {
        let token = token.to_string();
        self.write_params(era, Some(&token))
    }

    /// The parameters as a modern server in this process reads them, the client's own progress token among them.
    ///
    /// # Errors
    /// If `_meta` cannot be read.
    pub fn modern_params(&self) -> Result<Bytes, String> {
        self.write_params(Era::Modern, None)
    }

    fn write_params(&self, era: Era, other_token: Option<&str>) -> Result<Bytes, String> {
        let meta = self.params.meta()?;
        let none = Context::default();
        let trace = self.trace.as_deref().unwrap_or(&none);
        let token = meta.progress_token().map(|own| other_token.unwrap_or(own));
        let mut extra = String::new();
        let (text, state) = match era {
            Era::Legacy => (meta.rewrite(token, &[], trace), None),
            Era::Modern => {
                let input = self.input.as_ref();
                if let Some(responses) = input.and_then(|input| input.responses.as_deref()) {
                    extra = format!("\"inputResponses\":{responses}");
                    if let Some(state) = input.and_then(|input| input.state.as_deref()) {
                        extra = format!("{extra},\"requestState\":{}", json::string(state));
                    }
                }
                let caller = &self.caller;
                let version = format!("\"{}\"", Revision::LATEST);
                let level = caller
                    .logs
                    .wished()
                    .map(|level| json::string(level.as_str()));
                let mut keys = vec![
                    (meta::PROTOCOL_VERSION, version.as_str()),
                    (
                        meta::CLIENT_INFO,
                        caller.client_info.as_deref().unwrap_or(OUR_INFO),
                    ),
                    (
                        meta::CLIENT_CAPABILITIES,
                        caller.capabilities.as_deref().unwrap_or("{}"),
                    ),
                ];
                keys.extend(level.as_deref().map(|level| (meta::LOG_LEVEL, level)));
                (
                    meta.rewrite(token, &keys, trace),
                    input.and_then(|input| input.state.as_deref()),
                )
            }
        };
        let wanted = Rewrite {
            name: self.name.as_deref(),
            task_id: self.task_id.as_deref(),
            request_state: state,
            extra: (!extra.is_empty()).then_some(extra.as_str()),
        };
        Ok(self
            .params
            .rewrite(self.method.subject, wanted, text.as_deref()))
    }

    /// The client's progress token as it wrote it.
    #[must_use]
    pub fn progress_token(&self) -> Option<String> {
        self.params.meta().ok()?.progress_token().map(str::to_owned)
    }
}

/// One request on its way out over one connection.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing<'a> {
    pub(crate) id: u64,
    pub(crate) method: &'a str,
    pub(crate) params: Bytes,
    /// What `Mcp-Name` repeats.
    pub(crate) named: Option<&'a str>,
    /// What `Mcp-Param-…` repeat.
    pub(crate) mirrored: &'a [(String, String)],
    pub(crate) trace: Option<&'a Context>,
    /// Whose call it is; `None` for our own.
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) line: Option<Line>,
}

impl<'a> Outgoing<'a> {
    /// A request of our own.
    pub(crate) fn own(id: u64, method: &'a str, params: Bytes) -> Self {
        Self {
            id,
            method,
            params,
            named: None,
            mirrored: &[],
            trace: None,
            principal: None,
            line: None,
        }
    }
}

/// The parameters of a request of our own to a modern upstream, which is told that clients can do `declared`.
pub(crate) fn own_params(params: &[u8], declared: Abilities) -> Bytes {
    let meta = json::object([
        (
            meta::PROTOCOL_VERSION,
            format!("\"{}\"", Revision::LATEST).as_str(),
        ),
        (meta::CLIENT_INFO, OUR_INFO),
        (meta::CLIENT_CAPABILITIES, declared.declare().as_str()),
    ]);
    json::with_members(params, &format!("\"_meta\":{meta}")).into()
}
