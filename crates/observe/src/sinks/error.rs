//! Why a batch did not get to its receiver.
//!
//! What a receiver says is not repeated: it may quote records, and arguments with them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a batch did not get to its receiver.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The audit log cannot be read, or the sink's place in it not be kept.
    #[error("the audit log cannot be used")]
    Store(#[from] store::Error),
    /// The file.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The receiver cannot be reached, or did not answer.
    #[error("the receiver was not reached")]
    Net(#[from] net::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Connection(#[from] io::Error),
    /// The receiver refused the batch as a whole.
    #[error("the receiver answered with status {status}{}", code.map(|code| format!(" and code {code}")).unwrap_or_default())]
    Status {
        /// The HTTP status.
        status: u16,
        /// What Splunk numbers its answers with.
        code: Option<i64>,
        /// How long to leave it alone, if it said so.
        after: Option<Duration>,
    },
    /// The receiver answered something that its protocol does not have.
    #[error("the receiver's answer is not one of its protocol")]
    Answer,
    /// The receiver took none of the batch, each record for the same kind of reason.
    #[error("the receiver took none of {records} records{}", why.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    Refused {
        /// How many there were.
        records: usize,
        /// The kind of reason, one of the receiver's words.
        why: Option<String>,
    },
    /// Out of time.
    #[error("the receiver did not take the batch within {0:?}")]
    Late(Duration),
    /// What was written before still waits for the disk.
    #[error("an earlier write still waits for the disk")]
    Busy,
    /// What had to be done on another thread was not, or the gate ended first.
    #[error("it was interrupted")]
    Interrupted,
}

impl SinkError {
    /// How long the receiver wants to be left alone.
    pub(super) fn after(&self) -> Option<Duration> {
        match self {
            Self::Status { after, .. } => *after,
            Self::Store(_)
            | Self::File { .. }
            | Self::Net(_)
            | Self::Connection(_)
            | Self::Answer
            | Self::Refused { .. }
            | Self::Late(_)
            | Self::Busy
            | Self::Interrupted => None,
        }
    }

    /// Whether the receiver read the batch and would not have it: so it may lie in what one of the records is.
    pub(super) fn is_refusal(&self) -> bool {
        // Bad request, too large, cannot be processed (RFC 9110, section 15.5).
        matches!(
            self,
            Self::Refused { .. }
                | Self::Status {
                    status: 400 | 413 | 422,
                    ..
                }
        )
    }

    /// With its causes, on one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let told = error.to_string();
            if !text.ends_with(&told) {
                text.push_str(": ");
                text.push_str(&told);
            }
            cause = error.source();
        }
        text
    }
}
