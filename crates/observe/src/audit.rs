//! One record per call: a place for it before anything is spent, a row and a log line when it is over.

mod checkpoint;
mod export;
mod proof;
mod verify;

use std::time::Duration;

use store::{AuditRow, AuditSlot, Store};
use tracing::debug;

pub use checkpoint::{BadCheckpoint, BadVerifier, Checkpoint, CheckpointKey, CheckpointVerifier};
pub use export::{ExportError, export};
pub use proof::{prove, verify_proof};
pub use verify::{Fault, Tampered, Verified, verify};

/// How long a call waits for a place in the audit log. After that it is refused.
const OPEN_WAIT: Duration = Duration::from_secs(1);

/// No place in the audit log, so no call.
#[derive(Debug, thiserror::Error)]
#[error("the audit log takes no more records")]
pub struct Unavailable(#[source] store::Error);

/// The audit log, as a call sees it.
#[derive(Debug, Clone)]
pub struct AuditLog {
    store: Store,
}

/// A place in the audit log, held for one call.
#[derive(Debug)]
pub struct OpenRecord {
    slot: AuditSlot,
}

impl AuditLog {
    /// A log that is kept in `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Takes a place, before anything is spent on the call.
    ///
    /// # Errors
    /// If there is none within a second: then the call must be refused.
    pub async fn open(&self) -> Result<OpenRecord, Unavailable> {
        let slot = self
            .store
            .reserve_audit(OPEN_WAIT)
            .await
            .map_err(Unavailable)?;
        Ok(OpenRecord { slot })
    }
}

impl OpenRecord {
    /// Writes the row and the call's one log line. Cannot fail.
    pub fn close(self, row: AuditRow) {
        // Recorded as strings, which the subscriber quotes: a client's word cannot forge a line.
        debug!(
            target: "call",
            call_id = row.call_id.as_str(),
            principal = row.principal.as_str(),
            transport = &*row.transport,
            method = &*row.method,
            upstream = row.upstream.as_deref(),
            entry = row.entry.as_deref(),
            rule = row.rule.as_deref(),
            consent = row.consent.as_deref(),
            screened = row.screened.as_deref(),
            outcome = row.outcome.as_str(),
            code = row.code,
            reason = row.reason.as_deref(),
            duration_us = row.duration_us,
            "call"
        );
        self.slot.write(row);
    }
}

#[cfg(test)]
mod tests;
