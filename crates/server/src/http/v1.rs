//! The admin API, `/v1/…`, for owners. Errors are problem details (RFC 9457).

use std::sync::Arc;

use ::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use policy::Principal;

use super::{Body, Edge, text};
use crate::config;

/// Answers a request for one of its paths.
pub(super) async fn serve(
    _edge: &Arc<Edge>,
    _principal: &Arc<Principal>,
    _settings: &config::Http,
    _request: Request<Incoming>,
) -> Response<Body> {
    text(StatusCode::NOT_FOUND, "text/plain", "")
}
