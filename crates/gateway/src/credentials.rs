//! What upstreams are shown, from the room that knows it: `auth` and `upstream` do not meet elsewhere.

use std::sync::Arc;

use auth::{Auth, OutboundError};
use http::HeaderValue;
use policy::UpstreamId;
use tokio::sync::watch;
use upstream::{CredentialError, Credentials, For, Judging, Obtaining, Refusal};

/// Credentials as `auth` obtains them.
#[derive(Debug)]
pub(crate) struct Obtained(pub(crate) Arc<Auth>);

impl Obtained {
    fn said(&self, error: OutboundError) -> CredentialError {
        match error {
            OutboundError::NotConnected { upstream, more } => CredentialError::NotConnected {
                page: self.0.outbound().page(&upstream),
                more,
            },
            error @ (OutboundError::Unavailable { .. } | OutboundError::Busy) => {
                CredentialError::Unavailable(Arc::new(error))
            }
            error @ (OutboundError::Unknown(_)
            | OutboundError::Stranger
            | OutboundError::Denied(_)
            | OutboundError::Untrusted { .. }
            | OutboundError::NoClient(_)
            | OutboundError::Refused(_)
            | OutboundError::Useless(_)) => CredentialError::None(Arc::new(error)),
        }
    }
}

impl Credentials for Obtained {
    fn at_hand(&self, who: For<'_>) -> Option<HeaderValue> {
        self.0.outbound().at_hand(who.upstream, who.principal)
    }

    fn obtain<'a>(&'a self, who: For<'a>) -> Obtaining<'a> {
        Box::pin(async move {
            let obtained = self.0.outbound().obtain(who.upstream, who.principal).await;
            obtained.map_err(|error| self.said(error))
        })
    }

    fn refused<'a>(&'a self, who: For<'a>, refusal: Refusal<'a>) -> Judging<'a> {
        Box::pin(async move {
            let refusal = auth::outbound::Refusal {
                used: refusal.used,
                status: refusal.status,
                headers: refusal.headers,
            };
            let outbound = self.0.outbound();
            let better = outbound.refused(who.upstream, who.principal, refusal).await;
            better.map_err(|error| self.said(error))
        })
    }

    fn lister(&self, upstream: &UpstreamId) -> Option<Arc<str>> {
        self.0.outbound().lister(upstream).map(Arc::from)
    }

    fn is_connected(&self, upstream: &UpstreamId, principal: &str) -> bool {
        self.0.outbound().is_connected(upstream, principal)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.outbound().changes()
    }
}
