//! Problem details (RFC 9457): what a client of the admin API hears when something cannot be done.

use std::error::Error;

use ::http::header::{self, HeaderValue};
use ::http::{Response, StatusCode};
use bytes::Bytes;
use gateway::Rejection;
use http_body_util::{Either, Full};
use serde_json::json;
use wire::Revision;

use super::super::{Body, text, whole_seconds};
use super::private;

const MEDIA: &str = "application/problem+json";

/// Why something was not done.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// For the client.
    detail: String,
    /// For the audit log, if there is more to say than the client hears.
    cause: Option<String>,
    retry_after: Option<std::time::Duration>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            cause: None,
            retry_after: None,
        }
    }

    /// The request makes no sense.
    pub(super) fn bad(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// What it is about does not exist.
    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// It cannot be done to something in this state.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// It is our doing.
    pub(super) fn ours(cause: &dyn Error) -> Self {
        let mut chain = cause.to_string();
        let mut below = cause.source();
        while let Some(cause) = below {
            chain = format!("{chain}: {cause}");
            below = cause.source();
        }
        Self {
            cause: Some(chain),
            retry_after: Some(std::time::Duration::from_secs(1)),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The gate's state cannot be read or written right now",
            )
        }
    }

    /// What the gate refuses in its own words.
    pub(super) fn of(rejection: &Rejection) -> Self {
        let said = rejection.response(Revision::LATEST);
        let status = StatusCode::from_u16(said.status).unwrap_or(StatusCode::BAD_REQUEST);
        Self {
            cause: Some(rejection.to_string()),
            retry_after: said.retry_after,
            ..Self::new(status, said.message)
        }
    }

    /// For the audit log.
    pub(super) fn reason(&self) -> String {
        self.cause.clone().unwrap_or_else(|| self.detail.clone())
    }

    pub(super) fn body(&self) -> Bytes {
        body(self.status, &self.detail)
    }

    pub(super) fn response(&self) -> Response<Body> {
        let mut response = text(self.status, MEDIA, self.body());
        let headers = response.headers_mut();
        private(headers);
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(after).into());
        }
        response
    }
}

/// A problem without a type of its own is what its status says (RFC 9457 section 4.2.1).
fn body(status: StatusCode, detail: &str) -> Bytes {
    let problem = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    problem.to_string().into()
}

/// The same refusal in this API's words; what its headers say stays.
pub(in crate::http) fn worded(mut response: Response<Body>, detail: &str) -> Response<Body> {
    let body = body(response.status(), detail);
    *response.body_mut() = Either::Left(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    private(headers);
    response
}
