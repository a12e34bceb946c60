//! Pages for people: first start, sign-in, consent, account. Plain HTML, no script.

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
