//! The HTTP client: one request out, one response head back.
//!
//! Puts the parts together: `pool` and `connect` find a connection, `link` sends over it, `body` reads what
//! follows the head. Start at [`Client::send`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use crate::body::{Body, Lease};
use crate::connect::{Origin, connect};
use crate::link::{Exchange, Link, Outgoing};
use crate::pool::{Connections, Pool};
use crate::tls::Tls;
use crate::{Error, Reach, Sent, Stage};

#[cfg(test)]
mod tests;

/// Longest time a request can be given; keeps clock arithmetic away from its end.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// How the client treats its connections.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long resolving, connecting and the TLS handshake may take together.
    pub timeout_connect: Duration,
    /// How many connections to one origin are kept for later.
    pub idle_per_origin_max: usize,
    /// How long a connection is kept for later.
    pub idle_age_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout_connect: Duration::from_secs(10),
            idle_per_origin_max: 64,
            idle_age_max: Duration::from_secs(60),
        }
    }
}

/// What to ask for.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where: http or https. A user name or password in it is not sent.
    pub url: Url,
    /// Headers, except `host` and `content-length`, which are ours.
    pub headers: HeaderMap,
    /// The whole body; empty for none.
    pub body: Bytes,
    /// Who chose the URL, and so which addresses it may lead to.
    pub reach: Reach,
    /// How long until the head of the response must be here.
    pub timeout: Duration,
}

/// The head of a response, and its body still to be read.
#[derive(Debug)]
pub struct Response {
    /// The status, redirects included: nothing is followed.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it was sent: no coding is undone.
    pub body: Body,
}

/// The way out. Clones share one pool of connections.
#[derive(Clone)]
pub struct Client {
    pub(crate) timeout_connect: Duration,
    pub(crate) tls: Tls,
    pool: Arc<Pool>,
}

impl Client {
    /// A client that trusts the certificate authorities the operating system trusts. Reads them from disk.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            timeout_connect: settings.timeout_connect,
            tls: Tls::of_system(),
            pool: Arc::new(Pool::new(
                settings.idle_per_origin_max,
                settings.idle_age_max,
            )),
        }
    }

    /// The same way out, with `tls` in place of what the operating system trusts. The pool is shared; connections in it
    /// are not.
    #[must_use]
    pub fn with_tls(&self, tls: Tls) -> Self {
        Self {
            tls,
            ..self.clone()
        }
    }

    /// How many connections there are, WebSockets apart.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.pool.connections()
    }

    /// Sends `request` once and waits for the head of the response.
    ///
    /// A connection from the pool that turns out to be closed before it took the request is replaced; after
    /// that nothing is sent a second time. Dropping the future closes the connection.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::sent`] tells whether the peer may have seen the request.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let now = Instant::now();
        let deadline = now + request.timeout.min(TIMEOUT_MAX);
        let origin = Origin::of(&request.url, request.reach, &self.tls)?;
        let mut outgoing = outgoing(request)?;
        while let Some(link) = self.pool.take(&origin) {
            match exchange(link, outgoing, deadline).await? {
                (link, Exchange::Answered(head)) => return Ok(self.response(head, link, origin)),
                (_, Exchange::Unsent(returned, _)) => outgoing = *returned,
            }
        }
        let stream = connect(&origin, deadline.min(now + self.timeout_connect)).await?;
        self.pool.note_opened();
        match exchange(Link::new(stream).await?, outgoing, deadline).await? {
            (link, Exchange::Answered(head)) => Ok(self.response(head, link, origin)),
            (_, Exchange::Unsent(_, source)) => Err(Error::Closed {
                sent: Sent::No,
                source,
            }),
        }
    }

    fn response(
        &self,
        head: http::Response<hyper::body::Incoming>,
        link: Link,
        origin: Origin,
    ) -> Response {
        let (head, incoming) = head.into_parts();
        let lease = Lease {
            link,
            origin,
            pool: Arc::clone(&self.pool),
        };
        Response {
            status: head.status,
            headers: head.headers,
            body: Body::new(incoming, lease),
        }
    }
}

// Headers and body may hold credentials.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &&self.url[..Position::AfterPath])
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("timeout_connect", &self.timeout_connect)
            .finish_non_exhaustive()
    }
}

async fn exchange(
    mut link: Link,
    request: Outgoing,
    deadline: Instant,
) -> Result<(Link, Exchange), Error> {
    match timeout_at(deadline, link.exchange(request)).await {
        Ok(outcome) => Ok((link, outcome?)),
        Err(_) => Err(Error::Timeout { stage: Stage::Head }),
    }
}

/// The request as it goes over the wire: origin form, `host` from the URL.
fn outgoing(request: Request) -> Result<Outgoing, Error> {
    let target = &request.url[Position::BeforePath..Position::AfterQuery];
    let uri = Uri::try_from(target).map_err(|_bad| Error::Url("its path cannot be sent"))?;
    let host = &request.url[Position::BeforeHost..Position::AfterPort];
    let host = HeaderValue::try_from(host).map_err(|_bad| Error::Url("its host cannot be sent"))?;
    let mut outgoing = Outgoing::new(Full::new(request.body));
    *outgoing.method_mut() = request.method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = request.headers;
    outgoing.headers_mut().insert(header::HOST, host);
    outgoing.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(outgoing)
}
