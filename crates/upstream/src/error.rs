//! Why an upstream gave no answer.

use std::time::Duration;

/// Why a call got no answer from its upstream. `Display` speaks to the operator.
#[expect(
    clippy::error_impl_error,
    reason = "each room has one error, named by its room"
)]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not connected: starting, restarting, or given up for now. Nothing was sent.
    #[error("the upstream is {state}")]
    Down {
        /// Its state, as a word.
        state: &'static str,
    },
    /// The connection ended while the call was open. Whether it ran is not known.
    #[error("the upstream went away while the call was open")]
    Gone,
    /// No answer in time. Whether it ran is not known.
    #[error("the upstream was silent for {waited:?}")]
    Silent {
        /// How long we waited.
        waited: Duration,
    },
    /// Too many messages wait to be written to it. Nothing was sent.
    #[error("the upstream does not read what it is sent")]
    Full,
    /// What came back is no answer.
    #[error("the upstream's answer cannot be used: {0}")]
    Protocol(String),
    /// The HTTP exchange failed.
    #[error("the exchange failed")]
    Net(#[from] net::Error),
    /// The HTTP server answered with something that is not MCP.
    #[error("the upstream answered HTTP {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// The child process could not be started.
    #[error("the program `{program}` could not be started")]
    Spawn {
        /// What was to be run.
        program: String,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The upstream refused the handshake or a list.
    #[error("the upstream refused `{method}`: {message}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// What it said.
        message: String,
    },
    /// There is no credential that it takes, so it was not asked or did nothing.
    #[error("the upstream wants a credential")]
    Credential(#[from] crate::CredentialError),
    /// A built-in pack could not be set up.
    #[error(transparent)]
    Native(#[from] crate::native::Error),
}

impl Error {
    /// Whether it is certain that the upstream never saw the call.
    #[must_use]
    pub fn nothing_sent(&self) -> bool {
        match self {
            Self::Down { .. }
            | Self::Full
            | Self::Spawn { .. }
            | Self::Credential(_)
            | Self::Native(_) => true,
            Self::Net(error) => error.sent() == net::Sent::No,
            Self::Gone
            | Self::Silent { .. }
            | Self::Protocol(_)
            | Self::Status { .. }
            | Self::Refused { .. } => false,
        }
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
