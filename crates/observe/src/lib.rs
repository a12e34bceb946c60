//! What happened: the audit log's two ends, the log line and the metrics of each call.
//!
//! Keeping the rows is `store`; deciding what goes into one is `gateway`; serving `/metrics` is `server`.

pub mod alerts;
mod audit;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod otlp;
pub mod sinks;
mod stages;
pub mod trace;

pub use audit::{
    ACTS, Act, AuditLog, AuditMode, Auditor, AuditorKey, BadAuditor, BadCheckpoint, BadVerifier,
    Checkpoint, CheckpointKey, CheckpointVerifier, Expected, ExportError, FIELDS, Fault, Field,
    Keep, Keeping, OTHER, OpenRecord, Places, Proved, SYSTEM, Tampered, Unavailable, Unopened,
    Verified, export, is_about_person, is_act, prove, reference as audit_reference, verify,
    verify_proof,
};
pub use metrics::{
    AuthOutcome, Call, Counted, Decided, Distribution, Format, Metric, Metrics, Samples,
    UpstreamOutcome, UpstreamRequest,
};
pub use stages::{Stage, Stages, Visit};
