//! Why nobody is known by what was presented.

/// Why nobody is known by what was presented. `Display` speaks to the operator.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Nothing, where something is needed.
    #[error("no credential was presented")]
    Missing,
    /// Not one credential that we take.
    #[error("the credential is malformed: {0}")]
    Malformed(&'static str),
    /// Well formed, but not ours.
    #[error("the credential is unknown")]
    Unknown,
    /// A token that does not hold: signature, issuer, audience, times, type.
    #[error("the token is not valid: {0}")]
    Invalid(&'static str),
    /// Ours, but too old.
    #[error("the credential has expired")]
    Expired,
    /// Ours, but revoked.
    #[error("the credential was revoked")]
    Revoked,
    /// A token that is bound to a key, without a good proof that the sender holds that key.
    #[error("the proof of possession is not valid: {0}")]
    Proof(&'static str),
    /// The proof must carry this nonce (RFC 9449 section 8).
    #[error("the proof of possession lacks the nonce")]
    Nonce(String),
    /// It cannot be known now.
    #[error("credentials cannot be checked")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AuthError {
    /// With its cause.
    pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }
}
