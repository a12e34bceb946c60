//! A call that waits for its principal to connect the upstream: the client is asked to open a page, in the way that its
//! revision has for it.
//!
//! | client | what it gets |
//! |---|---|
//! | modern, opens pages | *input required* with the page; its retry is the same call once more |
//! | legacy, opens pages | the error that says which page to open first |
//! | any other, calls a tool | the tool's own failure, which names the page |
//!
//! Others get the rejection as it is, which names the page too. Sources: MCP 2025-11-25 "Elicitation", "URL Mode", and
//! 2026-07-28 "Multi Round-Trip Requests".

use upstream::{CredentialError, Error, Reply};
use wire::method::{Subject, ask};
use wire::{Era, Method, Outcome, code, json};

use crate::Rejection;
use crate::call::Asked;
use crate::exchange::{input_request, input_required};

/// What to tell the client in the place of `rejection`, if that is about a connection.
pub(crate) fn ask_to_connect(
    asked: &Asked,
    method: &Method,
    rejection: Rejection,
) -> Result<Reply, Rejection> {
    let Rejection::Upstream {
        upstream,
        cause: Error::Credential(CredentialError::NotConnected { page, more }),
    } = &rejection
    else {
        return Err(rejection);
    };
    let message = match more {
        false => format!("`{upstream}` is not connected yet. Sign in there and allow access."),
        true => format!("`{upstream}` wants more access for this. Sign in there and allow it."),
    };
    let (text, url) = (json::string(&message), json::string(page));
    let opens_pages = asked.caller.abilities.url;
    let may_ask = matches!(
        method.subject,
        Subject::Tool | Subject::Prompt | Subject::Resource
    );
    match asked.revision.era() {
        Era::Modern if opens_pages && may_ask => {
            let page = format!("{{\"mode\":\"url\",\"message\":{text},\"url\":{url}}}");
            let page = input_request(ask::ELICITATION, page.as_bytes());
            Ok(input_required(&json::object([("connect", page)]), None))
        }
        Era::Legacy if opens_pages => {
            let id = uuid::Uuid::new_v4();
            let error = format!(
                "{{\"code\":{},\"message\":{text},\"data\":{{\"elicitations\":[{{\"mode\":\"url\",\
                 \"message\":{text},\"url\":{url},\"elicitationId\":\"{id}\"}}]}}}}",
                code::URL_ELICITATION
            );
            Ok(Reply {
                outcome: Outcome::Error(error.into()),
                era: Era::Legacy,
            })
        }
        Era::Modern | Era::Legacy if method.subject == Subject::Tool => {
            let text = json::string(&format!("{message} Open {page} and call again."));
            let result =
                format!("{{\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"isError\":true}}");
            Ok(Reply {
                outcome: Outcome::Result(result.into()),
                era: Era::Legacy,
            })
        }
        Era::Modern | Era::Legacy => Err(rejection),
    }
}
