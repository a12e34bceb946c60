//! The revisions with a handshake: sessions, the streams that belong to them, and batches where they have them.
//!
//! A lost connection is no cancellation here: what was begun goes on, and its client may come back for the rest.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::HeaderMap;
use bytes::Bytes;
use futures_util::future::join_all;
use store::Outcome;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use wire::header as mcp;
use wire::{Era, Fault, Frame, Notification, Request, Revision, encode, method, trace};

use super::super::{EVENTS_MAX, Hello, Visit, batch, legacy};
use super::modern::has_token;
use super::stream::{Driver, resumed, standing};
use super::{Call, Form, HttpReply, Refused, TRANSPORT, USE_POST, answer, header, said_revision};
use crate::call::Asked;
use crate::gate::{Reply, unrecorded};
use crate::record::Opening;
use crate::session::Session;
use crate::traces::carried;
use crate::{Gate, Rejection};

impl Gate {
    pub(super) async fn post_legacy(
        self: &Arc<Self>,
        visit: &Visit,
        headers: &HeaderMap,
        form: Form,
        frame: Frame,
    ) -> HttpReply {
        if let Frame::Request(request) = &frame
            && request.method.as_str() == method::INITIALIZE.name
        {
            return form.put(Box::pin(self.initialize(visit, request, carried(headers))).await);
        }
        let session = match self.session(visit, headers) {
            Ok(session) => session,
            Err(rejection) => {
                return Box::pin(self.without_session(visit, headers, &frame, rejection)).await;
            }
        };
        match frame {
            Frame::Request(request) => {
                let mut asked =
                    legacy(request, &session, visit, TRANSPORT, self.parts.clock.wall());
                asked.carrier = carried(headers);
                self.respond_in(asked, session, form).await
            }
            Frame::Notification(note) => {
                hear(&session, &note);
                HttpReply::empty(202)
            }
            Frame::Response(response) => {
                session.asked.settle(&response);
                HttpReply::empty(202)
            }
        }
    }

    async fn without_session(
        &self,
        visit: &Visit,
        headers: &HeaderMap,
        frame: &Frame,
        rejection: Rejection,
    ) -> HttpReply {
        match frame {
            Frame::Request(request) => {
                let spoken = said_revision(headers).ok().flatten();
                let revision = spoken.unwrap_or(Revision::LATEST_LEGACY);
                let carrier = carried(headers);
                HttpReply::whole(
                    self.refuse_request(visit, request, carrier, revision, &rejection)
                        .await,
                )
            }
            Frame::Notification(_) | Frame::Response(_) => {
                self.refuse(visit, headers, 0, rejection).await
            }
        }
    }

    /// Runs a call within a session. JSON if the answer is the first thing ready, else a stream, which from then on
    /// is filled whether or not anybody reads it.
    async fn respond_in(
        self: &Arc<Self>,
        asked: Asked,
        session: Arc<Session>,
        form: Form,
    ) -> HttpReply {
        let in_session = Some(Arc::clone(&session));
        if form == Form::Json {
            let call = answer(Arc::clone(self), asked, in_session, None);
            return HttpReply::whole(self.linger(Box::pin(call)).await);
        }
        // Most calls of most clients: nothing can come before the answer.
        let view = self.view_of(session.server.as_ref());
        let are_logs = view.is_none_or(|view| view.catalog.logs);
        if form == Form::Either && !may_hear(&asked, are_logs) {
            let call = answer(Arc::clone(self), asked, in_session, None);
            return HttpReply::whole(self.linger(Box::pin(call)).await);
        }
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let call = answer(Arc::clone(self), asked, in_session, Some(sender));
        let mut call = self.linger(Box::pin(call));
        let (first, reply) = tokio::select! {
            biased;
            reply = &mut call => (events.try_recv().ok(), Some(reply)),
            Some(event) = events.recv() => (Some(event), None),
        };
        match (first, reply) {
            (None, Some(reply)) if form == Form::Either || reply.status != 200 => {
                HttpReply::whole(reply)
            }
            (first, reply) => {
                let (mut driver, body) = Driver::begin(self, session, events);
                // Before the body is asked for: what is there already goes out in one piece.
                if let Some(first) = first {
                    driver.write(first);
                }
                match (reply, call.take()) {
                    (Some(reply), _) => driver.finish(reply),
                    (None, Some(call)) => drop(self.lingering.spawn(driver.run(call))),
                    (None, None) => {}
                }
                body
            }
        }
    }

