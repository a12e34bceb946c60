//! Upstreams that everybody connects with an account of their own. What is granted and kept is `auth::outbound`'s.

use std::sync::Arc;

use ::http::{Request, Response, StatusCode};
use askama::Template;
use auth::accounts::BrowserSession;
use auth::outbound::{Connection, OutboundError};
use gateway::AdminRecord;
use policy::UpstreamId;

use super::account::date;
use super::page::{page_apart, see_other};
use super::{is_post, parameter, sign_in_first};
use crate::http::browser;
use crate::http::{Body, Edge, Facts, Inbound};

#[derive(Template)]
#[template(path = "connect.html")]
struct Page<'a> {
    session: &'a BrowserSession,
    rows: Vec<Row>,
    /// Whether it is about one upstream alone.
    is_one: bool,
    notice: Option<String>,
}

struct Row {
    upstream: String,
    state: State,
    issuer: String,
    scopes: String,
    since: String,
}

#[derive(PartialEq)]
enum State {
    Connected,
    Stale,
    Open,
}

/// `/console/connect`.
pub(super) async fn list(edge: &Arc<Edge>, request: Request<Inbound>) -> Response<Body> {
    let Some(session) = browser::current(edge, request.headers()).await else {
        return sign_in_first(request.uri());
    };
    let connected = parameter(request.uri(), "connected");
    let notice = UpstreamId::new(&connected)
        .ok()
        .map(|upstream| format!("{upstream} is connected."));
    show(edge, &session, None, notice)
}

/// `/console/connect/{upstream}`.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    facts: &Facts,
    upstream: &str,
    request: Request<Inbound>,
) -> Response<Body> {
    let Some(session) = browser::current(edge, request.headers()).await else {
        return sign_in_first(request.uri());
    };
    let Ok(upstream) = UpstreamId::new(upstream) else {
        return unknown();
    };
    if !is_post(&request) {
        return show(edge, &session, Some(&upstream), None);
    }
    let form = match browser::form(edge, Some(&session), request).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let outbound = edge.gate.auth().outbound();
    let action = match form.text("act") {
        "connect" => "account/connect",
        "disconnect" => "account/disconnect",
        _ => return unknown(),
    };
    let mut record = match super::record(edge, facts, action).await {
        Ok(record) => record,
        Err(closed) => return closed,
    };
    record.by(&session.principal);
    record.about(upstream.as_str());
    let done = if action == "account/connect" {
        // As a step of its own: where its sign-in leads from there is for nobody's `form-action` to say.
        let begun = outbound.begin(&upstream, &session.principal).await;
        begun.map(|url| super::page::go_on(url.as_str()))
    } else {
        let ended = outbound.disconnect(&upstream, &session.principal.id).await;
        ended.map(|_| see_other("/console/connect"))
    };
    told(record, done).await
}

/// What came of it, once that is recorded.
async fn told(record: AdminRecord, done: Result<Response<Body>, OutboundError>) -> Response<Body> {
    let (status, reason) = match &done {
        Ok(response) => (response.status(), None),
        Err(error) => (StatusCode::BAD_GATEWAY, Some(error.to_string())),
    };
    if let Err(closed) = super::close(record, status, reason).await {
        return closed;
    }
    done.unwrap_or_else(|error| refuse(&error))
}

/// `/oauth/callback`: what an upstream's authorization server says to the principal who began.
pub(in crate::http) async fn callback(
    edge: &Arc<Edge>,
    facts: &Facts,
    request: Request<Inbound>,
) -> Response<Body> {
    let Some(session) = browser::current(edge, request.headers()).await else {
        // Nobody's answer. It is not kept for after a sign-in: it could be somebody else's.
        return refuse(&OutboundError::Stranger);
    };
    let query = request.uri().query().unwrap_or_default();
    let outbound = edge.gate.auth().outbound();
    let mut record = match super::record(edge, facts, "account/connect").await {
        Ok(record) => record,
        Err(closed) => return closed,
    };
    record.by(&session.principal);
    let finished = outbound.finish(&session.principal, query).await;
    if let Ok(upstream) = &finished {
        record.about(upstream.as_str());
    }
    let done = finished
        .map(|upstream| super::page::go_on(&format!("/console/connect?connected={upstream}")));
    told(record, done).await
}

fn show(
    edge: &Edge,
    session: &BrowserSession,
    only: Option<&UpstreamId>,
    notice: Option<String>,
) -> Response<Body> {
    let connections = match edge
        .gate
        .auth()
        .outbound()
        .connections(&session.principal.id)
    {
        Ok(connections) => connections,
        Err(error) => return refuse(&error),
    };
    let rows: Vec<Row> = connections
        .into_iter()
        .filter(|connection| only.is_none_or(|only| connection.upstream == *only))
        .map(row)
        .collect();
    if only.is_some() && rows.is_empty() {
        return unknown();
    }
    let template = Page {
        session,
        rows,
        is_one: only.is_some(),
        notice,
    };
    page_apart(StatusCode::OK, &template)
}

fn row(connection: Connection) -> Row {
    let state = match (&connection.issuer, connection.is_stale) {
        (_, true) => State::Stale,
        (Some(_), false) => State::Connected,
        (None, false) => State::Open,
    };
    Row {
        upstream: connection.upstream.to_string(),
        state,
        issuer: connection.issuer.unwrap_or_default(),
        scopes: connection.scopes.join(" "),
        since: connection.since.map(date).unwrap_or_default(),
    }
}

fn unknown() -> Response<Body> {
    super::error(
        StatusCode::NOT_FOUND,
        "Nothing to connect",
        "No upstream of that name asks for an account of your own.",
    )
}

/// The details are for the log: they are the words of other servers.
fn refuse(error: &OutboundError) -> Response<Body> {
    let (status, title, text) = match error {
        OutboundError::Unknown(_) => return unknown(),
        OutboundError::Stranger => (
            StatusCode::FORBIDDEN,
            "That sign-in is not known",
            "It was not begun in this browser, was finished before, or took too long. Start again from your connections.",
        ),
        OutboundError::Denied(_) => (
            StatusCode::OK,
            "Not connected",
            "The upstream's sign-in ended without access. You can start again from your connections.",
        ),
        OutboundError::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Too busy",
            "Many sign-ins are under way. Try again in a few minutes.",
        ),
        OutboundError::NotConnected { .. }
        | OutboundError::Untrusted { .. }
        | OutboundError::NoClient(_)
        | OutboundError::Refused(_)
        | OutboundError::Useless(_)
        | OutboundError::Unavailable { .. } => (
            StatusCode::BAD_GATEWAY,
            "Not connected",
            "The upstream's sign-in did not work. Whoever runs this gate finds the reason in its log.",
        ),
    };
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::debug!(%error, cause, "an upstream was not connected");
    super::error(status, title, text)
}
