//! What happened: the audit log's two ends, the log line and the metrics of each call.
//!
//! Keeping the rows is `store`; deciding what goes into one is `gateway`; serving `/metrics` is `server`.

mod audit;
mod metrics;
mod stages;

pub use audit::{
    AuditLog, AuditMode, BadCheckpoint, BadVerifier, Checkpoint, CheckpointKey, CheckpointVerifier,
    ExportError, Fault, OpenRecord, Tampered, Unavailable, Verified, export, prove, verify,
    verify_proof,
};
pub use metrics::{CONTENT_TYPE, Counted, Metrics};
pub use stages::{Stage, Stages, Visit};
