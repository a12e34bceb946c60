//! How a connection to an upstream is opened: what carries it, what lets it in, and which transport is tried next when
//! an endpoint turns out to speak an older one. What is said over it is [`super`]'s.

use std::pin::Pin;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wire::Abilities;

use super::{Link, State};
use crate::credential::Pass;
use crate::peer::{Carrier, Peer};
use crate::{Credential, Error, Http, Kind, Transport, http, http_sse, stdio, websocket};

/// Whether an endpoint that was taken for Streamable HTTP speaks HTTP+SSE (2025-03-26, "Backwards compatibility").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fallback {
    /// Nothing says so.
    No,
    /// It refused the handshake as such servers do.
    Refused,
    /// It is tried, because of this refusal.
    Trying(String),
    /// It does.
    Yes,
}

/// What carries a connection's messages; comes to why it ended.
pub(super) type Drive = Pin<Box<dyn Future<Output = String> + Send>>;

impl Link {
    /// A connection without a handshake so far, and what drives it until `end`.
    pub(super) fn open(
        &self,
        declared: Abilities,
        end: &CancellationToken,
        whose: Option<Arc<str>>,
    ) -> Result<(Arc<Peer>, Drive), Error> {
        let end = end.clone().cancelled_owned();
        let (carrier, drive): (Carrier, Drive) = match &self.spec.kind {
            // What is in this process is not connected to.
            Kind::Native(_) | Kind::Provider(_) => return Err(Error::Down { state: "built in" }),
            Kind::Stdio(spec) => {
                let supervisor = self.parts.supervisor.as_deref();
                let (connection, driver) = stdio::start(self.id(), spec, supervisor)?;
                (Carrier::Stream(connection), Box::pin(driver.run(end)))
            }
            Kind::Http(spec) => self.open_endpoint(spec, self.pass(spec, whose), end),
        };
        Ok((Arc::new(Peer::new(carrier, declared)), drive))
    }

    fn open_endpoint(
        &self,
        spec: &Http,
        pass: Option<Pass>,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> (Carrier, Drive) {
        let client = match &spec.tls {
            Some(tls) => self.parts.client.with_tls(tls.clone()),
            None => self.parts.client.clone(),
        };
        match self.transport(spec.transport) {
            Transport::Http => {
                let (connection, driver) = http::start(client, spec, pass, self.spec.timeout);
                let connection = Arc::new(connection);
                let driven = Arc::clone(&connection);
                let drive = async move { driven.run(driver, end).await };
                (Carrier::Http(connection), Box::pin(drive))
            }
            Transport::Sse => {
                let (connection, driver) = http_sse::start(self.id(), client, spec, pass);
                (Carrier::Stream(connection), Box::pin(driver.run(end)))
            }
            Transport::WebSocket => {
                let timeout = self.spec.timeout_connect;
                let (connection, driver) = websocket::start(self.id(), client, spec, pass, timeout);
                (Carrier::Stream(connection), Box::pin(driver.run(end)))
            }
        }
    }

    /// Looks at how a connection ended. `None` if another transport is to be tried at once.
    pub(super) fn without_fallback(&self, why: String) -> Option<String> {
        let was_ready = self.snapshot().state == State::Ready;
        let mut fallback = self.fallback.lock();
        let (next, why) = match (fallback.clone(), was_ready) {
            (Fallback::Refused, _) => (Fallback::Trying(why), None),
            (Fallback::Trying(_) | Fallback::Yes, true) => (Fallback::Yes, Some(why)),
            (Fallback::Trying(refusal), false) => {
                let why = format!("{refusal}; nor does it speak HTTP+SSE: {why}");
                (Fallback::No, Some(why))
            }
            // It may be another server by now.
            (Fallback::Yes, false) | (Fallback::No, _) => (Fallback::No, Some(why)),
        };
        *fallback = next;
        why
    }

    /// What carries messages to an endpoint, as far as is known.
    pub(super) fn transport(&self, said: Transport) -> Transport {
        let falls_back = match &*self.fallback.lock() {
            Fallback::Trying(_) | Fallback::Yes => true,
            Fallback::No | Fallback::Refused => false,
        };
        match said {
            Transport::Http if falls_back => Transport::Sse,
            said => said,
        }
    }

    /// What lets a connection in whose principal is `whose`.
    pub(super) fn pass(&self, spec: &Http, whose: Option<Arc<str>>) -> Option<Pass> {
        let is_obtained = spec.credential != Credential::Written;
        is_obtained.then(|| Pass {
            upstream: self.id().clone(),
            credentials: Arc::clone(&self.parts.credentials),
            whose,
            is_wanted: Arc::clone(&self.is_wanted),
        })
    }
}
