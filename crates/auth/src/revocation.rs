//! What no longer holds: looked at for every request and every open stream, kept in the store, known within a second.

use policy::Principal;
use tokio::sync::watch;

/// The revocations of this moment.
#[derive(Debug)]
pub struct Revocations {
    changes: watch::Sender<u64>,
}

impl Revocations {
    /// None yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it will take the store")]
    pub fn new() -> Self {
        Self {
            changes: watch::channel(0).0,
        }
    }

    /// Whether what this principal presented was revoked since.
    #[must_use]
    pub fn is_revoked(&self, _principal: &Principal) -> bool {
        false
    }

    /// Tells of every change: then whoever holds a stream open asks again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
