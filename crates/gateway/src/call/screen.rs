//! What came back, made fit for the client.

use policy::Instant;
use wire::method::Subject;
use wire::{Outcome, Revision, json};

use super::{Authorized, Call, View, Yield};
use crate::exchange::Desk;
use crate::{Rejection, translate};

/// What came back, made fit for the client: its shape is checked and put into the client's era.
pub(super) fn screen(
    authorized: &Authorized<'_>,
    reply: upstream::Reply,
) -> Result<Yield, Rejection> {
    let Call {
        asked,
        method,
        entry,
        ..
    } = &authorized.call;
    let era = asked.revision.era();
    let garbage = |what: String| Rejection::Upstream {
        upstream: entry.link.id().clone(),
        cause: upstream::Error::Protocol(what),
    };
    let text = match reply.outcome {
        Outcome::Result(text) => text,
        Outcome::Error(error) => {
            json::members(&error).map_err(|error| garbage(error.to_string()))?;
            return Ok(Yield::Error(translate::error(
                asked.revision,
                method,
                error,
            )));
        }
    };
    let members = json::members(&text).map_err(|error| garbage(error.to_string()))?;
    let is_tool_error = members
        .iter()
        .any(|(key, raw)| key == "isError" && raw.get() == "true");
    let text = translate::result(era, method, text.clone());
    Ok(Yield::Result {
        text,
        is_tool_error,
    })
}

/// Keeps what is too long to be told at once, if the client's revision has links to it.
pub(super) fn shorten(
    told: Yield,
    authorized: &Authorized<'_>,
    view: &View,
    desk: &Desk,
    now: Instant,
) -> Yield {
    let call = &authorized.call;
    let has_links = call.asked.revision >= Revision::V2025_06_18;
    match (told, view.settings.calls.result_max) {
        (
            Yield::Result {
                text,
                is_tool_error,
            },
            Some(max),
        ) if has_links && call.method.subject == Subject::Tool => {
            let reader = &call.asked.principal.id;
            let text = desk
                .results
                .shortened(text, max, reader, &call.entry.key, now);
            Yield::Result {
                text,
                is_tool_error,
            }
        }
        (told, _) => told,
    }
}
