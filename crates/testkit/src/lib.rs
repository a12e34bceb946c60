//! The harness for tests (never shipped).
