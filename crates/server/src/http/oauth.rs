//! OAuth over HTTP: metadata of the resource and of the embedded authorization server, and its endpoints.

use std::sync::Arc;

use ::http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::{Body, Edge, Facts, text};
use crate::config;

/// Answers a request for one of its paths.
pub(super) async fn serve(
    _edge: &Arc<Edge>,
    _facts: &Arc<Facts>,
    _settings: &config::Http,
    _request: Request<Incoming>,
) -> Response<Body> {
    text(StatusCode::NOT_FOUND, "text/plain", "")
}
