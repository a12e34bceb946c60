//! What clients read first: which resource this is, whose tokens it takes, and what the embedded server can do.

use ::http::{Request, Response, StatusCode};
use auth::Place;
use auth::authority::SIGNATURES;
use policy::Scopes;
use serde_json::json;

use super::{document, error};
use crate::http::{Body, Edge, host, text};

/// The metadata of a resource (RFC 9728 section 2). Its name is the one by which the client got here: a client holds it
/// against the URL that it uses, character by character (section 3.3).
pub(super) fn of_resource<B>(edge: &Edge, request: &Request<B>, path: &str) -> Response<Body> {
    let auth = edge.gate.auth();
    let path = path.strip_suffix('/').unwrap_or(path);
    // Of a virtual server whether or not there is one: the answer would tell strangers.
    if Place::at(path).is_none() {
        return text(StatusCode::NOT_FOUND, "text/plain", "");
    }
    let base = auth.site().base_for(host(request));
    let scopes: Vec<&str> = Scopes::CALLS.iter().map(policy::Scope::as_str).collect();
    let mut metadata = json!({
        "resource": format!("{base}{path}"),
        "authorization_servers": auth.authorization_servers(),
        "scopes_supported": scopes,
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": SIGNATURES,
        "resource_name": "Portcullis",
    });
    let knows_clients = edge
        .tls
        .borrow()
        .as_ref()
        .is_some_and(crate::tls::Tls::knows_clients);
    if knows_clients && let Some(metadata) = metadata.as_object_mut() {
        let name = "tls_client_certificate_bound_access_tokens";
        metadata.insert(name.to_owned(), true.into());
    }
    document(&metadata)
}

/// The metadata of the embedded authorization server (RFC 8414 section 2).
pub(super) fn of_server(edge: &Edge) -> Response<Body> {
    document(&edge.gate.auth().authority().metadata())
}

/// Its public keys (RFC 7517 section 5).
pub(super) async fn keys(edge: &Edge) -> Response<Body> {
    match edge.gate.auth().authority().jwks().await {
        Ok(keys) => document(&keys),
        Err(cause) => error(&cause),
    }
}
