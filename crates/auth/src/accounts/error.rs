//! Why something about an account was refused.

use std::time::Duration;

use crate::key::NoRandomness;

/// Why nobody was signed in. `Display` is for whoever tried: it tells nothing about which accounts there are.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Name, password or code; or the account is unknown, disabled, without a password, or closed for a while.
    #[error(
        "name, password or code is wrong; after several wrong tries an account is closed for some minutes"
    )]
    Wrong,
    /// The password is right, and a code is needed too.
    #[error("a code is needed")]
    CodeNeeded,
    /// Too many wrong tries from this address, or too many tries at once.
    #[error("too many tries; try again in {} s", seconds(*after))]
    Later {
        /// When to try again.
        after: Duration,
    },
    /// It cannot be known now.
    #[error("nobody can sign in at the moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why something else was refused. `Display` is for the person at the form or the command line.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The name cannot be an account's.
    #[error("{0}")]
    Name(String),
    /// The address is none.
    #[error("`{0}` is not an e-mail address")]
    Email(String),
    /// There is one of this name or with this address already.
    #[error("there is an account with this name or address already")]
    Taken,
    /// There is none of this name.
    #[error("there is no such account")]
    Unknown,
    /// Its principal is shut out.
    #[error("this principal is disabled")]
    Disabled,
    /// The password is too weak; the text says why and what helps.
    #[error("{0}")]
    Weak(String),
    /// The link was used, is too old, or never was one.
    #[error("this link was used or is too old; ask for a new one")]
    Link,
    /// The current password or the code is wrong.
    #[error(
        "the password or code is wrong; after several wrong tries an account is closed for some minutes"
    )]
    Wrong,
    /// One-time passwords are on already.
    #[error("one-time passwords are on already")]
    TotpOn,
    /// One-time passwords are not on, or were not begun.
    #[error("one-time passwords are not on")]
    TotpOff,
    /// Too much at once.
    #[error("too much to do at the moment; try again in {} s", seconds(*after))]
    Later {
        /// When to try again.
        after: Duration,
    },
    /// It cannot be done now.
    #[error("accounts cannot be used at the moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AccountError {
    pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl From<store::Error> for AccountError {
    fn from(error: store::Error) -> Self {
        Self::unavailable(error)
    }
}

impl From<NoRandomness> for AccountError {
    fn from(error: NoRandomness) -> Self {
        Self::unavailable(error)
    }
}

/// What can go wrong besides the answer itself: everything else was decided before.
impl<E: Into<AccountError>> From<E> for SignInError {
    fn from(error: E) -> Self {
        match error.into() {
            AccountError::Later { after } => Self::Later { after },
            AccountError::Unavailable(cause) => Self::Unavailable(cause),
            other => Self::Unavailable(Box::new(other)),
        }
    }
}

/// Whole seconds, never none.
fn seconds(after: Duration) -> u64 {
    after.as_secs().saturating_add(1)
}
