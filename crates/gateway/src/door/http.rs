//! Streamable HTTP: sessions of the legacy revisions, the stateless form of the modern one, JSON or events.
//!
//! Sources: MCP 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28, "Transports".

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{Stream, unfold};
use policy::Principal;
use store::Outcome;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use upstream::{Event, Events, Logs};
use wire::header as mcp;
use wire::{
    Body, Era, Fault, Frame, MethodName, Notification, Request, Revision, encode, method, sse,
};

use super::changes::{Filter, Listener, Subscription};
use super::{EVENTS_MAX, Hello, Unfit, batch, event_message, is_modern, legacy, modern};
use crate::call::{Asked, SaidOfArguments};
use crate::gate::{Reply, known_name, unrecorded};
use crate::record::Opening;
use crate::session::Session;
use crate::{Gate, Rejection, lists};

const TRANSPORT: &str = "http";
/// A stream that has nothing to say says so in these intervals, for the proxies on its way.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Events of a response stream, framed.
pub type EventStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// What goes back to an HTTP client.
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// The session that `initialize` opened.
    pub session: Option<String>,
    /// When it may be tried again.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: HttpBody,
}

/// The body of a reply.
pub enum HttpBody {
    /// Nothing.
    Empty,
    /// One JSON message, or a batch of them.
    Json(Bytes),
    /// A stream of events.
    Events(EventStream),
}

impl std::fmt::Debug for HttpReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpReply")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for HttpBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Json(_) => "Json",
            Self::Events(_) => "Events",
        })
    }
}

/// Something a listener turned away before there was a message.
#[derive(Debug)]
pub struct Refused<'a> {
    /// Why.
    pub rejection: Rejection,
    /// Who asked, if that is known.
    pub principal: Option<&'a Principal>,
    /// Bytes of the body that were read.
    pub bytes_in: usize,
}

type Call = Pin<Box<dyn Future<Output = Reply> + Send>>;

impl HttpReply {
    fn empty(status: u16) -> Self {
        Self {
            status,
            session: None,
            retry_after: None,
            body: HttpBody::Empty,
        }
    }

    fn whole(reply: Reply) -> Self {
        let Reply {
            status,
            body,
            retry_after,
        } = reply;
        Self {
            status,
            session: None,
            retry_after,
            body: HttpBody::Json(body),
        }
    }

    fn events(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self {
            status: 200,
            session: None,
            retry_after: None,
            body: HttpBody::Events(Box::pin(stream)),
        }
    }
}

