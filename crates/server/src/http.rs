//! The HTTP listener: connections with bounds, requests from bytes to the gate and back.
//!
//! What is said here is HTTP: Host and Origin, media types, sizes and times. From the body inward it is
//! `gateway`'s. One layer authenticates, in front of every path but the two that tell nothing.

mod connection;
mod origin;
mod sse;
mod threads;
mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{self, HeaderValue};
use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use arc_swap::ArcSwap;
use auth::{Peer, Presented};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use gateway::{Gate, HttpBody, HttpReply, Refused, Rejection};
use http_body::{Body as _, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::Incoming;
use policy::Principal;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;
use wire::{Revision, header as mcp};

use crate::config;
use connection::Activity;

pub(crate) use connection::listen;
pub(crate) use threads::Threads;

type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, Infallible>>;

/// Messages of one conversation that wait for a slow client.
const OUT_MAX: usize = 64;
/// How often a conversation's credential is looked at again: a key that was revoked ends it.
const PROOF_EVERY: Duration = Duration::from_secs(20);
/// Of the time to drain so much is left for goodbyes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What every request is held against; the settings can change while connections live.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) gate: Arc<Gate>,
    pub(crate) settings: ArcSwap<config::Http>,
    streams: sse::Streams,
    /// How long a conversation may go on with the calls it is at when the gate drains.
    drain: Duration,
}

/// What the connection knows of a request.
#[derive(Debug)]
struct Facts {
    peer: SocketAddr,
    local: SocketAddr,
    activity: Arc<Activity>,
    /// What outlives the request but not the serving of connections.
    tasks: TaskTracker,
    /// The connection's place among all; a WebSocket keeps it.
    _place: OwnedSemaphorePermit,
}

impl Edge {
    /// What a gate is served through.
    pub(crate) fn new(gate: Arc<Gate>, settings: config::Http, drain: Duration) -> Self {
        Self {
            gate,
            settings: ArcSwap::from_pointee(settings),
            streams: sse::Streams::default(),
            drain: drain.saturating_sub(LAST_WORDS),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        facts: &Arc<Facts>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let settings = self.settings.load();
        let allowed = origin::check(request.headers(), request.uri(), facts.local, &settings);
        let origin = match allowed {
            Ok(origin) => origin,
            Err(rejection) => {
                return self
                    .refuse(rejection, None, spoken(request.headers()))
                    .await;
            }
        };
        let is_preflight = request.method() == Method::OPTIONS && origin.is_some();
        let mut response = if is_preflight {
            preflight()
        } else {
            self.route(facts, &settings, request).await
        };
        if let Some(origin) = origin {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
            let exposed = HeaderValue::from_static("mcp-session-id, retry-after, www-authenticate");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        response
    }

    async fn route(
        self: &Arc<Self>,
        facts: &Arc<Facts>,
        settings: &config::Http,
        request: Request<Incoming>,
    ) -> Response<Body> {
        // These two tell nothing about anybody, and who asks them has no credentials.
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/livez") => return text(StatusCode::OK, "text/plain", "ok\n"),
            (&Method::GET, "/readyz") if self.gate.is_ready() => {
                return text(StatusCode::OK, "text/plain", "ready\n");
            }
            (&Method::GET, "/readyz") => {
                return text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n");
            }
            _ => {}
        }
        let spoken = spoken(request.headers());
        let principal = match self.authenticate(facts, request.headers()) {
            Ok(principal) => principal,
            Err(rejection) => return self.refuse(rejection, None, spoken).await,
        };
        match (request.method(), request.uri().path()) {
            (method, "/mcp") => match *method {
                Method::POST => self.post(&principal, settings, facts, request).await,
                Method::GET => {
                    into_response(self.gate.get(&principal, request.headers()).await, facts)
                }
                Method::DELETE => {
                    into_response(self.gate.delete(&principal, request.headers()).await, facts)
                }
                _ => {
                    self.refuse_method(&principal, spoken, "Use POST", "POST, GET, DELETE")
                        .await
                }
            },
            (&Method::GET, sse::STREAM) => {
                let opened = self.open_stream(facts, &principal, request.headers());
                self.or_refuse(&principal, spoken, opened).await
            }
            (_, sse::STREAM) => {
                self.refuse_method(&principal, spoken, "Use GET", "GET")
                    .await
            }
            (&Method::POST, sse::MESSAGES) => {
                let taken = self.take_message(&principal, settings, request).await;
                self.or_refuse(&principal, spoken, taken).await
            }
            (_, sse::MESSAGES) => {
                self.refuse_method(&principal, spoken, "Use POST", "POST")
                    .await
            }
            (_, websocket::PATH) => {
                let upgraded = self.upgrade(facts, &principal, settings, request);
                self.or_refuse(&principal, spoken, upgraded).await
            }
            (&Method::GET, "/health") => text(
                StatusCode::OK,
                "application/json",
                format!("{}\n", self.gate.health(&principal)),
            ),
            (&Method::GET, "/metrics") => text(
                StatusCode::OK,
                observe::CONTENT_TYPE,
                self.gate.metrics().encode(),
            ),
            _ => {
                let reason = "No such path; the MCP endpoint is /mcp";
                self.refuse(
                    Rejection::Http {
                        status: 404,
                        reason,
                    },
                    Some(&principal),
                    spoken,
                )
                .await
            }
        }
    }

    fn authenticate(
        &self,
        facts: &Facts,
        headers: &HeaderMap,
    ) -> Result<Arc<Principal>, Rejection> {
        let twice = |name: &'static str| headers.get_all(name).iter().nth(1).is_some();
        if twice("authorization") || twice("x-api-key") {
            return Err(Rejection::Unauthenticated(auth::AuthError::Malformed(
                "a header stands twice",
            )));
        }
        // What is not text is no credential of ours, but it was presented: it must not count as nothing.
        let value = |name: &'static str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap_or("\u{fffd}"))
        };
        self.gate.authenticate(&Presented {
            authorization: value("authorization"),
            x_api_key: value("x-api-key"),
            peer: peer(facts, headers),
        })
    }

