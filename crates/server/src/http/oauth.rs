//! OAuth over HTTP: metadata of the resource and of the embedded authorization server, and its endpoints.
//!
//! What is decided is `auth::authority`'s; here are paths, headers and bodies. Pages are `pages`', browsers `browser`'s.
//! Sources: RFC 6749 section 5, RFC 7009, RFC 7591, RFC 8414, RFC 9728.

mod authorize;
mod endpoints;
mod metadata;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ::http::header::{self, HeaderValue};
use ::http::{HeaderMap, Request, Response, StatusCode};
use auth::Peer;
use auth::authority::OAuthError;
use bytes::Bytes;
use http_body_util::{Either, Full};
use serde_json::{Value, json};

use super::challenge::DPOP_NONCE;
use super::{Body, Edge, Facts, Inbound, pages, text};
use crate::config;

/// Where the metadata of a resource is: here, and the resource's path behind it (RFC 9728 section 3.1).
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

/// Answers a request for one of its paths.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    facts: &Facts,
    settings: &config::Http,
    request: Request<Inbound>,
) -> Response<Body> {
    let path = request.uri().path();
    if let Some(resource) = path.strip_prefix(RESOURCE_METADATA) {
        return metadata::of_resource(edge, &request, resource);
    }
    if path == "/oauth/client.json" {
        let metadata = edge.gate.auth().outbound().client_metadata();
        return text(StatusCode::OK, "application/json", metadata);
    }
    if path == "/oauth/callback" {
        return pages::callback(edge, facts, request).await;
    }
    let is_page = path == "/oauth/authorize";
    match path {
        _ if !edge.gate.auth().authority().is_enabled() => off(is_page),
        "/.well-known/oauth-authorization-server" => metadata::of_server(edge),
        "/oauth/jwks" => metadata::keys(edge).await,
        "/oauth/authorize" => Box::pin(authorize::serve(edge, facts, request)).await,
        "/oauth/token" => Box::pin(endpoints::token(edge, facts, settings, request)).await,
        "/oauth/register" => Box::pin(endpoints::register(edge, facts, settings, request)).await,
        "/oauth/revoke" => Box::pin(endpoints::revoke(edge, facts, settings, request)).await,
        // No row of the table leads here.
        _ => text(StatusCode::NOT_FOUND, "text/plain", ""),
    }
}

/// There is no authorization server here; whoever looks for one is to look elsewhere.
fn off(is_page: bool) -> Response<Body> {
    if is_page {
        return pages::error(
            StatusCode::NOT_FOUND,
            "Not here",
            "Nobody signs in here: this gate takes the tokens of another server.",
        );
    }
    let mut response = error(&OAuthError::Off);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// A document that anybody may see.
fn document(value: &Value) -> Response<Body> {
    let mut response = text(StatusCode::OK, "application/json", value.to_string());
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=60"),
    );
    response
}

/// An answer for one client alone (RFC 6749 section 5.1).
fn private(status: StatusCode, json: &str) -> Response<Body> {
    let body = Bytes::copy_from_slice(json.as_bytes());
    let mut response = Response::new(Either::Left(Full::new(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    do_not_store(headers);
    response
}

fn do_not_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

/// RFC 6749 section 5.2.
fn error(error: &OAuthError) -> Response<Body> {
    if let OAuthError::Unavailable(cause) = error {
        tracing::error!(%cause, "the authorization server cannot do its work");
    }
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({ "error": error.code(), "error_description": error.description() });
    let mut response = private(status, &body.to_string());
    let headers = response.headers_mut();
    match error {
        OAuthError::Client => {
            let scheme = HeaderValue::from_static("Basic realm=\"oauth\", charset=\"UTF-8\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        OAuthError::Nonce(nonce) => {
            if let Ok(nonce) = HeaderValue::try_from(nonce) {
                headers.insert(DPOP_NONCE, nonce);
            }
        }
        OAuthError::TooMany(after) => {
            headers.insert(header::RETRY_AFTER, super::whole_seconds(*after).into());
        }
        OAuthError::Request(_)
        | OAuthError::Grant(_)
        | OAuthError::Unauthorized(_)
        | OAuthError::GrantType
        | OAuthError::ResponseType
        | OAuthError::Scope
        | OAuthError::Target(_)
        | OAuthError::RedirectUri(_)
        | OAuthError::Metadata(_)
        | OAuthError::Proof(_)
        | OAuthError::Denied
        | OAuthError::Off
        | OAuthError::Unavailable(_) => {}
    }
    response
}

/// Where a request came from, if that is known: what is counted per address, is counted by this.
fn address(facts: &Facts) -> Option<IpAddr> {
    match facts.peer {
        Peer::Remote(address) => address,
        Peer::Loopback | Peer::Stdio | Peer::InProcess => Some(Ipv4Addr::LOCALHOST.into()),
    }
}
