//! One client and one conversation: stdio, a WebSocket, or HTTP+SSE. Messages come in one by one, requests are
//! answered as they finish, and all answers go out on one queue.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use store::Outcome;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::trace::Context;
use wire::{
    Body, Fault, Frame, MethodName, Notification, Request, Response, Revision, encode, method,
};

use super::changes::Listener;
use super::{EVENTS_MAX, Hello, Unfit, Visit, batch, is_modern, legacy, modern};
use crate::call::Asked;
use crate::gate::{known_name, unrecorded};
use crate::record::Opening;
use crate::session::{InFlight, Questions, Session};
use crate::{Gate, Rejection};

/// Requests of one client that are open at once.
const OPEN_MAX: usize = 1024;

/// The conversation with one client.
#[derive(Debug)]
pub struct Pipe {
    gate: Arc<Gate>,
    visit: Visit,
    /// What carries it, for the record.
    transport: &'static str,
    out: mpsc::Sender<Bytes>,
    session: Mutex<Option<Arc<Session>>>,
    in_flight: InFlight,
    /// Calls being answered: they have an end of their own.
    calls: TaskTracker,
    /// What tells of changes, until the client is gone.
    listeners: TaskTracker,
    /// For each of both a place: a client that does not read its answers is not read from either.
    places: Arc<Semaphore>,
    over: CancellationToken,
}

impl Pipe {
    /// A conversation over `transport` whose messages to the client go to `out`, each without a line end.
    #[must_use]
    pub fn new(
        gate: Arc<Gate>,
        visit: impl Into<Visit>,
        transport: &'static str,
        out: mpsc::Sender<Bytes>,
    ) -> Arc<Self> {
        // Not when it drains: whoever owns the conversation then lets it finish.
        let over = gate.stopping.child_token();
        Arc::new(Self {
            gate,
            visit: visit.into(),
            transport,
            out,
            session: Mutex::default(),
            in_flight: InFlight::default(),
            calls: TaskTracker::new(),
            listeners: TaskTracker::new(),
            places: Arc::new(Semaphore::new(OPEN_MAX)),
            over,
        })
    }

    /// Takes one line. Returns once it is under way; the answer follows when it is there.
    pub async fn take(self: &Arc<Self>, line: Bytes) {
        match Body::decode(&line) {
            Ok(Body::One(frame)) => self.take_frame(frame, line.len()).await,
            Ok(Body::Batch(frames)) => self.take_batch(frames, line.len()).await,
            Err(fault) => self.refuse(Rejection::NotMcp(fault), line.len()).await,
        }
    }

    /// A line that was too long to be read.
    pub async fn take_overlong(self: &Arc<Self>, error: wire::LineTooLong) {
        let why = format!("Invalid Request: {error}");
        let fault = Fault {
            code: wire::code::INVALID_REQUEST,
            message: why,
            id: None,
        };
        self.refuse(Rejection::NotMcp(fault), error.max).await;
    }

    /// The client has said all it wanted to: waits until what it asked is answered, for at most `within`; what is
    /// still open then is given up and says so. Ends what tells it of changes.
    pub async fn finish(&self, within: Duration) {
        self.calls.close();
        if tokio::time::timeout(within, self.calls.wait())
            .await
            .is_err()
        {
            tracing::warn!(waited = ?within, open = self.calls.len(), "calls are given up");
        }
        self.hang_up().await;
    }

    /// The client is gone: gives up what is still open, and ends what tells it of changes.
    pub async fn hang_up(&self) {
        self.calls.close();
        self.over.cancel();
        self.listeners.close();
        self.calls.wait().await;
        self.listeners.wait().await;
    }

    async fn take_frame(self: &Arc<Self>, frame: Result<Frame, Fault>, bytes_in: usize) {
        match frame {
            Ok(Frame::Request(request)) => {
                let asked = match self.ask(request).await {
                    Ok(asked) => asked,
                    Err(reply) => return self.send(reply).await,
                };
                let pipe = Arc::clone(self);
                let place = Arc::clone(&self.places).acquire_owned().await;
                if is_listen(&asked) {
                    self.listeners.spawn(async move {
                        let _place = place;
                        pipe.listen(&asked).await;
                    });
                } else {
                    self.calls.spawn(async move {
                        let _place = place;
                        Box::pin(pipe.serve(asked)).await;
                    });
                }
            }
            Ok(Frame::Notification(note)) => self.hear(&note),
            Ok(Frame::Response(response)) => self.settle(&response),
            Err(fault) => self.refuse(Rejection::NotMcp(fault), bytes_in).await,
        }
    }

