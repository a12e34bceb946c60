//! What goes to the upstream and what came back, looked through; and the answer made fit for the client.

use std::borrow::Cow;

use bytes::Bytes;
use policy::Instant;
use policy::screen::{Place, Refusal, Screen};
use wire::method::Subject;
use wire::{Outcome, Params, Revision, Span, Splice, json};

use super::{Authorized, Call, View, Yield};
use crate::exchange::Desk;
use crate::record::CallRecord;
use crate::{Rejection, screening, translate};

/// What is ours, or sealed, or said around the call.
const AROUND: [&str; 3] = ["_meta", "requestState", "task"];
/// What the call is about. It was looked up already, so it can be refused but not changed.
const SUBJECT: [&str; 5] = ["name", "uri", "ref", "taskId", "cursor"];

/// Looks through what will be sent. Before the rules and people are asked about it: what they allow is what is sent.
pub(super) fn arguments(
    call: &mut Call<'_>,
    view: &View,
    record: &mut CallRecord,
) -> Result<(), Rejection> {
    let screen = view.screen();
    if !screen.looks_at(Place::Arguments) {
        return Ok(());
    }
    let whole = call.params.text();
    let members = json::members(whole).map_err(|error| Rejection::BadParams(error.to_string()))?;
    let mut splice = Splice::new(whole);
    let mut is_changed = false;
    for (name, raw) in &members {
        if AROUND.contains(&name.as_ref()) {
            continue;
        }
        let screened = screen.screen(Place::Arguments, raw.get().as_bytes());
        let screened = screened.map_err(|refusal| refused(Place::Arguments, refusal, record))?;
        record.note_found(&screened.found);
        if let Cow::Owned(text) = screened.text {
            if SUBJECT.contains(&name.as_ref()) {
                let refusal = Refusal::Member(screened.found);
                return Err(refused(Place::Arguments, refusal, record));
            }
            if let Some(at) = Span::of(raw.get().as_bytes(), whole) {
                splice.replace(at, text);
                is_changed = true;
            }
        }
    }
    if !is_changed {
        return Ok(());
    }
    let params = Params::read(splice.finish().into()).map_err(Rejection::BadParams)?;
    if let Some(arguments) = params.arguments() {
        call.arguments = json::strict_value(&arguments)
            .map_err(|error| Rejection::BadParams(error.to_string()))?;
        record.note_arguments(&call.entry, arguments);
    }
    call.params = Cow::Owned(params);
    Ok(())
}

/// Notes what was found before it was refused.
fn refused(place: Place, refusal: Refusal, record: &mut CallRecord) -> Rejection {
    if let Some(found) = refusal.found() {
        record.note_found(found);
    }
    Rejection::Screened { place, refusal }
}

/// What came back, made fit for the client: its shape is checked, it is looked through, and put into the client's era.
pub(super) fn screen(
    authorized: &Authorized<'_>,
    reply: upstream::Reply,
    view: &View,
    record: &mut CallRecord,
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
            let error = look_through(view.screen(), error, record)?;
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
    let text = look_through(view.screen(), text.clone(), record)?;
    let text = translate::result(era, method, text);
    Ok(Yield::Result {
        text,
        is_tool_error,
    })
}

fn look_through(screen: &Screen, text: Bytes, record: &mut CallRecord) -> Result<Bytes, Rejection> {
    let screened = screening::result(screen, text);
    let (text, found) = screened.map_err(|refusal| refused(Place::Result, refusal, record))?;
    record.note_found(&found);
    Ok(text)
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
    match (told, view.result_max()) {
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
