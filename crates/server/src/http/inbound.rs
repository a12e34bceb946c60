//! A request's body, of which nothing is left on the connection whatever was answered.
//!
//! What is refused is refused on its head; its body may still be on the way. A server that answers and closes then resets
//! the connection under a client that is about to ask again on it, and may even lose the answer (RFC 9112, section 9.6).
//! So what nobody read is read here, within bounds, before the answer goes; past the bounds the answer says that the
//! connection ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::header::{self, HeaderValue};
use ::http::{Request, Response, Version};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// So much is read of a body that nobody wants, in bytes.
const REST_MAX: usize = 256 * 1024;
/// So long is waited for it.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of a request. What is left of it when it is dropped goes to its [`Rest`].
#[derive(Debug)]
pub(super) struct Inbound {
    body: Option<Incoming>,
    rest: Arc<Mutex<Option<Incoming>>>,
}

/// What was not read of a request's body.
#[derive(Debug)]
pub(super) struct Rest {
    left: Arc<Mutex<Option<Incoming>>>,
    /// Whether the client waits to be told before it sends it.
    is_held_back: bool,
    version: Version,
}

/// The request with a body whose rest is kept.
pub(super) fn keep_rest(request: Request<Incoming>) -> (Request<Inbound>, Rest) {
    let left = Arc::default();
    let rest = Rest {
        left: Arc::clone(&left),
        is_held_back: request.headers().contains_key(header::EXPECT),
        version: request.version(),
    };
    let keep = |body| Inbound {
        body: Some(body),
        rest: left,
    };
    (request.map(keep), rest)
}

impl Rest {
    /// Reads what is left; if that cannot be done, `response` says that the connection ends with it.
    pub(super) async fn settle<B>(self, response: &mut Response<B>) {
        let left = self
            .left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut body) = left else { return };
        // HTTP/2 has a stream per request: there is nobody whom an unread one stands in the way.
        if self.version >= Version::HTTP_2 {
            return;
        }
        let is_small = body.size_hint().lower() <= REST_MAX as u64;
        let read = async {
            let mut seen = 0;
            while let Some(frame) = body.frame().await {
                seen += frame
                    .ok()
                    .and_then(|frame| frame.into_data().ok())
                    .map_or(0, |data| data.len());
                if seen > REST_MAX {
                    return false;
                }
            }
            true
        };
        let is_over = !self.is_held_back
            && is_small
            && tokio::time::timeout(REST_TIMEOUT, read)
                .await
                .unwrap_or(false);
        if !is_over {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
