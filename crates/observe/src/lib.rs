//! Audit log, metrics, health.
