//! Why nobody was signed in by a provider.

use policy::PrincipalId;

/// Why nobody was signed in by a provider. `Display` speaks to the operator, and never holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The config names none like that.
    #[error("no provider of that name to sign in with")]
    Unknown,
    /// The page to come back to has too long a path.
    #[error("the page to come back to has a path that is too long")]
    Long,
    /// The answer belongs to nothing that this browser began, came too late or came before.
    #[error("this sign-in was not begun in this browser, was finished before, or took too long")]
    Stranger,
    /// The provider, or the person there, said no: the error code.
    #[error("the provider said no: {0}")]
    Denied(String),
    /// What the provider says cannot be true or cannot be used.
    #[error("what the provider says cannot be trusted: {0}")]
    Untrusted(&'static str),
    /// Whoever it is has no role here.
    #[error("`{0}` has no role here")]
    Nobody(PrincipalId),
    /// It cannot be known now.
    #[error("the provider's {what} cannot be had now")]
    Unavailable {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ProviderError {
    pub(super) fn unavailable(
        what: &'static str,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let cause = cause.into();
        Self::Unavailable { what, cause }
    }
}
