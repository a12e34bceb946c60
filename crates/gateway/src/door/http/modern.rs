//! The stateless revisions: every request stands alone, and its end is the end of its connection.

use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures_util::stream::unfold;
use policy::PrincipalId;
use tokio::sync::mpsc;
use upstream::{Event, Logs};
use wire::header as mcp;
use wire::{MethodName, Request, Revision, encode, method, sse};

use super::super::{EVENTS_MAX, Unfit, Visit, modern};
use super::{Call, Form, HttpReply, KEEP_ALIVE_EVERY, TRANSPORT, answer, header};
use crate::call::{Asked, SaidOfArguments};
use crate::gate::Reply;
use crate::traces::carried;
use crate::{Gate, Rejection};

impl Gate {
    pub(super) async fn post_modern(
        self: &Arc<Self>,
        visit: &Visit,
        headers: &HeaderMap,
        form: Form,
        request: Request,
    ) -> HttpReply {
        let said = header(headers, mcp::PROTOCOL_VERSION);
        let at = self.parts.clock.wall();
        let checked = modern(request, visit, TRANSPORT, said, at);
        let checked = checked.and_then(|mut asked| {
            asked.mirrored = Some(said_of_arguments(headers));
            asked.carrier = carried(headers);
            match mirrored(&asked, headers) {
                Ok(()) => Ok(asked),
                Err(rejection) => Err(Box::new(Unfit {
                    request: asked.request,
                    rejection,
                })),
            }
        });
        match checked {
            Ok(asked) if asked.request.method.as_str() == method::LISTEN.name => {
                Box::pin(self.listen(asked)).await
            }
            // The end of the response stream is the client's way to cancel: dropping the call is right.
            Ok(asked) => self.respond(asked, form).await,
            Err(unfit) => {
                let Unfit { request, rejection } = *unfit;
                HttpReply::whole(
                    self.refuse_request(
                        visit,
                        &request,
                        carried(headers),
                        Revision::LATEST,
                        &rejection,
                    )
                    .await,
                )
            }
        }
    }

    /// Runs a call. JSON if the answer is the first thing ready, else events and the answer last.
    async fn respond(self: &Arc<Self>, asked: Asked, form: Form) -> HttpReply {
        // A client that wants nothing before the answer gets it as one JSON body.
        if form == Form::Json || !wants_events(&asked) {
            let reply = Box::pin(answer(Arc::clone(self), asked, None, None)).await;
            return form.put(HttpReply::whole(reply));
        }
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let mut call: Call = Box::pin(answer(Arc::clone(self), asked, None, Some(sender)));
        let (first, reply) = tokio::select! {
            biased;
            reply = &mut call => (events.try_recv().ok(), Some(reply)),
            Some(event) = events.recv() => (Some(event), None),
        };
        match (first, reply) {
            (None, Some(reply)) => form.put(HttpReply::whole(reply)),
            (first, reply) => HttpReply::events(unfold(
                Streaming {
                    first,
                    events,
                    call: reply.is_none().then_some(call),
                    reply,
                },
                Streaming::next,
            )),
        }
    }

    /// A stream of what `subscriptions/listen` asks for.
    async fn listen(self: &Arc<Self>, asked: Asked) -> HttpReply {
        let principal = &asked.principal;
        let seat = match Seat::take(self, &principal.id) {
            Ok(seat) => seat,
            Err(rejection) => {
                let visit = Visit {
                    principal: Arc::clone(principal),
                    server: asked.server.clone(),
                    address: asked.address,
                };
                let carrier = asked.carrier.clone();
                let refused = self.refuse_request(
                    &visit,
                    &asked.request,
                    carrier,
                    asked.revision,
                    &rejection,
                );
                return HttpReply::whole(refused.await);
            }
        };
        let listener = match self.open_listener(&asked).await {
            Ok(listener) => listener,
            Err(reply) => return HttpReply::whole(reply),
        };
        let state = (seat, listener, false);
        HttpReply::events(unfold(
            state,
            |(seat, mut listener, mut is_over)| async move {
                let gate = &seat.gate;
                let message = loop {
                    tokio::select! {
                        message = listener.next(gate) => break message.map(|message| sse::message(&message)),
                        () = gate.draining.cancelled(), if !is_over => {
                            is_over = true;
                            listener.end();
                        }
                        () = tokio::time::sleep(KEEP_ALIVE_EVERY) => break Some(Bytes::from_static(sse::KEEP_ALIVE)),
                    }
                };
                Some((message?, (seat, listener, is_over)))
            },
        ))
    }
}

