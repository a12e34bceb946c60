//! Pages for people: first start, sign-in, consent, account, connections. Plain HTML, no script.
//!
//! Who somebody is and what they may change is `auth`'s; here are forms and words. Every page but those of the sign-in
//! asks for a session first, every form for the token of the page that it stands on; see [`super::browser`].

mod account;
mod connect;
mod consent;
mod consents;
mod login;
mod page;
mod provider;
mod reset;
mod setup;

use std::sync::Arc;

use ::http::uri::PathAndQuery;
use ::http::{Method, Request, Response, StatusCode, Uri};
use auth::accounts::AccountError;
use gateway::AdminRecord;

use super::{Body, Edge, Facts, Inbound};
use crate::config;

pub(super) use connect::callback;
pub(super) use consent::{ConsentView, consent};
pub(super) use page::error;

/// Where people go who were not on their way anywhere.
const HOME: &str = "/console/account";
/// The longest path that is gone on to after signing in.
const NEXT_MAX: usize = 8 * 1024;

/// Answers a request for one of its paths.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    facts: &Facts,
    _settings: &config::Http,
    request: Request<Inbound>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(2).collect();
    match segments.as_slice() {
        [] | [""] => page::see_other(HOME),
        ["assets", _] => page::asset(&path),
        ["setup"] => setup::serve(edge, facts, request).await,
        ["login"] => login::serve(edge, facts, request).await,
        ["logout"] => login::leave(edge, facts, request).await,
        ["reset"] => reset::serve(edge, facts, request).await,
        ["account"] => account::serve(edge, facts, request).await,
        ["consents"] => consents::serve(edge, facts, request).await,
        ["connect"] => connect::list(edge, request).await,
        ["connect", upstream] => connect::serve(edge, facts, upstream, request).await,
        ["sign-in", name] => provider::begin(edge, name, &request).await,
        ["sign-in", name, "callback"] => provider::finish(edge, facts, name, &request).await,
        // No row of the table leads here.
        _ => error(StatusCode::NOT_FOUND, "Not here", "There is no such page."),
    }
}

/// Sign in first, then come back here.
pub(super) fn sign_in_first(uri: &Uri) -> Response<Body> {
    let here = uri.path_and_query().map_or(HOME, PathAndQuery::as_str);
    page::see_other(&with_next("/console/login", here))
}

/// `path`, and where to go on from there.
fn with_next(path: &str, next: &str) -> String {
    if next == HOME {
        return path.to_owned();
    }
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("{path}?next={next}")
}

/// Where to go on to, if that is a page of ours; anything else is the account page.
///
/// A browser reads `//host` and `/\host` as another site, and passes over tabs and line breaks (WHATWG URL section
/// 4.4): none of that is let through, nor anything else that is not plainly a path.
fn next(text: &str) -> &str {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_path && is_plain && text.len() <= NEXT_MAX {
        text
    } else {
        HOME
    }
}

/// Go on to a page of ours with a session that has just begun.
fn go_on(next: &str) -> Response<Body> {
    // Only an app's request may lead on to another site.
    if next.starts_with("/oauth/") {
        page::go_on(next)
    } else {
        page::see_other(next)
    }
}

/// One parameter of the query; empty if it is not there, or there twice.
pub(super) fn parameter(uri: &Uri, name: &str) -> String {
    let query = uri.query().unwrap_or_default();
    let mut found = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned());
    match (found.next(), found.next()) {
        (Some(value), None) => value,
        _ => String::new(),
    }
}

/// What was done, as the query's `done` says it in a closed set of words.
fn notice(uri: &Uri, words: &[(&str, &'static str)]) -> Option<&'static str> {
    let done = parameter(uri, "done");
    let said = words.iter().find(|(word, _)| *word == done);
    said.map(|(_, text)| *text)
}

/// The status of a form that was refused.
fn status_of(error: &AccountError) -> StatusCode {
    match error {
        AccountError::Name(_)
        | AccountError::Email(_)
        | AccountError::Taken
        | AccountError::Weak(_)
        | AccountError::TotpOn
        | AccountError::TotpOff => StatusCode::UNPROCESSABLE_ENTITY,
        AccountError::Unknown => StatusCode::NOT_FOUND,
        AccountError::Link | AccountError::Wrong | AccountError::Disabled => StatusCode::FORBIDDEN,
        AccountError::Later { .. } => StatusCode::TOO_MANY_REQUESTS,
        AccountError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A place in the audit log for a step of somebody who is not known yet; without one the step is not taken.
pub(super) async fn record(
    edge: &Edge,
    facts: &Facts,
    action: &'static str,
) -> Result<AdminRecord, Response<Body>> {
    let mut record = edge.gate.record_entry(action).await.map_err(|error| {
        tracing::error!(%error, action, "a step cannot be recorded");
        unavailable()
    })?;
    record.from_address(facts.address);
    Ok(record)
}

/// Closes the record of a step; without it whoever took the step is not told what came of it.
pub(super) async fn close(
    record: AdminRecord,
    status: StatusCode,
    reason: Option<String>,
) -> Result<(), Response<Body>> {
    let closed = record.close(status.as_u16(), reason, 0).await;
    closed.map_err(|error| {
        tracing::error!(%error, "a step is not recorded");
        unavailable()
    })
}

fn unavailable() -> Response<Body> {
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        "Not now",
        "Something that this page needs does not work at the moment. Try again in a minute.",
    )
}

/// An error, as people write it.
fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let end = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    [&first.unwrap_or_default(), letters.as_str(), end].concat()
}

fn is_post(request: &Request<Inbound>) -> bool {
    request.method() == Method::POST
}

#[cfg(test)]
mod tests;
