//! `docs/reference/errors.md`: what a client hears of each rejection, from one sample of each.

use std::fmt::Write as _;
use std::time::Duration;

use policy::{LimitName, Scope, Scopes, UpstreamId};
use wire::{Fault, Revision, code};

use super::{Measure, Rejection, Whose};
use crate::consents::Unagreed;
use crate::pins::Withheld;

/// `docs/reference/errors.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Errors\n\nGenerated from `crates/gateway/src/rejection.rs` by `cargo xtask bless`; do not edit.\n\n\
         What a client is told when a call gets no answer. `data.call` is the id under which the audit log has the \
         rest. Where legacy revisions differ from 2026-07-28 both are given. Codes outside JSON-RPC's reserved range \
         are ours. The reason is the word that [metrics](metrics.md) have for it.\n\n\
         | reason | HTTP | code | text | whose doing | same call again? |\n|---|---|---|---|---|---|\n",
    );
    for sample in samples() {
        let (old, new) = (
            sample.response(Revision::LATEST_LEGACY),
            sample.response(Revision::LATEST),
        );
        let both = |old: String, new: String| {
            if old == new {
                new
            } else {
                format!("{new} (legacy {old})")
            }
        };
        let whose = match new.whose {
            Whose::Client => "client",
            Whose::Us => "gate",
            Whose::Upstream => "upstream",
        };
        let again = match (new.retry, new.retry_after) {
            (false, _) => "no".to_owned(),
            (true, None) => "yes".to_owned(),
            (true, Some(after)) => format!("after {after:?} (`Retry-After`)"),
        };
        // Writing to a String cannot fail.
        let _written = writeln!(
            page,
            "| `{}` | {} | {} | {} | {whose} | {again} |",
            sample.reason(),
            both(old.status.to_string(), new.status.to_string()),
            both(old.code.to_string(), new.code.to_string()),
            new.message.replace('|', "\\|"),
        );
    }
    page
}

/// One of each, in the order of the page.
fn samples() -> Vec<Rejection> {
    let fault = |code, message: &str| Fault {
        code,
        message: message.to_owned(),
        id: None,
    };
    let upstream =
        |cause| UpstreamId::parse("files").map(|upstream| Rejection::Upstream { upstream, cause });
    let mut samples = vec![
        Rejection::NotMcp(fault(code::PARSE_ERROR, "Parse error: line 1 column 2")),
        Rejection::NotMcp(fault(
            code::INVALID_REQUEST,
            "Invalid Request: `jsonrpc` must be \"2.0\"",
        )),
        Rejection::NotAllowed("this revision has no batches".into()),
        Rejection::UnknownMethod("tools/fly".into()),
        Rejection::BadParams("`name` must be a string".into()),
        Rejection::MissingMeta(wire::meta::CLIENT_CAPABILITIES),
        Rejection::HeaderMismatch("mcp-name".into()),
        Rejection::UnsupportedRevision("1900-01-01".into()),
        Rejection::UnknownServer,
        Rejection::UnknownTool("files.fly".into()),
        Rejection::UnknownPrompt("files.fly".into()),
        Rejection::UnknownResource("file:///nowhere".into()),
        Rejection::UnknownTask,
        Rejection::BadCursor,
        Rejection::BadState,
        Rejection::MissingCapability("{\"elicitation\":{\"url\":{}}}"),
        Rejection::Unanswered,
        Rejection::BadArguments("`/path`: expected a string, got 7".into()),
        Rejection::BadSchema {
            tool: "files.read".into(),
            reason: String::new(),
        },
        Rejection::BadOutput {
            tool: "files.read".into(),
            reason: String::new(),
        },
        Rejection::Denied("files.write".into()),
        Rejection::Withheld {
            entry: "files.read".into(),
            why: Withheld::Changed,
        },
        Rejection::Unconsented(Unagreed::Waiting("0123456789ab".into())),
        Rejection::Unconsented(Unagreed::Refused(String::new())),
        Rejection::Unconsented(Unagreed::Unanswered),
        Rejection::Unconsented(Unagreed::TooMany),
        Rejection::Unconsented(Unagreed::Unavailable),
        Rejection::Uncounted,
        Rejection::Busy,
        Rejection::Draining,
        Rejection::Unauthenticated(auth::AuthError::Missing),
        Rejection::Unauthenticated(auth::AuthError::Unknown),
        Rejection::Unscoped {
            needed: Scopes::from(Scope::Tools),
            held: Scopes::NONE,
        },
        Rejection::NotOwner,
        Rejection::Foreign {
            what: "Host",
            value: String::new(),
        },
        Rejection::Foreign {
            what: "Origin",
            value: String::new(),
        },
        Rejection::Http {
            status: 404,
            reason: "No such path",
        },
        Rejection::Http {
            status: 405,
            reason: "Use POST",
        },
        Rejection::Http {
            status: 408,
            reason: "The body came too slowly",
        },
        Rejection::Http {
            status: 413,
            reason: "The body is too large",
        },
        Rejection::Http {
            status: 415,
            reason: "Send `Content-Type: application/json`",
        },
        Rejection::NoSession,
        Rejection::UnknownSession,
        Rejection::UnknownStream,
        Rejection::TooManySessions,
        Rejection::Unrecordable(store::Error::Closed.into()),
        Rejection::Unconfirmed(store::Error::Closed.into()),
        Rejection::Cancelled,
    ];
    let connect = |more| {
        let page = "https://gate.example.com/console/connect/files".to_owned();
        upstream::Error::Credential(upstream::CredentialError::NotConnected { page, more })
    };
    let nothing = || std::sync::Arc::new(std::fmt::Error);
    let causes = [
        upstream::Error::Down {
            state: "restarting",
        },
        upstream::Error::Full,
        upstream::Error::Gone,
        upstream::Error::Silent {
            waited: Duration::from_secs(60),
        },
        upstream::Error::Status { status: 500 },
        upstream::Error::Protocol(String::new()),
        connect(false),
        connect(true),
        upstream::Error::Credential(upstream::CredentialError::None(nothing())),
        upstream::Error::Credential(upstream::CredentialError::Unavailable(nothing())),
    ];
    samples.extend(causes.into_iter().filter_map(|cause| upstream(cause).ok()));
    let measures = [
        ("tool_call", Measure::Rate),
        ("a_month", Measure::Quota),
        ("in_flight_per_principal", Measure::AtOnce),
    ];
    let too_many = |(name, measure)| {
        let limit = LimitName::new(name).ok()?;
        let retry_after = Duration::from_millis(600);
        Some(Rejection::TooMany {
            limit,
            measure,
            retry_after,
        })
    };
    samples.extend(measures.into_iter().filter_map(too_many));
    samples
}
