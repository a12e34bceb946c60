//! What is in the span of a call, and what is not: arguments, results, credentials, resource URIs, and names that a
//! client made up.
//!
//! The names are OpenTelemetry's where it has one ("Semantic conventions for Model Context Protocol", of the `GenAI`
//! conventions, and the general ones); the others begin with `portcullis.`. [`Attribute`] lists all.

use std::time::Duration;

use store::{AuditRow, Outcome};
use wire::trace::{Parent, SpanId};

use super::Own;
use crate::{Stage, Stages};

/// What a span can say. Nothing else gets into one, and the reference page is made of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribute {
    Method,
    Protocol,
    Operation,
    Tool,
    Prompt,
    RequestId,
    StatusCode,
    ErrorType,
    NetworkTransport,
    NetworkProtocol,
    ClientAddress,
    Principal,
    CallId,
    Transport,
    Upstream,
    VirtualServer,
    Decision,
    Rule,
    Consent,
    Screened,
    Outcome,
    BytesIn,
    BytesOut,
    StageDuration,
}

/// Whose word a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// OpenTelemetry's conventions.
    OpenTelemetry,
    Ours,
}

/// What is to be known of an [`Attribute`].
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub(super) name: &'static str,
    /// Its type in OpenTelemetry's words.
    pub(super) kind: &'static str,
    pub(super) when: &'static str,
    pub(super) what: &'static str,
    pub(super) source: Source,
}

impl Attribute {
    pub(super) const ALL: &'static [Self] = &[
        Self::Method,
        Self::Protocol,
        Self::Operation,
        Self::Tool,
        Self::Prompt,
        Self::RequestId,
        Self::StatusCode,
        Self::ErrorType,
        Self::NetworkTransport,
        Self::NetworkProtocol,
        Self::ClientAddress,
        Self::Principal,
        Self::CallId,
        Self::Transport,
        Self::Upstream,
        Self::VirtualServer,
        Self::Decision,
        Self::Rule,
        Self::Consent,
        Self::Screened,
        Self::Outcome,
        Self::BytesIn,
        Self::BytesOut,
        Self::StageDuration,
    ];

    pub(super) fn about(self) -> About {
        use Source::{OpenTelemetry, Ours};
        let about = |source, name, kind, when, what| About {
            name,
            kind,
            when,
            what,
            source,
        };
        let otel = |name, when, what| about(OpenTelemetry, name, "string", when, what);
        let ours = |name, when, what| about(Ours, name, "string", when, what);
        match self {
            Self::Method => otel(
                "mcp.method.name",
                "always",
                "the method; `other` for one that the gate does not know",
            ),
            Self::Protocol => otel(
                "mcp.protocol.version",
                "it is known",
                "the revision of MCP that the client speaks",
            ),
            Self::Operation => otel("gen_ai.operation.name", "`tools/call`", "`execute_tool`"),
            Self::Tool => otel(
                "gen_ai.tool.name",
                "`tools/call` of a tool that the caller sees",
                "the tool, as the catalog has it",
            ),
            Self::Prompt => otel(
                "gen_ai.prompt.name",
                "`prompts/get` of a prompt that the caller sees",
                "the prompt, as the catalog has it",
            ),
            Self::RequestId => otel(
                "jsonrpc.request.id",
                "the request has one of at most 64 bytes",
                "the client's id for the request",
            ),
            Self::StatusCode => otel(
                "rpc.response.status_code",
                "the answer is a JSON-RPC error",
                "its code",
            ),
            Self::ErrorType => otel(
                "error.type",
                "the call failed",
                "the code of the JSON-RPC error, `tool_error` for a tool's own failure, `cancelled` for a call that its client gave up",
            ),
            Self::NetworkTransport => otel("network.transport", "it is known", "`tcp` or `pipe`"),
            Self::NetworkProtocol => otel(
                "network.protocol.name",
                "over a network",
                "`http` or `websocket`",
            ),
            Self::ClientAddress => otel(
                "client.address",
                "`telemetry.traces.principal` is `id`, and it came over a network",
                "the address that the call came from",
            ),
            Self::Principal => otel(
                "enduser.id",
                "`telemetry.traces.principal` is `id` and the caller is known",
                "whose call it is",
            ),
            Self::CallId => ours(
                "portcullis.call.id",
                "always",
                "the id under which the audit log has the call",
            ),
            Self::Transport => ours(
                "portcullis.transport",
                "always",
                "what carried the call, as in the audit log",
            ),
            Self::Upstream => ours("portcullis.upstream", "an upstream is meant", "its alias"),
            Self::VirtualServer => ours(
                "portcullis.virtual_server",
                "the call came to one",
                "its name",
            ),
            Self::Decision => ours(
                "portcullis.decision",
                "the rules were asked",
                "what they said, as in the audit log",
            ),
            Self::Rule => ours("portcullis.rule", "a rule decided", "which"),
            Self::Consent => ours(
                "portcullis.consent",
                "a person was asked",
                "the id under which consents have it",
            ),
            Self::Screened => ours(
                "portcullis.screened",
                "screening found something",
                "kinds and counts",
            ),
            Self::Outcome => ours(
                "portcullis.outcome",
                "always",
                "how the call ended, as in the audit log",
            ),
            Self::BytesIn => about(
                Ours,
                "portcullis.request.size",
                "int",
                "always",
                "bytes of the request",
            ),
            Self::BytesOut => about(
                Ours,
                "portcullis.response.size",
                "int",
                "always",
                "bytes of the answer",
            ),
            Self::StageDuration => about(
                Ours,
                "portcullis.stage.duration_us",
                "int",
                "each event",
                "how long the call was in the stage, all in all, in microseconds",
            ),
        }
    }
}

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Count(u64),
}

