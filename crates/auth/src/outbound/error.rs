//! Why there is no credential for an upstream.

use std::sync::Arc;

use policy::UpstreamId;

/// Why there is no credential for an upstream. `Display` speaks to the operator, and never holds a credential.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OutboundError {
    /// The principal has not connected the upstream, or what it granted no longer holds.
    #[error("`{upstream}` is not connected by this principal")]
    NotConnected {
        /// Which.
        upstream: UpstreamId,
        /// Whether what it granted is not enough for what was asked.
        more: bool,
    },
    /// No upstream of that name is connected by each principal for itself.
    #[error("no upstream `{0}` that principals connect")]
    Unknown(String),
    /// The answer of the authorization server belongs to nothing that this principal began here, or came too late.
    #[error(
        "this sign-in was not begun here by this principal, was finished before, or took too long"
    )]
    Stranger,
    /// The person, or the authorization server for it, said no: the error code.
    #[error("the authorization server said no: {0}")]
    Denied(String),
    /// What a server says of itself cannot be true or cannot be used.
    #[error("{what} cannot be trusted: {why}")]
    Untrusted {
        /// Which server or document.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The authorization server takes no client of ours.
    #[error("no way to be a client of the authorization server: {0}")]
    NoClient(String),
    /// The token endpoint refused: the error code of RFC 6749 section 5.2, or the HTTP status.
    #[error("the token endpoint refused: {0}")]
    Refused(String),
    /// The upstream refuses what the authorization server gave for it.
    #[error("the upstream refuses the credential: {0}")]
    Useless(String),
    /// As many sign-ins are under way as are kept.
    #[error("too many sign-ins are under way")]
    Busy,
    /// It cannot be known now.
    #[error("{what} cannot be had now")]
    Unavailable {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl OutboundError {
    pub(super) fn untrusted(what: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::Untrusted { what, why }
    }

    pub(super) fn unavailable(
        what: &'static str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let cause = cause.into().into();
        Self::Unavailable { what, cause }
    }
}
