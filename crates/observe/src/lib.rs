//! What happened: the audit log's two ends, the log line and the metrics of each call.
//!
//! Keeping the rows is `store`; deciding what goes into one is `gateway`; serving `/metrics` is `server`.

mod audit;
pub mod health;
pub mod logs;
mod metrics;
mod stages;

pub use audit::{
    ACTS, Act, AuditLog, AuditMode, Auditor, AuditorKey, BadAuditor, BadCheckpoint, BadVerifier,
    Checkpoint, CheckpointKey, CheckpointVerifier, ExportError, Fault, Keep, Keeping, OTHER,
    OpenRecord, SYSTEM, Tampered, Unavailable, Unopened, Verified, export, is_act, prove, verify,
    verify_proof,
};
pub use metrics::{CONTENT_TYPE, Counted, Metrics};
pub use stages::{Stage, Stages, Visit};