/// The span of one call.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) here: Parent,
    pub(super) above: Option<SpanId>,
    pub(super) link: Option<Parent>,
    pub(super) state: Option<String>,
    pub(super) name: String,
    /// Nanoseconds since 1970.
    pub(super) began_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) is_error: bool,
    pub(super) attributes: Vec<(Attribute, Value)>,
    /// The stages that it went through, each when it was entered first, in nanoseconds since 1970, and how long it was
    /// there, in microseconds.
    pub(super) stages: Vec<(Stage, u64, u64)>,
}

impl Span {
    /// All but the end.
    pub(super) fn of(own: &Own, row: &AuditRow) -> Self {
        let method = &*row.method;
        // The name of what the caller does not see is the caller's own word.
        let entry = row.entry.as_deref().filter(|_| &*row.decision != "unseen");
        let tool = entry.filter(|_| method == wire::method::TOOLS_CALL.name);
        let prompt = entry.filter(|_| method == wire::method::PROMPTS_GET.name);
        let name = match tool.or(prompt) {
            Some(entry) => format!("{method} {entry}"),
            None => method.to_owned(),
        };
        let began_us = u64::try_from(row.at_us).unwrap_or_default();
        let mut span = Self {
            here: own.here,
            above: own.above,
            link: own.link,
            state: own.state.clone(),
            name,
            began_ns: began_us.saturating_mul(1000),
            ended_ns: 0,
            is_error: false,
            attributes: Vec::with_capacity(Attribute::ALL.len()),
            stages: Vec::new(),
        };
        let known = |text: &str| (text != "-").then(|| text.to_owned());
        span.say(Attribute::Method, Some(method.to_owned()));
        span.say(Attribute::Protocol, known(&row.revision));
        let is_call = method == wire::method::TOOLS_CALL.name;
        span.say(
            Attribute::Operation,
            is_call.then(|| "execute_tool".to_owned()),
        );
        span.say(Attribute::Tool, tool.map(str::to_owned));
        span.say(Attribute::Prompt, prompt.map(str::to_owned));
        span.say(
            Attribute::RequestId,
            own.request_id.as_deref().map(str::to_owned),
        );
        let (transport, protocol) = network(&row.transport);
        span.say(Attribute::NetworkTransport, transport.map(str::to_owned));
        span.say(Attribute::NetworkProtocol, protocol.map(str::to_owned));
        if own.names_principal {
            span.say(Attribute::ClientAddress, row.address.clone());
            span.say(Attribute::Principal, known(&row.principal));
        }
        span.say(Attribute::CallId, Some(row.call_id.clone()));
        span.say(Attribute::Transport, Some(row.transport.to_string()));
        span.say(Attribute::Upstream, row.upstream.clone());
        span.say(Attribute::VirtualServer, row.server.clone());
        span.say(Attribute::Decision, known(&row.decision));
        span.say(Attribute::Rule, row.rule.clone());
        span.say(Attribute::Consent, row.consent.clone());
        span.say(Attribute::Screened, row.screened.clone());
        span.say(Attribute::Outcome, Some(row.outcome.as_str().to_owned()));
        span.count(Attribute::BytesIn, row.bytes_in);
        span.count(Attribute::BytesOut, row.bytes_out);
        match (row.outcome, row.code) {
            (Outcome::ToolError, _) => span.err("tool_error"),
            (Outcome::Cancelled, _) => span.err("cancelled"),
            (Outcome::Refused | Outcome::Failed, Some(code)) => span.fail(code),
            (Outcome::Refused | Outcome::Failed, None) => span.err("_OTHER"),
            (Outcome::Ok | Outcome::Pending | Outcome::Unknown, _) => {}
        }
        span
    }

    /// The caller got an error with that code.
    pub(super) fn fail(&mut self, code: i64) {
        let code = code.to_string();
        self.attributes.retain(|(attribute, _)| {
            !matches!(attribute, Attribute::StatusCode | Attribute::ErrorType)
        });
        self.say(Attribute::StatusCode, Some(code.clone()));
        self.err(code);
    }

    fn err(&mut self, kind: impl Into<String>) {
        self.is_error = true;
        self.say(Attribute::ErrorType, Some(kind.into()));
    }

    /// It took so long, and was in these stages.
    pub(super) fn end(&mut self, stages: &Stages, taken: Duration) {
        self.ended_ns = self.began_ns.saturating_add(nanos(taken));
        let began = self.began_ns;
        let visits = stages.iter().map(|(stage, visit)| {
            let spent = u64::try_from(visit.spent.as_micros()).unwrap_or(u64::MAX);
            (stage, began.saturating_add(nanos(visit.after)), spent)
        });
        self.stages = visits.collect();
        self.stages.sort_by_key(|(_, at, _)| *at);
    }

    fn say(&mut self, attribute: Attribute, text: Option<String>) {
        if let Some(text) = text {
            self.attributes.push((attribute, Value::Text(text)));
        }
    }

    fn count(&mut self, attribute: Attribute, count: u64) {
        self.attributes.push((attribute, Value::Count(count)));
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// What OpenTelemetry calls what carried a call.
fn network(transport: &str) -> (Option<&'static str>, Option<&'static str>) {
    match transport {
        "http" | "sse" => (Some("tcp"), Some("http")),
        "websocket" => (Some("tcp"), Some("websocket")),
        "stdio" => (Some("pipe"), None),
        _ => (None, None),
    }
}