/// The place among the sessions of a stream that lasts as long as its client wants; given back when dropped.
struct Seat {
    gate: Arc<Gate>,
    principal: PrincipalId,
}

impl Seat {
    fn take(gate: &Arc<Gate>, principal: &PrincipalId) -> Result<Self, Rejection> {
        let settings = &gate.view().settings.sessions;
        let now = gate.parts.clock.now();
        gate.sessions.seat(settings, now, principal)?;
        Ok(Self {
            gate: Arc::clone(gate),
            principal: principal.clone(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.sessions.leave(&self.principal);
    }
}

/// Whether a client may hear of anything before the answer: it gave a progress token, or wants logs.
fn wants_events(asked: &Asked) -> bool {
    asked.caller.logs != Logs::Off || has_token(&asked.request)
}

pub(super) fn has_token(request: &Request) -> bool {
    let Ok(params) = request.read_params() else {
        return false;
    };
    params
        .meta()
        .is_ok_and(|meta| meta.progress_token().is_some())
}

/// The headers that repeat arguments; the tool's schema says later which must be there.
fn said_of_arguments(headers: &HeaderMap) -> SaidOfArguments {
    let read = |value: &HeaderValue| {
        let decoded = value.to_str().ok().and_then(mcp::decode);
        decoded.map(std::borrow::Cow::into_owned).ok_or(())
    };
    headers
        .iter()
        .filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(mcp::PARAM_PREFIX)?;
            Some((name.to_owned(), read(value)))
        })
        .collect()
}

/// Headers repeat the body, so that what an intermediary decided on is what we do (2026-07-28, "Transports").
fn mirrored(asked: &Asked, headers: &HeaderMap) -> Result<(), Rejection> {
    let once = |name: &'static str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        value
            .filter(|_| values.next().is_none())
            .and_then(mcp::decode)
            .ok_or(Rejection::HeaderMismatch(name.into()))
    };
    let agree = |name: &'static str, body: &str| {
        if once(name)? == body {
            Ok(())
        } else {
            Err(Rejection::HeaderMismatch(name.into()))
        }
    };
    agree(mcp::PROTOCOL_VERSION, asked.revision.as_str())?;
    agree(mcp::METHOD, asked.request.method.as_str())?;
    let MethodName::Known(method) = &asked.request.method else {
        return Ok(());
    };
    let Some(mirror) = method.mirror else {
        return Ok(());
    };
    let params = asked.request.read_params().map_err(Rejection::NotMcp)?;
    let value = match mirror {
        method::Mirror::Name => &params.name,
        method::Mirror::Uri => &params.uri,
        method::Mirror::TaskId => &params.task_id,
    };
    // A missing name is the resolver's to complain about; a header without one is a disagreement.
    match value {
        Some(value) => agree(mcp::NAME, value),
        None if headers.contains_key(mcp::NAME) => Err(Rejection::HeaderMismatch(mcp::NAME.into())),
        None => Ok(()),
    }
}

/// A response that became a stream.
struct Streaming {
    first: Option<Event>,
    events: mpsc::Receiver<Event>,
    /// `None` once it is over.
    call: Option<Call>,
    reply: Option<Reply>,
}

impl Streaming {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            let event = match (self.first.take(), &mut self.call) {
                (Some(event), _) => Some(event),
                (None, Some(call)) => tokio::select! {
                    biased;
                    Some(event) = self.events.recv() => Some(event),
                    reply = call => {
                        (self.reply, self.call) = (Some(reply), None);
                        continue;
                    }
                    () = tokio::time::sleep(KEEP_ALIVE_EVERY) => {
                        return Some((Bytes::from_static(sse::KEEP_ALIVE), self));
                    }
                },
                // What was told before the answer goes out before it.
                (None, None) => self.events.try_recv().ok(),
            };
            match event {
                // Modern clients are asked in results: there is none for them here.
                Some(Event::Asked(_)) => {}
                Some(Event::Told(notice)) => {
                    let message = encode::notification(&notice.method, &notice.params);
                    return Some((sse::message(&message), self));
                }
                None => {
                    let reply = self.reply.take()?;
                    return Some((sse::message(&reply.body), self));
                }
            }
        }
    }
}
