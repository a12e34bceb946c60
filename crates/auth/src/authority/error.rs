//! What OAuth endpoints answer when they do not do what they were asked.

use std::borrow::Cow;
use std::time::Duration;

use crate::AuthError;

/// Why a client does not get what it asked for, in the words of RFC 6749 section 5.2 and those that extend it.
/// `Display` speaks to the operator; the client sees [`OAuthError::code`] and [`OAuthError::description`].
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// A parameter is missing, malformed, or stands twice.
    #[error("the request is malformed: {0}")]
    Request(&'static str),
    /// It is not known who the client is.
    #[error("the client did not authenticate")]
    Client,
    /// A code or refresh token that is not good, or not for this client.
    #[error("the grant is not good: {0}")]
    Grant(&'static str),
    /// This client may not do that.
    #[error("the client is not meant for it: {0}")]
    Unauthorized(&'static str),
    /// A grant type that there is not.
    #[error("there is no such grant type")]
    GrantType,
    /// A response type that there is not.
    #[error("there is no such response type")]
    ResponseType,
    /// Scopes that cannot be had.
    #[error("these scopes cannot be had")]
    Scope,
    /// Not a resource of this gate, or not the one that was allowed (RFC 8707 section 2).
    #[error("the resource is another: {0}")]
    Target(&'static str),
    /// A redirect URI that cannot be registered (RFC 7591 section 3.2.2).
    #[error("a redirect URI cannot be registered: {0}")]
    RedirectUri(&'static str),
    /// Metadata that cannot be registered (RFC 7591 section 3.2.2).
    #[error("the client's metadata is not good: {0}")]
    Metadata(&'static str),
    /// A proof of possession that proves nothing (RFC 9449 section 5).
    #[error("the proof of possession is not good: {0}")]
    Proof(&'static str),
    /// The proof must carry this nonce (RFC 9449 section 8).
    #[error("the proof of possession lacks the nonce")]
    Nonce(String),
    /// The person said no.
    #[error("it was denied")]
    Denied,
    /// Too many of them.
    #[error("too many requests")]
    TooMany(Duration),
    /// Switched off.
    #[error("it is switched off")]
    Off,
    /// It cannot be known or kept now.
    #[error("it cannot be done now")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl OAuthError {
    pub(crate) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }

    /// Its name in `error`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => "invalid_request",
            Self::Client => "invalid_client",
            Self::Grant(_) => "invalid_grant",
            Self::Unauthorized(_) => "unauthorized_client",
            Self::GrantType => "unsupported_grant_type",
            Self::ResponseType => "unsupported_response_type",
            Self::Scope => "invalid_scope",
            Self::Target(_) => "invalid_target",
            Self::RedirectUri(_) => "invalid_redirect_uri",
            Self::Metadata(_) => "invalid_client_metadata",
            Self::Proof(_) => "invalid_dpop_proof",
            Self::Nonce(_) => "use_dpop_nonce",
            Self::Denied | Self::Off => "access_denied",
            Self::TooMany(_) => "temporarily_unavailable",
            Self::Unavailable(_) => "server_error",
        }
    }

    /// For `error_description`: words for the client's developer, none of them anybody's but ours.
    #[must_use]
    pub fn description(&self) -> Cow<'static, str> {
        match self {
            Self::Request(why)
            | Self::Grant(why)
            | Self::Unauthorized(why)
            | Self::Target(why)
            | Self::RedirectUri(why)
            | Self::Metadata(why)
            | Self::Proof(why) => (*why).into(),
            Self::Client => "Unknown client, or wrong credentials".into(),
            Self::GrantType => "Use authorization_code, refresh_token or client_credentials".into(),
            Self::ResponseType => "Use response_type=code".into(),
            Self::Scope => "These scopes cannot be had".into(),
            Self::Nonce(_) => "The proof must carry the nonce in DPoP-Nonce".into(),
            Self::Denied => "The request was denied".into(),
            Self::Off => "This is switched off here".into(),
            Self::TooMany(after) => {
                format!("Too many requests; try again in {} s", after.as_secs() + 1).into()
            }
            Self::Unavailable(_) => "Try again in a moment".into(),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Client => 401,
            Self::Denied | Self::Off => 403,
            Self::TooMany(_) => 429,
            Self::Unavailable(_) => 503,
            Self::Request(_)
            | Self::Grant(_)
            | Self::Unauthorized(_)
            | Self::GrantType
            | Self::ResponseType
            | Self::Scope
            | Self::Target(_)
            | Self::RedirectUri(_)
            | Self::Metadata(_)
            | Self::Proof(_)
            | Self::Nonce(_) => 400,
        }
    }
}

impl From<store::Error> for OAuthError {
    fn from(error: store::Error) -> Self {
        Self::unavailable(error)
    }
}

/// Of a proof.
impl From<AuthError> for OAuthError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Proof(why) => Self::Proof(why),
            AuthError::Nonce(nonce) => Self::Nonce(nonce),
            AuthError::Unavailable(cause) => Self::Unavailable(cause),
            AuthError::Missing
            | AuthError::Malformed(_)
            | AuthError::Unknown
            | AuthError::Invalid(_)
            | AuthError::Expired
            | AuthError::Revoked => Self::Proof("the proof is not good"),
        }
    }
}
