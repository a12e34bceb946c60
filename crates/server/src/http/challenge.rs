//! `WWW-Authenticate`: what a client is told about its credential, and where it learns how to get a better one.
//!
//! Sources: RFC 6750 section 3, RFC 9728 section 5.1, RFC 9449 sections 7.1 and 8, MCP 2026-07-28 "Authorization".

use ::http::HeaderMap;
use ::http::header::{HeaderName, HeaderValue, WWW_AUTHENTICATE};
use gateway::Challenge;
use policy::Scopes;

/// RFC 9449 section 8.
pub(super) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Adds what `challenge` says. `metadata` is the URL of the resource's metadata.
pub(super) fn add(headers: &mut HeaderMap, challenge: &Challenge, metadata: &str) {
    let mut text = |text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    };
    let about = format!("resource_metadata=\"{metadata}\"");
    let calls = Scopes::CALLS;
    match challenge {
        Challenge::Missing => text(format!("Bearer {about}, scope=\"{calls}\"")),
        Challenge::Malformed => text(format!("Bearer error=\"invalid_request\", {about}")),
        Challenge::Invalid => text(format!(
            "Bearer error=\"invalid_token\", {about}, scope=\"{calls}\""
        )),
        Challenge::Scope(scopes) => text(format!(
            "Bearer error=\"insufficient_scope\", scope=\"{scopes}\", {about}"
        )),
        Challenge::Proof => text(format!("DPoP error=\"invalid_dpop_proof\", {about}")),
        Challenge::Nonce(nonce) => {
            text(format!("DPoP error=\"use_dpop_nonce\", {about}"));
            if let Ok(nonce) = HeaderValue::try_from(nonce) {
                headers.insert(DPOP_NONCE, nonce);
            }
        }
    }
}