    /// A call that goes on without its connection.
    fn linger(&self, call: Call) -> Lingering {
        Lingering {
            call: Some(call),
            tasks: self.lingering.clone(),
        }
    }

    async fn initialize(
        self: &Arc<Self>,
        visit: &Visit,
        request: &Request,
        carrier: trace::Context,
    ) -> HttpReply {
        let hello = request
            .read_params()
            .map_err(Rejection::NotMcp)
            .and_then(Hello::read);
        let opened = hello.and_then(|hello| {
            let counted = self.parts.metrics.session(TRANSPORT, &self.parts.clock);
            let settings = &self.view().settings.sessions;
            self.sessions.open(
                settings,
                self.parts.clock.now(),
                counted,
                hello.session(visit),
            )
        });
        let session = match opened {
            Ok(session) => session,
            Err(rejection) => {
                let revision = Revision::LATEST_LEGACY;
                return HttpReply::whole(
                    self.refuse_request(visit, request, carrier, revision, &rejection)
                        .await,
                );
            }
        };
        let opening = Opening {
            principal: Some(&visit.principal),
            client: session.client.clone(),
            address: visit.address,
            transport: TRANSPORT,
            revision: session.revision.as_str(),
            method: method::INITIALIZE.name,
            bytes_in: request.bytes().len(),
        };
        let mut record = match self.open_record(opening).await {
            Ok(record) => record,
            Err(full) => {
                self.sessions.end(&session);
                return HttpReply::whole(unrecorded(Some(request.id()), session.revision, &full));
            }
        };
        record.of_server(session.server.as_ref());
        record.of_trace(self.trace_of(request, carrier));
        let result = match self.greet(&visit.principal, &session, &mut record) {
            Ok(result) => result,
            Err(gone) => {
                self.sessions.end(&session);
                let id = Some(request.id());
                return HttpReply::whole(self.reject(record, id, session.revision, &gone).await);
            }
        };
        let body = Bytes::from(encode::response(request.id(), result.as_bytes()));
        if let Err(full) = record.close(Outcome::Ok, 200, body.len()).await {
            self.sessions.end(&session);
            return HttpReply::whole(unrecorded(Some(request.id()), session.revision, &full));
        }
        let mut reply = HttpReply::whole(Reply {
            status: 200,
            body,
            retry_after: None,
            challenge: None,
        });
        reply.session = Some(session.id.clone());
        reply
    }

    /// The session that the headers name, if it is this principal's and speaks the revision they name.
    pub(super) fn session(
        &self,
        visit: &Visit,
        headers: &HeaderMap,
    ) -> Result<Arc<Session>, Rejection> {
        let session = self.named_session(visit, headers)?;
        match said_revision(headers)? {
            Some(said) if said != session.revision => Err(Rejection::NotAllowed(
                format!(
                    "`{}` names `{said}`, but this session speaks `{}`",
                    mcp::PROTOCOL_VERSION,
                    session.revision
                )
                .into(),
            )),
            _ => Ok(session),
        }
    }

    /// The same, whatever revision they name.
    pub(super) fn named_session(
        &self,
        visit: &Visit,
        headers: &HeaderMap,
    ) -> Result<Arc<Session>, Rejection> {
        let id = header(headers, mcp::SESSION_ID).ok_or(Rejection::NoSession)?;
        self.sessions.get(id, visit, self.parts.clock.now())
    }

    /// A batch, where the session's revision has them. Answered as one JSON array.
    pub(super) async fn post_batch(
        self: &Arc<Self>,
        visit: &Visit,
        headers: &HeaderMap,
        frames: Vec<Result<Frame, Fault>>,
    ) -> HttpReply {
        let session = match self.session(visit, headers) {
            Ok(session) if session.revision.has_batches() => session,
            Ok(_) => {
                let why = Rejection::NotAllowed("this revision has no batches".into());
                return self.refuse(visit, headers, 0, why).await;
            }
            Err(rejection) => return self.refuse(visit, headers, 0, rejection).await,
        };
        let visit = visit.clone();
        let replies = answers(Arc::clone(self), visit, session, carried(headers), frames);
        let reply = self.linger(Box::pin(replies)).await;
        if reply.body.is_empty() {
            return HttpReply::empty(202);
        }
        HttpReply::whole(reply)
    }

