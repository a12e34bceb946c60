//! The audit log, as a call sees it: a place before anything is spent, a row before its upstream sees it where it can
//! have an effect, a row and a log line when it is over.
//!
//! `acts` lists what is recorded besides the protocol's methods, `keeping` and `sealing` say what is kept of arguments.
//! What others need to check the log is here too: `checkpoint` signs how long it is, `export` and `proof` write what is
//! checked, `verify` checks it, without a gate.

mod acts;
mod checkpoint;
mod export;
mod keeping;
mod places;
mod proof;
mod reference;
mod sealing;
mod verify;

use std::time::Duration;

use store::audit::Fields;
use store::{AuditRow, AuditSlot, Outcome, Store};
use tracing::debug;

pub use acts::{ACTS, Act, OTHER, SYSTEM, is_about_person, is_act};
pub use checkpoint::{BadCheckpoint, BadVerifier, Checkpoint, CheckpointKey, CheckpointVerifier};
pub use export::{ExportError, export};
pub use keeping::{Keep, Keeping};
pub use places::Places;
pub use proof::{Proved, prove, verify_proof};
pub use reference::{FIELDS, Field, reference};
pub use sealing::{Auditor, AuditorKey, BadAuditor, Unopened};
pub use verify::{Expected, Fault, Tampered, Verified, verify};

/// How long a call waits for a place in the audit log. After that it is refused: within a second, all in all.
const OPEN_WAIT: Duration = Duration::from_millis(900);
/// How long it waits until its row is on the disk, if the disk refuses; a slow one gets longer.
const COMMIT_WAIT: Duration = Duration::from_millis(900);

/// No place in the audit log, so no call.
#[derive(Debug, thiserror::Error)]
#[error("the audit log takes no more records")]
pub struct Unavailable(#[from] store::Error);

/// When a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditMode {
    /// Once it is on the disk: no effect without its record, and no answer.
    #[default]
    Durable,
    /// Once it is on its way there: a crash loses the last of them.
    Relaxed,
    /// Nothing is written: for finding out what the log costs.
    Off,
}

impl AuditMode {
    /// The word in the config, and in health.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Relaxed => "relaxed",
            Self::Off => "danger_off",
        }
    }
}

/// The audit log, as a call sees it.
#[derive(Debug, Clone)]
pub struct AuditLog {
    store: Store,
    mode: AuditMode,
}

/// A place in the audit log, held for one call.
#[derive(Debug)]
pub struct OpenRecord {
    /// `None` where nothing is written.
    slot: Option<AuditSlot>,
    mode: AuditMode,
}

impl AuditLog {
    /// A log that is kept in `store`.
    #[must_use]
    pub fn new(store: Store, mode: AuditMode) -> Self {
        Self { store, mode }
    }

    /// Takes a place, before anything is spent on the call.
    ///
    /// # Errors
    /// If there is none within a second, or the disk has just kept somebody waiting in vain: then the call must be refused.
    pub async fn open(&self) -> Result<OpenRecord, Unavailable> {
        let slot = match self.mode {
            AuditMode::Off => None,
            AuditMode::Durable => {
                let slot = self.store.reserve_awaited(OPEN_WAIT).await;
                Some(slot.map_err(Unavailable)?)
            }
            AuditMode::Relaxed => {
                let slot = self.store.reserve_audit(OPEN_WAIT).await;
                Some(slot.map_err(Unavailable)?)
            }
        };
        Ok(OpenRecord {
            slot,
            mode: self.mode,
        })
    }

    /// Whether it is told of a call that is about to have an effect. A log that is relaxed is not.
    #[must_use]
    pub fn begins(&self) -> bool {
        self.mode == AuditMode::Durable
    }

    /// Says that a call is about to have an effect, and waits until that is on the disk, if it is told at all.
    ///
    /// # Errors
    /// If the disk refuses for a second, or nothing gets there for five: then the call must not go on.
    pub async fn begin(&self, row: Fields<'_>) -> Result<(), Unavailable> {
        if !self.begins() {
            return Ok(());
        }
        let slot = self.store.reserve_audit(OPEN_WAIT).await;
        let row = Fields {
            outcome: Outcome::Pending,
            ..row
        };
        let committed = slot.map_err(Unavailable)?.commit_fields(&row, COMMIT_WAIT);
        committed.await.map_err(Unavailable)
    }
}

impl OpenRecord {
    /// Writes the row and the call's one log line, at once; and, where that is awaited, waits until the row is on the disk
    /// unless the log is relaxed.
    ///
    /// # Errors
    /// If the disk refuses for a second, or nothing gets there for five: then the answer must not be given.
    pub fn close(
        self,
        row: &AuditRow,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send + use<> {
        tell(row);
        let committed = match self.slot {
            Some(slot) if self.mode == AuditMode::Durable => Some(slot.commit(row, COMMIT_WAIT)),
            Some(slot) => {
                slot.write(row);
                None
            }
            None => None,
        };
        async move {
            match committed {
                Some(committed) => committed.await.map_err(Unavailable),
                None => Ok(()),
            }
        }
    }

    /// The same where nobody is there any more to wait. Cannot fail.
    pub fn abandon(self, row: &AuditRow) {
        tell(row);
        if let Some(slot) = self.slot {
            slot.write(row);
        }
    }
}

fn tell(row: &AuditRow) {
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
        trace_id = row.trace_id.as_deref(),
        "call"
    );
}

#[cfg(test)]
mod tests;
