//! Why something about an account was refused.

use std::time::Duration;

/// Why nobody was signed in. `Display` is for whoever tried: it tells nothing about which accounts there are.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Name, password or code; or the account is unknown, disabled, without a password, or locked for a while.
    #[error("name, password or code is wrong; after several wrong tries an account stays closed for some minutes")]
    Wrong,
    /// The password is right, and a code is needed too.
    #[error("a code is needed")]
    CodeNeeded,
    /// Too many wrong tries from this address, or too many at once.
    #[error("too many tries; try again in {} s", after.as_secs().max(1))]
    Later {
        /// When to try again.
        after: Duration,
    },
    /// It cannot be known now.
    #[error("sign-in does not work at the moment")]
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
    /// The password is too weak; the text says why and what helps.
    #[error("{0}")]
    Weak(String),
    /// The link was used, is too old, or never was one.
    #[error("this link has been used or is too old; ask for a new one")]
    Link,
    /// The current password or the code is wrong.
    #[error("the password or code is wrong; after several wrong tries an account stays closed for some minutes")]
    Wrong,
    /// One-time passwords are on already.
    #[error("one-time passwords are on already")]
    TotpOn,
    /// One-time passwords are not on, or were not begun.
    #[error("one-time passwords are not on")]
    TotpOff,
    /// Too much at once.
    #[error("too much to do at the moment; try again in {} s", after.as_secs().max(1))]
    Later {
        /// When to try again.
        after: Duration,
    },
    /// It cannot be done now.
    #[error("accounts cannot be used at the moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not built yet.
    #[error("not yet")]
    Unready,
}