    /// Answers a GET: the rest of the stream to which `Last-Event-ID` belongs, or the one on which a session hears of
    /// what belongs to no request.
    pub async fn get(self: &Arc<Self>, visit: &Visit, headers: &HeaderMap) -> HttpReply {
        let session = match self.session_of(visit, headers) {
            Ok(session) => session,
            Err(rejection) => return self.refuse(visit, headers, 0, rejection).await,
        };
        let Some(last) = headers.get(mcp::LAST_EVENT_ID) else {
            return standing(self, &session, &visit.principal);
        };
        let now = self.parts.clock.now();
        let last = last.to_str().unwrap_or_default();
        match session.streams.resume(last, now) {
            Some(reader) => resumed(self, &session, reader),
            // Not 404: to clients that means the whole session.
            None => {
                let why = "`Last-Event-ID` names no event that is kept in this session";
                self.refuse(visit, headers, 0, Rejection::NotAllowed(why.into()))
                    .await
            }
        }
    }

    /// Answers a DELETE: the end of a legacy session.
    pub async fn delete(&self, visit: &Visit, headers: &HeaderMap) -> HttpReply {
        match self.session_of(visit, headers) {
            Ok(session) => {
                self.sessions.end(&session);
                HttpReply::empty(204)
            }
            Err(rejection) => self.refuse(visit, headers, 0, rejection).await,
        }
    }

    /// The session of a request that only legacy revisions have.
    fn session_of(&self, visit: &Visit, headers: &HeaderMap) -> Result<Arc<Session>, Rejection> {
        let said = said_revision(headers)?;
        if said.is_some_and(|revision| revision.era() == Era::Modern) {
            return Err(USE_POST);
        }
        match self.session(visit, headers) {
            // Without a session this can only be a client that knows none.
            Err(Rejection::NoSession) => Err(USE_POST),
            found => found,
        }
    }
}

/// Answers all that stands in a batch. The array holds answers only; who wants progress sends the request alone.
async fn answers(
    gate: Arc<Gate>,
    visit: Visit,
    session: Arc<Session>,
    carrier: trace::Context,
    frames: Vec<Result<Frame, Fault>>,
) -> Reply {
    let one = async |frame: Result<Frame, Fault>| match frame {
        Ok(Frame::Request(request)) if request.method.as_str() == method::INITIALIZE.name => {
            let why = Rejection::NotAllowed("`initialize` cannot stand in a batch".into());
            let revision = session.revision;
            let carrier = carrier.clone();
            let reply = gate.refuse_request(&visit, &request, carrier, revision, &why);
            Some(reply.await.body)
        }
        Ok(Frame::Request(request)) => {
            let mut asked = legacy(
                request,
                &session,
                &visit,
                TRANSPORT,
                gate.parts.clock.wall(),
            );
            asked.carrier = carrier.clone();
            let session = Some(Arc::clone(&session));
            let call = Box::pin(answer(Arc::clone(&gate), asked, session, None));
            Some(call.await.body)
        }
        Ok(Frame::Notification(note)) => {
            hear(&session, &note);
            None
        }
        Ok(Frame::Response(response)) => {
            session.asked.settle(&response);
            None
        }
        Err(fault) => {
            let refused = Refused {
                rejection: Rejection::NotMcp(fault),
                method: None,
                principal: Some(&visit.principal),
                address: visit.address,
                bytes_in: 0,
            };
            let reply = gate.refused(refused, TRANSPORT, Some(session.revision));
            Some(reply.await.body)
        }
    };
    let replies = join_all(frames.into_iter().map(one)).await;
    let replies: Vec<Bytes> = replies.into_iter().flatten().collect();
    Reply {
        status: 200,
        body: if replies.is_empty() {
            Bytes::new()
        } else {
            batch(&replies)
        },
        retry_after: None,
        challenge: None,
    }
}

fn hear(session: &Session, note: &Notification) {
    if note.method == method::notification::CANCELLED {
        session.in_flight.cancel(&note.params());
    }
}

/// A call for whose client a lost connection is not a cancellation: dropped before its end, it goes on on its own.
struct Lingering {
    call: Option<Call>,
    tasks: TaskTracker,
}

impl Lingering {
    /// The call, for whoever goes on with it. `None` if it is over.
    fn take(mut self) -> Option<Call> {
        self.call.take()
    }
}

impl Future for Lingering {
    type Output = Reply;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        let Some(call) = &mut self.call else {
            return Poll::Pending;
        };
        let poll = call.as_mut().poll(context);
        if poll.is_ready() {
            self.call = None;
        }
        poll
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.tasks.spawn(call);
        }
    }
}

/// Whether a client may hear of anything before the answer: it gave a progress token, can be asked, or some upstream logs.
fn may_hear(asked: &Asked, are_logs: bool) -> bool {
    are_logs || asked.caller.abilities.any() || has_token(&asked.request)
}
