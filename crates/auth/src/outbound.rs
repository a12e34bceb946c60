//! Credentials for upstreams: the gate's own and those that principals granted it, never what a client presented.
//!
//! The gate is an OAuth client here. `discovery` finds out where tokens come from, `client` who we are there, `token`
//! asks for them, `exchange` in the name of a principal, `holder` obtains and holds them, `sign_in` has a person grant
//! them. What a person granted is kept sealed, under issuer, upstream and principal; other tokens are in memory alone.
//! What an upstream is told beside the credential is `upstream`'s; pages are `server`'s. A call whose token is fresh
//! waits for nothing: [`Outbound::at_hand`].

mod account;
mod attempt;
mod challenge;
mod client;
mod config;
mod discovery;
mod error;
mod exchange;
mod holder;
mod sign_in;
mod token;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode};
use policy::{Principal, PrincipalId, UpstreamId};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use url::Url;
use zeroize::Zeroizing;

pub use config::{
    Client as ClientSettings, Exchange, Grant, Proof, Settings, SigningKey, Upstream,
};
pub use error::OutboundError;

pub(crate) use self::account::purpose as token_purpose;
use self::attempt::Attempts;
use self::holder::Shared;
use crate::Parts;
use crate::authority::Authority;

/// See the module.
#[derive(Debug)]
pub struct Outbound {
    shared: Arc<Shared>,
}

/// What a principal has with one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The upstream.
    pub upstream: UpstreamId,
    /// Who gave out the tokens; `None` as long as it is not connected.
    pub issuer: Option<String>,
    /// What was granted.
    pub scopes: Vec<String>,
    /// Since when.
    pub since: Option<SystemTime>,
    /// It was connected, and must be connected anew: it no longer holds, or is not enough.
    pub is_stale: bool,
}

/// What an upstream answered to a request.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The credential that it came with, if any.
    pub used: Option<&'a HeaderValue>,
    /// 401 or 403.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: &'a HeaderMap,
}

