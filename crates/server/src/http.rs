//! The HTTP listener: connections with bounds, requests from bytes to the gate and back.
//!
//! What is said here is HTTP: Host and Origin, media types, sizes and times. From the body inward it is
//! `gateway`'s. One layer authenticates, in front of every path but the two that tell nothing.

mod browser;
mod challenge;
mod connection;
mod forwarded;
mod inbound;
mod oauth;
mod origin;
mod pages;
mod routes;
mod sse;
mod strangers;
mod threads;
mod v1;
mod websocket;

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{self, HeaderValue};
use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use arc_swap::ArcSwap;
use auth::{Peer, Presented};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use gateway::{Gate, HttpBody, HttpReply, Refused, Rejection, Visit};
use http_body::{Body as _, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use observe::alerts::Alerts;
use observe::logs::Logs;
use policy::{Principal, Scope, ServerName};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use wire::{Revision, header as mcp};

use crate::config;
use crate::tls::{Proof, Tls};
use connection::Activity;
use inbound::Inbound;
use routes::{Access, Route, Target};

pub(crate) use connection::listen;
pub use routes::{RouteRow, routes};
pub(crate) use threads::Threads;

type Body = Either<Full<Bytes>, UnsyncBoxBody<Bytes, Infallible>>;

/// Messages of one conversation that wait for a slow client.
const OUT_MAX: usize = 64;
/// How often a conversation's credential is looked at again: a key that was revoked ends it.
const PROOF_EVERY: Duration = Duration::from_secs(20);
/// Of the time to drain so much is left for goodbyes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// There is no such path, or not for this principal.
const NO_PATH: Rejection = Rejection::Http {
    status: 404,
    reason: "No such path; the MCP endpoint is /mcp",
};

/// What every request is held against; the settings can change while connections live.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) gate: Arc<Gate>,
    pub(crate) settings: ArcSwap<config::Http>,
    /// For new connections; a reload brings another. `None`: all in the clear.
    pub(crate) tls: watch::Sender<Option<Tls>>,
    streams: sse::Streams,
    strangers: strangers::Strangers,
    /// `None`: what this gate logs is somebody else's.
    logs: Option<Logs>,
    alerts: Alerts,
    /// How long a conversation may go on with the calls it is at when the gate drains.
    drain: Duration,
}

/// What requests over one connection have in common.
#[derive(Debug)]
struct Connection {
    peer: SocketAddr,
    local: SocketAddr,
    /// What the client proved to hold in the TLS handshake.
    certificate: Option<Arc<auth::ClientCertificate>>,
    proof: Option<Proof>,
    activity: Arc<Activity>,
    /// What outlives the request but not the serving of connections.
    tasks: TaskTracker,
    /// The connection's place among all; a WebSocket keeps it.
    _place: OwnedSemaphorePermit,
    _counted: observe::Counted,
}

/// What is known of a request before it is looked into.
#[derive(Debug)]
struct Facts {
    connection: Arc<Connection>,
    /// What may be concluded from where it comes from.
    peer: Peer,
    /// Where it comes from, as far as somebody says so who is believed.
    address: IpAddr,
}

impl Facts {
    fn of(connection: &Arc<Connection>, headers: &HeaderMap, settings: &config::Http) -> Self {
        let from = connection.peer.ip().to_canonical();
        let (peer, address) = if settings.proxies.trust(from) {
            let address = forwarded::client(from, headers, &settings.proxies);
            if address != from {
                tracing::debug!(peer = %connection.peer, %address, "a proxy passes on a request");
            }
            // Its callers are not this machine, whatever it says or leaves out. If it is here itself, and says nothing of
            // them, they are counted by its address all the same.
            (Peer::Remote(Some(address)), address)
        } else {
            (peer(from, headers), from)
        };
        Self {
            connection: Arc::clone(connection),
            peer,
            address,
        }
    }
}

