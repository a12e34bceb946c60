//! Problem details (RFC 9457): what a client of the admin API hears when something cannot be done.

use std::error::Error;

use ::http::header::{self, HeaderValue};
use ::http::{Response, StatusCode};
use bytes::Bytes;
use gateway::{Rejection, Unagreed};
use http_body_util::{Either, Full};
use serde_json::json;
use wire::Revision;

use super::super::{Body, text, whole_seconds};
use super::private;

const MEDIA: &str = "application/problem+json";
/// The type of the problem that somebody has to agree first; the same request goes through once somebody did. Its member
/// `approval` is the question, at `/v1/approvals/{id}`.
const APPROVAL_REQUIRED: &str = "urn:portcullis:approval-required";

/// Why something was not done.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// For the client.
    detail: String,
    /// For the audit log, if there is more to say than the client hears.
    cause: Option<String>,
    retry_after: Option<std::time::Duration>,
    /// What waits for somebody's yes: the id of the question.
    approval: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            cause: None,
            retry_after: None,
            approval: None,
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
        // What is no error of HTTP to an MCP client is one here: nothing was done.
        let status = if status.is_success() {
            StatusCode::FORBIDDEN
        } else {
            status
        };
        let approval = match rejection {
            Rejection::Unconsented(Unagreed::Waiting(request)) => Some(request.clone()),
            _ => None,
        };
        Self {
            approval,
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
        body(self.status, &self.detail, self.approval.as_deref())
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
fn body(status: StatusCode, detail: &str, approval: Option<&str>) -> Bytes {
    let mut problem = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    if let Some(approval) = approval {
        problem["type"] = json!(APPROVAL_REQUIRED);
        problem["title"] = json!("Approval required");
        problem["approval"] = json!(approval);
    }
    problem.to_string().into()
}

/// The same refusal in this API's words; what its headers say stays.
pub(in crate::http) fn worded(mut response: Response<Body>, detail: &str) -> Response<Body> {
    let body = body(response.status(), detail, None);
    *response.body_mut() = Either::Left(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    private(headers);
    response
}
