//! Signing in with an account of somebody else's OpenID Connect provider: there, and back again.
//!
//! What goes over and what may come back is `auth::sign_in`'s. Here are the cookie that remembers it meanwhile, and
//! the session at the end.

use std::sync::Arc;

use ::http::{Request, Response, StatusCode};
use auth::accounts::NewSession;
use auth::sign_in::{ProviderError, TICKET_AGE};

use super::page::{go_on, see_other};
use super::{next, parameter};
use crate::http::browser::{self, Age, Visit};
use crate::http::{Body, Edge, Facts, Inbound, host};

/// The cookie that remembers what was begun.
const TICKET: &str = "portcullis-sign-in";

/// A provider on offer.
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) title: String,
}

/// Those on offer.
pub(super) fn choices(edge: &Edge) -> Vec<Choice> {
    let providers = edge.gate.auth().sign_in().providers();
    let one = |(name, title)| Choice { name, title };
    providers.into_iter().map(one).collect()
}

/// `/console/sign-in/{provider}`.
pub(super) async fn begin(
    edge: &Arc<Edge>,
    name: &str,
    request: &Request<Inbound>,
) -> Response<Body> {
    let auth = edge.gate.auth();
    let base = auth.site().base();
    // The provider leads back to the one name that it knows; cookies of another would be missing then.
    let here = auth.site().base_for(host(request));
    if here != base {
        let path = request.uri().path_and_query();
        let path = path.map_or(request.uri().path(), |path| path.as_str());
        return see_other(&format!("{base}{path}"));
    }
    let visit = Visit::of(edge, request.headers());
    let wanted = parameter(request.uri(), "next");
    let fingerprint = visit.fingerprint(edge);
    match auth
        .sign_in()
        .begin(name, &fingerprint, next(&wanted))
        .await
    {
        Ok(begun) => {
            let mut response = see_other(begun.url.as_str());
            let age = Age::Seconds(TICKET_AGE.as_secs());
            browser::set_cookie(auth.site(), &mut response, TICKET, &begun.ticket, age);
            visit.keep(edge, &mut response);
            response
        }
        Err(error) => refuse(name, &error),
    }
}

/// `/console/sign-in/{provider}/callback`.
pub(super) async fn finish(
    edge: &Arc<Edge>,
    facts: &Facts,
    name: &str,
    request: &Request<Inbound>,
) -> Response<Body> {
    let auth = edge.gate.auth();
    let mut response = match open(edge, facts, name, request).await {
        Ok((new, next)) => {
            // A step of its own: what the provider's pages let their forms lead to is nothing to what follows.
            let mut response = go_on(&next);
            browser::open(edge, &mut response, &new);
            response
        }
        Err(response) => response,
    };
    browser::drop_cookie(auth.site(), &mut response, TICKET);
    response
}

async fn open(
    edge: &Edge,
    facts: &Facts,
    name: &str,
    request: &Request<Inbound>,
) -> Result<(NewSession, String), Response<Body>> {
    let auth = edge.gate.auth();
    let stranger = || refuse(name, &ProviderError::Stranger);
    let visit = Visit::known(edge, request.headers()).ok_or_else(stranger)?;
    let ticket = browser::cookie(auth.site(), request.headers(), TICKET).ok_or_else(stranger)?;
    let query = request.uri().query().unwrap_or_default();
    let mut record = super::record(edge, facts, "account/sign_in").await?;
    record.about(name);
    let finished = auth
        .sign_in()
        .finish(name, &visit.fingerprint(edge), ticket, query)
        .await;
    let finished = match finished {
        Ok(finished) => finished,
        Err(error) => {
            let page = refuse(name, &error);
            super::close(record, page.status(), None).await?;
            return Err(page);
        }
    };
    let (principal, roles) = (finished.principal, finished.roles);
    let opened = auth.accounts().open_external(principal, roles).await;
    let new = opened.map_err(|error| {
        tracing::warn!(%error, "no session for somebody whom a provider vouches for");
        super::unavailable()
    })?;
    record.by(&new.session.principal);
    super::close(record, StatusCode::OK, None).await?;
    Ok((new, next(&finished.next).to_owned()))
}

/// The details are for the log: they are the words of another server.
fn refuse(name: &str, error: &ProviderError) -> Response<Body> {
    let (status, title, text) = match error {
        ProviderError::Unknown => (
            StatusCode::NOT_FOUND,
            "No such provider",
            "Nobody signs in here with an account from there.",
        ),
        ProviderError::Long => (
            StatusCode::BAD_REQUEST,
            "That request is too long",
            "What the app asks for has too long an address to come back to. Sign in first, then start again in the app.",
        ),
        ProviderError::Stranger => (
            StatusCode::FORBIDDEN,
            "That sign-in is not known",
            "It was not begun in this browser, was finished before, or took too long. Please start again.",
        ),
        ProviderError::Denied(_) => (
            StatusCode::FORBIDDEN,
            "Not signed in",
            "The provider did not sign you in. You can start again.",
        ),
        ProviderError::Nobody(_) => (
            StatusCode::FORBIDDEN,
            "No place for you here",
            "The provider knows you, but you have no role at this gate. Whoever runs it can give you one.",
        ),
        ProviderError::Untrusted(_) | ProviderError::Unavailable { .. } => (
            StatusCode::BAD_GATEWAY,
            "Not signed in",
            "The provider's sign-in did not work. Whoever runs this gate finds the reason in its log.",
        ),
    };
    if status != StatusCode::NOT_FOUND {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::debug!(provider = name, %error, cause, "nobody was signed in");
    }
    super::error(status, title, text)
}
