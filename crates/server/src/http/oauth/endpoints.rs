//! What clients call by themselves: token, registration and revocation endpoints.

use std::time::Duration;

use ::http::header::{self, HeaderName};
use ::http::{HeaderMap, Request, Response, StatusCode};
use auth::authority::{ClientRequest, OAuthError, REGISTRATION_BYTES_MAX};
use bytes::Bytes;
use gateway::Rejection;

use super::{address, do_not_store, error, private};
use crate::config;
use crate::http::{Body, Edge, Facts, Inbound, host, read_at_most, text};

/// The largest form, in bytes.
const FORM_BYTES_MAX: usize = 32 * 1024;
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// `/oauth/token` (RFC 6749 section 3.2).
pub(super) async fn token(
    edge: &Edge,
    facts: &Facts,
    settings: &config::Http,
    request: Request<Inbound>,
) -> Response<Body> {
    let asked = match Asked::read(edge, request, settings.body_timeout).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    match edge.gate.auth().authority().token(&asked.by(facts)).await {
        Ok(issued) => private(StatusCode::OK, &issued.to_json()),
        Err(cause) => error(&cause),
    }
}

/// `/oauth/revoke` (RFC 7009 section 2).
pub(super) async fn revoke(
    edge: &Edge,
    facts: &Facts,
    settings: &config::Http,
    request: Request<Inbound>,
) -> Response<Body> {
    let asked = match Asked::read(edge, request, settings.body_timeout).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    match edge.gate.auth().authority().revoke(&asked.by(facts)).await {
        Ok(()) => {
            let mut response = text(StatusCode::OK, "text/plain", "");
            do_not_store(response.headers_mut());
            response
        }
        Err(cause) => error(&cause),
    }
}

/// `/oauth/register` (RFC 7591 section 3).
pub(super) async fn register(
    edge: &Edge,
    facts: &Facts,
    settings: &config::Http,
    request: Request<Inbound>,
) -> Response<Body> {
    if !is_of_kind(request.headers(), JSON) {
        return error(&OAuthError::Metadata("Send application/json"));
    }
    let from = address(facts, request.headers());
    let body = request.into_body();
    let body = match read_at_most(body, REGISTRATION_BYTES_MAX, settings.body_timeout).await {
        Ok(body) => body,
        Err(rejection) => return unread(&rejection),
    };
    match edge.gate.auth().authority().register(&body, from).await {
        Ok(registered) => private(StatusCode::CREATED, &registered.to_json()),
        Err(cause) => error(&cause),
    }
}

/// A request to the token or revocation endpoint.
struct Asked {
    headers: HeaderMap,
    body: Bytes,
    url: String,
}

impl Asked {
    async fn read(
        edge: &Edge,
        request: Request<Inbound>,
        within: Duration,
    ) -> Result<Self, Response<Body>> {
        if !is_of_kind(request.headers(), FORM) {
            return Err(error(&OAuthError::Request(
                "Send application/x-www-form-urlencoded",
            )));
        }
        let twice = |name: HeaderName| request.headers().get_all(name).iter().nth(1).is_some();
        if twice(header::AUTHORIZATION) || twice(HeaderName::from_static("dpop")) {
            return Err(error(&OAuthError::Request("A header stands twice")));
        }
        let base = edge.gate.auth().site().base_for(host(&request));
        let url = format!("{base}{}", request.uri().path());
        let (head, body) = request.into_parts();
        let body = read_at_most(body, FORM_BYTES_MAX, within)
            .await
            .map_err(|rejection| unread(&rejection))?;
        Ok(Self {
            headers: head.headers,
            body,
            url,
        })
    }

    fn by<'a>(&'a self, facts: &'a Facts) -> ClientRequest<'a> {
        // What is not text is nothing of ours, but it was presented: it must not count as nothing.
        let value = |name: &str| {
            let value = self.headers.get(name);
            value.map(|value| value.to_str().unwrap_or("\u{fffd}"))
        };
        ClientRequest {
            body: &self.body,
            authorization: value("authorization"),
            dpop: value("dpop"),
            url: &self.url,
            certificate: facts.certificate.as_deref(),
            address: address(facts, &self.headers),
        }
    }
}

fn is_of_kind(headers: &HeaderMap, wanted: &str) -> bool {
    let sent = headers.get(header::CONTENT_TYPE);
    let sent = sent.and_then(|sent| sent.to_str().ok()).unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(wanted)
}

/// A body that is too large, too slow, or broke off.
fn unread(rejection: &Rejection) -> Response<Body> {
    let mut response = error(&OAuthError::Request(
        "The body is too large, too slow, or broke off",
    ));
    if let Rejection::Http { status, .. } = rejection
        && let Ok(status) = StatusCode::from_u16(*status)
    {
        *response.status_mut() = status;
    }
    response
}
