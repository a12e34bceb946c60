//! Streamable HTTP: sessions of the legacy revisions, the stateless form of the modern one, JSON or events.
//!
//! Here it is decided which of the two a request is; `legacy` and `modern` serve it, `stream` are the streams of
//! legacy sessions. Sources: MCP 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28, "Transports".

mod legacy;
mod modern;
mod stream;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, header as http_header};
use bytes::Bytes;
use futures_util::stream::{self as streams, Stream};
use policy::Principal;
use upstream::Events;
use wire::header as mcp;
use wire::trace::Context;
use wire::{Body, Era, Fault, Frame, Request, Revision, sse};

use super::{Visit, is_modern};
use crate::call::Asked;
use crate::gate::{Reply, error_reply, known_name, unrecorded};
use crate::record::Opening;
use crate::rejection::Challenge;
use crate::session::Session;
use crate::traces::carried;
use crate::{Gate, Rejection};

const TRANSPORT: &str = "http";
/// A stream that has nothing to say says so in these intervals, for the proxies on its way.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// The revision where nothing tells which (2025-06-18, "Protocol Version Header").
const ASSUMED: Revision = Revision::V2025_03_26;
/// What GET and DELETE are answered where there are no sessions.
const USE_POST: Rejection = Rejection::Http {
    status: 405,
    reason: "Use POST",
};

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
    /// What is wrong with the credential, if that is why.
    pub challenge: Option<Challenge>,
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
    /// What was asked for, if that is known: `admin/keys.list`.
    pub method: Option<&'static str>,
    /// Who asked, if that is known.
    pub principal: Option<&'a Principal>,
    /// The address that requests come from.
    pub address: Option<IpAddr>,
    /// Bytes of the body that were read.
    pub bytes_in: usize,
}

type Call = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// In which form a client takes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One JSON body, or events if there is something to tell before the answer.
    Either,
    /// It can be told nothing before the answer.
    Json,
    Events,
}

impl Form {
    /// What `Accept` says. Who says nothing, or only what we do not have, takes either.
    fn wished(headers: &HeaderMap) -> Self {
        let (mut json, mut events) = (false, false);
        for value in headers.get_all(http_header::ACCEPT) {
            let Ok(list) = value.to_str() else { continue };
            for kind in list.split(',') {
                let kind = kind.split(';').next().unwrap_or_default().trim();
                let is = |names: &[&str]| names.iter().any(|name| kind.eq_ignore_ascii_case(name));
                json |= is(&["*/*", "application/*", "application/json"]);
                events |= is(&["*/*", "text/*", "text/event-stream"]);
            }
        }
        match (json, events) {
            (true, false) => Self::Json,
            (false, true) => Self::Events,
            (true, true) | (false, false) => Self::Either,
        }
    }

    /// Puts an answer that is there into the form. A refusal stays JSON: its status says the most.
    fn put(self, reply: HttpReply) -> HttpReply {
        match reply {
            HttpReply {
                status: 200,
                session,
                body: HttpBody::Json(body),
                ..
            } if self == Self::Events => HttpReply {
                session,
                ..HttpReply::events(streams::iter([sse::message(&body)]))
            },
            reply => reply,
        }
    }
}

impl HttpReply {
    fn empty(status: u16) -> Self {
        Self {
            status,
            session: None,
            retry_after: None,
            challenge: None,
            body: HttpBody::Empty,
        }
    }

    fn whole(reply: Reply) -> Self {
        let Reply {
            status,
            body,
            retry_after,
            challenge,
        } = reply;
        Self {
            status,
            session: None,
            retry_after,
            challenge,
            body: HttpBody::Json(body),
        }
    }