impl Outbound {
    pub(crate) fn new(parts: &Parts, authority: Arc<Authority>, settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            parts: parts.clone(),
            authority,
            accounts: ArcSwap::default(),
            attempts: Attempts::default(),
            heeded: AtomicU64::new(*parts.revocations.changes().borrow()),
            revoked: parts.revocations.changes(),
            changes: watch::channel(0).0,
            tasks: TaskTracker::new(),
        });
        shared.reload(settings);
        Self { shared }
    }

    /// Takes over another config. What did not change keeps its tokens.
    pub(crate) fn reload(&self, settings: Settings) {
        self.shared.reload(settings);
    }

    /// Waits for tokens that are being obtained, and obtains no more.
    pub async fn end(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// The page on which a principal connects an upstream.
    #[must_use]
    pub fn page(&self, upstream: &UpstreamId) -> String {
        format!(
            "{}/console/connect/{upstream}",
            self.shared.parts.site.base()
        )
    }

    /// Tells of each connection that comes or goes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// `Authorization` for an upstream, if it is at hand and fresh: neither I/O nor waiting. `principal` is whose call
    /// it is; `None` for the gate's own requests.
    #[must_use]
    pub fn at_hand(&self, upstream: &UpstreamId, principal: Option<&str>) -> Option<HeaderValue> {
        self.shared.heed();
        let accounts = self.shared.accounts.load();
        let account = accounts.get(upstream)?;
        let slot = account.known(account.whose(principal)?)?;
        slot.fresh(self.shared.parts.clock.wall())
    }

    /// `Authorization` for an upstream, obtained if need be. `None`: a request of our own to an upstream that
    /// principals connect goes without, and is told what is wanted.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn obtain(
        &self,
        upstream: &UpstreamId,
        principal: Option<&str>,
    ) -> Result<Option<HeaderValue>, OutboundError> {
        let account = self.shared.account(upstream)?;
        let Some(whose) = account.whose(principal) else {
            return Ok(None);
        };
        self.shared.obtain(&account, whose, None).await.map(Some)
    }

    /// What to do about a refused request: the `Authorization` to try once more with.
    ///
    /// # Errors
    /// Why there is no better one; [`OutboundError::NotConnected`] if the principal can do something about it.
    pub async fn refused(
        &self,
        upstream: &UpstreamId,
        principal: Option<&str>,
        refusal: Refusal<'_>,
    ) -> Result<HeaderValue, OutboundError> {
        let account = self.shared.account(upstream)?;
        self.shared.refused(&account, principal, refusal).await
    }

    /// Under whose connection the lists of an upstream are asked for: that of the principal who connected it first.
    /// Nobody's where tokens are exchanged: there the gate asks as itself.
    #[must_use]
    pub fn lister(&self, upstream: &UpstreamId) -> Option<String> {
        let account = self.shared.account(upstream).ok()?;
        let is_personal = account.is_personal();
        is_personal.then(|| self.shared.lister(&account)).flatten()
    }

    /// Whether a principal has a connection that holds; where tokens are exchanged, whether it has called.
    #[must_use]
    pub fn is_connected(&self, upstream: &UpstreamId, principal: &str) -> bool {
        let Ok(account) = self.shared.account(upstream) else {
            return false;
        };
        match account.settings.grant {
            Grant::TokenExchange(_) => account.known(principal).is_some(),
            Grant::ClientCredentials | Grant::PerUser => {
                matches!(self.shared.held(&account, principal), Ok(Some(_)))
            }
        }
    }

    /// Every upstream that principals connect for themselves, and what this one has with it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn connections(&self, principal: &PrincipalId) -> Result<Vec<Connection>, OutboundError> {
        let accounts = self.shared.accounts.load();
        let mut accounts: Vec<_> = accounts.values().filter(|one| one.is_personal()).collect();
        accounts.sort_by(|one, other| one.settings.id.cmp(&other.settings.id));
        accounts
            .into_iter()
            .map(|account| self.shared.connection(account, principal))
            .collect()
    }

    /// Where to send the principal's browser so that it grants us access to the upstream.
    ///
    /// # Errors
    /// If the upstream or its authorization server cannot be used.
    pub async fn begin(
        &self,
        upstream: &UpstreamId,
        principal: &Principal,
    ) -> Result<Url, OutboundError> {
        let account = self.shared.account(upstream)?;
        if !account.is_personal() {
            return Err(OutboundError::Unknown(upstream.to_string()));
        }
        self.shared.begin(&account, &principal.id).await
    }

    /// Takes what the browser brought back to `/oauth/callback` (the query, without `?`), from the principal who began.
    /// The upstream is connected then.
    ///
    /// # Errors
    /// If it is not to be trusted or nothing came of it.
    pub async fn finish(
        &self,
        principal: &Principal,
        query: &str,
    ) -> Result<UpstreamId, OutboundError> {
        self.shared.finish(&principal.id, query).await
    }

    /// Forgets what this principal granted. Whether there was something.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn disconnect(
        &self,
        upstream: &UpstreamId,
        principal: &PrincipalId,
    ) -> Result<bool, OutboundError> {
        self.shared.forget(principal, Some(upstream)).await
    }

    /// Forgets all that this principal granted: it is no more.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn forget(&self, principal: &PrincipalId) -> Result<(), OutboundError> {
        self.shared.forget(principal, None).await.map(drop)
    }

    /// `/oauth/client.json`: what we are as a client, for authorization servers that read it (OAuth Client ID Metadata
    /// Documents). JSON text.
    #[must_use]
    pub fn client_metadata(&self) -> String {
        let site = &self.shared.parts.site;
        let mut metadata = client::metadata(site, "none");
        let id = format!("{}/oauth/client.json", site.base());
        metadata["client_id"] = client::document_url(site).unwrap_or(id).into();
        metadata.to_string()
    }
}

/// 256 random bits as a text.
fn random_text() -> Result<Zeroizing<String>, OutboundError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|error| OutboundError::unavailable("randomness", error))?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// What a row of `upstream_clients` is sealed for. No part of it can hold a line break.
pub(crate) fn client_purpose(issuer: &str, upstream: &str) -> String {
    format!("upstream_clients/sealed\n{issuer}\n{upstream}")
}

#[cfg(test)]
mod tests;