    async fn post(
        &self,
        principal: &Arc<Principal>,
        settings: &config::Http,
        facts: &Facts,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let read = match check_media(&head.headers) {
            Ok(()) => read(body, settings).await,
            Err(rejection) => Err(rejection),
        };
        match read {
            Ok(body) => into_response(self.gate.post(principal, &head.headers, &body).await, facts),
            Err(rejection) => {
                let spoken = spoken(&head.headers);
                self.refuse(rejection, Some(principal), spoken).await
            }
        }
    }

    /// Ends when what a conversation presented at its start no longer proves that it is this principal's.
    async fn disowned(&self, facts: &Facts, headers: &HeaderMap, principal: &Principal) {
        while self.is_owned(facts, headers, principal) {
            tokio::time::sleep(PROOF_EVERY).await;
        }
    }

    fn is_owned(&self, facts: &Facts, headers: &HeaderMap, principal: &Principal) -> bool {
        match self.authenticate(facts, headers) {
            Ok(found) => *found == *principal,
            // It cannot be known now, and was true a moment ago.
            Err(rejection) => matches!(
                rejection,
                Rejection::Unauthenticated(auth::AuthError::Unavailable(_))
            ),
        }
    }

    async fn or_refuse(
        &self,
        principal: &Principal,
        spoken: Option<Revision>,
        answer: Result<Response<Body>, Rejection>,
    ) -> Response<Body> {
        match answer {
            Ok(response) => response,
            Err(rejection) => self.refuse(rejection, Some(principal), spoken).await,
        }
    }

    async fn refuse_method(
        &self,
        principal: &Principal,
        spoken: Option<Revision>,
        reason: &'static str,
        allow: &'static str,
    ) -> Response<Body> {
        let rejection = Rejection::Http {
            status: 405,
            reason,
        };
        let mut response = self.refuse(rejection, Some(principal), spoken).await;
        let allow = HeaderValue::from_static(allow);
        response.headers_mut().insert(header::ALLOW, allow);
        response
    }

    async fn refuse(
        &self,
        rejection: Rejection,
        principal: Option<&Principal>,
        spoken: Option<Revision>,
    ) -> Response<Body> {
        let refused = Refused {
            rejection,
            principal,
            bytes_in: 0,
        };
        plain_response(self.gate.refuse_http(refused, spoken).await)
    }
}

/// The revision that a request's header names: what is refused before it is read is refused in its words.
fn spoken(headers: &HeaderMap) -> Option<Revision> {
    let named = headers.get(mcp::PROTOCOL_VERSION)?;
    Revision::parse(named.to_str().ok()?)
}

