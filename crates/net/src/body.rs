//! The body of a response, read piece by piece in the caller's own time.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::connect::Origin;
use crate::link::Link;
use crate::pool::Pool;
use crate::{Error, Sent, Stage};

/// The body of a response. Read to its end it gives the connection back; dropped before, it closes it.
pub struct Body {
    incoming: Incoming,
    /// `None` after the last piece.
    lease: Option<Lease>,
}

/// A connection in use, and where it goes afterwards.
pub(crate) struct Lease {
    pub(crate) link: Link,
    pub(crate) origin: Origin,
    pub(crate) pool: Arc<Pool>,
}

impl Body {
    pub(crate) fn new(incoming: Incoming, lease: Lease) -> Self {
        let mut body = Self {
            incoming,
            lease: Some(lease),
        };
        body.release_at_end();
        body
    }

    /// The next piece, or `None` after the last. Dropped while it waits, it loses nothing.
    ///
    /// Has no deadline of its own: how long a stream may be silent is for the caller to say.
    ///
    /// # Errors
    /// [`Error::Closed`] or [`Error::Protocol`] when the body breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(lease) = &mut self.lease {
            match poll_fn(|cx| lease.link.poll_frame(&mut self.incoming, cx)).await {
                Some(Ok(frame)) => {
                    self.release_at_end();
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(source)) => {
                    self.lease = None;
                    return Err(Error::from_http(source, Sent::Unknown));
                }
                None => self.release(),
            }
        }
        Ok(None)
    }

    /// All that is left, if it is at most `max` bytes and here within `within`.
    ///
    /// # Errors
    /// As [`Body::chunk`], and [`Error::TooLarge`], [`Error::Timeout`]; after these two the connection closes.
    pub async fn read_to_end(&mut self, max: usize, within: Duration) -> Result<Bytes, Error> {
        let read = timeout(within, self.read_all(max)).await;
        let outcome = read.unwrap_or(Err(Error::Timeout { stage: Stage::Body }));
        if outcome.is_err() {
            self.lease = None;
        }
        outcome
    }

    async fn read_all(&mut self, max: usize) -> Result<Bytes, Error> {
        let announced = self.incoming.size_hint();
        if announced.lower() > u64::try_from(max).unwrap_or(u64::MAX) {
            return Err(Error::TooLarge { max });
        }
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        // Most bodies are one piece, which needs no copy.
        if self.lease.is_none() && first.len() <= max {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(announced.lower()).unwrap_or(0));
        let mut next = Some(first);
        while let Some(chunk) = next {
            if whole.len() + chunk.len() > max {
                return Err(Error::TooLarge { max });
            }
            whole.extend_from_slice(&chunk);
            next = self.chunk().await?;
        }
        Ok(whole.freeze())
    }

    /// Gives the connection back as soon as the length says that nothing more will come.
    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(Lease { link, origin, pool }) = self.lease.take() {
            pool.put(origin, link);
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("ended", &self.lease.is_none())
            .finish_non_exhaustive()
    }
}
