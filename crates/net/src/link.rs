//! One HTTP/1.1 connection, driven by whoever uses it.
//!
//! hyper hands out a connection as two halves: one to send requests with, one that must be polled for
//! anything to move. Commonly the second is spawned as a task. Here both stay together and the caller's own
//! task polls the connection, then what it waits for: a call crosses no task and wakes nobody.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::unconstrained;

use crate::connect::Stream;
use crate::{Error, Sent};

/// A request as hyper takes it.
pub(crate) type Outgoing = http::Request<Full<Bytes>>;

/// The half that moves the bytes.
type Connection = Pin<Box<http1::Connection<TokioIo<Stream>, Full<Bytes>>>>;

/// Both halves of a connection. Dropping it closes the connection.
pub(crate) struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once hyper is through with it; polling it again would be a mistake.
    connection: Option<Connection>,
    written: Arc<AtomicBool>,
    home: ThreadId,
}

/// What came of a request.
pub(crate) enum Exchange {
    /// The head of the response is here.
    Answered(http::Response<Incoming>),
    /// The connection was closed before it took the request, which is returned.
    Unsent(Box<Outgoing>, hyper::Error),
}

impl Link {
    pub(crate) async fn new(stream: Stream) -> Result<Self, Error> {
        let written = stream.written();
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| Error::from_http(source, Sent::No))?;
        Ok(Self {
            sender,
            connection: Some(Box::pin(connection)),
            written,
            home: thread::current().id(),
        })
    }

    /// Sends `request` and waits for the head of the response. Dropped half-way, it leaves the link useless.
    pub(crate) async fn exchange(&mut self, request: Outgoing) -> Result<Exchange, Error> {
        self.written.store(false, Ordering::Relaxed);
        // Only our own polling of the connection completes this future. So it needs neither a waker, which
        // would wake this very task once more for nothing, nor a share of the task's budget.
        let mut response = pin!(unconstrained(self.sender.try_send_request(request)));
        let connection = &mut self.connection;
        let outcome = poll_fn(|cx| {
            drive(connection, cx);
            response
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        })
        .await;
        match outcome {
            Ok(response) => Ok(Exchange::Answered(response)),
            Err(mut failed) => match failed.take_message() {
                Some(request) => Ok(Exchange::Unsent(Box::new(request), failed.into_error())),
                None => Err(Error::from_http(failed.into_error(), self.sent())),
            },
        }
    }

    /// The next piece of a response body, while the connection keeps reading it.
    pub(crate) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        drive(&mut self.connection, cx);
        Pin::new(body).poll_frame(cx)
    }

    /// The thread that opened it, whoever holds it now: that thread's reactor hears of its bytes.
    pub(crate) fn home(&self) -> ThreadId {
        self.home
    }

    /// Whether the connection is open and done with the last exchange. Notices what the peer did meanwhile.
    pub(crate) fn is_idle(&mut self) -> bool {
        drive(
            &mut self.connection,
            &mut Context::from_waker(Waker::noop()),
        );
        self.connection.is_some() && self.sender.is_ready()
    }

    fn sent(&self) -> Sent {
        match self.written.load(Ordering::Relaxed) {
            true => Sent::Unknown,
            false => Sent::No,
        }
    }
}

/// Lets the connection do what it can. Its errors reach us through the response or the body.
fn drive(connection: &mut Option<Connection>, cx: &mut Context<'_>) {
    if let Some(open) = connection
        && open.as_mut().poll(cx).is_ready()
    {
        *connection = None;
    }
}