    fn events(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self {
            status: 200,
            session: None,
            retry_after: None,
            challenge: None,
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
        visit: &Visit,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> HttpReply {
        let read = Body::decode(body);
        let said = match said_revision(headers) {
            Ok(said) => said,
            // What a modern body says itself is held against the header later.
            Err(_) if matches!(&read, Ok(Body::One(Ok(Frame::Request(request)))) if is_modern(request)) => {
                None
            }
            Err(rejection) => {
                let refused = self.refuse_said(visit, headers, &read, body.len(), rejection);
                return Box::pin(refused).await;
            }
        };
        let says_modern = said.is_some_and(|revision| revision.era() == Era::Modern);
        let form = Form::wished(headers);
        let refusal = match read {
            Ok(Body::One(Ok(Frame::Request(request)))) if says_modern || is_modern(&request) => {
                return self.post_modern(visit, headers, form, request).await;
            }
            Ok(Body::One(Ok(Frame::Notification(_)))) if says_modern => {
                return HttpReply::empty(202);
            }
            Ok(Body::One(Ok(Frame::Response(_)))) if says_modern => {
                Rejection::NotAllowed("a client sends no responses in this revision".into())
            }
            Ok(Body::One(Ok(frame))) => {
                return self.post_legacy(visit, headers, form, frame).await;
            }
            Ok(Body::Batch(_)) if said.is_some_and(|revision| !revision.has_batches()) => {
                Rejection::NotAllowed("this revision has no batches".into())
            }
            Ok(Body::Batch(frames)) => {
                let reply = Box::pin(self.post_batch(visit, headers, frames)).await;
                return form.put(reply);
            }
            Ok(Body::One(Err(fault))) | Err(fault) => Rejection::NotMcp(fault),
        };
        Box::pin(self.refuse(visit, headers, body.len(), refusal)).await
    }

    /// Turns a message away for its header, with its id if it has one.
    async fn refuse_said(
        &self,
        visit: &Visit,
        headers: &HeaderMap,
        read: &Result<Body, Fault>,
        bytes_in: usize,
        rejection: Rejection,
    ) -> HttpReply {
        let Ok(Body::One(Ok(Frame::Request(request)))) = read else {
            return self.refuse(visit, headers, bytes_in, rejection).await;
        };
        let revision = self.spoken(visit, headers).unwrap_or(ASSUMED);
        let carrier = carried(headers);
        let reply = self.refuse_request(visit, request, carrier, revision, &rejection);
        HttpReply::whole(reply.await)
    }

    /// Turns a body or a verb away, in the revision that its headers tell.
    async fn refuse(
        &self,
        visit: &Visit,
        headers: &HeaderMap,
        bytes_in: usize,
        rejection: Rejection,
    ) -> HttpReply {
        let refused = Refused {
            rejection,
            method: None,
            principal: Some(&visit.principal),
            address: visit.address,
            bytes_in,
        };
        let spoken = self.spoken(visit, headers);
        HttpReply::whole(self.refused(refused, TRANSPORT, spoken).await)
    }

    /// The revision that the headers tell: by its name, or by the session's.
    fn spoken(&self, visit: &Visit, headers: &HeaderMap) -> Option<Revision> {
        said_revision(headers).ok().flatten().or_else(|| {
            let session = self.named_session(visit, headers).ok()?;
            Some(session.revision)
        })
    }

    /// Turns an HTTP request away: one record, one answer. `spoken` is the revision that its header names.
    pub async fn refuse_http(&self, refused: Refused<'_>, spoken: Option<Revision>) -> HttpReply {
        HttpReply::whole(self.refused(refused, TRANSPORT, spoken).await)
    }

    /// Turns a stranger away who was turned away too often to be recorded each time; counted all the same.
    pub fn refuse_unrecorded(&self, rejection: &Rejection, spoken: Option<Revision>) -> HttpReply {
        self.parts.metrics.refusal_unrecorded();
        self.parts.metrics.rejected(rejection.reason());
        let revision = spoken.unwrap_or(ASSUMED);
        HttpReply::whole(error_reply(
            None,
            revision,
            &rejection.response(revision),
            None,
        ))
    }

    /// Records and says why there is no message to serve, in the words of the revision that is spoken, if that is
    /// known.
    pub(super) async fn refused(
        &self,
        refused: Refused<'_>,
        transport: &'static str,
        spoken: Option<Revision>,
    ) -> Reply {
        let Refused {
            rejection,
            method,
            principal,
            address,
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
            address,
            transport,
            revision: spoken.map_or("-", Revision::as_str),
            method: method.unwrap_or("other"),
            bytes_in,
        };
        let revision = spoken.unwrap_or(ASSUMED);
        match Box::pin(self.open_record(opening)).await {
            Ok(mut record) => {
                if matches!(rejection, Rejection::NotOwner) {
                    record.note(|row| row.decision = "deny".into());
                }
                self.reject(record, id.as_deref(), revision, &rejection)
                    .await
            }
            Err(full) => unrecorded(id.as_deref(), revision, &full),
        }
    }

    /// Records and says why a request that was read is not served.
    async fn refuse_request(
        &self,
        visit: &Visit,
        request: &Request,
        carrier: Context,
        revision: Revision,
        rejection: &Rejection,
    ) -> Reply {
        let opening = Opening {
            principal: Some(&visit.principal),
            client: String::new(),
            address: visit.address,
            transport: TRANSPORT,
            revision: revision.as_str(),
            method: known_name(&request.method),
            bytes_in: request.bytes().len(),
        };
        match Box::pin(self.open_record(opening)).await {
            Ok(mut record) => {
                record.of_trace(self.trace_of(request, carrier));
                self.reject(record, Some(request.id()), revision, rejection)
                    .await
            }
            Err(full) => unrecorded(Some(request.id()), revision, &full),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The revision that the header names, if there is the header.
fn said_revision(headers: &HeaderMap) -> Result<Option<Revision>, Rejection> {
    let mut values = headers.get_all(mcp::PROTOCOL_VERSION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("\u{fffd}");
    let unsupported = || Rejection::UnsupportedRevision(text.to_owned());
    // Two of them would be two revisions.
    let only = values.next().is_none().then_some(text);
    let revision = only.and_then(Revision::parse).ok_or_else(unsupported)?;
    Ok(Some(revision))
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
