//! Credentials for upstreams: the gate's own and those that principals granted it, never what a client presented.

mod error;

use policy::{Principal, PrincipalId, UpstreamId};
use std::time::SystemTime;
use url::Url;

pub use error::OutboundError;

use crate::Parts;

/// See the module.
#[derive(Debug)]
pub struct Outbound {
    parts: Parts,
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

impl Outbound {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            parts: parts.clone(),
        }
    }

    /// What it rests on.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The page on which a principal connects an upstream.
    #[must_use]
    pub fn page(&self, upstream: &UpstreamId) -> String {
        format!("{}/console/connect/{upstream}", self.parts.site.base())
    }

    /// Every upstream that principals connect for themselves, and what this one has with it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn connections(&self, _principal: &PrincipalId) -> Result<Vec<Connection>, OutboundError> {
        Ok(Vec::new())
    }

    /// Where to send the principal's browser so that it grants us access to the upstream.
    ///
    /// # Errors
    /// If the upstream or its authorization server cannot be used.
    pub async fn begin(
        &self,
        upstream: &UpstreamId,
        _principal: &Principal,
    ) -> Result<Url, OutboundError> {
        Err(OutboundError::Unknown(upstream.to_string()))
    }

    /// Takes what the browser brought back to `/oauth/callback` (the query, without `?`), from the principal who began.
    ///
    /// # Errors
    /// If it is not to be trusted or nothing came of it.
    pub async fn finish(
        &self,
        _principal: &Principal,
        _query: &str,
    ) -> Result<UpstreamId, OutboundError> {
        Err(OutboundError::Stranger)
    }

    /// Forgets what this principal granted. Whether there was something.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn disconnect(
        &self,
        _upstream: &UpstreamId,
        _principal: &PrincipalId,
    ) -> Result<bool, OutboundError> {
        Ok(false)
    }

    /// Forgets all that this principal granted: it is no more.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn forget(&self, _principal: &PrincipalId) -> Result<(), OutboundError> {
        Ok(())
    }

    /// `/oauth/client.json`: what we are as a client, for authorization servers that read it (Client ID Metadata
    /// Documents). JSON text.
    #[must_use]
    pub fn client_metadata(&self) -> String {
        String::new()
    }
}