impl Edge {
    /// What a gate is served through.
    pub(crate) fn new(
        gate: Arc<Gate>,
        settings: config::Http,
        tls: Option<Tls>,
        drain: Duration,
        logs: Option<Logs>,
        alerts: Alerts,
    ) -> Self {
        Self {
            gate,
            settings: ArcSwap::from_pointee(settings),
            tls: watch::Sender::new(tls),
            streams: sse::Streams::default(),
            strangers: strangers::Strangers::default(),
            logs,
            alerts,
            drain: drain.saturating_sub(LAST_WORDS),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        request: Request<Inbound>,
    ) -> Response<Body> {
        let settings = self.settings.load();
        let facts = &Facts::of(connection, request.headers(), &settings);
        let local = connection.local;
        let allowed = origin::check(request.headers(), request.uri(), local, &settings);
        let origin = match allowed {
            Ok(origin) => origin,
            // No credential would help.
            Err(rejection) => {
                return self
                    .refuse(facts, rejection, None, spoken(request.headers()))
                    .await;
            }
        };
        // Pages are for people: no page of another origin reads them.
        let is_page =
            routes::find(request.uri().path()).is_some_and(|route| route.access == Access::Browser);
        let origin = origin.filter(|_| !is_page);
        let server = routes::server(request.uri().path()).map(str::to_owned);
        let is_local = origin::is_loopback(host(&request));
        let is_preflight = request.method() == Method::OPTIONS && origin.is_some();
        let mut response = if is_preflight {
            preflight()
        } else {
            self.route(facts, &settings, request).await
        };
        self.challenge(&mut response, server.as_deref());
        if let Some(origin) = origin {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
            let exposed = HeaderValue::from_static(
                "mcp-session-id, retry-after, www-authenticate, dpop-nonce",
            );
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        if self.gate.auth().site().is_https() && !is_local {
            // RFC 6797: a browser that came over TLS once comes no other way again. Not by a name that this gate shares
            // with everything else on the machine.
            response.headers_mut().insert(
                header::STRICT_TRANSPORT_SECURITY,
                HeaderValue::from_static("max-age=31536000"),
            );
        }
        response
    }

    async fn route(
        self: &Arc<Self>,
        facts: &Facts,
        settings: &config::Http,
        request: Request<Inbound>,
    ) -> Response<Body> {
        let spoken = spoken(request.headers());
        let path = request.uri().path();
        let Some(route) = routes::find(path) else {
            return self.refuse_unknown(facts, &request).await;
        };
        let refusal = match route.access {
            Access::Public | Access::Browser if !route.methods.contains(request.method()) => {
                return self.refuse_method(facts, None, spoken, route).await;
            }
            Access::Public | Access::Browser => {
                return self.serve_openly(facts, settings, route, request).await;
            }
            Access::Principal | Access::Scoped | Access::Owner => {
                self.admit(facts, route, &request).await
            }
        };
        let principal = match refusal {
            Ok(principal) => principal,
            Err((rejection, principal)) => {
                let said = rejection.response(Revision::LATEST).message;
                let refused = Refused {
                    rejection,
                    method: v1::recorded(route, request.method()),
                    principal: principal.as_deref(),
                    address: Some(facts.address),
                    bytes_in: 0,
                };
                let refused = self.turn_away(facts, refused, spoken);
                return in_words_of(route, refused.await, &said);
            }
        };
        if !route.methods.contains(request.method()) {
            let refused = self.refuse_method(facts, Some(&principal), spoken, route);
            return in_words_of(route, refused.await, "See the header `Allow`");
        }
        let Some(visit) = self.visit(facts, &principal, path).await else {
            return self.refuse(facts, NO_PATH, Some(&principal), spoken).await;
        };
        match route.target {
            Target::Mcp => match *request.method() {
                Method::POST => self.post(&visit, settings, facts, request).await,
                Method::GET => {
                    let reply = self.gate.get(&visit, request.headers()).await;
                    self.into_response(reply, facts, &principal)
                }
                _ => {
                    let reply = self.gate.delete(&visit, request.headers()).await;
                    self.into_response(reply, facts, &principal)
                }
            },
            Target::SseStream => {
                let opened = self.open_stream(facts, visit);
                self.or_refuse(facts, &principal, spoken, opened).await
            }
            Target::SseMessages => {
                let taken = self.take_message(&visit, settings, request).await;
                self.or_refuse(facts, &principal, spoken, taken).await
            }
            Target::WebSocket => {
                let upgraded = self.upgrade(facts, visit, settings, request);
                self.or_refuse(facts, &principal, spoken, upgraded).await
            }
            Target::Health => text(
                StatusCode::OK,
                "application/json",
                format!("{}\n", self.gate.health(&principal)),
            ),
            Target::Metrics => {
                let accept = request.headers().get_all(header::ACCEPT).iter();
                let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
                let format = observe::Format::wanted(&accept.join(","));
                let body = self.gate.metrics().encode(format);
                text(StatusCode::OK, format.content_type(), body)
            }
            Target::Admin => v1::serve(self, facts, &principal, settings, route, request).await,
            Target::Live
            | Target::Ready
            | Target::ResourceMetadata
            | Target::ServerMetadata
            | Target::OAuth
            | Target::Page => self.serve_openly(facts, settings, route, request).await,
        }
    }

    /// What needs no credential of the API.
    async fn serve_openly(
        self: &Arc<Self>,
        facts: &Facts,
        settings: &config::Http,
        route: &'static Route,
        request: Request<Inbound>,
    ) -> Response<Body> {
        match route.target {
            Target::Live => text(StatusCode::OK, "text/plain", "ok\n"),
            Target::Ready if self.gate.is_ready() => text(StatusCode::OK, "text/plain", "ready\n"),
            Target::Ready => text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n"),
            Target::ResourceMetadata | Target::ServerMetadata | Target::OAuth => {
                oauth::serve(self, facts, settings, request).await
            }
            Target::Page => pages::serve(self, facts, settings, request).await,
            Target::Mcp
            | Target::SseStream
            | Target::SseMessages
            | Target::WebSocket
            | Target::Health
            | Target::Metrics
            | Target::Admin => {
                // No row says so, and a test sees to it.
                text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "")
            }
        }
    }

    /// The one layer in front of everything that needs a credential.
    async fn admit(
        &self,
        facts: &Facts,
        route: &Route,
        request: &Request<Inbound>,
    ) -> Result<Arc<Principal>, (Rejection, Option<Arc<Principal>>)> {
        let principal = self
            .authenticate(facts, request)
            .await
            .map_err(|rejection| (rejection, None))?;
        if route.access == Access::Owner {
            let action = v1::action(route, request.method());
            if !self.gate.may_administer(&principal, action) {
                return Err((Rejection::NotOwner, Some(principal)));
            }
        }
        let is_for_admins = matches!(route.access, Access::Owner | Access::Scoped);
        if is_for_admins && !principal.scopes.contains(Scope::Admin) {
            let held = principal.scopes;
            let needed = Scope::Admin.into();
            return Err((Rejection::Unscoped { needed, held }, Some(principal)));
        }
        Ok(principal)
    }

    /// Where the request leads; `None`: to a virtual server that there is not, or not for this principal.
    async fn visit(&self, facts: &Facts, principal: &Arc<Principal>, path: &str) -> Option<Visit> {
        let mut visit = Visit::from(Arc::clone(principal));
        visit.address = Some(facts.address);
        if let Some(name) = routes::server(path) {
            visit.server = Some(ServerName::new(name).ok()?);
        }
        self.gate.receives(&visit).await.then_some(visit)
    }

    /// A path that does not exist: said only to those who are known.
    async fn refuse_unknown(&self, facts: &Facts, request: &Request<Inbound>) -> Response<Body> {
        let spoken = spoken(request.headers());
        let (rejection, principal) = match self.authenticate(facts, request).await {
            Err(rejection) => (rejection, None),
            Ok(principal) => (NO_PATH, Some(principal)),
        };
        self.refuse(facts, rejection, principal.as_deref(), spoken)
            .await
    }

    async fn authenticate(
        &self,
        facts: &Facts,
        request: &Request<Inbound>,
    ) -> Result<Arc<Principal>, Rejection> {
        let headers = request.headers();
        let twice = |name: &'static str| headers.get_all(name).iter().nth(1).is_some();
        if twice("authorization") || twice("x-api-key") || twice("dpop") {
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
        let dpop = value("dpop");
        // Only a proof says which URL it is for.
        let url = dpop.map(|_| {
            let base = self.gate.auth().site().base_for(host(request));
            format!("{base}{}", request.uri().path())
        });
        self.gate
            .authenticate(&Presented {
                authorization: value("authorization"),
                x_api_key: value("x-api-key"),
                dpop,
                certificate: facts.connection.certificate.as_deref(),
                method: request.method().as_str(),
                url: url.as_deref().unwrap_or_default(),
                server: routes::server(request.uri().path()),
                peer: facts.peer,
            })
            .await
    }

    async fn post(
        self: &Arc<Self>,
        visit: &Visit,
        settings: &config::Http,
        facts: &Facts,
        request: Request<Inbound>,
    ) -> Response<Body> {
        let principal = &visit.principal;
        let (head, body) = request.into_parts();
        let read = match check_media(&head.headers) {
            Ok(()) => read(body, settings).await,
            Err(rejection) => Err(rejection),
        };
        match read {
            Ok(body) => {
                let reply = self.gate.post(visit, &head.headers, &body).await;
                self.into_response(reply, facts, principal)
            }
            Err(rejection) => {
                let spoken = spoken(&head.headers);
                self.refuse(facts, rejection, Some(principal), spoken).await
            }
        }
    }

    /// Ends when what a conversation's client presented at its start no longer proves that it is this principal.
    async fn disowned(&self, principal: &Principal) {
        let auth = self.gate.auth();
        let mut revoked = auth.revocations().changes();
        let epoch = auth.epoch(&principal.id);
        while auth.is_current(principal) && auth.epoch(&principal.id) == epoch {
            let now = auth.parts().clock.wall();
            let left = principal
                .expires_at
                .map(|at| at.duration_since(now).unwrap_or_default());
            let wait = left.map_or(PROOF_EVERY, |left| left.min(PROOF_EVERY));
            let changed = tokio::time::timeout(wait, revoked.changed());
            if matches!(changed.await, Ok(Err(_))) {
                // The gate is coming down: nobody revokes any more.
                std::future::pending::<()>().await;
            }
        }
    }

    fn is_owned(&self, principal: &Principal) -> bool {
        self.gate.auth().is_current(principal)
    }

    async fn or_refuse(
        &self,
        facts: &Facts,
        principal: &Principal,
        spoken: Option<Revision>,
        answer: Result<Response<Body>, Rejection>,
    ) -> Response<Body> {
        match answer {
            Ok(response) => response,
            Err(rejection) => self.refuse(facts, rejection, Some(principal), spoken).await,
        }
    }

    async fn refuse_method(
        &self,
        facts: &Facts,
        principal: Option<&Principal>,
        spoken: Option<Revision>,
        route: &Route,
    ) -> Response<Body> {
        let reason = match route.methods {
            [Method::GET] => "Use GET",
            _ => "Use POST",
        };
        let status = 405;
        let rejection = Rejection::Http { status, reason };
        let mut response = self.refuse(facts, rejection, principal, spoken).await;
        let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
        if let Ok(allow) = HeaderValue::try_from(methods.join(", ")) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }

    async fn refuse(
        &self,
        facts: &Facts,
        rejection: Rejection,
        principal: Option<&Principal>,
        spoken: Option<Revision>,
    ) -> Response<Body> {
        let refused = Refused {
            rejection,
            method: None,
            principal,
            address: Some(facts.address),
            bytes_in: 0,
        };
        self.turn_away(facts, refused, spoken).await
    }

    async fn turn_away(
        &self,
        facts: &Facts,
        refused: Refused<'_>,
        spoken: Option<Revision>,
    ) -> Response<Body> {
        let from = facts.address;
        if refused.principal.is_none() && !self.strangers.is_recorded(from, Instant::now()) {
            return self.plain_response(self.gate.refuse_unrecorded(&refused.rejection, spoken));
        }
        let reply = self.gate.refuse_http(refused, spoken).await;
        self.plain_response(reply)
    }
}

/// A refusal as the clients of a route understand it: the admin API has no JSON-RPC.
fn in_words_of(route: &Route, refused: Response<Body>, said: &str) -> Response<Body> {
    match route.target {
        Target::Admin => v1::worded(refused, said),
        Target::Live
        | Target::Ready
        | Target::Mcp
        | Target::SseStream
        | Target::SseMessages
        | Target::WebSocket
        | Target::Health
        | Target::Metrics
        | Target::ResourceMetadata
        | Target::ServerMetadata
        | Target::OAuth
        | Target::Page => refused,
    }
}

/// Whom the request was addressed to; checked before.
fn host<B>(request: &Request<B>) -> &str {
    let named = || request.headers().get(header::HOST)?.to_str().ok();
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => named().unwrap_or_default(),
    }
}

/// The revision that a request's header names: what is refused before it is read is refused in its words.
fn spoken(headers: &HeaderMap) -> Option<Revision> {
    let named = headers.get(mcp::PROTOCOL_VERSION)?;
    Revision::parse(named.to_str().ok()?)
}

/// Where a request really comes from that no trusted proxy passed on. Through another one on this machine the address is
/// always ours; then nothing about the address proves who asks.
fn peer(from: IpAddr, headers: &HeaderMap) -> Peer {
    let is_relayed = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-real-ip",
        "via",
    ]
    .iter()
    .any(|name| headers.contains_key(*name));
    match (from.is_loopback(), is_relayed) {
        (true, false) => Peer::Loopback,
        (true, true) => Peer::Remote(None),
        // Who comes from elsewhere cannot hide from counting by what it writes.
        (false, _) => Peer::Remote(Some(from)),
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
async fn read(body: Inbound, settings: &config::Http) -> Result<Bytes, Rejection> {
    read_at_most(body, settings.body_max, settings.body_timeout).await
}

/// A body of at most `max` bytes, which takes at most `within`.
async fn read_at_most(mut body: Inbound, max: usize, within: Duration) -> Result<Bytes, Rejection> {
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
    tokio::time::timeout(within, read)
        .await
        .unwrap_or(Err(slow))
}

impl Edge {
    /// A stream of events ends when its client's credential does.
    fn into_response(
        self: &Arc<Self>,
        reply: HttpReply,
        facts: &Facts,
        principal: &Arc<Principal>,
    ) -> Response<Body> {
        let HttpReply {
            status,
            session,
            retry_after,
            challenge,
            body,
        } = reply;
        match body {
            HttpBody::Events(events) => {
                // The connection counts as busy until the stream has ended.
                let busy = facts.connection.activity.busy();
                let (edge, principal) = (Arc::clone(self), Arc::clone(principal));
                let over = async move { edge.disowned(&principal).await };
                let frames = events.take_until(Box::pin(over)).map(move |chunk| {
                    let _busy = &busy;
                    Ok::<_, Infallible>(Frame::data(chunk))
                });
                let mut response =
                    Response::new(Either::Right(StreamBody::new(frames).boxed_unsync()));
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
            body => self.plain_response(HttpReply {
                status,
                session,
                retry_after,
                challenge,
                body,
            }),
        }
    }

    fn plain_response(&self, reply: HttpReply) -> Response<Body> {
        let HttpReply {
            status,
            session,
            retry_after,
            challenge,
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
        if status == 405 && !headers.contains_key(header::ALLOW) {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        // Which resource it is about is known where the path is.
        if let Some(challenge) = challenge {
            response.extensions_mut().insert(challenge);
        }
        response
    }

    /// Says how to get a better credential for what was asked for.
    fn challenge(&self, response: &mut Response<Body>, server: Option<&str>) {
        if let Some(challenge) = response.extensions_mut().remove::<gateway::Challenge>() {
            let base = self.gate.auth().site().base();
            let mut metadata = format!("{base}/.well-known/oauth-protected-resource/mcp");
            if let Some(server) = server.filter(|name| ServerName::new(name).is_ok()) {
                metadata.push('/');
                metadata.push_str(server);
            }
            challenge::add(response.headers_mut(), &challenge, &metadata);
        }
    }
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
        "authorization, dpop, content-type, accept, last-event-id, mcp-session-id, mcp-protocol-version, mcp-method, mcp-name",
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
