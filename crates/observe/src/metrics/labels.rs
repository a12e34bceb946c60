//! The closed sets that labels come from, and the words for them; those of OpenTelemetry's conventions are its own.

use store::Outcome;
use wire::{Revision, code, method};

/// A set of words with the values that they stand for.
macro_rules! words {
    ($(#[doc = $about:literal])+ $set:ident { $($(#[doc = $doc:literal])+ $value:ident $word:literal)+ }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $set { $($(#[doc = $doc])+ $value,)+ }

        impl $set {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value,)+];

            /// Its word in metrics.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$value => $word,)+ }
            }
        }
    };
}

words! {
    /// What the rules said of a call.
    Decided {
        /// No rule was asked.
        Unasked "-"
        /// It may be made.
        Allow "allow"
        /// It may be made if a person says so.
        Ask "ask"
        /// A rule denies it.
        Deny "deny"
        /// No rule names it, or there is no such entry.
        Unseen "unseen"
        /// Nobody has approved the entry.
        Withheld "withheld"
    }
}

words! {
    /// How asking an upstream ended.
    UpstreamOutcome {
        /// It answered.
        Ok "ok"
        /// It answered with a tool's own failure.
        ToolError "tool_error"
        /// It answered with an error.
        Error "error"
        /// It was silent for too long.
        Timeout "timeout"
        /// It was not there, or had no room.
        Unavailable "unavailable"
        /// It went away meanwhile.
        Gone "gone"
        /// There was no credential for it.
        Credential "credential"
        /// It said what it must not say.
        Protocol "protocol"
        /// The client, or the gate, no longer wanted the answer.
        Cancelled "cancelled"
    }
}

words! {
    /// How a try to prove who is calling ended.
    AuthOutcome {
        /// Somebody is known by it.
        Ok "ok"
        /// Nothing was presented.
        Missing "missing"
        /// It is no credential.
        Malformed "malformed"
        /// It is not one of ours.
        Unknown "unknown"
        /// It does not hold.
        Invalid "invalid"
        /// It is too old.
        Expired "expired"
        /// It was taken back.
        Revoked "revoked"
        /// Its holder did not prove to have its key.
        Proof "proof"
        /// It cannot be checked now.
        Unavailable "unavailable"
    }
}

words! {
    /// How a push of metrics ended.
    PushOutcome {
        /// The collector took all of it.
        Ok "ok"
        /// It left some out.
        Partly "partly"
        /// It took nothing, or did not answer.
        Failed "failed"
    }
}

impl Decided {
    /// The one of that word, which records have too.
    #[must_use]
    pub fn of(word: &str) -> Self {
        let mut all = Self::ALL.iter().copied();
        all.find(|decided| decided.word() == word)
            .unwrap_or(Self::Unasked)
    }
}

impl UpstreamOutcome {
    /// `error.type` of OpenTelemetry's conventions.
    pub(super) fn error(self, code: Option<i64>) -> &'static str {
        match self {
            Self::Ok => "",
            Self::Error => code_word(code),
            Self::ToolError
            | Self::Timeout
            | Self::Unavailable
            | Self::Gone
            | Self::Credential
            | Self::Protocol
            | Self::Cancelled => self.word(),
        }
    }
}

/// What carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Carried {
    Http,
    WebSocket,
    Pipe,
    /// This process, or nothing.
    Here,
}

impl Carried {
    /// By the word that records have for it.
    pub(super) fn by(transport: &str) -> Self {
        match transport {
            "http" | "sse" => Self::Http,
            "websocket" => Self::WebSocket,
            "stdio" => Self::Pipe,
            _ => Self::Here,
        }
    }

    /// `network.transport`.
    pub(super) fn transport(self) -> &'static str {
        match self {
            Self::Http | Self::WebSocket => "tcp",
            Self::Pipe => "pipe",
            Self::Here => "",
        }
    }

    /// `network.protocol.name`.
    pub(super) fn protocol(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::Pipe | Self::Here => "",
        }
    }
}

/// What one of OpenTelemetry's operations is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) error: &'static str,
    pub(super) revision: Option<Revision>,
    pub(super) carried: Carried,
}

impl Operation {
    /// In the order of the table.
    pub(super) fn labels(&self) -> [&'static str; 6] {
        let is_tool = self.method == method::TOOLS_CALL.name;
        [
            self.method,
            self.error,
            if is_tool { "execute_tool" } else { "" },
            self.revision.map_or("", Revision::as_str),
            self.carried.protocol(),
            self.carried.transport(),
        ]
    }
}

/// `mcp.method.name`: what is no method of MCP's is one word.
pub(super) fn mcp_method(name: &str) -> &'static str {
    method::find(name).map_or("other", |method| method.name)
}

/// `error.type`: empty for what went well.
pub(super) fn error(outcome: Outcome, code: Option<i64>) -> &'static str {
    match outcome {
        Outcome::Ok => "",
        Outcome::ToolError => "tool_error",
        Outcome::Cancelled => "cancelled",
        Outcome::Refused | Outcome::Failed | Outcome::Pending | Outcome::Unknown => code_word(code),
    }
}

/// A code that MCP or we give a meaning to. An upstream may make up others, without end.
fn code_word(code: Option<i64>) -> &'static str {
    let Some(code) = code.and_then(|code| i32::try_from(code).ok()) else {
        return "_OTHER";
    };
    match code {
        code::PARSE_ERROR => "-32700",
        code::INVALID_REQUEST => "-32600",
        code::METHOD_NOT_FOUND => "-32601",
        code::INVALID_PARAMS => "-32602",
        code::INTERNAL_ERROR => "-32603",
        code::RESOURCE_NOT_FOUND => "-32002",
        code::URL_ELICITATION => "-32042",
        code::HEADER_MISMATCH => "-32020",
        code::MISSING_CAPABILITY => "-32021",
        code::UNSUPPORTED_VERSION => "-32022",
        code::LIMITED => "-31001",
        code::UPSTREAM_UNAVAILABLE => "-31002",
        code::UNAUTHENTICATED => "-31003",
        code::UNRECORDABLE => "-31004",
        code::CANCELLED => "-31005",
        code::UNSCOPED => "-31006",
        code::DENIED => "-31007",
        code::UNCONSENTED => "-31008",
        code::WITHHELD => "-31009",
        code::SCREENED => "-31010",
        _ => "_OTHER",
    }
}