impl Gate {
    /// Answers a POST.
    ///
    /// What is rare is behind a box here and below: a future is as large as its largest branch, and it is moved for
    /// every request.
    pub async fn post(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> HttpReply {
        let said = header(headers, mcp::PROTOCOL_VERSION);
        let says_modern = said
            .and_then(Revision::parse)
            .is_some_and(|revision| revision.era() == Era::Modern);
        match Body::decode(body) {
            Ok(Body::One(Ok(Frame::Request(request)))) if says_modern || is_modern(&request) => {
                self.post_modern(principal, headers, request).await
            }
            Ok(Body::One(Ok(Frame::Notification(_)))) if says_modern => HttpReply::empty(202),
            Ok(Body::One(Ok(Frame::Response(_)))) if says_modern => {
                self.refuse(
                    principal,
                    body,
                    Rejection::NotAllowed("a client sends no responses in this revision".into()),
                )
                .await
            }
            Ok(Body::One(Ok(frame))) => self.post_legacy(principal, headers, frame).await,
            Ok(Body::Batch(_)) if says_modern => {
                let why = Rejection::NotAllowed("this revision has no batches".into());
                self.refuse(principal, body, why).await
            }
            Ok(Body::Batch(frames)) => {
                Box::pin(self.post_batch(principal, headers, body, frames)).await
            }
            Ok(Body::One(Err(fault))) | Err(fault) => {
                self.refuse(principal, body, Rejection::NotMcp(fault)).await
            }
        }
    }

    async fn refuse(&self, principal: &Principal, body: &Bytes, rejection: Rejection) -> HttpReply {
        self.refuse_http(Refused {
            rejection,
            principal: Some(principal),
            bytes_in: body.len(),
        })
        .await
    }

    /// Turns an HTTP request away: one record, one answer.
    pub async fn refuse_http(&self, refused: Refused<'_>) -> HttpReply {
        HttpReply::whole(self.refused(refused, TRANSPORT).await)
    }

    /// Records and says why there is no message to serve.
    pub(super) async fn refused(&self, refused: Refused<'_>, transport: &'static str) -> Reply {
        let Refused {
            rejection,
            principal,
            bytes_in,
        } = refused;
        let id = match &rejection {
            Rejection::NotMcp(Fault { id: Some(id), .. }) => {
                std::str::from_utf8(id).ok().map(str::to_owned)
            }
            _ => None,
        };
        let opening = Opening {
            principal,
            client: String::new(),
            transport,
            revision: "-",
            method: "other",
            bytes_in,
        };
        let revision = Revision::LATEST_LEGACY;
        match Box::pin(self.open_record(opening)).await {
            Ok(record) => self.reject(record, id.as_deref(), revision, &rejection),
            Err(full) => unrecorded(id.as_deref(), revision, &full),
        }
    }

    /// Records and says why a request that was read is not served.
    async fn refuse_request(
        &self,
        principal: &Principal,
        request: &Request,
        revision: Revision,
        rejection: &Rejection,
    ) -> Reply {
        let opening = Opening {
            principal: Some(principal),
            client: String::new(),
            transport: TRANSPORT,
            revision: revision.as_str(),
            method: known_name(&request.method),
            bytes_in: request.bytes().len(),
        };
        match Box::pin(self.open_record(opening)).await {
            Ok(record) => self.reject(record, Some(request.id()), revision, rejection),
            Err(full) => unrecorded(Some(request.id()), revision, &full),
        }
    }

    async fn post_modern(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        headers: &HeaderMap,
        request: Request,
    ) -> HttpReply {
        let checked = modern(
            request,
            principal,
            TRANSPORT,
            header(headers, mcp::PROTOCOL_VERSION),
        );
        let checked = checked.and_then(|mut asked| {
            asked.mirrored = Some(said_of_arguments(headers));
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
            Ok(asked) => self.respond(asked, None).await,
            Err(unfit) => {
                let Unfit { request, rejection } = *unfit;
                HttpReply::whole(
                    self.refuse_request(principal, &request, Revision::LATEST, &rejection)
                        .await,
                )
            }
        }
    }

    /// Runs a call. JSON if the answer is the first thing ready, else events and the answer last.
    async fn respond(self: &Arc<Self>, asked: Asked, session: Option<Arc<Session>>) -> HttpReply {
        let mut call = Lingering {
            call: None,
            tasks: session.is_some().then(|| self.lingering.clone()),
        };
        // A client that wants nothing before the answer gets it as one JSON body.
        if !wants_events(&asked) {
            call.call = Some(Box::pin(answer(Arc::clone(self), asked, session, None)));
            return HttpReply::whole(call.await);
        }
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let asking = session.clone();
        call.call = Some(Box::pin(answer(
            Arc::clone(self),
            asked,
            session,
            Some(sender),
        )));
        let (first, reply) = tokio::select! {
            biased;
            reply = &mut call => (events.try_recv().ok(), Some(reply)),
            Some(event) = events.recv() => (Some(event), None),
        };
        match (first, reply) {
            (None, Some(reply)) => HttpReply::whole(reply),
            (first, reply) => HttpReply::events(unfold(
                Streaming {
                    first,
                    events,
                    call,
                    session: asking,
                    reply,
                    is_over: false,
                },
                Streaming::next,
            )),
        }
    }

    async fn listen(self: &Arc<Self>, asked: Asked) -> HttpReply {
        let filter = match Filter::read(&asked.request.params()) {
            Ok(filter) => filter,
            Err(rejection) => {
                let reply = self
                    .refuse_request(&asked.principal, &asked.request, asked.revision, &rejection)
                    .await;
                return HttpReply::whole(reply);
            }
        };
        let opening = Opening {
            principal: Some(&asked.principal),
            client: asked.client.clone(),
            transport: TRANSPORT,
            revision: asked.revision.as_str(),
            method: method::LISTEN.name,
            bytes_in: asked.request.bytes().len(),
        };
        let record = match self.open_record(opening).await {
            Ok(record) => record,
            Err(full) => {
                return HttpReply::whole(unrecorded(
                    Some(asked.request.id()),
                    asked.revision,
                    &full,
                ));
            }
        };
        let subscription = Subscription::new(asked.request.id(), filter);
        let mut first = vec![subscription.acknowledged()];
        record.close(Outcome::Ok, 200, first.iter().map(Bytes::len).sum());
        if filter.is_empty() {
            first.push(subscription.ended());
            return HttpReply::events(futures_util::stream::iter(
                first.into_iter().map(|m| sse::message(&m)),
            ));
        }
        let listener = Listener::new(self, filter);
        let gate = Arc::clone(self);
        let state = (gate, listener, subscription, first, false);
        HttpReply::events(unfold(
            state,
            |(gate, mut listener, subscription, mut waiting, is_over)| async move {
                if is_over {
                    return None;
                }
                if let Some(message) = waiting.pop() {
                    return Some((
                        sse::message(&message),
                        (gate, listener, subscription, waiting, false),
                    ));
                }
                let (chunk, is_over) = tokio::select! {
                    names = listener.next(&gate) => {
                        waiting.extend(names.iter().rev().map(|name| subscription.changed(name)));
                        (waiting.pop().map(|message| sse::message(&message)).unwrap_or_default(), false)
                    }
                    () = gate.draining.cancelled() => (sse::message(&subscription.ended()), true),
                    () = tokio::time::sleep(KEEP_ALIVE_EVERY) => (Bytes::from_static(sse::KEEP_ALIVE), false),
                };
                Some((chunk, (gate, listener, subscription, waiting, is_over)))
            },
        ))
    }

    async fn post_legacy(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        headers: &HeaderMap,
        frame: Frame,
    ) -> HttpReply {
        if let Frame::Request(request) = &frame
            && request.method.as_str() == method::INITIALIZE.name
        {
            return Box::pin(self.initialize(principal, request)).await;
        }
        let session = match self.session(principal, headers) {
            Ok(session) => session,
            Err(rejection) => {
                return match frame {
                    Frame::Request(request) => HttpReply::whole(
                        self.refuse_request(
                            principal,
                            &request,
                            Revision::LATEST_LEGACY,
                            &rejection,
                        )
                        .await,
                    ),
                    Frame::Notification(_) | Frame::Response(_) => {
                        self.refuse(principal, &Bytes::new(), rejection).await
                    }
                };
            }
        };
        match frame {
            Frame::Request(request) => {
                let asked = legacy(request, &session, principal, TRANSPORT);
                self.respond(asked, Some(session)).await
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

    async fn initialize(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        request: &Request,
    ) -> HttpReply {
        let hello = request
            .read_params()
            .map_err(Rejection::NotMcp)
            .and_then(Hello::read);
        let opened = hello.and_then(|hello| {
            let counted = self.parts.metrics.session();
            let settings = &self.view().settings.sessions;
            self.sessions.open(
                settings,
                self.parts.clock.now(),
                counted,
                hello.session(principal),
            )
        });
        let session = match opened {
            Ok(session) => session,
            Err(rejection) => {
                let revision = Revision::LATEST_LEGACY;
                return HttpReply::whole(
                    self.refuse_request(principal, request, revision, &rejection)
                        .await,
                );
            }
        };
        let opening = Opening {
            principal: Some(principal),
            client: session.client.clone(),
            transport: TRANSPORT,
            revision: session.revision.as_str(),
            method: method::INITIALIZE.name,
            bytes_in: request.bytes().len(),
        };
        let record = match self.open_record(opening).await {
            Ok(record) => record,
            Err(full) => {
                self.sessions.end(&session);
                return HttpReply::whole(unrecorded(Some(request.id()), session.revision, &full));
            }
        };
        let result = lists::initialized(principal, &self.view(), session.revision);
        let body = Bytes::from(encode::response(request.id(), result.as_bytes()));
        record.close(Outcome::Ok, 200, body.len());
        let mut reply = HttpReply::whole(Reply {
            status: 200,
            body,
            retry_after: None,
        });
        reply.session = Some(session.id.clone());
        reply
    }

    /// The session that the headers name, if it is this principal's and speaks the revision they name.
    fn session(
        &self,
        principal: &Principal,
        headers: &HeaderMap,
    ) -> Result<Arc<Session>, Rejection> {
        let id = header(headers, mcp::SESSION_ID).ok_or(Rejection::NoSession)?;
        let session = self
            .sessions
            .get(id, &principal.id, self.parts.clock.now())?;
        match header(headers, mcp::PROTOCOL_VERSION) {
            Some(said) if said != session.revision.as_str() => Err(Rejection::NotAllowed(
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

    /// A batch, where the session's revision has them. Answered as one JSON array.
    async fn post_batch(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        headers: &HeaderMap,
        body: &Bytes,
        frames: Vec<Result<Frame, Fault>>,
    ) -> HttpReply {
        let session = match self.session(principal, headers) {
            Ok(session) if session.revision.has_batches() => session,
            Ok(_) => {
                let why = Rejection::NotAllowed("this revision has no batches".into());
                return self.refuse(principal, body, why).await;
            }
            Err(rejection) => return self.refuse(principal, body, rejection).await,
        };
        let one = async |frame: Result<Frame, Fault>| match frame {
            Ok(Frame::Request(request)) if request.method.as_str() == method::INITIALIZE.name => {
                let why = Rejection::NotAllowed("`initialize` cannot stand in a batch".into());
                Some(
                    self.refuse_request(principal, &request, session.revision, &why)
                        .await
                        .body,
                )
            }
            Ok(Frame::Request(request)) => {
                // The array holds answers only; who wants progress sends the request alone.
                Some(
                    self.answer(&legacy(request, &session, principal, TRANSPORT), None, None)
                        .await
                        .body,
                )
            }
            Ok(Frame::Notification(note)) => {
                hear(&session, &note);
                None
            }
            Ok(Frame::Response(response)) => {
                session.asked.settle(&response);
                None
            }
            Err(fault) => match self
                .refuse(principal, body, Rejection::NotMcp(fault))
                .await
                .body
            {
                HttpBody::Json(body) => Some(body),
                HttpBody::Empty | HttpBody::Events(_) => None,
            },
        };
        let replies: Vec<Bytes> = join_all(frames.into_iter().map(one))
            .await
            .into_iter()
            .flatten()
            .collect();
        if replies.is_empty() {
            return HttpReply::empty(202);
        }
        HttpReply::whole(Reply {
            status: 200,
            body: batch(&replies),
            retry_after: None,
        })
    }

    /// Answers a GET: the stream on which a legacy session hears of changes. The newest of a session gets them.
    pub async fn get(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        headers: &HeaderMap,
    ) -> HttpReply {
        let session = match self.session(principal, headers) {
            Ok(session) => session,
            // Without a session this can only be a modern client, and their revision has no GET.
            Err(Rejection::NoSession) => {
                let rejection = Rejection::Http {
                    status: 405,
                    reason: "Use POST",
                };
                return self.refuse(principal, &Bytes::new(), rejection).await;
            }
            Err(rejection) => return self.refuse(principal, &Bytes::new(), rejection).await,
        };
        // Two at once must not both take themselves for the newest.
        let mut number = 0;
        session.stream.send_modify(|count| {
            *count += 1;
            number = *count;
        });
        let newest = session.stream.subscribe();
        let listener = Listener::new(self, Filter::ALL);
        let state = (
            Arc::clone(self),
            session,
            newest,
            listener,
            Vec::<&'static str>::new(),
        );
        HttpReply::events(unfold(
            state,
            move |(gate, session, mut newest, mut listener, mut waiting)| async move {
                if waiting.is_empty() {
                    tokio::select! {
                        names = listener.next(&gate) => waiting = names,
                        _ = newest.wait_for(|newest| *newest != number) => return None,
                        () = session.over.cancelled() => return None,
                        () = gate.draining.cancelled() => return None,
                        () = tokio::time::sleep(KEEP_ALIVE_EVERY) => {}
                    }
                }
                let chunk = match waiting.pop() {
                    Some(name) => sse::message(&encode::notification(name, b"{}")),
                    None => Bytes::from_static(sse::KEEP_ALIVE),
                };
                Some((chunk, (gate, session, newest, listener, waiting)))
            },
        ))
    }

    /// Answers a DELETE: the end of a legacy session.
    pub async fn delete(&self, principal: &Arc<Principal>, headers: &HeaderMap) -> HttpReply {
        match self.session(principal, headers) {
            Ok(session) => {
                self.sessions.end(&session);
                HttpReply::empty(204)
            }
            Err(Rejection::NoSession) => {
                let rejection = Rejection::Http {
                    status: 405,
                    reason: "Use POST",
                };
                self.refuse(principal, &Bytes::new(), rejection).await
            }
            Err(rejection) => self.refuse(principal, &Bytes::new(), rejection).await,
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn hear(session: &Session, note: &Notification) {
    if note.method == method::notification::CANCELLED {
        session.in_flight.cancel(&note.params());
    }
}

/// One call, which the client of a legacy session may cancel by its id.
async fn answer(
    gate: Arc<Gate>,
    asked: Asked,
    session: Option<Arc<Session>>,
    events: Option<Events>,
) -> Reply {
    let id = asked.request.id();
    let cancel = session
        .as_ref()
        .and_then(|session| session.in_flight.enter(id));
    let token = cancel.as_ref().map(|cancel| &cancel.token);
    gate.answer(&asked, events.as_ref(), token).await
}

/// Whether a client may hear of anything before the answer: it gave a progress token, wants logs, or can be asked.
fn wants_events(asked: &Asked) -> bool {
    asked.caller.logs != Logs::Off
        || (asked.session.is_some() && asked.caller.abilities.any())
        || has_token(&asked.request)
}

fn has_token(request: &Request) -> bool {
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

/// A call of a legacy client, for whom a lost connection is not a cancellation: dropped before its end, it goes on
/// on its own.
struct Lingering {
    call: Option<Call>,
    tasks: Option<TaskTracker>,
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
        if let (Some(call), Some(tasks)) = (self.call.take(), &self.tasks) {
            tasks.spawn(call);
        }
    }
}

/// A response that became a stream.
struct Streaming {
    first: Option<Event>,
    events: mpsc::Receiver<Event>,
    call: Lingering,
    /// A legacy client, which can be asked on this stream.
    session: Option<Arc<Session>>,
    reply: Option<Reply>,
    is_over: bool,
}

impl Streaming {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.is_over {
            return None;
        }
        loop {
            let event = match (self.first.take(), &self.reply) {
                (Some(event), _) => Some(event),
                // What was told before the answer goes out before it.
                (None, Some(_)) => self.events.try_recv().ok(),
                (None, None) => tokio::select! {
                    biased;
                    Some(event) = self.events.recv() => Some(event),
                    reply = &mut self.call => {
                        self.reply = Some(reply);
                        continue;
                    }
                    () = tokio::time::sleep(KEEP_ALIVE_EVERY) => {
                        return Some((Bytes::from_static(sse::KEEP_ALIVE), self));
                    }
                },
            };
            let Some(event) = event else { break };
            if let Some(message) = event_message(event, self.session.as_deref()) {
                return Some((sse::message(&message), self));
            }
        }
        self.is_over = true;
        let reply = self.reply.take()?;
        Some((sse::message(&reply.body), self))
    }
}
