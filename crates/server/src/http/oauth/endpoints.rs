//! What clients call by themselves: token, registration and revocation endpoints.

use std::net::IpAddr;
use std::time::Duration;

use ::http::header::{self, HeaderName};
use ::http::{HeaderMap, Request, Response, StatusCode};
use auth::authority::{ClientRequest, OAuthError, REGISTRATION_BYTES_MAX};
use bytes::Bytes;
use gateway::{AdminRecord, Rejection};
use tokio::time::Instant;

use super::{address, do_not_store, error, private};
use crate::config;
use crate::http::{Body, Edge, Facts, Inbound, host, read_at_most, text};

/// When an app may ask again if the audit log took no record of it.
const UNRECORDED_RETRY: Duration = Duration::from_secs(1);
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
    let mut step = match Step::begin(edge, facts, "oauth/token").await {
        Ok(step) => step,
        Err(response) => return response,
    };
    let issued = edge.gate.auth().authority().token(&asked.by(facts)).await;
    if let Ok(issued) = &issued {
        step.record.by_name(issued.principal(), issued.client());
    }
    if let Err(response) = step.end(issued.as_ref().err()).await {
        return response;
    }
    match issued {
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
    let mut step = match Step::begin(edge, facts, "oauth/revoke").await {
        Ok(step) => step,
        Err(response) => return response,
    };
    let revoked = edge.gate.auth().authority().revoke(&asked.by(facts)).await;
    if let Ok(client) = &revoked {
        step.record.about(client);
    }
    if let Err(response) = step.end(revoked.as_ref().err()).await {
        return response;
    }
    match revoked {
        Ok(_) => {
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
    let from = address(facts);
    let body = request.into_body();
    let body = match read_at_most(body, REGISTRATION_BYTES_MAX, settings.body_timeout).await {
        Ok(body) => body,
        Err(rejection) => return unread(&rejection),
    };
    let mut step = match Step::begin(edge, facts, "oauth/register").await {
        Ok(step) => step,
        Err(response) => return response,
    };
    let registered = edge.gate.auth().authority().register(&body, from).await;
    if let Ok(registered) = &registered {
        step.record.about(registered.client());
    }
    if let Err(response) = step.end(registered.as_ref().err()).await {
        return response;
    }
    match registered {
        Ok(registered) => private(StatusCode::CREATED, &registered.to_json()),
        Err(cause) => error(&cause),
    }
}

/// The record of what an app asks for. Strangers do not fill the log: of one address only so many refusals are in it.
struct Step<'a> {
    edge: &'a Edge,
    from: IpAddr,
    record: AdminRecord,
}

impl<'a> Step<'a> {
    async fn begin(
        edge: &'a Edge,
        facts: &Facts,
        action: &'static str,
    ) -> Result<Self, Response<Body>> {
        match edge.gate.record_entry(action).await {
            Ok(mut record) => {
                let from = facts.address;
                record.from_address(from);
                Ok(Self { edge, from, record })
            }
            Err(full) => Err(unread(&full)),
        }
    }

    /// What was asked for is given once that is recorded.
    async fn end(self, refused: Option<&OAuthError>) -> Result<(), Response<Body>> {
        let Self { edge, from, record } = self;
        let status = refused.map_or(200, OAuthError::status);
        if refused.is_some() && !edge.strangers.is_recorded(from, Instant::now()) {
            record.discard();
            return Ok(());
        }
        let reason = refused.map(ToString::to_string);
        let closed = record.close(status, reason, 0).await;
        closed.map_err(|full| unread(&full))
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
            certificate: facts.connection.certificate.as_deref(),
            address: address(facts),
        }
    }
}

fn is_of_kind(headers: &HeaderMap, wanted: &str) -> bool {
    let sent = headers.get(header::CONTENT_TYPE);
    let sent = sent.and_then(|sent| sent.to_str().ok()).unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(wanted)
}

/// A body that is too large, too slow, or broke off, or a record that cannot be kept.
fn unread(rejection: &Rejection) -> Response<Body> {
    if let Rejection::Unrecordable(full) = rejection {
        tracing::error!(%full, "an app gets nothing, as that cannot be recorded");
        let mut response = error(&OAuthError::TooMany(UNRECORDED_RETRY));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    }
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