/// Where a request really comes from. Through a proxy on this machine the address is always ours; then nothing
/// about the address proves who asks.
fn peer(facts: &Facts, headers: &HeaderMap) -> Peer {
    let is_relayed = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-real-ip",
        "via",
    ]
    .iter()
    .any(|name| headers.contains_key(*name));
    let address = facts.peer.ip().to_canonical();
    if address.is_loopback() && !is_relayed {
        Peer::Loopback
    } else {
        Peer::Remote
    }
}

/// What we read is JSON; what we send is JSON or events. Browsers can send neither type without asking first.
fn check_media(headers: &HeaderMap) -> Result<(), Rejection> {
    let kind = |value: &str| {
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    };
    let sent = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(kind);
    if sent.as_deref() != Some("application/json") {
        let reason = "Send `Content-Type: application/json`";
        return Err(Rejection::Http {
            status: 415,
            reason,
        });
    }
    let mut accepted = headers.get_all(header::ACCEPT).iter().peekable();
    let takes = |value: &HeaderValue| {
        value.to_str().is_ok_and(|list| {
            list.split(',').map(kind).any(|kind| {
                matches!(
                    kind.as_str(),
                    "*/*" | "application/*" | "application/json" | "text/event-stream"
                )
            })
        })
    };
    if accepted.peek().is_some() && !accepted.any(takes) {
        let reason = "Send `Accept: application/json, text/event-stream`";
        return Err(Rejection::Http {
            status: 406,
            reason,
        });
    }
    Ok(())
}

/// The body, within its bounds of size and time.
async fn read(mut body: Incoming, settings: &config::Http) -> Result<Bytes, Rejection> {
    let max = settings.body_max;
    let too_large = || Rejection::Http {
        status: 413,
        reason: "The body is too large",
    };
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let read = async {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let broken = |_| Rejection::Http {
                status: 400,
                reason: "The body broke off",
            };
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if first.len() + rest.len() + data.len() > max {
                return Err(too_large());
            }
            // Nearly every body comes in one piece, which is then not copied.
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&rest);
        Ok(whole.freeze())
    };
    let slow = Rejection::Http {
        status: 408,
        reason: "The body came too slowly",
    };
    tokio::time::timeout(settings.body_timeout, read)
        .await
        .unwrap_or(Err(slow))
}

fn into_response(reply: HttpReply, facts: &Facts) -> Response<Body> {
    let HttpReply {
        status,
        session,
        retry_after,
        body,
    } = reply;
    match body {
        HttpBody::Events(events) => {
            // The connection counts as busy until the stream has ended.
            let busy = facts.activity.busy();
            let frames = events.map(move |chunk| {
                let _busy = &busy;
                Ok::<_, Infallible>(Frame::data(chunk))
            });
            let mut response = Response::new(Either::Right(StreamBody::new(frames).boxed_unsync()));
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/event-stream"),
            );
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
            name_session(headers, session);
            response
        }
        body => plain_response(HttpReply {
            status,
            session,
            retry_after,
            body,
        }),
    }
}

fn plain_response(reply: HttpReply) -> Response<Body> {
    let HttpReply {
        status,
        session,
        retry_after,
        body,
    } = reply;
    let (body, kind) = match body {
        HttpBody::Json(body) => (body, Some("application/json")),
        HttpBody::Empty | HttpBody::Events(_) => (Bytes::new(), None),
    };
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(kind) = kind {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
    }
    name_session(headers, session);
    if let Some(after) = retry_after {
        headers.insert(header::RETRY_AFTER, whole_seconds(after).into());
    }
    match status {
        401 => {
            let challenge = HeaderValue::from_static("Bearer realm=\"portcullis\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        405 => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        _ => {}
    }
    response
}

fn name_session(headers: &mut HeaderMap, session: Option<String>) {
    if let Some(value) = session.and_then(|id| HeaderValue::try_from(id).ok()) {
        headers.insert(mcp::SESSION_ID, value);
    }
}

/// `Retry-After` has whole seconds: rounded up, so that who waits so long is not refused again.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::new())));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("POST, GET, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let named = HeaderValue::from_static(
        "authorization, content-type, accept, last-event-id, mcp-session-id, mcp-protocol-version, mcp-method, mcp-name",
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, named);
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    response
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
