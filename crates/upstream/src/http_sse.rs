//! An MCP server of the first revision: a stream of events for all that it says, and an address to post to.
//!
//! Source: MCP 2024-11-05, "Transports", "HTTP with SSE". What calls do with the connection is in `stream`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method as Verb, StatusCode, header};
use policy::UpstreamId;
use tokio::sync::{mpsc, oneshot};
use url::Url;
use wire::sse;

use crate::credential::Pass;
use crate::error::chain;
use crate::inbox::Inbox;
use crate::stream::{self, Ear, Ends};
use crate::{Error, Http, Refusal};

#[cfg(test)]
mod tests;

/// The largest event taken, in bytes.
const EVENT_MAX: usize = 16 * 1024 * 1024;
/// How long the stream may take to open, and a message to be accepted.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);
/// An answer to a POST says nothing; so much of it is read to keep the connection.
const ACCEPTED_MAX: usize = 64 * 1024;

/// The side of a connection that its task runs.
#[derive(Debug)]
pub(crate) struct Driver {
    server: Server,
    ends: Ends,
}

#[derive(Debug)]
struct Server {
    client: net::Client,
    spec: Http,
    pass: Option<Pass>,
}

/// Nothing is sent yet: the driver connects.
pub(crate) fn start(
    id: &UpstreamId,
    client: net::Client,
    spec: &Http,
    pass: Option<Pass>,
) -> (stream::Connection, Driver) {
    let (connection, ends) = stream::open(id);
    let spec = spec.clone();
    let server = Server { client, spec, pass };
    (connection, Driver { server, ends })
}

impl Driver {
    /// Carries messages until the stream ends or `stop` comes. Tells why it ended.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> String {
        let Self { server, ends } = self;
        let Ends {
            inbox,
            queue,
            ear,
            mouth,
        } = ends;
        let (found, endpoint) = oneshot::channel();
        let why = tokio::select! {
            why = server.listen(ear, found) => why,
            why = server.post_all(queue, endpoint, &inbox) => why,
            () = mouth.answer() => "closed".to_owned(),
            () = stop => "stopped".to_owned(),
        };
        inbox.close();
        why
    }
}

impl Server {
    /// Opens the stream and takes what comes on it: first where to post, then messages.
    async fn listen(&self, mut ear: Ear, found: oneshot::Sender<Url>) -> String {
        let mut body = match self.open().await {
            Ok(body) => body,
            Err(error) => return chain(&error),
        };
        let mut found = Some(found);
        let mut events = sse::Decoder::new(EVENT_MAX);
        loop {
            match body.chunk().await {
                Ok(Some(chunk)) => events.push(&chunk),
                Ok(None) => return "its stream ended".to_owned(),
                Err(error) => return chain(&error),
            }
            loop {
                let event = match events.next_event() {
                    Ok(Some(event)) => event,
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                };
                match (event.kind.as_str(), found.take()) {
                    ("endpoint", Some(found)) => match self.endpoint(&event.data) {
                        // Who is to post ends together with us.
                        Ok(url) => drop(found.send(url)),
                        Err(why) => return why,
                    },
                    ("message", None) if !event.data.is_empty() => ear.hear(Ok(event.data)),
                    ("message", Some(_)) => {
                        return "its stream does not begin with an `endpoint`".to_owned();
                    }
                    (_, unused) => found = unused,
                }
            }
        }
    }

    async fn open(&self) -> Result<net::Body, Error> {
        let mut headers = self.headers();
        let accept = HeaderValue::from_static("text/event-stream");
        headers.insert(header::ACCEPT, accept);
        let request = net::Request {
            method: Verb::GET,
            url: self.spec.url.clone(),
            headers,
            body: Bytes::new(),
            reach: net::Reach::Operator,
            timeout: ACCEPT_TIMEOUT,
        };
        let response = self.send(request).await?;
        if response.status != StatusCode::OK {
            let status = response.status.as_u16();
            return Err(Error::Status { status });
        }
        if !crate::http::is_event_stream(&response.headers) {
            return Err(Error::Protocol("it opens no stream of events".to_owned()));
        }
        Ok(response.body)
    }

    /// Where to post. On the same origin: our credentials go with each message.
    fn endpoint(&self, said: &[u8]) -> Result<Url, String> {
        let url = &self.spec.url;
        let endpoint = std::str::from_utf8(said)
            .ok()
            .and_then(|said| url.join(said.trim()).ok())
            .ok_or("its `endpoint` is no address")?;
        if endpoint.origin() == url.origin() {
            Ok(endpoint)
        } else {
            Err(format!("its `endpoint` is on another origin: {endpoint}"))
        }
    }

    /// Posts messages one after another, so that they arrive in the order in which they were said.
    async fn post_all(
        &self,
        mut queue: mpsc::Receiver<Bytes>,
        endpoint: oneshot::Receiver<Url>,
        inbox: &Inbox,
    ) -> String {
        let Ok(endpoint) = endpoint.await else {
            // The stream has ended, and says why.
            return std::future::pending().await;
        };
        while let Some(message) = queue.recv().await {
            let Err(error) = self.post(&endpoint, message.clone()).await else {
                continue;
            };
            let is_over = match &error {
                Error::Net(error) => error.sent() == net::Sent::No,
                Error::Status { status } => matches!(status, 404 | 410),
                _ => false,
            };
            let why = chain(&error);
            inbox.fail(&message, error);
            if is_over {
                return why;
            }
            tracing::debug!(why, "a message was not accepted");
        }
        "closed".to_owned()
    }

    async fn post(&self, endpoint: &Url, message: Bytes) -> Result<(), Error> {
        let mut headers = self.headers();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let request = net::Request {
            method: Verb::POST,
            url: endpoint.clone(),
            headers,
            body: message,
            reach: net::Reach::Operator,
            timeout: ACCEPT_TIMEOUT,
        };
        let mut response = self.send(request).await?;
        let status = response.status;
        // Read, so that the connection can carry the next one.
        let rest = response.body.read_to_end(ACCEPTED_MAX, ACCEPT_TIMEOUT);
        drop(rest.await);
        if status.is_success() {
            Ok(())
        } else {
            let status = status.as_u16();
            Err(Error::Status { status })
        }
    }

    /// Sends a request with what lets it in, and once more if the server refused that and there is a better one.
    async fn send(&self, mut request: net::Request) -> Result<net::Response, Error> {
        let Some(pass) = &self.pass else {
            return Ok(self.client.send(request).await?);
        };
        let used = pass.add(&mut request.headers, None).await?;
        let response = self.client.send(request.clone()).await?;
        if !Pass::concerns(response.status, &response.headers) {
            return Ok(response);
        }
        let refusal = Refusal {
            used: used.as_ref(),
            status: response.status,
            headers: &response.headers,
        };
        let better = pass.refused(None, refusal).await?;
        request.headers.insert(header::AUTHORIZATION, better);
        Ok(self.client.send(request).await?)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.spec.headers.len() + 2);
        for (name, value) in &self.spec.headers {
            headers.append(name, value.clone());
        }
        headers
    }
}
