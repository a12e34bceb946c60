//! A word for each rejection: what metrics tell them apart by, and the first column of `docs/reference/errors.md`.

use upstream::{CredentialError, Error as Cause};

use super::{Measure, Rejection};
use crate::consents::Unagreed;

impl Rejection {
    /// Its word, from a closed set: nothing of it is a client's or an upstream's.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotMcp(_) => "not_mcp",
            Self::NotAllowed(_) => "not_allowed",
            Self::UnknownMethod(_) => "unknown_method",
            Self::BadParams(_) => "bad_params",
            Self::MissingMeta(_) => "missing_meta",
            Self::HeaderMismatch(_) => "header_mismatch",
            Self::UnsupportedRevision(_) => "unsupported_revision",
            Self::UnknownServer => "unknown_server",
            Self::UnknownTool(_) => "unknown_tool",
            Self::UnknownPrompt(_) => "unknown_prompt",
            Self::UnknownResource(_) => "unknown_resource",
            Self::UnknownTask => "unknown_task",
            Self::BadCursor => "bad_cursor",
            Self::BadState => "bad_state",
            Self::MissingCapability(_) => "missing_capability",
            Self::Unanswered => "unanswered",
            Self::BadArguments(_) => "bad_arguments",
            Self::BadSchema { .. } => "bad_schema",
            Self::BadOutput { .. } => "bad_output",
            Self::Denied(_) => "denied",
            Self::Withheld { .. } => "withheld",
            Self::Screened { .. } => "screened",
            Self::Unconsented(why) => unagreed(why),
            Self::TooMany { measure, .. } => match measure {
                Measure::Rate => "rate_limit",
                Measure::Quota => "quota",
                Measure::AtOnce => "too_many_at_once",
            },
            Self::Uncounted => "uncounted",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Unscoped { .. } => "unscoped",
            Self::NotOwner => "not_owner",
            Self::Foreign { .. } => "foreign",
            Self::Http { .. } => "http",
            Self::NoSession => "no_session",
            Self::UnknownSession => "unknown_session",
            Self::UnknownStream => "unknown_stream",
            Self::TooManySessions => "too_many_sessions",
            Self::Upstream { cause, .. } => of_upstream(cause),
            Self::Unrecordable(_) => "unrecordable",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::Cancelled => "cancelled",
        }
    }
}

fn unagreed(why: &Unagreed) -> &'static str {
    match why {
        Unagreed::Waiting(_) | Unagreed::Unasked => "consent_needed",
        Unagreed::Refused(_) => "consent_refused",
        Unagreed::Unanswered => "consent_unanswered",
        Unagreed::TooMany => "consent_too_many",
        Unagreed::Unavailable => "consent_unavailable",
    }
}

fn of_upstream(cause: &Cause) -> &'static str {
    match cause {
        Cause::Down { .. } | Cause::Spawn { .. } => "upstream_down",
        Cause::Full => "upstream_full",
        Cause::Gone => "upstream_gone",
        Cause::Silent { .. } => "upstream_silent",
        Cause::Net(_) => "upstream_unreachable",
        Cause::Status { .. } => "upstream_status",
        Cause::Protocol(_) => "upstream_protocol",
        Cause::Refused { .. } => "upstream_refused",
        Cause::Credential(CredentialError::NotConnected { .. }) => "upstream_not_connected",
        Cause::Credential(CredentialError::None(_) | CredentialError::Unavailable(_)) => {
            "upstream_credential"
        }
        Cause::Native(_) => "upstream_native",
    }
}