    /// Puts a request into the client's era; `Err` is the answer that is there already.
    async fn ask(self: &Arc<Self>, request: Request) -> Result<Asked, Bytes> {
        if is_modern(&request) {
            return match modern(
                request,
                &self.visit,
                self.transport,
                None,
                self.gate.parts.clock.wall(),
            ) {
                Ok(asked) => Ok(asked),
                Err(unfit) => {
                    let Unfit { request, rejection } = *unfit;
                    Err(self
                        .refuse_request(&request, Revision::LATEST, &rejection)
                        .await)
                }
            };
        }
        if request.method.as_str() == method::INITIALIZE.name {
            return Err(self.initialize(&request).await);
        }
        let session = self.session.lock().clone();
        match session {
            Some(session) => Ok(legacy(
                request,
                &session,
                &self.visit,
                self.transport,
                self.gate.parts.clock.wall(),
            )),
            // The one request that may come before the handshake.
            None if request.method.as_str() == method::PING.name => {
                let revision = Revision::LATEST_LEGACY;
                let principal = Arc::clone(&self.visit.principal);
                let mut session = Session::new(principal, revision);
                session.server.clone_from(&self.visit.server);
                Ok(legacy(
                    request,
                    &Arc::new(session),
                    &self.visit,
                    self.transport,
                    self.gate.parts.clock.wall(),
                ))
            }
            None => {
                let why = Rejection::NotAllowed(
                    "send `initialize` first, or `_meta` with the revision (2026-07-28) in every request".into(),
                );
                Err(self
                    .refuse_request(&request, Revision::LATEST_LEGACY, &why)
                    .await)
            }
        }
    }

    async fn initialize(self: &Arc<Self>, request: &Request) -> Bytes {
        let hello = request
            .read_params()
            .map_err(Rejection::NotMcp)
            .and_then(Hello::read);
        let session = match hello {
            Ok(hello) => Arc::new(hello.session(&self.visit)),
            Err(rejection) => {
                return self
                    .refuse_request(request, Revision::LATEST_LEGACY, &rejection)
                    .await;
            }
        };
        let opening = self.opening(request, session.revision, session.client.clone());
        let mut record = match self.gate.open_record(opening).await {
            Ok(record) => record,
            Err(full) => return unrecorded(Some(request.id()), session.revision, &full).body,
        };
        record.of_server(session.server.as_ref());
        record.of_trace(self.gate.trace_of(request, Context::default()));
        let listener = Listener::of_session(&self.gate, &session, &self.visit.principal);
        let result = match self
            .gate
            .greet(&self.visit.principal, &session, &mut record)
        {
            Ok(result) => result,
            Err(gone) => {
                let id = Some(request.id());
                return self
                    .gate
                    .reject(record, id, session.revision, &gone)
                    .await
                    .body;
            }
        };
        let body = Bytes::from(encode::response(request.id(), result.as_bytes()));
        if let Err(full) = record.close(Outcome::Ok, 200, body.len()).await {
            return unrecorded(Some(request.id()), session.revision, &full).body;
        }
        let over = session.over.clone();
        let before = self.session.lock().replace(session);
        if let Some(before) = before {
            before.over.cancel();
        }
        let pipe = Arc::clone(self);
        self.listeners
            .spawn(async move { pipe.tell_changes(listener, &over).await });
        body
    }

    /// Tells a legacy client of changes until it begins anew, or to the end.
    async fn tell_changes(&self, mut listener: Listener, over: &CancellationToken) {
        loop {
            let message = tokio::select! {
                message = listener.next(&self.gate) => message,
                () = over.cancelled() => return,
                () = self.over.cancelled() => return,
            };
            let Some(message) = message else { return };
            self.send(message).await;
        }
    }

