//! What an upstream is shown so that it lets us in, where that is obtained while the gate runs.
//!
//! Where credentials come from is not known here: `gateway` hands in somebody who does ([`Credentials`]). What a client
//! presented to the gate is never among it. A connection has a [`Pass`], which adds the credential to each request and
//! asks for a better one, once, when the upstream refuses it.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use policy::UpstreamId;
use tokio::sync::watch;

use crate::Error;

/// Whose credential an upstream is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Credential {
    /// What stands in the config, if anything: see [`Http::headers`](crate::Http).
    #[default]
    Written,
    /// One of the gate's own, obtained for it.
    Own,
    /// Each principal's. Its lists are asked for with that of the [`lister`](Credentials::lister), or, where that is
    /// nobody, with what there is for the gate itself; if the upstream wants more, it waits until somebody connects it.
    /// Resources are each principal's own and are not listed; templates are.
    Personal,
}

/// For whom a credential is.
#[derive(Debug, Clone, Copy)]
pub struct For<'a> {
    /// To whom it is shown.
    pub upstream: &'a UpstreamId,
    /// Whose call it is; `None` for the gate's own requests.
    pub principal: Option<&'a str>,
}

/// What an upstream answered to a request.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The credential that came with it, if any.
    pub used: Option<&'a HeaderValue>,
    /// 401 or 403.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: &'a HeaderMap,
}

/// Why there is no credential. `Display` speaks to the operator.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CredentialError {
    /// The principal has not connected the upstream, or what it granted does not do.
    #[error("not connected by this principal")]
    NotConnected {
        /// The page on which it does that.
        page: String,
        /// Whether it is connected, and what it granted is not enough for what was asked.
        more: bool,
    },
    /// There is none, and the principal can do nothing about it.
    #[error("no credential that it takes")]
    None(#[source] Arc<dyn StdError + Send + Sync>),
    /// Another time there may be one.
    #[error("no credential now")]
    Unavailable(#[source] Arc<dyn StdError + Send + Sync>),
}

/// A credential that is being obtained; `None` goes without.
pub type Obtaining<'a> =
    Pin<Box<dyn Future<Output = Result<Option<HeaderValue>, CredentialError>> + Send + 'a>>;
/// What to try once more with.
pub type Judging<'a> =
    Pin<Box<dyn Future<Output = Result<HeaderValue, CredentialError>> + Send + 'a>>;

/// Obtains credentials, each the value of `Authorization`.
pub trait Credentials: fmt::Debug + Send + Sync {
    /// The one that is at hand and fresh: neither I/O nor waiting.
    fn at_hand(&self, who: For<'_>) -> Option<HeaderValue>;

    /// One, obtained if need be.
    fn obtain<'a>(&'a self, who: For<'a>) -> Obtaining<'a>;

    /// What to do about a refusal.
    fn refused<'a>(&'a self, who: For<'a>, refusal: Refusal<'a>) -> Judging<'a>;

    /// With whose credential lists are asked for.
    fn lister(&self, upstream: &UpstreamId) -> Option<Arc<str>>;

    /// Whether somebody's credential holds.
    fn is_connected(&self, upstream: &UpstreamId, principal: &str) -> bool;

    /// Tells of each one that comes or goes.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The credential side of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    pub(crate) upstream: UpstreamId,
    pub(crate) credentials: Arc<dyn Credentials>,
    /// Whose the connection is: requests that are nobody's call are made as that principal.
    pub(crate) whose: Option<Arc<str>>,
    /// Set when the upstream cannot be used before somebody connects it.
    pub(crate) is_wanted: Arc<AtomicBool>,
}

impl Pass {
    /// Adds the credential to a request, in the place of any other.
    pub(crate) async fn add(
        &self,
        headers: &mut HeaderMap,
        principal: Option<&str>,
    ) -> Result<Option<HeaderValue>, Error> {
        let who = self.who(principal);
        let credential = match self.credentials.at_hand(who) {
            Some(credential) => Some(credential),
            None => self
                .credentials
                .obtain(who)
                .await
                .map_err(|error| self.note(error))?,
        };
        match &credential {
            Some(credential) => drop(headers.insert(header::AUTHORIZATION, credential.clone())),
            None => drop(headers.remove(header::AUTHORIZATION)),
        }
        Ok(credential)
    }

    /// Whether an answer is about the credential.
    pub(crate) fn concerns(status: StatusCode, headers: &HeaderMap) -> bool {
        status == StatusCode::UNAUTHORIZED
            || status == StatusCode::FORBIDDEN && headers.contains_key(header::WWW_AUTHENTICATE)
    }

    /// What to try a refused request with once more.
    pub(crate) async fn refused(
        &self,
        principal: Option<&str>,
        refusal: Refusal<'_>,
    ) -> Result<HeaderValue, Error> {
        self.credentials
            .refused(self.who(principal), refusal)
            .await
            .map_err(|error| self.note(error))
    }

    /// Ends when the principal whose connection it is has no credential any more.
    pub(crate) async fn is_gone(&self) {
        let Some(whose) = &self.whose else {
            return std::future::pending().await;
        };
        let mut changes = self.credentials.changes();
        while self.credentials.is_connected(&self.upstream, whose) {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn who<'a>(&'a self, principal: Option<&'a str>) -> For<'a> {
        For {
            upstream: &self.upstream,
            principal: principal.or(self.whose.as_deref()),
        }
    }

    fn note(&self, error: CredentialError) -> Error {
        if matches!(error, CredentialError::NotConnected { .. }) {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
        error.into()
    }
}

/// Ends when [`Pass::is_gone`] does; never without a pass.
pub(crate) async fn is_gone(pass: Option<&Pass>) {
    match pass {
        Some(pass) => pass.is_gone().await,
        None => std::future::pending().await,
    }
}
