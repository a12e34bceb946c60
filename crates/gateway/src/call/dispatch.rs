//! The upstream does it: nothing that is not [`Authorized`] gets here.

use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::Either;
use policy::Instant;
use policy::screen::Place;
use upstream::{Caller, Events};
use wire::method::Subject;
use wire::trace::Context;
use wire::{Era, Outcome, Params, Reference, json};

use super::{Authorized, Call, View};
use crate::catalog::Entry;
use crate::exchange::{Desk, Exchange};
use crate::limits::Permit;
use crate::screening::Sieve;
use crate::{Rejection, heartbeat};

/// What is known of a call since it began.
pub(super) struct Begun {
    /// When that was.
    pub(super) at: Instant,
    /// What its upstream is told of its trace.
    pub(super) trace: Option<Arc<Context>>,
}

/// Has the upstream do it. The permit is held until the answer is here, and told of it.
pub(super) async fn dispatch(
    authorized: &Authorized<'_>,
    mut permit: Permit,
    desk: &Desk,
    events: Option<&Events>,
    view: &View,
    begun: Begun,
) -> Result<upstream::Reply, Rejection> {
    permit.depart();
    let answer = Box::pin(ask(authorized, desk, events, view, begun)).await;
    permit.arrive(&answer);
    answer
}

/// Asks the upstream, with a heartbeat for the client.
async fn ask(
    authorized: &Authorized<'_>,
    desk: &Desk,
    events: Option<&Events>,
    view: &View,
    begun: Begun,
) -> Result<upstream::Reply, Rejection> {
    let Call {
        asked,
        method,
        params,
        entry,
        task,
        ..
    } = &authorized.call;
    let is_named = matches!(method.subject, Subject::Tool | Subject::Prompt)
        || matches!(params.reference, Some(Reference::Prompt(_)));
    if method.name == wire::method::COMPLETE.name && !entry.link.snapshot().listing.completes {
        // Not asked what it never offered; to the client that is "nothing to suggest".
        let nothing =
            Bytes::from_static(br#"{"completion":{"values":[],"total":0,"hasMore":false}}"#);
        return Ok(upstream::Reply {
            outcome: Outcome::Result(nothing),
            era: Era::Legacy,
        });
    }
    if let (Subject::Resource, Some(session), Some(uri)) =
        (method.subject, &asked.session, &params.uri)
        && method.name == wire::method::SUBSCRIBE.name
    {
        match Box::pin(session.subscriptions.add(&entry.link, uri)).await {
            // It quotes the upstream.
            Err(Rejection::BadParams(why)) => {
                let place = Place::Result;
                let screened = view.screen().screen_text(place, &why);
                let (why, _found) =
                    screened.map_err(|refusal| Rejection::Screened { place, refusal })?;
                return Err(Rejection::BadParams(why.into_owned()));
            }
            added => added?,
        }
        return Ok(upstream::Reply {
            outcome: Outcome::Result(Bytes::from_static(b"{}")),
            era: Era::Legacy,
        });
    }
    let mut request = upstream::Request {
        method,
        extension: (method.subject == Subject::Method).then(|| entry.item.key.clone()),
        params: Params::clone(params),
        name: is_named.then(|| entry.item.key.clone()),
        task_id: task.as_ref().map(|task| task.id.clone()),
        input: None,
        mirrored: mirrored(entry, params),
        trace: begun.trace,
        caller: asked.caller.clone(),
    };
    if let Some(task) = task {
        task.direct(&mut request.caller);
    }
    if !authorized.samples {
        without_sampling(&mut request.caller);
    }
    let calls = &view.settings.calls;
    let sieve = Sieve::new(view.screen(), &authorized.call.heard);
    let token = request.progress_token();
    let (events, heartbeat) = heartbeat::between(calls.heartbeat, token, events, sieve);
    let exchange = Exchange {
        link: &entry.link,
        request,
        principal: &asked.principal.id,
        era: asked.revision.era(),
        key: &entry.key,
        events: events.as_ref(),
        carrier: None,
        now: begun.at,
    };
    let may_be_task = view.catalog.tasks
        && method.name == wire::method::TOOLS_CALL.name
        && entry.link.snapshot().listing.tasks;
    let mut abilities = asked.caller.abilities;
    abilities.sampling &= authorized.samples;
    abilities.sampling_tools &= authorized.samples;
    // Tasks are rare: only the way of all other calls is not behind a box.
    let answer: Either<Pin<Box<dyn Future<Output = _> + Send + '_>>, _> = match task {
        Some(task) => Either::Left(Box::pin(desk.follow(exchange, task, abilities))),
        None if may_be_task => Either::Left(Box::pin(desk.call_tool(
            exchange,
            &entry.item,
            asked.revision,
        ))),
        None => Either::Right(desk.exchange(exchange)),
    };
    let answer = pin!(answer);
    let answer = heartbeat::over(heartbeat, answer);
    let Some(waited) = calls.deadline(&asked.client) else {
        return answer.await;
    };
    // Dropped at the deadline, the call is cancelled upstream.
    tokio::time::timeout(waited, answer)
        .await
        .unwrap_or_else(|_elapsed| {
            Err(Rejection::Upstream {
                upstream: entry.link.id().clone(),
                cause: upstream::Error::Silent { waited },
            })
        })
}

/// To the upstream, the client is one that has no model.
fn without_sampling(caller: &mut Caller) {
    if !caller.abilities.sampling {
        return;
    }
    (caller.abilities.sampling, caller.abilities.sampling_tools) = (false, false);
    let told = caller.capabilities.take();
    caller.capabilities = told.and_then(|told| {
        let without = json::without(told.as_bytes(), "sampling");
        String::from_utf8(without).ok()
    });
}

/// The headers that repeat arguments, for a modern upstream over HTTP.
fn mirrored(entry: &Entry, params: &Params) -> Vec<(String, String)> {
    let mirrored = entry.mirrored();
    if mirrored.is_empty() {
        return Vec::new();
    }
    let arguments = params.arguments();
    json::strict_value(arguments.as_deref().unwrap_or(b"{}"))
        .map(|arguments| mirrored.values(&arguments))
        .unwrap_or_default()
}