    async fn serve(&self, asked: Asked) {
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let cancel = self.in_flight.enter(asked.request.id());
        let token = cancel
            .as_ref()
            .map(|cancel| cancel.token.clone())
            .unwrap_or_default();
        let mut questions = Questions::of(asked.session.clone());
        let answer = self.gate.answer(&asked, Some(&sender), None);
        tokio::pin!(answer);
        let reply = loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => self.tell(questions.message(event)).await,
                Some(withdrawn) = questions.next() => self.send(withdrawn).await,
                reply = &mut answer => break reply,
                // A cancelled request gets no answer.
                () = token.cancelled() => return self.tell(questions.withdraw()).await,
                () = self.over.cancelled() => {
                    let response = Rejection::Draining.response(asked.revision);
                    let id = Some(asked.request.id());
                    return self.send(encode::error(id, response.code, &response.message, None).into()).await;
                }
            }
        };
        while let Ok(event) = events.try_recv() {
            self.tell(questions.message(event)).await;
        }
        self.tell(questions.withdraw()).await;
        self.send(reply.body).await;
    }

    /// Answers `subscriptions/listen`: tells of what it asks for until it is cancelled, or the client is gone.
    async fn listen(&self, asked: &Asked) {
        let cancel = self.in_flight.enter(asked.request.id());
        let token = cancel
            .as_ref()
            .map(|cancel| cancel.token.clone())
            .unwrap_or_default();
        let opened = tokio::select! {
            opened = self.gate.open_listener(asked) => opened,
            () = token.cancelled() => return,
            () = self.over.cancelled() => return,
        };
        let mut listener = match opened {
            Ok(listener) => listener,
            Err(reply) => return self.send(reply.body).await,
        };
        let mut is_over = false;
        loop {
            let message = tokio::select! {
                message = listener.next(&self.gate) => message,
                () = token.cancelled() => return,
                () = self.over.cancelled(), if !is_over => {
                    is_over = true;
                    listener.end();
                    continue;
                }
            };
            let Some(message) = message else { return };
            self.send(message).await;
        }
    }

    /// Passes on what belongs to a call.
    async fn tell(&self, messages: impl IntoIterator<Item = Bytes>) {
        for message in messages {
            self.send(message).await;
        }
    }

    /// Takes the client's answer to a request of ours.
    fn settle(&self, response: &Response) {
        let session = self.session.lock().clone();
        if let Some(session) = session {
            session.asked.settle(response);
        }
    }

    fn hear(&self, note: &Notification) {
        if note.method == method::notification::CANCELLED {
            self.in_flight.cancel(&note.params());
        }
    }

    /// A batch, where the session's revision has them: one array of answers when all are there.
    async fn take_batch(self: &Arc<Self>, frames: Vec<Result<Frame, Fault>>, bytes_in: usize) {
        let allows = self
            .session
            .lock()
            .as_ref()
            .is_some_and(|session| session.revision.has_batches());
        if !allows {
            return self
                .refuse(
                    Rejection::NotAllowed("this revision has no batches".into()),
                    bytes_in,
                )
                .await;
        }
        let pipe = Arc::clone(self);
        let place = Arc::clone(&self.places).acquire_owned().await;
        self.calls.spawn(async move {
            let _place = place;
            let one = async |frame: Result<Frame, Fault>| match frame {
                Ok(Frame::Request(request))
                    if request.method.as_str() == method::INITIALIZE.name =>
                {
                    let why = Rejection::NotAllowed("`initialize` cannot stand in a batch".into());
                    Some(
                        pipe.refuse_request(&request, Revision::LATEST_LEGACY, &why)
                            .await,
                    )
                }
                Ok(Frame::Request(request)) => Some(match pipe.ask(request).await {
                    Ok(asked) => pipe.gate.answer(&asked, None, None).await.body,
                    Err(reply) => reply,
                }),
                Ok(Frame::Notification(note)) => {
                    pipe.hear(&note);
                    None
                }
                Ok(Frame::Response(response)) => {
                    pipe.settle(&response);
                    None
                }
                Err(fault) => Some(pipe.refusal(Rejection::NotMcp(fault), bytes_in).await),
            };
            let replies: Vec<Bytes> = join_all(frames.into_iter().map(one))
                .await
                .into_iter()
                .flatten()
                .collect();
            if !replies.is_empty() {
                pipe.send(batch(&replies)).await;
            }
        });
    }

    async fn refuse(&self, rejection: Rejection, bytes_in: usize) {
        let reply = self.refusal(rejection, bytes_in).await;
        self.send(reply).await;
    }

    async fn refusal(&self, rejection: Rejection, bytes_in: usize) -> Bytes {
        let refused = super::Refused {
            rejection,
            method: None,
            principal: Some(&self.visit.principal),
            address: self.visit.address,
            bytes_in,
        };
        // Without a handshake it is a modern client, or one that has said nothing yet.
        let session = self.session.lock().clone();
        let spoken = session.map_or(Revision::V2026_07_28, |session| session.revision);
        let reply = self.gate.refused(refused, self.transport, Some(spoken));
        reply.await.body
    }

    async fn refuse_request(
        &self,
        request: &Request,
        revision: Revision,
        rejection: &Rejection,
    ) -> Bytes {
        match self
            .gate
            .open_record(self.opening(request, revision, String::new()))
            .await
        {
            Ok(mut record) => {
                record.of_trace(self.gate.trace_of(request, Context::default()));
                self.gate
                    .reject(record, Some(request.id()), revision, rejection)
                    .await
                    .body
            }
            Err(full) => unrecorded(Some(request.id()), revision, &full).body,
        }
    }

    fn opening(&self, request: &Request, revision: Revision, client: String) -> Opening<'_> {
        Opening {
            principal: Some(&self.visit.principal),
            client,
            address: self.visit.address,
            transport: self.transport,
            revision: revision.as_str(),
            method: known_name(&request.method),
            bytes_in: request.bytes().len(),
        }
    }

    /// Puts a message on the way to the client. If the pipe is closed there is nobody to tell.
    async fn send(&self, message: Bytes) {
        drop(self.out.send(message).await);
    }
}

fn is_listen(asked: &Asked) -> bool {
    matches!(&asked.request.method, MethodName::Known(known)
        if known.name == method::LISTEN.name && known.is_in(asked.revision.era()))
}
